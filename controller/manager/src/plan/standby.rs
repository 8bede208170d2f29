//! What remains of services when a node is lost, for those that ask to survive it.

use crds::{llm_service::FaultTolerance, placement::Contingency};
use kube::ResourceExt;
use solver::{
    Budget, Solution,
    problem::InvalidProblem,
    search::{self, contingencies},
    solution::Outcome,
    units::ServiceOrd,
};

use super::{
    Plan, Proposed,
    decision::{self, clip, micros, shape_line},
    together::rounded,
};
use crate::{
    snapshot::Snapshot,
    world::{ServiceName, World},
};

/// Contingencies of one Placement; the schema's bound.
const CONTINGENCIES_MAX: usize = 64;

/// The longest explanation of why nothing remains, in characters.
const WHY_NOT_MAX: usize = 1_000;

/// Services of the snapshot that ask to survive the loss of a node.
#[must_use]
pub fn asked(world: &World, snapshot: &Snapshot) -> Vec<ServiceOrd> {
    let asks = |name: &ServiceName| {
        let mut services = world.services.iter();
        let service = services.find(|service| {
            service.name_any() == name.name && service.namespace().as_deref() == Some(&name.namespace)
        });
        service.is_some_and(|service| service.spec.fault_tolerance == FaultTolerance::NodeLoss)
    };
    let services = snapshot.services.iter().enumerate();
    services
        .filter(|(_, name)| asks(name))
        .map(|(ordinal, _)| ServiceOrd::from_index(ordinal))
        .collect()
}

/// What these services have after each loss of a node that they use.
///
/// # Errors
///
/// When the question contradicts itself.
pub fn foresee(
    snapshot: &Snapshot,
    solution: &Solution,
    services: &[ServiceOrd],
    budget: &Budget<'_>,
) -> Result<Vec<search::Contingency>, InvalidProblem> {
    if services.is_empty() {
        return Ok(vec![]);
    }
    contingencies(&snapshot.problem, solution, services, budget)
}

impl Plan<Proposed> {
    /// The same plan with what was foreseen for `snapshot` said of each service that asked.
    #[must_use]
    pub fn with_contingencies(
        mut self,
        snapshot: &Snapshot,
        solution: &Solution,
        foreseen: &[search::Contingency],
    ) -> Self {
        for (ordinal, name) in snapshot.services.iter().enumerate() {
            let service = ServiceOrd::from_index(ordinal);
            let of_service = |contingency: &search::Contingency| {
                let uses = solution.services[ordinal]
                    .placed()?
                    .pipeline
                    .stages
                    .iter()
                    .any(|stage| stage.node == contingency.lost);
                let (_, outcome) = contingency.services.iter().find(|(asked, _)| *asked == service)?;
                // Where the pipeline does not pass, only an end is worth telling.
                (uses || outcome.placed().is_none()).then(|| said(snapshot, contingency, outcome))
            };
            let said: Vec<Contingency> = foreseen
                .iter()
                .filter_map(of_service)
                .take(CONTINGENCIES_MAX)
                .collect();
            if let Some(known) = self.services.get_mut(name) {
                known.contingencies = said;
            }
        }
        self
    }
}

fn said(snapshot: &Snapshot, contingency: &search::Contingency, outcome: &Outcome) -> Contingency {
    let lost = snapshot.node_name(contingency.lost).to_owned();
    match outcome {
        Outcome::Placed(placed) => Contingency {
            lost,
            pipeline: Some(clip(shape_line(snapshot, &placed.pipeline.shape()), 2_000)),
            time_to_first_token_microseconds: Some(rounded(micros(placed.predicted.ttft), 2)),
            time_per_output_token_microseconds: Some(rounded(micros(placed.predicted.tpot), 2)),
            why_not: None,
        },
        Outcome::Infeasible(infeasible) => Contingency {
            lost,
            why_not: Some(clip(decision::infeasible(snapshot, infeasible), WHY_NOT_MAX)),
            ..Contingency::default()
        },
    }
}
