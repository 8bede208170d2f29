//! What services that chose earlier leave to the next one.

use std::collections::BTreeSet;

use crate::cost::Sharing;
use crate::problem::{Candidate, Problem, Service};
use crate::solution::Placed;
use crate::units::{Bytes, LayerRange, NodeOrd};

/// Free memory, work and weights on every node.
#[derive(Clone, Debug)]
pub(super) struct Residual {
    /// Free memory of each node.
    pub(super) free: Vec<Bytes>,
    /// Work of each node, in thousandths of a busy one.
    pub(super) load_milli: Vec<u64>,
    workers: Vec<bool>,
    held: BTreeSet<(NodeOrd, Candidate, LayerRange)>,
}

impl Residual {
    pub(super) fn new(problem: &Problem) -> Self {
        Self {
            free: problem
                .nodes
                .iter()
                .map(|node| node.memory.saturating_sub(node.reserved))
                .collect(),
            load_milli: vec![0; problem.nodes.len()],
            workers: vec![false; problem.nodes.len()],
            held: BTreeSet::new(),
        }
    }

    /// What a stage would not have to pay for.
    pub(super) fn sharing(&self, node: NodeOrd, candidate: Candidate, layers: LayerRange) -> Sharing {
        Sharing {
            weights: self.held.contains(&(node, candidate, layers)),
            worker: self.workers[node.index()],
        }
    }

    /// Ranges of a candidate whose weights earlier services hold on a node.
    pub(super) fn held(&self, node: NodeOrd, candidate: Candidate) -> impl Iterator<Item = LayerRange> {
        let from = (node, candidate, LayerRange::new(0, 0));
        let to = (node, candidate, LayerRange::new(u32::MAX, u32::MAX));
        self.held.range(from..to).map(|held| held.2)
    }

    /// Free memory of a node for a stage of a service: beside what the service keeps there, unless that is this very stage.
    pub(super) fn free_for(
        &self,
        service: &Service,
        node: NodeOrd,
        stage: Option<(Candidate, LayerRange)>,
    ) -> Bytes {
        let runs = service.previous.as_ref().map(|previous| previous.candidate);
        let others = service.kept.iter().filter(|kept| {
            let is_this =
                stage.is_some_and(|(candidate, layers)| Some(candidate) == runs && layers == kept.layers);
            kept.node == node && !is_this
        });
        others.fold(self.free[node.index()], |free, kept| {
            free.saturating_sub(kept.memory)
        })
    }

    /// Takes what a pipeline needs. A stage keeps its node busy for its part of a token's time, as often as sessions are
    /// in flight, and never more than all the time.
    pub(super) fn take(&mut self, service: &Service, placed: &Placed) {
        let tpot = placed.predicted.tpot.0.max(1);
        for (stage, cost) in placed.pipeline.stages.iter().zip(&placed.sheet.stages) {
            let node = stage.node.index();
            self.free[node] = self.free[node].saturating_sub(stage.memory.total());
            self.workers[node] = true;
            self.held
                .insert((stage.node, placed.pipeline.candidate, stage.layers));
            let busy =
                u128::from(cost.decode.0) * u128::from(service.sessions_in_flight_milli) / u128::from(tpot);
            self.load_milli[node] += u64::try_from(busy).unwrap_or(u64::MAX).min(1_000);
        }
    }
}
