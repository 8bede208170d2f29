//! Pipelines with a small model beside them: it drafts what the pipeline verifies, or answers first.
//!
//! In both its node leads. Requests enter there and answers leave from there; the pipeline's head is reached over links.
//!
//! **Speculative** (Leviathan and others, 2023). `γ` tokens are drafted one by one, their numbers go to the head, the pipeline
//! computes `γ + 1` rows at once and gives back what it would have chosen after each; the first that differs ends the round:
//!
//! ```text
//! E     = (1 − a^(γ+1)) / (1 − a)                          tokens of a round, each accepted with chance a by itself
//! round = γ · t_draft + way(γ numbers) + t_verify(γ + 1 rows) + way back
//! TPOT  = round / E
//! TTFT  = max(pipeline's, prompt through the small model)   both read the prompt at once; one after the other on one node
//! ```
//!
//! **Cascade.** The small model answers, and the answer is held back until its confidence is known. A share `p` of requests then
//! goes to the large model. Every expected figure is `small + p · large`:
//!
//! ```text
//! answer = TTFT_small + (o − 1) · TPOT_small
//! TTFT   = answer + p · TTFT_large            TPOT = p · TPOT_large
//! ```
//!
//! The share is that at which what the small model keeps is as good as the large model's answer, so quality is the large
//! model's. (Were it a share drawn by lot, one of both alone would always be better than the cascade.)
//!
//! A promise with percentile `q` is about requests of the small model if `p ≤ 1 − q`; otherwise it has to hold for those that go
//! to the large one too, after `answer`.

use super::energy::{energy_cost, picojoules};
use super::latency::{FRAME_BYTES, LONGEST, Rounds, TOKEN_BYTES, TOKEN_ID_BYTES};
use super::memory::MemoryModel;
use super::model::{CostModel, Evaluation};
use super::part::Part;
use crate::links::LinkIndex;
use crate::problem::{Candidate, Draft, Ingress, Problem, Service};
use crate::solution::{Assistant, AssistantCost, Cost, PipelineShape, Predicted, Role, StageShape};
use crate::units::{Bytes, LayerRange, MicroJoules, Nanos, NodeOrd};

/// A message with so many drafted tokens.
pub(crate) fn draft_bytes(tokens: u32) -> Bytes {
    Bytes(FRAME_BYTES) + Bytes(TOKEN_ID_BYTES).times(u64::from(tokens))
}

/// A message that says how many were accepted, and the token after them.
pub(crate) fn verdict_bytes() -> Bytes {
    draft_bytes(2)
}

/// How a model may draft for a candidate; none when it is not the one that is named for it.
pub(crate) fn draft_of(problem: &Problem, candidate: Candidate, small: Candidate) -> Option<Draft> {
    let draft = problem.variant(candidate).0.draft?;
    (draft.model == small.model).then_some(draft)
}

/// Who drafts for a pipeline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lead {
    pub(super) node: NodeOrd,
    /// Tokens of a round.
    tokens: u32,
    /// The way of requests to its node, and its own work.
    own: Part,
    /// The prompt through the small model.
    pub(super) prefill: Nanos,
    /// When it has read the prompt.
    pub(super) ready: Nanos,
    /// One token, and one of all sessions.
    token: Nanos,
    crowd: Nanos,
    estimate: bool,
}

/// The small model's part of a cascade.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    /// From the request to the end of its answer.
    pub(crate) answer: Nanos,
    predicted: Predicted,
    cost: Cost,
}

impl First {
    /// What it costs, the large model's part apart.
    pub(crate) fn cost(&self) -> u64 {
        self.cost.total().0
    }
}

/// A whole model on a node.
fn whole(problem: &Problem, candidate: Candidate, node: NodeOrd) -> StageShape {
    StageShape {
        node,
        layers: LayerRange::new(0, problem.variant(candidate).1.num_layers()),
        activation: None,
    }
}

impl<'p> CostModel<'p> {
    /// The figures of a pipeline; `None` when a link or a speed that it needs is missing. Memory, privacy and modes are
    /// not looked at.
    #[must_use]
    pub fn evaluate(&self, shape: &PipelineShape) -> Option<Evaluation> {
        match shape.assistant {
            None => self.without_assistant(shape),
            Some(assistant) => match assistant.role {
                Role::Drafts { .. } => self.speculative(shape, assistant),
                Role::AnswersFirst => self.cascade(shape, assistant),
            },
        }
    }

