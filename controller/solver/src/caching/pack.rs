//! One server: the set-union knapsack.
//!
//! ```text
//! max  Σ_{i ∈ X} v_i − Σ_{chunks j of X} c_j     over sets X of models
//! s.t. Σ_{i ∈ X} s_i + Σ_{chunks j of X} B_j ≤ Q
//! ```
//!
//! (Goldschmidt, Nehme, Yu 1994; the subproblem of TrimCaching Spec, arXiv 2405.03990.) Few chunks fit at a time, so
//! sets of families are enumerated, and for each the models are an ordinary knapsack: relaxed to Dantzig's bound (`relax`),
//! and if asked solved exactly by branch and bound (`fill`).
//!
//! The enumeration is pruned by a price `π` per byte. For any `π ≥ 0` and any set of families that contains `F` and
//! perhaps some undecided `U`, weak duality gives
//!
//! ```text
//! value ≤ π·Q + Σ_{f ∈ F} gain_f(π) − Σ_{j ∈ chunks(F)} (π·B_j + c_j) + Σ_{f ∈ U} (gain_f(π) − charge_f(π))⁺
//! gain_f(π) = Σ_{i ∈ f} (v_i − π·s_i)⁺
//! charge_f(π) = Σ_{j ∈ f, j ∉ chunks(F)} (π·B_j + c_j) / (number of families with chunk j)
//! ```
//!
//! The charge is what a chunk costs at least to each family when all that contain it share the cost. `π` is the critical
//! density of a good set, so the bound is tight near the optimum.

mod fill;
mod relax;
#[cfg(test)]
mod tests;

use super::library::Library;
use relax::{Tangent, tangent};

/// The models of one family on a shelf: a range of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) family: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Group {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What one server could store, and how much.
#[derive(Clone, Copy)]
pub(crate) struct Knapsack<'a> {
    pub(crate) library: &'a Library,
    /// In bytes; whole, like all sizes, and below 2^53.
    pub(crate) capacity: f64,
    /// What storing each item is worth; it is left out unless that is positive.
    pub(crate) values: &'a [f64],
    /// Own bytes of each item.
    pub(crate) bytes: &'a [f64],
    pub(crate) groups: &'a [Group],
    /// Price of each chunk that costs something to have here; ordinals rise.
    pub(crate) chunk_prices: &'a [(u32, u64)],
}

impl Knapsack<'_> {
    #[allow(clippy::cast_precision_loss, reason = "prices stay below 2^53")]
    fn chunk_price(&self, chunk: u32) -> f64 {
        if self.chunk_prices.is_empty() {
            return 0.0;
        }
        let found = self
            .chunk_prices
            .binary_search_by_key(&chunk, |(chunk, _)| *chunk);
        found.map_or(0.0, |at| self.chunk_prices[at].1 as f64)
    }
}

/// How well items are packed into the room beside the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// One item may be cut: the relaxation whose value is the bound.
    Fractional,
    /// The families of the relaxation; whole items by density, then whatever still fits.
    Greedy,
    /// The best families and whole items, exactly, within so many nodes per set of families.
    Exact(u32),
    /// The same, where half a hundredth is not worth work.
    Close(u32),
}

/// What to store on one server.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Packed {
    /// Whole items, in no particular order.
    pub(crate) items: Vec<u32>,
    /// The item that was cut, and which part of it is in; only with [`Fill::Fractional`].
    pub(crate) cut: Option<(u32, f64)>,
    /// Worth of the whole items, chunks paid.
    pub(crate) value: f64,
    /// No packing is worth more.
    pub(crate) bound: f64,
    /// Price per byte that pruned well; a hint for the next time.
    pub(crate) price: f64,
    /// Work done.
    pub(crate) steps: u64,
}

