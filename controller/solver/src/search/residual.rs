//! What services that chose earlier leave to the next one.

use std::collections::BTreeSet;

use crate::cost::{Evaluation, MemoryModel, Sharing};
use crate::problem::{Candidate, Problem, Service};
use crate::solution::{PipelineShape, Placed, Predicted, StageCost};
use crate::units::{Bytes, LayerRange, NodeOrd};

/// Free memory, work and weights on every node.
#[derive(Clone, Debug)]
pub(crate) struct Residual {
    /// Free memory of each node.
    pub(crate) free: Vec<Bytes>,
    /// Work of each node, in thousandths of a busy one.
    pub(crate) load_milli: Vec<u64>,
    workers: Vec<bool>,
    held: BTreeSet<(NodeOrd, Candidate, LayerRange)>,
}

impl Residual {
    pub(crate) fn new(problem: &Problem) -> Self {
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

    /// What is free on each node beside workers that are there, and which weights are held.
    pub(crate) fn of(free: Vec<Bytes>, held: BTreeSet<(NodeOrd, Candidate, LayerRange)>) -> Self {
        Self {
            load_milli: vec![0; free.len()],
            workers: vec![true; free.len()],
            free,
            held,
        }
    }

    /// What a stage would not have to pay for.
    pub(crate) fn sharing(&self, node: NodeOrd, candidate: Candidate, layers: LayerRange) -> Sharing {
        Sharing {
            weights: self.held.contains(&(node, candidate, layers)),
            worker: self.workers[node.index()],
        }
    }

    /// Ranges of a candidate whose weights earlier services hold on a node.
    pub(crate) fn held(&self, node: NodeOrd, candidate: Candidate) -> impl Iterator<Item = LayerRange> {
        let from = (node, candidate, LayerRange::new(0, 0));
        let to = (node, candidate, LayerRange::new(u32::MAX, u32::MAX));
        self.held.range(from..to).map(|held| held.2)
    }

    /// Free memory of a node for a stage of a service: beside what the service keeps there, unless that is this very stage.
    pub(crate) fn free_for(
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

    /// Whether the worker of a node is there already.
    pub(crate) fn has_worker(&self, node: usize) -> bool {
        self.workers[node]
    }

    /// Takes what a pipeline needs.
    pub(crate) fn take(&mut self, service: &Service, placed: &Placed) {
        let candidate = placed.pipeline.candidate;
        for (stage, cost) in placed.pipeline.stages.iter().zip(&placed.sheet.stages) {
            self.take_stage(stage.node, candidate, stage.layers, stage.memory.total());
            self.work(service, stage.node, cost, &placed.predicted);
        }
    }

    /// Takes what a shape with these figures needs; `false`, and nothing is taken, if it does not fit.
    pub(crate) fn admit(
        &mut self,
        problem: &Problem,
        service: &Service,
        shape: &PipelineShape,
        evaluation: &Evaluation,
    ) -> bool {
        let (model, variant) = problem.variant(shape.candidate);
        let memory = MemoryModel::new(service, model, variant);
        let mut needs = Vec::with_capacity(shape.stages.len());
        for stage in &shape.stages {
            let sharing = self.sharing(stage.node, shape.candidate, stage.layers);
            let node = &problem.nodes[stage.node.index()];
            let need = memory.stage(node, stage.layers, sharing).total();
            if need > self.free_for(service, stage.node, Some((shape.candidate, stage.layers))) {
                return false;
            }
            needs.push(need);
        }
        for ((stage, cost), need) in shape.stages.iter().zip(&evaluation.sheet.stages).zip(needs) {
            self.take_stage(stage.node, shape.candidate, stage.layers, need);
            self.work(service, stage.node, cost, &evaluation.predicted);
        }
        true
    }

    fn take_stage(&mut self, node: NodeOrd, candidate: Candidate, layers: LayerRange, memory: Bytes) {
        let free = &mut self.free[node.index()];
        *free = free.saturating_sub(memory);
        self.workers[node.index()] = true;
        self.held.insert((node, candidate, layers));
    }

    /// A stage keeps its node busy for its part of a token's time, as often as sessions are in flight, and never more than
    /// all the time.
    fn work(&mut self, service: &Service, node: NodeOrd, cost: &StageCost, predicted: &Predicted) {
        let tpot = u128::from(predicted.tpot.0.max(1));
        let busy = u128::from(cost.decode.0) * u128::from(service.sessions_in_flight_milli) / tpot;
        self.load_milli[node.index()] += u64::try_from(busy).unwrap_or(u64::MAX).min(1_000);
    }
}
