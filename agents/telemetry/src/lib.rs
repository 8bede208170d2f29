//! What a node is and has right now: memory, processor, battery, temperature; measured where there is
//! something to measure, otherwise as declared, and always marked which. And the metrics that show it.
//!
//! ```text
//!  system ──┐   (this machine: sysinfo, battery, cgroup limits, /proc, NVML)
//!           ├─▶ Reading ─▶ watch channel ─▶ bands (is it news for a status?) and metrics (Prometheus)
//!  profile ─┘   (what the EdgeNode declares; battery: a model that drains)
//! ```
//!
//! Links are measured by the transport; only their metrics are registered here. This room writes no status
//! and knows no Kubernetes. Hardware that is absent is a fact, not an error: its reading is `None`.

pub mod bands;
pub mod battery;
pub mod cgroup;
pub mod gpu;
pub mod metrics;
pub mod process;
pub mod profile;
pub mod reading;
mod system;
mod watch;

pub use bands::{DeadBand, ReadingBands};
pub use battery::DeclaredBattery;
pub use gpu::Gpu;
pub use metrics::{LinkMetrics, LinkReading, NodeMetrics, RateReading};
pub use process::ProcessMemory;
pub use profile::{BatteryProfile, Profile};
pub use reading::{Battery, Fact, Memory, Processor, Reading, Source};
pub use watch::Telemetry;