/// Packs one server.
pub(crate) trait Pack {
    /// Fills `packed`. `hint` is the price per byte of a similar knapsack, or zero; it changes the work, not the bound.
    fn pack(&mut self, knapsack: &Knapsack<'_>, fill: Fill, hint: f64, packed: &mut Packed);
}

/// Enumerates sets of families by branch and bound. Holds scratch memory only: answers do not depend on earlier ones.
#[derive(Debug, Default)]
pub(crate) struct FamilyEnumeration {
    /// Of each group at the price of the walk, and at price zero.
    at_price: Vec<Tangent>,
    at_zero: Vec<Tangent>,
    /// Groups by falling net gain.
    rank: Vec<u32>,
    /// How many chosen families contain each chunk.
    holders: Vec<u32>,
    /// The set of groups under consideration, and the best.
    now: Vec<bool>,
    best: Vec<bool>,
    filled: Vec<u32>,
}

/// Sets of families looked at before the rest is only bounded: far above what bases and adapters need.
const NODES_MAX: u64 = 20_000;

/// Rounds of finding a price; the critical density hardly moves after the second.
const PRICE_ROUNDS: usize = 3;

/// Relative difference that a relaxation may leave to its bound: far below the gaps of large problems.
const SLACK: f64 = 1e-4;

/// The same where many questions are asked, each of which matters little, and the sets that are looked at for one.
const CLOSE: f64 = 5e-3;
const CLOSE_NODES_MAX: u64 = 300;

/// Relative difference below which two values are one.
const SAME: f64 = 1e-12;

impl Pack for FamilyEnumeration {
    fn pack(&mut self, knapsack: &Knapsack<'_>, fill: Fill, hint: f64, packed: &mut Packed) {
        let num_groups = knapsack.groups.len();
        self.holders.resize(knapsack.library.chunk_bytes.len(), 0);
        self.at_zero.clear();
        self.at_zero
            .extend(knapsack.groups.iter().map(|group| tangent(knapsack, *group, 0.0)));
        self.rank.clear();
        self.rank.extend(0..super::library::as_u32(num_groups));
        for set in [&mut self.now, &mut self.best] {
            set.clear();
            set.resize(num_groups, false);
        }
        let mut walk = Walk {
            knapsack,
            fill,
            price: hint,
            best_value: f64::NEG_INFINITY,
            best_price: 0.0,
            open_bound: f64::NEG_INFINITY,
            slack: match fill {
                Fill::Exact(_) => SAME,
                Fill::Fractional | Fill::Greedy => SLACK,
                Fill::Close(_) => CLOSE,
            },
            nodes: 0,
            nodes_max: match fill {
                Fill::Close(_) => CLOSE_NODES_MAX,
                Fill::Fractional | Fill::Greedy | Fill::Exact(_) => NODES_MAX,
            },
            steps: knapsack.values.len() as u64 + 16,
        };
        self.probe(&mut walk);
        self.branch(&mut walk, 0, 0.0, 0.0);
        self.finish(&walk, packed);
    }
}

/// One enumeration under way.
struct Walk<'a> {
    knapsack: &'a Knapsack<'a>,
    fill: Fill,
    price: f64,
    /// Of the best set: by its relaxation, or exactly.
    best_value: f64,
    best_price: f64,
    /// Of what was not enumerated to the end.
    open_bound: f64,
    /// Relative difference that is not worth work; what it hides stands in `open_bound`.
    slack: f64,
    nodes: u64,
    nodes_max: u64,
    steps: u64,
}

impl FamilyEnumeration {
    /// Looks for a good set at a few prices, and keeps the price with the lowest bound.
    fn probe(&mut self, walk: &mut Walk<'_>) {
        let (mut best_price, mut best_bound) = (walk.price, f64::INFINITY);
        let mut next = walk.price;
        for _ in 0..PRICE_ROUNDS {
            walk.price = next;
            let bound = self.reprice(walk);
            if bound < best_bound {
                (best_price, best_bound) = (walk.price, bound);
            }
            next = self.take_best_families(walk);
            if bound <= walk.best_value + walk.slack * bound.abs()
                || (next - walk.price).abs() <= SAME * walk.price
            {
                break;
            }
        }
        if walk.price != best_price {
            walk.price = best_price;
            self.reprice(walk);
        }
    }

