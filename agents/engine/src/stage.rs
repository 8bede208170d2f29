//! The vocabulary of a stage: what is loaded, what a batch says, what comes back. Plain values; the worker and its
//! handle exchange exactly these. Hidden states travel behind the message as they are, hence the skipped fields.

mod embedding;
mod loaded;
mod slots;

use std::{ops::Range, path::PathBuf, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use embedding::EmbeddingTable;
pub(crate) use loaded::{LoadPlan, LoadedStage};

use crate::{Epoch, Memory, Sampling};

/// The name of a stage on one worker; the caller chooses it (the `Stage` object's name will do).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StageId(pub String);

impl std::fmt::Display for StageId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<&str> for StageId {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// Which layers of which model are to be held, and for how many sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadStage {
    /// The stage's name on this worker.
    pub id: StageId,
    /// The whole model as a GGUF file.
    pub model_path: PathBuf,
    /// Digest that names the model's content; stage files are kept under it.
    pub model_digest: String,
    /// Layers `[start, end)` of the model. A range that starts at 0 takes tokens, one that ends at the model's last
    /// layer samples.
    pub layers: Range<u32>,
    /// Positions that each session may hold.
    pub context: u32,
    /// Sessions held at once; session slots are `0..sessions`.
    pub sessions: u32,
    /// Most rows in one batch. Compute memory grows with it.
    pub rows_max: u32,
}

/// What a stage does at its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// It holds the embedding table and takes tokens.
    pub first: bool,
    /// It holds the head and samples.
    pub last: bool,
}

/// A stage that is ready to compute.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The worker's life; it goes into every batch of the stage's sessions.
    pub epoch: Epoch,
    /// What it does at its ends.
    pub roles: Roles,
    /// Floats in one row of hidden state.
    pub embedding_length: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// What was reserved, by prediction; the watchdog holds the worker to it.
    pub memory: Memory,
    /// How long assembling the stage file and loading it took.
    pub took: Duration,
}

/// One row of a batch: the next position of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Session slot, `0..sessions`.
    pub slot: u32,
    /// Position in the session, counted from 0. It must be the number of positions that the slot holds.
    pub position: u32,
}

/// What goes into a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// One token for each row, for a stage that is first.
    Tokens(Vec<u32>),
    /// Hidden states for a stage that is not first: little-endian `f32`, row after row.
    Hidden(#[serde(skip)] Bytes),
}

/// A row whose next token is wanted, with the way to choose it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Index into [`Batch::rows`].
    pub row: u32,
    /// How to choose.
    pub sampling: Sampling,
    /// Tokens of the session that repetition penalties look at; empty when there is no penalty.
    pub history: Vec<u32>,
    /// Whether the token's probability is wanted; it costs a pass over the vocabulary.
    pub logprob: bool,
}

/// One step of a stage. Rows of several sessions may be mixed; rows of one session stand in order of position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The stage that computes.
    pub stage: StageId,
    /// The worker's life in which the sessions began; a worker that has been started again refuses the batch.
    pub epoch: Epoch,
    /// What goes in, row for row.
    pub input: Input,
    /// Whose rows these are.
    pub rows: Vec<Row>,
    /// Rows to sample (a last stage only; at most one for each session). May be empty, for the earlier chunks of a
    /// prompt.
    pub outputs: Vec<Output>,
    /// How long the worker may compute, pacing included. It is killed when that passes.
    pub deadline: Duration,
}

/// A token that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Index into [`Batch::rows`].
    pub row: u32,
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability under the model, before temperature and filters, where it was wanted.
    pub logprob: Option<f32>,
}

/// What a batch yields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchOutput {
    /// Hidden states of all rows in the batch's order (little-endian `f32`); empty from a last stage.
    #[serde(skip)]
    pub hidden: Bytes,
    /// Chosen tokens in the order of [`Batch::outputs`]; empty from a stage that is not last.
    pub samples: Vec<Sample>,
    /// Wall time from the batch's start to its answer, pacing included.
    pub wall: Duration,
    /// Processor time that it used, all threads.
    pub cpu: Duration,
}
