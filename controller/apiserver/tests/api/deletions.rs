//! Deletion: finalizers, preconditions, propagation, collections.

use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::runtime::finalizer::{Event, finalizer};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::harness::{Harness, WIDGETS, widget_body};

const MERGE: &str = "application/merge-patch+json";

async fn with_finalizer(harness: &Harness, name: &str) -> Value {
    let body = widget_body(json!({"metadata": {"name": name, "finalizers": ["edge.test/f"]}}));
    let made = harness.send("POST", WIDGETS, &body).await;
    assert_eq!(made.code, 201);
    made.body
}

#[tokio::test]
async fn finalizers_keep_an_object_until_the_last_is_gone() {
    let harness = Harness::new().await;
    with_finalizer(&harness, "a").await;
    let path = format!("{WIDGETS}/a");
    let deleted = harness.send("DELETE", &path, &json!(null)).await;
    let metadata = &deleted.body["metadata"];
    assert_eq!(
        (
            deleted.code,
            &metadata["generation"],
            &metadata["deletionGracePeriodSeconds"]
        ),
        (200, &json!(2), &json!(0))
    );
    assert!(metadata["deletionTimestamp"].is_string());
    assert_eq!(
        harness.send("DELETE", &path, &json!(null)).await.body,
        deleted.body,
        "a second deletion changes nothing"
    );

    let added = harness
        .send_as(
            MERGE,
            "PATCH",
            &path,
            &json!({"metadata": {"finalizers": ["edge.test/f", "edge.test/g"]}}),
        )
        .await;
    assert_eq!(added.code, 422);
    let undeleted = harness
        .send_as(
            MERGE,
            "PATCH",
            &path,
            &json!({"metadata": {"deletionTimestamp": null}, "spec": {"x": 1}}),
        )
        .await;
    assert!(
        undeleted.body["metadata"]["deletionTimestamp"].is_string(),
        "deletion cannot be taken back"
    );
    let released = harness
        .send_as(MERGE, "PATCH", &path, &json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(released.code, 200);
    assert_eq!(harness.send("GET", &path, &json!(null)).await.code, 404);
}

#[tokio::test]
async fn kubes_finalizer_helper_runs_through() {
    let harness = Harness::new().await;
    harness.create("a", json!({})).await;
    let api = harness.widgets("default");
    let reconcile = async || {
        let object = Arc::new(api.get("a").await.expect("it exists"));
        finalizer(&api, "edge.test/helper", object, |event| async move {
            match event {
                Event::Apply(_) | Event::Cleanup(_) => {
                    Ok::<_, std::convert::Infallible>(kube::runtime::controller::Action::await_change())
                }
            }
        })
        .await
        .expect("the server takes its patches");
    };
    reconcile().await;
    assert_eq!(
        api.get("a").await.expect("it exists").metadata.finalizers,
        Some(vec!["edge.test/helper".to_owned()])
    );
    reconcile().await;
    assert!(
        api.delete("a", &DeleteParams::default())
            .await
            .expect("it exists")
            .is_left()
    );
    reconcile().await;
    assert!(api.get_opt("a").await.expect("an answer").is_none());
}

#[tokio::test]
async fn preconditions_protect_a_successor() {
    let harness = Harness::new().await;
    let created = harness.create("a", json!({})).await;
    let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "x"}});
    let refused = harness.send("DELETE", &format!("{WIDGETS}/a"), &body).await;
    assert_eq!(refused.code, 409);
    let uid = created["metadata"]["uid"].as_str().expect("a uid").to_owned();
    let message = refused.body["message"].as_str().expect("a message");
    let text = format!("the UID in the precondition (x) does not match the UID in record ({uid})");
    assert!(message.contains(&text), "{message}");
    let preconditions = Preconditions {
        uid: Some(uid),
        resource_version: None,
    };
    let parameters = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    harness
        .widgets("default")
        .delete("a", &parameters)
        .await
        .expect("it is the one");
}

#[tokio::test]
async fn propagation_is_a_finalizer_for_the_collector_of_garbage() {
    let harness = Harness::new().await;
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        let name = policy.to_lowercase();
        harness.create(&name, json!({})).await;
        let path = format!("{WIDGETS}/{name}");
        let waiting = harness
            .send("DELETE", &path, &json!({ "propagationPolicy": policy }))
            .await;
        assert_eq!(
            (waiting.code, &waiting.body["metadata"]["finalizers"]),
            (200, &json!([finalizer]))
        );
        let again = harness
            .send("DELETE", &path, &json!({ "propagationPolicy": policy }))
            .await;
        assert_eq!(again.body, waiting.body);
        let changed = harness
            .send(
                "DELETE",
                &format!("{path}?propagationPolicy=Background"),
                &json!(null),
            )
            .await;
        assert_eq!(
            (changed.code, changed.body["status"].as_str()),
            (200, Some("Success"))
        );
    }
    harness.create("a", json!({})).await;
    let unknown = harness
        .send(
            "DELETE",
            &format!("{WIDGETS}/a"),
            &json!({"propagationPolicy": "Sideways"}),
        )
        .await;
    assert_eq!(unknown.code, 422);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector_and_given_back() {
    let harness = Harness::new().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        harness
            .send(
                "POST",
                WIDGETS,
                &widget_body(json!({"metadata": {"name": name, "labels": {"l": label}}})),
            )
            .await;
    }
    let api = harness.widgets("default");
    let deleted = api
        .delete_collection(&DeleteParams::default(), &ListParams::default().labels("l=x"))
        .await
        .expect("they exist");
    assert_eq!(deleted.left().expect("a list").items.len(), 2);
    let left: Vec<_> = api
        .list(&ListParams::default())
        .await
        .expect("a list")
        .items
        .into_iter()
        .filter_map(|item| item.metadata.name)
        .collect();
    assert_eq!(left, ["b"]);
}
