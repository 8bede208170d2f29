//! Agents in one process, over real QUIC on loopback and with real engine workers: told what to hold and where to
//! route by hand, as a control plane would tell them.

mod failures;
mod pipelines;
mod requests;
mod support;
