//! Links of a large fleet, without a row for each pair: nodes reach a region over an access link, regions reach each other
//! over a backbone.

use serde::{Deserialize, Serialize};

use super::Link;
use crate::units::{BytesPerSecond, Nanos, NodeOrd, RegionOrd};

/// Paths of access link, backbone and access link. A pair that has a [`Link`] of its own uses that one.
///
/// A message is stored and forwarded: its times on the three segments add up, and a segment is occupied while it carries
/// the message. Nodes without access reach others over links of their own only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regions {
    /// At most one for each node.
    pub access: Vec<Access>,
    /// At most one for each (from, to); where there is none, nothing can be sent. A region needs one to itself.
    pub backbone: Vec<Backbone>,
}

impl Regions {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.access.is_empty()
    }

    /// Regions that nodes have access to, ordinals without nodes included.
    #[must_use]
    pub fn count(&self) -> usize {
        let ordinals = self.access.iter().map(|access| access.region.index() + 1);
        ordinals.max().unwrap_or(0)
    }
}

/// A node's way into its region and out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The node.
    pub node: NodeOrd,
    /// Its region; below the number of access links.
    pub region: RegionOrd,
    /// From the node.
    pub up: Segment,
    /// To the node.
    pub down: Segment,
}

/// A path between two regions, or within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backbone {
    /// Where messages come from.
    pub from: RegionOrd,
    /// Where they go.
    pub to: RegionOrd,
    /// The path.
    pub segment: Segment,
}

/// A part of a path that carries one message at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The rate to count on. Not zero.
    pub rate: BytesPerSecond,
    /// How far it strays, as a link's does.
    #[serde(default)]
    pub spread_milli: u32,
    /// One-way latency.
    pub latency: Nanos,
    /// Further time per message (framing, encryption, relays).
    pub message_overhead: Nanos,
    /// Price of a mebibyte in the objective's currency; zero where traffic is free.
    pub price_per_mebibyte: Nanos,
}

impl Segment {
    /// The rate that a service with so much [margin](crate::problem::Service::link_margin_milli) counts on. Not zero.
    #[must_use]
    pub fn rate_with(&self, margin_milli: i32) -> BytesPerSecond {
        if margin_milli == 0 || self.spread_milli == 0 {
            return self.rate;
        }
        let logarithm = f64::from(margin_milli) * f64::from(self.spread_milli) / 1e6;
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let rate = (self.rate.0 as f64 * (-logarithm).exp()) as u64;
        BytesPerSecond(rate.max(1))
    }
}

impl From<&Link> for Segment {
    fn from(link: &Link) -> Self {
        Self {
            rate: link.rate,
            spread_milli: link.spread_milli,
            latency: link.latency,
            message_overhead: link.message_overhead,
            price_per_mebibyte: link.price_per_mebibyte,
        }
    }
}
