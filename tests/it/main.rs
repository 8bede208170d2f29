//! The suites that need more than one room.

mod agent;
mod chart;
mod control_plane;
mod headers;
mod kinds;
mod kubectl;
mod layering;
mod memory;
mod observe;
mod traces;
mod up;
