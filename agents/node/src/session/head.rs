//! The head of a session: turns the request into tokens, admits it, drives prompt and answer through the pipeline, and
//! turns tokens back into text. A pipeline of one stage is driven by the same code, with no network in it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crds::route_table::Hop;
use engine::{Input, Text};
use router::trace::Span;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use transport::{Code, Kind, Refusal, SessionId};

use super::{
    failure,
    next::{Next, Wiring, encoding_of, left},
    scheduler::{Computed, Job},
    seats::{Seat, Seats},
    tokens::Arrivals,
    wire::{Answer, Limits, Sampled, Terms},
};
use crate::{agent::Core, observed::Answered};

/// A seat that was just left is free within this time; a client that finds none is told that the service is busy.
const SEAT_WITHIN: Duration = Duration::from_millis(250);

/// A request that has reached its head.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The name of the session on all hops.
    pub(crate) session: SessionId,
    /// The router's span, while traces are on.
    pub(crate) traceparent: Option<String>,
    /// `namespace/name` of the LLMService.
    pub(crate) service: String,
    /// The pipeline that the ingress chose.
    pub(crate) pipeline: String,
    /// Its revision.
    pub(crate) revision: u64,
    /// What to continue.
    pub(crate) prompt: router::Prompt,
    /// How to choose tokens.
    pub(crate) sampling: router::Sampling,
    /// The most tokens that the client wants.
    pub(crate) max_tokens: Option<u32>,
    /// The service's limits.
    pub(crate) limits: Limits,
    /// When the client stops waiting.
    pub(crate) deadline: Instant,
}

/// A session that is admitted and not yet begun.
#[derive(Debug)]
pub(crate) struct Head {
    order: Order,
    arrived: Instant,
    /// How long it waited for its seat.
    waited: Duration,
    hop: Hop,
    seat: Seat,
    text: Arc<Text>,
    prompt: Vec<u32>,
    answer_max: u32,
    sampling: engine::Sampling,
    place: String,
    /// Whether some of the answer was told.
    told: bool,
    /// Ends with the session.
    span: Span,
}

/// The rest of the pipeline, as the head sees it.
#[derive(Debug)]
struct Way {
    next: Next,
    arrivals: Arrivals,
}

impl Head {
    /// Tokenizes and admits a request.
    ///
    /// # Errors
    ///
    /// What the router answers before the stream begins.
    pub(crate) async fn admit(core: &Arc<Core>, order: Order) -> Result<Self, router::Error> {
        let arrived = Instant::now();
        let unavailable = |reason: String| router::Error::Unavailable { reason };
        let routes = core.routes.load();
        let hop = routes.admitting_hop(&order.pipeline, order.revision, 0);
        let hop = hop.map_err(failure::before_text)?.clone();
        drop(routes);
        let stage = core.stages.ready(&hop.stage).map_err(|reason| {
            unavailable(format!("stage {} on node `{}`: {reason}", hop.stage, core.node))
        })?;
        let text = stage.text.clone().ok_or_else(|| router::Error::Internal {
            reason: format!("stage {} is no head: it has no vocabulary", hop.stage),
        })?;
        let prompt = tokens_of(Arc::clone(&text), order.prompt.clone()).await?;
        let prompt_tokens = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        let answer_max = admit(
            prompt_tokens,
            order.max_tokens,
            order.limits,
            stage.context_tokens(),
        )?;
        let place = format!("node `{}`, {}", core.node, stage.layers());
        let epoch = core
            .worker
            .epoch()
            .map_err(|error| unavailable(format!("{place}: {error}")))?;
        let within = SEAT_WITHIN.min(left(order.deadline));
        let seat = Seats::admit(core, &stage, &hop, epoch, within);
        let asked = Instant::now();
        let seat = seat.await.map_err(failure::before_text)?;
        Ok(Self {
            sampling: sampling_of(&order.sampling),
            order,
            arrived,
            waited: asked.elapsed(),
            hop,
            seat,
            text,
            prompt,
            answer_max,
            place,
            told: false,
            span: Span::default(),
        })
    }

