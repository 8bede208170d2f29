//! The bound: prices on what everybody wants, and everybody's best answer to them.
//!
//! With a price `μ_g ≥ 0` on a request of class `g`, and for each node `n` a price `β_n` on its busy time and `π_n` on memory
//! for stages of split pipelines, every choice of prices bounds every plan (Lagrangian decomposition, Dantzig and Wolfe):
//!
//! ```text
//! bound = Σ_g rate_g · max(μ_g, value_g − floor_g(β, π))                    answers by several nodes: see `floor`
//!       + Σ_n β_n · busy_n
//!       + Σ_n max over packings X of n, with y bytes left:  Σ_{i ∈ X} Σ_g f_gi · (net_gi − μ_g − β_n · busy_i) − loading(X)
//!                                                           + π_n · y
//!         with 0 ≤ f_gi ≤ rate_g, Σ_g f_gi ≤ rate_i, Σ_gi busy_i · f_gi ≤ busy_n
//! ```
//!
//! A node's packing stays whole (a set-union knapsack: weights are stored once for all that share them), an item serves a
//! class only if it is there, and what is there shares the node's time (`shared`): a price alone would let half of one packing
//! and half of another take the time that neither has. That is what makes the bound tighter than the linear program's. A
//! battery limits each item for itself; links bind plans and not the bound. Prices move as `descent` says.

use std::num::NonZeroUsize;

use super::descent::Descent;
use super::floor::{Floor, NodePrices, floors};
use super::index::Index;
use super::packing::{Packing, Side, Taken};
use crate::caching::pack::as_f64;
use crate::caching::parallel::for_parts;
use crate::search::Meter;

/// Progress that counts, as a share of the bound.
const PROGRESS: f64 = 1e-5;

/// Parts of an answer's worth that prices may begin at.
const STARTS: [f64; 4] = [1.0, 0.25, 0.05, 0.0];

/// Covers rounding when some millions of doubles are added up.
const ROUNDING: f64 = 1e-9;

/// Below this many nodes per thread, starting one costs more than it saves.
const NODES_MIN: usize = 16;

/// One figure for each class, and two for each node: prices in worth for each unit, or amounts.
#[derive(Clone, Debug, Default)]
pub(super) struct Prices {
    /// Of a request, by class.
    pub(super) request: Vec<f64>,
    /// Of a nanosecond at a rate of one, by node.
    pub(super) busy: Vec<f64>,
    /// Of a byte for split stages, by node.
    pub(super) memory: Vec<f64>,
}

impl Prices {
    fn zero(classes: usize, nodes: usize) -> Self {
        Self {
            request: vec![0.0; classes],
            busy: vec![0.0; nodes],
            memory: vec![0.0; nodes],
        }
    }
}

/// Prices, the best bound that they gave, and where they move.
#[derive(Clone, Debug)]
pub(super) struct Dual {
    floors: Vec<Floor>,
    prices: Prices,
    /// Those of the best bound.
    pub(super) best: Prices,
    best_bound: f64,
    best_worths: Vec<f64>,
    /// Busy time that nodes had when the best bound was found.
    supplied: Vec<f64>,
    /// Worth of one more byte on each node, at the best prices.
    pub(super) densities: Vec<f64>,
    sides: Vec<Side>,
    descent: Descent,
}

impl Dual {
    pub(super) fn new(index: &Index) -> Self {
        let (classes, nodes) = (index.problem.classes.len(), index.shelves.len());
        let floors = floors(index);
        let zero = Prices::zero(classes, nodes);
        let prices = Prices {
            request: index.worth_max.iter().map(|most| *most as f64).collect(),
            ..zero.clone()
        };
        Self {
            best: prices.clone(),
            best_bound: f64::INFINITY,
            best_worths: vec![0.0; nodes],
            supplied: vec![0.0; nodes],
            densities: vec![0.0; nodes],
            sides: vec![Side::default(); nodes],
            descent: Descent::new(scales(index, !floors.is_empty()), zero),
            prices,
            floors,
        }
    }

