//! The certificate: Lagrangian relaxation of "a row is served only by servers that store its model".
//!
//! With a multiplier `λ_g ≥ 0` for each row `g` of worth `w_g`, every choice of multipliers bounds every placement:
//!
//! ```text
//! bound(λ) = Σ_g (w_g − λ_g)⁺ + Σ_m max over packings X of server m of (Σ_{i ∈ X} Σ_{g served by (m,i)} λ_g − fetch)
//! ```
//!
//! The servers' problems keep their integral chunks (set-union knapsacks, see [`pack`](super::pack)), so the best bound is
//! that of Dantzig and Wolfe over whole packings, far below that of the linear program (Geoffrion 1974).
//!
//! Multipliers descend along a running average of the subgradients, which is what damps their zigzag (volume algorithm,
//! Barahona and Anbil 2000), each scaled by the worth of its row, with Polyak's step toward the best known placement. The
//! average of the packings comes for free: it tells how often a server would store a model, and guides the search for
//! placements.
//!
//! Servers are packed in parallel. What they return is added up in their order, so the result is the same for any number
//! of threads.

use std::num::NonZeroUsize;

use super::index::{Index, Shelf};
use super::library::Library;
use super::pack::{FamilyEnumeration, Fill, Pack, Packed, as_f64};
use super::parallel::{ITEMS_MIN, for_parts};
use crate::search::Meter;

/// Weight of the newest subgradient in the average; a fifth converged fastest on the grids of the benchmark.
const NEWEST: f64 = 0.2;

/// First share of Polyak's step, its shrinking, and the number of steps without progress after which it shrinks.
const STEP_FIRST: f64 = 0.1;
const STEP_SHRINK: f64 = 0.8;
const STALLED_MAX: u32 = 5;

/// Progress that counts, as a share of the bound.
const PROGRESS: f64 = 1e-6;

/// Covers rounding when some millions of doubles are added up.
const ROUNDING: f64 = 1e-9;

/// One server's part.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// Price per byte of the last packing.
    hint: f64,
    /// Bound on the server's worth at the multipliers.
    worth: f64,
    /// How much of each model on the shelf is stored, averaged over the descent.
    pub(super) usage: Vec<f32>,
}

/// A model that a server must store, or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fixing {
    pub(super) server: u32,
    /// On the server's shelf.
    pub(super) position: u32,
    pub(super) inside: bool,
}

/// Nodes of the exact filling where bounds are wanted as tight as they get.
const FILL_NODES_MAX: u32 = 2_000;

/// Multipliers, the best bound they gave, and the average of the packings.
#[derive(Clone, Debug)]
pub(super) struct Dual {
    multipliers: Vec<f64>,
    /// Those of the best bound; with the servers' worths at them.
    pub(super) best: Vec<f64>,
    best_worths: Vec<f64>,
    best_bound: f64,
    pub(super) sides: Vec<Side>,
    direction: Vec<f64>,
    step: f64,
    stalled: u32,
    num_steps: u32,
    fill: Fill,
    /// Fixed models of each server; nothing at all if none is fixed anywhere.
    fixings: Vec<Vec<Fixing>>,
    /// More than any placement is worth.
    bonus: f64,
}

impl Dual {
    /// Every row's worth divided among the servers that can serve it.
    pub(super) fn new(index: &Index) -> Self {
        let mut num_servers = vec![0_u32; index.rows.len()];
        for shelf in &index.shelves {
            for position in 0..shelf.models.len() {
                shelf
                    .rows(position)
                    .iter()
                    .for_each(|row| num_servers[*row as usize] += 1);
            }
        }
        let share =
            |(row, servers): (&super::index::Row, &u32)| as_f64(row.value) / f64::from((*servers).max(1));
        let multipliers: Vec<f64> = index.rows.iter().zip(&num_servers).map(share).collect();
        let side = |shelf: &Shelf| Side {
            usage: vec![0.0; shelf.models.len()],
            ..Side::default()
        };
        Self {
            best: multipliers.clone(),
            best_worths: vec![0.0; index.shelves.len()],
            best_bound: f64::INFINITY,
            sides: index.shelves.iter().map(side).collect(),
            direction: vec![0.0; multipliers.len()],
            multipliers,
            step: STEP_FIRST,
            stalled: 0,
            num_steps: 0,
            fill: Fill::Fractional,
            fixings: Vec::new(),
            bonus: as_f64(index.demanded) + 1.0,
        }
    }

