//! Prices of memory, and the bound that they prove.
//!
//! With a price `π_n ≥ 0` of a byte on each node, for every choice of pipelines that fits
//!
//! ```text
//! Σ_s cost_s ≥ Σ_s min over pipelines P of s: cost(P) + Σ_n π_n · bytes_n(P)   −   Σ_n π_n · room_n
//! ```
//!
//! if `bytes` is never more than what the pipelines take together: weights that `k` services of the level could share count
//! one `k`th for each. One stage is looked at on every node; split pipelines are bounded by the exact search for one, with
//! the prices as charges on layers and stages. Prices follow the subgradient (what is wanted beyond the room) with Polyak's
//! step towards the cost of the best choice.

use super::Level;
use super::columns::{Column, Columns, split_only};
use crate::cost::MemoryModel;
use crate::problem::{Candidate, Problem, Service};
use crate::search::budget::Meter;
use crate::search::instance::NEVER;
use crate::search::residual::Residual;
use crate::search::survey::Survey;
use crate::units::{Bytes, LayerRange, Nanos, NodeOrd};

/// Steps of the prices, at most.
const STEPS_MAX: u32 = 60;

/// Weight of the newest subgradient.
const NEWEST: f64 = 0.6;

/// How much a step shrinks, and after how many without a better bound.
const SHRINK: f64 = 0.6;
const STALLED_MAX: u32 = 3;

/// Steps of work for one search at some prices.
const SEARCH_STEPS: u64 = 4_000_000;

/// Covers rounding of sums of doubles.
const ROUNDING: f64 = 1e-9;

/// What a byte is worth on each node, in nanoseconds of cost.
#[derive(Clone, Debug)]
pub(super) struct Prices {
    pub(super) by_byte: Vec<f64>,
}

impl Prices {
    pub(super) fn none(level: &Level<'_>) -> Self {
        Self {
            by_byte: vec![0.0; level.problem.nodes.len()],
        }
    }

    /// What some memory costs.
    pub(super) fn of(&self, memory: &[(u32, f64)]) -> f64 {
        let price = |(node, bytes): &(u32, f64)| self.by_byte[*node as usize] * bytes;
        memory.iter().map(price).sum()
    }

    /// What all memory costs that is left.
    pub(super) fn room(&self, problem: &Problem, residual: &Residual) -> f64 {
        let priced = self.by_byte.iter().enumerate().filter(|(_, price)| **price > 0.0);
        priced
            .map(|(node, price)| price * room(problem, residual, node))
            .sum()
    }
}

/// Memory for stages of a node: what is free, the worker taken off unless it is there.
fn room(problem: &Problem, residual: &Residual, node: usize) -> f64 {
    let engine = &problem.nodes[node].engine;
    let worker = if residual.has_worker(node) {
        0.0
    } else {
        as_f64(engine.worker.0) * (1.0 + f64::from(engine.margin_milli) / 1_000.0)
    };
    (as_f64(residual.free[node].0) - worker).max(0.0)
}

/// The best prices that the budget allows, and what they prove; columns that were cheapest at some prices are added.
pub(super) fn descend(
    level: &Level<'_>,
    columns: &mut Columns,
    known: u64,
    meter: &mut Meter<'_>,
) -> (Prices, u64) {
    let nodes = level.problem.nodes.len();
    let rooms: Vec<f64> = (0..nodes)
        .map(|node| room(level.problem, level.residual, node))
        .collect();
    // Of the whole room of a node, so that steps of all are of one size.
    let mut whole = vec![0.0; nodes];
    let mut direction = vec![0.0; nodes];
    let (mut best, mut best_bound) = (Prices::none(level), f64::NEG_INFINITY);
    let (mut step, mut stalled) = (1.0, 0);
    for turn in 0..STEPS_MAX {
        if !meter.spend(nodes as u64) {
            break;
        }
        let by_byte = whole
            .iter()
            .zip(&rooms)
            .map(|(price, room)| if *room > 0.0 { price / room } else { 0.0 });
        let prices = Prices {
            by_byte: by_byte.collect(),
        };
        let (bound, wanted) = evaluate(level, columns, &prices, meter);
        let better = bound > best_bound + as_f64(known) * 1e-6;
        stalled = if better { 0 } else { stalled + 1 };
        if bound > best_bound {
            (best, best_bound) = (prices, bound);
        }
        if stalled > STALLED_MAX {
            (step, stalled) = (step * SHRINK, 0);
        }
        if below(best_bound) >= known {
            break;
        }
        let newest = if turn == 0 { 1.0 } else { NEWEST };
        let mut norm = 0.0;
        for node in (0..nodes).filter(|node| rooms[*node] > 0.0) {
            let excess = (wanted[node] / rooms[node] - 1.0).min(10.0);
            direction[node] = (1.0 - newest) * direction[node] + newest * excess;
            if whole[node] > 0.0 || direction[node] > 0.0 {
                norm += direction[node] * direction[node];
            }
        }
        if norm < 1e-12 {
            break;
        }
        let length = step * (as_f64(known) - bound).max(as_f64(known) * 1e-4) / norm;
        for node in 0..nodes {
            whole[node] = (whole[node] + length * direction[node]).max(0.0);
        }
    }
    (best, below(best_bound))
}

