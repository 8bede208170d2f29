//! Custom resources from their definition to their end.

use std::sync::Arc;

use apiserver::store::Memory;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};

use crate::harness::{Harness, SOON};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GADGETS: &str = "/apis/edge.test/v1/namespaces/default/gadgets";

fn gadgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.edge.test"},
        "spec": {
            "group": "edge.test",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": ["gd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {
                            "type": "object",
                            "properties": {
                                "replicas": {"type": "integer", "default": 1, "minimum": 0},
                                "name": {"type": "string"},
                            },
                            "x-kubernetes-validations": [{"rule": "self.replicas < 10", "message": "too many"}],
                        },
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                }},
            }],
        },
    })
}

async fn define(harness: &Harness) {
    let api: Api<CustomResourceDefinition> = Api::all(harness.client.clone());
    let definition = serde_json::from_value(gadgets()).expect("a definition");
    api.create(&PostParams::default(), &definition)
        .await
        .expect("it is valid");
    established(&api).await;
}

async fn established(api: &Api<CustomResourceDefinition>) {
    let established = await_condition(api.clone(), "gadgets.edge.test", conditions::is_crd_established());
    tokio::time::timeout(SOON, established)
        .await
        .expect("it is established soon")
        .expect("the watch works");
}

/// A body of a gadget: its type, and these fields.
fn gadget(fields: Value) -> Value {
    let mut body = json!({"apiVersion": "edge.test/v1", "kind": "Gadget"});
    let own = body.as_object_mut().expect("an object");
    own.extend(fields.as_object().expect("fields").clone());
    body
}

