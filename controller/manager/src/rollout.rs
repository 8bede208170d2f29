//! Agents run from DaemonSets whose pods are replaced when somebody deletes them (`OnDelete`). Here it is decided whose
//! turn it is: node by node, each left by its services before its agent is replaced. A DaemonSet's own roll-out knows
//! neither pipelines nor disruption budgets.
//!
//! ```text
//! turn_of ▸ (the node takes no new stages; services leave it) ▸ step ▸ delete the pod ▸ … ▸ the next turn
//! ```
//!
//! Pure. Whose turn it is stands in the EdgeNode's condition `Schedulable`, with reason `AgentUpdate`, so that another
//! controller goes on where this one stopped.
//!
//! A service that has room nowhere else keeps the agent from being replaced until the deadline, unless it allows a pause
//! (`updatePolicy: AllowPause`). A new agent that does not become Ready ends the roll-out: no second node is touched.

use std::{collections::BTreeSet, time::Duration};

use crds::{ConditionType, EdgeNode, condition::Reason, llm_service::UpdatePolicy};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    plan::{Plan, uses},
    world::{Now, ServiceName, World},
};

pub(crate) mod pods;

/// Which agents are updated, and what that may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The DaemonSets, in the control plane's namespace. No node belongs to two.
    pub daemon_sets: Vec<String>,
    /// How long services may take to leave a node; then its agent is replaced under them.
    pub drain_timeout: Duration,
    /// How long a new agent may take to become Ready.
    pub ready_timeout: Duration,
}

impl Config {
    /// The usual times.
    #[must_use]
    pub fn new<Name: Into<String>>(daemon_sets: impl IntoIterator<Item = Name>) -> Self {
        Self {
            daemon_sets: daemon_sets.into_iter().map(Into::into).collect(),
            drain_timeout: Duration::from_secs(600),
            ready_timeout: Duration::from_secs(600),
        }
    }
}

/// The agents' pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents {
    /// The pods of every DaemonSet.
    pub pods: Vec<Pod>,
}

/// An agent's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The Kubernetes Node that it runs on.
    pub node: String,
    /// Whether it was made of the newest revision of its DaemonSet.
    pub is_current: bool,
    /// Whether its readiness probe succeeds.
    pub ready: bool,
    /// Whether it is on its way out.
    pub deleted: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The Kubernetes Node.
    pub machine: String,
    /// Its EdgeNode, if its agent has ever registered one.
    pub node: Option<String>,
    /// Since when it takes no new stages; nothing when that begins now.
    pub since: Option<Timestamp>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Services are still to leave the node.
    Drain(Vec<ServiceName>),
    /// The pod is to be deleted.
    Replace {
        /// Its name.
        pod: String,
        /// Its UID: no other pod of that name is meant.
        uid: String,
    },
    /// The old pod is to go, or the new one to become Ready.
    Await,
    /// The new agent did not become Ready in time; nothing more is done until somebody helps.
    Failed(String),
}

/// The node whose agent is being replaced, or is the next; nothing when all are as they should be.
#[must_use]
pub fn turn_of(world: &World, agents: &Agents) -> Option<Turn> {
    let begun = world
        .nodes
        .iter()
        .filter_map(|node| Some((node, updated_since(node)?)));
    for (node, since) in begun {
        let machine = machine_of(node).to_owned();
        if !is_done(world, agents, &machine) {
            let node = Some(node.name_any());
            let since = Some(since);
            return Some(Turn { machine, node, since });
        }
    }
    let is_outdated = |pod: &&Pod| !pod.is_current;
    let next = agents.pods.iter().filter(is_outdated).min_by_key(|pod| {
        // What does not work anyway first, then where the fewest services have to move.
        (pod.ready, services_on(world, &pod.node), &pod.node)
    })?;
    // One that was replaced and does not work goes before those that were not.
    let mut broken = agents
        .pods
        .iter()
        .filter(|pod| !pod.deleted && pod.is_current && !is_done(world, agents, &pod.node));
    if let Some(pod) = broken.next() {
        return Some(turn_on(world, pod, Some(pod.created)));
    }
    Some(turn_on(world, next, None))
}

/// Services that are still to leave the node whose turn it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// Those with a stage there, in the order of their names; those that let their last sessions finish too.
    pub services: Vec<ServiceName>,
    /// Whether all of them have room nowhere else and would rather pause than wait.
    pub may_pause: bool,
}

