//! Links: who sends when.

use std::collections::BTreeMap;

use super::Time;
use crate::cost::transfer;
use crate::links::LinkIndex;
use crate::problem::{Problem, Segment};
use crate::units::{Bytes, NodeOrd};

/// The links of now, and when each has sent what it was given.
#[derive(Clone, Debug)]
pub(super) struct Network {
    links: LinkIndex,
    free_at: BTreeMap<(NodeOrd, NodeOrd), Time>,
    /// Bytes of messages.
    pub(super) bytes: u64,
}

impl Network {
    pub(super) fn new(problem: &Problem) -> Self {
        Self {
            links: LinkIndex::new(problem),
            free_at: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Links have changed. What was sent is on its way as it was.
    pub(super) fn change(&mut self, problem: &Problem) {
        self.links = LinkIndex::new(problem);
    }

    /// Sends a message, and says when it arrives; none without a path.
    pub(super) fn send(
        &mut self,
        problem: &Problem,
        now: Time,
        (from, to): (NodeOrd, NodeOrd),
        bytes: Bytes,
    ) -> Option<Time> {
        if from == to {
            return Some(now);
        }
        let path = self.links.get(problem, from, to)?;
        let occupied = |segment: &Segment| (segment.message_overhead + transfer(bytes, segment.rate)).0;
        let sending: Time = path.segments().map(occupied).sum();
        let latency: Time = path.segments().map(|segment| segment.latency.0).sum();
        let free_at = self.free_at.entry((from, to)).or_default();
        *free_at = (*free_at).max(now).saturating_add(sending);
        self.bytes += bytes.0;
        Some(free_at.saturating_add(latency))
    }
}
