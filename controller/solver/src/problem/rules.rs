//! Where a service may be, memory and links apart: nodes that are closed to it, and nodes that it would rather avoid.

use serde::{Deserialize, Serialize};

use crate::units::{Nanos, NodeOrd, TermOrd};

/// Why a node is not to be used for a service, decided before the solver is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Exclusion {
    /// Its agent does not answer.
    NotReady,
    /// It takes no new stages.
    Unschedulable,
    /// It has a taint that the service does not tolerate.
    Taint(TermOrd),
    /// It has a taint that the service does not tolerate, which is about new stages only: stages that run there, and stay as
    /// they are, may.
    TaintForNew(TermOrd),
    /// The service selects other nodes.
    NotSelected,
    /// A rule of the service asks for labels that it has not.
    Unmatched(TermOrd),
    /// Its engine cannot run this model.
    EngineUnsupported,
}

/// A node that this service may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedNode {
    /// The node.
    pub node: NodeOrd,
    /// Why.
    pub why: Exclusion,
}

/// A node that a service would rather not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aversion {
    /// The node.
    pub node: NodeOrd,
    /// What each stage there costs for it, per request, in the objective's currency.
    pub cost: Nanos,
}
