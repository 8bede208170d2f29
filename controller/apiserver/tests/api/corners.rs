//! Answers of kube-apiserver 1.37 to requests of `tests/conformance/corners`: what is rare, or wrong.

use apiserver::auth::UserInfo;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{Harness, WIDGETS, widget_body};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.edge.test";
const MERGE: &str = "application/merge-patch+json";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_custom_resource_says_its_kind() {
    let harness = Harness::new().await;
    let nameless = r#"{"metadata":{"name":"a"}}"#;
    let refused = harness
        .send_text("application/json", "POST", WIDGETS, nameless.to_owned())
        .await;
    let message = "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in \
                   '{\"metadata\":{\"name\":\"a\"}}' ({\"metadata\":{\"name\":\"a\"}})";
    assert_eq!((refused.code, text(&refused.body["message"])), (400, message));
    let map = json!({"metadata": {"name": "a"}});
    assert_eq!(
        harness.send("POST", MAPS, &map).await.code,
        201,
        "built-in kinds are known by the path"
    );
}

#[tokio::test]
async fn what_cannot_be_done_to_a_collection_is_no_method_of_it() {
    let harness = Harness::new().await;
    for (method, path, code) in [
        ("PUT", MAPS, 405),
        ("PATCH", MAPS, 405),
        ("HEAD", MAPS, 405),
        ("POST", "/api/v1/configmaps", 405),
        ("GET", "/api/v1/configmaps/one", 404),
    ] {
        let answer = harness.send_as(MERGE, method, path, &json!({})).await;
        assert_eq!(answer.code, code, "{method} {path}");
    }
}

#[tokio::test]
async fn the_old_path_watches() {
    let harness = Harness::new().await;
    harness.create("a", json!({})).await;
    let request = Request::get("/apis/edge.test/v1/watch/namespaces/default/widgets?timeoutSeconds=1");
    let router = harness.server.in_process_router(UserInfo::loopback());
    let response = router
        .oneshot(request.body(Body::empty()).expect("a request"))
        .await
        .expect("routers do not fail");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-cache, private");
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let first = bytes.split(|byte| *byte == b'\n').next().expect("an event");
    let event: Value = serde_json::from_slice(first).expect("JSON");
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["name"]),
        (&json!("ADDED"), &json!("a"))
    );
}

#[tokio::test]
async fn nulls_go_where_null_is_no_value() {
    let harness = Harness::new().await;
    let body = widget_body(json!({"metadata": {"name": "a"}, "spec": {"node": null, "replicas": 1}}));
    let made = harness.send("POST", WIDGETS, &body).await;
    assert_eq!((made.code, &made.body["spec"]), (201, &json!({"replicas": 1})));
}

#[tokio::test]
async fn options_of_a_deletion_have_types() {
    let harness = Harness::new().await;
    let path = format!("{WIDGETS}/a");
    harness.create("a", json!({})).await;
    for (body, message) in [
        (
            json!({"kind": "ConfigMap", "apiVersion": "v9"}),
            "no kind \"ConfigMap\" is registered for version \"v9\" in scheme \"pkg/runtime/scheme.go:111\"",
        ),
        (
            json!({"gracePeriodSeconds": "1"}),
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
    ] {
        let refused = harness.send("DELETE", &path, &body).await;
        assert_eq!((refused.code, text(&refused.body["message"])), (400, message));
    }
    assert_eq!(harness.send("GET", &path, &json!(null)).await.code, 200);
}

#[tokio::test]
async fn a_version_in_which_objects_are_kept_stays() {
    let harness = Harness::new().await;
    let definition = harness.send("GET", DEFINITION, &json!(null)).await.body;
    let mut version = definition["spec"]["versions"][0].clone();
    version["name"] = "v2".into();
    let patch = json!({"spec": {"versions": [version]}});
    let refused = harness.send_as(MERGE, "PATCH", DEFINITION, &patch).await;
    assert_eq!(refused.code, 422);
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(cause["field"], "status.storedVersions[0]");
    assert!(
        text(&cause["message"]).contains("v1 was previously a storage version"),
        "{cause}"
    );

    let mut old = definition["spec"]["versions"][0].clone();
    old["storage"] = false.into();
    let patch = json!({"spec": {"versions": [old, version]}});
    let changed = harness.send_as(MERGE, "PATCH", DEFINITION, &patch).await;
    assert_eq!(
        (changed.code, &changed.body["status"]["storedVersions"]),
        (200, &json!(["v1", "v2"]))
    );
}

#[tokio::test]
async fn finalizers_that_contradict_each_other_are_refused() {
    let harness = Harness::new().await;
    let finalizers = ["orphan", "foregroundDeletion"];
    let body = widget_body(json!({"metadata": {"name": "a", "finalizers": finalizers}}));
    let refused = harness.send("POST", WIDGETS, &body).await;
    assert_eq!(refused.code, 422);
    assert!(
        text(&refused.body["message"]).contains("finalizer orphan and foregroundDeletion cannot be both set")
    );
}

#[tokio::test]
async fn what_a_patch_must_not_change_is_told_as_upstream_does() {
    let harness = Harness::new().await;
    let map = json!({"metadata": {"name": "one"}, "data": {"k": "v"}});
    assert_eq!(harness.send("POST", MAPS, &map).await.code, 201);
    let path = format!("{MAPS}/one");
    for (patch, code, why) in [
        (
            json!({"apiVersion": "v2"}),
            422,
            "no kind \"ConfigMap\" is registered for version \"v2\"",
        ),
        (
            json!({"metadata": {"uid": "other"}}),
            422,
            "metadata.uid: Invalid value: \"other\": field is immutable",
        ),
        (
            json!({"metadata": {"deletionTimestamp": "2001-01-01T00:00:00Z"}}),
            422,
            "metadata.deletionTimestamp: Invalid value: \"2001-01-01T00:00:00Z\": field is immutable",
        ),
        (
            json!({"metadata": null}),
            400,
            "was undeterminable: name must be provided",
        ),
        (
            json!({"metadata": {"resourceVersion": "x"}}),
            500,
            "strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
    ] {
        let refused = harness.send_as(MERGE, "PATCH", &path, &patch).await;
        assert_eq!(refused.code, code, "{patch} {}", refused.body);
        assert!(
            text(&refused.body["message"]).contains(why),
            "{patch} {}",
            refused.body
        );
    }
    let doubled = r#"{"data":{"z":"1","z":"2"}}"#.to_owned();
    let strict = format!("{path}?fieldValidation=Strict");
    let refused = harness.send_text(MERGE, "PATCH", &strict, doubled.clone()).await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    let warned = harness.send_text(MERGE, "PATCH", &path, doubled).await;
    let warning = r#"299 - "duplicate field \"data.z\"""#.to_owned();
    assert_eq!((warned.code, warned.warnings), (200, vec![warning]));
}

#[tokio::test]
async fn operations_of_a_json_patch_have_a_limit_of_their_own() {
    let harness = Harness::new().await;
    harness.create("a", json!({})).await;
    let operations = vec![json!({"op": "test", "path": "/kind", "value": "Widget"}); 10_001];
    let path = format!("{WIDGETS}/a");
    let refused = harness
        .send_as("application/json-patch+json", "PATCH", &path, &json!(operations))
        .await;
    let message =
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001";
    assert_eq!((refused.code, text(&refused.body["message"])), (413, message));
}