    /// The same, told in a trace.
    pub(crate) fn traced(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// Drives the session to its end, or until nobody listens.
    pub(crate) async fn run(
        mut self,
        core: Arc<Core>,
        answers: mpsc::Sender<Answer>,
        cancellation: CancellationToken,
    ) {
        let prompt_tokens = self.prompt.len() as u32;
        if answers
            .send(Ok(router::Event::Started { prompt_tokens }))
            .await
            .is_err()
        {
            return;
        }
        let withdrawn = self.seat.withdrawn.clone();
        let place = self.place.clone();
        let session = self.order.session;
        let outcome = tokio::select! {
            biased;
            () = cancellation.cancelled() => None,
            () = answers.closed() => None,
            () = withdrawn.cancelled() => {
                let what = format!("{place}: the pipeline was withdrawn");
                Some(Err(Refusal::new(Code::UnknownPipeline, what)))
            }
            outcome = self.generate(&core, &answers) => Some(outcome),
        };
        let mut span = std::mem::take(&mut self.span);
        let told = self.told;
        // The seat is given back before the client hears the end, so that its next request finds it.
        drop(self);
        let answer = match outcome {
            None => {
                span.event("the client has gone");
                tracing::debug!(%session, "the client has gone");
                return;
            }
            Some(Ok(finished)) => Ok(finished),
            Some(Err(refusal)) => {
                span.fail(&refusal);
                tracing::warn!(%session, trace_id = span.trace_id(), %refusal, "session broken");
                core.metrics.sessions_refused.inc();
                Err(if told {
                    failure::to_client(refusal)
                } else {
                    failure::before_text(refusal)
                })
            }
        };
        let _client_gone = answers.send(answer).await;
    }

    async fn generate(
        &mut self,
        core: &Arc<Core>,
        answers: &mpsc::Sender<Answer>,
    ) -> Result<router::Event, Refusal> {
        let text = Arc::clone(&self.text);
        let mut stream = text.stream(vec![]);
        let mut way = self.way(core).await?;
        let mut sampled = self.prefill(core, &mut way).await?;
        let first_token = Instant::now();
        self.span.event("first token");
        let mut position = self.prompt.len() as u32;
        let mut generated = 0;
        let reason = loop {
            generated += 1;
            core.metrics.tokens.inc();
            if text.is_end_of_generation(sampled.token) {
                break router::FinishReason::Stop;
            }
            let piece = stream.push(&text.bytes_of(sampled.token));
            let event = router::Event::Text { piece, tokens: 1 };
            self.told = true;
            if answers.send(Ok(event)).await.is_err() {
                return Err(Refusal::new(Code::Cancelled, "the client has gone"));
            }
            if generated == self.answer_max {
                break router::FinishReason::Length;
            }
            sampled = self
                .step(core, &mut way, Kind::Decode, &[sampled.token], position, true)
                .await?
                .ok_or_else(|| Refusal::new(Code::Internal, "no token was sampled"))?;
            position += 1;
        };
        let held_back = stream.finish();
        if !held_back.is_empty() {
            let event = router::Event::Text {
                piece: held_back,
                tokens: 0,
            };
            let _client_gone = answers.send(Ok(event)).await;
        }
        if let Some(way) = way {
            way.next.finish();
        }
        let answered = Answered {
            prompt_tokens: self.prompt.len() as u32,
            first_token: first_token.duration_since(self.arrived),
            waited: self.waited,
            per_token: (generated > 1).then(|| first_token.elapsed() / (generated - 1)),
        };
        core.observed
            .record(&self.order.service, self.order.revision, answered);
        let usage = router::Usage {
            prompt_tokens: self.prompt.len() as u32,
            completion_tokens: generated,
        };
        self.span.set("gen_ai.usage.output_tokens", i64::from(generated));
        Ok(router::Event::Finished { reason, usage })
    }

    /// Opens the way through the other stages, where there are any.
    async fn way(&self, core: &Core) -> Result<Option<Way>, Refusal> {
        let Some(next) = &self.hop.next else {
            return Ok(None);
        };
        let arrivals = core.exchange.expect(self.order.session);
        let wiring = Wiring {
            node: next,
            pipeline: &self.order.pipeline,
            revision: self.order.revision,
            session: self.order.session,
            encoding: encoding_of(self.hop.sends),
            width: self.seat.stage.width(),
            deadline: self.order.deadline,
        };
        let prompt_tokens = self.prompt.len() as u32;
        let terms = Terms {
            ordinal: 1,
            prompt_tokens,
            positions_max: prompt_tokens + self.answer_max,
            sampling: self.sampling.clone(),
            time_left: left(self.order.deadline),
            traceparent: self.span.traceparent().or_else(|| self.order.traceparent.clone()),
        };
        let next = Next::open(&core.endpoint, wiring, terms).await?;
        Ok(Some(Way { next, arrivals }))
    }

    /// Sends the prompt through in chunks; while a chunk is under way, this stage computes the next.
    async fn prefill(&self, core: &Core, way: &mut Option<Way>) -> Result<Sampled, Refusal> {
        let rows_max = self
            .hop
            .prefill_chunk_rows
            .unsigned_abs()
            .clamp(1, self.seat.stage.batch_rows()) as usize;
        let mut position = 0;
        let mut sampled = None;
        for chunk in self.prompt.chunks(chunk_rows(self.prompt.len(), rows_max)) {
            let end = position + chunk.len() as u32;
            let ends_prompt = end as usize == self.prompt.len();
            sampled = self
                .step(core, way, Kind::Prefill, chunk, position, ends_prompt)
                .await?;
            position = end;
        }
        sampled.ok_or_else(|| Refusal::new(Code::Internal, "no token was sampled"))
    }

    /// One batch through the pipeline; waits for the token behind it where `wanted`.
    async fn step(
        &self,
        core: &Core,
        way: &mut Option<Way>,
        kind: Kind,
        tokens: &[u32],
        position: u32,
        wanted: bool,
    ) -> Result<Option<Sampled>, Refusal> {
        let samples_here = wanted && way.is_none();
        let computed = self.compute(core, kind, tokens, position, samples_here).await?;
        let Some(way) = way else {
            return Ok(computed.sample.map(|sample| Sampled { token: sample.token }));
        };
        way.send(kind, position, computed.hidden).await?;
        if !wanted {
            return Ok(None);
        }
        let next_position = position + tokens.len() as u32;
        way.token(next_position, self.order.deadline).await.map(Some)
    }

    async fn compute(
        &self,
        core: &Core,
        kind: Kind,
        tokens: &[u32],
        position: u32,
        samples: bool,
    ) -> Result<Computed, Refusal> {
        let job = Job {
            stage: Arc::clone(&self.seat.stage),
            epoch: self.seat.epoch,
            slot: self.seat.slot,
            position,
            rows: tokens.len() as u32,
            input: Input::Tokens(tokens.to_vec()),
            sample: samples.then(|| self.sampling.clone()),
            decodes: kind == Kind::Decode,
            deadline: self.order.deadline,
        };
        core.compute(job)
            .await
            .map_err(|error| failure::of_engine(&error, &self.place))
    }
}

impl Way {
    async fn send(&mut self, kind: Kind, position: u32, hidden: Bytes) -> Result<(), Refusal> {
        self.next.send(kind, position, hidden).await
    }

