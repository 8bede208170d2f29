//! What lies where during a search, and which rows it serves.

use super::Placement;
use super::index::{Index, Shelf};
use super::pack::as_f64;
use crate::units::ModelOrd;

/// Models by server, and how many servers serve each row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stock {
    /// Positions on the shelf of each server, rising.
    pub(super) positions: Vec<Vec<u32>>,
    /// Servers that store the row's model in its reach.
    pub(super) holders: Vec<u32>,
}

impl Stock {
    pub(super) fn empty(index: &Index) -> Self {
        Self {
            positions: vec![Vec::new(); index.shelves.len()],
            holders: vec![0; index.rows.len()],
        }
    }

    /// What a placement stores, without models that nobody in reach asks for.
    pub(super) fn of(index: &Index, placement: &Placement) -> Self {
        let mut stock = Self::empty(index);
        for (server, models) in placement.models.iter().enumerate() {
            let position = |model: &ModelOrd| {
                let family = index.library.family[model.index()];
                index.shelves[server].position(family, model.0)
            };
            let positions = models.iter().filter_map(position).collect();
            stock.put(index, server, positions);
        }
        stock
    }

    pub(super) fn placement(&self, index: &Index) -> Placement {
        let models = |(positions, shelf): (&Vec<u32>, &Shelf)| {
            let mut models: Vec<_> = positions
                .iter()
                .map(|at| ModelOrd(shelf.models[*at as usize]))
                .collect();
            models.sort_unstable();
            models
        };
        Placement {
            models: self.positions.iter().zip(&index.shelves).map(models).collect(),
        }
    }

    /// Ordinals of the models that a server stores.
    pub(super) fn models(&self, index: &Index, server: usize) -> Vec<u32> {
        let shelf = &index.shelves[server];
        self.positions[server]
            .iter()
            .map(|at| shelf.models[*at as usize])
            .collect()
    }

    /// Stores models on an empty server, positions in any order; returns the worth that is served more.
    pub(super) fn put(&mut self, index: &Index, server: usize, mut positions: Vec<u32>) -> i64 {
        positions.sort_unstable();
        let mut served = 0_u64;
        for &position in &positions {
            for &row in index.shelves[server].rows(position as usize) {
                let holders = &mut self.holders[row as usize];
                *holders += 1;
                if *holders == 1 {
                    served += index.rows[row as usize].value;
                }
            }
        }
        self.positions[server] = positions;
        served.cast_signed()
    }

    /// Empties a server; returns the worth that is served more: none, or a negative number.
    pub(super) fn clear(&mut self, index: &Index, server: usize) -> i64 {
        let mut lost = 0_u64;
        for position in std::mem::take(&mut self.positions[server]) {
            for &row in index.shelves[server].rows(position as usize) {
                let holders = &mut self.holders[row as usize];
                *holders -= 1;
                if *holders == 0 {
                    lost += index.rows[row as usize].value;
                }
            }
        }
        -lost.cast_signed()
    }

    /// What each model of a server's shelf would serve that no other server serves, less its own fetch price.
    pub(super) fn gains(&self, index: &Index, server: usize, values: &mut Vec<f64>) {
        let shelf = &index.shelves[server];
        let mut mine = self.positions[server].iter().peekable();
        values.clear();
        for position in 0..shelf.models.len() {
            let own = u32::from(mine.next_if(|mine| **mine as usize == position).is_some());
            let alone = shelf
                .rows(position)
                .iter()
                .filter(|row| self.holders[**row as usize] == own);
            let gain: u64 = alone.map(|row| index.rows[*row as usize].value).sum();
            values.push(as_f64(gain) - as_f64(shelf.fetch(position)));
        }
    }

    /// Price of what a server stores and does not hold.
    pub(super) fn fetch(&self, index: &Index, server: usize) -> u64 {
        let shelf = &index.shelves[server];
        let own: u64 = self.positions[server]
            .iter()
            .map(|at| shelf.fetch(*at as usize))
            .sum();
        own + self.chunk_fetch(index, server)
    }

    /// The chunks' part of that price.
    pub(super) fn chunk_fetch(&self, index: &Index, server: usize) -> u64 {
        let shelf = &index.shelves[server];
        if shelf.chunk_prices.is_empty() {
            return 0;
        }
        let mut chunks: Vec<u32> = Vec::new();
        for &at in &self.positions[server] {
            let family = index.library.family[shelf.models[at as usize] as usize];
            chunks.extend(&index.library.families[family as usize]);
        }
        chunks.sort_unstable();
        chunks.dedup();
        chunks.iter().map(|chunk| shelf.chunk_price(*chunk)).sum()
    }

    /// Worth of the rows that are served less all fetch prices.
    pub(super) fn value(&self, index: &Index) -> i64 {
        let served = index
            .rows
            .iter()
            .zip(&self.holders)
            .filter(|(_, holders)| **holders > 0);
        let served: u64 = served.map(|(row, _)| row.value).sum();
        let fetched: u64 = (0..self.positions.len())
            .map(|server| self.fetch(index, server))
            .sum();
        served.cast_signed() - fetched.cast_signed()
    }
}
