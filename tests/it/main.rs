//! The suites that need more than one room, in one process.

mod control_plane;
mod kinds;
mod layering;
