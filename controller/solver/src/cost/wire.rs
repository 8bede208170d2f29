//! What messages add to a pipeline's figures: hidden states between stages, tokens back to the head, requests and answers.
//!
//! A path's figures are the sum of its segments', and a segment is occupied for its own part.

use super::latency::{
    EVENT_BYTES, FRAME_BYTES, LONGEST, REQUEST_BYTES, REQUEST_BYTES_PER_TOKEN, Rounds, TOKEN_BYTES,
    TOKEN_ID_BYTES, message_latency, traffic_cost, transfer,
};
use super::part::Part;
use crate::links::{LinkIndex, Path};
use crate::problem::{ActivationFormat, Model, Problem, Segment, Service};
use crate::solution::HopCost;
use crate::units::{Bytes, Nanos, NodeOrd};

/// Messages of one service with one model.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// Chunks of the typical prompt.
    pub(super) chunks: u32,
    /// Rows of each. They are equal: the head cuts a prompt so.
    pub(super) chunk_rows: u32,
    hidden: u32,
    concurrency: u64,
    prompt_tokens: u64,
    output_tokens: u64,
    link_margin_milli: i32,
    rounds: Rounds,
}

impl Wire {
    pub(crate) fn new(service: &Service, model: &Model) -> Self {
        Self::of_rounds(service, model, Rounds::SINGLE)
    }

    pub(crate) fn of_rounds(service: &Service, model: &Model, rounds: Rounds) -> Self {
        let chunks = service.prompt_tokens.div_ceil(service.chunk_rows);
        Self {
            chunks,
            chunk_rows: service.prompt_tokens.div_ceil(chunks),
            hidden: model.hidden,
            concurrency: u64::from(service.concurrency),
            prompt_tokens: u64::from(service.prompt_tokens),
            output_tokens: u64::from(service.output_tokens),
            link_margin_milli: service.link_margin_milli,
            rounds,
        }
    }

    /// A message over a path: its time, and the price of so many bytes of such messages.
    pub(super) fn message(&self, path: &Path, bytes: Bytes, priced: Bytes) -> (Nanos, u64) {
        let segments = path.segments().map(|segment| {
            let time = message_latency(segment) + self.transfer(bytes, segment);
            (time, traffic_cost(segment, priced))
        });
        segments.fold((Nanos::ZERO, 0), |(time, price), (adds, costs)| {
            (time + adds, price + costs)
        })
    }

    /// Time of so many bytes on a segment, at the rate that this service counts on.
    fn transfer(&self, bytes: Bytes, segment: &Segment) -> Nanos {
        transfer(bytes, segment.rate_with(self.link_margin_milli))
    }

    fn transfer_over(&self, path: &Path, bytes: Bytes) -> Nanos {
        path.segments().map(|segment| self.transfer(bytes, segment)).sum()
    }

    /// Sending hidden states over a path in a format.
    pub(crate) fn hop(&self, path: &Path, format: &ActivationFormat) -> Part {
        let segments = path.segments().map(|segment| self.hop_segment(segment, format));
        segments.fold(Self::format(format), Part::then)
    }

    /// What a hop in a format adds wherever it goes.
    pub(crate) fn format(format: &ActivationFormat) -> Part {
        Part {
            fidelity_cost: format.fidelity_cost.min(LONGEST).0,
            ..Part::default()
        }
    }

    /// Sending hidden states over one segment.
    pub(crate) fn hop_segment(&self, segment: &Segment, format: &ActivationFormat) -> Part {
        let (chunk, token, bytes) = self.hop_bytes(format);
        let latency = message_latency(segment);
        let chunk = self.transfer(chunk, segment);
        Part {
            ttft: (latency + chunk).0,
            tpot: self.rounds.per_token((latency + self.transfer(token, segment)).0),
            busy: (segment.message_overhead + chunk).0,
            traffic_cost: traffic_cost(segment, bytes),
            ..Part::default()
        }
    }

    /// Bytes of a chunk, of a token and of a request in a format.
    fn hop_bytes(&self, format: &ActivationFormat) -> (Bytes, Bytes, Bytes) {
        let row = format.row_bytes(self.hidden);
        let frame = |rows: u64| row.times(rows) + Bytes(FRAME_BYTES);
        let (chunk, token) = (
            frame(u64::from(self.chunk_rows)),
            frame(u64::from(self.rounds.rows)),
        );
        let tokens = self.rounds.per_token(token.times(self.output_tokens - 1).0);
        let bytes = chunk.times(u64::from(self.chunks)) + Bytes(tokens);
        (chunk, token, bytes)
    }

    pub(super) fn hop_cost(&self, path: &Path, format: &ActivationFormat) -> HopCost {
        let (chunk, token, bytes) = self.hop_bytes(format);
        let rows = self.concurrency * u64::from(self.rounds.rows);
        let crowd = format.row_bytes(self.hidden).times(rows) + Bytes(FRAME_BYTES);
        HopCost {
            chunk_transfer: self.transfer_over(path, chunk),
            ..self.message_cost(path, token, crowd, bytes)
        }
    }