    /// The cost of pipelines that verify rounds of so many drafted tokens, the drafting apart: less than any with it.
    pub(crate) fn verifying(
        problem: &'p Problem,
        links: &'p LinkIndex,
        service: &'p Service,
        candidate: Candidate,
        load_milli: &[u64],
        (tokens, draft): (u32, Draft),
    ) -> Self {
        let rounds = Rounds::speculative(tokens, draft.acceptance_percent);
        Self::of_nodes(problem, links, service, candidate, load_milli, rounds, |_| true)
    }

    /// The same with the drafting node in the lead; none when it cannot be.
    pub(crate) fn led_by(mut self, assistant: Assistant) -> Option<Self> {
        let stage = whole(self.problem, assistant.candidate, assistant.node);
        let shape = PipelineShape::alone(assistant.candidate, vec![stage]);
        let drafter = CostModel::of_shape(self.problem, self.links, self.service, &shape, &self.load_milli);
        self.lead = Some(self.lead(&drafter, assistant)?);
        Some(self)
    }

    /// What the drafting node adds to any pipeline, at least; `drafter` is the cost model of its variant.
    pub(crate) fn lead_cost(&self, drafter: &CostModel<'_>, assistant: Assistant) -> Option<u64> {
        let lead = self.lead(drafter, assistant)?;
        Some(self.weights().scalar(&lead.own))
    }

    fn lead(&self, drafter: &CostModel<'_>, assistant: Assistant) -> Option<Lead> {
        let Role::Drafts { tokens } = assistant.role else {
            return None;
        };
        let Assistant { candidate, node, .. } = assistant;
        let stage = whole(self.problem, candidate, node);
        let part = drafter.stage_part(&stage)?;
        let times = drafter.stage_cost(&stage, &part)?;
        let ingress = drafter.ingress_part(node).ok()?;
        let prefill = times.prefill_chunk.times(u64::from(self.chunks));
        let drafting = |token: Nanos| self.of_round(token.times(u64::from(tokens)));
        let busy = prefill + drafting(times.decode).times(self.further_tokens());
        let spent = picojoules(self.problem.nodes[node.index()].battery, busy);
        let own = Part {
            tpot: drafting(times.decode).0,
            picojoules: spent,
            energy_cost: energy_cost(spent, self.service.joule_cost).min(LONGEST.0),
            preference_cost: self.aversion(node).0,
            ..ingress
        };
        Some(Lead {
            node,
            tokens,
            own,
            prefill,
            ready: Nanos(ingress.ttft) + prefill,
            token: times.decode,
            crowd: drafting(times.decode_at_concurrency),
            estimate: times.estimate,
        })
    }

    /// From the ingress nodes over the drafting node to a head and back; the nodes that have no path, otherwise.
    pub(super) fn way_of(&self, lead: &Lead, head: NodeOrd) -> Result<Part, (NodeOrd, NodeOrd)> {
        if lead.node == head {
            return Ok(lead.own);
        }
        let find = |from, to| self.links.get(self.problem, from, to).ok_or((from, to));
        let (there, back) = (find(lead.node, head)?, find(head, lead.node)?);
        let (up, down) = self.lead_bytes(lead);
        let token = Bytes(TOKEN_BYTES);
        let (prompt, price_up) = self.wire.message(&there, self.prompt_bytes(), up);
        let (first, price_down) = self.wire.message(&back, token, down);
        let (drafted, _) = self.wire.message(&there, draft_bytes(lead.tokens), Bytes::ZERO);
        let (verdict, _) = self.wire.message(&back, verdict_bytes(), Bytes::ZERO);
        Ok(lead.own.then(Part {
            ttft: (prompt + first).0,
            tpot: self.of_round(drafted + verdict).0,
            traffic_cost: price_up.saturating_add(price_down),
            ..Part::default()
        }))
    }

    fn prompt_bytes(&self) -> Bytes {
        Bytes(FRAME_BYTES) + Bytes(TOKEN_ID_BYTES).times(u64::from(self.service.prompt_tokens))
    }

