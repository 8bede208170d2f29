//! Patches and scale over HTTP.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Harness, WIDGETS};

#[tokio::test]
async fn custom_resources_take_json_and_merge_patches_and_refuse_the_rest() {
    let harness = Harness::new().await;
    harness.create("a", json!({"x": 1, "y": 2})).await;
    let path = format!("{WIDGETS}/a");
    let merged = harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &path,
            &json!({"spec": {"x": null}}),
        )
        .await;
    assert_eq!(merged.body["spec"], json!({"y": 2}));
    let patch = json!([{"op": "replace", "path": "/spec/y", "value": 3}]);
    let replaced = harness
        .send_as("application/json-patch+json", "PATCH", &path, &patch)
        .await;
    assert_eq!(replaced.body["spec"], json!({"y": 3}));

    let strategic = harness
        .send_as(
            "application/strategic-merge-patch+json",
            "PATCH",
            &path,
            &json!({}),
        )
        .await;
    assert_eq!(strategic.code, 415);
    assert_eq!(
        strategic.body["message"],
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
         application/merge-patch+json, application/apply-patch+yaml"
    );
    let failed = harness
        .send_as(
            "application/json-patch+json",
            "PATCH",
            &path,
            &json!([{"op": "test", "path": "/spec/y", "value": 9}]),
        )
        .await;
    assert_eq!(
        (failed.code, failed.body["reason"].as_str()),
        (422, Some("Invalid"))
    );
    assert_eq!(
        failed.body["message"],
        "the server rejected our request due to an error in our request"
    );
    let forced = harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &format!("{path}?force=true"),
            &json!({}),
        )
        .await;
    assert_eq!(forced.code, 422);
    assert_eq!(
        harness
            .send_as(
                "application/merge-patch+json",
                "PATCH",
                &format!("{WIDGETS}/zz"),
                &json!({})
            )
            .await
            .code,
        404
    );
}

#[tokio::test]
async fn a_patch_that_names_a_version_conflicts_and_one_that_names_none_does_not() {
    let harness = Harness::new().await;
    let created = harness.create("a", json!({})).await;
    let path = format!("{WIDGETS}/a");
    let merge = "application/merge-patch+json";
    assert_eq!(
        harness
            .send_as(merge, "PATCH", &path, &json!({"spec": {"x": 1}}))
            .await
            .code,
        200
    );
    let version = &created["metadata"]["resourceVersion"];
    let stale = harness
        .send_as(
            merge,
            "PATCH",
            &path,
            &json!({"metadata": {"resourceVersion": version}, "spec": {"x": 2}}),
        )
        .await;
    assert_eq!(
        (stale.code, stale.body["reason"].as_str()),
        (409, Some("Conflict"))
    );

    let api = harness.widgets("default");
    let patches = (0..8).map(|number| {
        let api = api.clone();
        tokio::spawn(async move {
            let patch = json!({"spec": {format!("k{number}"): number}});
            api.patch("a", &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .map(|_| ())
        })
    });
    let outcomes = futures::future::join_all(patches).await;
    let done = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Ok(()))))
        .count();
    let fields = api.get("a").await.expect("it exists").data["spec"]
        .as_object()
        .expect("a spec")
        .len();
    assert_eq!(fields, done + 1, "every patch that was acknowledged is there");
}

#[tokio::test]
async fn scale_reads_and_writes_the_replicas() {
    let harness = Harness::new().await;
    harness.create("a", json!({"replicas": 1})).await;
    let path = format!("{WIDGETS}/a/scale");
    let read = harness.send("GET", &path, &json!(null)).await;
    assert_eq!(
        (&read.body["kind"], &read.body["spec"]),
        (&json!("Scale"), &json!({"replicas": 1}))
    );
    let patched = harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &path,
            &json!({"spec": {"replicas": 3}}),
        )
        .await;
    assert_eq!(
        (patched.code, &patched.body["spec"]),
        (200, &json!({"replicas": 3}))
    );
    let mut scale = patched.body;
    scale["spec"]["replicas"] = 4.into();
    let put = harness.send("PUT", &path, &scale).await;
    assert_eq!((put.code, &put.body["spec"]["replicas"]), (200, &json!(4)));
    let object = harness.send("GET", &format!("{WIDGETS}/a"), &json!(null)).await;
    assert_eq!(object.body["spec"]["replicas"], 4);
    let stale = harness.send("PUT", &path, &scale).await;
    assert_eq!(stale.code, 409);
    let negative = harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &path,
            &json!({"spec": {"replicas": -1}}),
        )
        .await;
    assert_eq!(negative.code, 422);
}