    /// Sending tokens back to the head.
    pub(crate) fn token(&self, path: &Path) -> Part {
        path.segments()
            .map(|segment| self.token_segment(segment))
            .fold(Part::default(), Part::then)
    }

    /// Sending tokens over one segment.
    pub(crate) fn token_segment(&self, segment: &Segment) -> Part {
        let time = |bytes: Bytes| (message_latency(segment) + self.transfer(bytes, segment)).0;
        Part {
            ttft: time(Bytes(TOKEN_BYTES)),
            tpot: self.rounds.per_token(time(self.tokens_bytes())),
            traffic_cost: traffic_cost(segment, self.returned_bytes()),
            ..Part::default()
        }
    }

    pub(super) fn token_cost(&self, path: &Path) -> HopCost {
        let token = self.tokens_bytes();
        self.message_cost(path, token, token.times(self.concurrency), self.returned_bytes())
    }

    /// Bytes of what a round gives back to the head: the token, or what was sampled after each row.
    fn tokens_bytes(&self) -> Bytes {
        match self.rounds.rows {
            1 => Bytes(TOKEN_BYTES),
            rows => Bytes(FRAME_BYTES) + Bytes(TOKEN_ID_BYTES).times(u64::from(rows)),
        }
    }

    /// Bytes of all these messages of a request.
    fn returned_bytes(&self) -> Bytes {
        let further = self.tokens_bytes().times(self.output_tokens - 1).0;
        Bytes(TOKEN_BYTES) + Bytes(self.rounds.per_token(further))
    }

    /// A request on its way from the ingress to the head.
    pub(crate) fn request(&self, path: &Path) -> Part {
        path.segments()
            .map(|segment| self.request_segment(segment))
            .fold(Part::default(), Part::then)
    }

    /// From the ingress nodes to a head and back, mean over requests; the nodes that have no path, otherwise.
    pub(crate) fn ingress(
        &self,
        problem: &Problem,
        links: &LinkIndex,
        service: &Service,
        head: NodeOrd,
    ) -> Result<Part, (NodeOrd, NodeOrd)> {
        let total: u128 = service.ingress.iter().map(|entry| u128::from(entry.weight)).sum();
        let (mut time, mut traffic) = (0_u128, 0_u128);
        for entry in service.ingress.iter().filter(|entry| entry.node != head) {
            let find = |from, to| links.get(problem, from, to).ok_or((from, to));
            let (up, down) = (find(entry.node, head)?, find(head, entry.node)?);
            let (there, back) = (self.request(&up), self.answer(&down));
            let weight = u128::from(entry.weight);
            time += u128::from(there.ttft.saturating_add(back.ttft)) * weight;
            traffic += u128::from(there.traffic_cost.saturating_add(back.traffic_cost)) * weight;
        }
        let mean = |sum: u128| u64::try_from(sum.checked_div(total).unwrap_or(0)).unwrap_or(u64::MAX);
        Ok(Part {
            ttft: mean(time),
            traffic_cost: mean(traffic),
            ..Part::default()
        })
    }

    /// Bytes of a request of the typical length, and of its answer.
    pub(crate) fn text_bytes(service: &Service) -> (Bytes, Bytes) {
        let request = REQUEST_BYTES_PER_TOKEN * u64::from(service.prompt_tokens) + REQUEST_BYTES;
        (
            Bytes(request),
            Bytes(EVENT_BYTES).times(u64::from(service.output_tokens)),
        )
    }

    /// A request over one segment.
    pub(crate) fn request_segment(&self, segment: &Segment) -> Part {
        let bytes = Bytes(REQUEST_BYTES_PER_TOKEN * self.prompt_tokens + REQUEST_BYTES);
        Part {
            ttft: (message_latency(segment) + self.transfer(bytes, segment)).0,
            traffic_cost: traffic_cost(segment, bytes),
            ..Part::default()
        }
    }

    /// An answer on its way back to the ingress; its first event is waited for.
    pub(crate) fn answer(&self, path: &Path) -> Part {
        path.segments()
            .map(|segment| self.answer_segment(segment))
            .fold(Part::default(), Part::then)
    }

    /// An answer over one segment.
    pub(crate) fn answer_segment(&self, segment: &Segment) -> Part {
        let event = Bytes(EVENT_BYTES);
        Part {
            ttft: (message_latency(segment) + self.transfer(event, segment)).0,
            traffic_cost: traffic_cost(segment, event.times(self.output_tokens)),
            ..Part::default()
        }
    }

    fn message_cost(&self, path: &Path, token: Bytes, crowd: Bytes, bytes: Bytes) -> HopCost {
        HopCost {
            from: path.from,
            to: path.to,
            latency: path.segments().map(message_latency).sum(),
            chunk_transfer: Nanos::ZERO,
            token_transfer: self.transfer_over(path, token),
            token_transfer_at_concurrency: self.transfer_over(path, crowd),
            bytes,
        }
    }
}
