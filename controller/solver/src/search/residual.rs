//! What services that chose earlier leave to the next one.

use std::collections::BTreeSet;

use super::presence::Presence;
use crate::cost::{Evaluation, Holdings, Sharing};
use crate::problem::{Candidate, Problem, Service};
use crate::solution::{AssistantCost, CostSheet, PipelineShape, Placed, Predicted, Role};
use crate::units::{Bytes, LayerRange, Nanos, NodeOrd};

/// Free memory, work and weights on every node.
#[derive(Clone, Debug)]
pub(crate) struct Residual {
    /// Free memory of each node.
    pub(crate) free: Vec<Bytes>,
    /// Work of each node, in thousandths of a busy one.
    pub(crate) load_milli: Vec<u64>,
    /// Files on disk, and who keeps away from whom.
    pub(crate) presence: Presence,
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
            presence: Presence::default(),
            workers: vec![false; problem.nodes.len()],
            held: BTreeSet::new(),
        }
    }

    /// What is free on each node beside workers that are there, and which weights are held.
    pub(crate) fn of(free: Vec<Bytes>, held: BTreeSet<(NodeOrd, Candidate, LayerRange)>) -> Self {
        Self {
            load_milli: vec![0; free.len()],
            presence: Presence::default(),
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
    pub(crate) fn take(&mut self, problem: &Problem, service: &Service, placed: &Placed) {
        let candidate = placed.pipeline.candidate;
        for stage in &placed.pipeline.stages {
            self.take_stage(stage.node, candidate, stage.layers, stage.memory.total());
            self.presence
                .enter(problem, service, stage.node, candidate, stage.layers);
        }
        if let Some(placed) = &placed.pipeline.assistant {
            let (node, candidate) = (placed.assistant.node, placed.assistant.candidate);
            let layers = LayerRange::new(0, placed.layers);
            self.take_stage(node, candidate, layers, placed.memory.total());
            self.presence.enter(problem, service, node, candidate, layers);
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
        let holdings = Holdings::of(problem, service, shape);
        let mut presence = self.presence.clone();
        for held in holdings.each(problem, shape) {
            if self.presence.keeps_away(service, held.node).is_some()
                || !presence.stores(problem, service, held.node, held.candidate, &[held.layers])
            {
                return false;
            }
            presence.enter(problem, service, held.node, held.candidate, held.layers);
        }
        let mut needs: Vec<(NodeOrd, Bytes)> = Vec::with_capacity(shape.stages.len());
        for held in holdings.each(problem, shape) {
            let mut sharing = self.sharing(held.node, held.candidate, held.layers);
            let before: Vec<Bytes> = needs
                .iter()
                .filter(|(node, _)| *node == held.node)
                .map(|(_, need)| *need)
                .collect();
            sharing.worker |= !before.is_empty();
            let node = &problem.nodes[held.node.index()];
            let need = held.memory.stage(node, held.layers, sharing).total();
            let here = before.into_iter().sum::<Bytes>() + need;
            if here > self.free_beside_kept(service, held.node, shape) {
                return false;
            }
            needs.push((held.node, need));
        }
        self.presence = presence;
        for (held, (_, need)) in holdings.each(problem, shape).zip(needs) {
            self.take_stage(held.node, held.candidate, held.layers, need);
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

    pub(super) fn take_stage(
        &mut self,
        node: NodeOrd,
        candidate: Candidate,
        layers: LayerRange,
        memory: Bytes,
    ) {
        let free = &mut self.free[node.index()];
        *free = free.saturating_sub(memory);
        self.workers[node.index()] = true;
        self.held.insert((node, candidate, layers));
    }

    /// A pipeline keeps its nodes busy for their parts of a token's time, as often as sessions are in flight, and never more
    /// than all the time.
    fn work(&mut self, service: &Service, shape: &PipelineShape, sheet: &CostSheet, predicted: &Predicted) {
        let further = Nanos(u64::from(service.output_tokens.saturating_sub(1)));
        let mut add = |node: NodeOrd, part: Nanos, of: Nanos| {
            let busy =
                u128::from(part.0) * u128::from(service.sessions_in_flight_milli) / u128::from(of.0.max(1));
            self.load_milli[node.index()] += u64::try_from(busy).unwrap_or(u64::MAX).min(1_000);
        };
        // Of which time, and how much of it is one token's of the pipeline.
        let (whole, tokens) = match (shape.assistant, sheet.assistant) {
            (
                Some(assistant),
                Some(AssistantCost::Draft {
                    token,
                    tokens_per_round_milli,
                    ..
                }),
            ) => {
                let drafted = match assistant.role {
                    Role::Drafts { tokens } => token.times(u64::from(tokens) * 1_000),
                    Role::AnswersFirst => Nanos::ZERO,
                };
                let drafting = Nanos(drafted.0 / tokens_per_round_milli.max(1));
                add(assistant.node, drafting, predicted.tpot);
                (predicted.tpot, 1_000)
            }
            (
                Some(assistant),
                Some(AssistantCost::First {
                    answer,
                    escalated_percent,
                    ..
                }),
            ) => {
                let whole = predicted.ttft + predicted.tpot.times(further.0);
                add(assistant.node, answer, whole);
                (whole, further.0.saturating_mul(u64::from(escalated_percent) * 10))
            }
            _ => (predicted.tpot, 1_000),
        };
        for (position, stage) in shape.stages.iter().enumerate() {
            let node = stage.node;
            if shape.stages[..position]
                .iter()
                .any(|earlier| earlier.node == node)
            {
                continue;
            }
            let decode: Nanos = sheet.of_node(shape, node).map(|times| times.decode).sum();
            let decoding = u128::from(decode.0) * u128::from(tokens) / 1_000;
            add(node, Nanos(u64::try_from(decoding).unwrap_or(u64::MAX)), whole);
        }
    }
}