    /// No plan is worth more.
    #[allow(clippy::cast_possible_truncation, reason = "far below 2^127")]
    pub(super) fn bound(&self, index: &Index) -> i128 {
        if !self.best_bound.is_finite() {
            return index.problem.demanded();
        }
        let covered = self.best_bound + self.best_bound.abs() * ROUNDING + 1.0;
        index.problem.demanded().min(covered.ceil() as i128)
    }

    /// What split answers cost at least, for services that may be split.
    pub(super) fn floors(&self) -> &[Floor] {
        &self.floors
    }

    /// Takes up to so many steps, fewer when the meter ends or the bound reaches `known`, the worth of a plan.
    #[allow(clippy::cast_precision_loss, reason = "a target, not a proof")]
    pub(super) fn descend(
        &mut self,
        index: &Index,
        threads: NonZeroUsize,
        known: i128,
        num_steps: u32,
        meter: &mut Meter<'_>,
    ) {
        let supplies = supplies(index);
        if !self.best_bound.is_finite() {
            self.begin(index, threads, meter);
        }
        for _ in 0..num_steps {
            if !meter.spend(0) || self.bound(index) <= known {
                return;
            }
            let (bound, usage, steps) = self.evaluate(index, threads);
            meter.spend(steps);
            self.remember(index, bound);
            // A target between the best plan and the bound: plans of large problems are not optimal, and never reached.
            let target = (known as f64).max(self.best_bound * 0.9);
            let excess = (bound - target).max(bound * 1e-3);
            if !self.descent.advance(&mut self.prices, &supplies, &usage, excess) {
                return;
            }
        }
    }

    /// Looks for where to begin: prices are near all that an answer is worth where little can be answered, and near nothing
    /// where nearly all can.
    fn begin(&mut self, index: &Index, threads: NonZeroUsize, meter: &mut Meter<'_>) {
        let dearest = self.prices.request.clone();
        for part in STARTS {
            if !meter.spend(0) {
                break;
            }
            let prices = dearest.iter().map(|price| price * part);
            self.prices.request = prices.collect();
            let (bound, _, steps) = self.evaluate(index, threads);
            meter.spend(steps);
            // The bound is convex: where it begins to rise, it goes on rising.
            let rises = bound > self.best_bound;
            self.remember(index, bound);
            if rises {
                break;
            }
        }
        self.prices.clone_from(&self.best);
    }

    /// The bound at the prices, and what everybody would take.
    fn evaluate(&mut self, index: &Index, threads: NonZeroUsize) -> (f64, Prices, u64) {
        let prices = &self.prices;
        let (split_bound, mut usage) = split_side(index, &self.floors, prices);
        let parts = for_parts(threads, NODES_MIN, &mut self.sides, |first, sides| {
            let mut packing = Packing::new(index, prices);
            let mut taken = Taken::default();
            for (node, side) in (first..).zip(sides) {
                packing.node(node, side, Some(&mut taken));
            }
            (taken, packing.steps)
        });
        let mut steps = index.problem.classes.len() as u64;
        for (taken, part_steps) in parts {
            steps += part_steps;
            for (class, rate) in taken.requests {
                usage.request[class as usize] += rate;
            }
            for (node, busy, bytes) in taken.nodes {
                usage.busy[node] += busy;
                usage.memory[node] += bytes;
            }
        }
        let busy: f64 = prices
            .busy
            .iter()
            .zip(&index.supplies.busy)
            .map(|(price, busy)| price * as_f64(*busy))
            .sum();
        let worths: f64 = self.sides.iter().map(|side| side.worth).sum();
        (split_bound + busy + worths, usage, steps)
    }

    /// Keeps the prices if their bound is the best; goes back to those where steps led astray.
    fn remember(&mut self, index: &Index, bound: f64) {
        let progress =
            self.best_bound.is_infinite() || bound < self.best_bound - PROGRESS * self.best_bound.abs();
        if bound < self.best_bound {
            self.best_bound = bound;
            self.best.clone_from(&self.prices);
            self.best_worths = self.sides.iter().map(|side| side.worth).collect();
            self.supplied = index.supplies.busy.iter().map(|busy| as_f64(*busy)).collect();
            self.densities = self.sides.iter().map(|side| side.density).collect();
        }
        if self.descent.is_astray(progress) {
            self.prices.clone_from(&self.best);
        }
    }

