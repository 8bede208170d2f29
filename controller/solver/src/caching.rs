//! Which server stores which models, when models share blocks.
//!
//! ```text
//! max  Σ_g w_g · [some server in reach of g stores g's model] − Σ_m price · bytes fetched to m
//! s.t. Σ_{b ∈ union of the blocks of m's models} size_b ≤ capacity_m          for every server m
//! ```
//!
//! Submodular maximisation under set-union knapsacks (TrimCaching: Qu, Lin, Liu, Chen, Huang, ICDCS 2024, arXiv 2405.03990),
//! NP-hard, and without a constant factor in general. So every answer carries a bound that holds for all placements:
//!
//! ```text
//! problem (delivery: who serves in time) ─▶ index ─▶ greedy ─▶ polish ─▶ rebuild ─▶ placement
//!                                             │        one server: pack      ▲
//!                                             └─▶ dual ──── prices, usage ───┘ ─▶ certificate
//! ```
//!
//! Where a problem is small, `exact` branches on the certificate's bound until it is closed. After an event only what it
//! touches is solved again (`events`). `check` judges placements and shares no code
//! with the rest.

pub mod check;
pub mod delivery;
mod dual;
mod events;
mod exact;
pub mod fixtures;
mod greedy;
mod index;
pub(crate) mod library;
pub(crate) mod pack;
pub(crate) mod parallel;
mod placement;
mod polish;
mod problem;
mod rebuild;
mod session;
mod stock;

pub use check::{check, worth};
pub use events::Event;
pub use greedy::GreedyRule;
pub use placement::{Certificate, Placement};
pub use problem::{BYTES_MAX, CachingProblem, Demand, Server, VALUE_MAX};
pub use session::CachingSession;

use crate::search::Meter;
use index::Index;
use stock::Stock;

/// Makes a placement from nothing.
trait Place {
    fn place(&self, index: &Index, meter: &mut Meter<'_>) -> Stock;
}
