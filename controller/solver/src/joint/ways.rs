//! The ways between where a class enters and the heads of replicas, and what is answered over them.

use super::index::Index;
use crate::cost::Wire;
use crate::links::Path;
use crate::problem::Service;
use crate::units::NodeOrd;

/// The way there, and back.
type Both = (Path, Path);

/// The ways from one node to all others and back.
pub(super) struct Ways {
    /// Request there, answer back, as far as there are paths.
    ways: Vec<Option<Both>>,
    ingress: NodeOrd,
}

impl Ways {
    pub(super) fn new(index: &Index, ingress: NodeOrd) -> Self {
        let nodes = 0..index.problem.fleet.nodes.len();
        Self {
            ways: nodes.map(|node| between(index, ingress, node)).collect(),
            ingress,
        }
    }

    /// The items among `items` that keep the promises to a class at a gain.
    pub(super) fn answers(&self, index: &Index, class: u32, items: &[u32]) -> Vec<(u32, i64)> {
        let service = index.service(index.class(class).service.0);
        let Some(wire) = wire(index, service) else {
            return Vec::new();
        };
        let mut way_costs: Vec<Option<Option<(u64, u64)>>> = vec![None; self.ways.len()];
        let mut answers = Vec::new();
        for &item in items {
            let node = index.items[item as usize].node();
            let way = *way_costs[node].get_or_insert_with(|| self.way(&wire, service, node));
            let net = way.and_then(|way| net(index, class, item, way));
            answers.extend(net.map(|net| (item, net)));
        }
        answers
    }

    /// Time to the first token, and cost, of the way to a head and back.
    pub(super) fn way(&self, wire: &Wire, service: &Service, node: usize) -> Option<(u64, u64)> {
        if node == self.ingress.index() {
            return Some((0, 0));
        }
        Some(time_and_cost(self.ways[node].as_ref()?, wire, service))
    }
}

/// What an answer of one item to a class is worth, if it keeps the promises at a gain.
pub(super) fn answer(index: &Index, class: u32, item: u32) -> Option<i64> {
    let asked = index.class(class);
    let service = index.service(asked.service.0);
    let node = index.items[item as usize].node();
    let way = if node == asked.ingress.index() {
        (0, 0)
    } else {
        let both = between(index, asked.ingress, node)?;
        time_and_cost(&both, &wire(index, service)?, service)
    };
    net(index, class, item, way)
}

/// What messages of a service add; all of its variants have the same texts.
pub(super) fn wire(index: &Index, service: &Service) -> Option<Wire> {
    let candidate = service.candidates.first()?;
    Some(Wire::new(service, index.problem.fleet.variant(*candidate).0))
}

fn between(index: &Index, ingress: NodeOrd, node: usize) -> Option<Both> {
    let (fleet, to) = (&index.problem.fleet, NodeOrd::from_index(node));
    let there = index.links.get(fleet, ingress, to);
    let back = index.links.get(fleet, to, ingress);
    there.zip(back)
}

fn time_and_cost((there, back): &Both, wire: &Wire, service: &Service) -> (u64, u64) {
    let (there, back) = (wire.request(there), wire.answer(back));
    let time = there.ttft.saturating_add(back.ttft);
    let cost = time.saturating_mul(u64::from(service.ttft_weight));
    let traffic = there.traffic().saturating_add(back.traffic());
    (time, cost.saturating_add(traffic))
}

fn net(index: &Index, class: u32, item: u32, (time, cost): (u64, u64)) -> Option<i64> {
    let asked = index.class(class);
    let figures = &index.items[item as usize].figures;
    let promised = index.service(asked.service.0).slo_ttft;
    let late = promised.is_some_and(|slo| figures.ttft.saturating_add(time) > slo.0);
    let spent = figures.cost.saturating_add(cost);
    (!late && spent < asked.value.0).then(|| (asked.value.0 - spent).cast_signed())
}
