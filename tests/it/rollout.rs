//! Agents of a DaemonSet are updated node by node: left by its services, replaced, Ready, then the next.

use std::time::Duration;

use crds::{EdgeNode, LLMService, RouteTable, condition};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use manager::{SYSTEM_NAMESPACE, rollout};
use serde_json::json;
use tests::{
    agents::{ScriptedAgent, until_settled},
    control_plane::{ControlPlane, Manager},
    daemon_set::{NAME, ScriptedDaemonSet},
    models::{DIGEST, model},
    wait::until,
};

const MACHINES: [&str; 3] = ["on-a", "on-b", "on-c"];

struct Scene {
    plane: ControlPlane,
    set: ScriptedDaemonSet,
    _agents: Vec<ScriptedAgent>,
    _manager: Manager,
}

impl Scene {
    /// A service on one of three nodes, each of which has an agent's pod and room for it.
    async fn new(ready_timeout: Duration) -> Self {
        let plane = ControlPlane::start().await;
        plane.namespace(SYSTEM_NAMESPACE).await;
        let set = ScriptedDaemonSet::start(&plane, &MACHINES).await;
        let manager = plane.manager_that(|config| {
            config.rollout = Some(rollout::Config {
                ready_timeout,
                ..rollout::Config::new([NAME])
            });
        });
        model(&plane).await;
        let mut agents = vec![];
        for name in ["a", "b", "c"] {
            let layer = Duration::from_micros(900);
            agents.push(ScriptedAgent::join(&plane.client, name, 400, DIGEST, layer).await);
            let spec = json!({ "spec": { "kubernetesNodeName": format!("on-{name}") } });
            let nodes = plane.cluster::<EdgeNode>();
            let patched = nodes
                .patch(name, &PatchParams::default(), &Patch::Merge(spec))
                .await;
            patched.expect("the node is patched");
        }
        let manifest = json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "LLMService", "metadata": { "name": "chat" },
            "spec": { "models": [{ "name": "smol" }], "contextTokens": 1024 },
        });
        plane.create::<LLMService>(manifest).await;
        let scene = Self {
            plane,
            set,
            _agents: agents,
            _manager: manager,
        };
        until("requests have somewhere to go", || async {
            scene.serves().await.then_some(())
        })
        .await;
        until_settled(&scene.plane.client).await;
        scene
    }

    /// Whether each router has a target.
    async fn serves(&self) -> bool {
        let tables = self
            .plane
            .cluster::<RouteTable>()
            .list(&ListParams::default())
            .await;
        let rules = tables
            .expect("tables")
            .items
            .into_iter()
            .flat_map(|table| table.spec.ingress);
        let targets: Vec<_> = rules.map(|rule| rule.targets.len()).collect();
        targets.len() == 3 && targets.iter().all(|targets| *targets > 0)
    }

    /// The EdgeNodes whose agent is being updated.
    async fn updating(&self) -> Vec<String> {
        let nodes = self
            .plane
            .cluster::<EdgeNode>()
            .list(&ListParams::default())
            .await;
        let nodes = nodes.expect("nodes").items.into_iter().filter(|node| {
            let conditions = node.status.iter().flat_map(|status| &status.conditions);
            conditions
                .into_iter()
                .any(|condition| condition.reason == "AgentUpdate")
        });
        nodes.filter_map(|node| node.metadata.name).collect()
    }

    async fn told(&self, reason: &str) -> usize {
        let events = Api::<Event>::all(self.plane.client.clone())
            .list(&ListParams::default())
            .await;
        let events = events.expect("events").items.into_iter();
        events
            .filter(|event| event.reason.as_deref() == Some(reason))
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_replaced_one_by_one_and_requests_always_have_somewhere_to_go() {
    let scene = Scene::new(Duration::from_secs(600)).await;
    scene.set.change(true).await;
    until("all agents are of the new revision", || async {
        assert!(scene.serves().await, "make before break");
        assert!(scene.updating().await.len() <= 1, "one at a time");
        let pods = scene.set.pods().await;
        (pods.len() == 3 && pods.iter().all(|(_, revision, _)| revision == "r2")).then_some(())
    })
    .await;
    until("every node takes stages again", || async {
        let nodes = scene
            .plane
            .cluster::<EdgeNode>()
            .list(&ListParams::default())
            .await
            .ok()?;
        let all = nodes.items.iter().all(|node| {
            let conditions = node.status.as_ref().map(|status| status.conditions.as_slice());
            condition::state(conditions.unwrap_or_default(), crds::ConditionType::Schedulable) == Some(true)
        });
        all.then_some(())
    })
    .await;
    until_settled(&scene.plane.client).await;
    assert!(scene.serves().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_that_does_not_work_ends_the_update_and_a_rollback_goes_on() {
    let scene = Scene::new(Duration::from_secs(1)).await;
    scene.set.change(false).await;
    until("the update has failed", || async {
        (scene.told("AgentUpdateFailed").await > 0).then_some(())
    })
    .await;
    until_settled(&scene.plane.client).await;
    let pods = scene.set.pods().await;
    let old = pods
        .iter()
        .filter(|(_, revision, ready)| revision == "r1" && *ready)
        .count();
    assert_eq!(old, 2, "no second node is touched: {pods:?}");
    assert_eq!(scene.updating().await.len(), 1);
    assert_eq!(scene.told("AgentUpdateFailed").await, 1, "told once");
    assert!(scene.serves().await);

    scene.set.change(true).await;
    until("all agents work again", || async {
        let pods = scene.set.pods().await;
        let done = pods.len() == 3 && pods.iter().all(|(_, revision, ready)| revision == "r3" && *ready);
        (done && scene.updating().await.is_empty()).then_some(())
    })
    .await;
}