    /// At given multipliers, with some models fixed and whole items only.
    pub(super) fn fixed(index: &Index, multipliers: &[f64], fixings: &[Fixing]) -> Self {
        let mut dual = Self::new(index);
        dual.multipliers.copy_from_slice(multipliers);
        dual.fill = Fill::Exact(FILL_NODES_MAX);
        dual.fixings = vec![Vec::new(); index.shelves.len()];
        for fixing in fixings {
            dual.fixings[fixing.server as usize].push(*fixing);
        }
        dual
    }

    /// No placement is worth more.
    #[allow(clippy::cast_possible_truncation, reason = "worth is below 2^50")]
    pub(super) fn bound(&self, index: &Index) -> i64 {
        let servable = index.servable.cast_signed();
        if self.best_bound.is_finite() {
            let covered = self.best_bound + self.best_bound.abs() * ROUNDING + ROUNDING;
            return servable.min(covered.floor() as i64);
        }
        servable
    }

    /// Takes up to so many steps, or fewer when the meter ends or the bound reaches `known`, the worth of a placement.
    pub(super) fn descend(
        &mut self,
        index: &Index,
        threads: NonZeroUsize,
        known: i64,
        num_steps: u32,
        meter: &mut Meter<'_>,
    ) {
        let mut served = vec![0.0; index.rows.len()];
        for _ in 0..num_steps {
            if !meter.spend(0) || self.bound(index) <= known {
                return;
            }
            let (bound, steps) = self.evaluate(index, threads, &mut served);
            meter.spend(steps);
            self.remember(bound);
            if !self.advance(index, &served, bound - known as f64) {
                return;
            }
        }
    }

    /// A row's worth changes; its multipliers keep their share of it. The servers' part follows with
    /// [`rebound`](Self::rebound).
    pub(super) fn revalue(&mut self, row: usize, before: u64, after: u64) {
        let share = if before == 0 {
            1.0
        } else {
            as_f64(after) / as_f64(before)
        };
        let rest = unserved(before, self.best[row]);
        for multiplier in [&mut self.multipliers[row], &mut self.best[row]] {
            *multiplier = (*multiplier * share).min(as_f64(after));
        }
        self.best_bound += unserved(after, self.best[row]) - rest;
    }

    /// A new last row, with a multiplier.
    pub(super) fn add_row(&mut self, value: u64, multiplier: f64) {
        self.multipliers.push(multiplier);
        self.best.push(multiplier);
        self.direction.push(0.0);
        self.best_bound += unserved(value, multiplier);
    }

    /// A new last server, with nothing on its shelf.
    pub(super) fn add_server(&mut self) {
        self.sides.push(Side::default());
        self.best_worths.push(0.0);
    }

    /// A server's shelf was built again; `before` is where a model stood.
    pub(super) fn remap(&mut self, server: usize, shelf: &Shelf, before: impl Fn(u32) -> Option<u32>) {
        let side = &mut self.sides[server];
        let usage = |model: &u32| before(*model).map_or(0.0, |position| side.usage[position as usize]);
        side.usage = shelf.models.iter().map(usage).collect();
    }

    /// Computes the part of some servers in the best bound again.
    pub(super) fn rebound(&mut self, index: &Index, servers: &[u32]) {
        if self.best_bound.is_infinite() {
            return;
        }
        let mut packing = Packing::new(&index.library, &self.best, self.fill, self.bonus);
        for &server in servers {
            let mut side = Side {
                hint: self.sides[server as usize].hint,
                ..Side::default()
            };
            packing.pack(&index.shelves[server as usize], &[], &mut side);
            let worth = &mut self.best_worths[server as usize];
            self.best_bound += side.worth - *worth;
            *worth = side.worth;
        }
    }

    /// The bound at the multipliers; `served` becomes how often each row is served there.
    fn evaluate(&mut self, index: &Index, threads: NonZeroUsize, served: &mut [f64]) -> (f64, u64) {
        let newest = if self.num_steps == 0 { 1.0 } else { NEWEST };
        let (multipliers, fixings, fill, bonus) = (&self.multipliers, &self.fixings, self.fill, self.bonus);
        let parts = for_parts(threads, ITEMS_MIN, &mut self.sides, |first, sides| {
            let mut packing = Packing::new(&index.library, multipliers, fill, bonus);
            let mut uses: Vec<(u32, f32)> = Vec::new();
            let mut steps = 0;
            for (server, side) in (first..).zip(sides) {
                let shelf = &index.shelves[server];
                let fixed = fixings.get(server).map_or(&[][..], Vec::as_slice);
                packing.pack(shelf, fixed, side);
                steps += packing.packed.steps + shelf.num_pairs() as u64;
                packing.average(shelf, side, newest, &mut uses);
            }
            (uses, steps)
        });
        served.fill(0.0);
        let mut steps = index.rows.len() as u64;
        for (uses, part_steps) in parts {
            uses.into_iter()
                .for_each(|(row, part)| served[row as usize] += f64::from(part));
            steps += part_steps;
        }
        let rest = index.rows.iter().zip(&self.multipliers);
        let rest: f64 = rest
            .map(|(row, multiplier)| unserved(row.value, *multiplier))
            .sum();
        (
            rest + self.sides.iter().map(|side| side.worth).sum::<f64>(),
            steps,
        )
    }

