//! What a split answer costs at least, whatever its stages: a floor under all pipelines of several stages, which nobody
//! enumerates.
//!
//! ```text
//! cost ≥ way in + first + last + min Σ_n k_n · (layer_n + fixed_n / reach_n)   over 0 ≤ k_n ≤ reach_n, Σ k_n = L − 1
//! ```
//!
//! The cheapest layers first: a continuous knapsack. `layer` and `fixed` hold the node's time, its prices of busy time and of
//! memory for as long as a request stays, and the cheapest message to anybody, since every stage sends one. Weights that
//! several services could share are charged in equal parts.

use std::collections::BTreeMap;

use super::figures::room;
use super::index::{Index, cost_model};
use super::messages::Messages;
use super::ways::{Ways, wire};
use crate::caching::pack::as_f64;
use crate::cost::{CostModel, MemoryModel, Part};
use crate::problem::{Candidate, Mode, Service};
use crate::search::residual::Residual;
use crate::search::survey::Survey;
use crate::units::{LayerRange, NodeOrd};

/// Part of what the fastest pipeline could hold that a new one should.
const FAIR_PART: f64 = 0.25;

/// One service with one variant.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    pub(super) service: u32,
    pub(super) candidate: Candidate,
    layers: f64,
    nodes: Vec<FloorNode>,
    /// The cheapest first and last, and the quality that is missing.
    ends: f64,
    /// Bytes that the first layer or the last brings with it, the greater one.
    end_bytes: f64,
    /// Busy time and memory of a request as long as it stays at least: bytes are divided by this rate.
    rate_max: f64,
    /// Cheapest way in, by class of the service.
    ways: Vec<(u32, f64)>,
}

/// What a node would add.
#[derive(Clone, Copy, Debug)]
struct FloorNode {
    node: u32,
    reach: f64,
    /// Whether it may hold the ends of the model.
    trusted: bool,
    /// Bytes of a layer, weights that may be shared counted in full.
    layer_bytes: f64,
    layer: Charge,
    fixed: Charge,
}

#[derive(Clone, Copy, Debug, Default)]
struct Charge {
    cost: f64,
    busy: f64,
    bytes: f64,
}

/// A node with room for some layers, and what each costs there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranked {
    pub(super) cost: f64,
    pub(super) node: u32,
    pub(super) reach: f64,
    /// Whether it may hold the ends of the model.
    pub(super) trusted: bool,
}

/// Prices of what nodes have.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodePrices<'a> {
    /// Of a nanosecond, for each request.
    pub(super) busy: &'a [f64],
    /// Of a byte.
    pub(super) memory: &'a [f64],
}

/// The cheapest filling.
#[derive(Clone, Debug, Default)]
pub(super) struct Filled {
    pub(super) cost: f64,
    /// (node, busy nanoseconds, bytes) of a request.
    pub(super) uses: Vec<(u32, f64, f64)>,
}

/// The floors of all services that may be split; services that no pipeline of several stages serves in time have none.
pub(super) fn floors(index: &Index) -> Vec<Floor> {
    let fleet = &index.problem.fleet;
    let may_split = |service: &Service| {
        let most = service.stages_max.unwrap_or(u32::MAX);
        let split = service.modes.contains(&Mode::Split) && most >= 2;
        split || service.modes.contains(&Mode::MultiHop) && most >= 3
    };
    let splits = |service: &Service, candidate: &Candidate| {
        may_split(service) && fleet.variant(*candidate).0.splittable
    };
    let mut ways: BTreeMap<NodeOrd, Ways> = BTreeMap::new();
    if fleet.services.iter().any(may_split) {
        for class in &index.problem.classes {
            ways.entry(class.ingress)
                .or_insert_with(|| Ways::new(index, class.ingress));
        }
    }
    let mut floors = Vec::new();
    for (ordinal, service) in (0..).zip(&fleet.services) {
        for candidate in service.candidates.iter().filter(|one| splits(service, one)) {
            let sharers = fleet
                .services
                .iter()
                .filter(|other| other.candidates.contains(candidate) && splits(other, candidate));
            floors.extend(floor(index, &ways, ordinal, *candidate, sharers.count()));
        }
    }
    floors
}

