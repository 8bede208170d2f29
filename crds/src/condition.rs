//! Conditions in the Kubernetes convention, and their reasons as enums.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// The conditions that Edgeloom's kinds carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The object does what it is for. kstatus, and so `helm --wait`, looks at this one.
    Ready,
    /// The solver has a placement for the service.
    Feasible,
    /// The observed quality is within the service's objective.
    SLOMet,
    /// The service survives the loss of any one node of its pipeline.
    FaultTolerant,
    /// The agent renews its Lease (written by the controller on EdgeNode).
    Reachable,
    /// New stages may be placed on the EdgeNode (written by the controller).
    Schedulable,
    /// The model's header was read.
    Inspected,
    /// The EdgeNode has timed the models that it heard of (written by the agent).
    Benchmarked,
}

impl ConditionType {
    /// The name as it stands in `status.conditions[].type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Feasible => "Feasible",
            Self::SLOMet => "SLOMet",
            Self::FaultTolerant => "FaultTolerant",
            Self::Reachable => "Reachable",
            Self::Schedulable => "Schedulable",
            Self::Inspected => "Inspected",
            Self::Benchmarked => "Benchmarked",
        }
    }
}

/// Machine-readable causes in `status.conditions[].reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All that was asked for is there.
    AsDesired,
    /// Nothing has looked at the object yet.
    NotObservedYet,
    /// The weights, or a referenced object, do not exist.
    NotFound,
    /// The weights could not be fetched or verified.
    FetchFailed,
    /// A file's header is not what the declared format says.
    InvalidFormat,
    /// The architecture is not proven for layer ranges; the model runs unsplit.
    SplitUnsupported,
    /// No placement satisfies the service on what is there.
    Infeasible,
    /// The model has not been inspected yet.
    ModelNotReady,
    /// Stages are being fetched or loaded.
    Loading,
    /// A stage could not be loaded.
    LoadFailed,
    /// Memory for the stage is not free.
    MemoryNotFree,
    /// Disk for the stage's file is not free.
    StorageNotFree,
    /// A node that holds a stage of the pipeline is lost.
    StageLost,
    /// The Lease is renewed in time.
    LeaseRenewed,
    /// The Lease has expired.
    LeaseExpired,
    /// Peers have reported the node's connections as dead.
    PeersReportLoss,
    /// The service has scaled to zero.
    ScaledToZero,
    /// Traffic has not reached the service yet.
    NoTraffic,
    /// The observed quality is worse than the objective.
    Missed,
    /// The agent is still starting.
    Starting,
    /// The engine's worker is being restarted.
    WorkerRestarting,
    /// The user asked for something that is impossible as written.
    InvalidSpec,
    /// New stages may be placed on the node.
    Schedulable,
    /// The Kubernetes Node is cordoned, or the EdgeNode's spec says that it takes no stages.
    NodeCordoned,
    /// The node's agent is about to be updated.
    AgentUpdate,
    /// A model could not be timed on the node.
    BenchmarkFailed,
    /// The loss of one node would leave the service without a pipeline.
    NoStandby,
}

impl Reason {
    /// The CamelCase reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsDesired => "AsDesired",
            Self::NotObservedYet => "NotObservedYet",
            Self::NotFound => "NotFound",
            Self::FetchFailed => "FetchFailed",
            Self::InvalidFormat => "InvalidFormat",
            Self::SplitUnsupported => "SplitUnsupported",
            Self::Infeasible => "Infeasible",
            Self::ModelNotReady => "ModelNotReady",
            Self::Loading => "Loading",
            Self::LoadFailed => "LoadFailed",
            Self::MemoryNotFree => "MemoryNotFree",
            Self::StorageNotFree => "StorageNotFree",
            Self::StageLost => "StageLost",
            Self::LeaseRenewed => "LeaseRenewed",
            Self::LeaseExpired => "LeaseExpired",
            Self::PeersReportLoss => "PeersReportLoss",
            Self::ScaledToZero => "ScaledToZero",
            Self::NoTraffic => "NoTraffic",
            Self::Missed => "Missed",
            Self::Starting => "Starting",
            Self::WorkerRestarting => "WorkerRestarting",
            Self::InvalidSpec => "InvalidSpec",
            Self::Schedulable => "Schedulable",
            Self::NodeCordoned => "NodeCordoned",
            Self::AgentUpdate => "AgentUpdate",
            Self::BenchmarkFailed => "BenchmarkFailed",
            Self::NoStandby => "NoStandby",
        }
    }
}

/// The state of a condition. `None` stands for `Unknown`.
pub type State = Option<bool>;

/// Sets a condition, and keeps `lastTransitionTime` unless the state changed, so that setting what stands
/// already changes nothing.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: ConditionType,
    state: State,
    reason: Reason,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = match state {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let previous = conditions
        .iter()
        .position(|condition| condition.type_ == kind.as_str());
    let last_transition_time = match previous.map(|index| &conditions[index]) {
        Some(condition) if condition.status == status => condition.last_transition_time.clone(),
        _ => Time(now),
    };
    let condition = Condition {
        type_: kind.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time,
    };
    match previous {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
}

/// The state of a condition; `None` when it is unknown or absent.
#[must_use]
pub fn state(conditions: &[Condition], kind: ConditionType) -> State {
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())?;
    match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// The message of a condition that is False.
#[must_use]
pub fn why_not(conditions: &[Condition], kind: ConditionType) -> Option<&str> {
    let is_it = |condition: &&Condition| condition.type_ == kind.as_str() && condition.status == "False";
    let condition = conditions.iter().find(is_it)?;
    Some(condition.message.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_when_the_state_changes() {
        let mut conditions = vec![];
        let mut set_at = |state, second| {
            let now = Timestamp::from_second(second).unwrap();
            set(
                &mut conditions,
                ConditionType::Ready,
                state,
                Reason::Loading,
                "",
                Some(1),
                now,
            );
            conditions[0].last_transition_time.0.as_second()
        };
        assert_eq!(set_at(Some(false), 10), 10);
        assert_eq!(set_at(Some(false), 20), 10);
        assert_eq!(set_at(Some(true), 30), 30);
        assert_eq!(set_at(None, 40), 40);
        assert_eq!(state(&conditions, ConditionType::Ready), None);
        assert_eq!(conditions.len(), 1);
    }
}