/// The bound at some prices, and the bytes that everybody's cheapest pipelines want.
fn evaluate(
    level: &Level<'_>,
    columns: &mut Columns,
    prices: &Prices,
    meter: &mut Meter<'_>,
) -> (f64, Vec<f64>) {
    let mut bound = -prices.room(level.problem, level.residual);
    let mut wanted = vec![0.0; level.problem.nodes.len()];
    for position in 0..level.services.len() {
        if columns.floor_of(position) >= NEVER {
            continue;
        }
        let priced = |column: &&Column| as_f64(column.cost) + prices.of(&column.charged);
        let least = |one: &&Column, other: &&Column| {
            priced(one)
                .total_cmp(&priced(other))
                .then(one.shape.cmp(&other.shape))
        };
        meter.spend(columns.whole(position).len() as u64);
        let whole = columns.whole(position).iter().min_by(least).cloned();
        let mut cost = whole.as_ref().map_or(f64::INFINITY, |column| priced(&column));
        if let Some(column) = &whole {
            columns.add(level, position, &column.shape);
        }
        if as_f64(columns.split_floor(position)) < cost {
            cost = cost.min(split_bound(level, columns, position, prices, meter));
        }
        bound += cost;
        let chosen = columns.of(position).iter().min_by(least);
        for (node, bytes) in chosen.into_iter().flat_map(|column| &column.charged) {
            wanted[*node as usize] += bytes;
        }
    }
    (bound, wanted)
}

/// What a split pipeline of a service costs at least at some prices; those that were found become columns.
fn split_bound(
    level: &Level<'_>,
    columns: &mut Columns,
    position: usize,
    prices: &Prices,
    meter: &mut Meter<'_>,
) -> f64 {
    let floor = columns.split_floor(position);
    let Some(asked) = split_only(level.service(position)) else {
        return as_f64(floor);
    };
    let mut survey = Survey::new(level.problem, level.links, &asked, level.residual);
    for (candidate, cost) in survey.candidates.iter().zip(&mut survey.costs) {
        let sharers = columns.sharers(*candidate);
        cost.charge(charges(level, &asked, *candidate, sharers, prices));
    }
    let (finds, _) = survey.search_within(meter.at_most(SEARCH_STEPS), meter);
    let mut found: Vec<_> = finds.split.iter().collect();
    found.sort_by(|one, other| (one.value, &one.shape).cmp(&(other.value, &other.shape)));
    for priced in found.into_iter().take(4) {
        columns.add(level, position, &priced.shape);
    }
    as_f64(finds.lower_bound.max(floor))
}

/// What the memory of a stage costs on each node at least: for each layer, and once.
fn charges(
    level: &Level<'_>,
    service: &Service,
    candidate: Candidate,
    sharers: u32,
    prices: &Prices,
) -> Vec<(Nanos, Nanos)> {
    let (model, variant) = level.problem.variant(candidate);
    let layers = variant.num_layers();
    let memory = MemoryModel::new(service, model, variant);
    let least = variant.layer_bytes.iter().copied().min().unwrap_or(Bytes::ZERO);
    let weights = least.times(u64::from(variant.resident_milli)).0 / 1_000;
    let mut charges = vec![(Nanos::ZERO, Nanos::ZERO); level.problem.nodes.len()];
    for (index, price) in prices
        .by_byte
        .iter()
        .enumerate()
        .filter(|(_, price)| **price > 0.0)
    {
        let (node, ord) = (&level.problem.nodes[index], NodeOrd::from_index(index));
        let stage = memory.stage(node, LayerRange::new(0, layers), Default::default());
        let held = level.residual.held(ord, candidate).next().is_some();
        let shared = if held {
            0.0
        } else {
            as_f64(weights) / f64::from(sharers)
        };
        let by_layer = as_f64(stage.kv_cache.0 / u64::from(layers)) + shared;
        let once = as_f64((stage.compute + stage.stage).0);
        let with_margin = price * (1.0 + f64::from(node.engine.margin_milli) / 1_000.0);
        charges[index] = (
            Nanos(whole(by_layer * with_margin)),
            Nanos(whole(once * with_margin)),
        );
    }
    charges
}

/// A size or a cost as a double.
#[allow(clippy::cast_precision_loss, reason = "rounding is covered where it matters")]
pub(super) fn as_f64(whole: u64) -> f64 {
    whole as f64
}

/// The whole part.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before"
)]
pub(super) fn whole(real: f64) -> u64 {
    real.clamp(0.0, as_f64(1 << 53)) as u64
}

/// A whole number that is surely not above a sum of doubles.
pub(super) fn below(real: f64) -> u64 {
    whole(real - real.abs() * ROUNDING - 1.0)
}
