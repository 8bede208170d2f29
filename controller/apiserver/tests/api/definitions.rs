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
        .send("POST", GADGETS, &json!({"apiVersion": "edge.test/v1", "kind": "Gadget", "metadata": {"name": "a"}, "spec": {"x": 1}}))
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
            &json!({"metadata": {"name": "b"}, "spec": {"zz": 1}}),
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
            &json!({"metadata": {"name": "b"}, "spec": {"replicas": 11}}),
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
    let object = json!({"metadata": {"name": "a", "finalizers": ["edge.test/f"]}, "spec": {}});
    assert_eq!(harness.send("POST", GADGETS, &object).await.code, 201);
    assert_eq!(
        harness
            .send("POST", GADGETS, &json!({"metadata": {"name": "b"}, "spec": {}}))
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
            .send("POST", GADGETS, &json!({"metadata": {"name": "c"}, "spec": {}}))
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
        .send("POST", GADGETS, &json!({"metadata": {"name": "a"}, "spec": {}}))
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
