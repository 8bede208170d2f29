//! What becomes of services when one node is lost (N-1): the question that the repair would ask, answered beforehand.
//!
//! Whether a service survives the loss of a node does not depend on where it is now, since the repair may move everybody: so
//! there is nothing to choose here, only to find out. What keeps a standby free is precedence, not idle memory: services of
//! lower priority give way.

use std::collections::BTreeSet;

use super::{Budget, solve};
use crate::problem::{InvalidProblem, Problem};
use crate::solution::{Outcome, Solution};
use crate::units::{NodeOrd, ServiceOrd};

/// The answer after a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Contingency {
    /// The node that is lost.
    pub lost: NodeOrd,
    /// The services that were asked about, and what they have then.
    pub services: Vec<(ServiceOrd, Outcome)>,
    /// Whether the search was cancelled; outcomes may then be worse than need be.
    pub cancelled: bool,
}

/// For every node in a pipeline that `solution` has for one of `services`, what these services have when it is lost. The
/// budget is for all losses together.
///
/// # Errors
///
/// When the problem means nothing.
pub fn contingencies(
    problem: &Problem,
    solution: &Solution,
    services: &[ServiceOrd],
    budget: &Budget<'_>,
) -> Result<Vec<Contingency>, InvalidProblem> {
    let nodes = nodes_of(solution, services);
    let share = budget.steps / (nodes.len() as u64).max(1);
    let after = |lost: NodeOrd| {
        let asked = without(problem, solution, lost);
        let budget = Budget {
            steps: share,
            cancelled: budget.cancelled,
        };
        let answer = solve(&asked, &budget)?;
        let outcome = |service: &ServiceOrd| (*service, answer.services[service.index()].clone());
        let services = services.iter().map(outcome).collect();
        Ok(Contingency {
            lost,
            services,
            cancelled: answer.cancelled,
        })
    };
    nodes.into_iter().map(after).collect()
}

/// Nodes that these services use.
fn nodes_of(solution: &Solution, services: &[ServiceOrd]) -> BTreeSet<NodeOrd> {
    let placed = services
        .iter()
        .filter_map(|service| solution.services.get(service.index())?.placed());
    placed
        .flat_map(|placed| {
            let assistant = placed.pipeline.assistant.iter();
            let assists = assistant.map(|placed| placed.assistant.node);
            placed
                .pipeline
                .stages
                .iter()
                .map(|stage| stage.node)
                .chain(assists)
        })
        .collect()
}

/// The question after a loss: what was decided runs, but for what stood on the node.
fn without(problem: &Problem, solution: &Solution, lost: NodeOrd) -> Problem {
    let mut asked = problem.clone();
    for (service, outcome) in asked.services.iter_mut().zip(&solution.services) {
        let runs = outcome.placed().map(|placed| placed.pipeline.shape());
        service.previous = runs.filter(|shape| !shape.uses(lost));
        service.kept.clear();
    }
    asked.lose(lost);
    asked
}
