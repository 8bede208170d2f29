//! A problem laid out for searching: demand as rows, and for each server a shelf of models that somebody in reach asks for.

use std::num::NonZeroUsize;

use super::library::{Library, as_u32};
use super::pack::{Group, Knapsack, as_f64};
use super::parallel::{ITEMS_MIN, for_parts};
use super::{CachingProblem, Demand};
use crate::units::{ModelOrd, ReachOrd};

/// Position of a row.
pub(super) type RowOrd = u32;

/// Demand for one model within one reach; demands that agree in both are one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) reach: u32,
    pub(super) model: u32,
    pub(super) value: u64,
}

impl Row {
    pub(super) fn demand(self) -> Demand {
        Demand {
            reach: ReachOrd(self.reach),
            model: ModelOrd(self.model),
            value: self.value,
        }
    }
}

/// The models that one server could store with use: those that fit and that a row in reach asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    pub(super) capacity: u64,
    /// By family, then by ordinal.
    pub(super) models: Vec<u32>,
    /// Own bytes of each model.
    pub(super) bytes: Vec<f64>,
    /// Models of each family.
    pub(super) groups: Vec<Group>,
    /// Where each model's rows begin in `rows`; one more at the end.
    starts: Vec<u32>,
    rows: Vec<RowOrd>,
    /// Price of each model's own bytes; empty when fetching is free.
    fetch: Vec<u64>,
    /// Price of each chunk that is not free to have here; ordinals rise.
    pub(super) chunk_prices: Vec<(u32, u64)>,
}

impl Shelf {
    /// The rows that the model at a position serves.
    pub(super) fn rows(&self, position: usize) -> &[RowOrd] {
        &self.rows[self.starts[position] as usize..self.starts[position + 1] as usize]
    }

    /// Position of a model of a family.
    pub(super) fn position(&self, family: u32, model: u32) -> Option<u32> {
        let at = self
            .groups
            .binary_search_by_key(&family, |group| group.family)
            .ok()?;
        let group = self.groups[at];
        let found = self.models[group.range()].binary_search(&model).ok()?;
        Some(group.start + as_u32(found))
    }

    /// The knapsack of this shelf, with a worth for each model.
    pub(super) fn knapsack<'a>(&'a self, library: &'a Library, values: &'a [f64]) -> Knapsack<'a> {
        Knapsack {
            library,
            capacity: as_f64(self.capacity),
            values,
            bytes: &self.bytes,
            groups: &self.groups,
            chunk_prices: &self.chunk_prices,
        }
    }

    /// Price of the own bytes of the model at a position.
    pub(super) fn fetch(&self, position: usize) -> u64 {
        self.fetch.get(position).copied().unwrap_or(0)
    }

    /// Price of having a chunk here.
    pub(super) fn chunk_price(&self, chunk: u32) -> u64 {
        let found = self
            .chunk_prices
            .binary_search_by_key(&chunk, |(chunk, _)| *chunk);
        found.map_or(0, |at| self.chunk_prices[at].1)
    }

    /// How many pairs of model and row there are.
    pub(super) fn num_pairs(&self) -> usize {
        self.rows.len()
    }
}

/// A problem, indexed.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) library: Library,
    pub(super) rows: Vec<Row>,
    pub(super) shelves: Vec<Shelf>,
    /// Rows of each reach, by rising model.
    pub(super) reach_rows: Vec<Vec<RowOrd>>,
    /// Reaches that each server is in.
    pub(super) server_reaches: Vec<Vec<u32>>,
    /// Worth of all rows.
    pub(super) demanded: u64,
    /// Worth of the rows whose model is on some shelf: no placement serves more.
    pub(super) servable: u64,
    /// How many shelves each row is on.
    num_shelves: Vec<u32>,
}

impl Index {
    /// Indexes a valid problem.
    pub(super) fn new(problem: &CachingProblem, threads: NonZeroUsize) -> Self {
        let mut index = Self {
            library: Library::new(problem),
            rows: merged_rows(problem),
            shelves: vec![Shelf::default(); problem.servers.len()],
            reach_rows: vec![Vec::new(); problem.reaches.len()],
            server_reaches: vec![Vec::new(); problem.servers.len()],
            demanded: problem.demands.iter().map(|demand| demand.value).sum(),
            ..Self::default()
        };
        for (ordinal, row) in (0..).zip(&index.rows) {
            index.reach_rows[row.reach as usize].push(ordinal);
        }
        for (reach, servers) in (0..).zip(&problem.reaches) {
            servers
                .iter()
                .for_each(|server| index.server_reaches[server.index()].push(reach));
        }
        index.num_shelves = vec![0; index.rows.len()];
        let mut shelves = std::mem::take(&mut index.shelves);
        for_parts(threads, ITEMS_MIN, &mut shelves, |first, shelves| {
            for (server, shelf) in (first..).zip(shelves) {
                *shelf = index.shelf(problem, server);
            }
        });
        index.shelves = vec![Shelf::default(); shelves.len()];
        for (server, shelf) in shelves.into_iter().enumerate() {
            index.replace(server, shelf);
        }
        index
    }