    /// Tangents of all groups at the price of the walk, and their rank; returns the bound for any set.
    fn reprice(&mut self, walk: &mut Walk<'_>) -> f64 {
        let (knapsack, price) = (walk.knapsack, walk.price);
        walk.steps += knapsack.values.len() as u64;
        self.at_price.clear();
        self.at_price.extend(
            knapsack
                .groups
                .iter()
                .map(|group| tangent(knapsack, *group, price)),
        );
        let net = |slot: usize| self.at_price[slot].gain - self.charge(walk, knapsack.groups[slot].family);
        let mut ranked: Vec<(f64, u32)> = (0..)
            .zip(knapsack.groups)
            .map(|(slot, _)| (net(slot as usize), slot))
            .collect();
        ranked.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        self.rank.clear();
        self.rank.extend(ranked.iter().map(|(_, slot)| *slot));
        price * knapsack.capacity + ranked.iter().map(|(net, _)| net.max(0.0)).sum::<f64>()
    }

    /// What a family's chunks that nobody holds yet cost it at least.
    fn charge(&self, walk: &Walk<'_>, family: u32) -> f64 {
        let library = walk.knapsack.library;
        let mut charge = 0.0;
        for &chunk in &library.families[family as usize] {
            if self.holders[chunk as usize] == 0 {
                let cost = walk.price * as_f64(library.chunk_bytes[chunk as usize])
                    + walk.knapsack.chunk_price(chunk);
                charge += cost / f64::from(library.chunk_families[chunk as usize]);
            }
        }
        charge
    }

    /// Families by rank, one after the other while they gain and fit; evaluates the set, returns its critical density.
    fn take_best_families(&mut self, walk: &mut Walk<'_>) -> f64 {
        let mut bytes = 0.0;
        for at in 0..self.rank.len() {
            let slot = self.rank[at] as usize;
            let family = walk.knapsack.groups[slot].family;
            if self.at_price[slot].gain <= self.charge(walk, family) {
                continue;
            }
            let (more, _) = self.hold(walk, family);
            self.now[slot] = bytes + more <= walk.knapsack.capacity;
            if self.now[slot] {
                bytes += more;
            } else {
                self.release(walk, family);
            }
        }
        let critical = self.evaluate(walk, bytes);
        self.release_all(walk);
        critical
    }

    /// Adds a family's chunks; returns the new bytes and their prices.
    fn hold(&mut self, walk: &Walk<'_>, family: u32) -> (f64, f64) {
        let library = walk.knapsack.library;
        let (mut bytes, mut price) = (0.0, 0.0);
        for &chunk in &library.families[family as usize] {
            if self.holders[chunk as usize] == 0 {
                bytes += as_f64(library.chunk_bytes[chunk as usize]);
                price += walk.knapsack.chunk_price(chunk);
            }
            self.holders[chunk as usize] += 1;
        }
        (bytes, price)
    }

    fn release(&mut self, walk: &Walk<'_>, family: u32) {
        for &chunk in &walk.knapsack.library.families[family as usize] {
            self.holders[chunk as usize] -= 1;
        }
    }

    fn release_all(&mut self, walk: &Walk<'_>) {
        for slot in 0..self.now.len() {
            if self.now[slot] {
                self.release(walk, walk.knapsack.groups[slot].family);
                self.now[slot] = false;
            }
        }
    }

