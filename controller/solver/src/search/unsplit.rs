//! Pipelines of one stage: every node is tried, so the best of each mode is exact, and what lacks memory says how much.

use super::exact::Priced;
use super::instance::trusts;
use super::residual::Residual;
use super::survey::whole_on;
use crate::cost::CostModel;
use crate::problem::{Candidate, Mode, Problem, Service, Tier};
use crate::units::{Bytes, LayerRange, NodeOrd};

/// A node that could answer alone if it had enough memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(super) node: NodeOrd,
    pub(super) mode: Mode,
    /// Memory that it lacks; zero if it fits.
    pub(super) missing: Bytes,
    pub(super) priced: Priced,
}

/// The mode that one stage on a node is.
pub(super) fn mode_on(problem: &Problem, node: NodeOrd) -> Mode {
    match problem.nodes[node.index()].tier {
        Tier::Device => Mode::OnDevice,
        Tier::Server | Tier::Cloud => Mode::OnServer,
    }
}

/// The variant on each usable node that is trusted and in reach of every ingress, in an allowed mode.
pub(super) fn attempts(
    problem: &Problem,
    service: &Service,
    candidate: Candidate,
    cost: &CostModel<'_>,
    residual: &Residual,
    usable: &[NodeOrd],
) -> Vec<Attempt> {
    let memory = cost.memory(candidate);
    let layers = LayerRange::new(0, problem.variant(candidate).1.num_layers());
    let mut attempts = Vec::new();
    for &node in usable {
        let mode = mode_on(problem, node);
        let stores = residual
            .presence
            .stores(problem, service, node, candidate, &[layers]);
        if !stores || !service.modes.contains(&mode) || !trusts(problem, service, node) {
            continue;
        }
        let shape = whole_on(candidate, layers, node);
        let Some(evaluation) = cost.evaluate(&shape) else {
            continue;
        };
        let sharing = residual.sharing(node, candidate, layers);
        let need = memory
            .stage(&problem.nodes[node.index()], layers, sharing)
            .total();
        let free = residual.free_for(service, node, Some((candidate, layers)));
        let missing = need.saturating_sub(free);
        attempts.push(Attempt {
            node,
            mode,
            missing,
            priced: Priced {
                value: evaluation.cost.total().0,
                shape,
            },
        });
    }
    attempts
}
