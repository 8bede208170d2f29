//! The objective of one service with one model variant, as parts to be added.

use super::assisted::Lead;
use super::energy::{energy_cost, picojoules};
use super::latency::{Batches, LONGEST, NodeSpeed, Rounds, node_speed};
use super::memory::MemoryModel;
use super::part::{Part, StageParts, Weights};
use super::wire::Wire;
use crate::links::LinkIndex;
use crate::problem::{Battery, Candidate, Problem, Service, Variant};
use crate::solution::{Cost, CostSheet, PipelineShape, Predicted, StageCost, StageShape};
use crate::units::{MicroJoules, Nanos, NodeOrd};

/// A pipeline's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// What it should deliver.
    pub predicted: Predicted,
    /// The objective's terms.
    pub cost: Cost,
    /// Where the time goes.
    pub sheet: CostSheet,
}

/// Times of a token of all sessions together, as one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CrowdTimes {
    /// One layer.
    pub(crate) layer: Nanos,
    /// The embedding.
    pub(crate) embedding: Nanos,
    /// The head.
    pub(crate) head: Nanos,
    /// Message in, message out.
    pub(crate) overhead: Nanos,
}

/// The cost of pipelines of one service with one model variant.
#[derive(Debug)]
pub struct CostModel<'p> {
    pub(super) problem: &'p Problem,
    pub(super) service: &'p Service,
    pub(super) links: &'p LinkIndex,
    pub(super) wire: Wire,
    speeds: Vec<Option<NodeSpeed>>,
    /// Work of services that chose earlier, by node.
    pub(super) load_milli: Vec<u64>,
    num_layers: u32,
    pub(super) chunks: u32,
    quality: Nanos,
    pub(super) rounds: Rounds,
    /// Who drafts what these pipelines verify.
    pub(super) lead: Option<Lead>,
    /// What a stage on each node is charged, by layer and once; empty for nothing.
    charges: Vec<(Nanos, Nanos)>,
    /// What a stage on each node costs since the service would rather not be there; empty for nothing.
    aversions: Vec<Nanos>,
}

impl<'p> CostModel<'p> {
    /// Prepares the times of every node. `load_milli` holds, for each node, the work of services that chose earlier.
    #[must_use]
    pub fn new(
        problem: &'p Problem,
        links: &'p LinkIndex,
        service: &'p Service,
        candidate: Candidate,
        load_milli: &[u64],
    ) -> Self {
        let rounds = Rounds::SINGLE;
        Self::of_nodes(problem, links, service, candidate, load_milli, rounds, |_| true)
    }

    /// Prepares the times of a pipeline's nodes only: for one evaluation.
    pub(crate) fn of_shape(
        problem: &'p Problem,
        links: &'p LinkIndex,
        service: &'p Service,
        shape: &PipelineShape,
        load_milli: &[u64],
    ) -> Self {
        let stands = |node| shape.stages.iter().any(|stage| stage.node.index() == node);
        let (candidate, rounds) = (shape.candidate, Rounds::SINGLE);
        Self::of_nodes(problem, links, service, candidate, load_milli, rounds, stands)
    }

    pub(super) fn of_nodes(
        problem: &'p Problem,
        links: &'p LinkIndex,
        service: &'p Service,
        candidate: Candidate,
        load_milli: &[u64],
        rounds: Rounds,
        is_asked: impl Fn(usize) -> bool,
    ) -> Self {
        let (model, variant) = problem.variant(candidate);
        let wire = Wire::of_rounds(service, model, rounds);
        let (chunks, chunk_rows) = (wire.chunks, wire.chunk_rows);
        let batches = Batches {
            chunk_rows,
            chunk_history: u64::from(chunk_rows) * u64::from(chunks - 1) / 2,
            token_history: u64::from(service.prompt_tokens) + u64::from(service.output_tokens / 2),
            concurrency: service.concurrency,
            rounds,
        };
        let speed = |(index, (node, &load)): (usize, (_, &u64))| {
            is_asked(index)
                .then(|| node_speed(node, model, variant, batches, load))
                .flatten()
        };
        Self {
            problem,
            service,
            links,
            wire,
            speeds: problem
                .nodes
                .iter()
                .zip(load_milli)
                .enumerate()
                .map(speed)
                .collect(),
            load_milli: load_milli.to_vec(),
            num_layers: variant.num_layers(),
            chunks,
            quality: service
                .quality_value
                .times(u64::from(missing_quality(problem, service, variant))),
            rounds,
            lead: None,
            charges: Vec::new(),
            aversions: aversions(problem, service),
        }
    }

