//! One round of the controller, with the manager's own steps, carried out on a world in memory.

use std::sync::Arc;

use crds::{Placement, PlacementStatus, RouteTable, Stage, StageStatus, placement::PlacementPhase};
use k8s_openapi::{apimachinery::pkg::apis::meta, jiff::Timestamp};
use solver::{
    problem::Problem,
    serving::{Pipeline, Time},
    solution::PipelineShape,
};

use super::{
    Error,
    report::Decision,
    run::{Own, Run},
    seconds,
};
use crate::{
    lint,
    plan::{Plan, PlannedPlacement, Proposed, decision},
    snapshot::{Options, Snapshot, stay},
    world::{ServiceName, World},
};

/// What events that come together are gathered for, as the manager does.
pub(super) const COALESCE: Time = 50_000_000;
/// How often it is looked whether sessions have drained.
const LOOK: Time = 250_000_000;

impl Run<'_> {
    /// Decides and carries out.
    pub(super) fn round(&mut self) -> Result<(), Error> {
        self.rounds += 1;
        self.power
            .report(&mut self.world, &self.fleet.machines, &self.serving);
        self.agents.acknowledge(&mut self.world, &self.serving);
        self.world.at = Some(timestamp(self.now));
        self.world.settling = self.world.settling_at(timestamp(self.now));
        let (snapshot, plan) = self.planned()?;
        let findings = lint::lint(&self.world, &plan);
        if !findings.is_empty() {
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            return Err(Error::Lint {
                seconds: seconds(self.now),
                findings: findings.join("; "),
            });
        }
        self.carry_out(&snapshot, &plan);
        Ok(())
    }

    fn ask(&self, snapshot: &mut Snapshot) -> Result<solver::Solution, Error> {
        self.fleet.refine(snapshot);
        Ok(self.policy.solve(&mut snapshot.problem)?)
    }

    fn planned(&self) -> Result<(Snapshot, Plan<Proposed>), Error> {
        let world = &self.world;
        let mut snapshot = Snapshot::take(world, Options::default());
        let mut solution = self.ask(&mut snapshot)?;
        if let Some(mut again) = stay::ask_again(world, &snapshot, &solution) {
            solution = self.ask(&mut again)?;
            snapshot = again;
        }
        let mut plan = Plan::propose(world, &snapshot, &solution);
        if let Some(mut beside) = stay::ask_beside(world, &snapshot, &plan) {
            let solution = self.ask(&mut beside)?;
            if stay::all_move(&beside, &solution) {
                plan = Plan::propose(world, &beside, &solution);
            }
        }
        Ok((snapshot, plan))
    }

    fn carry_out(&mut self, snapshot: &Snapshot, plan: &Plan<Proposed>) {
        let changed = apply(&mut self.world, plan, self.now);
        self.open_and_route(snapshot, plan);
        self.load();
        let drains = plan
            .placements
            .iter()
            .any(|placement| placement.phase == PlacementPhase::Draining);
        if changed {
            self.wake(self.now + COALESCE);
        } else if drains {
            self.wake(self.now + LOOK);
        }
    }

    /// Agents begin to load what is wanted and not there.
    pub(super) fn load(&mut self) {
        let problem = self.truth();
        for ready in self.agents.load(&self.world, self.fleet, &problem, self.now) {
            self.at(ready.at, Own::Ready(ready));
        }
    }

    /// Pipelines that serve are opened and take requests, those that drain take no more.
    fn open_and_route(&mut self, snapshot: &Snapshot, plan: &Plan<Proposed>) {
        for placement in &plan.placements {
            for pipeline in &placement.spec.pipelines {
                let key = (pipeline.name.clone(), pipeline.revision);
                let known = self.agents.pipelines.get(&key).copied();
                match placement.phase {
                    PlacementPhase::Serving if known.is_none() => {
                        let Some(opened) = self.opened(snapshot, placement) else {
                            continue;
                        };
                        let id = self.serving.open(opened);
                        self.agents.pipelines.insert(key, id);
                    }
                    PlacementPhase::Draining => {
                        if let Some(id) = known {
                            self.serving.drain(id);
                        }
                    }
                    _ => {}
                }
            }
        }
        for (index, service) in self.world.services.iter().enumerate() {
            let name = ServiceName::of(service);
            let serving = plan
                .serving(&name)
                .filter(|placement| placement.progress.lost.is_empty());
            let first = serving.and_then(|placement| Some((placement, placement.spec.pipelines.first()?)));
            let key = first.map(|(_, pipeline)| (pipeline.name.clone(), pipeline.revision));
            let id = key.and_then(|key| self.agents.pipelines.get(&key).copied());
            if self.routes[index] == id {
                continue;
            }
            self.moves[index] += u64::from(id.is_some() && self.was_served[index]);
            self.was_served[index] |= id.is_some();
            self.routes[index] = id;
            self.serving.route(index, id);
            self.decisions
                .push(decision_of(self.now, &name, first.filter(|_| id.is_some())));
        }
    }

    /// A Placement as what serves.
    fn opened(&self, snapshot: &Snapshot, placement: &PlannedPlacement) -> Option<Pipeline> {
        let asked = snapshot
            .services
            .iter()
            .position(|name| *name == placement.service)?;
        let problem: &Problem = &snapshot.problem;
        let service = &problem.services[asked];
        let shape: PipelineShape = snapshot.shape_of(&placement.spec, &service.candidates)?;
        let hidden = problem.models[shape.candidate.model.index()].hidden;
        let hops = shape.stages.iter().filter_map(|stage| stage.activation);
        let row_bytes = hops.map(|precision| {
            let mut formats = service.activations.iter();
            Some(
                formats
                    .find(|format| format.precision == precision)?
                    .row_bytes(hidden),
            )
        });
        let services = &self.world.services;
        Some(Pipeline {
            service: services
                .iter()
                .position(|service| ServiceName::of(service) == placement.service)?,
            row_bytes: row_bytes.collect::<Option<_>>()?,
            chunk_rows: service.chunk_rows,
            context_tokens: service.context_tokens,
            sessions: service.concurrency,
            escalated_percent: service.escalated_percent,
            shape,
        })
    }
}

