//! Label setting: partial pipelines grow from their head, layer boundary by layer boundary, until they cover the model.
//!
//! A label is dropped when another one at the same (boundary, node, head) is not worse whatever follows, or when it
//! cannot end below the limit. A U-shaped pipeline ends with an arc to its head, for which labels remember where their
//! first stage ended. Two uses:
//! * [`Visits::Critical`] remembers visits to a few critical nodes only, so its least pipeline may repeat the others: a
//!   valid lower bound, and exact once it repeats none (decremental state-space relaxation, see [`exact`](super::exact)).
//! * [`Visits::All`] with a [`width`](Walk::width): a beam search that never repeats a node; it proves nothing and finds
//!   good pipelines early.

use super::budget::Meter;
use super::instance::{Element, Form, Instance, PathStage};
use super::relax::Completion;

/// Labels kept in memory at most (96 bytes each).
const LABELS_MAX: usize = 3_000_000;

/// Stages that a pipeline may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StageCount {
    pub(super) min: u32,
    pub(super) max: u32,
}

/// Which visits a label remembers.
pub(super) enum Visits<'w> {
    /// Those to critical nodes: `bits[node]` is the node's bit.
    Critical(&'w [Option<u8>]),
    /// All of them.
    All,
}

/// A search.
pub(super) struct Walk<'w> {
    pub(super) instance: &'w Instance<'w>,
    pub(super) completion: &'w Completion,
    pub(super) heads: &'w [usize],
    pub(super) count: StageCount,
    pub(super) visits: Visits<'w>,
    /// Labels kept at each boundary; `None` for all.
    pub(super) width: Option<usize>,
    /// Only pipelines that cost less.
    pub(super) limit: u64,
}

/// A complete pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complete {
    pub(super) value: u64,
    pub(super) path: Vec<PathStage>,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Complete pipelines, the cheapest first, each with another sequence of nodes. Beams give several; an exact walk
    /// the cheapest only.
    pub(super) complete: Vec<Complete>,
    /// Whether the walk came to its end.
    pub(super) finished: bool,
}

/// Pipelines that a beam keeps, for the runner-up.
const BEAM_KEEPS: usize = 4;

/// Ways into a node that a beam follows at each boundary, at least.
const BEAM_ENTRIES_MIN: usize = 4;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Label {
    sums: Element,
    bound: u64,
    visited: u128,
    head: u32,
    node: u32,
    parent: u32,
    /// Arc by which the node was entered.
    arc: u32,
    layer: u32,
    stages: u32,
    /// End of the first stage.
    opening: u32,
}

/// A label about to begin a stage; `layer` is where the stage starts.
type Entry = Label;

struct State<'m, 'c> {
    labels: Vec<Label>,
    /// Labels by (boundary, node), in the order of their making.
    ended: Vec<Vec<u32>>,
    limit: u64,
    best: Vec<Complete>,
    meter: &'m mut Meter<'c>,
}

