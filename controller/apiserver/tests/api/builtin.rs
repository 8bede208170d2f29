//! Built-in kinds through kube's typed clients, and the rules that only they have.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::harness::{Harness, SOON};

#[tokio::test]
async fn config_maps_take_strategic_patches_and_updates_without_a_version() {
    let harness = Harness::new().await;
    let api: Api<ConfigMap> = Api::default_namespaced(harness.client.clone());
    let data = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let mut map = ConfigMap {
        data: Some(data),
        ..ConfigMap::default()
    };
    map.metadata.name = Some("m".to_owned());
    let made = api.create(&PostParams::default(), &map).await.expect("it is new");
    assert_eq!(
        made.metadata.generation, None,
        "kinds of the core group have none"
    );
    let patch = json!({"data": {"b": "2", "a": null}});
    let patched = api
        .patch("m", &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .expect("it exists");
    assert_eq!(
        patched.data,
        Some(BTreeMap::from([("b".to_owned(), "2".to_owned())]))
    );
    api.replace("m", &PostParams::default(), &map)
        .await
        .expect("no version needs to be named");
}

#[tokio::test]
async fn string_data_of_secrets_is_encoded() {
    let harness = Harness::new().await;
    let api: Api<Secret> = Api::default_namespaced(harness.client.clone());
    let mut secret = Secret {
        string_data: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])),
        ..Secret::default()
    };
    secret.metadata.name = Some("s".to_owned());
    let made = api
        .create(&PostParams::default(), &secret)
        .await
        .expect("it is new");
    assert_eq!(made.data.expect("data")["k"].0, b"v");
    assert_eq!((made.string_data, made.type_.as_deref()), (None, Some("Opaque")));
}

#[tokio::test]
async fn a_lease_is_made_by_an_update_and_guarded_by_its_version() {
    let harness = Harness::new().await;
    let api: Api<Lease> = Api::default_namespaced(harness.client.clone());
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}});
    let put = harness.send("PUT", path, &body).await;
    assert_eq!(put.code, 201, "{}", put.body);
    let mut held = api.get("l").await.expect("it exists");
    let spec = held.spec.get_or_insert_default();
    spec.holder_identity = Some("me".to_owned());
    api.replace("l", &PostParams::default(), &held)
        .await
        .expect("it is unchanged");
    let error = api
        .replace("l", &PostParams::default(), &held)
        .await
        .expect_err("it has changed");
    assert!(matches!(error, kube::Error::Api(status) if status.is_conflict()));
}

#[tokio::test]
async fn objects_need_a_namespace_that_exists_and_stays() {
    let harness = Harness::new().await;
    let path = "/api/v1/namespaces/nowhere/configmaps";
    let refused = harness
        .send("POST", path, &json!({"metadata": {"name": "m"}}))
        .await;
    assert_eq!(
        (refused.code, refused.body["message"].as_str()),
        (404, Some(r#"namespaces "nowhere" not found"#))
    );
    let kept = harness
        .send("DELETE", "/api/v1/namespaces/default", &json!(null))
        .await;
    assert_eq!(kept.code, 403);
    assert_eq!(
        kept.body["message"],
        r#"namespaces "default" is forbidden: this namespace may not be deleted"#
    );
}

#[tokio::test]
async fn a_deleted_namespace_is_emptied_first() {
    let harness = Harness::new().await;
    let namespaces: Api<Namespace> = Api::all(harness.client.clone());
    assert_eq!(
        namespaces.get("other").await.expect("it exists").labels()["kubernetes.io/metadata.name"],
        "other"
    );
    let body = json!({"metadata": {"name": "m", "finalizers": ["edge.test/f"]}});
    let maps = "/api/v1/namespaces/other/configmaps";
    assert_eq!(harness.send("POST", maps, &body).await.code, 201);
    let waiting = namespaces
        .delete("other", &DeleteParams::default())
        .await
        .expect("it exists")
        .left()
        .expect("it waits");
    assert_eq!(
        waiting.status.and_then(|status| status.phase).as_deref(),
        Some("Terminating")
    );
    let refused = harness
        .send("POST", maps, &json!({"metadata": {"name": "late"}}))
        .await;
    assert_eq!(
        (refused.code, &refused.body["details"]["causes"][0]["reason"]),
        (403, &json!("NamespaceTerminating"))
    );
    let deadline = tokio::time::Instant::now() + SOON;
    let path = format!("{maps}/m");
    while !harness.send("GET", &path, &json!(null)).await.body["metadata"]["deletionTimestamp"].is_string() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the content is not deleted"
        );
        tokio::task::yield_now().await;
    }
    harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &path,
            &json!({"metadata": {"finalizers": null}}),
        )
        .await;
    while namespaces.get_opt("other").await.expect("an answer").is_some() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the namespace does not go"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn events_of_both_groups_are_the_same_objects() {
    let harness = Harness::new().await;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "action": "A", "eventTime": "2026-11-22T13:24:34.175120Z",
        "metadata": {"name": "k1.1", "namespace": "default"}, "note": "n", "reason": "R", "type": "Normal",
        "regarding": {"kind": "Widget", "name": "k1", "namespace": "default"},
        "reportingController": "c", "reportingInstance": "i",
    });
    let made = harness
        .send("POST", "/apis/events.k8s.io/v1/namespaces/default/events", &event)
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let path = "/api/v1/namespaces/default/events";
    let core = harness
        .send(
            "GET",
            &format!("{path}?fieldSelector=involvedObject.name%3Dk1"),
            &json!(null),
        )
        .await;
    assert_eq!(
        (
            &core.body["items"][0]["message"],
            &core.body["items"][0]["involvedObject"]["name"]
        ),
        (&json!("n"), &json!("k1"))
    );
    // As upstream: the kind of built-in kinds stands with the list alone.
    assert_eq!(
        (&core.body["apiVersion"], &core.body["kind"]),
        (&json!("v1"), &json!("EventList"))
    );
    assert_eq!(core.body["items"][0].get("apiVersion"), None);
    let none = harness
        .send(
            "GET",
            &format!("{path}?fieldSelector=involvedObject.name%3Dk2"),
            &json!(null),
        )
        .await;
    assert_eq!(none.body["items"], json!([]));
}

#[tokio::test]
async fn the_version_is_a_kubernetes_version() {
    let harness = Harness::new().await;
    let version = harness.client.apiserver_version().await.expect("a version");
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "37"));
    assert!(version.git_version.starts_with("v1.37."));
    let all: Api<ConfigMap> = Api::all(harness.client.clone());
    assert!(
        all.list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .is_empty()
    );
    let unknown = harness
        .send("GET", "/apis/nobody.test/v1/things", &json!(null))
        .await;
    assert_eq!(
        (unknown.code, unknown.body.as_str()),
        (404, Some("404 page not found\n"))
    );
    let metrics = harness.send("GET", "/metrics", &json!(null)).await;
    assert!(
        metrics
            .body
            .as_str()
            .expect("text")
            .contains("apiserver_request_total{")
    );
}
