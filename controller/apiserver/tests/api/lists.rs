//! Lists: pages, versions, selectors.

use std::sync::Arc;

use apiserver::store::{Memory, Store};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kube::api::ListParams;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::harness::{Harness, WIDGETS, widget_body};

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list");
    items
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect()
}

async fn get(harness: &Harness, query: &str) -> Value {
    let answer = harness
        .send("GET", &format!("{WIDGETS}{query}"), &json!(null))
        .await;
    assert_eq!(answer.code, 200, "{query}: {}", answer.body);
    answer.body
}

#[tokio::test]
async fn pages_are_read_at_one_revision() {
    let harness = Harness::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        harness.create(name, json!({})).await;
    }
    let first = get(&harness, "?limit=2").await;
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["a", "b"], &json!(3))
    );
    assert_eq!(
        (&first["kind"], &first["apiVersion"]),
        (&json!("WidgetList"), &json!("edge.test/v1"))
    );
    harness
        .send("DELETE", &format!("{WIDGETS}/c"), &json!(null))
        .await;
    harness.create("bb", json!({})).await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let second = get(&harness, &format!("?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().expect("a token");
    let last = get(&harness, &format!("?limit=2&continue={token}")).await;
    assert_eq!(
        (names(&last), last["metadata"].get("continue")),
        (vec!["e"], Some(&json!("")))
    );
    assert_eq!(names(&get(&harness, "").await), ["a", "b", "bb", "d", "e"]);
}

#[tokio::test]
async fn a_page_of_a_compacted_revision_is_expired_and_may_go_on_inconsistently() {
    let store = Arc::new(Memory::new());
    let harness = Harness::over(store.clone()).await;
    for name in ["a", "b", "c"] {
        harness.create(name, json!({})).await;
    }
    let first = get(&harness, "?limit=1").await;
    harness.create("d", json!({})).await;
    store
        .compact(store.revision().await.expect("a revision"))
        .await
        .expect("compaction works");
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let expired = harness
        .send(
            "GET",
            &format!("{WIDGETS}?limit=1&continue={token}"),
            &json!(null),
        )
        .await;
    assert_eq!(
        (expired.code, expired.body["reason"].as_str()),
        (410, Some("Expired"))
    );
    let token = expired.body["metadata"]["continue"]
        .as_str()
        .expect("a token to go on with");
    assert_eq!(
        names(&get(&harness, &format!("?limit=5&continue={token}")).await),
        ["b", "c", "d"]
    );
}

#[tokio::test]
async fn versions_are_exact_or_at_least_or_from_the_future() {
    let harness = Harness::new().await;
    let first = harness.create("a", json!({})).await;
    let then = first["metadata"]["resourceVersion"].as_str().expect("a version");
    harness.create("b", json!({})).await;
    assert_eq!(
        names(
            &get(
                &harness,
                &format!("?resourceVersion={then}&resourceVersionMatch=Exact")
            )
            .await
        ),
        ["a"]
    );
    assert_eq!(
        names(
            &get(
                &harness,
                &format!("?resourceVersion={then}&resourceVersionMatch=NotOlderThan")
            )
            .await
        ),
        ["a", "b"]
    );
    assert_eq!(names(&get(&harness, "?resourceVersion=0").await), ["a", "b"]);
    let current = harness.server.store().revision().await.expect("a revision");
    let future = harness
        .send(
            "GET",
            &format!("{WIDGETS}?resourceVersion={}", current + 5),
            &json!(null),
        )
        .await;
    assert_eq!(future.code, 504);
    let message = format!(
        "Timeout: Too large resource version: {}, current: {current}",
        current + 5
    );
    assert_eq!(future.body["message"], message);
    assert_eq!(future.body["details"]["retryAfterSeconds"], 1);
    assert_eq!(
        future.body["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
}

#[tokio::test]
async fn selectors_restrict_by_labels_and_known_fields() {
    let harness = Harness::new().await;
    for (name, tier, node) in [("a", "x", "n1"), ("b", "y", "n1"), ("c", "x", "n2")] {
        let labels = json!({ "tier": tier });
        let body = widget_body(json!({"metadata": {"name": name, "labels": labels}, "spec": {"node": node}}));
        assert_eq!(harness.send("POST", WIDGETS, &body).await.code, 201);
    }
    let api = harness.widgets("default");
    let listed = async |parameters: ListParams| {
        let list = api.list(&parameters).await.expect("a list");
        list.items
            .into_iter()
            .filter_map(|item| item.metadata.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(ListParams::default().labels("tier=x")).await, ["a", "c"]);
    assert_eq!(
        listed(ListParams::default().labels("tier notin (x),tier")).await,
        ["b"]
    );
    assert_eq!(
        listed(ListParams::default().fields("spec.node=n1")).await,
        ["a", "b"]
    );
    assert_eq!(
        listed(ListParams::default().fields("metadata.name=c")).await,
        ["c"]
    );
    assert_eq!(
        listed(ListParams::default().labels("tier=x").fields("spec.node!=n1")).await,
        ["c"]
    );
    let unknown = harness
        .send(
            "GET",
            &format!("{WIDGETS}?fieldSelector=spec.x%3D1"),
            &json!(null),
        )
        .await;
    assert_eq!(
        (unknown.code, unknown.body["message"].as_str()),
        (400, Some("field label not supported: spec.x"))
    );

    let page = get(&harness, "?limit=1&labelSelector=tier%3Dx").await;
    assert_eq!(
        (names(&page), page["metadata"].get("remainingItemCount")),
        (vec!["a"], None)
    );
    let token = page["metadata"]["continue"].as_str().expect("a token");
    let rest = get(
        &harness,
        &format!("?limit=1&labelSelector=tier%3Dx&continue={token}"),
    )
    .await;
    assert_eq!(
        (names(&rest), rest["metadata"].get("continue")),
        (vec!["c"], Some(&json!("")))
    );
}

#[tokio::test]
async fn a_list_over_all_namespaces_and_metadata_only() {
    let harness = Harness::new().await;
    harness.create("a", json!({"x": 1})).await;
    harness
        .send(
            "POST",
            "/apis/edge.test/v1/namespaces/other/widgets",
            &widget_body(json!({"metadata": {"name": "b"}})),
        )
        .await;
    let all = harness
        .send("GET", "/apis/edge.test/v1/widgets", &json!(null))
        .await;
    assert_eq!(names(&all.body), ["a", "b"]);
    let list = harness
        .widgets("default")
        .list_metadata(&ListParams::default())
        .await
        .expect("metadata");
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("a"));
}

/// Tokens that this server never gave: of its own form with other fields, and its own with bytes replaced.
fn tampered(token: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let version = prop_oneof![Just("meta.k8s.io/v1".to_owned()), ".{0,8}"];
    let revision = prop_oneof![-2..12_i64, any::<i64>()];
    let start = prop_oneof!["[a-z/.]{0,8}", ".{0,8}", Just("other/a".to_owned())];
    let forged = (version, revision, start).prop_map(|(version, revision, start)| {
        let fields = json!({"v": version, "rv": revision, "start": start});
        URL_SAFE_NO_PAD.encode(fields.to_string()).into_bytes()
    });
    let bytes = token.as_bytes().to_vec();
    let wounds = prop::collection::vec((0..bytes.len(), any::<u8>()), 1..4);
    let damaged = wounds.prop_map(move |wounds| {
        let mut bytes = bytes.clone();
        for (place, byte) in wounds {
            bytes[place] = byte;
        }
        bytes
    });
    prop_oneof![forged, damaged, prop::collection::vec(any::<u8>(), 0..24)]
}

#[test]
fn a_token_that_was_tampered_with_gives_a_page_or_is_refused() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let harness = runtime.block_on(Harness::new());
    let token = runtime.block_on(async {
        for name in ["a", "b", "c"] {
            harness.create(name, json!({})).await;
        }
        get(&harness, "?limit=1").await["metadata"]["continue"].clone()
    });
    let token = token.as_str().expect("a token");
    let check = |bytes: Vec<u8>| {
        let escaped: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("{WIDGETS}?limit=2&continue={escaped}");
        let answer = runtime.block_on(harness.send("GET", &path, &json!(null)));
        // A version from the future may come to be.
        prop_assert!([200, 400, 410, 504].contains(&answer.code), "{path}: {answer:?}");
        if answer.code == 200 {
            let names = names(&answer.body);
            prop_assert!(
                names.iter().all(|name| ["a", "b", "c"].contains(name)),
                "{path}: {names:?}"
            );
        }
        Ok(())
    };
    TestRunner::default()
        .run(&tampered(token), check)
        .expect("no token breaks the server");
}
