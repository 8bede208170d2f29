//! One agent against the API server: what it writes, what it hears, and what it does when it cannot hear.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use crds::{
    ConditionType, EdgeNode, Model, RouteTable, Stage,
    condition::{self, Reason},
    route_table::HopPhase,
    stage::StagePhase,
};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Namespace},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    control_plane::ControlPlane,
    up::{edgeloom, model},
    wait::until,
};
use tokio_util::sync::CancellationToken;

const NODE: &str = "edge";
const STAGE: &str = "whole";

/// An agent that runs in this process, with its worker in another.
struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), node::Error>>,
}

impl Running {
    fn start(client: Client, data: &Path, listen: SocketAddr) -> Self {
        Self::start_with(client, data, listen, false)
    }

    fn start_with(client: Client, data: &Path, listen: SocketAddr, benchmark: bool) -> Self {
        let mut config = node::Config::new(NODE, client, data.to_owned(), edgeloom());
        config.worker_arguments = vec!["engine-worker".to_owned()];
        config.listen_http = listen;
        let limits = json!({ "limits": { "memory": "512Mi", "cores": "1" } });
        config.register = Some(serde_json::from_value(limits).expect("a specification"));
        config.benchmark = benchmark;
        config.drain_timeout = Duration::from_millis(100);
        let stop = CancellationToken::new();
        let task = tokio::spawn(node::run(config, stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task
            .await
            .expect("the agent does not panic")
            .expect("the agent starts");
    }
}

fn a_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// A client whose control plane does not answer.
fn to_nobody() -> Client {
    let nobody = "http://127.0.0.1:1".parse().expect("an address");
    Client::try_from(kube::Config::new(nobody)).expect("a client")
}

fn stage(total_bytes: i64) -> Stage {
    let spec = json!({
        "nodeName": NODE, "device": "cpu", "firstLayer": 0, "endLayer": 30, "contextTokens": 256, "sessions": 1,
        "batchRows": 64,
        "model": {
            "name": "m", "variant": "v", "digest": "sha256:b179", "uri": format!("file://{}", model().display()),
            "layers": 30, "quantisation": "Q4_1",
        },
        "memory": {
            "weightsBytes": total_bytes, "keyValueBytes": 0, "computeBytes": 0, "totalBytes": total_bytes,
        },
    });
    Stage::new(STAGE, serde_json::from_value(spec).expect("a specification"))
}

fn routes() -> RouteTable {
    let spec = json!({
        "nodeName": NODE, "incarnation": "first",
        "ingress": [{
            "service": "default/s", "servedName": "s", "access": "Anonymous", "contextTokens": 256,
            "outputTokensMax": 64,
            "targets": [
                { "pipeline": "default/s/0", "revision": 1, "head": NODE, "mode": "OnServer", "weight": 1 },
            ],
        }],
        "hops": [{
            "pipeline": "default/s/0", "revision": 1, "ordinal": 0, "stage": STAGE, "head": NODE,
            "prefillChunkRows": 64, "cells": 256, "sessions": 1, "admits": true,
        }],
    });
    RouteTable::new(NODE, serde_json::from_value(spec).expect("a specification"))
}

async fn stage_phase(plane: &ControlPlane, wanted: StagePhase) -> Stage {
    until(&format!("the stage is {wanted:?}"), || async {
        let stage = plane.cluster::<Stage>().get_opt(STAGE).await.ok().flatten()?;
        (stage.status.as_ref()?.phase == wanted).then_some(stage)
    })
    .await
}

/// Asks with curl, as a program that knows nothing of us.
async fn ask(router: SocketAddr) -> Option<String> {
    let body = json!({ "model": "s", "max_tokens": 8, "temperature": 0, "prompt": "One, two, three," });
    let output = tokio::process::Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "120",
            "--header",
            "Content-Type: application/json",
        ])
        .args([
            "--data",
            &body.to_string(),
            &format!("http://{router}/v1/completions"),
        ])
        .output()
        .await
        .expect("curl runs");
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    answer["choices"][0]["text"].as_str().map(str::to_owned)
}

async fn hop_phase(plane: &ControlPlane, wanted: HopPhase) {
    until(&format!("the hop is {wanted:?}"), || async {
        let table = plane.cluster::<RouteTable>().get_opt(NODE).await.ok().flatten()?;
        let status = table.status?;
        let hop = status.hops.first()?;
        (hop.phase == wanted && status.observed_generation == table.metadata.generation).then_some(())
    })
    .await;
}

