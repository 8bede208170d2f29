//! Choosing a token from logits. Pure: the random number of a position is a function of (seed, position), so a session
//! that goes on elsewhere goes on with the same tokens.

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the next token is chosen. The default is greedy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most probable token; above, logits are divided by it.
    pub temperature: f32,
    /// Keep the smallest set of most probable tokens whose probabilities reach this sum. 1 keeps all.
    pub top_p: f32,
    /// Keep this many most probable tokens. 0 keeps all.
    pub top_k: u32,
    /// Keep tokens at least this share as probable as the best. 0 keeps all.
    pub min_p: f32,
    /// Seed of the session's random numbers.
    pub seed: u64,
    /// Divides positive and multiplies negative logits of tokens in the history. 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of each token in the history.
    pub presence_penalty: f32,
    /// Subtracted as many times as the token stands in the history.
    pub frequency_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: 0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
        }
    }
}

impl Sampling {
    /// Whether every parameter is one that can be used.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the parameter's name.
    pub fn check(&self) -> Result<()> {
        let Self {
            temperature,
            top_p,
            top_k: _,
            min_p,
            seed: _,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
        } = *self;
        let check = |field: &str, value: f32, right: bool, expected: &str| {
            if right {
                Ok(())
            } else {
                Err(Error::invalid(field, value, expected))
            }
        };
        check(
            "temperature",
            temperature,
            (0.0..=100.0).contains(&temperature),
            "use 0 (greedy) to 100",
        )?;
        check(
            "top_p",
            top_p,
            top_p > 0.0 && top_p <= 1.0,
            "use more than 0, at most 1",
        )?;
        check("min_p", min_p, (0.0..=1.0).contains(&min_p), "use 0 to 1")?;
        let penalty = repetition_penalty;
        check(
            "repetition_penalty",
            penalty,
            penalty > 0.0 && penalty <= 100.0,
            "use more than 0, at most 100",
        )?;
        for (field, penalty) in [
            ("presence_penalty", presence_penalty),
            ("frequency_penalty", frequency_penalty),
        ] {
            check(
                field,
                penalty,
                (-100.0..=100.0).contains(&penalty),
                "use -100 to 100",
            )?;
        }
        Ok(())
    }

    fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

/// A token that may still be chosen.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: u32,
    logit: f32,
    /// Relative to the most probable candidate, which has 1.
    weight: f64,
}

/// Chooses the token that follows `position`. Logits that are not finite are never chosen; `None` when no other is left.
///
/// In order: penalties, temperature, top-k, top-p, min-p. Equal logits are ordered by token, so the choice is a
/// function of its arguments alone.
pub(crate) fn choose(logits: &[f32], sampling: &Sampling, history: &[u32], position: u32) -> Option<u32> {
    let penalised;
    let logits = if sampling.penalises() && !history.is_empty() {
        penalised = penalise(logits, sampling, history);
        &penalised
    } else {
        logits
    };
    let best = most_probable(logits)?;
    if sampling.temperature == 0.0 || sampling.top_k == 1 {
        return Some(best);
    }
    let candidates = candidates(logits, logits[best as usize], sampling.temperature);
    let candidates = keep_top_k(candidates, sampling.top_k);
    let candidates = keep_top_p(candidates, sampling.top_p);
    let candidates = keep_min_p(candidates, sampling.min_p);
    Some(draw(&candidates, uniform(sampling.seed, position)).unwrap_or(best))
}

/// Natural logarithm of a token's probability among all finite logits.
pub(crate) fn logprob(logits: &[f32], token: u32) -> f32 {
    let finite = || logits.iter().copied().filter(|logit| logit.is_finite());
    let most = finite().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = finite().map(|logit| f64::from(logit - most).exp()).sum();
    (f64::from(logits[token as usize] - most) - sum.ln()) as f32
}

fn most_probable(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (token, &logit) in logits.iter().enumerate() {
        if logit.is_finite() && best.is_none_or(|(_, most)| logit > most) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| u32::try_from(token).expect("vocabularies have less than 2^32 tokens"))
}

