//! A whole cluster in one process, and helpers that drive real programs.

pub mod agents;
pub mod collector;
pub mod control_plane;
pub mod daemon_set;
pub mod gate;
pub mod helm;
pub mod models;
pub mod prometheus;
pub mod stream;
pub mod switches;
pub mod up;
pub mod wait;
