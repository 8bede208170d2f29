//! The bound: prices on what everybody wants, and everybody's best answer to them.
//!
//! With a price `μ_g ≥ 0` on a request of class `g`, and for each node `n` a price `β_n` on its busy time and `π_n` on memory
//! for stages of split pipelines, every choice of prices bounds every plan (Lagrangian decomposition, Dantzig and Wolfe):
//!
//! ```text
//! bound = Σ_g rate_g · max(μ_g, value_g − floor_g(β, π))                    answers by several nodes: see `floor`
//!       + Σ_n β_n · busy_n
//!       + Σ_n max over packings X of n, with y bytes left:  Σ_{i ∈ X} worth_i(μ, β) − loading(X) + π_n · y
//! worth_i = max Σ_g f_g · (net_gi − μ_g − β_n · busy_i)   with 0 ≤ f_g ≤ rate_g, Σ_g f_g ≤ rate_i
//! ```
//!
//! A node's packing stays whole (a set-union knapsack: weights are stored once for all that share them), and an item serves a
//! class only if it is there. That is what makes the bound tighter than the linear program's. Links and batteries bind plans
//! and not the bound. Prices move along an average of the subgradients (volume algorithm, Barahona and Anbil 2000), as in
//! [`caching`](crate::caching).

use std::num::NonZeroUsize;

use super::floor::{Floor, NodePrices, floors};
use super::index::{Index, Item, Shelf};
use crate::caching::pack::{FamilyEnumeration, Fill, Pack, Packed, as_f64};
use crate::caching::parallel::for_parts;
use crate::search::Meter;

/// Weight of the newest subgradient in the average.
const NEWEST: f64 = 0.25;

/// First share of Polyak's step, its shrinking, and the number of steps without progress after which it shrinks.
const STEP_FIRST: f64 = 0.5;
const STEP_SHRINK: f64 = 0.7;
const STALLED_MAX: u32 = 4;

/// Progress that counts, as a share of the bound.
const PROGRESS: f64 = 1e-5;

/// Covers rounding when some millions of doubles are added up.
const ROUNDING: f64 = 1e-9;

/// Nodes of the exact filling for each set of variants on a node.
const FILL_NODES_MAX: u32 = 400;

/// Below this many nodes per thread, starting one costs more than it saves.
const NODES_MIN: usize = 16;

/// Prices, in worth for each unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Prices {
    /// Of a request, by class.
    pub(super) request: Vec<f64>,
    /// Of a nanosecond at a rate of one, by node.
    pub(super) busy: Vec<f64>,
    /// Of a byte for split stages, by node.
    pub(super) memory: Vec<f64>,
}

/// A node's part.
#[derive(Clone, Debug, Default)]
struct Side {
    hint: f64,
    /// Bound on the worth of its packing, memory that is left included.
    worth: f64,
    /// Worth of one more byte.
    density: f64,
}

/// What answers take at some prices.
#[derive(Clone, Debug, Default)]
struct Usage {
    request: Vec<f64>,
    busy: Vec<f64>,
    memory: Vec<f64>,
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
    direction: Prices,
    scales: Prices,
    step: f64,
    stalled: u32,
    num_steps: u32,
}

impl Dual {
    pub(super) fn new(index: &Index) -> Self {
        let (classes, nodes) = (index.problem.classes.len(), index.shelves.len());
        let floors = floors(index);
        let zero = Prices {
            request: vec![0.0; classes],
            busy: vec![0.0; nodes],
            memory: vec![0.0; nodes],
        };
        let scales = scales(index, &floors);
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
            direction: zero,
            prices,
            scales,
            floors,
            step: STEP_FIRST,
            stalled: 0,
            num_steps: 0,
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
        for _ in 0..num_steps {
            if !meter.spend(0) || self.bound(index) <= known {
                return;
            }
            let (bound, usage, steps) = self.evaluate(index, threads);
            meter.spend(steps);
            self.remember(index, bound);
            // A target between the best plan and the bound: plans of large problems are not optimal, and never reached.
            let target = (known as f64).max(self.best_bound * 0.9);
            if !self.advance(index, &usage, (bound - target).max(bound * 1e-3)) {
                return;
            }
        }
    }

    /// The bound at the prices, and what everybody would take.
    fn evaluate(&mut self, index: &Index, threads: NonZeroUsize) -> (f64, Usage, u64) {
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

    /// Keeps the prices if their bound is the best, and shortens steps that bring nothing.
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
        self.stalled = if progress { 0 } else { self.stalled + 1 };
        if self.stalled >= STALLED_MAX {
            (self.step, self.stalled) = (self.step * STEP_SHRINK, 0);
            // On from the best: steps that led astray are not gone on from.
            self.prices.clone_from(&self.best);
        }
        self.num_steps += 1;
    }

