//! Links as slow as declared, on a machine whose own network is not: bytes are delayed, limited and lost
//! below QUIC, at its socket, so that QUIC's own round trips, losses and windows are true. Each agent
//! emulates what it sends; a link that is slow both ways is slow at both ends. It does not emulate a medium
//! that several links share.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quinn::AsyncUdpSocket;

mod pipe;
mod socket;

use socket::{EmulatedSocket, Links};

/// How a link is in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Bytes of UDP payload per second that leave; `None` for no limit.
    pub rate: Option<u64>,
    /// Time from leaving to arriving.
    pub delay: Duration,
    /// Up to this much is added to the delay of each packet, evenly distributed. Packets keep their order.
    pub jitter: Duration,
    /// The share of packets that are lost at random, 0 to 1.
    pub loss: f64,
    /// Bytes that may wait to leave; a packet that finds no room is dropped, as at the tail of a router's
    /// queue. Counts only where there is a rate.
    pub buffer_bytes: u64,
    /// Whether nothing passes at all.
    pub cut: bool,
}

impl Conditions {
    /// A link that changes nothing.
    pub const PERFECT: Self = Self {
        rate: None,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        buffer_bytes: u64::MAX,
        cut: false,
    };

    /// A clean link of this rate (bytes per second) and one-way delay, with a buffer of a tenth of a
    /// second, but no less than 64 KiB (45 packets).
    pub fn new(rate: u64, delay: Duration) -> Self {
        Self {
            rate: Some(rate),
            delay,
            buffer_bytes: (rate / 10).max(64 * 1024),
            ..Self::PERFECT
        }
    }

    /// The link through which nothing passes.
    pub fn severed() -> Self {
        Self {
            cut: true,
            ..Self::PERFECT
        }
    }
}

/// The links that an endpoint emulates. They can be changed later with [`crate::Endpoint::emulate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Emulation {
    /// Seeds the random losses and jitter.
    pub seed: u64,
    /// For peers that are not named.
    pub default: Conditions,
    /// By the peer's node.
    pub by_node: BTreeMap<String, Conditions>,
}

impl Default for Emulation {
    fn default() -> Self {
        Self {
            seed: 0,
            default: Conditions::PERFECT,
            by_node: BTreeMap::new(),
        }
    }
}

impl Emulation {
    fn conditions_of(&self, node: &str) -> Conditions {
        self.by_node.get(node).copied().unwrap_or(self.default)
    }
}

/// The emulated links in force: what is declared by node, put on the addresses at which nodes are seen.
#[derive(Debug)]
pub(crate) struct Emulated {
    links: Arc<Links>,
    peers: Mutex<Peers>,
}

#[derive(Debug)]
struct Peers {
    emulation: Emulation,
    /// Where each node was seen last. Kept after a loss: the way back must be as good or bad.
    seen_at: BTreeMap<String, SocketAddr>,
}

impl Emulated {
    pub(crate) fn new(emulation: Emulation) -> Self {
        let links = Links::new(emulation.seed, emulation.default);
        Self {
            links,
            peers: Mutex::new(Peers {
                emulation,
                seen_at: BTreeMap::new(),
            }),
        }
    }

    /// A socket whose packets pass these links.
    pub(crate) fn wrap(&self, socket: Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> {
        EmulatedSocket::wrap(socket, self.links.clone())
    }

    /// A node is at this address now.
    pub(crate) fn seen(&self, node: &str, address: SocketAddr) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.seen_at.insert(node.to_owned(), address);
        self.links.set(address, peers.emulation.conditions_of(node));
    }

    /// Fades, mends or cuts the link to a node.
    pub(crate) fn set(&self, node: &str, conditions: Conditions) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.emulation.by_node.insert(node.to_owned(), conditions);
        if let Some(address) = peers.seen_at.get(node) {
            self.links.set(*address, conditions);
        }
    }
}
