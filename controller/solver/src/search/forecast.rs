//! What a pipeline should deliver for a request of another length than the typical one that it was chosen for.

use super::{order, residual::Residual};
use crate::cost::CostModel;
use crate::links::LinkIndex;
use crate::problem::{Problem, Service};
use crate::solution::{PipelineShape, Predicted, Solution};
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
            residual.take(&problem.services[earlier.index()], placed);
        }
    }
    let asked = Service {
        prompt_tokens: prompt_tokens.max(1),
        ingress: Vec::new(),
        ..problem.services.get(service.index())?.clone()
    };
    let links = LinkIndex::new(problem);
    let cost = CostModel::new(problem, &links, &asked, shape.candidate, &residual.load_milli);
    Some(cost.evaluate(shape)?.predicted)
}
