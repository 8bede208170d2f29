//! Edgeloom's kinds as the API server serves them: defaults, bounds, rules between fields.

use crds::{EdgeLink, LLMService, Placement};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tests::control_plane::ControlPlane;

/// Creates an object and says how the server refuses it.
async fn refusal<K>(plane: &ControlPlane, api: Api<DynamicObject>, object: Value) -> String
where
    K: kube::Resource,
    K::DynamicType: Default,
{
    let _ = plane;
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    match api.create(&PostParams::default(), &object).await {
        Ok(object) => panic!("the server takes {object:?}"),
        Err(error) => error.to_string(),
    }
}

fn dynamic<K>(plane: &ControlPlane) -> Api<DynamicObject>
where
    K: kube::Resource,
    K::DynamicType: Default,
{
    let kind = kube::api::ApiResource::erase::<K>(&K::DynamicType::default());
    if kind.plural == "edgelinks" {
        Api::all_with(plane.client.clone(), &kind)
    } else {
        Api::namespaced_with(plane.client.clone(), "default", &kind)
    }
}

fn service(spec: Value) -> Value {
    json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "LLMService",
        "metadata": { "name": "chat", "namespace": "default" }, "spec": spec,
    })
}

#[tokio::test]
async fn a_service_that_names_only_a_model_gets_every_default() {
    let plane = ControlPlane::start().await;
    let created: LLMService = plane
        .create(service(json!({ "models": [{ "name": "m" }] })))
        .await;
    assert_eq!(
        (
            created.spec.context_tokens,
            created.spec.concurrency,
            created.spec.replicas
        ),
        (2048, 1, 1)
    );
    assert_eq!(created.spec.modes, crds::InferenceMode::defaults());
    assert_eq!(created.metadata.generation, Some(1));
}

/// To kstatus, and so to `helm --wait`, an object without conditions is as it should be.
#[tokio::test]
async fn what_nobody_has_looked_at_says_so_and_no_longer_than_that() {
    let plane = ControlPlane::start().await;
    let created: LLMService = plane
        .create(service(json!({ "models": [{ "name": "m" }] })))
        .await;
    let of = |service: &LLMService| {
        let conditions = service.status.iter().flat_map(|status| &status.conditions);
        let told = conditions.map(|told| (told.type_.clone(), told.status.clone(), told.reason.clone()));
        told.collect::<Vec<_>>()
    };
    let words = |type_: &str, status: &str, reason: &str| vec![(type_.into(), status.into(), reason.into())];
    assert_eq!(of(&created), words("Ready", "Unknown", "NotObservedYet"));
    let api: Api<LLMService> = Api::namespaced(plane.client.clone(), "default");
    let read = api.get("chat").await.expect("the service");
    assert_eq!(of(&read), of(&created), "not only in the answer");

    let looked = json!({ "status": { "conditions": [{
        "type": "Feasible", "status": "True", "reason": "AsDesired", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] } });
    let patched = api
        .patch_status("chat", &PatchParams::default(), &Patch::Merge(&looked))
        .await
        .expect("a status is written");
    assert_eq!(of(&patched), words("Feasible", "True", "AsDesired"));
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_with_what_would_be_right() {
    let plane = ControlPlane::start().await;
    let cases = [
        (json!({ "models": [] }), "spec.models"),
        (
            json!({ "models": [{ "name": "a" }, { "name": "a" }] }),
            "Duplicate value",
        ),
        (
            json!({ "models": [{ "name": "a" }], "modes": ["Sideways"] }),
            "spec.modes",
        ),
        (
            json!({ "models": [{ "name": "a" }], "contextTokens": 256 }),
            "outputTokensMax must not exceed",
        ),
        (
            json!({ "models": [{ "name": "a" }], "privacy": { "level": "TrustedOnly" } }),
            "privacy.trustDomains must name at least one domain",
        ),
    ];
    for (spec, expected) in cases {
        let said = refusal::<LLMService>(&plane, dynamic::<LLMService>(&plane), service(spec)).await;
        assert!(said.contains(expected), "{said} does not say {expected}");
    }
}

#[tokio::test]
async fn a_link_joins_two_nodes_at_a_rate_that_is_a_quantity() {
    let plane = ControlPlane::start().await;
    let link = |to: &str, rate: &str| {
        json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeLink", "metadata": { "name": "l" },
            "spec": { "from": "a", "to": to, "rateBitsPerSecond": rate },
        })
    };
    let said = refusal::<EdgeLink>(&plane, dynamic::<EdgeLink>(&plane), link("a", "20M")).await;
    assert!(said.contains("from and to are equal"), "{said}");
    let said = refusal::<EdgeLink>(&plane, dynamic::<EdgeLink>(&plane), link("b", "fast")).await;
    assert!(said.contains("spec.rateBitsPerSecond"), "{said}");
}

#[tokio::test]
async fn a_decision_cannot_be_changed_afterwards() {
    let plane = ControlPlane::start().await;
    let manifest = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "Placement", "metadata": { "name": "p" },
        "spec": {
            "service": "chat", "contextTokens": 1024, "sessions": 1,
            "model": {
                "name": "m", "variant": "v", "digest": "d", "uri": "file:///m", "layers": 2, "quantisation": "Q4_1",
            },
            "pipelines": [{
                "name": "default/chat/0", "revision": 1, "mode": "OnServer", "prefillChunkRows": 128,
                "predicted": { "timeToFirstTokenMicroseconds": 1, "timePerOutputTokenMicroseconds": 1 },
                "stages": [{
                    "stage": "s", "node": "n", "device": "cpu", "firstLayer": 0, "endLayer": 2,
                    "memory": { "weightsBytes": 1, "keyValueBytes": 1, "computeBytes": 1, "totalBytes": 3 },
                    "cost": {
                        "prefillMicroseconds": 1, "decodeMicroseconds": 1,
                        "hopPrefillMicroseconds": 0, "hopDecodeMicroseconds": 0,
                    },
                }],
            }],
        },
    });
    let mut placement: Placement = plane.create(manifest).await;
    placement.spec.sessions = 2;
    let replaced = plane
        .namespaced::<Placement>()
        .replace("p", &PostParams::default(), &placement)
        .await;
    let said = replaced.expect_err("the spec is immutable").to_string();
    assert!(said.contains("a Placement's spec is immutable"), "{said}");
}
