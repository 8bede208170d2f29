//! A stage's part in a session that another node drives: takes rows from the stage before, computes them, passes them
//! on; the last stage samples and sends the token to the head.
//!
//! It never computes on a cache that is not the sender's: pipeline, revision, worker epoch and position are compared
//! at each frame, and what does not fit is refused, with words.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crds::route_table::Hop;
use engine::Input;
use router::trace::{Span, SpanKind};
use transport::{Accepted, Code, Frame, Kind, Opening, Receiver, Refusal, Sender};

use super::{
    failure,
    next::{Next, Wiring, encoding_of, left, stretch},
    scheduler::{Computed, Job},
    seats::{Seat, Seats},
    tokens::Sink,
    wire::{Address, Sampled, Terms, Welcome},
};
use crate::agent::Core;

/// The head admits as many sessions as every stage has seats, so a seat that is not free is just being emptied.
const SEAT_WITHIN: Duration = Duration::from_secs(5);
/// A refusal that finds no room on the wire is given up; the stream's reset says the rest.
const REFUSE_WITHIN: Duration = Duration::from_secs(1);

/// Serves a session's stream from the stage before, to its end.
pub(crate) async fn serve(core: Arc<Core>, accepted: Accepted, terms: Terms) {
    let Accepted {
        node,
        opening,
        channel,
    } = accepted;
    let (mut sender, mut receiver) = channel.split();
    let deadline = Instant::now() + terms.time_left;
    let mut span = Span::begin("stage", SpanKind::Server, terms.traceparent.as_deref());
    super::place(
        &mut span,
        &core.node,
        opening.session,
        &opening.pipeline,
        terms.ordinal,
    );
    let terms = Terms {
        // The stages behind belong under this one.
        traceparent: span.traceparent().or(terms.traceparent),
        ..terms
    };
    let outcome = async {
        let mut part = Part::begin(&core, &opening, &terms, deadline).await?;
        let welcome = Welcome {
            worker_epoch: part.seat.epoch.0,
        };
        let welcome = Address::of(&opening).message(Kind::Control, 0, &welcome);
        sender
            .send(welcome, left(deadline))
            .await
            .map_err(|error| failure::of_channel(error, &node))?;
        let outcome = part.run(&core, &node, &mut receiver, &sender).await;
        part.end(&outcome).await;
        outcome
    };
    let refusal = match outcome.await {
        Ok(()) => {
            let _peer_gone = sender.finish();
            return;
        }
        Err(refusal) => refusal,
    };
    if refusal.code == Code::Cancelled {
        span.event("cancelled");
        tracing::debug!(session = %opening.session, pipeline = opening.pipeline, "session cancelled");
        return;
    }
    span.fail(&refusal);
    tracing::warn!(
        session = %opening.session,
        trace_id = span.trace_id(),
        pipeline = opening.pipeline,
        %refusal,
        "session refused"
    );
    core.metrics.sessions_refused.inc();
    let _peer_gone = sender.refuse(refusal, REFUSE_WITHIN).await;
}

/// Where this stage's results go.
#[derive(Debug)]
enum Onward {
    Rows(Box<Next>),
    Tokens(Sink),
}

/// One session on one stage.
#[derive(Debug)]
struct Part {
    seat: Seat,
    address: Address,
    terms: Terms,
    onward: Onward,
    /// The next position that this stage has not computed.
    position: u32,
    place: String,
    deadline: Instant,
}

impl Part {
    async fn begin(
        core: &Arc<Core>,
        opening: &Opening,
        terms: &Terms,
        deadline: Instant,
    ) -> Result<Self, Refusal> {
        let routes = core.routes.load();
        let hop = routes.admitting_hop(&opening.pipeline, opening.revision, terms.ordinal)?;
        let stage = core.stages.ready(&hop.stage).map_err(|reason| {
            let what = format!("node `{}`, stage {}: {reason}", core.node, hop.stage);
            Refusal::new(Code::Internal, what)
        })?;
        let place = format!("node `{}`, {}", core.node, stage.layers());
        let epoch = core
            .worker
            .epoch()
            .map_err(|error| failure::of_engine(&error, &place))?;
        if opening.worker_epoch != 0 && opening.worker_epoch != epoch.0 {
            let code = Code::StaleEpoch {
                held: epoch.0,
                got: opening.worker_epoch,
            };
            return Err(Refusal::new(code, place));
        }
        if terms.positions_max > stage.context_tokens() {
            let what = format!(
                "{place}: the session asks for {} positions, {} are reserved",
                terms.positions_max,
                stage.context_tokens()
            );
            return Err(Refusal::new(Code::TooLarge, what));
        }
        let within = SEAT_WITHIN.min(left(deadline));
        let seat = Seats::admit(core, &stage, hop, epoch, within).await?;
        let onward = Self::onward(core, hop, &seat, opening, terms, deadline).await?;
        Ok(Self {
            seat,
            address: Address::of(opening),
            terms: terms.clone(),
            onward,
            position: 0,
            place,
            deadline,
        })
    }

