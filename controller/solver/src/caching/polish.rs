//! Local search: one server after the other is packed anew beside what the others store.
//!
//! Packing is the set-union knapsack over all sets of families, so a move may drop a base with its adapters, refill, and
//! take another base. Value never falls. Started from nothing, this is the successive greedy of TrimCaching Spec (arXiv
//! 2405.03990), which has at least half of the optimum when each packing is exact.
//!
//! Servers that share no row do not see one another's moves, so they are packed at the same time: colour by colour, in a
//! fixed order, with the same result for any number of threads.

use std::num::NonZeroUsize;

use super::CachingProblem;
use super::index::Index;
use super::library::as_u32;
use super::pack::{FamilyEnumeration, Fill, Pack, Packed, as_f64};
use super::parallel::{ITEMS_MIN, for_parts};
use super::stock::Stock;
use crate::search::Meter;

/// Servers by colour; servers of one colour share no row.
#[derive(Clone, Debug, Default)]
pub(super) struct Colouring {
    pub(super) colours: Vec<Vec<u32>>,
}

impl Colouring {
    /// Each server gets the lowest colour that no neighbour before it has.
    pub(super) fn new(problem: &CachingProblem, index: &Index) -> Self {
        let mut colour_of = vec![u32::MAX; index.shelves.len()];
        let mut colours: Vec<Vec<u32>> = Vec::new();
        let mut used: Vec<usize> = Vec::new();
        for server in 0..index.shelves.len() {
            for &reach in &index.server_reaches[server] {
                for other in &problem.reaches[reach as usize] {
                    if let Some(slot) = used.get_mut(colour_of[other.index()] as usize) {
                        *slot = server;
                    }
                }
            }
            let free = used.iter().position(|last| *last != server).unwrap_or(used.len());
            if free == used.len() {
                used.push(usize::MAX);
                colours.push(Vec::new());
            }
            // A fresh colour is not yet used by this server's neighbours; the mark is set by those that come later.
            colour_of[server] = as_u32(free);
            colours[free].push(as_u32(server));
        }
        Self { colours }
    }
}

impl Colouring {
    /// Gives a new server the lowest colour that no neighbour has.
    pub(super) fn add(&mut self, server: u32, neighbours: &[u32]) {
        let taken = |colour: &Vec<u32>| neighbours.iter().any(|other| colour.binary_search(other).is_ok());
        match self.colours.iter_mut().find(|colour| !taken(colour)) {
            Some(colour) => colour.push(server),
            None => self.colours.push(vec![server]),
        }
    }
}

/// A server under consideration, and what it would store.
struct Turn {
    server: u32,
    proposal: Option<Vec<u32>>,
    steps: u64,
}

/// Packs servers until none improves.
pub(super) struct Polish<'a> {
    pub(super) problem: &'a CachingProblem,
    pub(super) index: &'a Index,
    pub(super) colouring: &'a Colouring,
    pub(super) fill: Fill,
    pub(super) threads: NonZeroUsize,
}

impl Polish<'_> {
    /// Improves a stock; `dirty` says which servers to look at first, and others follow where something changes. Returns
    /// what is gained.
    pub(super) fn improve(&self, stock: &mut Stock, dirty: &mut [bool], meter: &mut Meter<'_>) -> i64 {
        let mut gained = 0;
        while dirty.iter().any(|dirty| *dirty) {
            for colour in &self.colouring.colours {
                let mut turns: Vec<Turn> = colour
                    .iter()
                    .filter(|server| dirty[**server as usize])
                    .map(|server| Turn {
                        server: *server,
                        proposal: None,
                        steps: 0,
                    })
                    .collect();
                for_parts(self.threads, ITEMS_MIN, &mut turns, |_, turns| {
                    self.propose(stock, turns)
                });
                for turn in turns {
                    meter.spend(turn.steps);
                    dirty[turn.server as usize] = false;
                    if let Some(positions) = turn.proposal {
                        gained += self.accept(stock, turn.server as usize, positions, dirty);
                    }
                }
                if !meter.spend(0) {
                    return gained;
                }
            }
        }
        gained
    }

    fn propose(&self, stock: &Stock, turns: &mut [Turn]) {
        let mut packer = FamilyEnumeration::default();
        let (mut values, mut packed): (Vec<f64>, Packed) = Default::default();
        for turn in turns {
            let server = turn.server as usize;
            stock.gains(self.index, server, &mut values);
            let shelf = &self.index.shelves[server];
            let knapsack = shelf.knapsack(&self.index.library, &values);
            packer.pack(&knapsack, self.fill, 0.0, &mut packed);
            turn.steps = packed.steps + shelf.num_pairs() as u64;
            if packed.value > self.present(stock, server, &values) {
                turn.proposal = Some(packed.items.clone());
            }
        }
    }

    /// What the present models of a server are worth, given what each gains.
    fn present(&self, stock: &Stock, server: usize, values: &[f64]) -> f64 {
        let gains: f64 = stock.positions[server]
            .iter()
            .map(|at| values[*at as usize])
            .sum();
        gains - as_f64(stock.chunk_fetch(self.index, server))
    }

    /// Stores a proposal; servers whose rows changed hands become dirty. Returns what is gained.
    fn accept(&self, stock: &mut Stock, server: usize, positions: Vec<u32>, dirty: &mut [bool]) -> i64 {
        let before = stock.positions[server].clone();
        let fetched = stock.fetch(self.index, server).cast_signed();
        let mut gained = stock.clear(self.index, server) + stock.put(self.index, server, positions);
        gained += fetched - stock.fetch(self.index, server).cast_signed();
        let shelf = &self.index.shelves[server];
        for position in changed(&before, &stock.positions[server]) {
            for &row in shelf.rows(position as usize) {
                let reach = self.index.rows[row as usize].reach as usize;
                for other in &self.problem.reaches[reach] {
                    dirty[other.index()] |= other.index() != server;
                }
            }
        }
        gained
    }
}

/// Members of one rising list and not of the other.
fn changed<'a>(before: &'a [u32], after: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    let gone = before.iter().filter(|at| after.binary_search(at).is_err());
    let new = after.iter().filter(|at| before.binary_search(at).is_err());
    gone.chain(new).copied()
}
