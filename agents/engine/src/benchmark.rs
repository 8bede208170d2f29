//! How fast this machine computes real blocks of a model: the figures that the cost model reads.

mod run;
mod timed;

pub(crate) use run::run;
use serde::{Deserialize, Serialize};
pub use timed::places;

/// What the figures depend on. Equal keys, equal figures: a table is cached under its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BenchmarkKey {
    /// Version of this engine and of llama.cpp.
    pub engine: String,
    /// The processor's name.
    pub processor: String,
    /// Quantisation of the layers.
    pub quantisation: String,
    /// `architecture/embedding length/feed forward/heads/key value heads/vocabulary`.
    pub shape: String,
    /// Threads that were used.
    pub threads: u32,
    /// Share of the machine in thousandths of a core, 0 when free.
    pub share_millicores: u32,
}

/// Measured times at one number of rows: medians, in nanoseconds of wall time at the worker's share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkPoint {
    /// Rows in a batch.
    pub rows: u32,
    /// One layer, for the whole batch.
    pub layer_ns: u64,
    /// Final norm, head and choice of tokens, each row an output of a session of its own; none for a batch that only a
    /// prompt has.
    pub head_ns: Option<u64>,
    /// The last layer with the head behind it, for a prompt's rows of which the last one is an output.
    pub prompt_end_ns: u64,
    /// What [`HISTORY_POSITIONS`] positions, which the session held before, add to one layer.
    pub history_ns: u64,
    /// Embedding lookup, for the whole batch.
    pub embedding_ns: u64,
}

/// Positions that [`BenchmarkPoint::history_ns`] is about.
pub const HISTORY_POSITIONS: u32 = 1_000;

/// Speed of one device with one kind of block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// What the figures depend on.
    pub key: BenchmarkKey,
    /// One entry for each number of rows, ascending.
    pub points: Vec<BenchmarkPoint>,
    /// Time of a batch that does not depend on its layers: message, graph, wake-up of threads.
    pub batch_overhead_ns: u64,
}
