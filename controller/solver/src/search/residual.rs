//! What services that chose earlier leave to the next one.

use std::collections::BTreeSet;

use crate::cost::{Evaluation, MemoryModel, Sharing};
use crate::problem::{Candidate, Problem, Service};
use crate::solution::{CostSheet, PipelineShape, Placed, Predicted};
use crate::units::{Bytes, LayerRange, Nanos, NodeOrd};

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
        for stage in &placed.pipeline.stages {
            self.take_stage(stage.node, candidate, stage.layers, stage.memory.total());
        }
        self.work(
            service,
            &placed.pipeline.shape(),
            &placed.sheet,
            &placed.predicted,
        );
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
        let mut needs: Vec<(NodeOrd, Bytes)> = Vec::with_capacity(shape.stages.len());
        for stage in &shape.stages {
            let mut sharing = self.sharing(stage.node, shape.candidate, stage.layers);
            let before: Vec<Bytes> = needs
                .iter()
                .filter(|(node, _)| *node == stage.node)
                .map(|(_, need)| *need)
                .collect();
            sharing.worker |= !before.is_empty();
            let node = &problem.nodes[stage.node.index()];
            let need = memory.stage(node, stage.layers, sharing).total();
            let here = before.into_iter().sum::<Bytes>() + need;
            if here > self.free_beside_kept(service, stage.node, shape) {
                return false;
            }
            needs.push((stage.node, need));
        }
        for (stage, (_, need)) in shape.stages.iter().zip(needs) {
            self.take_stage(stage.node, shape.candidate, stage.layers, need);
        }
        self.work(service, shape, &evaluation.sheet, &evaluation.predicted);
        true
    }

    /// Free memory of a node for a pipeline of a service: beside what the service keeps there and the pipeline has not.
    fn free_beside_kept(&self, service: &Service, node: NodeOrd, shape: &PipelineShape) -> Bytes {
        let same_model = service
            .previous
            .as_ref()
            .is_some_and(|previous| previous.candidate == shape.candidate);
        let is_held = |layers: LayerRange| {
            let mut stages = shape.stages.iter();
            same_model && stages.any(|stage| stage.node == node && stage.layers == layers)
        };
        let kept = service
            .kept
            .iter()
            .filter(|kept| kept.node == node && !is_held(kept.layers));
        kept.fold(self.free[node.index()], |free, kept| {
            free.saturating_sub(kept.memory)
        })
    }

    fn take_stage(&mut self, node: NodeOrd, candidate: Candidate, layers: LayerRange, memory: Bytes) {
        let free = &mut self.free[node.index()];
        *free = free.saturating_sub(memory);
        self.workers[node.index()] = true;
        self.held.insert((node, candidate, layers));
    }

    /// A pipeline keeps its nodes busy for their parts of a token's time, as often as sessions are in flight, and never more
    /// than all the time.
    fn work(&mut self, service: &Service, shape: &PipelineShape, sheet: &CostSheet, predicted: &Predicted) {
        let tpot = u128::from(predicted.tpot.0.max(1));
        for (position, stage) in shape.stages.iter().enumerate() {
            let node = stage.node;
            if shape.stages[..position]
                .iter()
                .any(|earlier| earlier.node == node)
            {
                continue;
            }
            let decode: Nanos = sheet.of_node(shape, node).map(|times| times.decode).sum();
            let busy = u128::from(decode.0) * u128::from(service.sessions_in_flight_milli) / tpot;
            self.load_milli[node.index()] += u64::try_from(busy).unwrap_or(u64::MAX).min(1_000);
        }
    }
}
