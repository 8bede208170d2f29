//! Agents in one process, over real QUIC on loopback and with real engine workers: told what to hold and where to
//! route by hand, as a control plane would tell them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod failures;
mod pipelines;
mod requests;
mod support;
