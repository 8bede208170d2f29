//! The stages of this node and how far each is: what reconcile compares with, sessions look up, and report tells.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crds::{
    condition::Reason,
    stage::{StagePhase, StageStatus},
};
use engine::Held;
use k8s_openapi::jiff::Timestamp;

use crate::{
    reconcile::{ActualPhase, ActualStage},
    session::seats::LoadedStage,
};

/// The first pause before a stage that could not be loaded is tried again; doubled at each failure.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// All stages that this node knows of, by name.
#[derive(Debug, Default)]
pub(crate) struct Stages(Mutex<BTreeMap<String, Record>>);

/// One stage.
#[derive(Debug, Default)]
struct Record {
    state: State,
    /// Loads since the agent started, those by a worker that was started again included.
    loads: i32,
    failures: u32,
    reserved_bytes: i64,
    ready_since: Option<Timestamp>,
}

#[derive(Debug, Default)]
enum State {
    /// Known, and not begun.
    #[default]
    Known,
    /// Not begun, for a reason.
    Waiting(Reason, String),
    Loading,
    Ready(Arc<LoadedStage>),
    Unloading,
    Failed {
        reason: Reason,
        message: String,
        retry_at: Option<Instant>,
    },
}

/// How a stage stands, for its status.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) phase: StagePhase,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) loads: i32,
    /// What was reserved for it, by prediction, while it is in memory.
    pub(crate) reserved_bytes: Option<u64>,
    pub(crate) ready_since: Option<Timestamp>,
}

impl Stages {
    /// The stage, if sessions may sit on it; otherwise why not.
    pub(crate) fn ready(&self, name: &str) -> Result<Arc<LoadedStage>, String> {
        match self.lock().get(name).map(|record| &record.state) {
            Some(State::Ready(stage)) => Ok(Arc::clone(stage)),
            Some(State::Loading) => Err("it is being loaded".to_owned()),
            Some(State::Unloading) => Err("it is being freed".to_owned()),
            Some(State::Waiting(_, message) | State::Failed { message, .. }) => Err(message.clone()),
            Some(State::Known) => Err("its weights are not on this node yet".to_owned()),
            None => Err("it is not of this node".to_owned()),
        }
    }

    /// The stages in memory.
    pub(crate) fn all_ready(&self) -> Vec<Arc<LoadedStage>> {
        let ready = |record: &Record| match &record.state {
            State::Ready(stage) => Some(Arc::clone(stage)),
            _ => None,
        };
        self.lock().values().filter_map(ready).collect()
    }

    /// What reconcile is told. A failed stage whose pause is over is not there, so that it is tried again.
    pub(crate) fn actual(&self, now: Instant) -> BTreeMap<String, ActualStage> {
        let stage = |(name, record): (&String, &Record)| {
            let (phase, sessions) = match &record.state {
                State::Known | State::Waiting(..) => return None,
                State::Failed {
                    retry_at: Some(at), ..
                } if *at <= now => return None,
                State::Failed { .. } => (ActualPhase::Failed, 0),
                State::Loading => (ActualPhase::Loading, 0),
                State::Ready(stage) => (ActualPhase::Ready, stage.seats.taken()),
                State::Unloading => (ActualPhase::Unloading, 0),
            };
            let stage = ActualStage {
                phase,
                reserved_bytes: record.reserved_bytes,
                sessions,
            };
            Some((name.clone(), stage))
        };
        self.lock().iter().filter_map(stage).collect()
    }

