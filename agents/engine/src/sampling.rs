//! Choosing a token from logits. Pure: the random number of a position is a function of (seed, position), so a session
//! that goes on elsewhere goes on with the same tokens.

use serde::{Deserialize, Serialize};

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
