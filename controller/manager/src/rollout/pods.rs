//! The agents' pods and the newest revisions of their DaemonSets, as the API server shows them.

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

/// Reflectors over DaemonSets and what belongs to them.
pub(crate) struct Pods {
    /// The names of those that are meant.
    pub(crate) names: Vec<String>,
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
                "the agents' DaemonSets, revisions and pods are not told; agents are not updated until they are"
            );
        }
    }

    /// The agents of the DaemonSets that leave their update to us and whose newest revision is known; nothing if none does.
    pub(crate) fn agents(&self) -> Option<Agents> {
        let (revisions, pods) = (self.revisions.state(), self.pods.state());
        let sets = self.sets.state().into_iter();
        let meant = sets.filter(|set| self.names.contains(&set.name_any()));
        let known: Vec<_> = meant
            .filter_map(|set| agents_of(&set, &revisions, &pods))
            .collect();
        if known.is_empty() {
            return None;
        }
        let mut pods: Vec<_> = known.into_iter().flatten().collect();
        pods.sort_by(|one, other| (&one.node, &one.name).cmp(&(&other.node, &other.name)));
        Some(Agents { pods })
    }
}

/// The pods of a DaemonSet, if it leaves their update to us and its newest revision is known.
fn agents_of(
    set: &DaemonSet,
    revisions: &[Arc<ControllerRevision>],
    pods: &[Arc<Pod>],
) -> Option<Vec<super::Pod>> {
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
    let newest = newest.labels().get(REVISION)?;
    let own = pods.iter().filter(|pod| is_owned(&***pod, &uid));
    Some(own.filter_map(|pod| agent_of(pod, newest)).collect())
}

fn is_owned(object: &impl Resource, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.uid == uid)
}

fn agent_of(pod: &Pod, newest: &str) -> Option<super::Pod> {
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
        is_current: pod.labels().get(REVISION)? == newest,
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

    fn pod(name: &str, owner: &str, hash: &str, ready: &str) -> Arc<Pod> {
        Arc::new(object(json!({
            "metadata": owned(name, owner, hash),
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
            pod("a", "ds", "old", "True"),
            pod("b", "ds", "new", "False"),
            pod("c", "other", "old", "True"),
        ];
        let agents = agents_of(&set("OnDelete", 2), &revisions, &pods).unwrap();
        let seen: Vec<_> = agents
            .iter()
            .map(|pod| (pod.name.as_str(), pod.is_current, pod.ready))
            .collect();
        assert_eq!(seen, [("a", true, true), ("b", false, false)]);
    }

    #[test]
    fn a_set_that_rolls_out_by_itself_or_was_just_changed_is_left_alone() {
        let revisions = [revision("ds", "old", 1)];
        assert_eq!(agents_of(&set("RollingUpdate", 2), &revisions, &[]), None);
        assert_eq!(agents_of(&set("OnDelete", 1), &revisions, &[]), None);
        assert_eq!(agents_of(&set("OnDelete", 2), &[], &[]), None);
    }
}
