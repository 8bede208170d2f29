//! Tokens per second of a node by the number of layers it holds: Helix's `T_i(k)`, recomputed from measured times.
//!
//! A node is met by a request once per round; with `ρ = k·t ÷ (k·t + (L − k)·t̄)` the part of a round that it spends there,
//! and `C` tokens of keys and values of which a part `η = 0.3` is in use,
//!
//! ```text
//! b = η·C ÷ (p + o) · ρ                   sequences that are met at once (p = 750 prompt, o = 240 output tokens)
//! q = b ÷ o                               prompts that are met at once
//! T(k) = (q·p + b) ÷ (k · (q·t_prompt(p) + t_decode(b)))         for q ≤ 1
//! ```
//!
//! capped at one prompt (`q = 1`, `b = o`). `t` is itself `1 ÷ (k·T)` at a typical `k`, so it is iterated ten times from a
//! start. `t̄` is its mean over the layers of the cluster. Definition and constants: Mei et al., ASPLOS 2025, as in the
//! artifact's tables of typical layers; quantities are rounded as there, to compare like with like.

use super::cluster::{Limits, NodeType};

/// What the iteration starts from, per type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Typical {
    /// Layers that such a node usually holds.
    pub layers: usize,
    /// The same where memory is tight: where `Σ layers` is less than 1.2 models.
    pub layers_when_tight: usize,
    /// Layers per second and token, to start from.
    pub layers_per_second: f64,
}

const PROMPT_TOKENS: f64 = 750.0;
const OUTPUT_TOKENS: f64 = 240.0;
const KV_IN_USE: f64 = 0.3;
const ROUNDS: usize = 10;
const TIGHT_BELOW: f64 = 1.2;

/// Fills [`NodeType::tokens_per_second`] of all types, of which there are `counts` nodes.
#[allow(clippy::cast_precision_loss, reason = "counts are small")]
pub fn fill(types: &mut [NodeType], typical: &[Typical], counts: &[usize], num_layers: usize) {
    let roomy: usize = typical
        .iter()
        .zip(counts)
        .map(|(typical, count)| typical.layers * count)
        .sum();
    let tight = (roomy as f64) < num_layers as f64 * TIGHT_BELOW;
    let held: Vec<usize> = types
        .iter()
        .zip(typical)
        .map(|(kind, typical)| {
            let layers = if tight {
                typical.layers_when_tight
            } else {
                typical.layers
            };
            layers.clamp(1, kind.layers_max())
        })
        .collect();
    let mut speeds: Vec<f64> = typical.iter().map(|typical| typical.layers_per_second).collect();
    for _ in 0..ROUNDS {
        let mean = mean_layer_seconds(&speeds, &held, counts);
        let next = types
            .iter()
            .zip(&held)
            .zip(&speeds)
            .map(|((kind, &layers), &speed)| {
                rate(kind, layers, num_layers, 1.0 / speed, mean) * layers as f64
            });
        speeds = next.collect();
    }
    let mean = mean_layer_seconds(&speeds, &held, counts);
    for (kind, speed) in types.iter_mut().zip(speeds) {
        kind.tokens_per_second = (1..=kind.layers_max())
            .map(|layers| rate(kind, layers, num_layers, 1.0 / speed, mean))
            .collect();
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn mean_layer_seconds(speeds: &[f64], held: &[usize], counts: &[usize]) -> f64 {
    let weights = held
        .iter()
        .zip(counts)
        .map(|(layers, count)| (layers * count) as f64);
    let total: f64 = weights.clone().sum();
    weights
        .zip(speeds)
        .map(|(weight, speed)| weight / speed)
        .sum::<f64>()
        / total
}

#[allow(clippy::cast_precision_loss, reason = "layers are few")]
fn rate(kind: &NodeType, layers: usize, num_layers: usize, layer_seconds: f64, mean_seconds: f64) -> f64 {
    let here = layers as f64 * layer_seconds;
    let elsewhere = num_layers.saturating_sub(layers) as f64 * mean_seconds;
    let Limits { kv_tokens, .. } = kind.limits[layers - 1];
    let met = (KV_IN_USE * (kv_tokens * layers as f64) / layers as f64)
        .floor()
        .max(1.0)
        / (PROMPT_TOKENS + OUTPUT_TOKENS)
        * (here / (here + elsewhere));
    let prompts = met / OUTPUT_TOKENS;
    let times = &kind.times;
    if prompts > 1.0 {
        let seconds = times.prompt.at(PROMPT_TOKENS) + times.decode.at(OUTPUT_TOKENS);
        return (PROMPT_TOKENS + OUTPUT_TOKENS) / (layers as f64 * seconds);
    }
    // Scaled up until there is one prompt, since times of parts of a prompt were not measured.
    let scale = 1.0 / prompts;
    // Rounded as in the artifact, except where rounding would leave nothing.
    let whole = |count: f64| if met < 1.0 { count } else { count.round_ties_even() };
    let (prompt_tokens, sequences) = (whole(prompts * PROMPT_TOKENS), whole(met));
    let seconds = times.prompt.at((prompt_tokens * scale).floor()) + times.decode.at(sequences) * scale;
    scale * (prompt_tokens + sequences) / (layers as f64 * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{LayerTimes, Times};

    #[test]
    fn nodes_with_hardly_any_memory_still_have_a_rate() {
        let times = |size, seconds| Times::new(&[(size, seconds)]).expect("times");
        for kv_tokens in [1.0, 100.0, 16_000.0, 1e9] {
            let limit = Limits {
                kv_tokens,
                prompts_max: 1,
                sequences_max: 100,
            };
            let kind = NodeType {
                name: String::new(),
                times: LayerTimes {
                    prompt: times(250.0, 2e-3),
                    decode: times(2.0, 1e-3),
                },
                limits: vec![limit; 80],
                tokens_per_second: Vec::new(),
            };
            let typical = Typical {
                layers: 40,
                layers_when_tight: 80,
                layers_per_second: 20.0,
            };
            let mut types = [kind];
            fill(&mut types, &[typical], &[1], 80);
            let rates = &types[0].tokens_per_second;
            assert!(
                rates.iter().all(|rate| rate.is_finite() && *rate > 0.0),
                "{kv_tokens}: {rates:?}"
            );
        }
    }
}
