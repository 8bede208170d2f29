//! The suites that need more than one room.

mod agent;
mod chart;
mod control_plane;
mod cordons;
mod headers;
mod kinds;
mod kubectl;
mod layering;
mod leader;
mod memory;
mod observe;
mod rollout;
mod traces;
mod up;
