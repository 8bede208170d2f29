//! The cheapest message that a stage could send to anybody: every stage of a split pipeline sends one.

use super::index::Index;
use crate::cost::{CostModel, Part, Wire};
use crate::problem::Segment;
use crate::units::NodeOrd;

/// The cheapest message from a node to anybody.
pub(super) struct Messages {
    from: Vec<Option<Message>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) cost: u64,
    pub(super) ttft: u64,
    pub(super) tpot: u64,
}

impl Message {
    fn of(cost: &CostModel<'_>, part: &Part) -> Self {
        Self {
            cost: cost.weights().scalar(part),
            ttft: part.ttft,
            tpot: part.tpot,
        }
    }

    fn least(self, other: Self) -> Self {
        Self {
            cost: self.cost.min(other.cost),
            ttft: self.ttft.min(other.ttft),
            tpot: self.tpot.min(other.tpot),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cost: self.cost + other.cost,
            ttft: self.ttft + other.ttft,
            tpot: self.tpot + other.tpot,
        }
    }
}

impl Messages {
    pub(super) fn new(index: &Index, cost: &CostModel<'_>, usable: &[NodeOrd]) -> Self {
        let fleet = &index.problem.fleet;
        let wire: &Wire = cost.wire();
        let segment = |segment: &Segment| Message::of(cost, &wire.token_segment(segment));
        let mut into: Vec<Option<Message>> = vec![None; fleet.regions.count()];
        let access = |node: NodeOrd| index.links.access(fleet, node);
        for access in usable.iter().filter_map(|node| access(*node)) {
            let message = segment(&access.down);
            let least = &mut into[access.region.index()];
            *least = Some(least.map_or(message, |least| least.least(message)));
        }
        let mut out: Vec<Option<Message>> = vec![None; into.len()];
        for backbone in &fleet.regions.backbone {
            let Some(Some(down)) = into.get(backbone.to.index()) else {
                continue;
            };
            let message = segment(&backbone.segment).plus(*down);
            if let Some(least) = out.get_mut(backbone.from.index()) {
                *least = Some(least.map_or(message, |least| least.least(message)));
            }
        }
        let mut from = vec![None; fleet.nodes.len()];
        for &node in usable {
            let links = index
                .links
                .from(fleet, node)
                .map(|link| segment(&Segment::from(link)));
            let region =
                access(node).and_then(|access| Some(segment(&access.up).plus(out[access.region.index()]?)));
            from[node.index()] = links.chain(region).reduce(Message::least);
        }
        Self { from }
    }

    pub(super) fn cheapest(&self, node: NodeOrd) -> Option<Message> {
        self.from[node.index()]
    }
}
