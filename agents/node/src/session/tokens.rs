//! The way of a sampled token from the last stage back to the head: over a channel that the last stage opens to the
//! head, or within the agent when one node is both.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use transport::{Channel, Code, Endpoint, Kind, Opening, Refusal, Sender, SessionId};

use super::{
    failure,
    next::left,
    wire::{self, Address, Purpose, Sampled},
};

/// A session has one token under way; the second place is for the refusal behind it.
const UNDER_WAY: usize = 2;
/// As for the channel to the next stage.
const OPEN_WITHIN: Duration = Duration::from_secs(2);

/// A token at its position, or why there is none.
pub(crate) type Arrival = Result<(u32, Sampled), Refusal>;

/// Heads that wait for tokens, by session. A session's name is random and known only to its stages, so whoever names
/// it is one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange(Arc<Mutex<HashMap<SessionId, mpsc::Sender<Arrival>>>>);

/// A head's end. The session is forgotten when it is dropped.
#[derive(Debug)]
pub(crate) struct Arrivals {
    exchange: Exchange,
    session: SessionId,
    arrivals: mpsc::Receiver<Arrival>,
}

impl Exchange {
    /// Begins to wait for a session's tokens.
    pub(crate) fn expect(&self, session: SessionId) -> Arrivals {
        let (sender, arrivals) = mpsc::channel(UNDER_WAY);
        self.lock().insert(session, sender);
        Arrivals {
            exchange: self.clone(),
            session,
            arrivals,
        }
    }

    fn get(&self, session: SessionId) -> Option<mpsc::Sender<Arrival>> {
        self.lock().get(&session).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, mpsc::Sender<Arrival>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a channel that a last stage opened, until it ends.
    pub(crate) async fn serve(self, node: String, session: SessionId, channel: Channel) {
        let Some(head) = self.get(session) else {
            let refusal = Refusal::new(Code::UnknownSession, "no head waits for tokens of this session");
            let _peer_gone = channel.refuse(refusal, OPEN_WITHIN).await;
            return;
        };
        // Nothing is ever said back; the half is kept open, since dropping it would read as a cancellation.
        let (_silent, mut receiver) = channel.split();
        loop {
            // The head holds the session's deadline, and hangs up when it has passed.
            let arrival = tokio::select! {
                arrival = receiver.receive(Duration::MAX) => arrival,
                () = head.closed() => return,
            };
            let arrival = match arrival {
                Ok(Some(frame)) if frame.header.kind == Kind::Tokens => {
                    wire::from_bytes(&frame.payload, "token").map(|token| (frame.header.position, token))
                }
                Ok(Some(frame)) => Err(Refusal::new(
                    Code::Malformed,
                    format!("{:?} among tokens", frame.header.kind),
                )),
                Ok(None) => return,
                Err(error) => Err(failure::of_channel(error, &node)),
            };
            let ended = arrival.is_err();
            if head.send(arrival).await.is_err() || ended {
                return;
            }
        }
    }
}

impl Arrivals {
    /// The next token.
    pub(crate) async fn next(&mut self) -> Arrival {
        let closed = || Refusal::new(Code::Internal, "the way of the tokens is closed");
        self.arrivals.recv().await.unwrap_or_else(|| Err(closed()))
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.exchange.lock().remove(&self.session);
    }
}

/// The last stage's end.
#[derive(Debug)]
pub(crate) enum Sink {
    /// The head is another node.
    Away {
        node: String,
        address: Address,
        /// Boxed: half of it is buffers.
        sender: Box<Sender>,
        /// Kept, since dropping it would read as a cancellation.
        _silent: Box<transport::Receiver>,
        deadline: Instant,
    },
    /// The head is this node.
    Here(mpsc::Sender<Arrival>),
}

impl Sink {
    /// Opens the way to `head` for a session of `this_node`.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        exchange: &Exchange,
        this_node: &str,
        head: &str,
        opening: &Opening,
        deadline: Instant,
    ) -> Result<Self, Refusal> {
        if head == this_node {
            return exchange.get(opening.session).map(Self::Here).ok_or_else(|| {
                Refusal::new(Code::UnknownSession, "no head waits for tokens of this session")
            });
        }
        let opening = Opening {
            worker_epoch: 0,
            body: wire::to_bytes(&Purpose::Tokens),
            ..opening.clone()
        };
        let address = Address::of(&opening);
        let channel = endpoint
            .open(head, opening, OPEN_WITHIN)
            .await
            .map_err(|error| failure::of_opening(&error))?;
        let (sender, silent) = channel.split();
        Ok(Self::Away {
            node: head.to_owned(),
            address,
            sender: Box::new(sender),
            _silent: Box::new(silent),
            deadline,
        })
    }

    /// Sends the token at `position`.
    pub(crate) async fn send(&mut self, position: u32, token: Sampled) -> Result<(), Refusal> {
        match self {
            Self::Away {
                node,
                address,
                sender,
                deadline,
                ..
            } => sender
                .send(address.message(Kind::Tokens, position, &token), left(*deadline))
                .await
                .map_err(|error| failure::of_channel(error, node)),
            Self::Here(head) => head
                .send(Ok((position, token)))
                .await
                .map_err(|_| Refusal::new(Code::Cancelled, "the head has ended the session")),
        }
    }

    /// Says why no token follows. The same word travels back along the stages; the head takes the first.
    pub(crate) async fn refuse(self, refusal: Refusal) {
        match self {
            Self::Away { sender, .. } => {
                let _peer_gone = sender.refuse(refusal, OPEN_WITHIN).await;
            }
            Self::Here(head) => {
                let _session_over = head.send(Err(refusal)).await;
            }
        }
    }

    /// Nothing follows.
    pub(crate) fn finish(self) {
        if let Self::Away { sender, .. } = self {
            // The head may have hung up already; then there is nothing to end.
            let _ended = sender.finish();
        }
    }
}
