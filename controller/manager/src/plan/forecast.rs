//! What the cost model says of requests like those that were observed, so that like is compared with like: the same
//! pipeline, prompts of the same length, one request at a time, seen from the head.

use crds::{PlacementSpec, llm_service::ServiceFigures, route_table::ObservedService};
use solver::{Solution, units::ServiceOrd};

use super::decision::micros;
use crate::{
    snapshot::Snapshot,
    world::{ServiceName, World},
};

/// What the head of a pipeline observed of its service's requests; none before the first answer.
#[must_use]
pub fn observed<'w>(
    world: &'w World,
    placement: &PlacementSpec,
    name: &ServiceName,
) -> Option<&'w ObservedService> {
    let head = &placement.pipelines.first()?.stages.first()?.node;
    let mut observed = world.route_table(head)?.status.as_ref()?.observed.iter();
    observed.find(|observed| observed.service == name.to_string() && observed.requests > 0)
}

/// The prediction that belongs to what was observed of a placement's requests, with the speeds and links of the snapshot.
#[must_use]
pub fn like_observed(
    world: &World,
    snapshot: &Snapshot,
    solution: &Solution,
    placement: &PlacementSpec,
    name: &ServiceName,
) -> Option<ServiceFigures> {
    let prompt_tokens = observed(world, placement, name)?.prompt_tokens?;
    let service = snapshot.services.iter().position(|known| known == name)?;
    let running = snapshot.shape_of(placement, &snapshot.problem.services[service].candidates)?;
    let predicted = solver::forecast(
        &snapshot.problem,
        solution,
        ServiceOrd::from_index(service),
        &running,
        prompt_tokens.unsigned_abs(),
    )?;
    Some(ServiceFigures {
        time_to_first_token_microseconds: micros(predicted.ttft),
        time_per_output_token_microseconds: micros(predicted.tpot),
        requests: 0,
        prompt_tokens: Some(prompt_tokens),
    })
}
