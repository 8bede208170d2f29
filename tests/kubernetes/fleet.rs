//! Nodes that are only objects: EdgeNodes with the status that an agent would report, and Leases that are renewed as often.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crds::EdgeNode;
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::{cluster, release::NAMESPACE};

/// How often an agent renews its Lease, and how long the Lease holds: as in `agents/node/src/lease.rs`.
const RENEW_EVERY: Duration = Duration::from_secs(5);
const LEASE_SECONDS: i32 = 15;

/// How many requests are under way at once.
const AT_ONCE: usize = 16;

/// The label of what is simulated.
const LABEL: &str = "simulated";

/// Nodes that have joined.
pub(crate) struct Fleet {
    begin: Instant,
    renewals: Arc<AtomicUsize>,
    renewing: AbortOnDropHandle<()>,
}

impl Fleet {
    /// So many nodes, alive and without a device that could hold a layer.
    pub(crate) async fn join(nodes: usize) -> Self {
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster");
        for_each(nodes, |node| make(client.clone(), node)).await;
        let renewals = Arc::new(AtomicUsize::new(0));
        let (renewing, count) = (client, renewals.clone());
        let renewing = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(RENEW_EVERY);
            loop {
                ticks.tick().await;
                for_each(nodes, |node| {
                    let (client, count) = (renewing.clone(), count.clone());
                    async move {
                        // One that fails is renewed in the next round.
                        let renewed = renew(&client, node).await;
                        count.fetch_add(usize::from(renewed.is_ok()), Ordering::Relaxed);
                    }
                })
                .await;
            }
        });
        Self {
            begin: Instant::now(),
            renewals,
            renewing: AbortOnDropHandle::new(renewing),
        }
    }

    /// How many Leases were renewed in a second, since all nodes had joined.
    pub(crate) fn renewals_per_second(&self) -> f64 {
        self.renewals.load(Ordering::Relaxed) as f64 / self.begin.elapsed().as_secs_f64()
    }
}

impl Drop for Fleet {
    /// Removes all of them, however the test ends: others follow on the same cluster.
    fn drop(&mut self) {
        self.renewing.abort();
        for kind in ["edgenodes", "leases"] {
            let removed = Command::new(cluster::kubectl())
                .args(["delete", kind, "--namespace", NAMESPACE])
                .args(["--selector", LABEL, "--wait=false"])
                .stdout(Stdio::null())
                .status();
            eprintln!("simulated {kind} are removed: {removed:?}");
        }
    }
}

async fn for_each<Done: Future<Output = ()>>(nodes: usize, act: impl Fn(usize) -> Done) {
    stream::iter(0..nodes).for_each_concurrent(AT_ONCE, act).await;
}

fn name(node: usize) -> String {
    format!("simulated-{node:04}")
}

async fn make(client: Client, node: usize) {
    let name = name(node);
    let labels = json!({LABEL: "true"});
    let edge_node: EdgeNode = serde_json::from_value(json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeNode", "metadata": {"name": name, "labels": labels},
        "spec": {},
    }))
    .expect("an EdgeNode");
    let nodes: Api<EdgeNode> = Api::all(client.clone());
    nodes
        .create(&PostParams::default(), &edge_node)
        .await
        .expect("an EdgeNode is made");
    let address = format!("10.{}.{}.1", 200 + node / 250, node % 250);
    let status = json!({"status": {
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "AsDesired", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "agent": {
            "peerAddress": format!("{address}:7843"), "routerUrl": format!("http://{address}:8080"),
            "publicKey": format!("{node:064x}"), "version": "0.1.0", "engineVersion": "0.1.0 simulated",
            "incarnation": "1", "features": ["gguf", "layer-ranges"],
        },
        "devices": [{"name": "cpu", "memoryBytes": 0, "coresMilli": 1000, "overheadBytes": 0}],
    }});
    let patched = nodes
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await;
    patched.expect("a status is written");
    let lease: Lease = serde_json::from_value(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "labels": labels},
        "spec": spec(),
    }))
    .expect("a Lease");
    let leases: Api<Lease> = Api::namespaced(client, NAMESPACE);
    leases
        .create(&PostParams::default(), &lease)
        .await
        .expect("a Lease is made");
}

async fn renew(client: &Client, node: usize) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({ "spec": spec() }));
    leases
        .patch(&name(node), &PatchParams::default(), &patch)
        .await
        .map(drop)
}

fn spec() -> serde_json::Value {
    json!({
        "holderIdentity": "1", "leaseDurationSeconds": LEASE_SECONDS, "renewTime": MicroTime(Timestamp::now()),
    })
}