    /// Memory of stages of the variant that these pipelines are of.
    pub(crate) fn memory(&self, candidate: Candidate) -> MemoryModel<'p> {
        let (model, variant) = self.problem.variant(candidate);
        MemoryModel::of_rows(self.service, model, variant, self.rounds.rows)
    }

    /// The first token does not come before this: the drafting model has to read the prompt too.
    pub(crate) fn ttft_floor(&self) -> Nanos {
        self.lead.as_ref().map_or(Nanos::ZERO, |lead| lead.ready)
    }

    /// Charges stages for each layer, and once, by node. A search then shuns what is dear; figures stay what they are.
    pub(crate) fn charge(&mut self, charges: Vec<(Nanos, Nanos)>) {
        self.charges = charges;
    }

    /// Whether the node's speed with this variant is known at all.
    #[must_use]
    pub fn knows_speed_of(&self, node: NodeOrd) -> bool {
        self.speeds[node.index()].is_some()
    }

    /// Times of a token of all sessions together on a node.
    pub(crate) fn crowd(&self, node: NodeOrd) -> Option<CrowdTimes> {
        let speed = self.speeds[node.index()]?;
        Some(CrowdTimes {
            layer: speed.crowd_layer,
            embedding: speed.crowd_embedding,
            head: speed.crowd_head,
            overhead: speed.overhead,
        })
    }

    /// What messages add.
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(crate) fn stage_parts(&self, node: NodeOrd) -> Option<StageParts> {
        let speed = self.speeds[node.index()]?;
        let battery = self.problem.nodes[node.index()].battery;
        let part = |chunk: Nanos, decode: Nanos| self.compute_part(battery, chunk, decode);
        let mut last = part(speed.chunk_last_layer, speed.decode_layer + speed.decode_head);
        // The head answers the first token once, after the last chunk; the chunks do not wait for it.
        last.ttft = last.ttft.saturating_add(speed.head.0);
        last.picojoules = last.picojoules.saturating_add(picojoules(battery, speed.head));
        last.energy_cost = energy_cost(last.picojoules, self.service.joule_cost);
        let (by_layer, once) = self.charges.get(node.index()).copied().unwrap_or_default();
        last.charge = by_layer.min(LONGEST).0;
        let mut fixed = part(speed.overhead, speed.decode_overhead);
        if let Some(lead) = self.lead.as_ref().filter(|lead| lead.node == node) {
            // One processor reads the prompt for both models.
            fixed.ttft = fixed.ttft.saturating_add(lead.prefill.0);
        }
        Some(StageParts {
            layer: Part {
                charge: by_layer.min(LONGEST).0,
                ..part(speed.chunk_layer, speed.decode_layer)
            },
            fixed: Part {
                charge: once.min(LONGEST).0,
                preference_cost: self.aversion(node).0,
                ..fixed
            },
            first: part(speed.chunk_embedding, speed.decode_embedding),
            last,
        })
    }

    /// What a stage on a node costs, since the service would rather not be there.
    pub(super) fn aversion(&self, node: NodeOrd) -> Nanos {
        let known = self.aversions.get(node.index()).copied();
        known.unwrap_or(Nanos::ZERO).min(LONGEST)
    }

    pub(super) fn compute_part(&self, battery: Option<Battery>, chunk: Nanos, decode: Nanos) -> Part {
        let busy = chunk.times(u64::from(self.chunks)) + decode.times(self.further_tokens());
        let picojoules = picojoules(battery, busy);
        Part {
            ttft: chunk.0,
            tpot: decode.0,
            busy: chunk.0,
            picojoules,
            energy_cost: energy_cost(picojoules, self.service.joule_cost).min(LONGEST.0),
            ..Part::default()
        }
    }

    /// Sending a token from the last stage to the head; `None` without a link.
    pub(crate) fn return_part(&self, last: NodeOrd, head: NodeOrd) -> Option<Part> {
        if last == head {
            return Some(Part::default());
        }
        Some(self.wire.token(&self.links.get(self.problem, last, head)?))
    }

    /// From the ingress nodes to a head and back, mean over requests; the nodes that have no path, otherwise.
    pub(crate) fn ingress_part(&self, head: NodeOrd) -> Result<Part, (NodeOrd, NodeOrd)> {
        match &self.lead {
            Some(lead) => self.way_of(lead, head),
            None => self.wire.ingress(self.problem, self.links, self.service, head),
        }
    }

    /// How parts count in the objective.
    pub(crate) fn weights(&self) -> Weights {
        Weights {
            ttft: u64::from(self.service.ttft_weight),
            tpot: self.further_tokens(),
        }
    }

    /// Output tokens after the first.
    pub(crate) fn further_tokens(&self) -> u64 {
        u64::from(self.service.output_tokens - 1)
    }

    /// Chunks after the first: each waits once for the bottleneck.
    pub(crate) fn further_chunks(&self) -> u64 {
        u64::from(self.chunks - 1)
    }

    /// Cost of the quality that this variant lacks.
    pub(crate) fn quality_cost(&self) -> Nanos {
        self.quality
    }

    /// The figures of a pipeline, its assistant not looked at.
    pub(super) fn without_assistant(&self, shape: &PipelineShape) -> Option<Evaluation> {
        let mut total = Part::default();
        let mut sheet = CostSheet {
            chunks: self.chunks,
            ..CostSheet::default()
        };
        let mut bottleneck = 0;
        let mut crowd = Nanos::ZERO;
        let mut estimate = false;

        let (head, last) = (shape.stages.first()?.node, shape.stages.last()?.node);
        let ingress = self.ingress_part(head).ok()?;
        sheet.ingress = Nanos(ingress.ttft);
        total = total.plus(ingress);

        for stage in &shape.stages {
            let part = self.stage_part(stage)?;
            let cost = self.stage_cost(stage, &part)?;
            crowd += cost.decode_at_concurrency;
            estimate |= cost.estimate;
            sheet.stages.push(cost);
            total = total.plus(part);
        }
        for pair in shape.stages.windows(2) {
            let path = self.links.get(self.problem, pair[0].node, pair[1].node)?;
            let precision = pair[0].activation?;
            let format = self
                .service
                .activations
                .iter()
                .find(|format| format.precision == precision)?;
            let part = self.wire.hop(&path, format);
            let cost = self.wire.hop_cost(&path, format);
            crowd += self.of_round(cost.latency + cost.token_transfer_at_concurrency);
            bottleneck = bottleneck.max(part.busy);
            sheet.hops.push(cost);
            total = total.plus(part);
        }
        if last != head {
            let cost = self.wire.token_cost(&self.links.get(self.problem, last, head)?);
            crowd += self.of_round(cost.latency + cost.token_transfer_at_concurrency);
            sheet.return_hop = Some(cost);
            total = total.plus(self.return_part(last, head)?);
        }

        // A node that holds two stages computes both.
        for stage in &shape.stages {
            let chunks = sheet.of_node(shape, stage.node).map(|times| times.prefill_chunk);
            bottleneck = bottleneck.max(chunks.sum::<Nanos>().0);
        }
        sheet.bottleneck = Nanos(bottleneck);
        let ttft = Nanos(total.ttft) + Nanos(bottleneck).times(self.further_chunks());
        let ttft = ttft.max(self.ttft_floor());
        let predicted = Predicted {
            ttft,
            tpot: Nanos(total.tpot),
            tpot_at_concurrency: crowd,
            energy_per_token: MicroJoules(
                total.picojoules / 1_000_000 / u64::from(self.service.output_tokens),
            ),
            estimate,
        };
        Some(Evaluation {
            predicted,
            cost: self.cost(&total, &predicted),
            sheet,
        })
    }

    /// What of a round's time falls to a token of the answer.
    pub(super) fn of_round(&self, time: Nanos) -> Nanos {
        Nanos(self.rounds.per_token(time.0))
    }

    pub(super) fn stage_part(&self, stage: &StageShape) -> Option<Part> {
        let parts = self.stage_parts(stage.node)?;
        let closes = stage.layers.end == self.num_layers;
        let equal_layers = stage.layers.len() - u32::from(closes);
        let mut part = parts.layer.times(equal_layers).plus(parts.fixed);
        if stage.layers.start == 0 {
            part = part.plus(parts.first);
        }
        if closes {
            part = part.plus(parts.last);
        }
        Some(part)
    }

    pub(super) fn stage_cost(&self, stage: &StageShape, part: &Part) -> Option<StageCost> {
        let speed = self.speeds[stage.node.index()]?;
        let (first, last) = (stage.layers.start == 0, stage.layers.end == self.num_layers);
        let when = |holds: bool, time: Nanos| if holds { time } else { Nanos::ZERO };
        Some(StageCost {
            prefill_chunk: Nanos(part.busy),
            head: when(last, speed.head),
            decode: Nanos(part.tpot),
            decode_at_concurrency: speed.crowd_layer.times(u64::from(stage.layers.len()))
                + speed.decode_overhead
                + when(first, speed.crowd_embedding)
                + when(last, speed.crowd_head),
            energy: MicroJoules(part.picojoules / 1_000_000),
            estimate: speed.estimate,
        })
    }

    fn cost(&self, total: &Part, predicted: &Predicted) -> Cost {
        let penalty = |actual: Nanos, promised: Option<Nanos>| {
            let late = promised.map_or(Nanos::ZERO, |promised| actual.saturating_sub(promised));
            late.times(u64::from(self.service.slo_penalty))
        };
        Cost {
            ttft: predicted.ttft.times(u64::from(self.service.ttft_weight)),
            decode: predicted.tpot.times(self.further_tokens()),
            ttft_violation: penalty(predicted.ttft, self.service.slo_ttft),
            tpot_violation: penalty(predicted.tpot, self.service.slo_tpot).times(self.further_tokens()),
            energy: Nanos(total.energy_cost),
            traffic: Nanos(total.traffic_cost),
            fidelity: Nanos(total.fidelity_cost),
            preference: Nanos(total.preference_cost),
            quality: self.quality,
        }
    }
}

fn aversions(problem: &Problem, service: &Service) -> Vec<Nanos> {
    if service.aversions.is_empty() {
        return Vec::new();
    }
    let mut by_node = vec![Nanos::ZERO; problem.nodes.len()];
    for aversion in &service.aversions {
        by_node[aversion.node.index()] += aversion.cost;
    }
    by_node
}

fn missing_quality(problem: &Problem, service: &Service, variant: &Variant) -> u32 {
    let quality = |candidate: &Candidate| problem.variant(*candidate).1.quality_milli;
    let best = service.candidates.iter().map(quality).max().unwrap_or(0);
    best.saturating_sub(variant.quality_milli)
}