    /// Bytes of a request between the drafting node and the head, each way.
    fn lead_bytes(&self, lead: &Lead) -> (Bytes, Bytes) {
        let rounds = |message: Bytes| Bytes(self.rounds.per_token(message.times(self.further_tokens()).0));
        (
            self.prompt_bytes() + rounds(draft_bytes(lead.tokens)),
            Bytes(TOKEN_BYTES) + rounds(verdict_bytes()),
        )
    }

    fn speculative(&self, shape: &PipelineShape, assistant: Assistant) -> Option<Evaluation> {
        let Role::Drafts { tokens } = assistant.role else {
            return None;
        };
        let draft = draft_of(self.problem, shape.candidate, assistant.candidate)?;
        let rounds = Rounds::speculative(tokens, draft.acceptance_percent);
        let stands = |node| shape.stages.iter().any(|stage| stage.node.index() == node);
        let (problem, service, loads) = (self.problem, self.service, &self.load_milli);
        let model = Self::of_nodes(
            problem,
            self.links,
            service,
            shape.candidate,
            loads,
            rounds,
            stands,
        );
        let model = model.led_by(assistant)?;
        let mut evaluation = model.without_assistant(shape)?;
        let lead = model.lead.as_ref()?;
        let way = model.way_of(lead, shape.stages.first()?.node).ok()?;
        let predicted = &mut evaluation.predicted;
        // One message for all sessions: what is more than the drafting itself.
        predicted.tpot_at_concurrency += lead.crowd + Nanos(way.tpot.saturating_sub(lead.own.tpot));
        predicted.estimate |= lead.estimate;
        let (up, down) = model.lead_bytes(lead);
        let apart = lead.node != shape.stages.first()?.node;
        let round = u128::from(predicted.tpot.0) * u128::from(rounds.tokens_micro) / 1_000_000;
        evaluation.sheet.assistant = Some(AssistantCost::Draft {
            prefill: lead.prefill,
            token: lead.token,
            round: Nanos(u64::try_from(round).unwrap_or(u64::MAX)),
            tokens_per_round_milli: rounds.tokens_micro / 1_000,
            link_bytes: if apart { up + down } else { Bytes::ZERO },
        });
        Some(evaluation)
    }

    fn cascade(&self, shape: &PipelineShape, assistant: Assistant) -> Option<Evaluation> {
        let first = first_answer(
            self.problem,
            self.links,
            self.service,
            assistant,
            &self.load_milli,
        )?;
        let asked = escalated(self.service, &first, assistant.node);
        let large = CostModel::of_shape(self.problem, self.links, &asked, shape, &self.load_milli);
        let large = large.without_assistant(shape)?;
        Some(composed(self.service, &first, large, self.quality_cost()))
    }
}

/// The small model's answer; none when a link or a speed is missing.
pub(crate) fn first_answer(
    problem: &Problem,
    links: &LinkIndex,
    service: &Service,
    assistant: Assistant,
    load_milli: &[u64],
) -> Option<First> {
    let unpromised = Service {
        slo_ttft: None,
        slo_tpot: None,
        quality_value: Nanos::ZERO,
        ..service.clone()
    };
    let stage = whole(problem, assistant.candidate, assistant.node);
    let shape = PipelineShape::alone(assistant.candidate, vec![stage]);
    let model = CostModel::of_shape(problem, links, &unpromised, &shape, load_milli);
    let Evaluation { predicted, cost, .. } = model.without_assistant(&shape)?;
    let answer = predicted.ttft + predicted.tpot.times(model.further_tokens());
    let late = service
        .slo_ttft
        .map_or(Nanos::ZERO, |promised| answer.saturating_sub(promised));
    let cost = Cost {
        ttft: answer.times(u64::from(service.ttft_weight)),
        decode: Nanos::ZERO,
        ttft_violation: late.times(u64::from(service.slo_penalty)),
        ..cost
    };
    Some(First {
        answer,
        predicted,
        cost,
    })
}

/// What a service asks of the large model of its cascade: requests come from the small one's node when that has answered. A
/// promise that leaves out as many requests as go there is not about them. Quality is the whole cascade's matter.
pub(crate) fn escalated(service: &Service, first: &First, from: NodeOrd) -> Service {
    let promised = is_promised_to_escalated(service);
    Service {
        slo_ttft: service
            .slo_ttft
            .filter(|_| promised)
            .map(|slo| slo.saturating_sub(first.answer)),
        slo_tpot: service.slo_tpot.filter(|_| promised),
        quality_value: Nanos::ZERO,
        ingress: vec![Ingress {
            node: from,
            weight: 1,
        }],
        ..service.clone()
    }
}

