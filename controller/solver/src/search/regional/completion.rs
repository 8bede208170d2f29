//! Bounds for walks from group to group: what is still to come from each state, and what a walk of one head costs.

use super::super::budget::Meter;
use super::super::instance::NEVER;
use super::pass::{BOTH, HEAD, Hop, LAST, MIDDLE, Pass};

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

    /// The least cost of a walk that starts at `head` and comes back to it, or the limit if none costs less; `None` when the
    /// budget ends. Of the completion over all groups with any head, which discards almost all that lies on the way.
    pub(super) fn closed(
        &self,
        pass: &Pass,
        head: usize,
        live: &Live,
        limit: u64,
        meter: &mut Meter<'_>,
    ) -> Option<u64> {
        let num_layers = pass.num_layers as usize;
        let entry = pass.entries[head];
        let whole = pass.visit(BOTH, head)[num_layers].saturating_add(pass.return_hop(head, head));
        let mut least = limit.min(entry.saturating_add(whole));
        let mut entered = vec![NEVER; self.entered.len()];
        let mut ended = vec![NEVER; self.ended.len()];
        let opening = &pass.visit(HEAD, head)[..num_layers];
        self.visits(head, 0, entry, opening, least, &mut ended);
        let mut looked_at = 0;
        for layers in 1..num_layers {
            for &group in &live.groups {
                let cost = ended[group * self.row + layers];
                let left = least.saturating_sub(cost);
                for hop in pass.onward(group) {
                    looked_at += 1;
                    if hop.cost + self.entered_least[layers] >= left {
                        break;
                    }
                    let state = hop.group as usize * self.row + layers;
                    if hop.cost + self.entered[state] < left {
                        entered[state] = entered[state].min(cost + hop.cost);
                    }
                }
            }
            for &group in &live.groups {
                let cost = entered[group * self.row + layers];
                if cost >= least {
                    continue;
                }
                looked_at += (num_layers - layers) as u64 / 2;
                let closing = pass.visit(LAST, group)[num_layers - layers];
                least = least.min(
                    cost.saturating_add(closing)
                        .saturating_add(pass.return_hop(group, head)),
                );
                let visits = &pass.visit(MIDDLE, group)[..num_layers - layers];
                self.visits(group, layers, cost, visits, least, &mut ended);
            }
            if !meter.spend(live.groups.len() as u64 + std::mem::take(&mut looked_at)) {
                return None;
            }
        }
        Some(least)
    }

    /// Goes on from a visit's beginning to each end of it from where a walk below the limit can go on.
    fn visits(&self, group: usize, layers: usize, cost: u64, visits: &[u64], limit: u64, ended: &mut [u64]) {
        let states = group * self.row + layers..(group + 1) * self.row;
        let beyond = ended[states.clone()].iter_mut().zip(&self.ended[states]);
        for ((ended, completion), visit) in beyond.zip(visits).skip(1) {
            let there = cost.saturating_add(*visit);
            if there.saturating_add(*completion) < limit {
                *ended = there.min(*ended);
            }
        }
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
