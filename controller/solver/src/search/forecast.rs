//! What a pipeline should deliver for a request of another length than the typical one that it was chosen for.

use super::{order, residual::Residual};
use crate::cost::{CostModel, Evaluation};
use crate::links::LinkIndex;
use crate::problem::{Problem, Service};
use crate::solution::{Outcome, PipelineShape, Predicted, Solution};
use crate::units::ServiceOrd;

/// Times of a request with `prompt_tokens` through a service's pipeline, beside the services that chose before it in
/// `solution`, as its head sees them: the way between ingress and head is not counted. `None` when a link or a speed that
/// the pipeline needs is missing.
#[must_use]
pub fn forecast(
    problem: &Problem,
    solution: &Solution,
    service: ServiceOrd,
    shape: &PipelineShape,
    prompt_tokens: u32,
) -> Option<Predicted> {
    let mut residual = Residual::new(problem);
    for earlier in order(problem)
        .into_iter()
        .take_while(|earlier| *earlier != service)
    {
        if let Some(placed) = solution.services.get(earlier.index())?.placed() {
            residual.take(problem, &problem.services[earlier.index()], placed);
        }
    }
    let asked = with_prompts(problem, service, prompt_tokens)?;
    Some(evaluated(problem, &asked, shape, &residual)?.predicted)
}

/// The least and the most that requests of one kind should take through a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForecastRange {
    /// All other services idle.
    pub alone: Evaluation,
    /// All other services busy, as the solution has them.
    pub beside: Evaluation,
}

/// Between which times a request with `prompt_tokens` should stay, as the head sees it, whatever the other services do. What
/// is observed beyond them is no work of other services: the speeds are not what they were taken for. `None` when a link or
/// a speed that the pipeline needs is missing.
#[must_use]
pub fn forecast_range(
    problem: &Problem,
    solution: &Solution,
    service: ServiceOrd,
    shape: &PipelineShape,
    prompt_tokens: u32,
) -> Option<ForecastRange> {
    let asked = with_prompts(problem, service, prompt_tokens)?;
    let others = beside_others(problem, solution, service);
    Some(ForecastRange {
        alone: evaluated(problem, &asked, shape, &Residual::new(problem))?,
        beside: evaluated(problem, &asked, shape, &others)?,
    })
}

/// The service as its head sees requests with prompts of this length.
fn with_prompts(problem: &Problem, service: ServiceOrd, prompt_tokens: u32) -> Option<Service> {
    Some(Service {
        prompt_tokens: prompt_tokens.max(1),
        ingress: Vec::new(),
        ..problem.services.get(service.index())?.clone()
    })
}

fn evaluated(
    problem: &Problem,
    service: &Service,
    shape: &PipelineShape,
    residual: &Residual,
) -> Option<Evaluation> {
    let links = LinkIndex::new(problem);
    let cost = CostModel::of_shape(problem, &links, service, shape, &residual.load_milli);
    cost.evaluate(shape)
}

/// What all other services leave.
pub(super) fn beside_others(problem: &Problem, solution: &Solution, service: ServiceOrd) -> Residual {
    let mut residual = Residual::new(problem);
    for other in order(problem).into_iter().filter(|other| *other != service) {
        if let Some(placed) = solution.services.get(other.index()).and_then(Outcome::placed) {
            residual.take(problem, &problem.services[other.index()], placed);
        }
    }
    residual
}
