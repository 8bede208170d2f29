//! One node: what is worth most in its memory and in its time.
//!
//! ```text
//! max  Σ_{i ∈ X} ( Σ_g gain_gi · f_gi − own_i ) − loading(X)      over sets X of items that fit in memory
//! s.t. 0 ≤ f_gi ≤ rate_g,  Σ_g f_gi ≤ most_i,  Σ busy_i · f_gi ≤ time
//! ```
//!
//! A price `θ ≥ 0` on time makes it a set-union knapsack ([`pack`](crate::caching::pack)), whose worth plus `θ · time` bounds
//! the optimum. With `X` given, the best price is found on its own; so prices are tried where all sets found so far, each a
//! convex function of `θ`, are worth least together. What the last price leaves between the bound and the best set is closed
//! by branching: an item in, or out.

use super::offers::Offers;
use crate::caching::pack::{FamilyEnumeration, Fill, Knapsack, Pack, Packed};

/// Items on a shelf up to which a node is packed exactly; of more, one is worth little.
const FEW: usize = 24;

/// Halvings of an interval of prices.
const HALVINGS: usize = 30;

/// What is best for a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// No set is worth more.
    pub(super) bound: f64,
    /// The best set that was found: positions on the shelf, the most worth first.
    pub(super) items: Vec<u32>,
    /// Worth of one more byte, and of one more unit of time.
    pub(super) byte_price: f64,
    pub(super) time_price: f64,
    pub(super) steps: u64,
}

/// A set of items that fits in memory.
#[derive(Clone, Debug)]
struct Set {
    items: Vec<u32>,
    /// Prices of its weights and of its own memory.
    paid: f64,
}

/// Items that are in or out.
#[derive(Clone, Debug)]
struct Branch {
    fixed: Vec<(u32, bool)>,
    bound: f64,
    /// The item that the best price leaves undecided.
    undecided: Option<u32>,
}

/// Packs nodes whose time is shared. Holds scratch memory only: answers do not depend on earlier ones.
#[derive(Debug, Default)]
pub(super) struct SharedPacking {
    packer: FamilyEnumeration,
    packed: Packed,
    values: Vec<f64>,
    sets: Vec<Set>,
}

/// A node's question.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) offers: &'a Offers,
    /// The shelf's knapsack; its values are not looked at.
    pub(super) knapsack: Knapsack<'a>,
    pub(super) time: f64,
    pub(super) effort: Effort,
}

/// How much is tried for one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    fill: Fill,
    /// Prices that are tried for one branch.
    prices_max: usize,
    /// Branches that are opened at most.
    branches_max: usize,
    /// Relative difference between bound and best set that is not worth work.
    close: f64,
}

impl Effort {
    /// For a shelf of so many items.
    pub(super) fn of(items: usize) -> Self {
        if items <= FEW {
            Self {
                fill: Fill::Exact(400),
                prices_max: 12,
                branches_max: 12,
                close: 1e-4,
            }
        } else {
            Self {
                fill: Fill::Close(50),
                prices_max: 2,
                branches_max: 0,
                close: 5e-3,
            }
        }
    }
}

