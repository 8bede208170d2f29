//! Time of a single batch, as an engine runs it: what [`CostModel`](super::CostModel) adds up to requests.

use super::latency::{LONGEST, Source, stretch};
use crate::problem::{Candidate, Problem};
use crate::units::{LayerRange, Nanos, NodeOrd};

/// Rows that a stage computes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Rows of one prompt.
    Prompt {
        /// How many.
        rows: u32,
        /// Positions that the session holds before them.
        history: u64,
        /// Whether the prompt ends with them, so that the last stage samples a token.
        ends: bool,
    },
    /// One token of each of some sessions.
    Tokens {
        /// How many.
        sessions: u32,
        /// Positions that a session holds before it, on average.
        history: u64,
    },
    /// A token and those that were drafted after it, of each of some sessions; each is an output.
    Drafted {
        /// How many sessions.
        sessions: u32,
        /// Rows of each.
        rows: u32,
        /// Positions that a session holds before them, on average.
        history: u64,
    },
}

/// Time of a batch on a node that does nothing else, from message to message; `None` when nothing is known about the node's
/// speed, or it gives models no compute.
#[must_use]
pub fn batch_time(
    problem: &Problem,
    node: NodeOrd,
    candidate: Candidate,
    layers: LayerRange,
    batch: Batch,
) -> Option<Nanos> {
    let (model, variant) = problem.variant(candidate);
    let node = &problem.nodes[node.index()];
    if node.compute_share_milli == 0 {
        return None;
    }
    let source = Source::of(node, model, variant);
    let (first, last) = (layers.start == 0, layers.end == variant.num_layers());
    let is_prompt = matches!(batch, Batch::Prompt { .. });
    let corrected = |time| {
        if is_prompt {
            source.prompt(time)
        } else {
            source.token(time)
        }
    };
    let at = |time: Nanos| stretch(node, 0, corrected(time));
    let (rows, layer, last_layer, outputs) = match batch {
        Batch::Prompt { rows, history, ends } => {
            let attention = source.history(rows, history)?;
            let layer = at(source.layer(rows)? + attention);
            let last_layer = at(source.last_layer(rows)? + attention);
            (rows, layer, last_layer, u32::from(ends))
        }
        Batch::Tokens { sessions, history } => {
            let layer = at(source.layer(sessions)? + source.histories(sessions, history)?);
            (sessions, layer, layer, sessions)
        }
        Batch::Drafted {
            sessions,
            rows,
            history,
        } => {
            let attention = source.history(rows, history)?.times(u64::from(sessions));
            let all = sessions.saturating_mul(rows);
            let layer = at(source.layer(all)? + attention);
            (all, layer, layer, all)
        }
    };
    let equal_layers = layers.len() - u32::from(last);
    let mut time = layer.times(u64::from(equal_layers)) + node.message_overhead.min(LONGEST);
    if first {
        time += at(source.embedding(rows)?);
    }
    if last {
        time += last_layer;
        if outputs > 0 {
            time += stretch(node, 0, source.token(source.head(outputs)?));
        }
    }
    Some(time)
}