    /// Decides the group of rank `at` and those after it; `gained` and `bytes` are of the families that are in.
    fn branch(&mut self, walk: &mut Walk<'_>, at: usize, gained: f64, bytes: f64) {
        walk.nodes += 1;
        walk.steps += (self.rank.len() - at) as u64 + 1;
        let mut bound = walk.price * walk.knapsack.capacity + gained;
        for &slot in &self.rank[at..] {
            let charge = self.charge(walk, walk.knapsack.groups[slot as usize].family);
            bound += (self.at_price[slot as usize].gain - charge).max(0.0);
        }
        if bound <= walk.best_value {
            return;
        }
        if walk.nodes > walk.nodes_max || bound <= walk.best_value + walk.slack * walk.best_value.abs() {
            walk.open_bound = walk.open_bound.max(bound);
            return;
        }
        let Some(&slot) = self.rank.get(at) else {
            self.evaluate(walk, bytes);
            return;
        };
        let family = walk.knapsack.groups[slot as usize].family;
        let (more, price) = self.hold(walk, family);
        if bytes + more <= walk.knapsack.capacity {
            self.now[slot as usize] = true;
            let gain = self.at_price[slot as usize].gain - walk.price * more - price;
            self.branch(walk, at + 1, gained + gain, bytes + more);
            self.now[slot as usize] = false;
        }
        self.release(walk, family);
        if more > 0.0 || price > 0.0 {
            self.branch(walk, at + 1, gained, bytes);
        }
    }

    /// Prices of the chunks that are held.
    fn paid(&self, walk: &Walk<'_>) -> f64 {
        let prices = walk.knapsack.chunk_prices.iter();
        let held = prices.filter(|(chunk, _)| self.holders[*chunk as usize] > 0);
        held.map(|(_, price)| as_f64(*price)).sum()
    }

    /// Packs items of the groups in `now` beside their chunks; keeps the set if it is the best. Returns the critical
    /// density, zero if all fits.
    fn evaluate(&mut self, walk: &mut Walk<'_>, bytes: f64) -> f64 {
        let room = walk.knapsack.capacity - bytes;
        let paid = self.paid(walk);
        let relaxed = self.relax(walk, room, walk.best_value + paid);
        let mut value = relaxed.value - paid;
        if value <= walk.best_value {
            return relaxed.price;
        }
        if let Fill::Exact(nodes_max) | Fill::Close(nodes_max) = walk.fill {
            let exact = fill::fill_exactly(walk.knapsack, &self.now, room, nodes_max, &mut self.filled);
            walk.steps += exact.steps;
            if !exact.proven {
                walk.open_bound = walk.open_bound.max(value);
            }
            value = exact.value - paid;
        }
        if value > walk.best_value {
            (walk.best_value, walk.best_price) = (value, relaxed.price);
            self.best.clone_from(&self.now);
        }
        relaxed.price
    }

    /// Writes the best set down.
    fn finish(&mut self, walk: &Walk<'_>, packed: &mut Packed) {
        let knapsack = walk.knapsack;
        self.now.clone_from(&self.best);
        let mut room = knapsack.capacity;
        for slot in 0..self.now.len() {
            if self.now[slot] {
                room -= self.hold(walk, knapsack.groups[slot].family).0;
            }
        }
        packed.items.clear();
        packed.cut = None;
        let filled = match walk.fill {
            Fill::Fractional => {
                packed.cut =
                    fill::fill_and_cut(knapsack, &self.now, room, walk.best_price, &mut packed.items);
                packed
                    .items
                    .iter()
                    .map(|item| knapsack.values[*item as usize])
                    .sum()
            }
            Fill::Greedy => {
                fill::fill_greedily(knapsack, &self.now, room, walk.best_price, &mut packed.items)
            }
            Fill::Exact(nodes_max) | Fill::Close(nodes_max) => {
                fill::fill_exactly(knapsack, &self.now, room, nodes_max, &mut packed.items).value
            }
        };
        packed.value = filled - self.paid(walk);
        self.release_all(walk);
        packed.bound = walk.best_value.max(walk.open_bound);
        packed.price = walk.price;
        packed.steps = walk.steps;
    }
}

/// A size or a price as a number that it is exact in: below 2^53.
#[allow(clippy::cast_precision_loss, reason = "validated to stay below 2^53")]
pub(crate) fn as_f64(whole: u64) -> f64 {
    whole as f64
}