fn penalise(logits: &[f32], sampling: &Sampling, history: &[u32]) -> Vec<f32> {
    let mut counts = BTreeMap::<u32, f32>::new();
    for token in history {
        *counts.entry(*token).or_default() += 1.0;
    }
    let mut logits = logits.to_vec();
    for (token, count) in counts {
        let Some(logit) = logits.get_mut(token as usize) else {
            continue;
        };
        // Keskar et al. 2019 (CTRL), section 4.1, with the correction for negative logits that is in common use.
        *logit *= if *logit > 0.0 {
            1.0 / sampling.repetition_penalty
        } else {
            sampling.repetition_penalty
        };
        *logit -= sampling.presence_penalty + count * sampling.frequency_penalty;
    }
    logits
}

fn candidates(logits: &[f32], most: f32, temperature: f32) -> Vec<Candidate> {
    let weight = |logit: f32| (f64::from(logit - most) / f64::from(temperature)).exp();
    let finite = (0..).zip(logits).filter(|(_, logit)| logit.is_finite());
    finite
        .map(|(token, &logit)| Candidate {
            token,
            logit,
            weight: weight(logit),
        })
        .collect()
}

fn by_probability(left: &Candidate, right: &Candidate) -> Ordering {
    right
        .logit
        .total_cmp(&left.logit)
        .then(left.token.cmp(&right.token))
}

fn keep_top_k(mut candidates: Vec<Candidate>, top_k: u32) -> Vec<Candidate> {
    let top_k = top_k as usize;
    if (1..candidates.len()).contains(&top_k) {
        candidates.select_nth_unstable_by(top_k - 1, by_probability);
        candidates.truncate(top_k);
        // Back into the order of tokens: selection leaves an order that is nobody's business.
        candidates.sort_unstable_by_key(|candidate| candidate.token);
    }
    candidates
}

/// Nucleus sampling (Holtzman et al. 2020, eq. 2).
fn keep_top_p(mut candidates: Vec<Candidate>, top_p: f32) -> Vec<Candidate> {
    if top_p >= 1.0 {
        return candidates;
    }
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let wanted = total * f64::from(top_p);
    // Candidates below an equal share of the rest add up to less than the rest, so the nucleus is among the others;
    // that spares sorting the vocabulary.
    let least = (total - wanted) / candidates.len() as f64;
    candidates.retain(|candidate| candidate.weight >= least);
    candidates.sort_unstable_by(by_probability);
    let mut sum = 0.0;
    let reached = candidates.iter().position(|candidate| {
        sum += candidate.weight;
        sum >= wanted
    });
    candidates.truncate(reached.map_or(candidates.len(), |last| last + 1));
    candidates
}

fn keep_min_p(mut candidates: Vec<Candidate>, min_p: f32) -> Vec<Candidate> {
    // Weights are relative to the most probable candidate already.
    candidates.retain(|candidate| candidate.weight >= f64::from(min_p));
    candidates
}

fn draw(candidates: &[Candidate], uniform: f64) -> Option<u32> {
    let mut left = uniform * candidates.iter().map(|candidate| candidate.weight).sum::<f64>();
    for candidate in candidates {
        left -= candidate.weight;
        if left < 0.0 {
            return Some(candidate.token);
        }
    }
    // Rounding may leave a little behind the last candidate.
    candidates
        .iter()
        .rev()
        .find(|candidate| candidate.weight > 0.0)
        .map(|candidate| candidate.token)
}

/// A number in [0, 1) that depends on seed and position alone: SplitMix64 (Steele, Lea, Flood 2014) of both. Written
/// out because it must be the same in all versions and on all machines that a session may move to.
fn uniform(seed: u64, position: u32) -> f64 {
    let mix = |number: u64| {
        let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ (number >> 31)
    };
    let bits = mix(mix(seed) ^ u64::from(position));
    // 53 bits are what a double can tell apart in [0, 1).
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
