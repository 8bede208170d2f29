//! Which services are on which nodes, as far as others care: what is on disk, and who keeps away from whom.
//!
//! A node that holds layers of a variant has the variant's files on its disk, and beside them, where the layers are a part of the
//! model, a file of their own.

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::{Candidate, Problem, Service, Variant};
use crate::units::{Bytes, FileOrd, LayerRange, NodeOrd, TermOrd};

/// What services that chose earlier have on nodes, memory apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    disks: BTreeMap<NodeOrd, Disk>,
    terms: BTreeMap<NodeOrd, Terms>,
}

/// What is on a node's disk.
#[derive(Clone, Debug, Default)]
struct Disk {
    files: BTreeSet<FileOrd>,
    slices: BTreeSet<(Candidate, LayerRange)>,
}

/// Terms of services on a node.
#[derive(Clone, Debug, Default)]
struct Terms {
    carried: BTreeSet<TermOrd>,
    shunned: BTreeSet<TermOrd>,
}

impl Disk {
    fn add(&mut self, problem: &Problem, candidate: Candidate, layers: LayerRange) {
        let variant = problem.variant(candidate).1;
        self.files.extend(&variant.files);
        if layers.len() < variant.num_layers() {
            self.slices.insert((candidate, layers));
        }
    }

    /// What of it `other` has not.
    fn bytes_beside(&self, problem: &Problem, other: Option<&Self>) -> Bytes {
        let files = self.files.iter();
        let files = files.filter(|file| other.is_none_or(|other| !other.files.contains(file)));
        let slices = self.slices.iter();
        let slices = slices.filter(|slice| other.is_none_or(|other| !other.slices.contains(slice)));
        let files: Bytes = files.map(|file| problem.files[file.index()]).sum();
        let slice = |(candidate, layers): &(Candidate, LayerRange)| {
            slice_bytes(problem.variant(*candidate).1, *layers)
        };
        files + slices.map(slice).sum()
    }
}

/// The file of a part of a model: weights of its layers, and at an end the table or the head that the part holds.
fn slice_bytes(variant: &Variant, layers: LayerRange) -> Bytes {
    let range = layers.start as usize..layers.end as usize;
    let mut bytes: Bytes = variant.layer_bytes[range].iter().copied().sum();
    if layers.start == 0 {
        bytes += variant.embedding_bytes;
    }
    if layers.end == variant.num_layers() {
        bytes += variant.head_bytes;
    }
    bytes
}

impl Presence {
    /// The term by which a service and one on the node keep apart, if any.
    pub(crate) fn keeps_away(&self, service: &Service, node: NodeOrd) -> Option<TermOrd> {
        let here = self.terms.get(&node)?;
        let shuns = service.shuns.iter().find(|term| here.carried.contains(term));
        let is_shunned = service.carries.iter().find(|term| here.shunned.contains(term));
        shuns.or(is_shunned).copied()
    }

    /// Disk that a node has for more, beside what the service keeps there until it has moved; `None` where it has no bound.
    pub(crate) fn free_storage(&self, problem: &Problem, node: NodeOrd) -> Option<Bytes> {
        let storage = problem.nodes[node.index()].storage?;
        let held = self.disks.get(&node).map(|disk| disk.bytes_beside(problem, None));
        Some(storage.saturating_sub(held.unwrap_or(Bytes::ZERO)))
    }

    /// Disk that layers of a candidate take on a node beside what is there; with what the service keeps there until it has
    /// moved.
    pub(crate) fn more_storage(
        &self,
        problem: &Problem,
        service: &Service,
        node: NodeOrd,
        candidate: Candidate,
        layers: &[LayerRange],
    ) -> Bytes {
        let mut wanted = Disk::default();
        for range in layers {
            wanted.add(problem, candidate, *range);
        }
        if let Some(runs) = &service.previous {
            for kept in service.kept.iter().filter(|kept| kept.node == node) {
                wanted.add(problem, runs.candidate, kept.layers);
            }
        }
        wanted.bytes_beside(problem, self.disks.get(&node))
    }

    /// Whether a node has the disk for layers of a candidate.
    pub(crate) fn stores(
        &self,
        problem: &Problem,
        service: &Service,
        node: NodeOrd,
        candidate: Candidate,
        layers: &[LayerRange],
    ) -> bool {
        let free = self.free_storage(problem, node);
        free.is_none_or(|free| self.more_storage(problem, service, node, candidate, layers) <= free)
    }

    /// The service is on the node with a stage of the candidate.
    pub(crate) fn enter(
        &mut self,
        problem: &Problem,
        service: &Service,
        node: NodeOrd,
        candidate: Candidate,
        layers: LayerRange,
    ) {
        self.store(problem, node, candidate, layers);
        if !service.carries.is_empty() || !service.shuns.is_empty() {
            let terms = self.terms.entry(node).or_default();
            terms.carried.extend(&service.carries);
            terms.shunned.extend(&service.shuns);
        }
    }

    /// Layers of a candidate are on the node's disk.
    pub(crate) fn store(
        &mut self,
        problem: &Problem,
        node: NodeOrd,
        candidate: Candidate,
        layers: LayerRange,
    ) {
        if problem.nodes[node.index()].storage.is_some() {
            self.disks
                .entry(node)
                .or_default()
                .add(problem, candidate, layers);
        }
    }
}
