//! The loop, on one page: watch ▸ snapshot ▸ solve ▸ plan ▸ lint ▸ apply, and round again when something changes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use solver::{Budget, Solution, problem::InvalidProblem};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    apply::{self, Applied, Written},
    disruption::{Ledger, Limits},
    events::Storyteller,
    figures,
    foresight::Foresight,
    identity,
    inspect::Inspector,
    leader::Leadership,
    lint::{self, Finding},
    metrics::Metrics,
    plan::{Plan, Verdict, standby},
    pulse::Pulse,
    rollout::{self, Leaving, Step, Turn},
    snapshot::{Options, Snapshot, stay},
    status,
    watch::{SYSTEM_NAMESPACE, Watches},
    world::{Identity, Withheld, World},
};

/// Changes within this time are decided on together.
const COALESCE: Duration = Duration::from_millis(50);

/// With no change at all, the world is looked at again after this time.
const RESYNC: Duration = Duration::from_secs(30);

/// Steps of work for one round of the solver; a fleet of a hundred nodes takes a fraction of it.
pub const BUDGET_STEPS: u64 = 200_000_000;

/// While the solver works, losses are looked for this often.
const LOOK_FOR_LOSSES: Duration = Duration::from_millis(200);

/// Backoff after a failed round: first, and longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// Why the manager cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Who this control plane is could not be settled.
    #[error("failed to settle the control plane's identity")]
    Identity(#[from] identity::Error),
    /// The watches ended.
    #[error("the watches ended before they were ready")]
    Watches(#[from] kube::runtime::reflector::store::WriterDropped),
}

/// Why a round ended without an applied plan.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("the snapshot is no valid question")]
    Snapshot(#[from] InvalidProblem),
    #[error("the plan is refused by its linter: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Lint(Vec<Finding>),
    #[error("a node was lost while the solver worked")]
    Lost,
    #[error("the plan could not be applied")]
    Apply(#[from] apply::Error),
}

/// What a manager is told at its start.
#[derive(Clone)]
pub struct Config {
    /// The API server.
    pub client: Client,
    /// Where agents keep their Leases, and the control plane its identity.
    pub namespace: String,
    /// What it shows.
    pub metrics: Metrics,
    /// Whether it may write.
    pub leadership: Leadership,
    /// How its loop shows that it goes round.
    pub pulse: Pulse,
    /// Agents that it updates, if it does.
    pub rollout: Option<rollout::Config>,
    /// How much may move for a better place.
    pub disruption: Limits,
}

impl Config {
    /// A manager that has no rival, in the usual namespace.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self {
            client,
            namespace: SYSTEM_NAMESPACE.to_owned(),
            metrics,
            leadership: Leadership::undisputed(),
            pulse: Pulse::default(),
            rollout: None,
            disruption: Limits::NONE,
        }
    }
}

/// Runs the manager until it is cancelled. The kinds must be served already.
///
/// # Errors
///
/// When it cannot begin. Once it runs, failures are retried.
pub async fn run(config: Config, cancelled: CancellationToken) -> Result<(), Error> {
    cancelled
        .run_until_cancelled(manage(config))
        .await
        .unwrap_or(Ok(()))
}

async fn manage(config: Config) -> Result<(), Error> {
    let identity = identity::read_or_make(&config.client, &config.namespace).await?;
    let daemon_sets = config
        .rollout
        .as_ref()
        .map(|rollout| rollout.daemon_sets.as_slice());
    let watches = Watches::open(&config.client, &config.namespace, daemon_sets);
    watches.ready().await?;
    info!(incarnation = identity.incarnation, "the manager watches");
    let mut manager = Manager {
        storyteller: Storyteller::new(config.client.clone()),
        inspector: Inspector::default(),
        watches,
        identity,
        config,
        foresight: Foresight::default(),
        moved: Ledger::default(),
    };
    let _shown = manager.config.metrics.while_leading();
    manager.rounds().await;
    Ok(())
}

struct Manager {
    config: Config,
    watches: Watches,
    identity: Identity,
    inspector: Inspector,
    storyteller: Storyteller,
    foresight: Foresight,
    moved: Ledger,
}

/// The update of agents, at one moment.
struct Update {
    config: rollout::Config,
    agents: rollout::Agents,
    turn: Turn,
}

