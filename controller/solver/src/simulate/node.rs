//! A node that batches.

use std::collections::VecDeque;
use std::ops::Range;

use super::STAGING;
use crate::region::bound::PROMPT_TOKENS_MAX;
use crate::region::{Limits, NodeType};

/// Somebody who waits at a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) session: usize,
    /// Tokens of its prompt; 0 if it is one token of an answer.
    pub(super) prompt_tokens: u32,
}

/// A node and who is there.
pub(super) struct Server<'k> {
    kind: &'k NodeType,
    limits: Limits,
    /// Where parts of the range begin, and its end: `parts + 1` layers.
    cuts: Vec<usize>,
    queues: Vec<VecDeque<Waiting>>,
    part: usize,
    batch: Option<Vec<Waiting>>,
    /// Tokens that came since the last batch began at the first part.
    unstaged: u64,
    bytes_per_token: f64,
    pub(super) batches: u64,
    pub(super) sequences: u64,
}

impl<'k> Server<'k> {
    /// A node that holds `range` and is entered at `entries`, in any order.
    pub(super) fn new(
        kind: &'k NodeType,
        range: &Range<usize>,
        entries: &[usize],
        bytes_per_token: f64,
    ) -> Self {
        let mut cuts: Vec<usize> = entries
            .iter()
            .copied()
            .filter(|entry| range.contains(entry))
            .collect();
        cuts.extend([range.start, range.end]);
        cuts.sort_unstable();
        cuts.dedup();
        let parts = cuts.len() - 1;
        Self {
            kind,
            limits: kind.limits[range.len() - 1],
            cuts,
            queues: (0..parts).map(|_| VecDeque::new()).collect(),
            part: 0,
            batch: None,
            unstaged: 0,
            bytes_per_token,
            batches: 0,
            sequences: 0,
        }
    }

    /// Somebody comes, to enter at a layer.
    pub(super) fn enter(&mut self, waiting: Waiting, entry: usize) {
        let part = self
            .cuts
            .iter()
            .position(|cut| *cut == entry)
            .expect("pipelines enter where the node was cut");
        self.unstaged += u64::from(waiting.prompt_tokens.max(1));
        self.queues[part].push_back(waiting);
    }

    /// Begins the next batch if the node is free and somebody waits; how long it takes, in seconds.
    pub(super) fn begin(&mut self) -> Option<f64> {
        if self.batch.is_some() {
            return None;
        }
        let parts = self.queues.len();
        let part = (self.part..self.part + parts)
            .map(|part| part % parts)
            .find(|part| !self.queues[*part].is_empty())?;
        self.part = part;
        let batch = self.take(part);
        let prompt_tokens: u64 = batch.iter().map(|waiting| u64::from(waiting.prompt_tokens)).sum();
        let sequences = batch.iter().filter(|waiting| waiting.prompt_tokens == 0).count();
        self.batches += 1;
        self.sequences += sequences as u64;
        let layers = (self.cuts[part + 1] - self.cuts[part]) as f64;
        let times = &self.kind.times;
        let layer = times.prompt.at(prompt_tokens as f64) + times.decode.at_least_one_step(sequences as f64);
        self.batch = Some(batch);
        Some(layers * layer + self.stage(part))
    }

    fn stage(&mut self, part: usize) -> f64 {
        if part > 0 {
            return 0.0;
        }
        std::mem::take(&mut self.unstaged) as f64 * self.bytes_per_token * STAGING
    }

    /// Whoever may go along, in order.
    fn take(&mut self, part: usize) -> Vec<Waiting> {
        let queue = &mut self.queues[part];
        let (mut prompts, mut tokens, mut sequences) = (0, 0, 0);
        let most = (self.limits.prompts_max * PROMPT_TOKENS_MAX) as u64;
        let mut taken = Vec::new();
        queue.retain(|waiting| {
            let length = u64::from(waiting.prompt_tokens);
            let goes = if length == 0 {
                sequences < self.limits.sequences_max
            } else {
                prompts == 0 || (prompts < self.limits.prompts_max && tokens + length <= most)
            };
            if goes {
                sequences += usize::from(length == 0);
                prompts += usize::from(length > 0);
                tokens += length;
                taken.push(*waiting);
            }
            !goes
        });
        taken
    }

    /// Ends the batch. Those who leave the node are returned; others wait for its next part.
    pub(super) fn end(&mut self) -> Vec<Waiting> {
        let batch = self.batch.take().unwrap_or_default();
        let next = self.part + 1;
        if next == self.queues.len() {
            self.part = 0;
            return batch;
        }
        self.queues[next].extend(batch);
        self.part = next;
        Vec::new()
    }
}