impl SharedPacking {
    /// The best set. `best` comes with the prices of a similar question, or zeros: they change the work, not what is proven.
    pub(super) fn pack(&mut self, question: &Question<'_>, best: &mut Shared) {
        self.sets.clear();
        let price_max = question.offers.price_max();
        let mut walk = Walk {
            question,
            price_max,
            byte_price: best.byte_price,
            time_price: best.time_price.min(price_max),
            value: 0.0,
            items: Vec::new(),
            steps: 0,
        };
        let mut open = vec![self.relax(&mut walk, Vec::new())];
        let (byte_price, time_price) = (walk.byte_price, walk.time_price);
        for _ in 0..question.effort.branches_max {
            let Some(loosest) =
                loosest(&open).filter(|at| open[*at].bound > walk.value * (1.0 + question.effort.close))
            else {
                break;
            };
            let Some(item) = open[loosest].undecided else {
                break;
            };
            let parent = open.swap_remove(loosest);
            for inside in [true, false] {
                let mut fixed = parent.fixed.clone();
                fixed.push((item, inside));
                let mut child = self.relax(&mut walk, fixed);
                child.bound = child.bound.min(parent.bound);
                if child.bound > walk.value {
                    open.push(child);
                }
            }
        }
        let bounds = open.iter().map(|branch| branch.bound);
        *best = Shared {
            bound: bounds.fold(walk.value, f64::max),
            byte_price,
            time_price,
            steps: walk.steps,
            items: walk.items,
        };
        let worth = |position: &u32| question.offers.earned(*position as usize, time_price).0;
        best.items
            .sort_by(|one, other| worth(other).total_cmp(&worth(one)).then(one.cmp(other)));
    }

    /// Bounds a branch by the best price of time for it.
    fn relax(&mut self, walk: &mut Walk<'_>, fixed: Vec<(u32, bool)>) -> Branch {
        let mut known: Vec<usize> = (0..self.sets.len())
            .filter(|set| agrees(&self.sets[*set], &fixed))
            .collect();
        let mut price = match known.is_empty() {
            true => walk.time_price,
            false => self.least(walk, &known),
        };
        let mut bound = f64::INFINITY;
        for _ in 0..walk.question.effort.prices_max {
            let at = self.bound_at(walk, price, &fixed);
            if at < bound {
                (bound, walk.time_price) = (at, price);
            }
            let found = self.keep(walk);
            if !known.contains(&found) && agrees(&self.sets[found], &fixed) {
                known.push(found);
            } else if known.is_empty() {
                break;
            }
            let next = self.least(walk, &known);
            let modelled = self.model(walk, &known, next);
            if bound <= modelled + walk.question.effort.close * bound.abs()
                || bound <= walk.value
                || next == price
            {
                break;
            }
            price = next;
        }
        Branch {
            undecided: self.undecided(walk, &known, &fixed),
            fixed,
            bound,
        }
    }

    /// Packs at a price; the bound that it gives.
    fn bound_at(&mut self, walk: &mut Walk<'_>, price: f64, fixed: &[(u32, bool)]) -> f64 {
        let Question {
            offers,
            knapsack,
            time,
            effort: Effort { fill, .. },
        } = *walk.question;
        self.values.clear();
        let positions = 0..offers.len();
        self.values
            .extend(positions.map(|at| offers.earned(at, price).0 - offers.own(at)));
        // More than all that could be gained or paid, so that nothing that is in is left out for it.
        let loads: f64 = knapsack.chunk_prices.iter().map(|load| load.1 as f64).sum();
        let all: f64 = self.values.iter().map(|value| value.abs()).sum();
        let bonus = 2.0 * (all + loads) + 1.0;
        let mut forced = 0.0;
        for &(item, inside) in fixed {
            let value = &mut self.values[item as usize];
            if inside {
                *value += bonus;
                forced += bonus;
            } else {
                *value = -1.0;
            }
        }
        let knapsack = Knapsack {
            values: &self.values,
            ..knapsack
        };
        self.packer
            .pack(&knapsack, fill, walk.byte_price, &mut self.packed);
        walk.byte_price = self.packed.price;
        walk.steps += self.packed.steps + 4 * offers.len() as u64;
        self.packed.bound.max(0.0) - forced + price * time
    }

    /// Remembers the set that was packed last, and whether it is the best; its position.
    fn keep(&mut self, walk: &mut Walk<'_>) -> usize {
        let mut items = self.packed.items.clone();
        items.sort_unstable();
        if let Some(known) = self.sets.iter().position(|set| set.items == items) {
            return known;
        }
        let question = walk.question;
        let own: f64 = items.iter().map(|item| question.offers.own(*item as usize)).sum();
        let set = Set {
            paid: own + loading(question, &items),
            items,
        };
        self.sets.push(set);
        let last = self.sets.len() - 1;
        let price = self.least(walk, &[last]);
        let value = self.model(walk, &[last], price);
        if value > walk.value {
            walk.value = value;
            walk.items.clone_from(&self.sets[last].items);
        }
        last
    }