fn floor(
    index: &Index,
    ways: &BTreeMap<NodeOrd, Ways>,
    ordinal: u32,
    candidate: Candidate,
    sharers: usize,
) -> Option<Floor> {
    let fleet = &index.problem.fleet;
    let service = Service {
        ingress: Vec::new(),
        ..index.service(ordinal).clone()
    };
    let residual = Residual::new(fleet);
    let survey = Survey::new(fleet, &index.links, &service, &residual);
    if !survey.candidates.contains(&candidate) {
        return None;
    }
    let (model, variant) = fleet.variant(candidate);
    let cost = cost_model(fleet, &index.links, &service, candidate);
    let memory = MemoryModel::new(&service, model, variant);
    let messages = Messages::new(index, &cost, &survey.usable);
    let layers = variant.num_layers();
    if layers < 2 {
        return None;
    }
    let least = variant.layer_bytes.iter().copied().min()?;
    let weights = least.times(u64::from(variant.resident_milli)).0 / 1_000;
    let mut raw = Vec::new();
    let (mut first, mut last) = (Ends::default(), Ends::default());
    for &node in &survey.usable {
        let (Some(parts), Some(crowd)) = (cost.stage_parts(node), cost.crowd(node)) else {
            continue;
        };
        let Some(message) = messages.cheapest(node) else {
            continue;
        };
        let stored = memory.stage(
            &fleet.nodes[node.index()],
            LayerRange::new(1, layers),
            Default::default(),
        );
        let own = (stored.kv_cache.0 / u64::from(layers - 1)) as f64;
        let fixed = as_f64((stored.compute + stored.activations + stored.stage).0);
        let layer_bytes = own + as_f64(weights);
        let reach = ((as_f64(room(&index.problem, node.index())) - fixed) / layer_bytes.max(1.0)).floor();
        if reach < 1.0 {
            continue;
        }
        first.offer(&cost, &parts.first, crowd.embedding.0);
        // The head comes with the last layer.
        last.offer(&cost, &parts.last, (crowd.layer + crowd.head).0);
        let weight = cost.weights();
        raw.push((
            node.0,
            reach.min(f64::from(layers - 1)),
            Times::of(
                weight.scalar(&parts.layer),
                &parts.layer,
                crowd.layer.0,
                own + as_f64(weights) / sharers as f64,
            ),
            Times::of(
                weight.scalar(&parts.fixed) + message.cost,
                &parts.fixed,
                crowd.overhead.0,
                fixed,
            )
            .later(message.ttft, message.tpot),
        ));
    }
    let chunks = cost.further_chunks() + 1;
    let further = cost.further_tokens();
    let sessions = u64::from(service.concurrency);
    let fill = |value: fn(&Times) -> f64| {
        let mut rates: Vec<(f64, f64)> = raw
            .iter()
            .map(|(_, reach, layer, fixed)| (value(layer) + value(fixed) / reach, *reach))
            .collect();
        rates.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut left, mut sum) = (f64::from(layers - 1), 0.0);
        for (rate, reach) in rates {
            let taken = left.min(reach);
            (left, sum) = (left - taken, sum + taken * rate);
        }
        (left <= 0.0).then_some(sum)
    };
    let ttft = fill(|times| times.ttft)? + first.ttft + last.ttft;
    let tpot = fill(|times| times.crowd)? + first.crowd + last.crowd;
    let late = service.slo_ttft.is_some_and(|slo| ttft > as_f64(slo.0) + 1.0)
        || service.slo_tpot.is_some_and(|slo| tpot > as_f64(slo.0) + 1.0);
    if late {
        return None;
    }
    let stays = ttft + as_f64(further) * tpot;
    let charge = |times: &Times| Charge {
        cost: times.cost,
        busy: times.busy * as_f64(chunks) + times.compute_crowd * as_f64(further) / as_f64(sessions),
        bytes: times.bytes,
    };
    let nodes = raw.iter().map(|(node, reach, layer, fixed)| FloorNode {
        node: *node,
        reach: *reach,
        trusted: survey.trusts(NodeOrd(*node)),
        layer_bytes: layer_bytes_of(layer, as_f64(weights), sharers),
        layer: charge(layer),
        fixed: charge(fixed),
    });
    let rate_max = as_f64(sessions) * as_f64(super::figures::ALL_THE_TIME) / stays.max(1.0);
    Some(Floor {
        service: ordinal,
        candidate,
        layers: f64::from(layers - 1),
        nodes: nodes.collect(),
        end_bytes: as_f64(variant.embedding_bytes.max(variant.head_bytes).0),
        ends: first.cost + last.cost + as_f64(cost.quality_cost().0),
        rate_max,
        ways: cheapest_ways(index, ways, ordinal, &survey.usable),
    })
}

