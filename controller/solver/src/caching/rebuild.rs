//! Large neighbourhoods: a few servers are emptied, filled again under the guidance of the dual, and polished with those
//! around them; kept if better, undone if not (large neighbourhood search, Shaw 1998).
//!
//! While servers are filled one after the other, what a row is worth to the next depends on those that are still empty:
//!
//! ```text
//! worth = λ + (w − λ) · Π over empty servers that could serve it too (1 − usage)
//! ```
//!
//! its fair price `λ` if others will serve it anyway, all of `w` if nobody else will. `usage` is the dual's average
//! packing, read as a probability (the method of conditional expectations, Raghavan 1988). Filling all servers of a
//! problem this way is the rounding of the dual's fractional solution.
//!
//! Attempts whose surroundings share no row are made at the same time, each by a thread on its own copy of the stock. Which
//! they are does not depend on the number of threads, so neither does the result.

use std::num::NonZeroUsize;

use super::CachingProblem;
use super::dual::Dual;
use super::index::Index;
use super::library::as_u32;
use super::pack::{FamilyEnumeration, Fill, Pack, Packed, as_f64};
use super::stock::Stock;
use crate::random::Random;
use crate::search::Meter;

/// Servers that are emptied at once: a neighbourhood of hexagons.
const EMPTIED_MAX: usize = 7;

/// Rounds of polishing after which an attempt is given up.
const POLISH_ROUNDS: usize = 2;

/// Attempts made before the copies of the stock are brought up to date.
const BATCH_MAX: usize = 128;

/// A usage that is read as certainty would leave nothing for the case that the server fills up otherwise.
const USAGE_MAX: f64 = 0.98;

/// What everybody reads.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) problem: &'a CachingProblem,
    pub(super) index: &'a Index,
    pub(super) dual: &'a Dual,
    /// Servers that share a reach with each, itself included.
    pub(super) neighbours: &'a [Vec<u32>],
    pub(super) threads: NonZeroUsize,
}

/// New positions of some servers.
type Changes = Vec<(u32, Vec<u32>)>;

/// One thread's copy of the stock, and scratch memory.
struct Crew<'a> {
    plan: Plan<'a>,
    stock: Stock,
    /// Chance that no empty server will serve each row; one, except during an attempt.
    missed: Vec<f64>,
    packer: FamilyEnumeration,
    values: Vec<f64>,
    packed: Packed,
    steps: u64,
}

/// Fills all servers under the guidance of the dual.
pub(super) fn round(plan: Plan<'_>, meter: &mut Meter<'_>) -> Stock {
    let mut crew = Crew::new(plan, Stock::empty(plan.index));
    let all: Vec<u32> = (0..as_u32(plan.index.shelves.len())).collect();
    crew.refill(&all);
    meter.spend(crew.steps);
    crew.stock
}

