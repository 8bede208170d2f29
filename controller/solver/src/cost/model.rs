//! The objective of one service with one model variant, as parts to be added.

use super::energy::{energy_cost, picojoules};
use super::latency::{
    Batches, EVENT_BYTES, FRAME_BYTES, LONGEST, NodeSpeed, REQUEST_BYTES, REQUEST_BYTES_PER_TOKEN,
    TOKEN_BYTES, message_latency, node_speed, traffic_cost, transfer,
};
use crate::links::LinkIndex;
use crate::problem::{ActivationFormat, Battery, Candidate, Link, Model, Problem, Service, Variant};
use crate::solution::{Cost, CostSheet, HopCost, PipelineShape, Predicted, StageCost, StageShape};
use crate::units::{Bytes, MicroJoules, Nanos, NodeOrd};

/// What one element of a pipeline adds to its figures. All fields but `busy` add up along the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Added to the time to the first token.
    pub(crate) ttft: u64,
    /// Added to the time per output token.
    pub(crate) tpot: u64,
    /// Time that a prefill chunk occupies the stage or link: adds up within a stage; its maximum counts.
    pub(crate) busy: u64,
    /// Battery energy per request.
    picojoules: u64,
    energy_cost: u64,
    traffic_cost: u64,
    fidelity_cost: u64,
}

impl Part {
    fn times(self, count: u32) -> Self {
        let times = |value: u64| value.saturating_mul(u64::from(count));
        let Self {
            ttft,
            tpot,
            busy,
            picojoules,
            energy_cost,
            traffic_cost,
            fidelity_cost,
        } = self;
        Self {
            ttft: times(ttft),
            tpot: times(tpot),
            busy: times(busy),
            picojoules: times(picojoules),
            energy_cost: times(energy_cost),
            traffic_cost: times(traffic_cost),
            fidelity_cost: times(fidelity_cost),
        }
    }

    fn plus(self, other: Self) -> Self {
        let Self {
            ttft,
            tpot,
            busy,
            picojoules,
            energy_cost,
            traffic_cost,
            fidelity_cost,
        } = other;
        Self {
            ttft: self.ttft.saturating_add(ttft),
            tpot: self.tpot.saturating_add(tpot),
            busy: self.busy.saturating_add(busy),
            picojoules: self.picojoules.saturating_add(picojoules),
            energy_cost: self.energy_cost.saturating_add(energy_cost),
            traffic_cost: self.traffic_cost.saturating_add(traffic_cost),
            fidelity_cost: self.fidelity_cost.saturating_add(fidelity_cost),
        }
    }
}

/// The parts of a stage on one node: `layers × layer + fixed`, with `first` at the beginning of the model; at its end
/// `last`, which is the model's last layer with the head, and takes the place of one `layer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageParts {
    pub(crate) layer: Part,
    pub(crate) fixed: Part,
    pub(crate) first: Part,
    pub(crate) last: Part,
}

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

