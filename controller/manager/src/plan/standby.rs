//! What remains of services when a node is lost, for those that ask to survive it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{LLMService, llm_service::FaultTolerance, placement::Contingency};
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

/// What remains of services after a loss.
pub type Foreseen = BTreeMap<ServiceName, Protected>;

/// A service that asked, with the pipeline that was looked into.
#[derive(Clone, Debug, PartialEq)]
pub struct Protected {
    pipeline: String,
    contingencies: Vec<Contingency>,
}

/// Services of the snapshot that ask to survive the loss of a node.
#[must_use]
pub fn asked(world: &World, snapshot: &Snapshot) -> Vec<ServiceOrd> {
    let asks = |service: &&Arc<LLMService>| service.spec.fault_tolerance == FaultTolerance::NodeLoss;
    let asking: BTreeSet<_> = world
        .services
        .iter()
        .filter(asks)
        .map(|service| ServiceName::of(service))
        .collect();
    let services = snapshot.services.iter().enumerate();
    services
        .filter(|(_, name)| asking.contains(name))
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
) -> Result<Foreseen, InvalidProblem> {
    let foreseen = contingencies(&snapshot.problem, solution, services, budget)?;
    let of_service = |&service: &ServiceOrd| {
        let pipeline = &solution.services[service.index()].placed()?.pipeline;
        let of_loss = |contingency: &search::Contingency| {
            let uses = pipeline.stages.iter().any(|stage| stage.node == contingency.lost);
            let (_, outcome) = contingency.services.iter().find(|(asked, _)| *asked == service)?;
            // Where the pipeline does not pass, only an end is worth telling.
            (uses || outcome.placed().is_none()).then(|| said(snapshot, contingency, outcome))
        };
        let protected = Protected {
            pipeline: shape_line(snapshot, &pipeline.shape()),
            contingencies: foreseen
                .iter()
                .filter_map(of_loss)
                .take(CONTINGENCIES_MAX)
                .collect(),
        };
        Some((snapshot.services[service.index()].clone(), protected))
    };
    Ok(services.iter().filter_map(of_service).collect())
}

impl Plan<Proposed> {
    /// The same plan with what was foreseen said of each service that still has the pipeline which was looked into.
    #[must_use]
    pub fn with_contingencies(
        mut self,
        snapshot: &Snapshot,
        solution: &Solution,
        foreseen: &Foreseen,
    ) -> Self {
        for (name, outcome) in snapshot.services.iter().zip(&solution.services) {
            let Some((protected, placed)) = foreseen.get(name).zip(outcome.placed()) else {
                continue;
            };
            let is_it = protected.pipeline == shape_line(snapshot, &placed.pipeline.shape());
            if let Some(known) = self.services.get_mut(name).filter(|_| is_it) {
                known.contingencies = Some(protected.contingencies.clone());
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
