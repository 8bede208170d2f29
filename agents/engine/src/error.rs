//! What can go wrong in this room. Errors cross the worker's socket, so every variant carries plain values and no
//! source chain.

use serde::{Deserialize, Serialize};

/// A result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which the engine refuses or fails.
///
/// [`Error::is_refusal`] tells what the caller got wrong from what happened to the engine: a refusal changes nothing
/// and comes back the same when it is sent again; all else may pass on a fresh worker.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a GGUF file that we can read.
    #[error("{path} is not a readable GGUF file: {reason}")]
    Gguf {
        /// The file.
        path: String,
        /// What is wrong with it, with the place where there is one.
        reason: String,
    },
    /// The model's architecture, or a peculiarity of this file, has no proof that split layers compute the same.
    #[error("a model of architecture `{architecture}` cannot be split: {reason}")]
    SplitUnsupported {
        /// `general.architecture` of the file.
        architecture: String,
        /// Why.
        reason: String,
    },
    /// A layer range that the model does not have.
    #[error("layers {start}..{end} are not a range of this model, which has layers 0..{available}")]
    Layers {
        /// First layer asked for.
        start: u32,
        /// One past the last layer asked for.
        end: u32,
        /// Layers of the model.
        available: u32,
    },
    /// A field of a request has a value that cannot be used.
    #[error("{field} is {value}; {expected}")]
    Invalid {
        /// The field, as the caller knows it.
        field: String,
        /// What it was.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The device's memory limit has no room for the stage.
    #[error("stage needs {needed_bytes} bytes, and {free_bytes} of {limit_bytes} bytes are free")]
    Memory {
        /// Predicted need of the stage.
        needed_bytes: u64,
        /// What the limit leaves beside the stages that are loaded.
        free_bytes: u64,
        /// The worker's limit.
        limit_bytes: u64,
    },
    /// The disk has no room for a stage file. Nothing half-written stays behind.
    #[error("the disk is full: {path} needs {needed_bytes} bytes")]
    DiskFull {
        /// The file that could not be written.
        path: String,
        /// Its size when whole.
        needed_bytes: u64,
    },
    /// A file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// llama.cpp refused the model.
    #[error("llama.cpp cannot load {path}: {reason}")]
    Load {
        /// The file.
        path: String,
        /// llama.cpp's own words.
        reason: String,
    },
    /// No stage of this name is loaded.
    #[error("no stage `{stage}` is loaded")]
    NoSuchStage {
        /// The name asked for.
        stage: String,
    },
    /// A stage of this name is loaded already.
    #[error("stage `{stage}` is loaded already")]
    StageExists {
        /// The name asked for.
        stage: String,
    },
    /// A row's position does not follow on what the slot holds: this worker's cache is not the sender's.
    #[error("session slot {slot} expects position {expected}, got {got}")]
    Position {
        /// The session slot.
        slot: u32,
        /// The only position that can come next.
        expected: u32,
        /// What the row said.
        got: u32,
    },
    /// A session would outgrow the cells that were reserved for it.
    #[error("session slot {slot} would hold {needed} positions, {context} are reserved")]
    ContextFull {
        /// The session slot.
        slot: u32,
        /// Positions after this batch.
        needed: u32,
        /// Positions reserved for each session.
        context: u32,
    },
    /// The worker was started again since the caller last asked; its sessions are gone.
    #[error("worker epoch {expected} is over; the worker now runs as {current}")]
    Epoch {
        /// The epoch that the caller meant.
        expected: u64,
        /// The epoch of the worker now, 0 while it restarts.
        current: u64,
    },
    /// llama.cpp returned an error for a valid batch. The sessions that took part were emptied.
    #[error("decoding failed with code {code}; the batch's sessions were dropped")]
    Decode {
        /// `llama_decode`'s return value.
        code: i32,
    },
    /// The model computed no usable logits for a row. The batch's sessions were emptied.
    #[error("no finite logits for row {row}; the batch's sessions were dropped")]
    Logits {
        /// Index of the row in the batch.
        row: u32,
    },
    /// The last layer's output did not have the size of the batch. The batch's sessions were emptied.
    #[error("the last layer put out {floats} floats for {rows} rows; the batch's sessions were dropped")]
    LayerOutput {
        /// Floats that came out.
        floats: usize,
        /// Rows that went in.
        rows: usize,
    },
    /// The deadline passed before the batch was given to the worker. Nothing was computed.
    #[error("the batch waited {waited_ms} ms for the worker, longer than its deadline")]
    DeadlineInQueue {
        /// How long it waited.
        waited_ms: u64,
    },
    /// The deadline passed while the worker computed. The worker was killed; all its sessions are gone.
    #[error("the batch took longer than {deadline_ms} ms; the worker was killed")]
    Deadline {
        /// The batch's deadline.
        deadline_ms: u64,
    },
    /// The worker died while this request ran. All its sessions are gone.
    #[error("the worker died: {reason}")]
    WorkerDied {
        /// Exit status or signal, and the last line it logged.
        reason: String,
    },
    /// This very request killed the worker before and is not tried again.
    #[error("this request killed the worker {times} times and is refused")]
    Poisonous {
        /// Deaths that it caused.
        times: u32,
    },
    /// The worker is being started again.
    #[error("the worker is restarting: {reason}")]
    Restarting {
        /// Why it ended.
        reason: String,
    },
    /// The worker's queue is full.
    #[error("the worker's queue of {queued} requests is full")]
    Busy {
        /// Its length.
        queued: usize,
    },
    /// The worker was told to stop.
    #[error("the worker has stopped")]
    Stopped,
    /// Text that cannot be tokenized, or a chat that its template refuses.
    #[error("{reason}")]
    Text {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether the request itself is at fault: it changed nothing and would be refused again.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Gguf { .. }
            | Self::SplitUnsupported { .. }
            | Self::Layers { .. }
            | Self::Invalid { .. }
            | Self::Memory { .. }
            | Self::Load { .. }
            | Self::NoSuchStage { .. }
            | Self::StageExists { .. }
            | Self::Position { .. }
            | Self::ContextFull { .. }
            | Self::Epoch { .. }
            | Self::Poisonous { .. }
            | Self::Text { .. } => true,
            Self::DiskFull { .. }
            | Self::File { .. }
            | Self::Decode { .. }
            | Self::Logits { .. }
            | Self::LayerOutput { .. }
            | Self::DeadlineInQueue { .. }
            | Self::Deadline { .. }
            | Self::WorkerDied { .. }
            | Self::Restarting { .. }
            | Self::Busy { .. }
            | Self::Stopped => false,
        }
    }

    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        }
    }

    pub(crate) fn gguf(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Gguf {
            path: path.display().to_string(),
            reason: reason.into(),
        }
    }

    pub(crate) fn invalid(
        field: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field: field.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}
