//! A request whose pipeline takes no new ones any more is sent again by the next RouteTable, as long as the client has
//! read nothing of an answer. Tables reach nodes one after the other, so each move has a moment in which they differ.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _, stream};
use router::{Error, Event, EventStream, Request};

use super::Ingress;
use crate::{agent::Core, routes::Routes, session::wire::Answer};

/// How long a request waits for a newer table after it was first sent to the wrong place.
const NEWER_TABLE_WITHIN: Duration = Duration::from_secs(10);

/// A request on its way.
pub(super) struct Rerouting {
    ingress: Ingress,
    request: Request,
    /// By what it was sent.
    routes: Arc<Routes>,
    answers: EventStream,
    /// Whether the client knows that the answer begins.
    started: bool,
    /// Whether the client has read some of it.
    answered: bool,
    /// Until when it may be sent again.
    until: Option<Instant>,
}

impl Rerouting {
    /// Sends a request by the table in force.
    pub(super) async fn begin(ingress: Ingress, request: Request) -> Result<Self, Error> {
        let routes = ingress.core.routes.load_full();
        let answers = ingress.send(&routes, &request).await?;
        Ok(Self {
            ingress,
            request,
            routes,
            answers,
            started: false,
            answered: false,
            until: None,
        })
    }

    /// Its answers, the last of which may be an error.
    pub(super) fn answers(self) -> impl Stream<Item = Answer> + Send {
        stream::unfold(self, |mut request| async {
            let answer = request.next().await?;
            Some((answer, request))
        })
    }

    async fn next(&mut self) -> Option<Answer> {
        loop {
            match self.answers.next().await? {
                Ok(Event::Started { .. }) if self.started => {}
                Ok(event) => {
                    self.started = true;
                    self.answered |= !matches!(event, Event::Started { .. });
                    return Some(Ok(event));
                }
                Err(Error::Misdirected { reason }) if !self.answered => {
                    if let Err(error) = self.send_again(reason).await {
                        return Some(Err(error));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn send_again(&mut self, reason: String) -> Result<(), Error> {
        let until = Instant::now() + NEWER_TABLE_WITHIN;
        let until = *self.until.get_or_insert(until.min(self.request.deadline));
        let newer = newer_table(&self.ingress.core, &self.routes);
        let newer = tokio::time::timeout_at(until.into(), newer);
        let cancelled = self.request.cancellation.cancelled();
        let newer = tokio::select! {
            biased;
            () = cancelled => return Err(Error::Cancelled),
            newer = newer => newer,
        };
        self.routes = newer.map_err(|_| Error::Misdirected {
            reason: reason.clone(),
        })?;
        tracing::debug!(
            request_id = self.request.request_id,
            reason,
            "sent again by a newer table"
        );
        self.answers = self.ingress.send(&self.routes, &self.request).await?;
        Ok(())
    }
}

/// Waits for another table than `held`, unless there is one already.
async fn newer_table(core: &Core, held: &Arc<Routes>) -> Arc<Routes> {
    let mut changes = core.changes();
    loop {
        let routes = core.routes.load_full();
        if !Arc::ptr_eq(&routes, held) {
            return routes;
        }
        // The sender is the core's own.
        let _agent_stopped = changes.changed().await;
    }
}