    /// One step; `false` where there is no direction to descend in.
    fn advance(&mut self, index: &Index, usage: &Usage, excess: f64) -> bool {
        let newest = if self.num_steps == 1 { 1.0 } else { NEWEST };
        let rates: Vec<f64> = index
            .problem
            .classes
            .iter()
            .map(|class| as_f64(class.rate_micro))
            .collect();
        let busy: Vec<f64> = index.supplies.busy.iter().map(|busy| as_f64(*busy)).collect();
        let room: Vec<f64> = index.supplies.room.iter().map(|room| as_f64(*room)).collect();
        let (prices, scales, direction) = (&mut self.prices, &self.scales, &mut self.direction);
        let mut groups = [
            Group::new(
                &mut prices.request,
                &mut direction.request,
                &scales.request,
                &rates,
                &usage.request,
            ),
            Group::new(
                &mut prices.busy,
                &mut direction.busy,
                &scales.busy,
                &busy,
                &usage.busy,
            ),
            Group::new(
                &mut prices.memory,
                &mut direction.memory,
                &scales.memory,
                &room,
                &usage.memory,
            ),
        ];
        let norm: f64 = groups.iter_mut().map(|group| group.turn(newest)).sum();
        if norm <= 0.0 || excess <= 0.0 {
            return false;
        }
        let length = self.step * excess / norm;
        groups.iter_mut().for_each(|group| group.go(length));
        true
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

/// Prices of one kind on their way.
struct Group<'a> {
    prices: &'a mut [f64],
    direction: &'a mut [f64],
    scales: &'a [f64],
    supplies: &'a [f64],
    usage: &'a [f64],
}

impl<'a> Group<'a> {
    fn new(
        prices: &'a mut [f64],
        direction: &'a mut [f64],
        scales: &'a [f64],
        supplies: &'a [f64],
        usage: &'a [f64],
    ) -> Self {
        Self {
            prices,
            direction,
            scales,
            supplies,
            usage,
        }
    }

    /// Turns towards what is taken beyond the supply, in parts of it; returns how much there is to gain.
    fn turn(&mut self, newest: f64) -> f64 {
        let mut norm = 0.0;
        for (position, direction) in self.direction.iter_mut().enumerate() {
            let (supply, scale) = (self.supplies[position], self.scales[position]);
            if supply <= 0.0 || scale <= 0.0 {
                continue;
            }
            let excess = (self.usage[position] / supply - 1.0).min(20.0);
            *direction = (1.0 - newest) * *direction + newest * excess;
            let leaves = self.prices[position] <= 0.0 && *direction < 0.0;
            if !leaves {
                norm += *direction * *direction * scale * supply;
            }
        }
        norm
    }

    fn go(&mut self, length: f64) {
        for (position, price) in self.prices.iter_mut().enumerate() {
            let scale = self.scales[position];
            let next = *price + length * scale * self.direction[position];
            *price = next.clamp(0.0, scale * 50.0);
        }
    }
}

/// How much a price is expected to be, so that steps of all have the same length.
fn scales(index: &Index, floors: &[Floor]) -> Prices {
    let request: Vec<f64> = (0..index.problem.classes.len())
        .map(|class| as_f64(index.problem.classes[class].value.0))
        .collect();
    let worth: f64 = request
        .iter()
        .zip(&index.problem.classes)
        .map(|(most, class)| most * as_f64(class.rate_micro))
        .sum();
    let all = |supplies: &[u64]| {
        supplies
            .iter()
            .map(|supply| as_f64(*supply))
            .sum::<f64>()
            .max(1.0)
    };
    let nodes = index.shelves.len();
    let busy = vec![worth / all(&index.supplies.busy); nodes];
    let memory = if floors.is_empty() {
        0.0
    } else {
        worth / all(&index.supplies.room)
    };
    Prices {
        request,
        busy,
        memory: vec![memory; nodes],
    }
}

/// The part of classes: their prices, or what a split answer is worth beyond its floor.
fn split_side(index: &Index, floors: &[Floor], prices: &Prices) -> (f64, Usage) {
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
    let mut usage = Usage {
        request: vec![0.0; best.len()],
        busy: vec![0.0; prices.busy.len()],
        memory: vec![0.0; prices.memory.len()],
    };
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

/// What nodes take at some prices.
#[derive(Debug, Default)]
struct Taken {
    /// (class, rate).
    requests: Vec<(u32, f64)>,
    /// (node, busy time, bytes).
    nodes: Vec<(usize, f64, f64)>,
}

/// Packs nodes at some prices.
struct Packing<'a> {
    index: &'a Index,
    prices: &'a Prices,
    packer: FamilyEnumeration,
    packed: Packed,
    values: Vec<f64>,
    gains: Vec<(f64, u32)>,
    steps: u64,
}

impl<'a> Packing<'a> {
    fn new(index: &'a Index, prices: &'a Prices) -> Self {
        Self {
            index,
            prices,
            packer: FamilyEnumeration::default(),
            packed: Packed::default(),
            values: Vec::new(),
            gains: Vec::new(),
            steps: 0,
        }
    }