    async fn onward(
        core: &Core,
        hop: &Hop,
        seat: &Seat,
        opening: &Opening,
        terms: &Terms,
        deadline: Instant,
    ) -> Result<Onward, Refusal> {
        let Some(next) = &hop.next else {
            let sink = Sink::open(
                &core.endpoint,
                &core.exchange,
                &core.node,
                &hop.head,
                opening,
                deadline,
            );
            return Ok(Onward::Tokens(sink.await?));
        };
        let wiring = Wiring {
            node: next,
            pipeline: &opening.pipeline,
            revision: opening.revision,
            session: opening.session,
            encoding: encoding_of(hop.sends),
            width: seat.stage.width(),
            deadline,
        };
        let terms = Terms {
            ordinal: terms.ordinal + 1,
            time_left: left(deadline),
            ..terms.clone()
        };
        let next = Next::open(&core.endpoint, wiring, terms).await?;
        Ok(Onward::Rows(Box::new(next)))
    }

    /// Until the stage before has no more rows, or something breaks.
    async fn run(
        &mut self,
        core: &Core,
        node: &str,
        receiver: &mut Receiver,
        sender: &Sender,
    ) -> Result<(), Refusal> {
        let withdrawn = self.seat.withdrawn.clone();
        let upstream_gone = sender.stopped();
        let broken = match &self.onward {
            Onward::Rows(next) => Some(next.broken()),
            Onward::Tokens(_) => None,
        };
        let broken = async {
            match broken {
                Some(broken) => broken.await,
                None => std::future::pending().await,
            }
        };
        let place = self.place.clone();
        tokio::select! {
            biased;
            () = withdrawn.cancelled() => {
                let what = format!("{place}: the pipeline was withdrawn");
                Err(Refusal::new(Code::UnknownPipeline, what))
            }
            refusal = broken => Err(refusal),
            outcome = self.pump(core, node, receiver) => outcome,
            () = upstream_gone => Err(Refusal::new(Code::Cancelled, format!("node `{node}` has gone away"))),
        }
    }

    async fn pump(&mut self, core: &Core, node: &str, receiver: &mut Receiver) -> Result<(), Refusal> {
        loop {
            let frame = receiver
                .receive(left(self.deadline))
                .await
                .map_err(|error| failure::of_channel(error, node))?;
            let Some(frame) = frame else {
                return Ok(());
            };
            let kind = frame.header.kind;
            let (hidden, rows) = self.check(core, frame)?;
            let first = self.position;
            let computed = self.compute(core, kind, hidden, rows).await?;
            self.position += rows;
            match &mut self.onward {
                Onward::Rows(next) => next.send(kind, first, computed.hidden).await?,
                Onward::Tokens(sink) => {
                    if let Some(sample) = computed.sample {
                        let token = Sampled { token: sample.token };
                        sink.send(self.position, token).await?;
                    }
                }
            }
        }
    }

    /// Refuses what does not follow on what this stage holds.
    fn check(&self, core: &Core, frame: Frame) -> Result<(Bytes, u32), Refusal> {
        let header = frame.header;
        let refuse = |code, what: &str| Err(Refusal::new(code, format!("{}: {what}", self.place)));
        if header.pipeline != self.address.pipeline || header.session != self.address.session {
            return refuse(Code::Malformed, "the frame is of another session");
        }
        if header.revision != self.address.revision {
            let code = Code::StaleRevision {
                held: self.address.revision,
                got: header.revision,
            };
            return refuse(code, "the session began with another revision");
        }
        if !matches!(header.kind, Kind::Prefill | Kind::Decode) {
            return refuse(Code::Malformed, "rows are expected");
        }
        let held = core
            .worker
            .epoch()
            .map_err(|error| failure::of_engine(&error, &self.place))?
            .0;
        // Zero says that the sender has not heard an epoch yet; the seat's own epoch is compared in any case.
        if self.seat.epoch.0 != held || (header.worker_epoch != 0 && header.worker_epoch != held) {
            let code = Code::StaleEpoch {
                held,
                got: self.seat.epoch.0,
            };
            return refuse(code, "the worker was started again; its cache is empty");
        }
        if header.position != self.position {
            let code = Code::Position {
                expected: self.position,
                got: header.position,
            };
            return refuse(code, "the positions do not follow on what is held");
        }
        let (hidden, rows) = stretch(header.encoding, frame.payload, self.seat.stage.width())?;
        let end = u64::from(self.position) + u64::from(rows);
        if rows == 0 || rows > self.seat.stage.batch_rows() || end > u64::from(self.terms.positions_max) {
            return refuse(Code::TooLarge, "the rows exceed the batch or the session");
        }
        Ok((hidden, rows))
    }

    async fn compute(&self, core: &Core, kind: Kind, hidden: Bytes, rows: u32) -> Result<Computed, Refusal> {
        let ends_prompt = self.position + rows >= self.terms.prompt_tokens;
        let samples = ends_prompt && matches!(self.onward, Onward::Tokens(_));
        let job = Job {
            stage: Arc::clone(&self.seat.stage),
            epoch: self.seat.epoch,
            slot: self.seat.slot,
            position: self.position,
            rows,
            input: Input::Hidden(hidden),
            sample: samples.then(|| self.terms.sampling.clone()),
            decodes: kind == Kind::Decode,
            deadline: self.deadline,
        };
        core.compute(job)
            .await
            .map_err(|error| failure::of_engine(&error, &self.place))
    }

    /// Tells those behind this stage, and the head, how it ended.
    async fn end(self, outcome: &Result<(), Refusal>) {
        match (self.onward, outcome) {
            (Onward::Rows(next), Ok(())) => next.finish(),
            // Dropping it cancels the session there.
            (Onward::Rows(next), Err(_)) => drop(next),
            (Onward::Tokens(sink), Ok(())) => sink.finish(),
            (Onward::Tokens(sink), Err(refusal)) => sink.refuse(refusal.clone()).await,
        }
    }
}