async fn told(plane: &ControlPlane, stage: &Stage) {
    plane
        .cluster::<Stage>()
        .create(&PostParams::default(), stage)
        .await
        .expect("a stage");
    plane
        .cluster::<RouteTable>()
        .create(&PostParams::default(), &routes())
        .await
        .expect("routes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_serves_what_it_was_told_also_when_it_starts_without_its_control_plane() {
    let plane = ControlPlane::start().await;
    let data = TempDir::new().expect("a temporary folder");
    let router = a_port();
    let agent = Running::start(plane.client.clone(), data.path(), router);
    told(&plane, &stage(200 << 20)).await;
    let status = stage_phase(&plane, StagePhase::Ready)
        .await
        .status
        .expect("a status");
    assert_eq!((status.loads, status.epoch.is_some()), (1, true));
    hop_phase(&plane, HopPhase::Ready).await;
    let said = ask(router).await.expect("an answer");
    assert!(!said.is_empty());
    agent.stop().await;

    let agent = Running::start(to_nobody(), data.path(), router);
    let again = until("the agent answers by what it was told", || ask(router)).await;
    assert_eq!(again, said);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reports_itself_once_and_leaves_what_others_write_alone() {
    let plane = ControlPlane::start().await;
    let data = TempDir::new().expect("a temporary folder");
    let system = json!({ "metadata": { "name": "edgeloom-system" } });
    let system: Namespace = serde_json::from_value(system).expect("a namespace");
    plane
        .cluster::<Namespace>()
        .create(&PostParams::default(), &system)
        .await
        .expect("a namespace");
    let agent = Running::start(plane.client.clone(), data.path(), a_port());
    let leases: Api<Lease> = Api::namespaced(plane.client.clone(), "edgeloom-system");
    until("the Lease is held", || async {
        leases.get_opt(NODE).await.ok().flatten()?.spec?.renew_time
    })
    .await;
    let nodes = plane.cluster::<EdgeNode>();
    let status = until("the node is Ready", || async {
        let status = nodes.get_opt(NODE).await.ok().flatten()?.status?;
        (condition::state(&status.conditions, ConditionType::Ready) == Some(true)).then_some(status)
    })
    .await;
    let device = &status.devices[0];
    assert_eq!((device.memory_bytes, device.cores_milli), (512 << 20, 1000));
    assert!(device.overhead_bytes > 0);

    let mut conditions = status.conditions;
    let now = Timestamp::from_second(1_000).expect("a time");
    condition::set(
        &mut conditions,
        ConditionType::Reachable,
        Some(true),
        Reason::LeaseRenewed,
        "",
        None,
        now,
    );
    let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    nodes
        .patch_status(NODE, &PatchParams::default(), &patch)
        .await
        .expect("a status");
    // A stage that never fits makes the agent look, and is told why it waits.
    told(&plane, &stage(900 << 20)).await;
    let waiting = until("the stage waits with a reason", || async {
        let status = plane
            .cluster::<Stage>()
            .get_opt(STAGE)
            .await
            .ok()
            .flatten()?
            .status?;
        let ready = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready")?;
        (ready.reason == "MemoryNotFree").then_some(ready.message)
    })
    .await;
    assert!(waiting.contains("943718400"), "{waiting}");
    hop_phase(&plane, HopPhase::Waiting).await;

    let status = nodes.get(NODE).await.expect("the node").status.expect("a status");
    assert_eq!(
        condition::state(&status.conditions, ConditionType::Reachable),
        Some(true)
    );
    assert_eq!(
        condition::state(&status.conditions, ConditionType::Ready),
        Some(true)
    );
    agent.stop().await;
}

/// The node's device as its status tells it, once it has that memory.
async fn device_with(nodes: &Api<EdgeNode>, memory_bytes: i64) -> (crds::edge_node::Device, String) {
    until(&format!("the device has {memory_bytes} bytes"), || async {
        let status = nodes.get_opt(NODE).await.ok().flatten()?.status?;
        let device = status.devices.first()?.clone();
        let ready = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready")?;
        (device.memory_bytes == memory_bytes).then_some((device, ready.message))
    })
    .await
}

async fn limit(nodes: &Api<EdgeNode>, memory: &str, cores: &str) {
    let patch = Patch::Merge(json!({ "spec": { "limits": { "memory": memory, "cores": cores } } }));
    nodes
        .patch(NODE, &PatchParams::default(), &patch)
        .await
        .expect("the node is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_limits_are_in_force_at_once_and_take_no_stage_away() {
    let plane = ControlPlane::start().await;
    let data = TempDir::new().expect("a temporary folder");
    let router = a_port();
    let agent = Running::start(plane.client.clone(), data.path(), router);
    told(&plane, &stage(200 << 20)).await;
    let epoch = stage_phase(&plane, StagePhase::Ready)
        .await
        .status
        .expect("a status")
        .epoch;
    hop_phase(&plane, HopPhase::Ready).await;
    let said = ask(router).await.expect("an answer");

    let nodes = plane.cluster::<EdgeNode>();
    limit(&nodes, "60Mi", "500m").await;
    let (device, _) = device_with(&nodes, 60 << 20).await;
    assert_eq!(device.cores_milli, 500);
    until("the node says that it holds more than it may", || async {
        let (_, message) = device_with(&nodes, 60 << 20).await;
        message.contains("stages hold").then_some(())
    })
    .await;
    assert_eq!(ask(router).await, Some(said), "what is loaded goes on");
    let held = stage_phase(&plane, StagePhase::Ready)
        .await
        .status
        .expect("a status");
    assert_eq!((held.loads, held.epoch), (1, epoch), "it was not loaded again");

    limit(&nodes, "60Mi", "0").await;
    until("a share that cannot be is refused with its field", || async {
        let (device, message) = device_with(&nodes, 60 << 20).await;
        (device.cores_milli == 500 && message.contains("spec.limits.cores is 0; use 0.001")).then_some(())
    })
    .await;

    // The stage goes, and finds no room any more until there is more again.
    let stages = plane.cluster::<Stage>();
    stages
        .delete(STAGE, &Default::default())
        .await
        .expect("it is there");
    let other = Stage::new("other", stage(200 << 20).spec);
    stages
        .create(&PostParams::default(), &other)
        .await
        .expect("a stage");
    let other_is = |wanted: StagePhase| {
        let stages = stages.clone();
        until("the other stage is as asked", move || {
            let stages = stages.clone();
            async move {
                let status = stages.get_opt("other").await.ok().flatten()?.status?;
                let reason = status.conditions.first()?.reason.clone();
                (status.phase == wanted).then_some(reason)
            }
        })
    };
    let reason = until("the other stage waits for memory", || async {
        let reason = other_is(StagePhase::Pending).await;
        (reason == "MemoryNotFree").then_some(reason)
    })
    .await;
    assert_eq!(reason, "MemoryNotFree");
    limit(&nodes, "512Mi", "1").await;
    other_is(StagePhase::Ready).await;
    let (device, message) = device_with(&nodes, 512 << 20).await;
    assert_eq!((device.cores_milli, message.as_str()), (1000, ""));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_why_it_cannot_time_a_model_and_forgets_it_with_the_model() {
    let plane = ControlPlane::start().await;
    let models: Api<Model> = Api::namespaced(plane.client.clone(), "default");
    let digest = format!("sha256:{}", "0".repeat(64));
    let unreachable = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "Model", "metadata": { "name": "m" },
        "spec": { "variants": [{ "name": "v", "uri": "http://127.0.0.1:1/m.gguf" }] },
    });
    let unreachable = serde_json::from_value(unreachable).expect("a model");
    models
        .create(&PostParams::default(), &unreachable)
        .await
        .expect("created");
    let ready = json!({ "status": {
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "AsDesired", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "variants": [{
            "name": "v", "digest": digest, "quantisation": "Q4_1", "sizeBytes": 1, "layerBytes": [1],
            "embeddingBytes": 0, "headBytes": 0, "otherBytes": 0,
        }],
    } });
    models
        .patch_status("m", &PatchParams::default(), &Patch::Merge(&ready))
        .await
        .expect("inspected");
    let data = TempDir::new().expect("a folder");
    let agent = Running::start_with(plane.client.clone(), data.path(), a_port(), true);
    let nodes: Api<EdgeNode> = Api::all(plane.client.clone());
    let failure = || async {
        let conditions = nodes.get_opt(NODE).await.ok()??.status?.conditions;
        Some(condition::why_not(&conditions, ConditionType::Benchmarked).map(str::to_owned))
    };
    until("the node says that it cannot fetch the model", || async {
        failure().await??.contains(&digest).then_some(())
    })
    .await;
    models
        .delete("m", &DeleteParams::default())
        .await
        .expect("deleted");
    until("nothing is said of a model that is no more", || async {
        failure().await?.is_none().then_some(())
    })
    .await;
    agent.stop().await;
}
