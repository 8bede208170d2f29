//! A fleet under one aim: a table for each group and priced hops, which `completion` makes bounds of.
//!
//! A walk that visits no group twice costs exactly what the tables say. One that does may book nodes twice: its cost is a
//! bound, and what the [`explore`](super::explore)r remembers of such groups makes it exact.

use super::super::budget::Meter;
use super::super::instance::NEVER;
use super::aim::Aim;
use super::fleet::Fleet;
use super::table::{Ends, Levels, Table};

/// Tables and prices.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) aim: Aim,
    pub(super) num_layers: u32,
    pub(super) levels: Levels,
    pub(super) tables: Vec<Table>,
    /// Least costs over the levels of each group's table: by ends, then group, then layers.
    least: [Vec<u64>; 4],
    hops: Vec<u64>,
    returns: Vec<u64>,
    pub(super) entries: Vec<u64>,
    /// Hops out of each group and into it, the cheapest first.
    onward: Vec<Vec<Hop>>,
    pub(super) inward: Vec<Vec<Hop>>,
}

/// A hop to or from another group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) group: u32,
    pub(super) cost: u64,
}

impl Pass {
    /// Fills all tables; `None` when the budget ends.
    pub(super) fn new(fleet: &Fleet, aim: Aim, levels: Levels, meter: &mut Meter<'_>) -> Option<Self> {
        let num_groups = fleet.groups.len();
        let row = fleet.num_layers as usize + 1;
        let mut pass = Self {
            aim,
            num_layers: fleet.num_layers,
            levels,
            tables: Vec::with_capacity(num_groups),
            least: std::array::from_fn(|_| vec![NEVER; num_groups * row]),
            hops: fleet.hops.iter().map(|hop| aim.price(hop)).collect(),
            returns: fleet.returns.iter().map(|hop| aim.sum(hop)).collect(),
            entries: fleet.groups.iter().map(|group| aim.sum(&group.entry)).collect(),
            onward: vec![Vec::new(); num_groups],
            inward: vec![Vec::new(); num_groups],
        };
        if !meter.spend(8 * (num_groups * num_groups) as u64) {
            return None;
        }
        for group in 0..num_groups {
            pass.sort_hops(group);
        }
        for group in 0..num_groups {
            let table = pass.table(fleet, group, meter)?;
            pass.tables.push(table);
            pass.summarise(group);
        }
        Some(pass)
    }

    fn table(&self, fleet: &Fleet, group: usize, meter: &mut Meter<'_>) -> Option<Table> {
        let inner = self.inner(group);
        Table::new(
            &fleet.groups[group],
            &self.aim,
            inner,
            self.num_layers,
            self.levels,
            meter,
        )
    }

    fn sort_hops(&mut self, group: usize) {
        let sorted = |cost: &dyn Fn(usize) -> u64| {
            let others = (0..self.num_groups()).filter(|&other| other != group);
            let mut hops: Vec<Hop> = others
                .map(|other| Hop {
                    group: u32::try_from(other).expect("few groups"),
                    cost: cost(other),
                })
                .filter(|hop| hop.cost < NEVER)
                .collect();
            hops.sort_unstable_by_key(|hop| (hop.cost, hop.group));
            hops
        };
        let onward = sorted(&|to| self.hop(group, to));
        let inward = sorted(&|from| self.hop(from, group));
        (self.onward[group], self.inward[group]) = (onward, inward);
    }

    /// Hops out of a group, the cheapest first.
    pub(super) fn onward(&self, group: usize) -> &[Hop] {
        &self.onward[group]
    }

    fn summarise(&mut self, group: usize) {
        let row = self.num_layers as usize + 1;
        for (least, ends) in self.least.iter_mut().zip(Ends::ALL) {
            for layers in 0..row {
                least[group * row + layers] = self.tables[group].least(ends, layers);
            }
        }
    }

    /// Prices a group again whose members or inner hop have changed.
    pub(super) fn refresh_group(&mut self, fleet: &Fleet, group: usize, meter: &mut Meter<'_>) -> Option<()> {
        self.entries[group] = self.aim.sum(&fleet.groups[group].entry);
        self.tables[group] = self.table(fleet, group, meter)?;
        self.summarise(group);
        Some(())
    }

    /// Prices the hops from one group to another again.
    pub(super) fn refresh_hop(&mut self, fleet: &Fleet, from: usize, to: usize) {
        let at = from * self.num_groups() + to;
        self.hops[at] = self.aim.price(&fleet.hops[at]);
        self.returns[at] = self.aim.sum(&fleet.returns[at]);
        if from != to {
            replace(&mut self.onward[from], to, self.hops[at]);
            replace(&mut self.inward[to], from, self.hops[at]);
        }
    }

    /// Prices a group's entry again.
    pub(super) fn refresh_entry(&mut self, fleet: &Fleet, group: usize) {
        self.entries[group] = self.aim.sum(&fleet.groups[group].entry);
    }

    pub(super) fn num_groups(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn hop(&self, from: usize, to: usize) -> u64 {
        self.hops[from * self.num_groups() + to]
    }

    pub(super) fn return_hop(&self, last: usize, head: usize) -> u64 {
        self.returns[last * self.num_groups() + head]
    }

    /// A hop within a group.
    pub(super) fn inner(&self, group: usize) -> u64 {
        let num_groups = self.entries.len();
        self.hops[group * num_groups + group]
    }

    /// Least costs of a visit, by layers.
    pub(super) fn visit(&self, ends: Ends, group: usize) -> &[u64] {
        let row = self.num_layers as usize + 1;
        let index = usize::from(ends.head) + 2 * usize::from(ends.last);
        &self.least[index][group * row..(group + 1) * row]
    }
}

pub(super) const MIDDLE: Ends = Ends::of(false, false);
pub(super) const HEAD: Ends = Ends::of(true, false);
pub(super) const LAST: Ends = Ends::of(false, true);
pub(super) const BOTH: Ends = Ends::of(true, true);

/// Moves a group to where its hop belongs now among sorted hops.
fn replace(hops: &mut Vec<Hop>, group: usize, cost: u64) {
    let group = u32::try_from(group).expect("few groups");
    hops.retain(|hop| hop.group != group);
    if cost < NEVER {
        let before = hops.partition_point(|hop| (hop.cost, hop.group) < (cost, group));
        hops.insert(before, Hop { group, cost });
    }
}
