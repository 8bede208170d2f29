//! The manager against the API server, with agents that only acknowledge: what is written, when, and that a settled
//! world is left alone.

use std::time::Duration;

use crds::{ConditionType, LLMService, Model, Placement, RouteTable, Stage, condition};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tests::{
    agents::{ScriptedAgent, until_settled, versions},
    control_plane::ControlPlane,
    models::{DIGEST, model},
    wait::until,
};

async fn service(plane: &ControlPlane) {
    let manifest = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "LLMService", "metadata": { "name": "chat" },
        "spec": { "models": [{ "name": "smol" }], "contextTokens": 1024 },
    });
    plane.create::<LLMService>(manifest).await;
}

async fn join(plane: &ControlPlane, name: &str, memory_mib: i64) -> ScriptedAgent {
    ScriptedAgent::join(
        &plane.client,
        name,
        memory_mib,
        DIGEST,
        Duration::from_micros(900),
    )
    .await
}

async fn status_of(plane: &ControlPlane) -> crds::LLMServiceStatus {
    let service = plane
        .namespaced::<LLMService>()
        .get("chat")
        .await
        .expect("the service exists");
    service.status.unwrap_or_default()
}

async fn until_ready(plane: &ControlPlane) -> crds::LLMServiceStatus {
    until("the service is Ready", || async {
        let status = status_of(plane).await;
        (condition::state(&status.conditions, ConditionType::Ready) == Some(true)).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_placed_over_two_nodes_and_then_left_alone() {
    let plane = ControlPlane::start().await;
    let _manager = plane.manager();
    model(&plane).await;
    let (_a, _b) = (join(&plane, "a", 120).await, join(&plane, "b", 120).await);
    service(&plane).await;

    let status = until_ready(&plane).await;
    assert_eq!(status.mode, Some(crds::InferenceMode::Split));
    assert_eq!(status.endpoints.len(), 2);
    let stages = plane
        .cluster::<Stage>()
        .list(&ListParams::default())
        .await
        .expect("stages");
    let mut layers: Vec<_> = stages
        .iter()
        .map(|stage| (stage.spec.first_layer, stage.spec.end_layer))
        .collect();
    layers.sort_unstable();
    assert_eq!(
        (layers.len(), layers[0].0, layers[0].1, layers[1].1),
        (2, 0, layers[1].0, 30)
    );

    until_settled(&plane.client).await;
    let before = versions(&plane.client).await;
    // A write that concerns nothing wakes the loop, and nothing follows from it.
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "seen": "yes" } } }));
    plane
        .namespaced::<Model>()
        .patch("smol", &PatchParams::default(), &patch)
        .await
        .expect("a label");
    until_settled(&plane.client).await;
    assert_eq!(versions(&plane.client).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_replaced_and_the_story_is_told() {
    let plane = ControlPlane::start().await;
    let _manager = plane.manager();
    model(&plane).await;
    let mut agents = vec![];
    for name in ["a", "b", "c"] {
        agents.push((name, join(&plane, name, 120).await));
    }
    service(&plane).await;
    let before = until_ready(&plane).await;
    let lost = agents
        .iter()
        .position(|(name, _)| {
            before
                .pipeline
                .as_ref()
                .is_some_and(|line| line.contains(&format!("{name}[")))
        })
        .expect("the pipeline names a node");
    let (name, agent) = agents.swap_remove(lost);
    agent.die().await;

    let after = until("the pipeline is repaired without the dead node", || async {
        let status = status_of(&plane).await;
        let ready = condition::state(&status.conditions, ConditionType::Ready) == Some(true);
        let avoids = status
            .pipeline
            .as_ref()
            .is_some_and(|line| !line.contains(&format!("{name}[")));
        (ready && avoids).then_some(status)
    })
    .await;
    assert_ne!(after.active_placement, before.active_placement);
    until("the dead placement goes", || async {
        let placements = plane
            .namespaced::<Placement>()
            .list(&ListParams::default())
            .await
            .expect("placements");
        (placements.items.len() == 1).then_some(())
    })
    .await;
    let events: Api<k8s_openapi::api::core::v1::Event> = plane.namespaced();
    until("Events tell the loss and the repair", || async {
        let events = events.list(&ListParams::default()).await.expect("events");
        let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.clone()).collect();
        let told = |reason: &str| reasons.iter().any(|known| known == reason);
        (told("StageLost") && reasons.iter().filter(|reason| *reason == "Serving").count() >= 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_half_applied_is_finished_by_the_next_manager() {
    let plane = ControlPlane::start().await;
    let first = plane.manager();
    model(&plane).await;
    let (_a, _b) = (join(&plane, "a", 120).await, join(&plane, "b", 120).await);
    service(&plane).await;
    let placement = until("the Placement is written", || async {
        let placements = plane
            .namespaced::<Placement>()
            .list(&ListParams::default())
            .await
            .expect("placements");
        placements.items.first().map(ResourceExt::name_any)
    })
    .await;
    first.kill();
    // Whatever of the rest was written is taken away: only the commit record stands.
    for stage in plane
        .cluster::<Stage>()
        .list(&ListParams::default())
        .await
        .expect("stages")
    {
        let deleted = plane
            .cluster::<Stage>()
            .delete(&stage.name_any(), &DeleteParams::default())
            .await;
        deleted.expect("a stage is deleted");
    }
    for table in plane
        .cluster::<RouteTable>()
        .list(&ListParams::default())
        .await
        .expect("tables")
    {
        let deleted = plane
            .cluster::<RouteTable>()
            .delete(&table.name_any(), &DeleteParams::default())
            .await;
        deleted.expect("a table is deleted");
    }
    let _second = plane.manager();
    let status = until_ready(&plane).await;
    assert_eq!(status.active_placement, Some(placement));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_placed_says_why_for_each_node() {
    let plane = ControlPlane::start().await;
    let _manager = plane.manager();
    model(&plane).await;
    let _a = join(&plane, "tiny", 40).await;
    service(&plane).await;
    // Until the agent's first Lease the reason is another one: that it does not answer.
    let status = until("the service is infeasible for want of memory", || async {
        let status = status_of(&plane).await;
        let infeasible = condition::state(&status.conditions, ConditionType::Feasible) == Some(false);
        let why = status.why.clone().unwrap_or_default();
        (infeasible && why.contains("tiny:") && why.contains("MiB")).then_some(status)
    })
    .await;
    assert_eq!(
        condition::state(&status.conditions, ConditionType::Ready),
        Some(false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_service_leaves_nothing_behind() {
    let plane = ControlPlane::start().await;
    let _manager = plane.manager();
    model(&plane).await;
    let _a = join(&plane, "a", 400).await;
    service(&plane).await;
    until_ready(&plane).await;
    let deleted = plane
        .namespaced::<LLMService>()
        .delete("chat", &DeleteParams::background())
        .await;
    deleted.expect("the service is deleted");
    until("placements and stages go", || async {
        let placements = plane
            .namespaced::<Placement>()
            .list(&ListParams::default())
            .await
            .expect("placements");
        let stages = plane
            .cluster::<Stage>()
            .list(&ListParams::default())
            .await
            .expect("stages");
        (placements.items.is_empty() && stages.items.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_reaches_the_routers_as_a_hash_only() {
    let plane = ControlPlane::start().await;
    let _manager = plane.manager();
    let _a = join(&plane, "a", 400).await;
    plane.secret("key-of-ada", "apiKey", "sk-very-secret").await;
    let user = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeUser", "metadata": { "name": "ada" },
        "spec": { "apiKeySecret": { "name": "key-of-ada" }, "demands": [{ "service": "chat" }] },
    });
    plane.create::<crds::EdgeUser>(user).await;
    let table = until("the router knows the key", || async {
        let table = plane
            .cluster::<RouteTable>()
            .get_opt("a")
            .await
            .expect("a table")?;
        (!table.spec.keys.is_empty()).then_some(table)
    })
    .await;
    let key = &table.spec.keys[0];
    assert_eq!(
        key.hash,
        crds::api_key::keyed_hash(&table.spec.key_salt, "sk-very-secret")
    );
    assert_eq!(key.services, ["default/chat"]);
    assert!(
        !serde_json::to_string(&table)
            .expect("json")
            .contains("sk-very-secret")
    );
}
