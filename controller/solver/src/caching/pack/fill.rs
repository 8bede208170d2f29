//! Whole items of given groups into given room: by density, and exactly.

use super::{Knapsack, SAME};

/// A positive item; candidates stand by falling density.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    value: f64,
    bytes: f64,
    /// Position in the knapsack's items.
    index: u32,
}

/// Positive items of the groups that are on.
fn positive(knapsack: &Knapsack<'_>, on: &[bool]) -> impl Iterator<Item = Candidate> {
    let groups = knapsack.groups.iter().zip(on).filter(|(_, on)| **on);
    let items = groups.flat_map(|(group, _)| group.start..group.end);
    items
        .map(|index| Candidate {
            value: knapsack.values[index as usize],
            bytes: knapsack.bytes[index as usize],
            index,
        })
        .filter(|candidate| candidate.value > 0.0)
}

/// By falling density, ties by position; items without bytes come first.
fn sort(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by(|one, other| {
        let (one_density, other_density) = (one.value / one.bytes, other.value / other.bytes);
        other_density
            .total_cmp(&one_density)
            .then(one.index.cmp(&other.index))
    });
}

/// Takes items denser than the price, then by density whatever still fits; returns their value.
pub(super) fn fill_greedily(
    knapsack: &Knapsack<'_>,
    on: &[bool],
    room: f64,
    price: f64,
    items: &mut Vec<u32>,
) -> f64 {
    let (mut left, mut value) = (room, 0.0);
    let mut rest: Vec<Candidate> = Vec::new();
    let mut take = |candidate: Candidate, left: &mut f64| {
        *left -= candidate.bytes;
        value += candidate.value;
        items.push(candidate.index);
    };
    for candidate in positive(knapsack, on) {
        if candidate.value > price * candidate.bytes && candidate.bytes <= left {
            take(candidate, &mut left);
        } else {
            rest.push(candidate);
        }
    }
    rest.retain(|candidate| candidate.bytes <= left);
    sort(&mut rest);
    for candidate in rest {
        if candidate.bytes <= left {
            take(candidate, &mut left);
        }
    }
    value
}

/// Takes items denser than the price while they fit, and a part of the densest of the others: a solution of the
/// relaxation whose critical density is the price.
pub(super) fn fill_and_cut(
    knapsack: &Knapsack<'_>,
    on: &[bool],
    room: f64,
    price: f64,
    items: &mut Vec<u32>,
) -> Option<(u32, f64)> {
    let mut left = room;
    let mut cut: Option<Candidate> = None;
    for candidate in positive(knapsack, on) {
        if candidate.value > price * candidate.bytes * (1.0 + SAME) && candidate.bytes <= left {
            left -= candidate.bytes;
            items.push(candidate.index);
        } else if cut.is_none_or(|cut| candidate.value * cut.bytes > cut.value * candidate.bytes) {
            cut = Some(candidate);
        }
    }
    cut.map(|cut| (cut.index, (left / cut.bytes).min(1.0)))
}

/// The best filling that was found.
pub(super) struct Exact {
    pub(super) value: f64,
    /// Whether there is no better one.
    pub(super) proven: bool,
    pub(super) steps: u64,
}

/// Branch and bound over items by density (Horowitz and Sahni 1974), bounded by Dantzig's relaxation of the rest.
pub(super) fn fill_exactly(
    knapsack: &Knapsack<'_>,
    on: &[bool],
    room: f64,
    nodes_max: u32,
    items: &mut Vec<u32>,
) -> Exact {
    let mut candidates: Vec<Candidate> = positive(knapsack, on).collect();
    sort(&mut candidates);
    let mut search = Search::new(candidates, nodes_max);
    search.branch(0, room, 0.0);
    items.clear();
    items.extend(search.best_taken.iter().map(|at| search.candidates[*at].index));
    Exact {
        value: search.best,
        proven: search.nodes <= nodes_max,
        steps: u64::from(search.nodes) * 8 + search.candidates.len() as u64 * 8,
    }
}

struct Search {
    candidates: Vec<Candidate>,
    /// Bytes and value of the candidates before each.
    bytes_before: Vec<f64>,
    value_before: Vec<f64>,
    taken: Vec<usize>,
    best_taken: Vec<usize>,
    best: f64,
    nodes: u32,
    nodes_max: u32,
}

impl Search {
    fn new(candidates: Vec<Candidate>, nodes_max: u32) -> Self {
        let (mut bytes_before, mut value_before) = (vec![0.0], vec![0.0]);
        for candidate in &candidates {
            bytes_before.push(bytes_before[bytes_before.len() - 1] + candidate.bytes);
            value_before.push(value_before[value_before.len() - 1] + candidate.value);
        }
        Self {
            candidates,
            bytes_before,
            value_before,
            taken: Vec::new(),
            best_taken: Vec::new(),
            best: f64::NEG_INFINITY,
            nodes: 0,
            nodes_max,
        }
    }

    /// Dantzig's bound of the candidates from `at` on, and the first that does not fit.
    fn relaxed(&self, at: usize, left: f64) -> (f64, usize) {
        let limit = self.bytes_before[at] + left;
        let end = at + self.bytes_before[at + 1..].partition_point(|bytes| *bytes <= limit);
        let whole = self.value_before[end] - self.value_before[at];
        let Some(critical) = self.candidates.get(end) else {
            return (whole, end);
        };
        let room = limit - self.bytes_before[end];
        (whole + critical.value * room / critical.bytes, end)
    }

    fn may_improve(&self, bound: f64) -> bool {
        self.best == f64::NEG_INFINITY || bound > self.best + SAME * self.best.abs()
    }

    fn branch(&mut self, at: usize, left: f64, value: f64) {
        self.nodes += 1;
        let (relaxed, end) = self.relaxed(at, left);
        if !self.may_improve(value + relaxed) || self.nodes > self.nodes_max {
            return;
        }
        // All up to the critical item, then again without the last of them, and so on: depth stays small.
        let depth = self.taken.len();
        self.taken.extend(at..end);
        let value = value + self.value_before[end] - self.value_before[at];
        let left = left - (self.bytes_before[end] - self.bytes_before[at]);
        if value > self.best {
            self.best = value;
            self.best_taken.clone_from(&self.taken);
        }
        if end < self.candidates.len() {
            self.branch(end + 1, left, value);
        }
        let (mut left, mut value) = (left, value);
        for without in (at..end).rev() {
            self.taken.pop();
            left += self.candidates[without].bytes;
            value -= self.candidates[without].value;
            let (relaxed, _) = self.relaxed(without + 1, left);
            if self.may_improve(value + relaxed) {
                self.branch(without + 1, left, value);
            }
            if self.nodes > self.nodes_max {
                break;
            }
        }
        self.taken.truncate(depth);
    }
}
