//! From an answer to what is to stand in the API server: Placements with their phases, and the Stages and RouteTables
//! that follow from them. Make before break is decided here, by the phases.
//!
//! Pure: the same world and the same answer give the same plan, so whoever finds a plan half applied finishes it by
//! planning again.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    sync::Arc,
};

use crds::{
    LLMService, Placement, PlacementSpec, RouteTableSpec, StageSpec,
    edge_node::SpeedCorrection,
    llm_service::ServiceFigures,
    placement::{Accuracy, Alternative, Contingency, PlacementPhase, Together},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use solver::{
    Solution,
    solution::{Infeasible, NodeReason, NodeReport, Outcome},
};

use crate::{
    corrections::Learner,
    snapshot::{Skipped, Snapshot},
    world::{ServiceName, World},
};

pub mod decision;
pub(crate) mod disks;
pub mod forecast;
pub mod peers;
pub mod phases;
pub mod routes;
pub mod stages;
pub mod standby;
pub mod together;
pub mod wording;

/// A plan that was made and not applied.
#[derive(Clone, Copy, Debug)]
pub struct Proposed;

/// What is to stand in the API server.
#[derive(Clone, Debug)]
pub struct Plan<State> {
    /// Every Placement that lives on, or is new, with the phase that it is to have; by service, oldest first.
    pub placements: Vec<PlannedPlacement>,
    /// Placements that have drained and go.
    pub finished: Vec<Arc<Placement>>,
    /// Every Stage that a Placement names, by name.
    pub stages: BTreeMap<String, StageSpec>,
    /// Every RouteTable, by node.
    pub route_tables: BTreeMap<String, RouteTableSpec>,
    /// What is to be said of each service.
    pub services: BTreeMap<ServiceName, ServicePlan>,
    /// What was learnt of nodes' speeds, where it is not what their status says.
    pub corrections: BTreeMap<String, Vec<SpeedCorrection>>,
    state: PhantomData<State>,
}

/// A Placement and its phase.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedPlacement {
    /// The service that it is for.
    pub service: ServiceName,
    /// Its name, which has a hash of its content in it.
    pub name: String,
    /// Its content.
    pub spec: PlacementSpec,
    /// The phase that it is to have.
    pub phase: PlacementPhase,
    /// The object, when it exists already.
    pub existing: Option<Arc<Placement>>,
    /// Stages that are ready, and why the others are not.
    pub progress: phases::Progress,
}

/// What became of a service in a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServicePlan {
    /// Whether the solver has a pipeline, and in which words.
    pub verdict: Verdict,
    /// The Placement that takes requests.
    pub serving: Option<String>,
    /// The Placement that is made ready to take over.
    pub next: Option<String>,
    /// What keeps the decision from being carried out, or the service from leaving a node that it is to leave.
    pub blocked: Option<String>,
    /// What the cost model says of requests like those that were observed, when there were any.
    pub forecast: Option<ServiceFigures>,
    /// How well the pipeline that takes requests is predicted, once enough of them were observed.
    pub accuracy: Option<Accuracy>,
    /// What the service has after the loss of each of its nodes, if it asks and that has been looked into.
    pub contingencies: Option<Vec<Contingency>>,
    /// How good the choice for all services of its priority is, if it has a pipeline.
    pub together: Option<Together>,
}

/// The solver's word on a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Verdict {
    /// It has a pipeline; the sentence says why this one.
    Feasible(String),
    /// It has none; the sentence says why, the list what each kind of pipeline would lack.
    Infeasible(String, Vec<Alternative>),
    /// It was not asked.
    Skipped(String),
    /// Nobody has looked yet.
    #[default]
    Unknown,
}

impl<State> Plan<State> {
    /// The planned Placements of a service, oldest first.
    pub fn placements_of(&self, service: &ServiceName) -> impl Iterator<Item = &PlannedPlacement> {
        self.placements
            .iter()
            .filter(move |placement| placement.service == *service)
    }

    /// Services that have a stage on a node which is not on its way out, in the order of their names.
    #[must_use]
    pub fn services_on(&self, node: &str) -> BTreeSet<&ServiceName> {
        let live = self
            .placements
            .iter()
            .filter(|placement| placement.phase != PlacementPhase::Draining && uses(&placement.spec, node));
        live.map(|placement| &placement.service).collect()
    }

    /// The Placement that takes the requests of a service.
    #[must_use]
    pub fn serving(&self, service: &ServiceName) -> Option<&PlannedPlacement> {
        self.placements_of(service)
            .find(|placement| placement.phase == PlacementPhase::Serving)
    }

    /// What is not proven of a placement, in parts per million: its own gap, or that of the choice for all where it leaves a
    /// better pipeline to others.
    #[must_use]
    pub fn gap_of(&self, placement: &PlannedPlacement) -> i64 {
        let decided = self.services.get(&placement.service);
        let together = decided.and_then(|decided| decided.together.as_ref());
        match together.filter(|together| together.gives_way.is_some()) {
            Some(together) => together.gap_parts_per_million.unwrap_or(0),
            None => placement.spec.explanation.gap_parts_per_million,
        }
    }

