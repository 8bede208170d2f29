//! The agent: the only room that sees engine, transport, router and telemetry. It holds what Stages say, routes as its
//! RouteTable says, and reports how things stand. It decides nothing about where a layer runs.
//!
//! ```text
//! watch ~ ──▶ desired = ──▶ reconcile = ──▶ execute ~ (fetch, load, unload)        report ~ ──▶ status
//!               │ keep ~                        │                                     ▲
//!               ▼                               ▼                                     │
//!             disk                  agent: stages, files, routes ─────────────────────┘
//!                                               ▲
//!             router ─▶ ingress ─▶ session: head ─▶ stage ─▶ … (seats, scheduler, engine)
//! ```

mod agent;
mod benchmark;
mod config;
pub mod desired;
mod disk;
mod execute;
mod files;
mod health;
mod ingress;
mod join;
mod keep;
mod lease;
mod limits;
mod metrics;
mod observed;
pub mod reconcile;
mod report;
mod routes;
mod run;
mod session;
mod stages;
mod watch;

pub use agent::{Agent, Parts};
pub use config::Config;
/// The engine's worker process: what the hidden subcommand runs that [`Config::worker_program`] names.
pub use engine::worker::main as worker_main;
pub use health::Pulse;
pub use router::Config as RouterConfig;
/// Spans of requests and sessions are made from now on.
pub use router::trace::enable as enable_traces;
pub use run::{Error, run};
/// Links that are slower than the machine's network, for [`Config::emulation`].
pub use transport::{Conditions, Emulation};
