//! What a stage holds in memory, term by term.

use serde::{Deserialize, Serialize};

use crate::{LoadStage, ModelFacts, gguf::Gguf};

/// Bytes that a stage holds in its worker, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Weights, mapped from the stage file or repacked.
    pub weights_bytes: u64,
    /// Key and value cells of all sessions.
    pub cache_bytes: u64,
    /// Buffers of the computation graph.
    pub compute_bytes: u64,
    /// Logits and other outputs.
    pub output_bytes: u64,
    /// Vocabulary, graph and bookkeeping.
    pub overhead_bytes: u64,
}

impl Memory {
    /// The sum of all terms.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let Self {
            weights_bytes,
            cache_bytes,
            compute_bytes,
            output_bytes,
            overhead_bytes,
        } = *self;
        weights_bytes + cache_bytes + compute_bytes + output_bytes + overhead_bytes
    }
}

/// Cells that llama.cpp makes of a session's context.
pub(crate) fn padded_cells(context: u32) -> u32 {
    context.next_multiple_of(256)
}

/// Most rows in one step of llama.cpp: a session's rows, or one row of each session.
pub(crate) fn step_rows_max(context: u32, sessions: u32, rows_max: u32) -> u32 {
    rows_max.min(context.max(sessions))
}

pub(crate) fn predict(facts: &ModelFacts, model: &Gguf, stage: &LoadStage) -> Memory {
    let _ = (facts, model, stage);
    Memory::default()
}
