//! The connection in force to each peer, its state and its meter. Says which of two connections stays;
//! makes none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use quinn::Connection;
use tokio::sync::{broadcast, watch};

use crate::{
    PublicKey, close, endpoint,
    meter::Meter,
    peers::{Event, PeerState, PeerTable, SharedTable},
};

/// Events that a slow receiver may be behind: some hundred peers may come and go at once.
const EVENTS: usize = 256;

#[derive(Debug)]
pub(crate) struct Registry {
    table: SharedTable,
    own_key: PublicKey,
    links: Mutex<BTreeMap<String, Link>>,
    states: watch::Sender<BTreeMap<String, PeerState>>,
    events: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Link {
    live: Option<Live>,
    meter: Arc<Meter>,
}

#[derive(Clone, Debug)]
struct Live {
    connection: Connection,
    dialled_here: bool,
    /// Of the peer's agent.
    incarnation: String,
}

impl Registry {
    pub(crate) fn new(table: SharedTable, own_key: PublicKey) -> Self {
        let (states, events) = (watch::Sender::default(), broadcast::Sender::new(EVENTS));
        Self {
            table,
            own_key,
            links: Mutex::default(),
            states,
            events,
        }
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<String, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn states(&self) -> watch::Receiver<BTreeMap<String, PeerState>> {
        self.states.subscribe()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn node_of(&self, key: &PublicKey) -> Option<String> {
        self.table.look(|table| table.node_of(key).map(str::to_owned))
    }

    pub(crate) fn meter(&self, node: &str) -> Option<Arc<Meter>> {
        self.links().get(node).map(|link| link.meter.clone())
    }

    /// The connection in force, if it is alive.
    pub(crate) fn live(&self, node: &str) -> Option<(Connection, Arc<Meter>)> {
        let links = self.links();
        let link = links.get(node)?;
        let live = link
            .live
            .as_ref()
            .filter(|live| live.connection.close_reason().is_none())?;
        Some((live.connection.clone(), link.meter.clone()))
    }

    /// The connection to a peer, as soon as there is one.
    pub(crate) async fn connected(&self, node: &str) -> Result<(Connection, Arc<Meter>), endpoint::Error> {
        let mut states = self.states.subscribe();
        loop {
            states.mark_unchanged();
            if let Some(live) = self.live(node) {
                return Ok(live);
            }
            if !self.table.look(|table| table.get(node).is_some()) {
                return Err(endpoint::Error::UnknownPeer(node.to_owned()));
            }
            // The sender lives as long as this registry.
            let _changed = states.changed().await;
        }
    }

    pub(crate) fn why_not_connected(&self, node: &str) -> String {
        match self.states.borrow().get(node) {
            Some(
                PeerState::Waiting {
                    reason: Some(reason), ..
                }
                | PeerState::Lost { reason, .. },
            ) => reason.clone(),
            Some(PeerState::Waiting { reason: None, .. }) => "no connection yet".to_owned(),
            Some(PeerState::Connected { .. }) => "no room for another session".to_owned(),
            None => "not in the table of peers".to_owned(),
        }
    }

    /// Puts a table in force, and closes the connections that it does not allow.
    pub(crate) fn replace_table(&self, table: PeerTable) {
        let mut links = self.links();
        links.retain(|node, link| {
            let stays = table.get(node).is_some_and(|new| {
                self.table
                    .look(|old| old.get(node).is_none_or(|old| old.key == new.key))
            });
            if let Some(live) = link.live.take_if(|_| !stays) {
                live.connection.close(close::REMOVED, b"");
            }
            stays
        });
        for peer in table.peers() {
            links
                .entry(peer.node.clone())
                .or_default()
                .meter
                .declare(peer.declared_rate);
        }
        let lost: Vec<String> = self
            .states
            .borrow()
            .keys()
            .filter(|node| !links.contains_key(*node))
            .cloned()
            .collect();
        let now = SystemTime::now();
        self.states.send_modify(|states| {
            // A node with another key has a fresh link without a connection: it waits again.
            states.retain(|node, state| {
                links
                    .get(node)
                    .is_some_and(|link| link.live.is_some() || !state.is_connected())
            });
            for node in links.keys() {
                states.entry(node.clone()).or_insert(PeerState::Waiting {
                    since: now,
                    reason: None,
                });
            }
        });
        self.table.replace(table);
        drop(links);
        for node in lost {
            self.tell(Event::PeerLost {
                node,
                reason: "taken from the table of peers".to_owned(),
            });
        }
    }

    /// Puts a connection in force whose peer has proved `key`. If there is a live one already, the newer of
    /// two dialled by the same end stays (its dialler was restarted, or knows better), and of two dialled by
    /// different ends the one dialled by the end with the smaller key, so that both ends choose alike.
    /// `None` if this connection is not to be used; it is then closed. `incarnation` is the peer's own word.
    pub(crate) fn register(
        &self,
        node: &str,
        key: &PublicKey,
        connection: &Connection,
        dialled_here: bool,
        incarnation: String,
    ) -> Option<Arc<Meter>> {
        let mut links = self.links();
        let allowed = self
            .table
            .look(|table| table.get(node).is_some_and(|peer| peer.key == *key));
        let Some(link) = links.get_mut(node).filter(|_| allowed) else {
            connection.close(close::REMOVED, b"");
            return None;
        };
        if let Some(other) = link
            .live
            .as_ref()
            .filter(|live| live.connection.close_reason().is_none())
        {
            let preferred = other.dialled_here == dialled_here || dialled_here == (self.own_key < *key);
            if !preferred {
                connection.close(close::DUPLICATE, b"");
                return None;
            }
            other.connection.close(close::DUPLICATE, b"");
        }
        link.live = Some(Live {
            connection: connection.clone(),
            dialled_here,
            incarnation: incarnation.clone(),
        });
        link.meter.attach(connection);
        let meter = link.meter.clone();
        let state = PeerState::Connected {
            since: SystemTime::now(),
            address: connection.remote_address(),
            incarnation,
        };
        self.states.send_modify(|states| {
            states.insert(node.to_owned(), state);
        });
        drop(links);
        self.tell(Event::PeerConnected {
            node: node.to_owned(),
        });
        Some(meter)
    }

    /// A connection has ended. Says nothing if another one is in force by now, or if the peer was removed.
    pub(crate) fn lost(&self, node: &str, connection: &Connection, reason: String) {
        let mut links = self.links();
        let Some(link) = links.get_mut(node) else { return };
        link.meter.detach(connection);
        let Some(ended) = link
            .live
            .take_if(|live| live.connection.stable_id() == connection.stable_id())
        else {
            return;
        };
        let state = PeerState::Lost {
            since: SystemTime::now(),
            incarnation: ended.incarnation,
            reason: reason.clone(),
        };
        self.states.send_modify(|states| {
            states.insert(node.to_owned(), state);
        });
        drop(links);
        self.tell(Event::PeerLost {
            node: node.to_owned(),
            reason,
        });
    }

    /// An attempt to dial has failed: the state keeps its beginning and gets the newest reason. Says whether the reason
    /// is another than before.
    pub(crate) fn dialling_failed(&self, node: &str, why: &str) -> bool {
        self.states.send_if_modified(|states| match states.get_mut(node) {
            Some(
                PeerState::Waiting {
                    reason: Some(reason), ..
                }
                | PeerState::Lost { reason, .. },
            ) if reason == why => false,
            Some(PeerState::Waiting { reason, .. }) => {
                *reason = Some(why.to_owned());
                true
            }
            Some(PeerState::Lost { reason, .. }) => {
                why.clone_into(reason);
                true
            }
            Some(PeerState::Connected { .. }) | None => false,
        })
    }

    fn tell(&self, event: Event) {
        match &event {
            Event::PeerConnected { node } => tracing::info!(%node, "peer connected"),
            Event::PeerLost { node, reason } => tracing::warn!(%node, %reason, "peer lost"),
        }
        // Nobody listening is fine: the states say the same.
        let _listeners = self.events.send(event);
    }
}