fn decision_of(
    now: Time,
    service: &ServiceName,
    serves: Option<(&PlannedPlacement, &crds::placement::Pipeline)>,
) -> Decision {
    let milliseconds = |micros: i64| f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1e3;
    Decision {
        at_seconds: seconds(now),
        service: service.to_string(),
        pipeline: serves.map(|(placement, _)| decision::pipeline_line(&placement.spec)),
        model: serves
            .map(|(placement, _)| format!("{}/{}", placement.spec.model.name, placement.spec.model.variant)),
        predicted_ttft_milliseconds: serves
            .map(|(_, pipeline)| milliseconds(pipeline.predicted.time_to_first_token_microseconds)),
        predicted_tpot_milliseconds: serves
            .map(|(_, pipeline)| milliseconds(pipeline.predicted.time_per_output_token_microseconds)),
        gap_parts_per_million: serves.map(|(placement, _)| placement.spec.explanation.gap_parts_per_million),
    }
}

/// Writes a plan into a world, as apply writes it into an API server; whether anything is new.
fn apply(world: &mut World, plan: &Plan<Proposed>, now: Time) -> bool {
    let before = (world.placements.clone(), world.stages.clone());
    let placements = plan.placements.iter();
    world.placements = placements.map(|planned| placement_of(planned, now)).collect();
    let mut stages = vec![];
    for (name, spec) in &plan.stages {
        stages.push(world.stage(name).cloned().unwrap_or_else(|| {
            let mut stage = Stage::new(name, spec.clone());
            stage.status = Some(StageStatus::default());
            Arc::new(stage)
        }));
    }
    world.stages = stages;
    let mut tables = vec![];
    for (name, spec) in &plan.route_tables {
        let mut table = RouteTable::new(name, spec.clone());
        table.status = world.route_table(name).and_then(|known| known.status.clone());
        tables.push(Arc::new(table));
    }
    let rewired = tables.len() != world.route_tables.len()
        || tables
            .iter()
            .zip(&world.route_tables)
            .any(|(new, known)| new.spec != known.spec);
    world.route_tables = tables;
    *world = std::mem::take(world).sorted();
    rewired || before != (world.placements.clone(), world.stages.clone())
}

/// Simulations begin with 1970.
fn timestamp(time: Time) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(time)).unwrap_or(Timestamp::MAX)
}

fn placement_of(planned: &PlannedPlacement, now: Time) -> Arc<Placement> {
    let mut placement = match &planned.existing {
        Some(existing) => Placement::clone(existing),
        None => {
            let mut placement = Placement::new(&planned.name, planned.spec.clone());
            placement.metadata.namespace = Some(planned.service.namespace.clone());
            placement.metadata.creation_timestamp = Some(meta::v1::Time(timestamp(now)));
            placement
        }
    };
    let status = placement.status.get_or_insert_with(PlacementStatus::default);
    status.phase = planned.phase;
    Arc::new(placement)
}
