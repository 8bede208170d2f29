//! The nodes' part of the dual: each is packed with what is worth most at some prices.

use super::dual::Prices;
use super::index::{Index, Item, Shelf};
use super::offers::{Offers, Wish};
use super::shared::{Effort, Question, Shared, SharedPacking};
use crate::caching::pack::as_f64;
use crate::problem::Candidate;

/// A node's part.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// The last packing.
    packed: Shared,
    /// Bound on the worth of its packing, memory that is left included.
    pub(super) worth: f64,
    /// Worth of one more byte.
    pub(super) density: f64,
}

/// What nodes take at some prices.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// (class, rate).
    pub(super) requests: Vec<(u32, f64)>,
    /// (node, busy time, bytes).
    pub(super) nodes: Vec<(usize, f64, f64)>,
}

/// Packs nodes at some prices.
pub(super) struct Packing<'a> {
    index: &'a Index,
    prices: &'a Prices,
    packing: SharedPacking,
    offers: Offers,
    wishes: Vec<Wish>,
    pub(super) steps: u64,
}

impl<'a> Packing<'a> {
    pub(super) fn new(index: &'a Index, prices: &'a Prices) -> Self {
        Self {
            index,
            prices,
            packing: SharedPacking::default(),
            offers: Offers::default(),
            wishes: Vec::new(),
            steps: 0,
        }
    }

    pub(super) fn node(&mut self, node: usize, side: &mut Side, taken: Option<&mut Taken>) {
        let shelf = &self.index.shelves[node];
        let memory = self.prices.memory[node];
        self.offers.clear();
        for position in 0..shelf.items().len() {
            let item = &self.index.items[shelf.start + position];
            self.offer(item, node, memory * shelf.bytes(position));
        }
        let (room, time) = (
            self.index.supplies.room[node],
            as_f64(self.index.supplies.busy[node]),
        );
        let loads = memory_prices(shelf, memory, self.index);
        let mut knapsack = shelf.knapsack(&self.index.library, room, &[]);
        if let Some(loads) = &loads {
            knapsack.chunk_prices = loads;
        }
        let question = Question {
            offers: &self.offers,
            knapsack,
            time,
            effort: Effort::of(self.offers.len()),
        };
        let mut packed = std::mem::take(&mut side.packed);
        self.packing.pack(&question, &mut packed);
        self.steps += packed.steps;
        side.worth = packed.bound + memory * as_f64(room);
        side.density = packed.byte_price + memory;
        if let Some(taken) = taken {
            self.take(node, &packed.items, time, taken);
        }
        side.packed = packed;
    }

    /// What an item would earn beyond the prices of requests and of time.
    fn offer(&mut self, item: &Item, node: usize, own: f64) {
        let part = item.figures.parts[0];
        let busy = self.prices.busy[node] * as_f64(part.busy);
        self.wishes.clear();
        for pair in &item.pairs {
            let gain = pair.net as f64 - self.prices.request[pair.class as usize] - busy;
            if gain > 0.0 {
                let rate = as_f64(self.index.class(pair.class).rate_micro);
                self.wishes.push(Wish {
                    gain,
                    class: pair.class,
                    rate,
                });
            }
        }
        self.steps += item.pairs.len() as u64 + 1;
        let battery = match self.index.supplies.energy[node] {
            u64::MAX => f64::INFINITY,
            energy => as_f64(energy) / as_f64(part.energy),
        };
        // What Little's law allows was rounded down; the bound holds for what was cut off, too.
        let most = (as_f64(item.figures.rate_max) + 1.0).min(battery);
        self.offers.push(as_f64(part.busy), most, own, &mut self.wishes);
    }

    /// What the items of the packing serve.
    fn take(&self, node: usize, items: &[u32], time: f64, taken: &mut Taken) {
        let shelf = &self.index.shelves[node];
        let item = |position: u32| &self.index.items[shelf.start + position as usize];
        let (mut busy, mut bytes) = (0.0, 0.0);
        let mut held: Vec<Candidate> = Vec::new();
        for &position in items {
            let item = item(position);
            let part = item.figures.parts[0];
            bytes += as_f64(part.own);
            if !held.contains(&item.shape.candidate) {
                held.push(item.shape.candidate);
                bytes += as_f64(part.weights);
            }
        }
        for (position, class, rate) in self.offers.answered(items, time) {
            taken.requests.push((class, rate));
            busy += rate * as_f64(item(position).figures.parts[0].busy);
        }
        taken.nodes.push((node, busy, bytes));
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