impl Leaving {
    /// Those that a plan has on the node of a turn.
    #[must_use]
    pub fn of<S>(world: &World, plan: &Plan<S>, turn: &Turn) -> Self {
        let placements = plan.placements.iter();
        let here = placements.filter(|placement| {
            turn.node
                .as_deref()
                .is_some_and(|node| uses(&placement.spec, node))
        });
        let services: BTreeSet<_> = here.map(|placement| placement.service.clone()).collect();
        let may_pause = services.iter().all(|name| {
            let is_blocked = plan
                .services
                .get(name)
                .is_some_and(|known| known.blocked.is_some());
            let service = world
                .services
                .iter()
                .find(|service| ServiceName::of(service) == *name);
            let policy = service.map(|service| service.spec.update_policy);
            is_blocked && policy == Some(UpdatePolicy::AllowPause)
        });
        Self {
            services: services.into_iter().collect(),
            may_pause,
        }
    }
}

/// What is to be done on a node whose turn it is.
#[must_use]
pub fn step(agents: &Agents, turn: &Turn, leaving: Leaving, config: &Config, now: Now) -> Step {
    let has_passed = |since: Timestamp, time: Duration| {
        let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        passed >= time
    };
    let Some(pod) = agents.pods.iter().find(|pod| pod.node == turn.machine) else {
        let whole = config.drain_timeout + config.ready_timeout;
        return match turn.since {
            Some(since) if has_passed(since, whole) => Step::Failed("it has no pod".to_owned()),
            _ => Step::Await,
        };
    };
    if pod.deleted {
        return Step::Await;
    }
    if pod.is_current {
        let why = if pod.ready {
            "its agent does not renew its Lease"
        } else {
            "its pod is not Ready"
        };
        return if has_passed(pod.created, config.ready_timeout) {
            let seconds = config.ready_timeout.as_secs();
            Step::Failed(format!("{why} after {seconds} s"))
        } else {
            Step::Await
        };
    }
    let drain_is_over = turn
        .since
        .is_some_and(|since| has_passed(since, config.drain_timeout));
    // An agent that does not work keeps nobody.
    if leaving.services.is_empty() || leaving.may_pause || drain_is_over || !pod.ready {
        return Step::Replace {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
        };
    }
    Step::Drain(leaving.services)
}

fn turn_on(world: &World, pod: &Pod, since: Option<Timestamp>) -> Turn {
    let node = node_on(world, &pod.node);
    Turn {
        machine: pod.node.clone(),
        node: node.map(|node| node.name_any()),
        since,
    }
}

/// Whether the node has an up-to-date pod that is Ready, and an agent that is alive.
fn is_done(world: &World, agents: &Agents, machine: &str) -> bool {
    let mut pods = agents.pods.iter().filter(|pod| pod.node == machine);
    let works = pods.any(|pod| pod.is_current && pod.ready && !pod.deleted);
    works && node_on(world, machine).is_none_or(|node| world.is_alive(&node.name_any()))
}

fn services_on(world: &World, machine: &str) -> usize {
    let Some(node) = node_on(world, machine).map(|node| node.name_any()) else {
        return 0;
    };
    let placements = world.placements.iter();
    placements
        .filter(|placement| uses(&placement.spec, &node))
        .count()
}

fn node_on<'a>(world: &'a World, machine: &str) -> Option<&'a EdgeNode> {
    let mut nodes = world.nodes.iter();
    nodes.find(|node| machine_of(node) == machine).map(|node| &**node)
}

fn machine_of(node: &EdgeNode) -> &str {
    let declared = node.spec.kubernetes_node_name.as_deref();
    declared.or(node.metadata.name.as_deref()).unwrap_or_default()
}

/// Since when the node takes no new stages, if that is for its agent's update.
fn updated_since(node: &EdgeNode) -> Option<Timestamp> {
    let conditions = &node.status.as_ref()?.conditions;
    let condition = conditions.iter().find(|condition| {
        condition.type_ == ConditionType::Schedulable.as_str()
            && condition.status == "False"
            && condition.reason == Reason::AgentUpdate.as_str()
    });
    condition.map(|condition| condition.last_transition_time.0)
}

#[cfg(test)]
mod tests;
