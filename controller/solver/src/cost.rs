//! What a pipeline costs: memory, time, energy; and how they add up to the objective.
//!
//! A pipeline's figures are sums of `Part`s (one per layer, end, stage and hop) and one maximum, the bottleneck. The
//! search adds the same parts, so what it minimises is what is reported, to the nanosecond.

mod assisted;
mod batch;
mod energy;
mod latency;
mod memory;
mod model;
mod part;
mod wire;

pub(crate) use assisted::{First, Holdings, draft_bytes, escalated, first_answer, verdict_bytes};
pub use batch::{Batch, batch_time};
pub(crate) use latency::{
    EVENT_BYTES, FRAME_BYTES, REQUEST_BYTES, REQUEST_BYTES_PER_TOKEN, TOKEN_BYTES, transfer,
};
pub use memory::{MemoryModel, Sharing};
pub use model::{CostModel, Evaluation};
pub(crate) use part::{Part, StageParts, Weights};
pub(crate) use wire::Wire;
