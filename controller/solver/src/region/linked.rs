//! Searches for a layout of greatest flow where links bind: plans of segments first, then single intervals.
//!
//! Segments give each hop many links, which is what slow links need; intervals that overlap (partial inference) are better
//! where links are fast. So plans are searched by their maximum flow, and the best layout, or one that is given, is then
//! annealed node by node with the flow through every link computed anew for each move.

use std::ops::Range;

use super::search::{Goal, search};
use super::{Cluster, Layout, flow};
use crate::random::Random;
use crate::search::Budget;

/// A layout that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Linked {
    /// Tokens per second.
    pub flow: f64,
    /// The layout.
    pub layout: Layout,
}

/// Flows of a plan that are compared before single intervals are, of ten.
const TENTHS_FOR_PLANS: u64 = 6;
const STEPS_BETWEEN_QUESTIONS: u64 = 256;
/// What a layer's missing cover weighs beside flow: less than any real gain, but more than nothing on a plateau.
const COVER_WEIGHT: f64 = 0.05;

/// The best layout that is found with so many flows, beginning from `first` if that is better than the plans are.
#[must_use]
pub fn find(
    cluster: &Cluster,
    first: Option<&Layout>,
    upper: f64,
    seed: u64,
    budget: &Budget<'_>,
) -> Option<Linked> {
    let plans = Budget {
        steps: budget.steps / 10 * TENTHS_FOR_PLANS,
        cancelled: budget.cancelled,
    };
    let score = |plan: &super::convoy::Plan| {
        let layout = plan.layout();
        layout
            .check(cluster)
            .is_ok()
            .then(|| flow::max_flow(cluster, &layout).value)
            .filter(|flow| *flow > 0.0)
    };
    let best = search(
        Goal {
            cluster,
            score: &score,
        },
        seed,
        &plans,
    )
    .into_iter()
    .next();
    let planned = best.map(|found| found.plan.layout());
    let start = planned
        .iter()
        .chain(first)
        .max_by(|one, other| value(cluster, one).total_cmp(&value(cluster, other)))?;
    let left = Budget {
        steps: budget.steps - plans.steps,
        cancelled: budget.cancelled,
    };
    Some(anneal(cluster, start, upper, seed, &left))
}

fn value(cluster: &Cluster, layout: &Layout) -> f64 {
    flow::max_flow(cluster, layout).value
}

#[allow(clippy::cast_precision_loss, reason = "a temperature")]
fn anneal(cluster: &Cluster, first: &Layout, upper: f64, seed: u64, budget: &Budget<'_>) -> Linked {
    let mut random = Random::seeded(seed);
    let mut at = first.clone();
    let mut score = scored(cluster, &at, upper);
    let mut best = Linked {
        flow: value(cluster, first),
        layout: first.clone(),
    };
    for step in 0..budget.steps {
        if step.is_multiple_of(STEPS_BETWEEN_QUESTIONS) && (budget.cancelled)() {
            break;
        }
        let left = 1.0 - step as f64 / budget.steps as f64;
        let temperature = upper * (0.01 * left * left + 1e-5);
        let node = random.below(cluster.nodes.len());
        let Some(range) = neighbour(cluster, node, &at.0[node], &mut random) else {
            continue;
        };
        let old = std::mem::replace(&mut at.0[node], range);
        let new = scored(cluster, &at, upper);
        if new.1 >= score.1 || random.unit() < ((new.1 - score.1) / temperature).exp() {
            score = new;
            if score.0 > best.flow {
                best = Linked {
                    flow: score.0,
                    layout: at.clone(),
                };
            }
        } else {
            at.0[node] = old;
        }
    }
    best
}

/// The flow, and the flow with what layers are covered beyond it, up to the bound.
#[allow(clippy::cast_precision_loss, reason = "layers are few")]
fn scored(cluster: &Cluster, layout: &Layout, upper: f64) -> (f64, f64) {
    let flow = value(cluster, layout);
    let mut passed = vec![0.0; cluster.num_layers];
    for (node, range) in layout.holders() {
        let rate = cluster.tokens_per_second(node, range);
        passed[range.clone()]
            .iter_mut()
            .for_each(|passed| *passed += rate);
    }
    let covered: f64 = passed.iter().map(|passed| passed.min(upper)).sum();
    (flow, flow + COVER_WEIGHT * covered / cluster.num_layers as f64)
}

/// Another interval: anywhere, moved a little, or with one end moved by one layer.
fn neighbour(
    cluster: &Cluster,
    node: usize,
    old: &Range<usize>,
    random: &mut Random,
) -> Option<Range<usize>> {
    let (most, end) = (
        cluster.type_of(node).layers_max().min(cluster.num_layers),
        cluster.num_layers,
    );
    if most == 0 {
        return None;
    }
    let new = match random.below(4) {
        0 => {
            let layers = 1 + random.below(most);
            let start = random.below(end - layers + 1);
            start..start + layers
        }
        1 => {
            let start = (old.start + random.below(7))
                .saturating_sub(3)
                .min(end - old.len());
            start..start + old.len()
        }
        2 => (old.start + random.below(3)).saturating_sub(1)..old.end,
        _ => old.start..(old.end + random.below(3)).saturating_sub(1),
    };
    (!new.is_empty() && new.len() <= most && new.end <= end && new != *old).then_some(new)
}
