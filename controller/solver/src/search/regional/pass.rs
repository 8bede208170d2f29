//! A fleet under one aim: a table for each group, priced hops, and bounds for walks from group to group.
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
    inward: Vec<Vec<Hop>>,
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

/// Least costs that complete a walk among some groups, by layers done and group.
#[derive(Clone, Debug)]
pub(super) struct Completion {
    /// The groups, ascending; bounds are by position here.
    pub(super) among: Vec<usize>,
    /// Bounds of one group.
    row: usize,
    /// Position of each group, if it is among them.
    positions: Vec<Option<u32>>,
    entered: Vec<u64>,
    ended: Vec<u64>,
    /// Least of `entered` by layers.
    entered_least: Vec<u64>,
}

impl Completion {
    /// Bounds for walks that end with the way back to `head`, or to any, through states that are live; `None` when the
    /// budget ends.
    pub(super) fn new(
        pass: &Pass,
        among: Vec<usize>,
        head: Option<usize>,
        live: Option<&Live>,
        meter: &mut Meter<'_>,
    ) -> Option<Self> {
        let (n, num_layers) = (among.len(), pass.num_layers as usize);
        let back = |last: usize| match head {
            Some(head) => pass.return_hop(last, head),
            None => among
                .iter()
                .map(|&head| pass.return_hop(last, head))
                .min()
                .unwrap_or(NEVER),
        };
        let ways_back: Vec<u64> = among.iter().map(|&last| back(last)).collect();
        let mut positions = vec![None; pass.num_groups()];
        for (at, &group) in (0..).zip(&among) {
            positions[group] = Some(at);
        }
        let mut completion = Self {
            among,
            row: num_layers + 1,
            positions,
            entered: vec![NEVER; n * (num_layers + 1)],
            ended: vec![NEVER; n * (num_layers + 1)],
            entered_least: vec![NEVER; num_layers + 1],
        };
        for layers in (1..num_layers).rev() {
            let entered = completion.enter(pass, layers, &ways_back, live);
            let hops = completion.end(pass, layers, live);
            if !meter.spend((entered * (num_layers - layers) + n) as u64 / 2 + hops) {
                return None;
            }
        }
        Some(completion)
    }

    /// The states that were bounded.
    fn enter(&mut self, pass: &Pass, layers: usize, ways_back: &[u64], live: Option<&Live>) -> usize {
        let num_layers = pass.num_layers as usize;
        let mut bounded = 0;
        for (i, &group) in self.among.iter().enumerate() {
            if live.is_some_and(|live| !live.entered[group * self.row + layers]) {
                continue;
            }
            bounded += 1;
            let closing = pass.visit(LAST, group)[num_layers - layers].saturating_add(ways_back[i]);
            let visits = &pass.visit(MIDDLE, group)[1..num_layers - layers];
            let rests = &self.ended[i * self.row + layers + 1..i * self.row + num_layers];
            let least = least_sum(visits, rests).min(closing).min(NEVER);
            self.entered[i * self.row + layers] = least;
            self.entered_least[layers] = self.entered_least[layers].min(least);
        }
        bounded
    }

    /// The hops that were looked at: not many, since the cheapest come first.
    fn end(&mut self, pass: &Pass, layers: usize, live: Option<&Live>) -> u64 {
        let mut looked_at = 0;
        let beyond = self.entered_least[layers];
        for (i, &group) in self.among.iter().enumerate() {
            if live.is_some_and(|live| !live.ended[group * self.row + layers]) {
                continue;
            }
            let entered = |at: usize| self.entered[at * self.row + layers];
            let hops = pass.onward(group);
            self.ended[i * self.row + layers] =
                least_hop(hops, &self.positions, entered, beyond, &mut looked_at);
        }
        looked_at
    }

    /// Position of a group, if it is among them.
    pub(super) fn position(&self, group: usize) -> Option<usize> {
        self.positions[group].map(|at| at as usize)
    }

    /// After entering the group at this position with so many layers done.
    pub(super) fn entered(&self, layers: usize, at: usize) -> u64 {
        self.entered[at * self.row + layers]
    }

    /// After entering whichever group is best with so many layers done.
    pub(super) fn entered_least(&self, layers: usize) -> u64 {
        self.entered_least[layers]
    }

    /// After a visit to the group at this position that ended with so many layers done.
    pub(super) fn ended(&self, layers: usize, at: usize) -> u64 {
        self.ended[at * self.row + layers]
    }

