//! Throughput of a region: which node holds which layers of one model, so that many requests at once get through.
//!
//! # Model
//!
//! A model has `L` layers. Node `i` of type `t` holds the interval `[s_i, e_i)`, `k_i = e_i − s_i` layers, and then passes at
//! most `T_t(k_i)` tokens per second ([`capacity`]). A token at position `p` may enter `j` if `s_j ≤ p < e_j`, leaves it at
//! `e_j`, and crosses a link that carries `rate ÷ activation bytes` tokens per second. The maximum flow from position 0 to
//! `L` is the objective of Helix (Mei et al., ASPLOS 2025); [`flow`] computes it for one layout.
//!
//! # What is proven
//!
//! * Where links do not bind, the maximum flow is `min over layers l of Σ {T_i(k_i) : l ∈ [s_i, e_i)}`: nodes whose removal
//!   leaves a layer uncovered are exactly the vertex cuts. So layouts are interval covers ([`cover`] searches them).
//! * For any layout `Σ_i k_i · min(T_i(k_i), F) ≥ L · F` at its flow `F`, with or without links: each layer is passed by `F`
//!   tokens, of which node `i` takes at most `min(T_i(k_i), F)`. The greatest `F` with
//!   `Σ_t N_t · max_k k · min(T_t(k), F) ≥ L · F` is therefore an upper bound ([`bound`]); truncation at `F` is what makes it
//!   tight (a knapsack-cover inequality), and it needs types, not nodes.
//!
//! Maximum flow knows nothing of batching: of two layouts, the one of greater flow may serve less. So layouts that are to
//! serve are found on another model ([`convoy`]) and chosen by simulation ([`choose`], [`crate::simulate`]). What is proven for
//! that objective is only that work takes its time ([`bound::work_bound`]), which is far off.

pub mod bound;
pub mod capacity;
pub mod choose;
pub mod cluster;
pub mod convoy;
pub mod cover;
pub mod flow;
pub mod layout;
pub mod linked;
pub mod search;

pub use cluster::{Cluster, LayerTimes, Limits, Link, Node, NodeType, Times};
pub use layout::Layout;