impl Walk<'_> {
    pub(super) fn run(&self, meter: &mut Meter<'_>) -> Found {
        let size = (self.instance.num_layers as usize + 1) * self.instance.num_nodes();
        let mut state = State {
            labels: Vec::new(),
            ended: vec![Vec::new(); size],
            limit: self.limit,
            best: Vec::new(),
            meter,
        };
        let finished = self.begin(&mut state)
            && (1..self.instance.num_layers).all(|layer| self.advance(layer, &mut state));
        Found {
            complete: state.best,
            finished,
        }
    }

    /// First stages.
    fn begin(&self, state: &mut State<'_, '_>) -> bool {
        self.heads.iter().all(|&head| {
            let Some(ingress) = self.instance.heads[head] else {
                return true;
            };
            let entry = Entry {
                sums: ingress,
                bound: 0,
                visited: 0,
                head: index32(head),
                node: index32(head),
                parent: NONE,
                arc: NONE,
                layer: 0,
                stages: 0,
                opening: 0,
            };
            self.extend(&entry, state)
        })
    }

    /// From stages that ended at a boundary over hops into the next ones.
    fn advance(&self, layer: u32, state: &mut State<'_, '_>) -> bool {
        let num_nodes = self.instance.num_nodes();
        let row = layer as usize * num_nodes;
        let mut here: Vec<u32> = state.ended[row..row + num_nodes]
            .iter()
            .flatten()
            .copied()
            .collect();
        if let Some(width) = self.width {
            here.sort_by_key(|&label| (state.labels[label as usize].bound, label));
            here.truncate(width);
        }
        let mut entries: Vec<Vec<Entry>> = vec![Vec::new(); num_nodes];
        for id in here {
            let label = state.labels[id as usize];
            if label.stages >= self.count.max || label.bound >= state.limit {
                continue;
            }
            let first_arc = self.instance.first_arc(label.node as usize);
            let arcs = self.instance.arcs_from(label.node as usize);
            if !state.meter.spend(arcs.len() as u64) {
                return false;
            }
            for (position, arc) in arcs.iter().enumerate() {
                let node = arc.to as usize;
                if arc.to == label.head {
                    self.come_home((id, &label), index32(first_arc + position), layer, state);
                    continue;
                }
                if self.is_too_short(&label, node, layer) || self.has_visited(&label, node, state) {
                    continue;
                }
                let sums = label.sums.then(arc.element);
                let bound = self
                    .instance
                    .objective
                    .value(&sums.then(self.completion.entered(layer, node)));
                let entry = Entry {
                    sums,
                    bound,
                    node: arc.to,
                    parent: id,
                    arc: index32(first_arc + position),
                    ..label
                };
                if bound < state.limit && !self.insert_entry(entry, &mut entries[node], state) {
                    return false;
                }
            }
        }
        let mut entries: Vec<Entry> = entries.into_iter().flatten().collect();
        if let Some(width) = self.width {
            entries.sort_by_key(|entry| (entry.bound, entry.node, entry.parent, entry.arc));
            entries.truncate(2 * width);
        }
        entries.iter().all(|entry| self.extend(entry, state))
    }

    /// All stages that the entered node can hold.
    fn extend(&self, entry: &Entry, state: &mut State<'_, '_>) -> bool {
        let (node, start) = (entry.node as usize, entry.layer);
        let visited = match self.visits {
            Visits::Critical(bits) => entry.visited | bits[node].map_or(0, |bit| 1 << bit),
            Visits::All => 0,
        };
        let stages = entry.stages + 1;
        for end in self.instance.ends(node, start) {
            let sums = entry.sums.then(self.instance.stage(node, start, end));
            if end == self.instance.num_layers {
                if stages >= self.count.min {
                    self.complete(entry, &sums, state);
                }
                continue;
            }
            let bound = self
                .instance
                .objective
                .value(&sums.then(self.completion.ended(end, node)));
            if stages >= self.count.max || bound >= state.limit {
                continue;
            }
            if !self.insert_label(
                Label {
                    sums,
                    bound,
                    visited,
                    layer: end,
                    stages,
                    opening: if start == 0 { end } else { entry.opening },
                    ..*entry
                },
                state,
            ) {
                return false;
            }
        }
        true
    }

    /// Whether too few stages are left after one on this node.
    fn is_too_short(&self, label: &Label, node: usize, layer: u32) -> bool {
        match self.instance.form {
            Form::Chain => label.stages + 1 >= self.count.max && !self.instance.closes(node, layer),
            Form::UShape => label.stages + 2 > self.count.max,
        }
    }

    fn complete(&self, entry: &Entry, sums: &Element, state: &mut State<'_, '_>) {
        if let Some(back) = self.instance.way_back(entry.node as usize, entry.head as usize) {
            self.offer(entry, &sums.then(back), state);
        }
    }

    /// The last stage of a U-shaped pipeline, over an arc to its head.
    fn come_home(&self, (id, label): (u32, &Label), arc: u32, layer: u32, state: &mut State<'_, '_>) {
        if self.instance.form == Form::Chain || label.stages + 1 < self.count.min {
            return;
        }
        let Some(tail) = self.instance.tail(label.head as usize, label.opening, layer) else {
            return;
        };
        let hop = self.instance.arc(arc as usize).element;
        let entry = Entry {
            node: label.head,
            parent: id,
            arc,
            ..*label
        };
        self.offer(&entry, &label.sums.then(hop).then(tail), state);
    }

    /// A pipeline whose last stage begins with this entry.
    fn offer(&self, entry: &Entry, sums: &Element, state: &mut State<'_, '_>) {
        let value = self.instance.objective.complete_value(sums);
        let enough =
            state.best.len() == BEAM_KEEPS && state.best.last().is_some_and(|worst| worst.value <= value);
        if value >= state.limit || enough {
            return;
        }
        let found = Complete {
            value,
            path: self.path(entry, &state.labels),
        };
        if self.width.is_none() {
            state.limit = value;
            state.best = vec![found];
            return;
        }
        let nodes = |complete: &Complete| complete.path.iter().map(|stage| stage.node).collect::<Vec<_>>();
        if let Some(same) = state.best.iter_mut().find(|other| nodes(other) == nodes(&found)) {
            if found.value < same.value {
                *same = found;
            }
        } else {
            state.best.push(found);
        }
        state.best.sort_by_key(|complete| complete.value);
        state.best.truncate(BEAM_KEEPS);
    }

    fn path(&self, last: &Entry, labels: &[Label]) -> Vec<PathStage> {
        let mut path = vec![PathStage {
            node: last.node as usize,
            end: self.instance.num_layers,
            onward: None,
        }];
        let (mut parent, mut arc) = (last.parent, last.arc);
        while parent != NONE {
            let label = labels[parent as usize];
            path.push(PathStage {
                node: label.node as usize,
                end: label.layer,
                onward: Some(arc as usize),
            });
            (parent, arc) = (label.parent, label.arc);
        }
        path.reverse();
        path
    }

    fn has_visited(&self, label: &Label, node: usize, state: &State<'_, '_>) -> bool {
        match self.visits {
            Visits::Critical(bits) => bits[node].is_some_and(|bit| label.visited >> bit & 1 == 1),
            Visits::All => {
                let mut at = *label;
                loop {
                    if at.node as usize == node {
                        return true;
                    }
                    if at.parent == NONE {
                        return false;
                    }
                    at = state.labels[at.parent as usize];
                }
            }
        }
    }

    /// Whether `one` makes `other` superfluous.
    fn dominates(&self, one: &Label, other: &Label) -> bool {
        // One node may hold two stages.
        let (few, many) = (
            self.count.min,
            (index32(self.instance.num_nodes()) + 1).min(self.instance.num_layers),
        );
        let openings = || match self.instance.form {
            Form::Chain => Some(0),
            Form::UShape => {
                let head = one.head as usize;
                self.instance
                    .compare_openings(head, one.opening, other.opening, one.layer)
            }
        };
        one.head == other.head
            && one.visited & !other.visited == 0
            // Fewer stages leave more to a pipeline whose number is capped, more stages to one that needs a number.
            && (self.count.max >= many || one.stages <= other.stages)
            && one.stages >= other.stages.min(few.saturating_sub(1))
            && openings()
                .is_some_and(|longer| self.instance.objective.dominates(&one.sums, &other.sums, longer))
    }

    fn insert_entry(&self, entry: Entry, entries: &mut Vec<Entry>, state: &mut State<'_, '_>) -> bool {
        if let Some(width) = self.width {
            // A beam wants variety, not completeness: the most promising few for each node, whatever dominates what.
            entries.push(entry);
            entries.sort_by_key(|entry| entry.bound);
            entries.truncate(BEAM_ENTRIES_MIN.max(2 * width / self.instance.num_nodes()));
            return state.meter.spend(1);
        }
        if entries.iter().any(|other| self.dominates(other, &entry)) {
            return state.meter.spend(entries.len() as u64);
        }
        entries.retain(|other| !self.dominates(&entry, other));
        entries.push(entry);
        state.meter.spend(2 * entries.len() as u64)
    }

    fn insert_label(&self, label: Label, state: &mut State<'_, '_>) -> bool {
        let at = label.layer as usize * self.instance.num_nodes() + label.node as usize;
        let (labels, list) = (&mut state.labels, &mut state.ended[at]);
        let compared = 2 * list.len() as u64 + 1;
        if !list
            .iter()
            .any(|&other| self.dominates(&labels[other as usize], &label))
        {
            list.retain(|&other| !self.dominates(&label, &labels[other as usize]));
            list.push(index32(labels.len()));
            labels.push(label);
        }
        state.meter.spend(compared) && state.labels.len() < LABELS_MAX
    }
}

fn index32(index: usize) -> u32 {
    u32::try_from(index).expect("labels and nodes are fewer than 2^32")
}