/// Bytes of a layer with all of its weights.
fn layer_bytes_of(layer: &Times, weights: f64, sharers: usize) -> f64 {
    layer.bytes - weights / sharers as f64 + weights
}

/// Times that add up along a pipeline.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    cost: f64,
    ttft: f64,
    /// A token of all sessions, messages counted.
    crowd: f64,
    /// The same on the node alone.
    compute_crowd: f64,
    busy: f64,
    bytes: f64,
}

impl Times {
    fn of(cost: u64, part: &Part, crowd: u64, bytes: f64) -> Self {
        Self {
            cost: as_f64(cost),
            ttft: as_f64(part.ttft),
            crowd: as_f64(crowd),
            compute_crowd: as_f64(crowd),
            busy: as_f64(part.busy),
            bytes,
        }
    }

    fn later(self, ttft: u64, tpot: u64) -> Self {
        Self {
            ttft: self.ttft + as_f64(ttft),
            crowd: self.crowd + as_f64(tpot),
            ..self
        }
    }
}

/// The least of an end over all nodes, each figure for itself.
#[derive(Clone, Copy, Debug)]
struct Ends {
    cost: f64,
    ttft: f64,
    crowd: f64,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            cost: f64::INFINITY,
            ttft: f64::INFINITY,
            crowd: f64::INFINITY,
        }
    }
}

impl Ends {
    fn offer(&mut self, cost: &CostModel<'_>, part: &Part, crowd: u64) {
        self.cost = self.cost.min(as_f64(cost.weights().scalar(part)));
        self.ttft = self.ttft.min(as_f64(part.ttft));
        self.crowd = self.crowd.min(as_f64(crowd));
    }
}

/// What the way in costs each class of a service at least, over all heads.
fn cheapest_ways(
    index: &Index,
    from: &BTreeMap<NodeOrd, Ways>,
    ordinal: u32,
    heads: &[NodeOrd],
) -> Vec<(u32, f64)> {
    let service = index.service(ordinal);
    let Some(wire) = wire(index, service) else {
        return Vec::new();
    };
    let cheapest = |ingress: &NodeOrd| {
        let ways = &from[ingress];
        let costs = heads
            .iter()
            .filter_map(|head| ways.way(&wire, service, head.index()));
        costs.map(|(_, cost)| cost).min()
    };
    let mut known: BTreeMap<NodeOrd, Option<u64>> = BTreeMap::new();
    let classes = (0..).zip(&index.problem.classes);
    let mut found = Vec::new();
    for (class, asked) in classes.filter(|(_, class)| class.service.0 == ordinal) {
        let cost = *known
            .entry(asked.ingress)
            .or_insert_with(|| cheapest(&asked.ingress));
        found.extend(cost.map(|cost| (class, as_f64(cost))));
    }
    found
}

impl Floor {
    /// The classes that it is for, with the cost of the way in.
    pub(super) fn classes(&self) -> &[(u32, f64)] {
        &self.ways
    }