impl Manager {
    async fn rounds(&mut self) {
        let mut failures = 0_u32;
        loop {
            self.config.pulse.beat();
            let began = Instant::now();
            let inspect_again = self
                .inspector
                .inspect(&self.config.client, &self.watches.models())
                .await;
            let (mut world, next_expiry) = self.watches.world(&self.identity);
            let update = self.update(&mut world);
            let round = self.round(&world, update).await;
            self.config
                .metrics
                .round_seconds
                .observe(began.elapsed().as_secs_f64());
            let mut wait = RESYNC;
            match round {
                Ok(written) => {
                    failures = 0;
                    self.config.metrics.rounds.with_label_values(&["applied"]).inc();
                    debug!(?written, "a round is done");
                }
                Err(RoundError::Lost) => {
                    self.config.metrics.rounds.with_label_values(&["cancelled"]).inc();
                    wait = COALESCE;
                }
                Err(RoundError::Apply(error)) if error.is_conflict() => {
                    self.config.metrics.rounds.with_label_values(&["conflict"]).inc();
                    debug!(%error, "somebody wrote first; the plan is made again");
                    wait = BACKOFF.0;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.config.metrics.rounds.with_label_values(&["failed"]).inc();
                    wait = BACKOFF
                        .0
                        .saturating_mul(2_u32.saturating_pow(failures.min(16)))
                        .min(BACKOFF.1);
                    let error = crds::with_causes(&error);
                    error!(error, failures, "a round failed");
                }
            }
            for earlier in [inspect_again, next_expiry].into_iter().flatten() {
                wait = wait.min(earlier.max(COALESCE));
            }
            tokio::select! {
                () = self.watches.changed(wait) => {}
                () = self.foresight.news() => {}
            }
            tokio::time::sleep(COALESCE).await;
        }
    }

    /// Whose agent is to be updated, which node then takes no new stages.
    fn update(&self, world: &mut World) -> Option<Update> {
        let config = self.config.rollout.clone()?;
        let agents = self.watches.agents()?;
        let turn = rollout::turn_of(world, &agents)?;
        if let Some(node) = &turn.node {
            world.withheld.insert(node.clone(), Withheld::AgentUpdate);
        }
        Some(Update { config, agents, turn })
    }

    /// One round: the six steps.
    async fn round(&mut self, world: &World, update: Option<Update>) -> Result<Written, RoundError> {
        let mut snapshot = Snapshot::take(world, Options::default());
        let mut solution = self.solve(world, &snapshot).await?;
        if let Some(again) = stay::ask_again(world, &snapshot, &solution) {
            solution = self.solve(world, &again).await?;
            snapshot = again;
        }
        let limits = self.config.disruption;
        self.moved.pay(&limits, world);
        if let Some(again) = self.moved.ask_again(&limits, world, &snapshot, &solution) {
            solution = self.solve(world, &again).await?;
            snapshot = again;
        }
        if solution.cancelled {
            return Err(RoundError::Lost);
        }
        let mut plan = Plan::propose(world, &snapshot, &solution);
        if let Some(beside) = stay::ask_beside(world, &snapshot, &plan) {
            let moves = self.solve(world, &beside).await?;
            if stay::all_move(&beside, &moves) {
                plan = Plan::propose(world, &beside, &moves);
                (snapshot, solution) = (beside, moves);
            }
        }
        plan = self.foresight.tell(plan, &snapshot, &solution);
        let findings = lint::lint(world, &plan);
        if !findings.is_empty() {
            return Err(RoundError::Lint(findings));
        }
        let now = Timestamp::now();
        let statuses = status::of_services(world, &plan, now);
        let (client, leadership) = (&self.config.client, &self.config.leadership);
        let (plan, written) = apply::apply(client, leadership, world, plan, &statuses, now).await?;
        self.moved.enter(world, &snapshot, &solution, &plan);
        self.foresight
            .look_into(standby::asked(world, &snapshot), snapshot, solution);
        self.storyteller.tell(world, &plan, &statuses, now).await;
        if let Some(update) = update {
            self.go_on_with(update, world, &plan, now).await?;
        }
        self.report(world, &plan, written);
        Ok(written)
    }

