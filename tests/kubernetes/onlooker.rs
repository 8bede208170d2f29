//! Somebody who looks at the agents' pods while they are updated: kubectl, which is told of every change.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{
    cluster::{self, Cluster},
    release::NAMESPACE,
};

/// Looks until it is asked what it saw.
pub(crate) struct Onlooker {
    kubectl: Child,
    seen: NamedTempFile,
    nodes: BTreeSet<String>,
}

impl Onlooker {
    /// Begins to look at agents, all of which work.
    pub(crate) async fn begin(cluster: &Cluster) -> Self {
        let seen = NamedTempFile::new().expect("a temporary file");
        let output = seen.reopen().expect("the file can be opened again");
        let kubectl = Command::new(cluster::kubectl())
            .args(["get", "pods", "--namespace", NAMESPACE, "--watch"])
            .args(["--selector", "app.kubernetes.io/component=agent"])
            .args(["--output-watch-events", "--output", "json"])
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl starts");
        let pods = cluster.pods_of("agent");
        let onlooker = Self {
            kubectl,
            seen,
            nodes: pods.iter().map(node_of).collect(),
        };
        cluster
            .until("a first look at every agent", || {
                (onlooker.changes().len() >= pods.len()).then_some(())
            })
            .await;
        onlooker
    }

    /// The nodes in the order in which their agents went. At no time did more than one node lack an agent that works.
    pub(crate) fn turns(self) -> Vec<String> {
        let (mut working, mut turns) = (BTreeMap::new(), vec![]);
        for change in self.changes() {
            let pod = &change["object"];
            let name = pod["metadata"]["name"].to_string();
            let leaves = !pod["metadata"]["deletionTimestamp"].is_null() || change["type"] == "DELETED";
            let worked = working.insert(name.clone(), (node_of(pod), is_ready(pod) && !leaves));
            if leaves && worked.is_some_and(|(_, worked)| worked) {
                turns.push(node_of(pod));
            }
            if working.len() < self.nodes.len() {
                continue;
            }
            let served: BTreeSet<_> = working
                .values()
                .filter_map(|(node, works)| works.then_some(node.clone()))
                .collect();
            let without: Vec<_> = self.nodes.difference(&served).collect();
            assert!(
                without.len() <= 1,
                "two nodes had no agent at once: {without:?} after {turns:?}"
            );
        }
        turns
    }

    fn changes(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.seen.path()).expect("the file can be read");
        // The last one may be half written.
        let changes = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        changes.map_while(Result::ok).collect()
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

fn node_of(pod: &Value) -> String {
    pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}
