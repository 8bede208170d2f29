//! What probes are told of the agent, from its first moment on: alive while its loops go round, ready while its router
//! takes requests. Waiting for an EdgeNode, or for a control plane that is away, is no reason to be started anew.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use router::{Backend, Readiness, Reason, Vitals};
use tokio_util::sync::CancellationToken;

/// A loop that has not gone round for so long is stuck: ten times as long as the slowest write of a report may take.
const STUCK_AFTER: Duration = Duration::from_secs(100);

/// When a loop last went round; nothing before it has begun. Clones are the same pulse.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Option<Instant>>>);

impl Pulse {
    /// The loop goes round.
    pub(crate) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn age(&self, now: Instant) -> Option<Duration> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| now.saturating_duration_since(last))
    }
}

/// How the agent is.
#[derive(Default)]
pub(crate) struct Health {
    /// The loop that reconciles.
    pub(crate) reconciles: Pulse,
    /// The loop that reports.
    pub(crate) reports: Pulse,
    backend: OnceLock<Arc<dyn Backend>>,
    drain: CancellationToken,
}

impl Health {
    /// From now on the router takes requests, until `drain` fires.
    pub(crate) fn serves(&self, backend: Arc<dyn Backend>) {
        // Set once, by the one start of an agent.
        let _set = self.backend.set(backend);
    }

    /// Fires when the router takes no more requests.
    pub(crate) fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    fn alive_at(&self, now: Instant) -> Result<(), String> {
        for (name, pulse) in [("reconciling", &self.reconciles), ("reporting", &self.reports)] {
            if let Some(age) = pulse.age(now).filter(|age| *age >= STUCK_AFTER) {
                return Err(format!("{name} has not gone on for {} s", age.as_secs()));
            }
        }
        Ok(())
    }
}

impl Vitals for Health {
    fn alive(&self) -> Result<(), String> {
        self.alive_at(Instant::now())
    }

    fn ready(&self) -> Readiness {
        match self.backend.get() {
            _ if self.drain.is_cancelled() => not_ready("Stopping", "The agent lets running answers finish."),
            None => not_ready(
                "Starting",
                "The agent waits for its EdgeNode, or its engine starts.",
            ),
            Some(backend) => backend.ready(),
        }
    }
}

fn not_ready(name: &str, message: &str) -> Readiness {
    Readiness::NotReady(vec![Reason {
        name: name.to_owned(),
        message: message.to_owned(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(readiness: &Readiness) -> &str {
        match readiness {
            Readiness::Ready => "",
            Readiness::NotReady(reasons) => &reasons[0].name,
        }
    }

    #[test]
    fn a_loop_that_stands_still_is_told_and_one_that_has_not_begun_is_not() {
        let health = Health::default();
        let later = Instant::now() + STUCK_AFTER * 2;
        assert_eq!(health.alive_at(later), Ok(()));
        health.reports.beat();
        assert_eq!(health.alive(), Ok(()));
        let stuck = health.alive_at(later).unwrap_err();
        assert!(stuck.starts_with("reporting has not gone on for "), "{stuck}");
    }

    #[test]
    fn an_agent_that_starts_or_stops_is_not_ready() {
        let health = Health::default();
        assert_eq!(reason(&health.ready()), "Starting");
        health.drain().cancel();
        assert_eq!(reason(&health.ready()), "Stopping");
    }
}
