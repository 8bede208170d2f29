//! All services of a fleet at once: which replicas run where, whole or split, and who is answered by which.
//!
//! ```text
//! max  Σ routes rate · (value of an answer − its cost) − price of weights that are loaded
//! s.t. memory of each node (weights once for all replicas that share them), its busy time and its battery,
//!      bytes of each link, sessions of each replica by Little's law, promises of each service, privacy and modes
//! ```
//!
//! A service has at most one stage on each node. An answer is given within the promises or not at all: the time to the first
//! token with its way from the user's cell and back, and the time per token with all sessions of the replica decoding
//! together. Queueing is not modelled; `busy_max_milli` keeps what queues short.
//!
//! ```text
//! problem ─▶ index (items: replicas that could be; pairs: who could use them) ─▶ dual ── prices ─▶ improve, split ─▶ plan
//!                                                                               └─▶ bound: certificate
//! ```
//!
//! `dual` decomposes: each node packs what is worth most at the prices of requests, exactly; answers by several nodes are
//! bounded by `floor`, and found (`split`) by copying, by assembling and, in small fleets, by the exact search for one pipeline,
//! all with the prices in it. `check` judges plans and shares no code with the rest.

mod assembly;
mod catalogue;
pub mod check;
mod descent;
mod dual;
mod events;
mod figures;
pub mod fixtures;
mod floor;
mod improve;
mod index;
mod messages;
mod offers;
mod packing;
mod problem;
mod session;
mod shared;
mod split;
mod state;
mod trial;
mod ways;

pub use check::{check, evaluate, worth};
pub use events::Event;
pub use problem::{Certificate, Class, JointPlan, JointProblem, Replica, Route};
pub use session::JointSession;
