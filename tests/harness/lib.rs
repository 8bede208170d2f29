//! A whole cluster in one process, and helpers that drive real programs.

pub mod agents;
pub mod collector;
pub mod control_plane;
pub mod helm;
pub mod prometheus;
pub mod switches;
pub mod up;
pub mod wait;
