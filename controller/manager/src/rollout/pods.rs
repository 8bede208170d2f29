//! The agents' pods and the newest revision of their DaemonSet, as the API server shows them.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::Pod,
};
use kube::{Resource, ResourceExt as _, runtime::reflector::Store};
use tracing::warn;

use super::Agents;

/// The label by which a pod, and a ControllerRevision, say which revision they are.
const REVISION: &str = "controller-revision-hash";

/// Watches that are not allowed must not keep the manager from its other work.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Reflectors over one DaemonSet and what belongs to it.
pub(crate) struct Pods {
    pub(crate) sets: Store<DaemonSet>,
    pub(crate) revisions: Store<ControllerRevision>,
    pub(crate) pods: Store<Pod>,
}

impl Pods {
    /// Waits until all were listed, and goes on without them if that takes too long.
    pub(crate) async fn ready(&self) {
        let listed = async {
            self.sets.wait_until_ready().await?;
            self.revisions.wait_until_ready().await?;
            self.pods.wait_until_ready().await
        };
        if tokio::time::timeout(READY_WITHIN, listed).await.is_err() {
            warn!(
                "the agents' DaemonSet, its revisions and pods are not told; agents are not updated until they are"
            );
        }
    }

    /// The agents, if their DaemonSet leaves their update to us and its newest revision is known.
    pub(crate) fn agents(&self) -> Option<Agents> {
        let set = self.sets.state().into_iter().next()?;
        agents_of(&set, &self.revisions.state(), &self.pods.state())
    }
}

fn agents_of(set: &DaemonSet, revisions: &[Arc<ControllerRevision>], pods: &[Arc<Pod>]) -> Option<Agents> {
    let strategy = set.spec.update_strategy.as_ref()?;
    let is_seen = set.status.as_ref()?.observed_generation == set.metadata.generation;
    if strategy.type_.as_deref() != Some("OnDelete") || !is_seen {
        return None;
    }
    let uid = set.uid()?;
    let newest = revisions
        .iter()
        .filter(|revision| is_owned(&***revision, &uid))
        .max_by_key(|revision| revision.revision)?;
    let mut agents: Vec<_> = pods
        .iter()
        .filter(|pod| is_owned(&***pod, &uid))
        .filter_map(|pod| agent_of(pod))
        .collect();
    agents.sort_by(|one, other| (&one.node, &one.name).cmp(&(&other.node, &other.name)));
    Some(Agents {
        revision: newest.labels().get(REVISION)?.clone(),
        pods: agents,
    })
}

fn is_owned(object: &impl Resource, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.uid == uid)
}

fn agent_of(pod: &Pod) -> Option<super::Pod> {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    Some(super::Pod {
        name: pod.name_any(),
        uid: pod.uid()?,
        node: pod.spec.as_ref()?.node_name.clone()?,
        revision: pod.labels().get(REVISION)?.clone(),
        ready,
        deleted: pod.metadata.deletion_timestamp.is_some(),
        created: pod.creation_timestamp()?.0,
    })
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn object<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn set(strategy: &str, observed: i64) -> DaemonSet {
        object(json!({
            "metadata": { "name": "agent", "uid": "ds", "generation": 2 },
            "spec": { "selector": {}, "template": {}, "updateStrategy": { "type": strategy } },
            "status": {
                "observedGeneration": observed, "currentNumberScheduled": 0, "desiredNumberScheduled": 0,
                "numberMisscheduled": 0, "numberReady": 0,
            },
        }))
    }

    fn owned(name: &str, owner: &str, hash: &str) -> Value {
        json!({
            "name": name, "uid": name, "labels": { REVISION: hash }, "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": owner }],
        })
    }

    fn revision(owner: &str, hash: &str, number: i64) -> Arc<ControllerRevision> {
        Arc::new(object(
            json!({ "metadata": owned(hash, owner, hash), "revision": number }),
        ))
    }

    fn pod(name: &str, owner: &str, ready: &str) -> Arc<Pod> {
        Arc::new(object(json!({
            "metadata": owned(name, owner, "old"),
            "spec": { "nodeName": "n1", "containers": [] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        })))
    }

    #[test]
    fn the_newest_revision_of_the_set_counts_and_pods_of_others_do_not() {
        // After a rollback the old revision is the newest again.
        let revisions = [
            revision("ds", "old", 3),
            revision("ds", "new", 2),
            revision("other", "x", 9),
        ];
        let pods = [
            pod("b", "ds", "False"),
            pod("a", "ds", "True"),
            pod("c", "other", "True"),
        ];
        let agents = agents_of(&set("OnDelete", 2), &revisions, &pods).unwrap();
        assert_eq!(agents.revision, "old");
        let seen: Vec<_> = agents
            .pods
            .iter()
            .map(|pod| (pod.name.as_str(), pod.ready))
            .collect();
        assert_eq!(seen, [("a", true), ("b", false)]);
    }

    #[test]
    fn a_set_that_rolls_out_by_itself_or_was_just_changed_is_left_alone() {
        let revisions = [revision("ds", "old", 1)];
        assert_eq!(agents_of(&set("RollingUpdate", 2), &revisions, &[]), None);
        assert_eq!(agents_of(&set("OnDelete", 1), &revisions, &[]), None);
        assert_eq!(agents_of(&set("OnDelete", 2), &[], &[]), None);
    }
}
