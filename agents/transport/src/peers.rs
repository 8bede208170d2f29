//! Who may talk to this agent, where they are and who dials whom: a table that the control plane fills and
//! that may change at any time. The TLS verifiers look keys up in it; it opens no connection itself.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, RwLock},
    time::SystemTime,
};

use crate::identity::PublicKey;

/// One agent that this agent may talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node's name.
    pub node: String,
    /// The key that its agent published. Connections with any other key are refused.
    pub key: PublicKey,
    /// Where its agent listens, as `host:port`; resolved at each dialling. `None` for a peer that cannot
    /// be reached (a device behind NAT), which must dial us.
    pub address: Option<String>,
    /// Whether this agent dials. Exactly one end of a pair should; if both do, the connection dialled by
    /// the end with the smaller key stays.
    pub dial: bool,
    /// What the link's description says it delivers, bytes per second, for as long as nothing better is
    /// known.
    pub declared_rate: Option<u64>,
}

/// How the connection to a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Not connected yet since this agent learnt of the peer.
    Waiting {
        /// Since when.
        since: SystemTime,
        /// Why the last attempt failed, if there was one.
        reason: Option<String>,
    },
    /// Connected, and both ends have said hello.
    Connected {
        /// Since when.
        since: SystemTime,
        /// The address at which the peer is seen (behind NAT: the translated one).
        address: SocketAddr,
        /// Which start of its agent it is, as it says itself.
        incarnation: String,
    },
    /// It was connected, and is not any more.
    Lost {
        /// Since when.
        since: SystemTime,
        /// Which start of its agent was connected, as it said itself.
        incarnation: String,
        /// Why, or why the last attempt to reconnect failed.
        reason: String,
    },
}

impl PeerState {
    /// Whether frames can be sent now.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer is connected (again).
    PeerConnected {
        /// The peer's node.
        node: String,
    },
    /// The connection to a peer died, or the peer was taken from the table.
    PeerLost {
        /// The peer's node.
        node: String,
        /// Why.
        reason: String,
    },
}

/// Why a table of peers was refused; the table in force stays as it was.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Two entries for one node.
    #[error("peers: node `{0}` is listed twice")]
    NodeTwice(String),
    /// One key for two nodes: connections could not be told apart.
    #[error("peers: nodes `{0}` and `{1}` have the same key")]
    KeyTwice(String, String),
    /// Told to dial without an address.
    #[error("peers: node `{0}` is to be dialled but has no address")]
    NoAddress(String),
}

/// The peers by node and by key. Both maps hold the same peers.
#[derive(Debug, Default)]
pub(crate) struct PeerTable {
    by_node: BTreeMap<String, Peer>,
    by_key: HashMap<PublicKey, String>,
}

impl PeerTable {
    /// The table of these peers, if it is consistent.
    pub(crate) fn new(peers: Vec<Peer>) -> Result<Self, Error> {
        let mut table = Self::default();
        for peer in peers {
            if peer.dial && peer.address.is_none() {
                return Err(Error::NoAddress(peer.node));
            }
            if let Some(other) = table.by_key.insert(peer.key.clone(), peer.node.clone()) {
                return Err(if other == peer.node {
                    Error::NodeTwice(other)
                } else {
                    Error::KeyTwice(other, peer.node)
                });
            }
            if let Some(twice) = table.by_node.insert(peer.node.clone(), peer) {
                return Err(Error::NodeTwice(twice.node));
            }
        }
        Ok(table)
    }

    pub(crate) fn get(&self, node: &str) -> Option<&Peer> {
        self.by_node.get(node)
    }

    pub(crate) fn node_of(&self, key: &PublicKey) -> Option<&str> {
        self.by_key.get(key).map(String::as_str)
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.by_node.values()
    }
}

/// The table in force, shared with the TLS verifiers.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedTable(Arc<RwLock<PeerTable>>);

impl SharedTable {
    /// Runs `look` on the table in force.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&PeerTable) -> T) -> T {
        look(&self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Puts another table in force, and returns the one before.
    pub(crate) fn replace(&self, table: PeerTable) -> PeerTable {
        std::mem::replace(
            &mut *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner),
            table,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    fn peer(node: &str) -> Peer {
        let key = Identity::ephemeral().unwrap().public_key().clone();
        Peer {
            node: node.to_owned(),
            key,
            address: None,
            dial: false,
            declared_rate: None,
        }
    }

    #[test]
    fn a_table_finds_peers_by_node_and_by_key() {
        let (a, b) = (peer("a"), peer("b"));
        let table = PeerTable::new(vec![a.clone(), b.clone()]).unwrap();
        assert_eq!(table.get("a"), Some(&a));
        assert_eq!(table.node_of(&b.key), Some("b"));
        assert_eq!(table.peers().count(), 2);
    }

    #[test]
    fn an_ambiguous_table_is_refused() {
        let a = peer("a");
        let same_key = Peer {
            node: "b".to_owned(),
            ..a.clone()
        };
        let same_node = Peer {
            node: "a".to_owned(),
            ..peer("x")
        };
        let unreachable = Peer {
            dial: true,
            ..peer("c")
        };
        let refusal = |peers| PeerTable::new(peers).unwrap_err();
        assert_eq!(
            refusal(vec![a.clone(), same_key]),
            Error::KeyTwice("a".to_owned(), "b".to_owned())
        );
        assert_eq!(
            refusal(vec![a.clone(), a.clone()]),
            Error::NodeTwice("a".to_owned())
        );
        assert_eq!(refusal(vec![a, same_node]), Error::NodeTwice("a".to_owned()));
        assert_eq!(refusal(vec![unreachable]), Error::NoAddress("c".to_owned()));
    }
}
