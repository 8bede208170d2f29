//! Serving, token by token: discrete events over nodes, links and requests.
//!
//! Nodes hold layers ([`Layout`]). A request goes from the door through its pipeline, first with all
//! of its prompt, then once per token of its answer, always through the same nodes, since they keep its keys and values.
//!
//! * **Nodes** batch continuously: whoever waits when the node becomes free goes along, first come first served, up to the
//!   limits of prompts and sequences ([`Limits`](crate::region::Limits)). A batch takes
//!   `layers · (t_prompt(prompt tokens) + t_decode(sequences))`. A node whose range is entered at several layers passes from
//!   one such part to the next in turn, and batches merge where they meet.
//! * **Links** send one request after the other, at their rate, and deliver after their latency.
//! * **Pipelines** are chosen per request, hop by hop, by interleaved weighted round robin over [`Routing`], past nodes whose
//!   memory for keys and values is reserved up to a mark.
//! * **Load** ([`Load`]) is kept up to what memory allows, kept at a population, or comes at given times.
//!
//! This is not [`serving`](crate::serving), which follows Edgeloom's own decisions. Here layers are held by many nodes, in ranges
//! that overlap, each request finds its way hop by hop, and memory is reserved by the token: the rules of Helix's simulator, so
//! that layouts can be compared with those it publishes. There a service has one pipeline with seats, prompts go in chunks, and
//! nodes come and go. Neither has what the other measures, and a simulator with both sets of rules would be calibrated for none.
//!
//! Times are whole nanoseconds and ties are broken by order of creation: the same scenario has the same report.

#![allow(
    clippy::cast_precision_loss,
    reason = "layers, tokens and events of a simulation are far from 2^53"
)]

mod engine;
mod load;
mod node;
mod report;
mod route;

pub use engine::run;
pub use load::{Length, Load, Request, poisson, replay};
pub use report::{Latency, Report};
pub use route::Routing;

use crate::region::{Cluster, Layout};

/// What is simulated.
#[derive(Clone, Copy)]
pub struct Scenario<'s> {
    /// Nodes and links, with times.
    pub cluster: &'s Cluster,
    /// Who holds which layers.
    pub layout: &'s Layout,
    /// Who sends to whom.
    pub routing: &'s Routing,
    /// Requests.
    pub load: &'s Load,
    /// How memory is reserved.
    pub admission: Admission,
    /// What is measured.
    pub window: Window,
}

/// How much memory a request reserves on each node of its pipeline when it is admitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Admission {
    /// Tokens that are reserved for the answer, whose length nobody knows yet.
    pub answer_tokens: f64,
    /// Part of a node's memory that may be reserved.
    pub high_water: f64,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Seconds before it begins.
    pub warm_up: f64,
    /// Seconds that it lasts.
    pub seconds: f64,
}

/// Copying a batch's hidden states together and onto a GPU, at 4 and 5 GB/s: seconds per byte (Helix's simulator).
const STAGING: f64 = 1.0 / 4e9 + 1.0 / 5e9;

#[cfg(test)]
mod tests;
