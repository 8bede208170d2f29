//! Best-first search for walks from group to group, from one head's group on.
//!
//! Labels of a walk remember what they took of critical groups; a second visit to such a group is charged what both
//! visits cost together, so that no node is used twice. Groups become critical when a cheapest walk visits them twice
//! (decremental state-space relaxation, over groups in place of nodes).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::budget::Meter;
use super::super::instance::NEVER;
use super::completion::Completion;
use super::pass::{BOTH, HEAD, LAST, MIDDLE, Pass};
use super::table::Ends;

/// Labels kept in memory at most.
const LABELS_MAX: usize = 400_000;
/// A label, made or followed, takes so many times as long as a step.
const LABEL_STEPS: u64 = 100;
const NONE: u32 = u32::MAX;

/// What a walk took of a critical group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    /// Position of the group.
    at: u32,
    ends: Ends,
    visits: u32,
    level: u16,
    layers: u32,
}

/// What a walk took of the group that it visits again; nothing if it visits it for the first time.
#[derive(Clone, Copy, Debug, Default)]
struct Visited {
    /// With those of the new visit.
    ends: Ends,
    visits: u32,
    level: usize,
    layers: u32,
    already: u64,
}

#[derive(Clone, Debug)]
struct Label {
    cost: u64,
    at: u32,
    layers: u32,
    level: u16,
    parent: u32,
    taken: Vec<Taken>,
}

/// What the search came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The cheapest walk that was not told yet: its cost and its groups.
    Walk(u64, Vec<usize>),
    /// No other walk is below the limit.
    None,
    /// The budget ended; no other walk costs less than this.
    Stopped(u64),
}

/// A search from one group.
pub(super) struct Explorer<'p> {
    pass: &'p Pass,
    completion: &'p Completion,
    /// By group.
    critical: &'p [bool],
    /// Levels that a complete walk must have.
    level_min: usize,
    labels: Vec<Label>,
    /// Labels by (layers, position) that nothing dominates.
    kept: Vec<Vec<u32>>,
    open: BinaryHeap<Reverse<(u64, u32)>>,
    /// Steps since the meter was told.
    work: u64,
}

impl<'p> Explorer<'p> {
    /// Starts at the group at this position; `completion` knows its way back.
    pub(super) fn new(
        pass: &'p Pass,
        completion: &'p Completion,
        critical: &'p [bool],
        level_min: usize,
        start: usize,
        limit: u64,
    ) -> Self {
        let num_layers = pass.num_layers as usize;
        let mut explorer = Self {
            pass,
            completion,
            critical,
            level_min,
            labels: Vec::new(),
            kept: vec![Vec::new(); (num_layers + 1) * completion.among.len()],
            open: BinaryHeap::new(),
            work: 0,
        };
        let group = completion.among[start];
        let root = Label {
            cost: pass.entries[group],
            at: u32::try_from(start).expect("few groups"),
            layers: 0,
            level: 0,
            parent: NONE,
            taken: Vec::new(),
        };
        explorer.visit(&root, HEAD, limit);
        explorer.finish(&root, BOTH, pass.return_hop(group, group), limit);
        explorer
    }

    /// The next walk below the limit.
    pub(super) fn next(&mut self, limit: u64, meter: &mut Meter<'_>) -> Next {
        while let Some(&Reverse((bound, id))) = self.open.peek() {
            if bound >= limit {
                return Next::None;
            }
            if !meter.spend(1) || self.labels.len() >= LABELS_MAX {
                return Next::Stopped(bound);
            }
            self.open.pop();
            let label = self.labels[id as usize].clone();
            if label.layers == self.pass.num_layers {
                return Next::Walk(label.cost, self.walk(id));
            }
            if !self.kept[self.slot(&label)].contains(&id) {
                continue;
            }
            self.expand(id, &label, limit);
            meter.spend(LABEL_STEPS + std::mem::take(&mut self.work));
        }
        Next::None
    }

    fn slot(&self, label: &Label) -> usize {
        label.layers as usize * self.completion.among.len() + label.at as usize
    }

    fn walk(&self, last: u32) -> Vec<usize> {
        let mut walk = Vec::new();
        let mut id = last;
        while id != NONE {
            let label = &self.labels[id as usize];
            walk.push(self.completion.among[label.at as usize]);
            id = label.parent;
        }
        walk.reverse();
        walk
    }

    /// From the end of a visit to other groups, the nearest first.
    fn expand(&mut self, id: u32, label: &Label, limit: u64) {
        let layers = label.layers as usize;
        let (group, start) = (self.group(label), self.start_of(id));
        let beyond = self.completion.entered_least(layers);
        for hop in self.pass.onward(group) {
            self.work += 1;
            let cost = label.cost.saturating_add(hop.cost);
            if cost.saturating_add(beyond) >= limit {
                break;
            }
            let Some(to) = self.completion.position(hop.group as usize) else {
                continue;
            };
            // A second visit to a critical group is charged no less than the bound, but for odd splits of the layers
            // between the visits; their even siblings are followed.
            if cost.saturating_add(self.completion.entered(layers, to)) >= limit {
                continue;
            }
            if self.is_used_up(label, to) {
                continue;
            }
            let entered = Label {
                cost,
                at: u32::try_from(to).expect("few groups"),
                parent: id,
                ..label.clone()
            };
            self.visit(&entered, MIDDLE, limit);
            let way_back = self.pass.return_hop(hop.group as usize, start);
            self.finish(&entered, LAST, way_back, limit);
        }
    }

