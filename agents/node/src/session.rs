//! Sessions: how a request becomes tokens that pass the stages of a pipeline and come back as text.
//!
//! ```text
//! ingress ─▶ head ─rows▶ stage ─rows▶ … ─rows▶ last stage
//!              ▲                                   │
//!              └──────────────tokens───────────────┘        each stage: seats ▶ scheduler ▶ engine
//! ```
//!
//! A session opens one stream per hop; whoever fails refuses, and the refusal travels back to the head. Whoever goes
//! away cancels, and every stage behind gives the session's cells back.

mod company;
pub(crate) mod failure;
pub(crate) mod head;
mod next;
mod queue;
pub(crate) mod scheduler;
pub(crate) mod seats;
mod stage;
pub(crate) mod tokens;
pub(crate) mod wire;

use std::{sync::Arc, time::Instant};

use router::trace::{Span, SpanKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use transport::{Accepted, Kind, Refusal};

use self::{
    failure::to_client,
    head::{Head, Order},
    next::left,
    wire::{Address, Answer, Ask, Purpose},
};
use crate::agent::Core;

/// Answers that may wait for a reader: a client that reads slowly pauses its session.
pub(crate) const ANSWERS_WAITING: usize = 32;
/// How long a peer may take between its opening and what it asks.
const ASK_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Takes in the sessions that peers open, until the endpoint closes.
pub(crate) async fn accept(core: Arc<Core>) {
    while let Some(accepted) = core.endpoint.accept().await {
        let core = Arc::clone(&core);
        tokio::spawn(async move { take_in(core, accepted).await });
    }
}

async fn take_in(core: Arc<Core>, accepted: Accepted) {
    match wire::from_bytes::<Purpose>(&accepted.opening.body, "opening") {
        Ok(Purpose::Rows(terms)) => stage::serve(core, accepted, terms).await,
        Ok(Purpose::Tokens) => {
            let Accepted {
                node,
                opening,
                channel,
            } = accepted;
            core.exchange.clone().serve(node, opening.session, channel).await;
        }
        Ok(Purpose::Request) => answer(core, accepted).await,
        Err(refusal) => {
            let _peer_gone = accepted.channel.refuse(refusal, ASK_WITHIN).await;
        }
    }
}

/// Drives a session for an ingress on another node.
async fn answer(core: Arc<Core>, accepted: Accepted) {
    let Accepted {
        node,
        opening,
        mut channel,
    } = accepted;
    let ask = match channel.receive(ASK_WITHIN).await {
        Ok(Some(frame)) if frame.header.kind == Kind::Control => {
            wire::from_bytes::<Ask>(&frame.payload, "request")
        }
        Ok(_) => Err(Refusal::new(transport::Code::Malformed, "a request is expected")),
        Err(error) => Err(failure::of_channel(error, &node)),
    };
    let ask = match ask {
        Ok(ask) => ask,
        Err(refusal) => {
            let _peer_gone = channel.refuse(refusal, ASK_WITHIN).await;
            return;
        }
    };
    tracing::debug!(session = %opening.session, request_id = ask.request_id, from = node, "request passed on");
    let deadline = Instant::now() + ask.time_left;
    let order = Order {
        session: opening.session,
        traceparent: ask.traceparent,
        service: ask.service,
        pipeline: opening.pipeline.clone(),
        revision: opening.revision,
        prompt: ask.prompt,
        sampling: ask.sampling,
        max_tokens: ask.max_tokens,
        limits: ask.limits,
        deadline,
    };
    let cancellation = CancellationToken::new();
    let _stop_when_done = cancellation.clone().drop_guard();
    let mut answers = drive(&core, order, cancellation).await;
    let (mut sender, receiver) = channel.split();
    let reader_gone = sender.stopped();
    tokio::pin!(reader_gone);
    let address = Address::of(&opening);
    loop {
        let answer = tokio::select! {
            answer = answers.recv() => answer,
            () = &mut reader_gone => return,
        };
        let Some(answer) = answer else {
            break;
        };
        let frame = address.message(Kind::Tokens, 0, &answer);
        if let Err(error) = sender.send(frame, left(deadline).max(ASK_WITHIN)).await {
            tracing::debug!(%error, "the ingress has gone");
            return;
        }
    }
    // Refused only by a peer that has stopped reading.
    let _read_to_the_end = sender.finish();
    drop(receiver);
}

/// Begins a session on this node; what comes back are its answers, the first of which may be a refusal.
pub(crate) async fn drive(
    core: &Arc<Core>,
    order: Order,
    cancellation: CancellationToken,
) -> mpsc::Receiver<Answer> {
    let (answers, receiver) = mpsc::channel(ANSWERS_WAITING);
    let mut span = Span::begin("head", SpanKind::Server, order.traceparent.as_deref());
    place(&mut span, &core.node, order.session, &order.pipeline, 0);
    match Head::admit(core, order).await {
        Ok(head) => {
            let head = head.traced(span);
            tokio::spawn(head.run(Arc::clone(core), answers, cancellation));
        }
        Err(error) => {
            span.fail(&error);
            let _room_for_one = answers.try_send(Err(error));
        }
    }
    receiver
}

/// Says where a part of a session is computed.
fn place(span: &mut Span, node: &str, session: transport::SessionId, pipeline: &str, ordinal: u32) {
    span.set("edgeloom.node", node.to_owned());
    span.set("edgeloom.session", session.to_string());
    span.set("edgeloom.pipeline", pipeline.to_owned());
    span.set("edgeloom.ordinal", i64::from(ordinal));
}

/// Passes a request on to its head on another node.
pub(crate) async fn pass_on(
    core: &Arc<Core>,
    head: &str,
    order: &Order,
    request_id: String,
) -> Result<transport::Channel, router::Error> {
    let opening = transport::Opening {
        pipeline: order.pipeline.clone(),
        revision: order.revision,
        worker_epoch: 0,
        session: order.session,
        body: wire::to_bytes(&Purpose::Request),
    };
    let address = Address::of(&opening);
    let ask = Ask {
        request_id,
        traceparent: order.traceparent.clone(),
        service: order.service.clone(),
        prompt: order.prompt.clone(),
        sampling: order.sampling,
        max_tokens: order.max_tokens,
        limits: order.limits,
        time_left: left(order.deadline),
    };
    let within = left(order.deadline).min(ASK_WITHIN);
    let opened = core.endpoint.open(head, opening, within).await;
    let mut channel = opened.map_err(|error| router::Error::Unavailable {
        reason: error.to_string(),
    })?;
    channel
        .send(address.message(Kind::Control, 0, &ask), within)
        .await
        .map_err(|error| to_client(failure::of_channel(error, head)))?;
    Ok(channel)
}

/// The next answer of a head on another node.
pub(crate) async fn next_answer(channel: &mut transport::Channel, head: &str, deadline: Instant) -> Answer {
    match channel.receive(left(deadline)).await {
        Ok(Some(frame)) => wire::from_bytes::<Answer>(&frame.payload, "answer").map_err(to_client)?,
        Ok(None) => Err(router::Error::Interrupted {
            reason: format!("node `{head}` ended the answer without a reason"),
        }),
        Err(error) => Err(to_client(failure::of_channel(error, head))),
    }
}
