//! What is written down.

use super::session::{Failure, Session, State};
use super::{PipelineId, Time};
use crate::units::NodeOrd;

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All its tokens were generated.
    Answered,
    /// It ended without.
    Failed(Failure),
    /// It is on its way.
    InFlight,
}

/// A request, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The service.
    pub service: usize,
    /// When its user sent it.
    pub arrived: Time,
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Tokens that it has room and wish for; zero before it was admitted.
    pub answer: u32,
    /// Tokens that were generated.
    pub generated: u32,
    /// When its user had the first token.
    pub first: Option<Time>,
    /// When its user had the last token so far.
    pub last: Time,
    /// When it was over; its last token may be on the way to the user then.
    pub ended: Option<Time>,
    /// The pipeline that it took.
    pub pipeline: Option<PipelineId>,
    /// How it stands.
    pub fate: Fate,
}

impl Record {
    pub(super) fn of(session: &Session) -> Self {
        Self {
            service: session.request.service,
            arrived: session.arrived,
            prompt: session.request.prompt,
            answer: session.answer,
            generated: session.generated,
            first: session.first,
            last: session.last,
            ended: session.ended,
            pipeline: session.pipeline,
            fate: match session.state {
                State::Done => Fate::Answered,
                State::Failed(failure) => Fate::Failed(failure),
                State::Coming | State::Waiting | State::Running => Fate::InFlight,
            },
        }
    }

    /// From the request to the first token at the user.
    #[must_use]
    pub fn ttft(&self) -> Option<Time> {
        Some(self.first? - self.arrived)
    }

    /// Mean time of the tokens after the first; none if there was one only.
    #[must_use]
    pub fn tpot(&self) -> Option<Time> {
        let further = u64::from(self.generated.saturating_sub(1));
        (self.last - self.first?).checked_div(further)
    }
}

/// A batch that ended, or was dropped when its node died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batched {
    /// Where it ran.
    pub node: NodeOrd,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Which stage.
    pub stage: usize,
    /// From.
    pub began: Time,
    /// To.
    pub ended: Time,
    /// Requests, and which of their steps: chunks of a prompt, then tokens.
    pub members: Vec<(usize, u32)>,
}

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// By node and service: nanoseconds of computing.
    pub busy: Vec<Vec<Time>>,
    /// By service: tokens that were generated.
    pub tokens: Vec<u64>,
    /// By service: tokens of prompts that went through a first stage.
    pub prompt_tokens: Vec<u64>,
    /// By service: most positions that sessions of a pipeline held at once, and what it had room for.
    pub cells_peak: Vec<(u64, u64)>,
    /// By service: batches of tokens, and the tokens in them.
    pub batches: Vec<(u64, u64)>,
    /// Bytes of messages between nodes.
    pub message_bytes: u64,
    /// Events.
    pub events: u64,
    /// Every batch, if that is wanted.
    pub log: Option<Vec<Batched>>,
}

impl Books {
    pub(super) fn new(nodes: usize, services: usize, log: bool) -> Self {
        Self {
            busy: vec![vec![0; services]; nodes],
            tokens: vec![0; services],
            prompt_tokens: vec![0; services],
            cells_peak: vec![(0, 0); services],
            batches: vec![(0, 0); services],
            message_bytes: 0,
            events: 0,
            log: log.then(Vec::new),
        }
    }
}
