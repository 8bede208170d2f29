//! What a stage holds in memory, term by term.

use serde::{Deserialize, Serialize};

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
