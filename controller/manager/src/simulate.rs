//! What decisions would make of a day: a scenario's requests, users on the move, links and nodes that change, against the
//! controller as it is.
//!
//! ```text
//! scenario ─▶ fleet (world) ─▶ timeline ─▶ run ┬▶ snapshot ▸ policy ▸ solve ▸ plan ▸ lint     as the manager does
//!                                              ├▶ agents: load, wire, drain                     as agents report
//!                                              └▶ solver::serving: tokens, batches, links       ─▶ report
//! ```
//!
//! Nothing here decides: each round takes the manager's own steps, with what runs now as their input, and Placements go
//! through the planner's own phases. A [`Policy`] other than Edgeloom's is the same question with fewer answers allowed, or
//! with another margin for moving.
//!
//! What is simulated is what agents do with it: weights are fetched and loaded, hops become ready, sessions drain; and what
//! becomes of requests. Weights that are fetched share the rate of their link with other weights and take none from
//! requests. The same scenario and seed have the same report.

use solver::serving::Time;

mod agents;
mod arrivals;
mod fleet;
mod policy;
mod power;
mod report;
mod round;
mod run;
pub mod scenario;
mod series;
mod timeline;
mod validate;
mod ways;

pub use policy::Policy;
pub use report::{Decision, Load, NodeReport, PolicyReport, Quantiles, Report, Sample, ServiceReport};
pub use run::run;
pub use scenario::Scenario;

use crate::offline;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Manifests make no world.
    #[error(transparent)]
    Manifests(#[from] offline::Error),
    /// A file that the scenario names cannot be read.
    #[error("{field}: {path} cannot be read: {source}")]
    Read {
        /// The field that names it.
        field: String,
        /// The file.
        path: String,
        /// What failed.
        source: std::io::Error,
    },
    /// A field is wrong.
    #[error("{field}: {problem}")]
    Field {
        /// Its path, such as `spec.arrivals[0].service`.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The manifests contradict themselves.
    #[error("the manifests contradict themselves: {0}")]
    Problem(#[from] solver::problem::InvalidProblem),
    /// A plan that the linter refuses: a mistake of the planner, not of the scenario.
    #[error("at {seconds} s the planner made a plan that its own check refuses: {findings}")]
    Lint {
        /// When.
        seconds: f64,
        /// What is wrong with it.
        findings: String,
    },
}

impl Error {
    fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

const SECOND: Time = 1_000_000_000;

/// Nanoseconds of seconds that are not negative.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a scenario, rounded; validation bounds them"
)]
fn nanoseconds(seconds: f64) -> Time {
    (seconds * 1e9).round() as Time
}

#[allow(clippy::cast_precision_loss, reason = "seconds for people")]
fn seconds(time: Time) -> f64 {
    time as f64 / 1e9
}