    fn node(&mut self, node: usize, side: &mut Side, taken: Option<&mut Taken>) {
        let shelf = &self.index.shelves[node];
        let memory = self.prices.memory[node];
        self.values.clear();
        for position in 0..shelf.items().len() {
            let item = &self.index.items[shelf.start + position];
            let worth = self.worth(item, node);
            self.steps += item.pairs.len() as u64 + 1;
            self.values.push(worth - memory * shelf.bytes(position));
        }
        let room = self.index.supplies.room[node];
        let loads = memory_prices(shelf, memory, self.index);
        let mut knapsack = shelf.knapsack(&self.index.library, room, &self.values);
        if let Some(loads) = &loads {
            knapsack.chunk_prices = loads;
        }
        self.packer.pack(
            &knapsack,
            Fill::Exact(FILL_NODES_MAX),
            side.hint,
            &mut self.packed,
        );
        self.steps += self.packed.steps;
        side.hint = self.packed.price;
        side.density = self.packed.price + memory;
        side.worth = self.packed.bound.max(0.0) + memory * as_f64(room);
        if let Some(taken) = taken {
            self.take(node, taken);
        }
    }

    /// What the items of the packing serve.
    fn take(&mut self, node: usize, taken: &mut Taken) {
        let shelf = &self.index.shelves[node];
        let chosen = std::mem::take(&mut self.packed.items);
        let (mut busy, mut bytes) = (0.0, 0.0);
        let mut held: Vec<crate::problem::Candidate> = Vec::new();
        for &position in &chosen {
            let item = &self.index.items[shelf.start + position as usize];
            let part = item.figures.parts[0];
            bytes += as_f64(part.own);
            if !held.contains(&item.shape.candidate) {
                held.push(item.shape.candidate);
                bytes += as_f64(part.weights);
            }
            self.worth(item, node);
            let mut left = as_f64(item.figures.rate_max);
            for &(_, class) in &self.gains {
                let rate = as_f64(self.index.class(class).rate_micro).min(left);
                taken.requests.push((class, rate));
                busy += rate * as_f64(part.busy);
                left -= rate;
                if left <= 0.0 {
                    break;
                }
            }
        }
        self.packed.items = chosen;
        taken.nodes.push((node, busy, bytes));
    }

    /// Worth of an item; leaves its gains, the greatest first where not all can be had.
    fn worth(&mut self, item: &Item, node: usize) -> f64 {
        let busy = self.prices.busy[node] * as_f64(item.figures.parts[0].busy);
        self.gains.clear();
        let (mut worth, mut wanted) = (0.0, 0.0);
        for pair in &item.pairs {
            let gain = pair.net as f64 - self.prices.request[pair.class as usize] - busy;
            if gain > 0.0 {
                let rate = as_f64(self.index.class(pair.class).rate_micro);
                (worth, wanted) = (worth + gain * rate, wanted + rate);
                self.gains.push((gain, pair.class));
            }
        }
        let most = as_f64(item.figures.rate_max);
        if wanted <= most {
            return worth;
        }
        self.gains
            .sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let mut left = most;
        worth = 0.0;
        for &(gain, class) in &self.gains {
            let rate = as_f64(self.index.class(class).rate_micro).min(left);
            worth += gain * rate;
            left -= rate;
            if left <= 0.0 {
                break;
            }
        }
        worth
    }
}

/// Prices of loading with that of the memory that weights take away from split stages; rounded down, so that the bound
/// stays one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "prices are positive and small"
)]
fn memory_prices(shelf: &Shelf, memory: f64, index: &Index) -> Option<Vec<(u32, u64)>> {
    if memory <= 0.0 {
        return None;
    }
    let chunks = shelf.candidates();
    let price = |chunk: u32| {
        let bytes = as_f64(index.library.chunk_bytes[chunk as usize]);
        shelf.load(chunk).saturating_add((bytes * memory) as u64)
    };
    Some(chunks.map(|chunk| (chunk, price(chunk))).collect())
}
