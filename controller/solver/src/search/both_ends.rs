//! The node of a U-shaped pipeline that holds its first and its last layers: which pairs of ranges it has memory for.

use super::residual::Residual;
use crate::cost::MemoryModel;
use crate::problem::{Candidate, Problem, Service};
use crate::units::{Bytes, LayerRange, NodeOrd};

/// What `[0, a)` and `[b, L)` need on a node, for every `a` and `b`. Need adds up, since ranges of one pipeline share no
/// weights: with tied weights each end has a table of its own.
#[derive(Clone, Debug)]
pub(super) struct BothEnds {
    /// `first[a]`, and `last[b]`, in bytes; what is there already and stays counts as given back. The ends of the lists are
    /// never asked.
    first: Vec<i128>,
    last: Vec<i128>,
    /// The greatest of `last[b..]`.
    last_most: Vec<i128>,
    room: i128,
    /// `[a][b]`: whether the disk has room for both; empty where it has no bound.
    stored: Vec<Vec<bool>>,
}

impl BothEnds {
    pub(super) fn new(
        problem: &Problem,
        service: &Service,
        candidate: Candidate,
        residual: &Residual,
        node: NodeOrd,
    ) -> Self {
        let (model, variant) = problem.variant(candidate);
        let memory = MemoryModel::new(service, model, variant);
        let num_layers = variant.num_layers();
        let runs = service.previous.as_ref().map(|previous| previous.candidate);
        let kept: Vec<_> = service.kept.iter().filter(|kept| kept.node == node).collect();
        let need = |start: u32, end: u32| {
            let layers = LayerRange::new(start, end);
            let mut sharing = residual.sharing(node, candidate, layers);
            // One worker for both.
            sharing.worker |= start > 0;
            let total = memory
                .stage(&problem.nodes[node.index()], layers, sharing)
                .total();
            let same = kept
                .iter()
                .find(|kept| runs == Some(candidate) && kept.layers == layers);
            i128::from(total.0) - same.map_or(0, |kept| i128::from(kept.memory.0))
        };
        let inner = |boundary: &u32| (1..num_layers).contains(boundary);
        let of = |need: &dyn Fn(u32) -> i128| {
            let needs = (0..=num_layers).map(|at| if inner(&at) { need(at) } else { 0 });
            needs.collect::<Vec<_>>()
        };
        let (first, last) = (of(&|end| need(0, end)), of(&|start| need(start, num_layers)));
        let mut last_most = last.clone();
        for at in (1..num_layers as usize).rev() {
            last_most[at] = last_most[at].max(last_most[at + 1]);
        }
        let kept: i128 = kept.iter().map(|kept| i128::from(kept.memory.0)).sum();
        Self {
            first,
            last,
            last_most,
            room: i128::from(residual.free[node.index()].0) - kept,
            stored: stored(problem, service, candidate, residual, node),
        }
    }

    /// Whether `[0, a)` and `[b, L)` fit together.
    pub(super) fn fit(&self, a: u32, b: u32) -> bool {
        let stored = self.stored.is_empty() || self.stored[a as usize][b as usize];
        stored && self.first[a as usize] + self.last[b as usize] <= self.room
    }

    /// Ends of first stages beside which some last one fits.
    pub(super) fn openings(&self) -> impl Iterator<Item = u32> {
        let num_layers = self.num_layers();
        (1..num_layers.saturating_sub(1)).filter(move |&a| (a + 1..num_layers).any(|b| self.fit(a, b)))
    }

    /// Starts of last stages beside which some first one fits.
    pub(super) fn closings(&self) -> Vec<bool> {
        let num_layers = self.num_layers();
        let closes = |b: u32| b > 1 && b < num_layers && (1..b).any(|a| self.fit(a, b));
        (0..=num_layers).map(closes).collect()
    }

    /// Whether every last stage from `boundary` on that fits beside `[0, other)` fits beside `[0, one)` too.
    pub(super) fn leaves_as_much(&self, one: u32, other: u32, boundary: u32) -> bool {
        // Where the disk has a bound, each last stage is looked at.
        if !self.stored.is_empty() {
            let fits = |b: u32| !self.fit(other, b) || self.fit(one, b);
            return (boundary.max(1)..self.num_layers()).all(fits);
        }
        let need = self.first[one as usize];
        need <= self.first[other as usize] || need + self.last_most[boundary as usize] <= self.room
    }

    /// What the smallest pair lacks; zero if it fits. `None` for a model with fewer than three layers.
    pub(super) fn missing(&self) -> Option<Bytes> {
        let num_layers = self.num_layers();
        let pairs = (1..num_layers).flat_map(|a| (a + 1..num_layers).map(move |b| (a, b)));
        let need = pairs
            .map(|(a, b)| self.first[a as usize] + self.last[b as usize])
            .min()?;
        Some(Bytes(
            u64::try_from((need - self.room).max(0)).unwrap_or(u64::MAX),
        ))
    }

    fn num_layers(&self) -> u32 {
        u32::try_from(self.first.len() - 1).expect("a model has fewer than 2^32 layers")
    }
}

fn stored(
    problem: &Problem,
    service: &Service,
    candidate: Candidate,
    residual: &Residual,
    node: NodeOrd,
) -> Vec<Vec<bool>> {
    if problem.nodes[node.index()].storage.is_none() {
        return Vec::new();
    }
    let num_layers = problem.variant(candidate).1.num_layers();
    let both = |a: u32, b: u32| {
        let ranges = [LayerRange::new(0, a), LayerRange::new(b, num_layers)];
        a > 0
            && a < b
            && b < num_layers
            && residual
                .presence
                .stores(problem, service, node, candidate, &ranges)
    };
    let row = |a: u32| (0..=num_layers).map(|b| both(a, b)).collect();
    (0..=num_layers).map(row).collect()
}