    /// Whether a walk visited the group at this position as often as that has nodes. Tables that do not tell all numbers of
    /// nodes apart would let it go on.
    fn is_used_up(&self, label: &Label, at: usize) -> bool {
        let num_nodes = self.pass.tables[self.completion.among[at]].num_nodes();
        let mut taken = label.taken.iter();
        taken.any(|taken| taken.at as usize == at && taken.visits as usize >= num_nodes)
    }

    fn group(&self, label: &Label) -> usize {
        self.completion.among[label.at as usize]
    }

    fn start_of(&self, mut id: u32) -> usize {
        while self.labels[id as usize].parent != NONE {
            id = self.labels[id as usize].parent;
        }
        self.group(&self.labels[id as usize])
    }

    /// Visits of every length that end before the last layer.
    fn visit(&mut self, entered: &Label, ends: Ends, limit: u64) {
        let at = entered.at as usize;
        let visited = self.visited(entered, ends);
        for end in entered.layers + 1..self.pass.num_layers {
            let rest = self.completion.ended(end as usize, at);
            self.work += 1;
            if entered.cost.saturating_add(rest) >= limit.saturating_add(visited.already) {
                continue;
            }
            self.each_level(entered, &visited, end, rest, limit);
        }
    }

    /// The visit that completes the walk.
    fn finish(&mut self, entered: &Label, ends: Ends, way_back: u64, limit: u64) {
        let visited = self.visited(entered, ends);
        self.each_level(entered, &visited, self.pass.num_layers, way_back, limit);
    }

    /// What the walk took of the entered group before.
    fn visited(&self, entered: &Label, ends: Ends) -> Visited {
        let group = self.group(entered);
        let Some(taken) = entered.taken.iter().find(|taken| taken.at == entered.at) else {
            return Visited {
                ends,
                ..Visited::default()
            };
        };
        let row = self.pass.tables[group].row(taken.ends, usize::from(taken.level));
        let hops = self.pass.inner(group).saturating_mul(u64::from(taken.visits) - 1);
        Visited {
            ends: taken.ends.with(ends),
            visits: taken.visits,
            level: usize::from(taken.level),
            layers: taken.layers,
            already: row[taken.layers as usize].saturating_sub(hops),
        }
    }

    /// The labels after a visit that ends at `end`, one for each level that is told apart; `rest` bounds what follows.
    fn each_level(&mut self, entered: &Label, visited: &Visited, end: u32, rest: u64, limit: u64) {
        let (group, levels) = (self.group(entered), self.pass.levels);
        let total = visited.layers + end - entered.layers;
        let inner = self.pass.inner(group).saturating_mul(u64::from(visited.visits));
        for level in visited.level.max(1)..=levels.top {
            let grows = level > visited.level || (levels.open && level == levels.top);
            let together = self.pass.tables[group].row(visited.ends, level)[total as usize];
            if !grows || together >= NEVER {
                continue;
            }
            let sum = entered.cost.saturating_add(together.saturating_sub(inner));
            let cost = sum.saturating_sub(visited.already);
            let bound = cost.saturating_add(rest);
            let whole = levels.sum(usize::from(entered.level), level - visited.level);
            if let Some(whole) = whole.filter(|_| bound < limit) {
                let taken = self.critical[group].then(|| Taken {
                    at: entered.at,
                    ends: visited.ends,
                    visits: visited.visits + 1,
                    level: u16::try_from(level).expect("few levels"),
                    layers: total,
                });
                self.keep(entered, (end, cost, whole), taken, bound);
            }
        }
    }

    fn keep(
        &mut self,
        entered: &Label,
        (end, cost, level): (u32, u64, usize),
        taken: Option<Taken>,
        bound: u64,
    ) {
        let completes = end == self.pass.num_layers;
        if completes && level < self.level_min {
            return;
        }
        let mut label = Label {
            // What completes a walk has paid for the way back.
            cost: if completes { bound } else { cost },
            layers: end,
            level: u16::try_from(level).expect("few levels"),
            ..entered.clone()
        };
        if let Some(taken) = taken {
            label.taken.retain(|other| other.at != taken.at);
            label.taken.push(taken);
            label.taken.sort_by_key(|taken| taken.at);
        }
        if completes {
            let id = u32::try_from(self.labels.len()).expect("few labels");
            self.open.push(Reverse((bound, id)));
            self.labels.push(label);
        } else {
            self.insert(label, bound);
        }
    }

    fn insert(&mut self, label: Label, bound: u64) {
        let slot = self.slot(&label);
        let alike = |other: &Label| other.level == label.level && other.taken == label.taken;
        let labels = &self.labels;
        let kept = &mut self.kept[slot];
        self.work += kept.len() as u64;
        if kept
            .iter()
            .any(|&id| alike(&labels[id as usize]) && labels[id as usize].cost <= label.cost)
        {
            return;
        }
        kept.retain(|&id| !alike(&labels[id as usize]));
        let id = u32::try_from(self.labels.len()).expect("few labels");
        kept.push(id);
        self.open.push(Reverse((bound, id)));
        self.labels.push(label);
        self.work += LABEL_STEPS;
    }
}