    /// Finds a node's part of the best bound anew, after what it has to give changed.
    pub(super) fn rebound(&mut self, index: &Index, node: usize) {
        if !self.best_bound.is_finite() {
            return;
        }
        let side = &mut self.sides[node];
        Packing::new(index, &self.best).node(node, side, None);
        let supplied = self.best.busy[node] * (as_f64(index.supplies.busy[node]) - self.supplied[node]);
        self.supplied[node] = as_f64(index.supplies.busy[node]);
        self.best_bound += side.worth - self.best_worths[node] + supplied;
        self.best_worths[node] = side.worth;
        self.densities[node] = side.density;
    }

    /// More is possible than was, at most by so much.
    #[allow(clippy::cast_precision_loss, reason = "rounding is covered")]
    pub(super) fn raise(&mut self, by: i128) {
        self.best_bound += by as f64 * (1.0 + ROUNDING);
    }
}

/// What there is of everything that has a price.
fn supplies(index: &Index) -> Prices {
    let whole = |amounts: &[u64]| amounts.iter().map(|amount| as_f64(*amount)).collect();
    let classes = index.problem.classes.iter();
    Prices {
        request: classes.map(|class| as_f64(class.rate_micro)).collect(),
        busy: whole(&index.supplies.busy),
        memory: whole(&index.supplies.room),
    }
}

/// How much a price is expected to be, so that steps of all have the same length; nothing where it serves no purpose: without
/// split answers, nodes share out their time and memory themselves.
fn scales(index: &Index, may_split: bool) -> Prices {
    let classes = &index.problem.classes;
    let request: Vec<f64> = classes.iter().map(|class| as_f64(class.value.0)).collect();
    let worths = request.iter().zip(classes);
    let worth: f64 = worths.map(|(most, class)| most * as_f64(class.rate_micro)).sum();
    let nodes = index.shelves.len();
    let each = |supplies: &[u64]| {
        let all: f64 = supplies.iter().map(|supply| as_f64(*supply)).sum();
        vec![if may_split { worth / all.max(1.0) } else { 0.0 }; nodes]
    };
    Prices {
        request,
        busy: each(&index.supplies.busy),
        memory: each(&index.supplies.room),
    }
}

/// The part of classes: their prices, or what a split answer is worth beyond its floor.
fn split_side(index: &Index, floors: &[Floor], prices: &Prices) -> (f64, Prices) {
    let mut best: Vec<f64> = prices.request.clone();
    let mut chosen: Vec<Option<u32>> = vec![None; best.len()];
    let node_prices = NodePrices {
        busy: &prices.busy,
        memory: &prices.memory,
    };
    let filled: Vec<_> = floors.iter().map(|floor| floor.fill(node_prices)).collect();
    for ((position, floor), filled) in (0..).zip(floors).zip(&filled) {
        for &(class, way) in floor.classes() {
            let net = as_f64(index.class(class).value.0) - way - filled.cost;
            if net > best[class as usize] {
                best[class as usize] = net;
                chosen[class as usize] = Some(position);
            }
        }
    }
    let mut usage = Prices::zero(best.len(), prices.busy.len());
    let mut bound = 0.0;
    let mut rates: Vec<f64> = vec![0.0; floors.len()];
    for (class, worth) in best.into_iter().enumerate() {
        let rate = as_f64(index.problem.classes[class].rate_micro);
        bound += rate * worth;
        if let Some(floor) = chosen[class] {
            usage.request[class] += rate;
            rates[floor as usize] += rate;
        }
    }
    for (filled, rate) in filled.iter().zip(rates).filter(|(_, rate)| *rate > 0.0) {
        for &(node, busy, bytes) in &filled.uses {
            usage.busy[node as usize] += rate * busy;
            usage.memory[node as usize] += rate * bytes;
        }
    }
    (bound, usage)
}
