//! Looks into what the loss of a node would leave, beside the rounds: no decision waits for what may never happen.

use solver::{Budget, Problem, Solution, problem::InvalidProblem, units::ServiceOrd};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use crate::{
    plan::{
        Plan, Proposed,
        standby::{self, Foreseen},
    },
    reconcile::BUDGET_STEPS,
    snapshot::Snapshot,
};

/// The part of a round's steps that looking into losses may take.
const BUDGET_PART: u64 = 4;

/// What was found, and what is being looked into.
#[derive(Default)]
pub struct Foresight {
    found: Option<(Problem, Foreseen)>,
    working: Option<Work>,
}

/// One question, on a thread of its own, which ends soon after this is dropped.
struct Work {
    problem: Problem,
    task: JoinHandle<Result<Foreseen, InvalidProblem>>,
    _cancel: DropGuard,
}

impl Foresight {
    /// The same plan with what is known of each service whose pipeline is the one that was looked into.
    #[must_use]
    pub fn tell(&self, plan: Plan<Proposed>, snapshot: &Snapshot, solution: &Solution) -> Plan<Proposed> {
        match &self.found {
            Some((_, foreseen)) => plan.with_contingencies(snapshot, solution, foreseen),
            None => plan,
        }
    }

    /// Begins to look into the losses of these services, unless that is known or another question is being looked into.
    pub fn look_into(&mut self, services: Vec<ServiceOrd>, snapshot: Snapshot, solution: Solution) {
        if services.is_empty() {
            *self = Self::default();
            return;
        }
        let is_known = self
            .found
            .as_ref()
            .is_some_and(|(problem, _)| *problem == snapshot.problem);
        if is_known || self.working.is_some() {
            return;
        }
        let cancel = CancellationToken::new();
        let problem = snapshot.problem.clone();
        let cancelled = cancel.clone();
        let task = tokio::task::spawn_blocking(move || {
            let is_cancelled = || cancelled.is_cancelled();
            let budget = Budget {
                cancelled: &is_cancelled,
                ..Budget::steps(BUDGET_STEPS / BUDGET_PART)
            };
            standby::foresee(&snapshot, &solution, &services, &budget)
        });
        self.working = Some(Work {
            problem,
            task,
            _cancel: cancel.drop_guard(),
        });
    }

    /// Waits until something new is found; for ever where nothing is looked into.
    pub async fn news(&mut self) {
        let Some(work) = &mut self.working else {
            return std::future::pending().await;
        };
        let done = (&mut work.task).await;
        let problem = self.working.take().map(|work| work.problem);
        let foreseen = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        match foreseen {
            Ok(foreseen) => {
                let is_news = self.found.as_ref().is_none_or(|(_, known)| *known != foreseen);
                self.found = problem.map(|problem| (problem, foreseen));
                if !is_news {
                    std::future::pending().await
                }
            }
            Err(error) => {
                let error = crds::with_causes(&error);
                error!(error, "what a loss would leave cannot be looked into");
                std::future::pending().await
            }
        }
    }
}