    /// Does what is next for the agent whose turn it is.
    async fn go_on_with(
        &mut self,
        update: Update,
        world: &World,
        plan: &Plan<Applied>,
        now: Timestamp,
    ) -> Result<(), RoundError> {
        let Update { config, agents, turn } = update;
        let leaving = Leaving::of(world, plan, &turn);
        match rollout::step(&agents, &turn, leaving, &config, now) {
            Step::Drain(services) => debug!(
                node = turn.machine,
                ?services,
                "services leave before the agent is updated"
            ),
            Step::Await => debug!(node = turn.machine, "the agent is being replaced"),
            Step::Failed(why) => {
                warn!(node = turn.machine, why, "the update of agents has stopped");
                self.storyteller.tell_of_failed_update(world, &turn, &why).await;
            }
            Step::Replace { pod, uid } => {
                info!(node = turn.machine, pod, "replacing the agent");
                let (client, leadership) = (&self.config.client, &self.config.leadership);
                apply::delete_pod(client, leadership, &self.config.namespace, &pod, uid).await?;
            }
        }
        Ok(())
    }

    /// Solves beside the loop; a node that is lost meanwhile ends the search, since its answer would be of no use.
    async fn solve(&mut self, world: &World, snapshot: &Snapshot) -> Result<Solution, InvalidProblem> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (problem, asked) = (snapshot.problem.clone(), Arc::clone(&cancelled));
        let began = Instant::now();
        let mut solving = tokio::task::spawn_blocking(move || {
            let is_cancelled = || asked.load(Ordering::Relaxed);
            solver::solve(
                &problem,
                &Budget {
                    cancelled: &is_cancelled,
                    ..Budget::steps(BUDGET_STEPS)
                },
            )
        });
        let solved = loop {
            tokio::select! {
                solved = &mut solving => break solved,
                () = tokio::time::sleep(LOOK_FOR_LOSSES) => {
                    if self.watches.lost().keys().any(|node| !world.lost.contains_key(node)) {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                }
            }
        };
        let solution = solved.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        self.config
            .metrics
            .solve_seconds
            .observe(began.elapsed().as_secs_f64());
        self.config.metrics.solve_steps.inc_by(solution.steps);
        Ok(solution)
    }

    fn report<State>(&mut self, world: &World, plan: &Plan<State>, written: Written) {
        let metrics = &mut self.config.metrics;
        metrics.writes.inc_by(written.objects as u64);
        metrics.applied(SystemTime::now());
        metrics.show(&figures::of(world, plan));
        let serving = plan.services.iter();
        metrics.serve(serving.map(|(service, known)| (service, known.serving.as_ref())));
        let count = |wanted: fn(&Verdict) -> bool| {
            let services = plan
                .services
                .values()
                .filter(|service| wanted(&service.verdict))
                .count();
            i64::try_from(services).unwrap_or(i64::MAX)
        };
        let gauge = |state| self.config.metrics.services.with_label_values(&[state]);
        gauge("feasible").set(count(|verdict| matches!(verdict, Verdict::Feasible(_))));
        gauge("infeasible").set(count(|verdict| matches!(verdict, Verdict::Infeasible(..))));
        gauge("skipped").set(count(|verdict| {
            matches!(verdict, Verdict::Skipped(_) | Verdict::Unknown)
        }));
        let lost = world
            .nodes
            .iter()
            .filter(|node| !world.is_alive(node.metadata.name.as_deref().unwrap_or_default()));
        let lost = i64::try_from(lost.count()).unwrap_or(i64::MAX);
        self.config.metrics.nodes_lost.set(lost);
        self.config
            .metrics
            .nodes_alive
            .set(i64::try_from(world.nodes.len()).unwrap_or(i64::MAX) - lost);
        let gaps = plan.placements.iter().map(|placement| plan.gap_of(placement));
        self.config.metrics.gap.set(gaps.max().unwrap_or(0) as f64 / 1e6);
        for (service, known) in &plan.services {
            if let Some(blocked) = &known.blocked {
                warn!(%service, blocked, "a decision waits");
            }
        }
    }
}

/// Solves with the manager's budget.
///
/// # Errors
///
/// When the question contradicts itself.
pub fn solve(problem: &solver::Problem) -> Result<Solution, InvalidProblem> {
    solver::solve(problem, &Budget::steps(BUDGET_STEPS))
}