    /// A bound for walks that start at the group at this position.
    pub(super) fn bound(&self, pass: &Pass, at: usize) -> u64 {
        let group = self.among[at];
        let whole = pass.visit(BOTH, group)[pass.num_layers as usize];
        let alone = whole.saturating_add(pass.return_hop(group, group));
        let visit = pass.visit(HEAD, group);
        let further = (1..pass.num_layers as usize).map(|layers| visit[layers] + self.ended(layers, at));
        let least = further.min().unwrap_or(NEVER).min(alone);
        least.saturating_add(pass.entries[group]).min(NEVER)
    }

    /// What a walk below the limit can touch; `None` when the budget ends. Of the completion over all groups with any
    /// head.
    pub(super) fn live(&self, pass: &Pass, limit: u64, meter: &mut Meter<'_>) -> Option<Live> {
        let (n, num_layers) = (self.among.len(), pass.num_layers as usize);
        let mut entered = vec![NEVER; n * self.row];
        let mut ended = vec![NEVER; n];
        let mut live = Live {
            groups: Vec::new(),
            entered: vec![false; n * self.row],
            ended: vec![false; n * self.row],
        };
        let mut survives: Vec<bool> = (0..n).map(|at| self.bound(pass, at) < limit).collect();
        for layers in 1..num_layers {
            for (i, &group) in self.among.iter().enumerate() {
                let opening = pass.entries[group].saturating_add(pass.visit(HEAD, group)[layers]);
                let starts = &entered[i * self.row + 1..i * self.row + layers];
                let visits = pass.visit(MIDDLE, group)[1..layers].iter().rev();
                let further = starts.iter().zip(visits).map(|(start, visit)| start + visit);
                ended[i] = further.min().unwrap_or(NEVER).min(opening).min(NEVER);
                live.ended[i * self.row + layers] = ended[i].saturating_add(self.ended(layers, i)) < limit;
            }
            let least_ended = ended.iter().copied().min().unwrap_or(NEVER);
            let mut hops = 0;
            for (j, &group) in self.among.iter().enumerate() {
                let inward = &pass.inward[group];
                let least = least_hop(inward, &self.positions, |at| ended[at], least_ended, &mut hops);
                entered[j * self.row + layers] = least;
                let lives = least.saturating_add(self.entered(layers, j)) < limit;
                live.entered[j * self.row + layers] = lives;
                survives[j] |= lives;
            }
            if !meter.spend((n * layers) as u64 / 2 + hops) {
                return None;
            }
        }
        live.groups = (0..n).filter(|&at| survives[at]).collect();
        Some(live)
    }
}

/// What walks below a limit can touch: groups, ascending, and states by group and layers done.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) groups: Vec<usize>,
    entered: Vec<bool>,
    ended: Vec<bool>,
}

/// The least sum of two figures at one place; four at a time, since each comparison would wait for the one before.
fn least_sum(ones: &[u64], others: &[u64]) -> u64 {
    let (ones, rest) = ones.as_chunks::<4>();
    let (others, other_rest) = others.as_chunks::<4>();
    let mut least = [NEVER; 4];
    for (one, other) in ones.iter().zip(others) {
        for lane in 0..4 {
            least[lane] = least[lane].min(one[lane] + other[lane]);
        }
    }
    let last = rest.iter().zip(other_rest).map(|(one, other)| one + other);
    last.chain(least).min().unwrap_or(NEVER)
}

/// Moves a group to where its hop belongs now among sorted hops.
fn replace(hops: &mut Vec<Hop>, group: usize, cost: u64) {
    let group = u32::try_from(group).expect("few groups");
    hops.retain(|hop| hop.group != group);
    if cost < NEVER {
        let before = hops.partition_point(|hop| (hop.cost, hop.group) < (cost, group));
        hops.insert(before, Hop { group, cost });
    }
}

/// The least sum of a hop and what lies beyond it; `least` bounds the latter, so that dear hops are not looked at.
fn least_hop(
    hops: &[Hop],
    positions: &[Option<u32>],
    beyond: impl Fn(usize) -> u64,
    least: u64,
    looked_at: &mut u64,
) -> u64 {
    let mut best = NEVER;
    for hop in hops {
        *looked_at += 1;
        if hop.cost + least >= best {
            break;
        }
        if let Some(at) = positions[hop.group as usize] {
            best = best.min(hop.cost + beyond(at as usize));
        }
    }
    best
}