    /// The token at `position`, unless the pipeline breaks first.
    async fn token(&mut self, position: u32, deadline: Instant) -> Result<Sampled, Refusal> {
        let broken = self.next.broken();
        let (at, sampled) = tokio::select! {
            biased;
            arrival = self.arrivals.next() => match arrival {
                // The last stage has only hung up: what broke is told along the stages.
                Err(hung_up) if hung_up.code == Code::Cancelled => return Err(self.next.reason(hung_up).await),
                arrival => arrival?,
            },
            refusal = broken => return Err(refusal),
            () = tokio::time::sleep_until(deadline.into()) => {
                return Err(Refusal::new(Code::Deadline, "the last stage sent no token in time"));
            }
        };
        if at != position {
            let code = Code::Position {
                expected: position,
                got: at,
            };
            return Err(Refusal::new(
                code,
                "the last stage sent a token of another position",
            ));
        }
        Ok(sampled)
    }
}

/// Rows of a prompt's chunks: as few chunks as `rows_max` allows, all of about the same length, so that stages of a
/// pipeline that work side by side wait for none longer than for the others. The cost model counts on it.
fn chunk_rows(prompt_tokens: usize, rows_max: usize) -> usize {
    let chunks = prompt_tokens.div_ceil(rows_max).max(1);
    prompt_tokens.div_ceil(chunks).max(1)
}

/// The most tokens that the answer may have.
///
/// A client that names a number gets it or a refusal, up to the service's cap; one that names none gets what fits.
fn admit(
    prompt_tokens: u32,
    max_tokens: Option<u32>,
    limits: Limits,
    stage_context: u32,
) -> Result<u32, router::Error> {
    let context_tokens = limits.context_tokens.min(stage_context);
    let room = context_tokens.saturating_sub(prompt_tokens);
    let wanted = max_tokens.map(|wanted| wanted.min(limits.output_tokens_max));
    let admitted = wanted.unwrap_or_else(|| room.min(limits.output_tokens_max));
    if room == 0 || admitted > room {
        return Err(router::Error::ContextLength {
            prompt_tokens,
            max_tokens: wanted.unwrap_or(1).max(1),
            context_tokens,
        });
    }
    Ok(admitted.max(1))
}

/// The prompt's tokens. Long prompts take milliseconds, so this does not run where everybody waits.
async fn tokens_of(text: Arc<Text>, prompt: router::Prompt) -> Result<Vec<u32>, router::Error> {
    let param = match &prompt {
        router::Prompt::Chat(_) => "messages",
        router::Prompt::Text(_) => "prompt",
    };
    let work = move || match prompt {
        router::Prompt::Chat(messages) => {
            let messages: Vec<_> = messages
                .into_iter()
                .map(|message| engine::Message {
                    role: message.role.as_str().to_owned(),
                    content: message.content,
                })
                .collect();
            text.tokenize(&text.render_chat(&messages, true)?, true)
        }
        router::Prompt::Text(prompt) => text.tokenize(&prompt, false),
    };
    let tokens = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| router::Error::Internal {
            reason: format!("tokenizing failed: {error}"),
        })?
        .map_err(|error| router::Error::InvalidRequest {
            param: param.to_owned(),
            message: error.to_string(),
        })?;
    if tokens.is_empty() {
        return Err(router::Error::InvalidRequest {
            param: param.to_owned(),
            message: "The prompt has no tokens; write at least one character.".to_owned(),
        });
    }
    Ok(tokens)
}

