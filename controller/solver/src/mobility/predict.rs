//! Moves with an eye on where users go: a Markov chain of cells, learnt from earlier users, and the cheapest rule for it.
//!
//! With `V(c, s)` the expected cost from now on of a session at site `s` whose user is in cell `c`, and a cost in the next
//! epoch counting `discount` of one now (Wang et al., IEEE/ACM ToN 2019, solve the same for distances instead of cells):
//!
//! ```text
//! V(c, s) = min over r of  move(s, r) + Q(c, r)
//! Q(c, r) = service(c, r) + discount · Σ over d of P(d | c) · V(d, r)
//! ```

use super::{Epoch, Moves, Policy, Service};
use crate::units::Nanos;

/// Where users go next, by the cell that they are in.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// For each cell, the next ones with their probabilities, which add up to 1.
    next: Vec<Vec<(usize, f64)>>,
}

impl Chain {
    /// Counts what `ways`, each the cells of a user in consecutive epochs, did in each of `cells` cells. Who is in a cell that
    /// nobody has left is expected to stay.
    ///
    /// # Panics
    /// When a way goes through a cell that there is not.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn learn<'w>(cells: usize, ways: impl IntoIterator<Item = &'w [usize]>) -> Self {
        let mut counts = vec![std::collections::BTreeMap::<usize, u64>::new(); cells];
        for way in ways {
            for pair in way.windows(2) {
                assert!(pair[1] < cells, "there is no cell {}", pair[1]);
                *counts[pair[0]].entry(pair[1]).or_default() += 1;
            }
        }
        let row = |(cell, counts): (usize, std::collections::BTreeMap<usize, u64>)| {
            let all: u64 = counts.values().sum();
            if all == 0 {
                return vec![(cell, 1.0)];
            }
            let share = |(next, count)| (next, count as f64 / all as f64);
            counts.into_iter().map(share).collect()
        };
        Self {
            next: counts.into_iter().enumerate().map(row).collect(),
        }
    }

    /// The next cells with their probabilities.
    #[must_use]
    pub fn next(&self, cell: usize) -> &[(usize, f64)] {
        &self.next[cell]
    }
}

/// Expected costs of being at a site, for sessions whose moves cost the same.
#[derive(Clone, Debug)]
pub struct Outlook {
    sites: usize,
    /// `Q`, cells in rows, in nanoseconds.
    expected: Vec<f64>,
    /// By how much more the last sweep changed one value than another, in nanoseconds.
    residual: f64,
}

/// How far ahead an [`Outlook`] looks, and how exactly it is solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Horizon {
    /// What a cost in the next epoch counts, of one now; below 1. The mean horizon is `1 / (1 − discount)` epochs.
    pub discount: f64,
    /// Sweeps end when one changes all values by the same, to within this, in nanoseconds: what is the same for all sites
    /// decides nothing.
    pub tolerance: f64,
    /// They end after so many at the latest.
    pub sweeps_max: u32,
}

impl Horizon {
    /// Looks so many epochs ahead in the mean, exact to a microsecond per epoch.
    #[must_use]
    pub fn of_epochs(epochs: f64) -> Self {
        Self {
            discount: 1.0 - 1.0 / epochs.max(1.0),
            tolerance: 1_000.0,
            sweeps_max: 2_000,
        }
    }
}

impl Outlook {
    /// Solves the equations above by value iteration, in O(cells · sites²) for each sweep. Values are off by at most
    /// `discount / (1 − discount)` times the residual.
    ///
    /// # Panics
    /// When service, moves and chain are not of the same cells and sites.
    #[must_use]
    pub fn solve(service: &Service, moves: &Moves, chain: &Chain, horizon: Horizon) -> Self {
        let (cells, sites) = (service.cells(), service.sites());
        assert_eq!(sites, moves.sites(), "service and moves are of the same sites");
        assert_eq!(cells, chain.next.len(), "service and chain are of the same cells");
        let cost: Vec<f64> = (0..cells).flat_map(|cell| service.row(cell)).map(nanos).collect();
        // By target, so that the least over targets is a minimum of columns.
        let reach: Vec<f64> = (0..sites)
            .flat_map(|to| (0..sites).map(move |from| (from, to)))
            .map(|(from, to)| nanos(&moves.cost(from, to)))
            .collect();
        let mut outlook = Self {
            sites,
            expected: cost.clone(),
            residual: f64::INFINITY,
        };
        let mut value = vec![0.0; cells * sites];
        let mut step = 0.0;
        for _sweep in 0..horizon.sweeps_max {
            outlook.values(&reach, &mut value);
            step = outlook.sweep(&cost, &value, chain, horizon.discount);
            if outlook.residual <= horizon.tolerance {
                break;
            }
        }
        // All further sweeps would add this (MacQueen's bounds, 1966).
        let rest = step * horizon.discount / (1.0 - horizon.discount);
        outlook.expected.iter_mut().for_each(|expected| *expected += rest);
        outlook
    }

    /// `V` of every cell and site.
    fn values(&self, reach: &[f64], value: &mut [f64]) {
        for (expected, value) in self
            .expected
            .chunks_exact(self.sites)
            .zip(value.chunks_exact_mut(self.sites))
        {
            value.fill(f64::INFINITY);
            for (there, reach) in expected.iter().zip(reach.chunks_exact(self.sites)) {
                for (value, reach) in value.iter_mut().zip(reach) {
                    *value = value.min(reach + there);
                }
            }
        }
    }

    /// `Q` from `V`; returns by how much it grew, between the least and the most.
    fn sweep(&mut self, cost: &[f64], value: &[f64], chain: &Chain, discount: f64) -> f64 {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut row = vec![0.0; self.sites];
        for (cell, next) in chain.next.iter().enumerate() {
            let here = cell * self.sites..(cell + 1) * self.sites;
            row.copy_from_slice(&cost[here.clone()]);
            for (to, probability) in next {
                let weight = discount * probability;
                for (sum, value) in row.iter_mut().zip(&value[to * self.sites..]) {
                    *sum += weight * value;
                }
            }
            for (known, fresh) in self.expected[here].iter_mut().zip(&row) {
                let change = fresh - *known;
                (least, most) = (change.min(least), change.max(most));
                *known = *fresh;
            }
        }
        self.residual = most - least;
        f64::midpoint(least, most)
    }

    /// Expected costs from now on of each site for a user in this cell, in nanoseconds.
    #[must_use]
    pub fn expected(&self, cell: usize) -> &[f64] {
        &self.expected[cell * self.sites..(cell + 1) * self.sites]
    }

    /// By how much more the last sweep changed one value than another, in nanoseconds.
    #[must_use]
    pub fn residual(&self) -> f64 {
        self.residual
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "costs of an epoch are far below 2^52 ns, 52 days"
)]
pub(super) fn nanos(cost: &Nanos) -> f64 {
    cost.0 as f64
}

/// Follows an outlook.
#[derive(Clone, Copy, Debug)]
pub struct Predictive<'o>(pub &'o Outlook);

impl Policy for Predictive<'_> {
    fn decide(&mut self, epoch: &Epoch<'_>, moves: &Moves, site: usize) -> usize {
        let expected = self.0.expected(epoch.cell);
        let cost = |to: usize| nanos(&moves.cost(site, to)) + expected[to];
        let mut best = site;
        for to in 0..expected.len() {
            if cost(to) < cost(best) {
                best = to;
            }
        }
        best
    }
}