fn is_promised_to_escalated(service: &Service) -> bool {
    service.escalated_percent + service.slo_percentile > 100
}

/// Both parts of a cascade together.
fn composed(service: &Service, first: &First, large: Evaluation, quality: Nanos) -> Evaluation {
    let percent = u64::from(service.escalated_percent);
    let part = |figure: Nanos| Nanos(share(figure.0, percent));
    let Evaluation {
        predicted,
        cost,
        mut sheet,
    } = large;
    sheet.assistant = Some(AssistantCost::First {
        answer: first.answer,
        escalated_percent: service.escalated_percent,
        escalated_ttft: first.answer + predicted.ttft,
        escalated_tpot: predicted.tpot,
        promised_to_escalated: is_promised_to_escalated(service),
    });
    Evaluation {
        predicted: Predicted {
            ttft: first.answer + part(predicted.ttft),
            tpot: part(predicted.tpot),
            tpot_at_concurrency: part(predicted.tpot_at_concurrency),
            energy_per_token: first.predicted.energy_per_token
                + MicroJoules(share(predicted.energy_per_token.0, percent)),
            estimate: first.predicted.estimate || predicted.estimate,
        },
        cost: Cost {
            quality,
            ..first.cost.and(&share_of(&cost, percent))
        },
        sheet,
    }
}

/// So many hundredths of a figure, rounded down.
fn share(figure: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(figure) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// So many hundredths of a cost; its sum too is rounded down only once, so that what is cheaper stays so.
fn share_of(cost: &Cost, percent: u64) -> Cost {
    let part = |term: Nanos| Nanos(share(term.0, percent));
    let Cost {
        ttft,
        decode,
        ttft_violation,
        tpot_violation,
        energy,
        traffic,
        fidelity,
        preference,
        quality,
    } = *cost;
    let mut shared = Cost {
        ttft: part(ttft),
        decode: part(decode),
        ttft_violation: part(ttft_violation),
        tpot_violation: part(tpot_violation),
        energy: part(energy),
        traffic: part(traffic),
        fidelity: part(fidelity),
        preference: part(preference),
        quality: part(quality),
    };
    shared.decode += part(cost.total()).saturating_sub(shared.total());
    shared
}

/// Memory of everything that a pipeline holds.
#[derive(Clone, Debug)]
pub(crate) struct Holdings<'p> {
    main: MemoryModel<'p>,
    assistant: Option<MemoryModel<'p>>,
}

/// A stage, or the assistant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding<'h, 'p> {
    pub(crate) node: NodeOrd,
    pub(crate) candidate: Candidate,
    pub(crate) layers: LayerRange,
    pub(crate) memory: &'h MemoryModel<'p>,
}

impl<'p> Holdings<'p> {
    pub(crate) fn of(problem: &'p Problem, service: &Service, shape: &PipelineShape) -> Self {
        let rows = match shape.assistant.map(|assistant| assistant.role) {
            Some(Role::Drafts { tokens }) => tokens + 1,
            Some(Role::AnswersFirst) | None => 1,
        };
        let (model, variant) = problem.variant(shape.candidate);
        let small = shape.assistant.map(|assistant| {
            let (model, variant) = problem.variant(assistant.candidate);
            MemoryModel::new(service, model, variant)
        });
        Self {
            main: MemoryModel::of_rows(service, model, variant, rows),
            assistant: small,
        }
    }

    /// The stages in order, then the assistant.
    pub(crate) fn each<'h>(
        &'h self,
        problem: &Problem,
        shape: &'h PipelineShape,
    ) -> impl Iterator<Item = Holding<'h, 'p>> {
        let stages = shape.stages.iter().map(|stage| Holding {
            node: stage.node,
            candidate: shape.candidate,
            layers: stage.layers,
            memory: &self.main,
        });
        let small = shape.assistant.zip(self.assistant.as_ref());
        let small = small.map(|(assistant, memory)| Holding {
            node: assistant.node,
            candidate: assistant.candidate,
            layers: whole(problem, assistant.candidate, assistant.node).layers,
            memory,
        });
        stages.chain(small)
    }
}
