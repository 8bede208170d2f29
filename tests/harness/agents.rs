//! Agents that do what they are told without any model: they renew Leases, say that stages are loaded, and acknowledge
//! hops. For suites about the control plane.

use std::{collections::BTreeMap, time::Duration};

use crds::{
    EdgeNode, EdgeNodeSpec, EdgeNodeStatus, RouteTable, RouteTableStatus, Stage, StageStatus,
    edge_node::{AgentInfo, Benchmark, BenchmarkPoint, Device},
    route_table::{HopPhase, HopStatus},
    stage::StagePhase,
};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::wait;

/// An agent without a model.
pub struct ScriptedAgent {
    name: String,
    client: Client,
    task: JoinHandle<()>,
}

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(50);

const MIB: i64 = 1 << 20;

impl ScriptedAgent {
    /// Joins a node with so much memory, on which one block of `model` takes so long for one row.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn join(client: &Client, name: &str, memory_mib: i64, model: &str, layer: Duration) -> Self {
        let nodes: Api<EdgeNode> = Api::all(client.clone());
        let node = EdgeNode::new(name, EdgeNodeSpec::default());
        nodes
            .create(&PostParams::default(), &node)
            .await
            .expect("the node is created");
        let nanoseconds = i64::try_from(layer.as_nanos()).expect("a layer takes less than a century");
        let point = |rows, factor| BenchmarkPoint {
            rows,
            layer_nanoseconds: nanoseconds * factor,
            head_nanoseconds: nanoseconds * 4 * factor,
            ..BenchmarkPoint::default()
        };
        let status = EdgeNodeStatus {
            agent: Some(AgentInfo {
                peer_address: "127.0.0.1:1".to_owned(),
                router_url: format!("http://{name}"),
                public_key: format!("key of {name}"),
                incarnation: "first".to_owned(),
                ..AgentInfo::default()
            }),
            devices: vec![Device {
                name: "cpu".to_owned(),
                memory_bytes: memory_mib * MIB,
                cores_milli: 1000,
                overhead_bytes: 12 * MIB,
                benchmarks: vec![Benchmark {
                    model: model.to_owned(),
                    points: vec![point(1, 1), point(8, 3), point(64, 16), point(512, 110)],
                    ..Benchmark::default()
                }],
                ..Device::default()
            }],
            ..EdgeNodeStatus::default()
        };
        let patch = Patch::Merge(json!({ "status": status }));
        nodes
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .expect("the status is written");
        let task = tokio::spawn(work(client.clone(), name.to_owned()));
        Self {
            name: name.to_owned(),
            client: client.clone(),
            task,
        }
    }

    /// Dies without a word; its Lease is put into a state in which it has just expired.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn die(self) {
        self.task.abort();
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), manager::SYSTEM_NAMESPACE);
        let patch = Patch::Merge(json!({ "spec": { "leaseDurationSeconds": 1 , "holderIdentity": "gone" } }));
        leases
            .patch(&self.name, &PatchParams::default(), &patch)
            .await
            .expect("the Lease is shortened");
    }
}

async fn work(client: Client, name: String) {
    loop {
        // Whatever fails is tried again in the next round, as an agent would.
        let _ = renew(&client, &name).await;
        let _ = load(&client, &name).await;
        let _ = acknowledge(&client, &name).await;
        tokio::time::sleep(PERIOD).await;
    }
}

async fn renew(client: &Client, name: &str) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), manager::SYSTEM_NAMESPACE);
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    match leases.get_opt(name).await? {
        Some(_) => {
            leases
                .patch(
                    name,
                    &PatchParams::default(),
                    &Patch::Merge(json!({ "spec": spec })),
                )
                .await?
        }
        None => {
            let mut lease = Lease {
                spec: Some(spec),
                ..Lease::default()
            };
            lease.metadata.name = Some(name.to_owned());
            leases.create(&PostParams::default(), &lease).await?
        }
    };
    Ok(())
}

async fn load(client: &Client, name: &str) -> kube::Result<()> {
    let stages: Api<Stage> = Api::all(client.clone());
    let mine = ListParams::default().fields(&format!("spec.nodeName={name}"));
    for stage in stages.list(&mine).await? {
        if stage.status.is_none() {
            let status = StageStatus {
                phase: StagePhase::Ready,
                loads: 1,
                ..StageStatus::default()
            };
            let patch = Patch::Merge(json!({ "status": status }));
            stages
                .patch_status(&stage.name_any(), &PatchParams::default(), &patch)
                .await?;
        }
    }
    Ok(())
}

async fn acknowledge(client: &Client, name: &str) -> kube::Result<()> {
    let tables: Api<RouteTable> = Api::all(client.clone());
    let Some(table) = tables.get_opt(name).await? else {
        return Ok(());
    };
    let hops = table.spec.hops.iter().map(|hop| HopStatus {
        pipeline: hop.pipeline.clone(),
        revision: hop.revision,
        ordinal: hop.ordinal,
        phase: if hop.admits {
            HopPhase::Ready
        } else {
            HopPhase::Drained
        },
        ..HopStatus::default()
    });
    let status = RouteTableStatus {
        observed_generation: table.metadata.generation,
        hops: hops.collect(),
        ..RouteTableStatus::default()
    };
    if table.status.as_ref() != Some(&status) {
        let patch = Patch::Merge(json!({ "status": status }));
        tables.patch_status(name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// Every object that the controller writes, with its version: equal twice means that nothing was written between.
///
/// # Panics
///
/// When the server refuses.
pub async fn versions(client: &Client) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    let all = ListParams::default();
    let mut note = |kind: &str, name: String, version: Option<String>| {
        versions.insert(format!("{kind}/{name}"), version.unwrap_or_default());
    };
    for object in Api::<crds::Placement>::all(client.clone())
        .list(&all)
        .await
        .expect("placements")
    {
        note("placement", object.name_any(), object.resource_version());
    }
    for object in Api::<Stage>::all(client.clone())
        .list(&all)
        .await
        .expect("stages")
    {
        note("stage", object.name_any(), object.resource_version());
    }
    for object in Api::<RouteTable>::all(client.clone())
        .list(&all)
        .await
        .expect("route tables")
    {
        note("routetable", object.name_any(), object.resource_version());
    }
    for object in Api::<crds::LLMService>::all(client.clone())
        .list(&all)
        .await
        .expect("services")
    {
        note("service", object.name_any(), object.resource_version());
    }
    for object in Api::<EdgeNode>::all(client.clone())
        .list(&all)
        .await
        .expect("nodes")
    {
        note("node", object.name_any(), object.resource_version());
    }
    versions
}

/// Waits until nothing has been written for twenty looks in a row.
///
/// # Panics
///
/// When something is written all the time.
pub async fn until_settled(client: &Client) -> BTreeMap<String, String> {
    let (mut last, mut same) = (versions(client).await, 0);
    let settled = tokio::time::timeout(wait::DEADLINE, async {
        while same < 20 {
            tokio::time::sleep(PERIOD / 2).await;
            let now = versions(client).await;
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
    });
    settled.await.expect("the control plane settles");
    last
}