    /// Puts a shelf in the place of another, which is returned.
    pub(super) fn replace(&mut self, server: usize, shelf: Shelf) -> Shelf {
        for &row in &shelf.rows {
            let num_shelves = &mut self.num_shelves[row as usize];
            *num_shelves += 1;
            if *num_shelves == 1 {
                self.servable += self.rows[row as usize].value;
            }
        }
        let before = std::mem::replace(&mut self.shelves[server], shelf);
        for &row in &before.rows {
            let num_shelves = &mut self.num_shelves[row as usize];
            *num_shelves -= 1;
            if *num_shelves == 0 {
                self.servable -= self.rows[row as usize].value;
            }
        }
        before
    }

    /// Appends a row that no shelf knows yet.
    pub(super) fn add_row(&mut self, row: Row) {
        let ordinal = as_u32(self.rows.len());
        let rows = &mut self.reach_rows[row.reach as usize];
        let at = rows.partition_point(|other| self.rows[*other as usize].model < row.model);
        rows.insert(at, ordinal);
        self.demanded += row.value;
        self.rows.push(row);
        self.num_shelves.push(0);
    }

    /// Sets the worth of a row; returns what it was.
    pub(super) fn revalue(&mut self, row: usize, value: u64) -> u64 {
        let before = std::mem::replace(&mut self.rows[row].value, value);
        self.demanded = self.demanded - before + value;
        if self.num_shelves[row] > 0 {
            self.servable = self.servable - before + value;
        }
        before
    }

    /// Builds the shelf of a server from the rows in reach.
    pub(super) fn shelf(&self, problem: &CachingProblem, server: usize) -> Shelf {
        let capacity = problem.servers[server].capacity.0;
        let mut pairs: Vec<(u32, u32, RowOrd)> = Vec::new();
        for &reach in &self.server_reaches[server] {
            let rows = self.reach_rows[reach as usize].iter();
            pairs.extend(rows.map(|&row| {
                let model = self.rows[row as usize].model;
                (self.library.family[model as usize], model, row)
            }));
        }
        pairs.sort_unstable();
        let mut shelf = Shelf {
            capacity,
            ..Shelf::default()
        };
        for asked in pairs.chunk_by(|one, other| one.1 == other.1) {
            let (family, model, _) = asked[0];
            if self.library.model_bytes(model) > capacity {
                continue;
            }
            let position = as_u32(shelf.models.len());
            match shelf.groups.last_mut().filter(|group| group.family == family) {
                Some(group) => group.end = position + 1,
                None => shelf.groups.push(Group {
                    family,
                    start: position,
                    end: position + 1,
                }),
            }
            shelf.models.push(model);
            shelf.bytes.push(as_f64(self.library.own_bytes[model as usize]));
            shelf.starts.push(as_u32(shelf.rows.len()));
            shelf.rows.extend(asked.iter().map(|(_, _, row)| *row));
        }
        shelf.starts.push(as_u32(shelf.rows.len()));
        self.price(problem, server, &mut shelf);
        shelf
    }

    /// Writes down what fetching costs this server.
    fn price(&self, problem: &CachingProblem, server: usize, shelf: &mut Shelf) {
        if problem.fetch_price == 0 {
            return;
        }
        let held = &problem.servers[server].held;
        let own = |model: &u32| self.library.fetch_own(problem, *model, held);
        shelf.fetch = shelf.models.iter().map(own).collect();
        let families = shelf
            .models
            .iter()
            .map(|model| self.library.family[*model as usize]);
        let mut chunks: Vec<u32> = families
            .flat_map(|family| &self.library.families[family as usize])
            .copied()
            .collect();
        chunks.sort_unstable();
        chunks.dedup();
        let priced = chunks
            .into_iter()
            .map(|chunk| (chunk, self.library.fetch_chunk(problem, chunk, held)));
        shelf.chunk_prices = priced.filter(|(_, price)| *price > 0).collect();
    }

    /// Bytes of some models of a server's shelf, shared chunks once.
    pub(super) fn bytes(&self, server: usize, positions: &[u32]) -> u64 {
        let shelf = &self.shelves[server];
        let models = || positions.iter().map(|at| shelf.models[*at as usize] as usize);
        let chunks = models().flat_map(|model| &self.library.families[self.library.family[model] as usize]);
        let mut chunks: Vec<u32> = chunks.copied().collect();
        chunks.sort_unstable();
        chunks.dedup();
        let shared: u64 = chunks
            .iter()
            .map(|chunk| self.library.chunk_bytes[*chunk as usize])
            .sum();
        shared + models().map(|model| self.library.own_bytes[model]).sum::<u64>()
    }

    /// Servers that serve some row together with this one, itself included; ordinals rise.
    pub(super) fn neighbours(&self, problem: &CachingProblem, server: usize) -> Vec<u32> {
        let reaches = self.server_reaches[server].iter();
        let servers = reaches.flat_map(|reach| &problem.reaches[*reach as usize]);
        let mut neighbours: Vec<u32> = servers.map(|server| server.0).collect();
        neighbours.push(as_u32(server));
        neighbours.sort_unstable();
        neighbours.dedup();
        neighbours
    }
}

/// Rows by reach and model.
fn merged_rows(problem: &CachingProblem) -> Vec<Row> {
    let mut rows: Vec<Row> = problem
        .demands
        .iter()
        .filter(|demand| demand.value > 0)
        .map(|demand| Row {
            reach: demand.reach.0,
            model: demand.model.0,
            value: demand.value,
        })
        .collect();
    rows.sort_unstable_by_key(|row| (row.reach, row.model));
    rows.dedup_by(|later, kept| {
        let same = (later.reach, later.model) == (kept.reach, kept.model);
        if same {
            kept.value += later.value;
        }
        same
    });
    rows
}
