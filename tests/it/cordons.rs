//! `kubectl cordon` of a Kubernetes Node reaches its EdgeNode: services leave it, make before break, and come to no harm
//! where they have nowhere else to go.

use std::time::Duration;

use crds::{ConditionType, EdgeNode, LLMService, Placement, RouteTable, condition};
use k8s_openapi::{
    api::core::v1::{Event, Node},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tests::{
    agents::{ScriptedAgent, until_settled, versions},
    control_plane::ControlPlane,
    models::{DIGEST, model},
    wait::until,
};

/// Joins an EdgeNode on a Kubernetes Node of the name `on-NAME`.
async fn join(plane: &ControlPlane, name: &str, memory_mib: i64) -> ScriptedAgent {
    let mut node = Node::default();
    node.metadata.name = Some(format!("on-{name}"));
    let created = plane
        .cluster::<Node>()
        .create(&PostParams::default(), &node)
        .await;
    created.expect("the Node is made");
    let layer = Duration::from_micros(900);
    let agent = ScriptedAgent::join(&plane.client, name, memory_mib, DIGEST, layer).await;
    let spec = json!({ "spec": { "kubernetesNodeName": format!("on-{name}") } });
    patch::<EdgeNode>(plane, name, spec).await;
    agent
}

async fn cordon(plane: &ControlPlane, name: &str, cordoned: bool) {
    let spec = json!({ "spec": { "unschedulable": cordoned } });
    patch::<Node>(plane, &format!("on-{name}"), spec).await;
}

async fn patch<K>(plane: &ControlPlane, name: &str, patch: serde_json::Value)
where
    K: kube::Resource<Scope = kube::core::ClusterResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let patched = plane
        .cluster::<K>()
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.expect("the server takes the patch");
}

async fn service(plane: &ControlPlane) {
    let manifest = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "LLMService", "metadata": { "name": "chat" },
        "spec": { "models": [{ "name": "smol" }], "contextTokens": 1024 },
    });
    plane.create::<LLMService>(manifest).await;
    until("the service is Ready", || async {
        let status = status(plane).await;
        (condition::state(&status.conditions, ConditionType::Ready) == Some(true)).then_some(())
    })
    .await;
}

async fn status(plane: &ControlPlane) -> crds::LLMServiceStatus {
    let service = plane.namespaced::<LLMService>().get("chat").await;
    service.expect("the service exists").status.unwrap_or_default()
}

/// The nodes of all pipelines that there are.
async fn used(plane: &ControlPlane) -> Vec<String> {
    let placements = plane.namespaced::<Placement>().list(&ListParams::default()).await;
    let pipelines = placements
        .expect("placements")
        .items
        .into_iter()
        .flat_map(|it| it.spec.pipelines);
    pipelines
        .flat_map(|it| it.stages)
        .map(|stage| stage.node)
        .collect()
}

/// Whether requests have somewhere to go, on each node.
async fn every_router_has_a_target(plane: &ControlPlane) -> bool {
    let tables = plane.cluster::<RouteTable>().list(&ListParams::default()).await;
    let mut rules = tables
        .expect("tables")
        .items
        .into_iter()
        .flat_map(|it| it.spec.ingress);
    rules.all(|rule| !rule.targets.is_empty())
}

async fn schedulable(plane: &ControlPlane, node: &str) -> Condition {
    until("the condition Schedulable", || async {
        let node = plane.cluster::<EdgeNode>().get(node).await.ok()?;
        let mut conditions = node.status?.conditions.into_iter();
        conditions.find(|condition| condition.type_ == "Schedulable")
    })
    .await
}

async fn told(plane: &ControlPlane, node: &str) -> Vec<String> {
    let events = Api::<Event>::all(plane.client.clone())
        .list(&ListParams::default())
        .await;
    let events = events.expect("events").items.into_iter();
    let about = events.filter(|event| event.involved_object.name.as_deref() == Some(node));
    about.filter_map(|event| event.reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cordoned_node_is_left_without_a_pause_and_taken_again_later() {
    let plane = ControlPlane::start().await;
    let _manager = plane.manager();
    model(&plane).await;
    let mut agents = vec![];
    for name in ["a", "b", "c"] {
        agents.push(join(&plane, name, 400).await);
    }
    service(&plane).await;
    until_settled(&plane.client).await;
    let leaves = used(&plane).await.remove(0);

    cordon(&plane, &leaves, true).await;
    until("the node is left", || async {
        assert!(every_router_has_a_target(&plane).await, "make before break");
        (!used(&plane).await.contains(&leaves)).then_some(())
    })
    .await;
    let settled = until_settled(&plane.client).await;
    let condition = schedulable(&plane, &leaves).await;
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", "NodeCordoned")
    );
    until("the story is told", || async {
        let told = told(&plane, &leaves).await;
        ["NodeCordoned", "MovedAway"]
            .iter()
            .all(|reason| told.iter().any(|it| it == reason))
            .then_some(())
    })
    .await;
    // What a Node says otherwise concerns nobody here.
    patch::<Node>(
        &plane,
        &format!("on-{leaves}"),
        json!({ "metadata": { "labels": { "seen": "yes" } } }),
    )
    .await;
    until_settled(&plane.client).await;
    assert_eq!(versions(&plane.client).await, settled);

    cordon(&plane, &leaves, false).await;
    until("the node takes stages again", || async {
        (schedulable(&plane, &leaves).await.status == "True").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_nowhere_else_to_go_stays_and_says_why() {
    let plane = ControlPlane::start().await;
    let _manager = plane.manager();
    model(&plane).await;
    let _agents = (join(&plane, "a", 120).await, join(&plane, "b", 120).await);
    service(&plane).await;
    until_settled(&plane.client).await;
    let before = used(&plane).await;
    cordon(&plane, "a", true).await;
    until("the cordon is told", || async {
        (schedulable(&plane, "a").await.reason == "NodeCordoned").then_some(())
    })
    .await;
    until_settled(&plane.client).await;
    assert_eq!(used(&plane).await, before);
    assert!(every_router_has_a_target(&plane).await);
    let why = status(&plane).await.why.unwrap_or_default();
    assert!(why.contains("stays on a node that takes no new stages"), "{why}");
}
