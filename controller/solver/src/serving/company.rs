//! Which sessions a node waits a moment for before it decodes: the rule of the agents' own devices, so that a batch of few
//! rows, which costs hardly less than one of many, is as rare here as there.

use std::collections::BTreeMap;

use super::{PipelineId, Time};

/// The wait is this part of what the last batch took.
const PART_OF_BATCH: Time = 8;
/// The shortest and the longest wait, in nanoseconds.
const WAIT: (Time, Time) = (1_000_000, 5_000_000);

/// A stage: the pipeline, and its place there.
pub(super) type Stage = (PipelineId, usize);

/// The sessions of the last batches, and those that are waited for.
#[derive(Clone, Debug, Default)]
pub(super) struct Company {
    /// The last batch that each session was in.
    batches: BTreeMap<(Stage, usize), u64>,
    last: u64,
    /// Sessions that are to come, each until when.
    awaited: BTreeMap<(Stage, usize), Time>,
    wait: Time,
}

impl Company {
    /// A batch ended in which these sessions got a token; `returns` when it was chosen here, so that all come back now.
    pub(super) fn computed(
        &mut self,
        stage: Stage,
        sessions: impl Iterator<Item = usize>,
        returns: bool,
        took: Time,
        now: Time,
    ) {
        self.wait = (took / PART_OF_BATCH).clamp(WAIT.0, WAIT.1);
        self.last += 1;
        for session in sessions {
            if returns {
                self.awaited.insert((stage, session), now + self.wait);
            }
            self.batches.insert((stage, session), self.last);
        }
    }

    /// A session is back, and its companions should be near.
    pub(super) fn arrived(&mut self, stage: Stage, session: usize, now: Time) {
        self.awaited.remove(&(stage, session));
        let Some(batch) = self.batches.remove(&(stage, session)) else {
            return;
        };
        let others = self.batches.iter().filter(|(_, other)| **other == batch);
        for (other, _) in others {
            self.awaited.entry(*other).or_insert(now + self.wait);
        }
    }

    /// A session has ended.
    pub(super) fn left(&mut self, stage: Stage, session: usize) {
        self.awaited.remove(&(stage, session));
        self.batches.remove(&(stage, session));
    }

    /// Until when somebody of a stage is worth waiting for; who is late is waited for no more.
    pub(super) fn worth_waiting(&mut self, stage: Stage, now: Time) -> Option<Time> {
        let batches = &mut self.batches;
        self.awaited.retain(|place, until| {
            let is_near = now < *until;
            if !is_near {
                batches.remove(place);
            }
            is_near
        });
        let awaited = self.awaited.iter().filter(|((of, _), _)| *of == stage);
        awaited.map(|(_, until)| *until).max()
    }
}
