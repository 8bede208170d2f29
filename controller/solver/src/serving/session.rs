//! A request, from its arrival to its end.

use super::assisted::Assisted;
use super::{PipelineId, Request, Time};
use serde::{Deserialize, Serialize};

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Failure {
    /// No pipeline of its service took requests.
    Unavailable,
    /// All sessions were taken, for as long as a head lets requests wait.
    Busy,
    /// Its prompt leaves no room for an answer in the context.
    TooLong,
    /// The node where it enters, or one of its pipeline, was lost.
    NodeLost,
    /// A link that it needs was gone.
    LinkLost,
}

impl Failure {
    /// In words, to follow a count.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unavailable => "with nobody to serve them",
            Self::Busy => "with all sessions taken",
            Self::TooLong => "too long for the context",
            Self::NodeLost => "with a lost node",
            Self::LinkLost => "with a lost link",
        }
    }
}

/// Where a request is. It is in one place at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// On its way to the head.
    Coming,
    /// At the head, without a seat.
    Waiting,
    /// It has a seat.
    Running,
    /// All tokens were generated.
    Done,
    /// It ended otherwise.
    Failed(Failure),
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) request: Request,
    pub(super) state: State,
    pub(super) pipeline: Option<PipelineId>,
    pub(super) arrived: Time,
    /// Tokens of the answer, as far as there is room.
    pub(super) answer: u32,
    pub(super) generated: u32,
    /// Rows of each chunk of the prompt, but the last.
    pub(super) chunk_rows: u32,
    /// When the user had the first token, and the last one so far.
    pub(super) first: Option<Time>,
    pub(super) last: Time,
    pub(super) ended: Option<Time>,
    /// How far it is with the small model beside its pipeline.
    pub(super) assisted: Assisted,
}

impl Session {
    pub(super) fn new(request: Request, now: Time) -> Self {
        Self {
            request,
            state: State::Coming,
            pipeline: None,
            arrived: now,
            answer: 0,
            generated: 0,
            chunk_rows: request.prompt.max(1),
            first: None,
            last: now,
            ended: None,
            assisted: Assisted::default(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Failed(_))
    }

    /// Rows of a chunk, and whether the prompt ends with it.
    pub(super) fn chunk(&self, ordinal: u32) -> (u32, bool) {
        let begin = ordinal * self.chunk_rows;
        let end = begin.saturating_add(self.chunk_rows).min(self.request.prompt);
        (end - begin, end == self.request.prompt)
    }

    /// Positions that it holds.
    pub(super) fn positions(&self) -> u64 {
        u64::from(self.request.prompt) + u64::from(self.generated)
    }
}
