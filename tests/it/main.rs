//! The suites that need more than one room, in one process.

mod layering;
