//! What the server does by itself: owned objects go with their owners, namespaces are emptied.

use serde_json::{Value, json};

use crate::served::Served;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Makes a ConfigMap that these own, as (name, uid, whether they wait for it); gives its UID back.
async fn make(served: &Served, name: &str, owners: &[(&str, &str, bool)], finalizers: &[&str]) -> String {
    let owners: Vec<Value> = owners
        .iter()
        .map(|(name, uid, blocks)| {
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": blocks })
        })
        .collect();
    let metadata = json!({ "name": name, "ownerReferences": owners, "finalizers": finalizers });
    let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
    let (code, made) = served.ask("POST", MAPS, body).await;
    assert_eq!(code, 201, "{made:#}");
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

async fn delete(served: &Served, name: &str, policy: &str) -> Value {
    let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy });
    let (code, body) = served.ask("DELETE", &format!("{MAPS}/{name}"), options).await;
    assert_eq!(code, 200, "{body:#}");
    body
}

fn at(name: &str) -> String {
    format!("{MAPS}/{name}")
}

#[tokio::test]
async fn what_is_owned_goes_after_its_owner_down_the_tree() {
    let served = Served::new().await;
    let root = make(&served, "root", &[], &[]).await;
    let child = make(&served, "child", &[("root", &root, true)], &[]).await;
    make(&served, "grandchild", &[("child", &child, true)], &[]).await;
    make(&served, "stranger", &[], &[]).await;
    delete(&served, "root", "Background").await;
    for gone in ["root", "child", "grandchild"] {
        served.until_gone(&at(gone)).await;
    }
    assert_eq!(served.ask("GET", &at("stranger"), Value::Null).await.0, 200);
}

#[tokio::test]
async fn an_object_that_still_has_an_owner_only_loses_the_reference_to_the_dead_one() {
    let served = Served::new().await;
    let dies = make(&served, "dies", &[], &[]).await;
    let lives = make(&served, "lives", &[], &[]).await;
    make(
        &served,
        "child",
        &[("dies", &dies, true), ("lives", &lives, true)],
        &[],
    )
    .await;
    delete(&served, "dies", "Background").await;
    let only_the_living = |_: u16, child: &Value| {
        let owners = child["metadata"]["ownerReferences"].as_array().unwrap();
        owners.len() == 1 && owners[0]["uid"] == lives
    };
    served.until(&at("child"), only_the_living).await;
}

#[tokio::test]
async fn an_owner_of_the_same_name_but_another_uid_is_no_owner() {
    let served = Served::new().await;
    make(&served, "owner", &[], &[]).await;
    make(
        &served,
        "child",
        &[("owner", "00000000-0000-0000-0000-000000000000", false)],
        &[],
    )
    .await;
    served.until_gone(&at("child")).await;
}

#[tokio::test]
async fn in_the_foreground_the_owner_waits_for_its_dependents() {
    let served = Served::new().await;
    let root = make(&served, "root", &[], &[]).await;
    make(&served, "child", &[("root", &root, true)], &["edge.test/hold"]).await;
    let waiting = delete(&served, "root", "Foreground").await;
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    served
        .until(&at("child"), |_, child| {
            !child["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
    assert_eq!(
        served.ask("GET", &at("root"), Value::Null).await.0,
        200,
        "the child still holds it"
    );
    let (code, _) = served
        .ask(
            "PATCH",
            &at("child"),
            json!({ "metadata": { "finalizers": null } }),
        )
        .await;
    assert_eq!(code, 200);
    served.until_gone(&at("child")).await;
    served.until_gone(&at("root")).await;
}

#[tokio::test]
async fn two_that_own_each_other_do_not_wait_for_ever() {
    let served = Served::new().await;
    let first = make(&served, "first", &[], &[]).await;
    let second = make(&served, "second", &[("first", &first, true)], &[]).await;
    let owner = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "second", "uid": second, "blockOwnerDeletion": true,
    }]);
    served
        .ask(
            "PATCH",
            &at("first"),
            json!({ "metadata": { "ownerReferences": owner } }),
        )
        .await;
    delete(&served, "first", "Foreground").await;
    served.until_gone(&at("first")).await;
    served.until_gone(&at("second")).await;
}

#[tokio::test]
async fn orphans_stay_without_their_owner() {
    let served = Served::new().await;
    let root = make(&served, "root", &[], &[]).await;
    make(&served, "child", &[("root", &root, true)], &[]).await;
    delete(&served, "root", "Orphan").await;
    served.until_gone(&at("root")).await;
    let child = served.until(&at("child"), |code, _| code == 200).await;
    assert!(child["metadata"].get("ownerReferences").is_none(), "{child:#}");
}

#[tokio::test]
async fn a_deleted_namespace_is_emptied_before_it_goes() {
    let served = Served::new().await;
    let space = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "space" } });
    let (code, made) = served.ask("POST", "/api/v1/namespaces", space).await;
    assert_eq!(code, 201, "{made:#}");
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "space");
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    for (name, finalizers) in [("held", json!(["edge.test/hold"])), ("free", json!([]))] {
        let body = json!({ "metadata": { "name": name, "finalizers": finalizers } });
        served
            .ask("POST", "/api/v1/namespaces/space/configmaps", body)
            .await;
    }
    served
        .ask("DELETE", "/api/v1/namespaces/space", Value::Null)
        .await;
    served
        .until_gone("/api/v1/namespaces/space/configmaps/free")
        .await;
    let told = |_: u16, space: &Value| {
        let conditions = space["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        space["status"]["phase"] == "Terminating"
            && conditions
                .iter()
                .any(|one| one["message"].as_str().unwrap().contains("edge.test/hold in 1"))
    };
    served.until("/api/v1/namespaces/space", told).await;
    let body = json!({ "metadata": { "name": "late" } });
    assert_eq!(
        served
            .ask("POST", "/api/v1/namespaces/space/configmaps", body)
            .await
            .0,
        403
    );
    let release = json!({ "metadata": { "finalizers": null } });
    served
        .ask("PATCH", "/api/v1/namespaces/space/configmaps/held", release)
        .await;
    served.until_gone("/api/v1/namespaces/space").await;
}

#[tokio::test]
async fn the_initial_namespaces_exist_and_stay() {
    let served = Served::new().await;
    for name in apiserver::namespace::INITIAL {
        let (code, body) = served
            .ask("DELETE", &format!("/api/v1/namespaces/{name}"), Value::Null)
            .await;
        assert_eq!((code, &body["reason"]), (403, &json!("Forbidden")), "{name}");
    }
}
