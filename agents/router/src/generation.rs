//! Drives one generation and holds the router's promises around whatever the backend does: stop sequences are cut,
//! the deadline holds, the end is always a finish reason or a refusal, and whoever stops listening cancels.

use std::{pin::Pin, sync::Arc};

use futures::{StreamExt, future::BoxFuture};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::error;

use crate::{
    backend::{Backend, Error, Event, EventStream, FinishReason, Request, Usage},
    lease::Lease,
    record::Record,
    refusal::Refusal,
    stop::StopMatcher,
};

/// What a generation comes to, for whoever writes the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The prompt is admitted.
    Started,
    /// Text to show; never empty.
    Text(String),
    /// Nothing follows.
    Finished(FinishReason, Usage),
}

/// A generation. Dropping it cancels it.
pub(crate) struct Generation {
    source: Source,
    /// What follows the text that was just given out.
    finish: Option<FinishReason>,
    started: bool,
    stop: StopMatcher,
    deadline: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    prompt_param: &'static str,
    record: Record,
    /// Last, so that what is above is gone before its place is free.
    lease: Lease,
}

enum Source {
    Opening(BoxFuture<'static, Result<EventStream, Error>>),
    Open(EventStream),
    Ended,
}

impl Source {
    /// Cancel-safe: nothing is taken out of it but by the return.
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            match self {
                Self::Opening(opening) => match opening.await {
                    Ok(stream) => *self = Self::Open(stream),
                    Err(error) => {
                        *self = Self::Ended;
                        return Some(Err(error));
                    }
                },
                Self::Open(stream) => return stream.next().await,
                Self::Ended => return None,
            }
        }
    }
}

impl Generation {
    /// Hands the request to the backend, lazily. `closing` fires when the server cannot wait any longer.
    pub(crate) fn open(
        backend: Arc<dyn Backend>,
        request: Request,
        prompt_param: &'static str,
        closing: CancellationToken,
        lease: Lease,
        record: Record,
    ) -> Self {
        let stop = StopMatcher::new(&request.stop);
        let deadline = Box::pin(tokio::time::sleep_until(Instant::from_std(request.deadline)));
        let opening = async move { backend.generate(request).await };
        Self {
            source: Source::Opening(Box::pin(opening)),
            finish: None,
            started: false,
            stop,
            deadline,
            closing: Box::pin(closing.cancelled_owned()),
            prompt_param,
            record,
            lease,
        }
    }

    /// The client is about to get its 200.
    pub(crate) fn stream_begins(&mut self) {
        self.record.stream_begins();
    }

    /// What comes next; `None` after [`Output::Finished`] or a refusal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Output, Refusal>> {
        if let Some(reason) = self.finish.take() {
            return Some(Ok(self.finished(reason)));
        }
        if matches!(self.source, Source::Ended) {
            return None;
        }
        loop {
            // The deadline comes first: a backend that always has something ready must not starve it.
            let event = tokio::select! {
                biased;
                () = &mut self.deadline => return Some(Err(self.refuse(Refusal::deadline_exceeded()))),
                () = &mut self.closing => {
                    let refusal = Refusal::unavailable("The server is shutting down.");
                    return Some(Err(self.refuse(refusal)));
                }
                event = self.source.next() => event,
            };
            if let Some(output) = self.handle(event) {
                return Some(output);
            }
        }
    }

    fn handle(&mut self, event: Option<Result<Event, Error>>) -> Option<Result<Output, Refusal>> {
        match event {
            Some(Ok(Event::Started { prompt_tokens })) if !self.started => {
                self.started = true;
                self.record.prompt_admitted(prompt_tokens);
                Some(Ok(Output::Started))
            }
            Some(Ok(Event::Started { .. })) => Some(Err(self.fail(defect("a second Started")))),
            Some(Ok(Event::Text { .. } | Event::Finished { .. })) if !self.started => {
                Some(Err(self.fail(defect("an answer before Started"))))
            }
            Some(Ok(Event::Text { piece, tokens })) => {
                self.record.tokens_generated(tokens);
                let step = self.stop.push(piece);
                if step.matched {
                    // The backend is told at once, not when the client has read the rest.
                    self.end_source();
                    return Some(Ok(self.last_text(step.text, FinishReason::Stop)));
                }
                (!step.text.is_empty()).then_some(Ok(Output::Text(step.text)))
            }
            Some(Ok(Event::Finished { reason, usage })) => {
                self.record.set_usage(usage);
                self.end_source();
                let held_back = std::mem::replace(&mut self.stop, StopMatcher::new::<&str>(&[])).finish();
                Some(Ok(self.last_text(held_back, reason)))
            }
            Some(Err(error)) => Some(Err(self.fail(error))),
            None => {
                let reason = "the backend ended the answer without saying why".to_owned();
                Some(Err(self.fail(Error::Interrupted { reason })))
            }
        }
    }

    /// The text, if there is any, and then the end.
    fn last_text(&mut self, text: String, reason: FinishReason) -> Output {
        if text.is_empty() {
            return self.finished(reason);
        }
        self.finish = Some(reason);
        Output::Text(text)
    }

    fn finished(&mut self, reason: FinishReason) -> Output {
        self.record.end(http::StatusCode::OK);
        Output::Finished(reason, self.record.usage())
    }

    fn fail(&mut self, error: Error) -> Refusal {
        if matches!(error, Error::Internal { .. } | Error::Cancelled) {
            error!(request_id = self.record.request_id, %error, "the backend failed");
        }
        let refusal = Refusal::of_backend(error, &self.record.request_id, self.prompt_param);
        self.refuse(refusal)
    }

    fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.end_source();
        self.record.end(refusal.status);
        refusal
    }

    fn end_source(&mut self) {
        self.lease.cancel();
        self.source = Source::Ended;
    }
}

fn defect(what: &str) -> Error {
    Error::Internal {
        reason: format!("the backend sent {what}"),
    }
}
