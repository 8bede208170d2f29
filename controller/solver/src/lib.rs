//! The solver: a [`Problem`] in, a [`Solution`] out.
//!
//! Pure: no I/O, no clock, no randomness, no Kubernetes names. The same problem with the same [`Budget`] has the same
//! answer, and an answer that is handed back as what runs now is given again.
//!
//! ```text
//! problem ─▶ search ─▶ solution ─▶ explain (prose)
//!              │ cost/{memory, latency, energy}
//!              └ judged in tests, and by the manager's linter, by check (which shares no code with it)
//! ```
//!
//! # The objective
//!
//! One currency, nanoseconds per request, for a typical request of `p` prompt and `o` output tokens:
//!
//! ```text
//! cost = ttft_weight · TTFT + (o − 1) · TPOT
//!      + slo_penalty · (TTFT − slo_ttft)⁺ + slo_penalty · (o − 1) · (TPOT − slo_tpot)⁺
//!      + joule_cost · battery joules + metered traffic + loss of fidelity at cuts + quality_value · missing quality
//!
//! TTFT = ingress + Σ stages chunk + Σ hops chunk + (chunks − 1) · max over stages and links of chunk + head + return
//! TPOT = Σ stages decode + Σ hops token + return
//! ```
//!
//! A stage's times are of as many rows as a chunk or a token has, and grow with the positions that the session holds before
//! them: their mean over the chunks of the prompt, and over the answer.
//!
//! The maximum and the penalties are part of what is minimised exactly, not replaced by a surrogate: see [`search`].

pub mod caching;
pub mod check;
pub mod cost;
pub mod data;
pub mod explain;
pub mod fixtures;
pub mod joint;
pub mod links;
pub mod mobility;
pub mod multicast;
pub mod problem;
pub mod random;
pub mod region;
pub mod reproductions;
pub mod search;
pub mod serving;
pub mod simulate;
pub mod solution;
pub mod spectrum;
pub mod units;

pub use check::check;
pub use problem::Problem;
pub use search::{Budget, forecast, forecast_range, solve, why_not};
pub use solution::Solution;