    /// When the next failed stage may be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let retry = |record: &Record| match record.state {
            State::Failed { retry_at, .. } => retry_at,
            _ => None,
        };
        self.lock().values().filter_map(retry).min()
    }

    /// How a stage stands.
    pub(crate) fn standing(&self, name: &str) -> Option<Standing> {
        self.lock().get(name).map(Record::standing)
    }

    /// Remembers these stages, and forgets those that are neither wanted nor here.
    pub(crate) fn know<'a>(&self, wanted: impl Iterator<Item = &'a String>) {
        let wanted: std::collections::BTreeSet<_> = wanted.collect();
        let mut records = self.lock();
        records.retain(|name, record| {
            wanted.contains(name)
                || matches!(record.state, State::Loading | State::Ready(_) | State::Unloading)
        });
        for name in wanted {
            records.entry(name.clone()).or_default();
        }
    }

    /// The stage has to wait.
    pub(crate) fn wait(&self, name: &str, reason: Reason, message: String) {
        self.set(name, |record| record.state = State::Waiting(reason, message));
    }

    /// The stage will never be loaded as it is.
    pub(crate) fn refuse(&self, name: &str, reason: Reason, message: String) {
        self.set(name, |record| {
            record.state = State::Failed {
                reason,
                message,
                retry_at: None,
            };
        });
    }

    /// The worker begins to load it.
    pub(crate) fn loading(&self, name: &str, reserved_bytes: i64) {
        self.set(name, |record| {
            record.state = State::Loading;
            record.reserved_bytes = reserved_bytes;
        });
    }

    /// It is in memory.
    pub(crate) fn loaded(&self, name: &str, stage: Arc<LoadedStage>, now: Timestamp) {
        self.set(name, |record| {
            record.state = State::Ready(stage);
            record.loads += 1;
            record.failures = 0;
            record.ready_since = Some(now);
        });
    }

    /// It could not be loaded; it is tried again after a pause.
    pub(crate) fn failed(&self, name: &str, reason: Reason, message: String, now: Instant) {
        self.set(name, |record| {
            let pause = RETRY_MIN
                .saturating_mul(1 << record.failures.min(16))
                .min(RETRY_MAX);
            record.failures += 1;
            record.state = State::Failed {
                reason,
                message,
                retry_at: Some(now + pause),
            };
        });
    }

    /// The worker begins to free it, unless a session has just sat down.
    pub(crate) fn unloading(&self, name: &str) -> Option<Arc<LoadedStage>> {
        let mut records = self.lock();
        let record = records.get_mut(name)?;
        let State::Ready(stage) = &record.state else {
            return None;
        };
        let stage = Arc::clone(stage);
        if !stage.seats.close_if_empty() {
            return None;
        }
        record.state = State::Unloading;
        Some(stage)
    }

    /// It is gone.
    pub(crate) fn unloaded(&self, name: &str) {
        self.lock().remove(name);
    }

    /// The worker was started again and has loaded its stages again.
    pub(crate) fn reloaded(&self, now: Timestamp) -> usize {
        let mut reloaded = 0;
        for record in self.lock().values_mut() {
            if matches!(record.state, State::Ready(_)) {
                record.loads += 1;
                record.ready_since = Some(now);
                reloaded += 1;
            }
        }
        reloaded
    }

    /// How many stages are in each phase, also in those that none is in.
    pub(crate) fn phases(&self) -> [(StagePhase, usize); 4] {
        let stages = self.lock();
        let phases = [
            StagePhase::Pending,
            StagePhase::Loading,
            StagePhase::Ready,
            StagePhase::Failed,
        ];
        phases.map(|phase| {
            let in_phase = |record: &&Record| record.standing().phase == phase;
            (phase, stages.values().filter(in_phase).count())
        })
    }

    fn set(&self, name: &str, change: impl FnOnce(&mut Record)) {
        change(self.lock().entry(name.to_owned()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn standing(&self) -> Standing {
        let (phase, reason, message) = match &self.state {
            State::Known => (StagePhase::Pending, Reason::NotObservedYet, ""),
            State::Waiting(reason, message) => (StagePhase::Pending, *reason, message.as_str()),
            State::Loading => (StagePhase::Loading, Reason::Loading, "the worker loads it"),
            State::Ready(_) => (StagePhase::Ready, Reason::AsDesired, ""),
            State::Unloading => (StagePhase::Pending, Reason::Loading, "it is being freed"),
            State::Failed { reason, message, .. } => (StagePhase::Failed, *reason, message.as_str()),
        };
        let reserved_bytes = match &self.state {
            State::Ready(stage) => Some(stage.loaded.memory.total_bytes()),
            _ => None,
        };
        Standing {
            phase,
            reason,
            message: message.to_owned(),
            loads: self.loads,
            reserved_bytes,
            ready_since: self.ready_since.filter(|_| phase == StagePhase::Ready),
        }
    }
}

/// What is resident of a stage is told in steps of this size.
const HELD_STEP_BYTES: u64 = 64 << 10;

/// The most that a worker was seen to hold for a stage in its present life; nothing for a stage that it does not hold.
fn peak(
    standing: &Standing,
    previous: &StageStatus,
    epoch: Option<&str>,
    worker: Option<Held>,
) -> Option<i64> {
    let held = worker?.of_stage(standing.reserved_bytes?);
    let held = i64::try_from(held.next_multiple_of(HELD_STEP_BYTES)).ok()?;
    let before = previous.held_bytes.filter(|_| previous.epoch.as_deref() == epoch);
    Some(before.map_or(held, |before| before.max(held)))
}

/// The status of a stage that stands so. `fetched_bytes` is given while its weights are on their way.
pub(crate) fn status_of(
    standing: Standing,
    previous: &StageStatus,
    generation: i64,
    (epoch, worker): (Option<String>, Option<Held>),
    fetched_bytes: Option<i64>,
    now: Timestamp,
) -> StageStatus {
    let ready = standing.phase == StagePhase::Ready;
    let held_bytes = peak(&standing, previous, epoch.as_deref(), worker);
    let mut conditions = previous.conditions.clone();
    // A worker between two lives holds nothing, and has every stage in memory again when it is back.
    let (phase, reason, message) = match (&epoch, fetched_bytes) {
        (None, _) if ready => (
            StagePhase::Loading,
            Reason::WorkerRestarting,
            "the engine's worker is being started again".to_owned(),
        ),
        (_, Some(_)) if standing.phase == StagePhase::Pending => (
            StagePhase::Fetching,
            Reason::Loading,
            "the weights are being fetched".to_owned(),
        ),
        _ => (standing.phase, standing.reason, standing.message),
    };
    crds::condition::set(
        &mut conditions,
        crds::ConditionType::Ready,
        Some(phase == StagePhase::Ready),
        reason,
        message,
        Some(generation),
        now,
    );
    StageStatus {
        observed_generation: Some(generation),
        phase,
        conditions,
        epoch: epoch.filter(|_| ready),
        loads: standing.loads,
        fetched_bytes: fetched_bytes.filter(|_| phase == StagePhase::Fetching),
        held_bytes,
        ready_time: standing
            .ready_since
            .map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_for_a_stage_is_the_most_that_was_seen_in_the_worker_s_life() {
        const MIB: u64 = 1 << 20;
        let standing = |reserved_bytes| Standing {
            phase: StagePhase::Ready,
            reason: Reason::AsDesired,
            message: String::new(),
            loads: 1,
            reserved_bytes,
            ready_since: None,
        };
        // Two stages, of which this one was predicted to have three quarters.
        let worker = |stages: u64| {
            Some(Held {
                process: 1,
                resident_bytes: (10 + stages) * MIB,
                reserved_bytes: 110 * MIB,
                base_bytes: 10 * MIB,
            })
        };
        let seen = |previous: &StageStatus, epoch, stages| {
            let held = peak(&standing(Some(75 * MIB)), previous, Some(epoch), worker(stages));
            held.map(|bytes| bytes / (1 << 20))
        };
        let mut status = StageStatus::default();
        assert_eq!(seen(&status, "one", 80), Some(60));
        status.epoch = Some("one".to_owned());
        status.held_bytes = Some(60 << 20);
        assert_eq!(seen(&status, "one", 40), Some(60), "the peak stays");
        assert_eq!(seen(&status, "one", 120), Some(90), "more than was predicted");
        assert_eq!(seen(&status, "two", 40), Some(30), "another worker");
        assert_eq!(seen(&status, "one", 0), Some(60));
        assert_eq!(
            peak(&standing(None), &status, Some("one"), worker(80)),
            None,
            "not in memory"
        );
        assert_eq!(peak(&standing(Some(MIB)), &status, None, None), None, "no worker");
    }
}