/// Visits every server once, in an order drawn from the seed, and tries to do better around it. Returns the gain.
pub(super) fn improve(plan: Plan<'_>, stock: &mut Stock, seed: u64, meter: &mut Meter<'_>) -> i64 {
    let mut random = Random::seeded(seed);
    let mut waiting: Vec<u32> = (0..as_u32(plan.index.shelves.len())).collect();
    shuffle(&mut waiting, &mut random);
    let mut crews: Vec<Crew<'_>> = (0..plan.threads.get())
        .map(|_| Crew::new(plan, stock.clone()))
        .collect();
    let mut marks = vec![u32::MAX; plan.problem.reaches.len()];
    let (mut batch_ordinal, mut gained) = (0, 0);
    while !waiting.is_empty() && meter.spend(0) {
        let batch = next_batch(plan, &mut waiting, &mut marks, batch_ordinal);
        batch_ordinal += 1;
        let size = batch.len().div_ceil(crews.len()).max(1);
        let found: Vec<(i64, Changes)> = std::thread::scope(|scope| {
            let parts = crews.iter_mut().zip(batch.chunks(size));
            let started: Vec<_> = parts
                .map(|(crew, part)| scope.spawn(move || crew.attempt_all(part, seed)))
                .collect();
            let joined = started.into_iter().map(|thread| thread.join());
            joined
                .flat_map(|found| found.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for (gain, changes) in found {
            gained += gain;
            for crew in &mut crews {
                crew.apply(&changes);
            }
        }
        meter.spend(crews.iter_mut().map(|crew| std::mem::take(&mut crew.steps)).sum());
    }
    if let Some(crew) = crews.into_iter().next() {
        *stock = crew.stock;
    }
    gained
}

/// Servers from the front of those that wait, whose surroundings share no row.
fn next_batch(plan: Plan<'_>, waiting: &mut Vec<u32>, marks: &mut [u32], ordinal: u32) -> Vec<u32> {
    let mut batch = Vec::new();
    waiting.retain(|&server| {
        if batch.len() == BATCH_MAX {
            return true;
        }
        let around = || {
            let servers = plan.neighbours[server as usize].iter();
            servers.flat_map(|other| &plan.index.server_reaches[*other as usize])
        };
        if around().any(|reach| marks[*reach as usize] == ordinal) {
            return true;
        }
        around().for_each(|reach| marks[*reach as usize] = ordinal);
        batch.push(server);
        false
    });
    batch
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for at in (1..items.len()).rev() {
        items.swap(at, random.below(at + 1));
    }
}

impl<'a> Crew<'a> {
    fn new(plan: Plan<'a>, stock: Stock) -> Self {
        Self {
            plan,
            stock,
            missed: vec![1.0; plan.index.rows.len()],
            packer: FamilyEnumeration::default(),
            values: Vec::new(),
            packed: Packed::default(),
            steps: 0,
        }
    }

    fn attempt_all(&mut self, servers: &[u32], seed: u64) -> Vec<(i64, Changes)> {
        let attempts = servers.iter().map(|&server| {
            let mut random = Random::seeded(seed ^ (u64::from(server) << 32));
            self.attempt(server, &mut random)
        });
        attempts.filter(|(gain, _)| *gain > 0).collect()
    }

    /// Empties servers of one reach around a server, fills them again, and polishes the surroundings. Leaves the stock as
    /// it was; returns what the changes would gain.
    fn attempt(&mut self, server: u32, random: &mut Random) -> (i64, Changes) {
        let mut around = self.plan.neighbours[server as usize].clone();
        let before: Changes = around
            .iter()
            .map(|other| (*other, self.stock.positions[*other as usize].clone()))
            .collect();
        let emptied = self.choose(server, random);
        let fetched = |crew: &Self| before.iter().map(|(other, _)| crew.fetch(*other)).sum::<i64>();
        let fetched_before = fetched(self);
        let mut served: i64 = emptied
            .iter()
            .map(|other| self.stock.clear(self.plan.index, *other as usize))
            .sum();
        served += self.refill(&emptied);
        for _ in 0..POLISH_ROUNDS {
            shuffle(&mut around, random);
            served += around.iter().map(|other| self.repack(*other)).sum::<i64>();
            if served > fetched(self) - fetched_before {
                break;
            }
        }
        let gain = served - (fetched(self) - fetched_before);
        let changes = before
            .iter()
            .map(|(other, _)| (*other, self.stock.positions[*other as usize].clone()))
            .collect();
        self.apply(&before);
        (gain, changes)
    }

    /// Servers of a reach that holds the server, in random order.
    fn choose(&self, server: u32, random: &mut Random) -> Vec<u32> {
        let reaches = &self.plan.index.server_reaches[server as usize];
        if reaches.is_empty() {
            return vec![server];
        }
        let reach = reaches[random.below(reaches.len())];
        let servers = &self.plan.problem.reaches[reach as usize];
        let mut chosen: Vec<u32> = servers.iter().map(|server| server.0).collect();
        shuffle(&mut chosen, random);
        chosen.truncate(EMPTIED_MAX);
        chosen
    }

    fn fetch(&self, server: u32) -> i64 {
        self.stock.fetch(self.plan.index, server as usize).cast_signed()
    }

    /// Fills empty servers one after the other; returns the worth of what they serve.
    fn refill(&mut self, servers: &[u32]) -> i64 {
        let index = self.plan.index;
        for &server in servers {
            self.weigh(server as usize, |missed, usage| *missed *= 1.0 - usage);
        }
        let mut served = 0;
        for &server in servers {
            self.weigh(server as usize, |missed, usage| *missed /= 1.0 - usage);
            self.guide(server as usize);
            let positions = self.pack(server as usize);
            served += self.stock.put(index, server as usize, positions);
        }
        for &server in servers {
            self.weigh(server as usize, |missed, _| *missed = 1.0);
        }
        served
    }

    /// Does something to the chance of each row that a server may serve.
    fn weigh(&mut self, server: usize, change: impl Fn(&mut f64, f64)) {
        let (shelf, side) = (&self.plan.index.shelves[server], &self.plan.dual.sides[server]);
        for (position, usage) in side.usage.iter().enumerate().filter(|(_, usage)| **usage > 0.0) {
            let usage = f64::from(*usage).min(USAGE_MAX);
            shelf
                .rows(position)
                .iter()
                .for_each(|row| change(&mut self.missed[*row as usize], usage));
        }
    }

    /// What each model is worth to the next server to be filled.
    fn guide(&mut self, server: usize) {
        let (index, dual) = (self.plan.index, self.plan.dual);
        let shelf = &index.shelves[server];
        self.values.clear();
        for position in 0..shelf.models.len() {
            let free = shelf
                .rows(position)
                .iter()
                .filter(|row| self.stock.holders[**row as usize] == 0);
            let worth: f64 = free
                .map(|row| {
                    let (value, price) = (as_f64(index.rows[*row as usize].value), dual.best[*row as usize]);
                    price + (value - price) * self.missed[*row as usize].min(1.0)
                })
                .sum();
            self.values.push(worth - as_f64(shelf.fetch(position)));
        }
    }

    fn pack(&mut self, server: usize) -> Vec<u32> {
        let shelf = &self.plan.index.shelves[server];
        let knapsack = shelf.knapsack(&self.plan.index.library, &self.values);
        self.packer.pack(&knapsack, Fill::Greedy, 0.0, &mut self.packed);
        self.steps += self.packed.steps + 2 * shelf.num_pairs() as u64;
        self.packed.items.clone()
    }

    /// Packs a server anew beside what all others store; returns the worth that is served more.
    fn repack(&mut self, server: u32) -> i64 {
        let server = server as usize;
        self.stock.gains(self.plan.index, server, &mut self.values);
        let positions = self.pack(server);
        self.stock.clear(self.plan.index, server) + self.stock.put(self.plan.index, server, positions)
    }

    fn apply(&mut self, changes: &Changes) {
        for (server, positions) in changes {
            if self.stock.positions[*server as usize] != *positions {
                self.stock.clear(self.plan.index, *server as usize);
                self.stock
                    .put(self.plan.index, *server as usize, positions.clone());
            }
        }
    }
}
