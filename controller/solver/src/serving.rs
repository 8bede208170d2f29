//! Requests on pipelines, token by token, while time goes on: what becomes of a decision.
//!
//! Discrete events over the nodes and links of a [`Problem`](crate::Problem), with the same times, bytes and overheads that the [cost
//! model](crate::cost) adds up: a request that is alone takes what was predicted for it. What the cost model leaves out happens
//! here: sessions wait for seats, batches form, links are busy, nodes die.
//!
//! * **A request** enters at a node, is handed to the head of its service's pipeline, waits there for one of its sessions, sends its
//!   prompt through in equal chunks (a stage computes the next chunk while the last one is on its way), and then goes round once
//!   for each further token. Its context is reserved by its session, so keys and values never run out in the middle.
//! * **A node** runs one batch at a time (`device`): tokens before prompts, tokens of one stage together, and a prompt's chunk
//!   after at most eight batches of tokens, as agents do.
//! * **A small model** beside a pipeline stands behind its last stage, as one stage more (`assisted`). Which drafted tokens are
//!   accepted, and which requests go on to the large model, is drawn from a seed.
//! * **A link** sends one message after the other at its rate, and delivers after its latency.
//!
//! Who drives it opens pipelines, says which one serves, moves nodes and links, and lets time pass: nothing is decided here.
//! Layouts of a cluster under the rules of others are simulated elsewhere: see [`simulate`](crate::simulate), which says why.
//!
//! Times are whole nanoseconds and ties are broken by the order of creation, so that equal inputs have equal books.

mod assisted;
mod books;
mod company;
mod device;
mod engine;
mod network;
mod session;

pub use books::{Batched, Books, Fate, Record};
pub use engine::Serving;
pub use session::Failure;

use crate::solution::PipelineShape;
use crate::units::{Bytes, BytesPerSecond, Nanos, NodeOrd};

/// Nanoseconds since the beginning.
pub type Time = u64;

/// A pipeline that is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// The service that it is for, as the caller counts services.
    pub service: usize,
    /// Who computes which layers.
    pub shape: PipelineShape,
    /// Bytes of a row of hidden states, by hop.
    pub row_bytes: Vec<Bytes>,
    /// Most rows of a chunk of a prompt.
    pub chunk_rows: u32,
    /// Positions that a session may hold.
    pub context_tokens: u32,
    /// Sessions at once.
    pub sessions: u32,
    /// How many of a hundred requests the small model of a cascade is not confident of.
    pub escalated_percent: u32,
}

/// Which of the opened pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PipelineId(pub(crate) usize);

/// What a user asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The service, as the caller counts services.
    pub service: usize,
    /// The node where it enters; none when its user reaches none.
    pub ingress: Option<NodeOrd>,
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Tokens of the answer, if there is room for them.
    pub output: u32,
    /// The way between the user and the ingress.
    pub air: Air,
}

/// The way between a user and the node where requests enter; nobody else uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Air {
    /// One way.
    pub latency: Nanos,
    /// From the user; none when it takes no time.
    pub up: Option<BytesPerSecond>,
    /// To the user; none when it takes no time.
    pub down: Option<BytesPerSecond>,
}

#[cfg(test)]
mod tests;