async fn until_gone(harness: &Harness, path: &str) {
    let deadline = tokio::time::Instant::now() + SOON;
    while harness.send("GET", path, &json!(null)).await.code != 404 {
        assert!(tokio::time::Instant::now() < deadline, "{path} does not go");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_established_kind_is_served_validated_and_printed() {
    let harness = Harness::new().await;
    define(&harness).await;
    let made = harness
        .send(
            "POST",
            GADGETS,
            &gadget(json!({"metadata": {"name": "a"}, "spec": {"x": 1}})),
        )
        .await;
    assert_eq!(
        (made.code, &made.body["spec"]),
        (201, &json!({"replicas": 1})),
        "unknown fields go, defaults come"
    );
    assert_eq!(made.warnings, [r#"299 - "unknown field \"spec.x\"""#]);

    let strict = format!("{GADGETS}?fieldValidation=Strict");
    let refused = harness
        .send(
            "POST",
            &strict,
            &gadget(json!({"metadata": {"name": "b"}, "spec": {"zz": 1}})),
        )
        .await;
    assert_eq!(refused.code, 400);
    assert_eq!(
        refused.body["message"],
        r#"Gadget in version "v1" cannot be handled as a Gadget: strict decoding error: unknown field "spec.zz""#
    );
    let invalid = harness
        .send(
            "POST",
            GADGETS,
            &gadget(json!({"metadata": {"name": "b"}, "spec": {"replicas": 11}})),
        )
        .await;
    assert_eq!(invalid.code, 422);
    assert_eq!(
        invalid.body["message"],
        r#"Gadget.edge.test "b" is invalid: spec: Invalid value: too many"#
    );
    let patch = json!({"spec": {"zz": 1}});
    let path = format!("{GADGETS}/a?fieldValidation=Strict");
    let refused = harness
        .send_as("application/merge-patch+json", "PATCH", &path, &patch)
        .await;
    assert_eq!(
        (refused.code, &refused.body["details"]["causes"][0]["field"]),
        (422, &json!("patch"))
    );

    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = harness.get_accepting(GADGETS, accept).await;
    assert_eq!(table.body["kind"], "Table");
    assert_eq!(table.body["columnDefinitions"][1]["name"], "Replicas");
    let cells = &table.body["rows"][0]["cells"];
    assert_eq!((&cells[0], &cells[1]), (&json!("a"), &json!(1)));
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let harness = Harness::new().await;
    define(&harness).await;
    let object = gadget(json!({"metadata": {"name": "a", "finalizers": ["edge.test/f"]}, "spec": {}}));
    assert_eq!(harness.send("POST", GADGETS, &object).await.code, 201);
    assert_eq!(
        harness
            .send(
                "POST",
                GADGETS,
                &gadget(json!({"metadata": {"name": "b"}, "spec": {}}))
            )
            .await
            .code,
        201
    );
    let api: Api<CustomResourceDefinition> = Api::all(harness.client.clone());
    let waiting = api
        .delete("gadgets.edge.test", &DeleteParams::default())
        .await
        .expect("it exists");
    assert!(waiting.is_left(), "it waits for its objects");
    until_gone(&harness, &format!("{GADGETS}/b")).await;
    let held = harness.send("GET", &format!("{GADGETS}/a"), &json!(null)).await;
    assert!(held.body["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(
        harness
            .send(
                "POST",
                GADGETS,
                &gadget(json!({"metadata": {"name": "c"}, "spec": {}}))
            )
            .await
            .code,
        405
    );

    let released = json!({"metadata": {"finalizers": null}});
    harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &format!("{GADGETS}/a"),
            &released,
        )
        .await;
    until_gone(&harness, &format!("{DEFINITIONS}/gadgets.edge.test")).await;
    until_gone(&harness, GADGETS).await;
    define(&harness).await;
    let empty = harness.send("GET", GADGETS, &json!(null)).await;
    assert_eq!(
        empty.body["items"],
        json!([]),
        "a new definition of the same name starts empty"
    );
}

#[tokio::test]
async fn a_server_that_starts_again_knows_its_kinds_at_once() {
    let store = Arc::new(Memory::new());
    let first = Harness::over(store.clone()).await;
    define(&first).await;
    first
        .send(
            "POST",
            GADGETS,
            &gadget(json!({"metadata": {"name": "a"}, "spec": {}})),
        )
        .await;
    drop(first);
    let second = Harness::over(store).await;
    assert_eq!(
        second
            .send("GET", &format!("{GADGETS}/a"), &json!(null))
            .await
            .code,
        200
    );
}

/// The one gadget as every way of reading shows it.
async fn shown(harness: &Harness, version: &str) -> Value {
    let gadgets = format!("/apis/edge.test/{version}/namespaces/default/gadgets");
    let one = harness
        .send("GET", &format!("{gadgets}/a"), &json!(null))
        .await
        .body;
    for query in [
        "",
        "?labelSelector=app=x",
        "?fieldSelector=metadata.name=a",
        "?limit=1",
    ] {
        let list = harness
            .send("GET", &format!("{gadgets}{query}"), &json!(null))
            .await;
        assert_eq!(list.body["items"], json!([one]), "{version} {query}");
        assert_eq!(list.body["apiVersion"], format!("edge.test/{version}"));
    }
    let path = format!("{gadgets}?watch=true&timeoutSeconds=1");
    let events = harness.send("GET", &path, &json!(null)).await.body;
    assert_eq!(events, json!({"type": "ADDED", "object": one}), "{version}");
    one
}

#[tokio::test]
async fn what_was_written_under_another_schema_is_read_under_this_one() {
    let harness = Harness::new().await;
    define(&harness).await;
    let gadget = json!({"apiVersion": "edge.test/v1", "kind": "Gadget", "metadata": {"name": "a", "labels": {"app": "x"}},
        "spec": {"name": "n"}});
    let made = harness.send("POST", GADGETS, &gadget).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let before = shown(&harness, "v1").await;
    assert_eq!(before, made.body);

    // A default comes, a field goes, and another version, which keeps everything, is served too.
    let mut changed = gadgets()["spec"].clone();
    let fields = &mut changed["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    fields["tier"] = json!({"type": "string", "default": "basic"});
    fields.as_object_mut().expect("fields").remove("name");
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let other = json!({"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": open}});
    changed["versions"].as_array_mut().expect("versions").push(other);
    change_definition(&harness, changed).await;
    until_shown(&harness, "v1", &json!({"replicas": 1, "tier": "basic"})).await;
    let now = shown(&harness, "v1").await;
    assert_eq!(now["metadata"], before["metadata"], "nothing was written");
    let in_other = shown(&harness, "v2").await;
    assert_eq!(in_other["apiVersion"], "edge.test/v2");
    assert_eq!(in_other["spec"], before["spec"]);

    // And back: what was not written is not lost.
    change_definition(&harness, gadgets()["spec"].clone()).await;
    until_shown(&harness, "v1", &before["spec"]).await;
    assert_eq!(shown(&harness, "v1").await, before);
}

async fn change_definition(harness: &Harness, spec: Value) {
    let path = format!("{DEFINITIONS}/gadgets.edge.test");
    let merge = "application/merge-patch+json";
    let changed = harness
        .send_as(merge, "PATCH", &path, &json!({"spec": spec}))
        .await;
    assert_eq!(changed.code, 200, "{}", changed.body);
}

async fn until_shown(harness: &Harness, version: &str, spec: &Value) {
    let path = format!("/apis/edge.test/{version}/namespaces/default/gadgets/a");
    let deadline = tokio::time::Instant::now() + SOON;
    while harness.send("GET", &path, &json!(null)).await.body["spec"] != *spec {
        assert!(tokio::time::Instant::now() < deadline, "the schema is not served");
        tokio::task::yield_now().await;
    }
}