fn sampling_of(sampling: &router::Sampling) -> engine::Sampling {
    engine::Sampling {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k.unwrap_or(0),
        min_p: sampling.min_p,
        seed: sampling.seed.unwrap_or_else(rand::random),
        ..engine::Sampling::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        context_tokens: 100,
        output_tokens_max: 40,
    };

    #[test]
    fn a_prompt_is_cut_into_few_chunks_of_equal_length() {
        let cut = |tokens: usize, rows_max| {
            let prompt = vec![0; tokens];
            let chunks = prompt.chunks(chunk_rows(tokens, rows_max));
            chunks.map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(cut(1, 128), [1]);
        assert_eq!(cut(128, 128), [128]);
        assert_eq!(cut(130, 128), [65, 65]);
        assert_eq!(cut(400, 128), [100, 100, 100, 100]);
        assert_eq!(cut(401, 128), [101, 101, 101, 98]);
        assert_eq!(cut(3, 1), [1, 1, 1]);
    }

    #[test]
    fn an_answer_is_bounded_by_the_client_the_service_and_the_context() {
        assert_eq!(admit(10, Some(7), LIMITS, 1000), Ok(7));
        assert_eq!(admit(10, Some(70), LIMITS, 1000), Ok(40));
        assert_eq!(admit(10, None, LIMITS, 1000), Ok(40));
        assert_eq!(admit(90, None, LIMITS, 1000), Ok(10));
        assert_eq!(admit(50, None, LIMITS, 64), Ok(14));
    }

    #[test]
    fn a_prompt_that_leaves_no_room_is_refused_with_the_numbers() {
        let refusal = |prompt, max| admit(prompt, max, LIMITS, 1000).unwrap_err();
        assert_eq!(
            refusal(100, None),
            router::Error::ContextLength {
                prompt_tokens: 100,
                max_tokens: 1,
                context_tokens: 100
            }
        );
        assert!(matches!(
            refusal(90, Some(20)),
            router::Error::ContextLength { max_tokens: 20, .. }
        ));
    }
}
