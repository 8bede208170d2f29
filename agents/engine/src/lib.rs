//! The engine: runs any contiguous range of a model's layers on one device, through llama.cpp, in a supervised worker
//! process. It knows devices, files and sessions; it knows no network, no peers and no Kubernetes.
//!
//! ```text
//! ModelFacts ── what a file is          Text ── vocabulary, chat template (in the agent)
//! Worker ── handle ─socket─▶ worker process: stage file ▶ llama.cpp ▶ hidden states or samples
//! ```
//!
//! Tokens of a split model equal those of the unsplit one for equal batch shapes, threads and build.

mod architecture;
pub mod benchmark;
mod error;
mod facts;
pub mod gguf;
mod llama;
mod memory;
mod sampling;
mod stage;
mod stage_file;
mod text;
pub mod worker;

pub use benchmark::{Benchmark, BenchmarkKey, BenchmarkPoint, HISTORY_POSITIONS};
pub use error::{Error, Result};
pub use facts::ModelFacts;
pub use memory::Memory;
pub use sampling::Sampling;
pub use stage::{Batch, BatchOutput, Input, LoadStage, Loaded, Output, Roles, Row, Sample, StageId};
pub use stage_file::bytes_to_write as stage_file_bytes;
pub use text::{Message, Text, TextStream};
pub use worker::{Epoch, Held, State, Worker, WorkerConfig};