    /// The same plan in another state; only the step that changes the state may say so.
    pub(crate) fn into_state<Next>(self) -> Plan<Next> {
        let Self {
            placements,
            finished,
            stages,
            route_tables,
            services,
            corrections,
            state: _,
        } = self;
        Plan {
            placements,
            finished,
            stages,
            route_tables,
            services,
            corrections,
            state: PhantomData,
        }
    }
}

impl Plan<Proposed> {
    /// Plans what follows from the solver's answer to `snapshot`, which was taken of `world`.
    #[must_use]
    pub fn propose(world: &World, snapshot: &Snapshot, solution: &Solution) -> Self {
        let mut plan = Self {
            placements: vec![],
            finished: vec![],
            stages: BTreeMap::new(),
            route_tables: BTreeMap::new(),
            services: BTreeMap::new(),
            corrections: BTreeMap::new(),
            state: PhantomData,
        };
        let mut learner = Learner::new(world, snapshot, solution);
        for service in &world.services {
            let name = ServiceName::of(service);
            let (verdict, decision) = verdict_of(world, snapshot, solution, service, &name);
            let outcome = phases::advance(world, service, &name, decision.as_ref());
            let mut live = outcome.placements.iter();
            let serving = live.find(|placement| placement.phase == PlacementPhase::Serving);
            let forecast = serving.and_then(|placement| {
                forecast::like_observed(world, snapshot, solution, &placement.spec, &name)
            });
            let accuracy = serving.and_then(|placement| learner.look(placement));
            plan.finished.extend(outcome.finished);
            let stays = snapshot
                .staying
                .get(&name)
                .or_else(|| snapshot.waiting.get(&name));
            let stays = stays.filter(|_| decision.is_some());
            let together = together::of(snapshot, solution, &name);
            plan.services.insert(
                name,
                ServicePlan {
                    together,
                    verdict,
                    serving: name_in_phase(&outcome.placements, |phase| phase == PlacementPhase::Serving),
                    next: name_in_phase(&outcome.placements, |phase| phase < PlacementPhase::Serving),
                    blocked: outcome.blocked.or(stays.cloned()),
                    forecast,
                    accuracy,
                    contingencies: None,
                },
            );
            plan.placements.extend(outcome.placements);
        }
        let orphans = phases::orphans(world);
        plan.corrections = learner.changed();
        plan.finished.extend(orphans.finished);
        plan.placements.extend(orphans.placements);
        plan.stages = stages::derive(world, &plan.placements);
        plan.route_tables = routes::derive(world, &plan);
        plan
    }
}

/// Whether a stage of a Placement is on a node.
#[must_use]
pub fn uses(spec: &PlacementSpec, node: &str) -> bool {
    let mut stages = spec.pipelines.iter().flat_map(|pipeline| &pipeline.stages);
    stages.any(|stage| stage.node == node)
}

fn name_in_phase(placements: &[PlannedPlacement], wanted: fn(PlacementPhase) -> bool) -> Option<String> {
    placements
        .iter()
        .find(|placement| wanted(placement.phase))
        .map(|placement| placement.name.clone())
}

/// Nodes time a model when they hear of it; that a new service has no pipeline meanwhile says nothing.
const TIMING: SignedDuration = SignedDuration::from_secs(30);

/// Whether a service is so new that nodes which have no times of its model may still be at it.
fn is_being_timed(world: &World, service: &LLMService, infeasible: &Infeasible) -> bool {
    let is_untimed = |report: &NodeReport| report.reason == NodeReason::SpeedUnknown;
    let created = service.metadata.creation_timestamp.as_ref();
    let is_new = created
        .zip(world.at)
        .is_some_and(|(Time(created), now)| now.duration_since(*created) < TIMING);
    is_new && infeasible.nodes.iter().any(is_untimed)
}

fn verdict_of(
    world: &World,
    snapshot: &Snapshot,
    solution: &Solution,
    service: &LLMService,
    name: &ServiceName,
) -> (Verdict, Option<PlacementSpec>) {
    if let Some(skipped) = snapshot.skipped.get(name) {
        let reason = match skipped {
            Skipped::ScaledToZero => "spec.replicas is 0".to_owned(),
            Skipped::ModelNotReady(model, why) => format!("Model {model} is not ready: {why}"),
        };
        return (Verdict::Skipped(reason), None);
    }
    let ordinal = snapshot.services.iter().position(|known| known == name);
    match ordinal.and_then(|ordinal| solution.services.get(ordinal)) {
        Some(Outcome::Placed(placed)) => {
            let spec = decision::content(world, snapshot, service, name, placed);
            (Verdict::Feasible(spec.explanation.summary.clone()), Some(spec))
        }
        Some(Outcome::Infeasible(infeasible)) if is_being_timed(world, service, infeasible) => {
            let model = service
                .spec
                .models
                .first()
                .map_or("", |model| model.name.as_str());
            let why = format!("Model {model} is being timed on its nodes");
            (Verdict::Skipped(why), None)
        }
        Some(Outcome::Infeasible(infeasible)) => (
            Verdict::Infeasible(
                decision::infeasible(snapshot, infeasible),
                decision::told(snapshot, service, infeasible),
            ),
            None,
        ),
        None => (Verdict::Unknown, None),
    }
}