    /// Greatest worth of some sets at a price, and the slope there.
    fn model_and_slope(&self, walk: &Walk<'_>, among: &[usize], price: f64) -> (f64, f64) {
        let Question { offers, time, .. } = *walk.question;
        let mut most = (f64::NEG_INFINITY, 0.0);
        for set in among.iter().map(|set| &self.sets[*set]) {
            let (mut worth, mut used) = (-set.paid, 0.0);
            for item in &set.items {
                let (earned, busy) = offers.earned(*item as usize, price);
                (worth, used) = (worth + earned, used + busy);
            }
            if worth > most.0 {
                most = (worth, time - used);
            }
        }
        (most.0 + price * time, most.1)
    }

    fn model(&self, walk: &Walk<'_>, among: &[usize], price: f64) -> f64 {
        self.model_and_slope(walk, among, price).0
    }

    /// The price at which some sets are worth least.
    fn least(&self, walk: &mut Walk<'_>, among: &[usize]) -> f64 {
        if self.model_and_slope(walk, among, 0.0).1 >= 0.0 {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, walk.price_max);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.model_and_slope(walk, among, middle).1 < 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        walk.steps += (HALVINGS * among.len()) as u64;
        high
    }

    /// The item of most worth that is in one of the two sets that meet at the best price, and not in the other.
    fn undecided(&self, walk: &Walk<'_>, known: &[usize], fixed: &[(u32, bool)]) -> Option<u32> {
        let offers = walk.question.offers;
        let price = walk.time_price;
        let worth = |item: u32| offers.earned(item as usize, price).0;
        let mut by_worth: Vec<(f64, usize)> = known
            .iter()
            .map(|set| (self.model(walk, &[*set], price), *set))
            .collect();
        by_worth.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let (one, other) = (by_worth.first()?.1, by_worth.get(1)?.1);
        let (one, other) = (&self.sets[one].items, &self.sets[other].items);
        let only = |some: &[u32], others: &[u32]| {
            let only: Vec<u32> = some
                .iter()
                .copied()
                .filter(|item| !others.contains(item))
                .collect();
            only
        };
        let mut differing = only(one, other);
        differing.extend(only(other, one));
        differing.retain(|item| fixed.iter().all(|(known, _)| known != item));
        differing
            .into_iter()
            .max_by(|one, other| worth(*one).total_cmp(&worth(*other)).then(other.cmp(one)))
    }
}

/// One question under work.
struct Walk<'a> {
    question: &'a Question<'a>,
    price_max: f64,
    byte_price: f64,
    time_price: f64,
    /// Of the best set; nothing is always possible.
    value: f64,
    items: Vec<u32>,
    steps: u64,
}

fn loosest(open: &[Branch]) -> Option<usize> {
    (0..open.len()).max_by(|one, other| {
        open[*one]
            .bound
            .total_cmp(&open[*other].bound)
            .then(other.cmp(one))
    })
}

fn agrees(set: &Set, fixed: &[(u32, bool)]) -> bool {
    fixed
        .iter()
        .all(|(item, inside)| set.items.binary_search(item).is_ok() == *inside)
}

/// Price of the weights of some items.
fn loading(question: &Question<'_>, items: &[u32]) -> f64 {
    let knapsack = &question.knapsack;
    let mut price = 0.0;
    for group in knapsack.groups {
        if items.iter().any(|item| group.range().contains(&(*item as usize))) {
            // A candidate's weights are one chunk.
            let found = knapsack
                .chunk_prices
                .binary_search_by_key(&group.family, |entry| entry.0);
            price += found.map_or(0.0, |at| knapsack.chunk_prices[at].1 as f64);
        }
    }
    price
}
