//! The one command: it puts the other rooms together into programs, and talks to the person who runs them.
//!
//! ```text
//! up ──▶ control-plane   apiserver + node_authorizer + manager, in one process
//!    └─▶ agent × N       node, one process each ──▶ engine-worker
//!
//! controller             manager, against any Kubernetes API
//! explain, solve, bench,  ask, and print
//! simulate, chat, models
//! ```
//!
//! Nothing is decided here: where layers run is the manager's business, what an agent does with them the node's. What is
//! known here is how the programs are started, what they are told, what each may touch, and how their answers are
//! printed.

mod agent;
mod apiserver;
mod approver;
mod bench;
mod chat;
mod cli;
mod connect;
mod control_plane;
mod controller;
mod definitions;
mod explain;
mod health;
mod join;
mod logging;
mod models;
pub mod node_authorizer;
mod output;
mod prepare_data;
mod registry;
mod renewal;
mod simulate;
mod solve;
mod steady_port;
mod stop;
mod token;
mod traces;
pub mod up;
mod version;

pub use cli::main;
