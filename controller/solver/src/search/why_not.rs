//! Why a node has no part in a service's pipeline: what refuses it, or the best pipeline with it that was found and how much
//! more that costs.

use super::budget::{Budget, Meter};
use super::choose::cost_model;
use super::forecast::beside_others;
use super::infeasible::node_reason;
use super::survey::Survey;
use crate::cost::CostModel;
use crate::links::LinkIndex;
use crate::problem::{Problem, Service};
use crate::solution::{Outcome, PipelineShape, Solution, WhyNot};
use crate::units::{Nanos, NodeOrd, ServiceOrd};

/// Charges on the layers of other nodes, as parts of a request's cost: with a small one a pipeline takes the node in where it
/// costs little, with a large one wherever it can.
const CHARGES: [(u64, u64); 5] = [(1, 64), (1, 16), (1, 4), (1, 1), (8, 1)];

/// Why `node` is not in the pipeline that `solution` has for a service, all other services as they are there. The pipeline
/// that is named is the best that was met, not proven to be the best with the node.
#[must_use]
pub fn why_not(
    problem: &Problem,
    solution: &Solution,
    service: ServiceOrd,
    node: NodeOrd,
    budget: &Budget<'_>,
) -> WhyNot {
    let placed = solution.services.get(service.index()).and_then(Outcome::placed);
    let chosen = placed.map(|placed| placed.pipeline.shape());
    if chosen.as_ref().is_some_and(|shape| shape.uses(node)) {
        return WhyNot::Chosen;
    }
    let residual = beside_others(problem, solution, service);
    let asked = &problem.services[service.index()];
    let links = LinkIndex::new(problem);
    let survey = Survey::new(problem, &links, asked, &residual);
    if let Some(reason) = survey.refusal(node) {
        return WhyNot::Refused(reason);
    }
    let cost = |shape: &PipelineShape| {
        let evaluation = cost_model(&survey, shape)?.evaluate(shape)?;
        Some(evaluation.cost.total())
    };
    let mut meter = Meter::new(budget.steps, budget.cancelled);
    let runs = chosen.as_ref().and_then(cost);
    let whole = survey.whole_that_fit().into_iter();
    let mut found: Vec<PipelineShape> = whole.map(|priced| priced.shape).collect();
    found.extend(split_with(&survey, asked, &links, runs, node, &mut meter));
    let with_node = found.into_iter().filter(|shape| shape.uses(node));
    let best = with_node.filter_map(|shape| Some((cost(&shape)?, shape))).min();
    match best {
        Some((cost, shape)) => WhyNot::Dearer {
            more: runs.map_or(Nanos::ZERO, |runs| cost.saturating_sub(runs)),
            cost,
            shape,
        },
        None => WhyNot::Refused(node_reason(&survey, node)),
    }
}

/// Split pipelines that are cheapest when the layers of all other nodes cost more.
fn split_with(
    survey: &Survey<'_>,
    service: &Service,
    links: &LinkIndex,
    runs: Option<Nanos>,
    node: NodeOrd,
    meter: &mut Meter<'_>,
) -> Vec<PipelineShape> {
    let mut asked = service.clone();
    asked
        .modes
        .retain(|mode| mode.has_several_stages() || mode.has_assistant());
    if asked.modes.is_empty() {
        return Vec::new();
    }
    let scale = runs.map_or(1_000_000_000, |runs| runs.0);
    let mut found = Vec::new();
    for (position, (numerator, denominator)) in CHARGES.into_iter().enumerate() {
        let part = meter.part(1, (CHARGES.len() - position) as u64);
        let mut survey = Survey::new(survey.problem, links, &asked, survey.residual);
        for (candidate, cost) in survey.candidates.iter().zip(&mut survey.costs) {
            let layers = u64::from(survey.problem.variant(*candidate).1.num_layers());
            charge_others(
                cost,
                survey.problem,
                node,
                scale / denominator * numerator / layers.max(1),
            );
        }
        let (finds, _) = survey.search_within(part, meter);
        found.extend(finds.split.into_iter().map(|priced| priced.shape));
    }
    found
}

fn charge_others(cost: &mut CostModel<'_>, problem: &Problem, node: NodeOrd, by_layer: u64) {
    let charge = |other: usize| {
        if other == node.index() {
            Nanos::ZERO
        } else {
            Nanos(by_layer)
        }
    };
    let charges = (0..problem.nodes.len()).map(|other| (charge(other), Nanos::ZERO));
    cost.charge(charges.collect());
}