    /// Keeps the multipliers if their bound is the best, and shortens steps that bring nothing.
    fn remember(&mut self, bound: f64) {
        let progress =
            self.best_bound.is_infinite() || bound < self.best_bound - PROGRESS * self.best_bound.abs();
        self.stalled = if progress { 0 } else { self.stalled + 1 };
        if self.stalled >= STALLED_MAX {
            (self.step, self.stalled) = (self.step * STEP_SHRINK, 0);
        }
        if bound < self.best_bound {
            self.best_bound = bound;
            self.best.clone_from(&self.multipliers);
            self.best_worths.clear();
            self.best_worths.extend(self.sides.iter().map(|side| side.worth));
        }
        self.num_steps += 1;
    }

    /// One step; `false` where there is no direction to descend in.
    fn advance(&mut self, index: &Index, served: &[f64], excess: f64) -> bool {
        let newest = if self.num_steps == 1 { 1.0 } else { NEWEST };
        let mut norm = 0.0;
        let rows = index.rows.iter().zip(served).zip(&self.multipliers);
        for (direction, ((row, served), &multiplier)) in self.direction.iter_mut().zip(rows) {
            let worth = as_f64(row.value);
            let wanted = if multiplier < worth { 1.0 } else { 0.0 };
            *direction = (1.0 - newest) * *direction + newest * (wanted - served);
            let leaves = (multiplier >= worth && *direction > 0.0) || (multiplier <= 0.0 && *direction < 0.0);
            if !leaves {
                norm += *direction * *direction * worth;
            }
        }
        if norm <= 0.0 || excess <= 0.0 {
            return false;
        }
        let length = self.step * excess / norm;
        for ((direction, row), multiplier) in
            self.direction.iter().zip(&index.rows).zip(&mut self.multipliers)
        {
            let worth = as_f64(row.value);
            *multiplier = (*multiplier + length * worth * direction).clamp(0.0, worth);
        }
        true
    }
}

/// What a row adds to the bound beside what servers get for it.
fn unserved(value: u64, multiplier: f64) -> f64 {
    (as_f64(value) - multiplier).max(0.0)
}

/// Packs servers at given multipliers.
struct Packing<'a> {
    library: &'a Library,
    multipliers: &'a [f64],
    fill: Fill,
    bonus: f64,
    packer: FamilyEnumeration,
    values: Vec<f64>,
    packed: Packed,
}

impl<'a> Packing<'a> {
    fn new(library: &'a Library, multipliers: &'a [f64], fill: Fill, bonus: f64) -> Self {
        Self {
            library,
            multipliers,
            fill,
            bonus,
            packer: FamilyEnumeration::default(),
            values: Vec::new(),
            packed: Packed::default(),
        }
    }

    fn pack(&mut self, shelf: &Shelf, fixed: &[Fixing], side: &mut Side) {
        self.values.clear();
        for position in 0..shelf.models.len() {
            let rows = shelf.rows(position).iter();
            let worth: f64 = rows.map(|row| self.multipliers[*row as usize]).sum();
            self.values.push(worth - as_f64(shelf.fetch(position)));
        }
        let mut forced = 0.0;
        for fixing in fixed {
            let value = &mut self.values[fixing.position as usize];
            if fixing.inside {
                *value += self.bonus;
                forced += self.bonus;
            } else {
                *value = -1.0;
            }
        }
        let knapsack = shelf.knapsack(self.library, &self.values);
        self.packer
            .pack(&knapsack, self.fill, side.hint, &mut self.packed);
        (side.hint, side.worth) = (self.packed.price, self.packed.bound - forced);
    }

    /// Adds the packing to the average of the side, and what it serves to `uses`.
    #[allow(clippy::cast_possible_truncation, reason = "parts need few digits")]
    fn average(&self, shelf: &Shelf, side: &mut Side, newest: f64, uses: &mut Vec<(u32, f32)>) {
        side.usage
            .iter_mut()
            .for_each(|usage| *usage *= (1.0 - newest) as f32);
        let whole = self.packed.items.iter().map(|position| (*position, 1.0));
        for (position, part) in whole.chain(self.packed.cut) {
            side.usage[position as usize] += (newest * part) as f32;
            uses.extend(
                shelf
                    .rows(position as usize)
                    .iter()
                    .map(|row| (*row, part as f32)),
            );
        }
    }
}
