//! Create, get, update, delete: who sets which field, and the exact refusals.

use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::harness::{Harness, WIDGETS, widget, widget_body};

#[tokio::test]
async fn a_created_object_gets_what_the_server_decides() {
    let harness = Harness::new().await;
    let api = harness.widgets("default");
    let created = api
        .create(&PostParams::default(), &widget("a", json!({"x": 1})))
        .await
        .expect("it is new");
    assert_eq!(created.metadata.generation, Some(1));
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());
    assert_eq!(created.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(api.get("a").await.expect("it exists"), created);
    assert_eq!(
        api.list(&Default::default()).await.expect("a list").items,
        [created]
    );
}

#[tokio::test]
async fn refusals_have_upstreams_texts() {
    let harness = Harness::new().await;
    let created = harness.create("a", json!({})).await;
    let one = format!("{WIDGETS}/a");

    let missing = harness.send("GET", &format!("{WIDGETS}/b"), &json!(null)).await;
    assert_eq!(
        (missing.code, missing.body["message"].as_str()),
        (404, Some(r#"widgets.edge.test "b" not found"#))
    );
    assert_eq!(
        missing.body["details"],
        json!({"name": "b", "group": "edge.test", "kind": "widgets"})
    );

    let again = harness
        .send("POST", WIDGETS, &widget_body(json!({"metadata": {"name": "a"}})))
        .await;
    assert_eq!(
        (again.code, again.body["reason"].as_str()),
        (409, Some("AlreadyExists"))
    );
    assert_eq!(again.body["message"], r#"widgets.edge.test "a" already exists"#);

    let mut unversioned = created.clone();
    unversioned["metadata"]
        .as_object_mut()
        .expect("metadata")
        .shift_remove("resourceVersion");
    let refused = harness.send("PUT", &one, &unversioned).await;
    assert_eq!(refused.code, 422);
    let text = r#"widgets.edge.test "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"#;
    assert_eq!(refused.body["message"], text);

    let mut stale = created.clone();
    stale["metadata"]["resourceVersion"] = "1".into();
    let refused = harness.send("PUT", &one, &stale).await;
    assert_eq!(
        (refused.code, refused.body["reason"].as_str()),
        (409, Some("Conflict"))
    );
    assert_eq!(
        refused.body["message"],
        "Operation cannot be fulfilled on widgets.edge.test \"a\": the object has been modified; please apply your changes to the latest \
         version and try again"
    );

    let mut renamed = created.clone();
    renamed["metadata"]["name"] = "z".into();
    let refused = harness.send("PUT", &one, &renamed).await;
    assert_eq!(refused.code, 400);
    assert_eq!(
        refused.body["message"],
        "the name of the object (z) does not match the name on the URL (a)"
    );

    let versioned = harness
        .send(
            "POST",
            WIDGETS,
            &widget_body(json!({"metadata": {"name": "v", "resourceVersion": "5"}})),
        )
        .await;
    assert_eq!(versioned.code, 500);
    assert_eq!(
        versioned.body["message"],
        "resourceVersion should not be set on objects to be created"
    );
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let harness = Harness::new().await;
    let made = harness
        .send(
            "POST",
            WIDGETS,
            &widget_body(json!({"metadata": {"generateName": "web-"}})),
        )
        .await;
    let name = made.body["metadata"]["name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    for (metadata, text) in [
        (
            json!({}),
            "metadata.name: Required value: name or generateName is required",
        ),
        (
            json!({"name": "A_b"}),
            "metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
        ),
    ] {
        let refused = harness
            .send("POST", WIDGETS, &widget_body(json!({ "metadata": metadata })))
            .await;
        assert_eq!(refused.code, 422);
        assert!(
            refused.body["message"]
                .as_str()
                .expect("a message")
                .contains(text),
            "{}",
            refused.body["message"]
        );
    }
}

#[tokio::test]
async fn a_write_that_changes_nothing_changes_no_version() {
    let harness = Harness::new().await;
    let created = harness.create("a", json!({"x": 1})).await;
    let before = harness.server.store().revision().await.expect("a revision");
    let put = harness.send("PUT", &format!("{WIDGETS}/a"), &created).await;
    assert_eq!((put.code, &put.body), (200, &created));
    let patched = harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &format!("{WIDGETS}/a"),
            &json!({"spec": {"x": 1}}),
        )
        .await;
    assert_eq!((patched.code, &patched.body), (200, &created));
    assert_eq!(harness.server.store().revision().await, Ok(before));
}

#[tokio::test]
async fn generation_counts_changes_of_intent_only() {
    let harness = Harness::new().await;
    let created = harness.create("a", json!({"x": 1})).await;
    let (one, status) = (format!("{WIDGETS}/a"), format!("{WIDGETS}/a/status"));
    let merge = "application/merge-patch+json";
    let labelled = harness
        .send_as(
            merge,
            "PATCH",
            &one,
            &json!({"metadata": {"labels": {"l": "1"}}, "status": {"p": 1}}),
        )
        .await;
    assert_eq!(labelled.body["metadata"]["generation"], 1);
    assert_eq!(
        labelled.body.get("status"),
        None,
        "the main resource does not change the status"
    );
    assert_ne!(
        labelled.body["metadata"]["resourceVersion"],
        created["metadata"]["resourceVersion"]
    );
    let reported = harness
        .send_as(
            merge,
            "PATCH",
            &status,
            &json!({"status": {"p": 1}, "spec": {"x": 9}, "metadata": {"labels": {"m": "1"}}}),
        )
        .await;
    assert_eq!(reported.body["status"], json!({"p": 1}));
    assert_eq!(
        (&reported.body["spec"], &reported.body["metadata"]["generation"]),
        (&json!({"x": 1}), &json!(1))
    );
    assert_eq!(reported.body["metadata"]["labels"], json!({"l": "1"}));
    let changed = harness
        .send_as(merge, "PATCH", &one, &json!({"spec": {"x": 2}}))
        .await;
    assert_eq!(
        (&changed.body["metadata"]["generation"], &changed.body["status"]),
        (&json!(2), &json!({"p": 1}))
    );
}

#[tokio::test]
async fn a_dry_run_does_everything_but_write() {
    let harness = Harness::new().await;
    let before = harness.server.store().revision().await.expect("a revision");
    let tried = harness
        .send(
            "POST",
            &format!("{WIDGETS}?dryRun=All"),
            &widget_body(json!({"metadata": {"name": "a"}})),
        )
        .await;
    assert_eq!(tried.code, 201);
    assert!(
        tried.body["metadata"]["uid"].is_string() && tried.body["metadata"].get("resourceVersion").is_none()
    );
    assert_eq!(
        harness
            .send(
                "POST",
                &format!("{WIDGETS}?dryRun=Foo"),
                &widget_body(json!({"metadata": {"name": "a"}}))
            )
            .await
            .code,
        422
    );
    assert_eq!(harness.server.store().revision().await, Ok(before));

    let created = harness.create("a", json!({})).await;
    let one = format!("{WIDGETS}/a?dryRun=All");
    let tried = harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &one,
            &json!({"spec": {"x": 1}}),
        )
        .await;
    assert_eq!(tried.body["spec"]["x"], 1);
    assert_eq!(harness.send("DELETE", &one, &json!(null)).await.code, 200);
    assert_eq!(
        harness
            .send("GET", &format!("{WIDGETS}/a"), &json!(null))
            .await
            .body,
        created
    );
}

#[tokio::test]
async fn a_deletion_without_finalizers_answers_with_a_status() {
    let harness = Harness::new().await;
    let created = harness.create("a", json!({})).await;
    let deleted = harness
        .widgets("default")
        .delete("a", &DeleteParams::default())
        .await
        .expect("it exists");
    let status = deleted.right().expect("a Status");
    assert_eq!(
        status.details.map(|details| details.uid),
        created["metadata"]["uid"].as_str().map(str::to_owned)
    );
    assert_eq!(
        harness
            .send("DELETE", &format!("{WIDGETS}/a"), &json!(null))
            .await
            .code,
        404
    );
}

#[tokio::test]
async fn doubled_fields_warn_or_are_refused() {
    let harness = Harness::new().await;
    let text = |name: &str| {
        format!(
            r#"{{"apiVersion":"edge.test/v1","kind":"Widget","metadata":{{"name":"{name}"}},"spec":{{"a":1,"a":2}}}}"#
        )
    };
    let warned = harness
        .send_text("application/json", "POST", WIDGETS, text("a"))
        .await;
    assert_eq!(
        (warned.code, warned.warnings),
        (201, vec![r#"299 - "duplicate field \"spec.a\"""#.to_owned()])
    );
    let path = format!("{WIDGETS}?fieldValidation=Strict");
    let refused = harness
        .send_text("application/json", "POST", &path, text("b"))
        .await;
    assert_eq!(refused.code, 400);
    let message = r#"Widget in version "v1" cannot be handled as a Widget: strict decoding error: duplicate field "spec.a""#;
    assert_eq!(refused.body["message"], message);
}

#[tokio::test]
async fn bodies_may_be_yaml_and_have_a_limit() {
    let harness = Harness::new().await;
    let yaml =
        "apiVersion: edge.test/v1\nkind: Widget\nmetadata:\n  name: y\nspec:\n  x: [1, two]\n".to_owned();
    let made = harness.send_text("application/yaml", "POST", WIDGETS, yaml).await;
    assert_eq!((made.code, &made.body["spec"]), (201, &json!({"x": [1, "two"]})));
    let foreign = harness
        .send_text("text/plain", "POST", WIDGETS, "x".to_owned())
        .await;
    assert_eq!(
        (foreign.code, foreign.body["reason"].as_str()),
        (415, Some("UnsupportedMediaType"))
    );
    let object = widget_body(json!({"metadata": {"name": "big"}, "spec": {"x": "x".repeat(2 << 20)}}));
    assert_eq!(
        harness.send("POST", WIDGETS, &object).await.code,
        413,
        "an object has a limit"
    );
    let body = json!({"metadata": {"name": "big"}, "spec": {"x": "x".repeat(4 << 20)}});
    assert_eq!(
        harness.send("POST", WIDGETS, &body).await.code,
        413,
        "a body has a limit"
    );
}

#[tokio::test]
async fn a_router_without_a_gate_lets_nobody_in() {
    use tower::ServiceExt;
    let harness = Harness::new().await;
    let request = http::Request::get(WIDGETS)
        .body(axum::body::Body::empty())
        .expect("a request");
    let response = harness
        .server
        .router()
        .oneshot(request)
        .await
        .expect("routers do not fail");
    assert_eq!(response.status(), 401);
}
