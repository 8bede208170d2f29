//! The upper bound on the flow of any layout (the proof is in [`super`]).

use super::Cluster;

/// A type of nodes, as far as the bound and the cover need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Supply {
    /// How many nodes.
    pub count: usize,
    /// At `k − 1`: tokens per second with `k` layers.
    pub tokens_per_second: Vec<f64>,
}

/// The types of a cluster.
#[must_use]
pub fn supplies(cluster: &Cluster) -> Vec<Supply> {
    let counts = cluster.type_counts();
    let supply = |(kind, count): (&super::NodeType, usize)| Supply {
        count,
        tokens_per_second: kind.tokens_per_second.clone(),
    };
    cluster.types.iter().zip(counts).map(supply).collect()
}

/// Both sides are often equal over a whole range of flows, where rounding must not decide. Errs towards a greater bound.
const ROUNDING: f64 = 1e-12;

/// Tokens per second that no layout of `num_layers` layers on these nodes exceeds, whatever the links.
///
/// `Σ_t N_t · max_k k · min(T_t(k), F) ÷ F` does not grow with `F`, so the greatest `F` at which it reaches `num_layers` is
/// found by bisection.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are small")]
pub fn upper_bound(supplies: &[Supply], num_layers: usize) -> f64 {
    let reaches = |flow: f64| {
        let layers: f64 = supplies
            .iter()
            .map(|supply| supply.count as f64 * truncated(supply, flow))
            .sum();
        layers >= num_layers as f64 * flow * (1.0 - ROUNDING)
    };
    let rates = supplies
        .iter()
        .filter(|supply| supply.count > 0)
        .flat_map(|supply| {
            let all = supply.tokens_per_second.iter();
            all.map(|rate| rate * supply.count as f64)
        });
    let (mut low, mut high) = (0.0, rates.sum::<f64>());
    if high == 0.0 {
        return 0.0;
    }
    // An f64 has 53 bits: after so many halvings the ends are neighbours.
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if reaches(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Answer tokens per second that no layout serves in a steady state, since each node must compute: for each token of an
/// answer, every layer takes its share of the cheapest batch per sequence, and of the cheapest batch of prompts per token,
/// `prompt ÷ answer` times. Waiting, memory and links are not in it, so it is far above what batching really reaches.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "batches are small")]
pub fn work_bound(cluster: &Cluster, prompt: f64, answer: f64) -> f64 {
    let counts = cluster.type_counts();
    let rate = |kind: &super::NodeType, layers: usize| {
        let limits = kind.limits[layers - 1];
        let sequences = (1..=limits.sequences_max)
            .map(|size| kind.times.decode.at_least_one_step(size as f64) / size as f64);
        let tokens = (1..=limits.prompts_max * PROMPT_TOKENS_MAX)
            .map(|size| kind.times.prompt.at(size as f64) / size as f64);
        let least = |figures: &mut dyn Iterator<Item = f64>| figures.fold(f64::INFINITY, f64::min);
        let seconds = least(&mut { sequences }) + prompt / answer * least(&mut { tokens });
        1.0 / (layers as f64 * seconds)
    };
    let supply = |(kind, count): (&super::NodeType, usize)| Supply {
        count,
        tokens_per_second: (1..=kind.layers_max()).map(|layers| rate(kind, layers)).collect(),
    };
    let supplies: Vec<Supply> = cluster.types.iter().zip(counts).map(supply).collect();
    upper_bound(&supplies, cluster.num_layers)
}

/// Tokens of the longest prompt: a batch has at most so many for each prompt in it.
pub(crate) const PROMPT_TOKENS_MAX: usize = 2_048;

/// The most layers times tokens per second that one node adds, when more than `flow` in one layer counts for nothing.
#[allow(clippy::cast_precision_loss, reason = "layers are few")]
fn truncated(supply: &Supply, flow: f64) -> f64 {
    let of = |(index, rate): (usize, &f64)| (index + 1) as f64 * rate.min(flow);
    supply
        .tokens_per_second
        .iter()
        .enumerate()
        .map(of)
        .fold(0.0, f64::max)
}
