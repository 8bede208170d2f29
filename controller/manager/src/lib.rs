//! The hand of the control plane: it watches, asks the solver, plans, checks the plan, applies it, and says what came
//! of it.
//!
//! ```text
//! watch~ ▸ snapshot= ▸ solve= ▸ plan= ▸ lint= ▸ apply~ ▸ status=      (= pure, ~ with effects)
//! ```
//!
//! It meets agents only at the API server: it calls none of them, and knows no transport and no engine.

pub mod apply;
mod cordons;
pub mod corrections;
pub mod disruption;
pub mod entrances;
pub mod events;
pub mod figures;
pub mod foresight;
pub mod identity;
pub mod inspect;
pub mod leader;
mod lengths;
pub mod lint;
pub mod liveness;
pub mod metrics;
pub mod offline;
pub mod plan;
mod pulse;
pub mod reconcile;
pub mod rollout;
pub mod simulate;
pub mod snapshot;
pub mod status;
pub mod watch;
pub mod world;

pub use metrics::Metrics;
pub use pulse::Pulse;
pub use reconcile::{Config, Error, run, solve};
pub use watch::SYSTEM_NAMESPACE;