    /// Prices of a request on each node: for each layer, and once; its own cost left out.
    pub(super) fn prices<'a>(&'a self, prices: NodePrices<'a>) -> impl Iterator<Item = (u32, f64, f64)> + 'a {
        let price = move |node: u32, charge: &Charge| {
            let (busy, memory) = (prices.busy[node as usize], prices.memory[node as usize]);
            charge.busy * busy + charge.bytes * memory / self.rate_max
        };
        let nodes = self.nodes.iter();
        nodes.map(move |one| (one.node, price(one.node, &one.layer), price(one.node, &one.fixed)))
    }

    /// What a new replica should answer at least, of so much that waits: few hold as much as the fastest.
    pub(super) fn fair_rate(&self, waiting: u64) -> f64 {
        (self.rate_max * FAIR_PART).min(as_f64(waiting))
    }

    /// Bytes of the layers that each node has time for at a rate, where that is not all of them.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a guide, not a proof"
    )]
    pub(super) fn bytes_in_time<'a>(
        &'a self,
        rate: f64,
        time_left: impl Fn(usize) -> u64 + 'a,
    ) -> impl Iterator<Item = (usize, u64)> + 'a {
        self.nodes.iter().filter_map(move |node| {
            let at = node.node as usize;
            let each = (node.layer.busy * rate).max(1.0);
            let layers = (as_f64(time_left(at)) / each).floor();
            let bytes = match layers {
                0.0 => 0.0,
                _ => node.fixed.bytes + self.end_bytes + layers * node.layer_bytes,
            };
            (layers < node.reach).then_some((at, bytes as u64))
        })
    }

    /// Layers of the model.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small whole number"
    )]
    pub(super) fn num_layers(&self) -> u32 {
        self.layers as u32 + 1
    }

    /// So many layers take as many bytes as an end of the model.
    pub(super) fn end_layers(&self) -> f64 {
        let layer = self.nodes.first().map_or(1.0, |node| node.layer_bytes);
        (self.end_bytes / layer.max(1.0)).ceil()
    }

    /// What a layer costs on each node with room for some, its share of the stage counted.
    pub(super) fn ranked(&self, prices: NodePrices<'_>, room: impl Fn(usize) -> u64) -> Vec<Ranked> {
        let mut ranked = Vec::new();
        for (node, (_, layer, fixed)) in self.nodes.iter().zip(self.prices(prices)) {
            let room = as_f64(room(node.node as usize)) - node.fixed.bytes;
            let reach = (room / node.layer_bytes.max(1.0)).floor().min(node.reach);
            if reach >= 1.0 {
                ranked.push(Ranked {
                    cost: node.layer.cost + layer + (node.fixed.cost + fixed) / reach,
                    node: node.node,
                    reach,
                    trusted: node.trusted,
                });
            }
        }
        ranked
    }

    /// The cheapest layers at some prices.
    pub(super) fn fill(&self, prices: NodePrices<'_>) -> Filled {
        let price = |node: usize, charge: &Charge| {
            charge.cost + charge.busy * prices.busy[node] + charge.bytes * prices.memory[node] / self.rate_max
        };
        let mut rates: Vec<(f64, u32)> = Vec::with_capacity(self.nodes.len());
        for (position, node) in (0..).zip(&self.nodes) {
            let at = node.node as usize;
            rates.push((
                price(at, &node.layer) + price(at, &node.fixed) / node.reach,
                position,
            ));
        }
        rates.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let mut filled = Filled {
            cost: self.ends,
            uses: Vec::new(),
        };
        let mut left = self.layers;
        for (rate, position) in rates {
            let node = &self.nodes[position as usize];
            let taken = left.min(node.reach);
            filled.cost += taken * rate;
            let part = |of: fn(&Charge) -> f64| taken * (of(&node.layer) + of(&node.fixed) / node.reach);
            filled.uses.push((
                node.node,
                part(|charge| charge.busy),
                part(|charge| charge.bytes) / self.rate_max,
            ));
            left -= taken;
            if left <= 0.0 {
                break;
            }
        }
        filled
    }
}