/// The cost of pipelines of one service with one model variant.
#[derive(Debug)]
pub struct CostModel<'p> {
    problem: &'p Problem,
    service: &'p Service,
    links: &'p LinkIndex,
    model: &'p Model,
    speeds: Vec<Option<NodeSpeed>>,
    num_layers: u32,
    chunks: u32,
    chunk_rows: u32,
    quality: Nanos,
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
        let (model, variant) = problem.variant(candidate);
        let chunks = service.prompt_tokens.div_ceil(service.chunk_rows);
        // Equal chunks: the head cuts a prompt so.
        let chunk_rows = service.prompt_tokens.div_ceil(chunks);
        let batches = Batches {
            chunk_rows,
            chunk_history: u64::from(chunk_rows) * u64::from(chunks - 1) / 2,
            token_history: u64::from(service.prompt_tokens) + u64::from(service.output_tokens / 2),
            concurrency: service.concurrency,
        };
        let speed = |(node, &load)| node_speed(node, model, variant, batches, load);
        Self {
            problem,
            service,
            links,
            model,
            speeds: problem.nodes.iter().zip(load_milli).map(speed).collect(),
            num_layers: variant.num_layers(),
            chunks,
            chunk_rows,
            quality: service
                .quality_value
                .times(u64::from(missing_quality(problem, service, variant))),
        }
    }

    /// Whether the node's speed with this variant is known at all.
    #[must_use]
    pub fn knows_speed_of(&self, node: NodeOrd) -> bool {
        self.speeds[node.index()].is_some()
    }

    pub(crate) fn stage_parts(&self, node: NodeOrd) -> Option<StageParts> {
        let speed = self.speeds[node.index()]?;
        let battery = self.problem.nodes[node.index()].battery;
        let part = |chunk: Nanos, decode: Nanos| self.compute_part(battery, chunk, decode);
        let mut last = part(speed.chunk_last_layer, speed.decode_layer + speed.head);
        // The head answers the first token once, after the last chunk; the chunks do not wait for it.
        last.ttft = last.ttft.saturating_add(speed.head.0);
        last.picojoules = last.picojoules.saturating_add(picojoules(battery, speed.head));
        last.energy_cost = energy_cost(last.picojoules, self.service.joule_cost);
        Some(StageParts {
            layer: part(speed.chunk_layer, speed.decode_layer),
            fixed: part(speed.overhead, speed.overhead),
            first: part(speed.chunk_embedding, speed.decode_embedding),
            last,
        })
    }

    fn compute_part(&self, battery: Option<Battery>, chunk: Nanos, decode: Nanos) -> Part {
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

    /// Sending hidden states over a link in a format.
    pub(crate) fn hop_part(&self, link: &Link, format: &ActivationFormat) -> Part {
        let hop = self.hop_cost(link, format);
        Part {
            ttft: (hop.latency + hop.chunk_transfer).0,
            tpot: (hop.latency + hop.token_transfer).0,
            busy: (link.message_overhead + hop.chunk_transfer).0,
            traffic_cost: traffic_cost(link, hop.bytes),
            fidelity_cost: format.fidelity_cost.min(LONGEST).0,
            ..Part::default()
        }
    }

    fn hop_cost(&self, link: &Link, format: &ActivationFormat) -> HopCost {
        let row = format.row_bytes(self.model.hidden);
        let frame = |rows: u64| row.times(rows) + Bytes(FRAME_BYTES);
        let chunk = frame(u64::from(self.chunk_rows));
        HopCost {
            from: link.from,
            to: link.to,
            latency: message_latency(link),
            chunk_transfer: transfer(chunk, link.rate),
            token_transfer: transfer(frame(1), link.rate),
            token_transfer_at_concurrency: transfer(frame(u64::from(self.service.concurrency)), link.rate),
            bytes: chunk.times(u64::from(self.chunks)) + frame(1).times(self.further_tokens()),
        }
    }

    /// Sending a token from the last stage to the head; `None` without a link.
    pub(crate) fn return_part(&self, last: NodeOrd, head: NodeOrd) -> Option<Part> {
        if last == head {
            return Some(Part::default());
        }
        let link = self.links.get(self.problem, last, head)?;
        let hop = self.return_cost(link);
        let time = (hop.latency + hop.token_transfer).0;
        Some(Part {
            ttft: time,
            tpot: time,
            traffic_cost: traffic_cost(link, hop.bytes),
            ..Part::default()
        })
    }

    fn return_cost(&self, link: &Link) -> HopCost {
        let crowd = Bytes(TOKEN_BYTES).times(u64::from(self.service.concurrency));
        HopCost {
            from: link.from,
            to: link.to,
            latency: message_latency(link),
            chunk_transfer: Nanos::ZERO,
            token_transfer: transfer(Bytes(TOKEN_BYTES), link.rate),
            token_transfer_at_concurrency: transfer(crowd, link.rate),
            bytes: Bytes(TOKEN_BYTES).times(u64::from(self.service.output_tokens)),
        }
    }

    /// From the ingress nodes to a head and back, mean over requests; the node that has no link, otherwise.
    pub(crate) fn ingress_part(&self, head: NodeOrd) -> Result<Part, (NodeOrd, NodeOrd)> {
        let total: u128 = self
            .service
            .ingress
            .iter()
            .map(|entry| u128::from(entry.weight))
            .sum();
        let (mut time, mut traffic) = (0_u128, 0_u128);
        for entry in self.service.ingress.iter().filter(|entry| entry.node != head) {
            let find = |from, to| self.links.get(self.problem, from, to).ok_or((from, to));
            let (up, down) = (find(entry.node, head)?, find(head, entry.node)?);
            let request =
                Bytes(REQUEST_BYTES_PER_TOKEN * u64::from(self.service.prompt_tokens) + REQUEST_BYTES);
            let answer = Bytes(EVENT_BYTES).times(u64::from(self.service.output_tokens));
            let there = message_latency(up) + transfer(request, up.rate);
            let back = message_latency(down) + transfer(Bytes(EVENT_BYTES), down.rate);
            time += u128::from((there + back).0) * u128::from(entry.weight);
            traffic +=
                u128::from(traffic_cost(up, request) + traffic_cost(down, answer)) * u128::from(entry.weight);
        }
        let mean = |sum: u128| u64::try_from(sum.checked_div(total).unwrap_or(0)).unwrap_or(u64::MAX);
        Ok(Part {
            ttft: mean(time),
            traffic_cost: mean(traffic),
            ..Part::default()
        })
    }

    /// What a part adds to the objective, the bottleneck and penalties apart.
    pub(crate) fn scalar(&self, part: &Part) -> u64 {
        let Part {
            ttft,
            tpot,
            busy: _,
            picojoules: _,
            energy_cost,
            traffic_cost,
            fidelity_cost,
        } = *part;
        ttft.saturating_mul(u64::from(self.service.ttft_weight))
            .saturating_add(tpot.saturating_mul(self.further_tokens()))
            .saturating_add(energy_cost)
            .saturating_add(traffic_cost)
            .saturating_add(fidelity_cost)
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

    /// The figures of a pipeline; `None` when a link or a speed that it needs is missing. Memory, privacy and modes are
    /// not looked at.
    #[must_use]
    pub fn evaluate(&self, shape: &PipelineShape) -> Option<Evaluation> {
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
            bottleneck = bottleneck.max(part.busy);
            sheet.stages.push(cost);
            total = total.plus(part);
        }
        for pair in shape.stages.windows(2) {
            let link = self.links.get(self.problem, pair[0].node, pair[1].node)?;
            let precision = pair[0].activation?;
            let format = self
                .service
                .activations
                .iter()
                .find(|format| format.precision == precision)?;
            let part = self.hop_part(link, format);
            let cost = self.hop_cost(link, format);
            crowd += cost.latency + cost.token_transfer_at_concurrency;
            bottleneck = bottleneck.max(part.busy);
            sheet.hops.push(cost);
            total = total.plus(part);
        }
        if last != head {
            let cost = self.return_cost(self.links.get(self.problem, last, head)?);
            crowd += cost.latency + cost.token_transfer_at_concurrency;
            sheet.return_hop = Some(cost);
            total = total.plus(self.return_part(last, head)?);
        }

        sheet.bottleneck = Nanos(bottleneck);
        let ttft = Nanos(total.ttft) + Nanos(bottleneck).times(self.further_chunks());
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

    fn stage_part(&self, stage: &StageShape) -> Option<Part> {
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

    fn stage_cost(&self, stage: &StageShape, part: &Part) -> Option<StageCost> {
        let speed = self.speeds[stage.node.index()]?;
        let (first, last) = (stage.layers.start == 0, stage.layers.end == self.num_layers);
        let when = |holds: bool, time: Nanos| if holds { time } else { Nanos::ZERO };
        Some(StageCost {
            prefill_chunk: Nanos(part.busy),
            head: when(last, speed.head),
            decode: Nanos(part.tpot),
            decode_at_concurrency: speed.crowd_layer.times(u64::from(stage.layers.len()))
                + speed.overhead
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
            quality: self.quality,
        }
    }
}

fn missing_quality(problem: &Problem, service: &Service, variant: &Variant) -> u32 {
    let quality = |candidate: &Candidate| problem.variant(*candidate).1.quality_milli;
    let best = service.candidates.iter().map(quality).max().unwrap_or(0);
    best.saturating_sub(variant.quality_milli)
}
