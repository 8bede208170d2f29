//! A problem laid out for searching: items (replicas that could be) on the shelves of nodes, and who could be answered by
//! each, with what that is worth.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::figures::{Figures, Part, Supplies, figures, whole};
use super::problem::{Class, JointProblem};
use crate::caching::library::{Library, as_u32};
use crate::caching::pack::{Group, Knapsack, as_f64};
use crate::caching::parallel::for_parts;
use crate::cost::{CostModel, MemoryModel, Wire};
use crate::links::LinkIndex;
use crate::problem::{Candidate, Problem, Service};
use crate::search::residual::Residual;
use crate::search::survey::Survey;
use crate::solution::PipelineShape;
use crate::units::{LayerRange, NodeOrd};

/// A class that an item could answer, and what an answer is worth, cost taken off; more than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) class: u32,
    pub(super) net: i64,
}

/// A replica that could be.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) service: u32,
    pub(super) shape: PipelineShape,
    pub(super) figures: Figures,
    /// By class.
    pub(super) pairs: Vec<Pair>,
}

impl Item {
    /// The only node of a replica that is not split.
    pub(super) fn node(&self) -> usize {
        self.figures.parts[0].node as usize
    }

    /// Key of the weights that a part stores.
    pub(super) fn key(&self, part: &Part) -> WeightsKey {
        (self.shape.candidate, part.layers)
    }
}

/// Weights that are stored once on a node, however many replicas need them.
pub(super) type WeightsKey = (Candidate, LayerRange);

/// One node's items that are not split: `items[start..end]`, by candidate.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Items of each candidate; positions count from `start`.
    groups: Vec<Group>,
    bytes: Vec<f64>,
    /// Price of loading each candidate that is not there.
    load: Vec<(u32, u64)>,
}

impl Shelf {
    /// The knapsack of the items in so much room; a candidate's weights are one chunk.
    pub(super) fn knapsack<'a>(&'a self, library: &'a Library, room: u64, values: &'a [f64]) -> Knapsack<'a> {
        Knapsack {
            library,
            capacity: as_f64(room),
            values,
            bytes: &self.bytes,
            groups: &self.groups,
            chunk_prices: &self.load,
        }
    }

    /// Candidates on the shelf, rising.
    pub(super) fn candidates(&self) -> impl Iterator<Item = u32> {
        self.groups.iter().map(|group| group.family)
    }

    /// Price of loading a candidate.
    pub(super) fn load(&self, candidate: u32) -> u64 {
        let found = self.load.binary_search_by_key(&candidate, |entry| entry.0);
        found.map_or(0, |at| self.load[at].1)
    }

    pub(super) fn items(&self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// Bytes of the item at a position, weights not counted.
    pub(super) fn bytes(&self, position: usize) -> f64 {
        self.bytes[position]
    }
}

/// A problem, indexed.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) problem: JointProblem,
    pub(super) links: LinkIndex,
    pub(super) supplies: Supplies,
    /// One chunk and one family for each candidate.
    pub(super) library: Library,
    /// Items that are not split first, by node; then those that are, as they were found.
    pub(super) items: Vec<Item>,
    pub(super) shelves: Vec<Shelf>,
    /// (item, worth of an answer) of each class, by item.
    pub(super) answers: Vec<Vec<(u32, i64)>>,
    /// Most that an answer to each class can be worth, split or not.
    pub(super) worth_max: Vec<i64>,
}

impl Index {
    /// Indexes a valid problem.
    pub(super) fn new(problem: JointProblem, threads: NonZeroUsize) -> Self {
        let links = LinkIndex::new(&problem.fleet);
        let candidates = candidates(&problem.fleet);
        let mut per_node: Vec<Vec<(u32, Item)>> = vec![Vec::new(); problem.fleet.nodes.len()];
        let supplies = Supplies::new(&problem, &links);
        for (ordinal, service) in (0..).zip(&problem.fleet.services) {
            for (node, item) in whole_items(&problem, &links, &supplies, ordinal, service) {
                let family = candidates[&item.shape.candidate];
                per_node[node].push((family, item));
            }
        }
        let mut items = Vec::new();
        let mut shelves = Vec::new();
        for (node, mut on_node) in per_node.into_iter().enumerate() {
            on_node.sort_by_key(|(family, item)| (*family, item.service));
            shelves.push(shelf(&problem, node, items.len(), &on_node));
            items.extend(on_node.into_iter().map(|(_, item)| item));
        }
        let mut index = Self {
            library: Library::of_chunks(chunk_bytes(&problem.fleet, &candidates)),
            answers: vec![Vec::new(); problem.classes.len()],
            worth_max: vec![0; problem.classes.len()],
            problem,
            links,
            supplies,
            items,
            shelves,
        };
        index.pair_up(threads);
        index
    }

    /// Finds who could be answered by what.
    fn pair_up(&mut self, threads: NonZeroUsize) {
        let mut entered: BTreeMap<NodeOrd, Vec<u32>> = BTreeMap::new();
        for (ordinal, class) in (0..).zip(&self.problem.classes) {
            entered.entry(class.ingress).or_default().push(ordinal);
        }
        let mut of_service: Vec<Vec<u32>> = vec![Vec::new(); self.problem.fleet.services.len()];
        for (ordinal, item) in (0..).zip(&self.items) {
            of_service[item.service as usize].push(ordinal);
        }
        let mut entered: Vec<(NodeOrd, Vec<u32>)> = entered.into_iter().collect();
        let this = &*self;
        let found = for_parts(threads, 1, &mut entered, |_, part| {
            let mut found: Vec<(u32, Vec<(u32, i64)>)> = Vec::new();
            for (ingress, classes) in part.iter() {
                let ways = Ways::new(this, *ingress);
                for &class in classes {
                    let service = this.problem.classes[class as usize].service;
                    let items = &of_service[service.index()];
                    found.push((class, ways.answers(this, class, items)));
                }
            }
            found
        });
        for (class, answers) in found.into_iter().flatten() {
            self.answers[class as usize] = answers;
        }
        for (class, answers) in (0..).zip(&self.answers) {
            for &(item, net) in answers {
                self.items[item as usize].pairs.push(Pair { class, net });
            }
            self.worth_max[class as usize] = answers.iter().map(|answer| answer.1).max().unwrap_or(0);
        }
    }

    /// Adds a split replica; its ordinal, or none if nobody could be answered by it.
    pub(super) fn add_split(&mut self, service: u32, shape: PipelineShape, figures: Figures) -> Option<u32> {
        let ordinal = as_u32(self.items.len());
        self.items.push(Item {
            service,
            shape,
            figures,
            pairs: Vec::new(),
        });
        let classes: Vec<u32> = (0..as_u32(self.problem.classes.len()))
            .filter(|class| self.problem.classes[*class as usize].service.0 == service)
            .collect();
        let mut pairs = Vec::new();
        for class in classes {
            let ways = Ways::new_to(
                self,
                self.problem.classes[class as usize].ingress,
                self.items[ordinal as usize].node(),
            );
            if let Some(&(_, net)) = ways.answers(self, class, &[ordinal]).first() {
                pairs.push(Pair { class, net });
            }
        }
        if pairs.is_empty() {
            self.items.pop();
            return None;
        }
        for pair in &pairs {
            self.answers[pair.class as usize].push((ordinal, pair.net));
            let most = &mut self.worth_max[pair.class as usize];
            *most = (*most).max(pair.net);
        }
        self.items[ordinal as usize].pairs = pairs;
        Some(ordinal)
    }

    /// What an answer of an item to a class is worth, if it can be given.
    pub(super) fn net(&self, class: u32, item: u32) -> Option<i64> {
        let answers = &self.answers[class as usize];
        let found = answers.binary_search_by_key(&item, |answer| answer.0).ok()?;
        Some(answers[found].1)
    }

    /// What the way from a node to the nearest of some heads and back costs, if there is any.
    pub(super) fn cheapest_way(&self, service: &Service, ingress: NodeOrd, heads: &[NodeOrd]) -> Option<u64> {
        let candidate = service.candidates.first()?;
        let wire = Wire::new(service, self.problem.fleet.variant(*candidate).0);
        let ways = Ways::new(self, ingress);
        let costs = heads
            .iter()
            .filter_map(|head| ways.way(&wire, service, head.index()));
        costs.map(|(_, cost)| cost).min()
    }

    pub(super) fn class(&self, class: u32) -> &Class {
        &self.problem.classes[class as usize]
    }

    pub(super) fn service(&self, service: u32) -> &Service {
        &self.problem.fleet.services[service as usize]
    }

    /// Bytes on each segment for a request of a class by an item.
    pub(super) fn traffic(&self, class: u32, item: u32) -> Vec<(usize, u64)> {
        let (asked, item) = (self.class(class), &self.items[item as usize]);
        let (ingress, head) = (asked.ingress, NodeOrd(item.figures.parts[0].node));
        let (request, answer) = Wire::text_bytes(self.service(item.service));
        let ends = [(ingress, head, request.0), (head, ingress, answer.0)];
        let ends = ends.into_iter().filter(|_| ingress != head);
        let mut uses = Vec::new();
        for (from, to, bytes) in ends.chain(item.figures.traffic.iter().copied()) {
            let segments = self.links.segments(&self.problem.fleet, from, to);
            uses.extend(
                segments
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|segment| (segment, bytes)),
            );
        }
        uses
    }

    /// Price of loading weights that are not on a node.
    pub(super) fn load_price(&self, node: usize, (candidate, layers): WeightsKey, bytes: u64) -> u64 {
        load_price(&self.problem, node, candidate, layers, bytes)
    }
}

fn load_price(
    problem: &JointProblem,
    node: usize,
    candidate: Candidate,
    layers: LayerRange,
    bytes: u64,
) -> u64 {
    let there = problem.fleet.loaded.iter().any(|loaded| {
        loaded.node.index() == node && loaded.candidate == candidate && loaded.layers == layers
    });
    if there {
        return 0;
    }
    let price = (u128::from(bytes) * u128::from(problem.load_price)).div_ceil(1 << 30);
    u64::try_from(price).unwrap_or(u64::MAX).min(1 << 52)
}

/// Every variant that a service names, and its position.
fn candidates(fleet: &Problem) -> BTreeMap<Candidate, u32> {
    let named = fleet
        .services
        .iter()
        .flat_map(|service| service.candidates.iter().copied());
    let mut positions: BTreeMap<Candidate, u32> = named.map(|candidate| (candidate, 0)).collect();
    for (position, value) in (0..).zip(positions.values_mut()) {
        *value = position;
    }
    positions
}

fn chunk_bytes(fleet: &Problem, candidates: &BTreeMap<Candidate, u32>) -> Vec<u64> {
    let bytes = |candidate: &Candidate| {
        let (model, variant) = fleet.variant(*candidate);
        let any = fleet
            .services
            .iter()
            .find(|service| service.candidates.contains(candidate));
        let (service, node) = (any?, fleet.nodes.first()?);
        let layers = LayerRange::new(0, variant.num_layers());
        let stage = MemoryModel::new(service, model, variant).stage(node, layers, Default::default());
        Some((stage.weights + stage.embedding + stage.head).0)
    };
    candidates
        .keys()
        .map(|candidate| bytes(candidate).unwrap_or(0))
        .collect()
}

/// Replicas of a service on one node each, that fit there alone and keep the promises to those who are near.
fn whole_items(
    problem: &JointProblem,
    links: &LinkIndex,
    supplies: &Supplies,
    ordinal: u32,
    service: &Service,
) -> Vec<(usize, Item)> {
    let asked = Service {
        ingress: Vec::new(),
        ..service.clone()
    };
    let residual = Residual::new(&problem.fleet);
    let survey = Survey::new(&problem.fleet, links, &asked, &residual);
    let mut items = Vec::new();
    for (index, &candidate) in survey.candidates.iter().enumerate() {
        let (model, variant) = problem.fleet.variant(candidate);
        let memory = MemoryModel::new(&asked, model, variant);
        for &node in &survey.usable {
            if !survey.may_answer_alone(node) {
                continue;
            }
            let shape = whole(candidate, variant.num_layers(), node);
            let Some(figures) = figures(problem, &asked, &survey.costs[index], &memory, &shape) else {
                continue;
            };
            let part = figures.parts[0];
            if part.weights + part.own <= supplies.room[node.index()] {
                let item = Item {
                    service: ordinal,
                    shape,
                    figures,
                    pairs: Vec::new(),
                };
                items.push((node.index(), item));
            }
        }
    }
    items
}

fn shelf(problem: &JointProblem, node: usize, start: usize, items: &[(u32, Item)]) -> Shelf {
    let mut shelf = Shelf {
        start,
        end: start + items.len(),
        ..Shelf::default()
    };
    for (position, (family, item)) in (0..).zip(items) {
        let part = item.figures.parts[0];
        shelf.bytes.push(as_f64(part.own));
        match shelf.groups.last_mut() {
            Some(group) if group.family == *family => group.end = position + 1,
            _ => {
                shelf.groups.push(Group {
                    family: *family,
                    start: position,
                    end: position + 1,
                });
                let price = load_price(problem, node, item.shape.candidate, part.layers, part.weights);
                if price > 0 {
                    shelf.load.push((*family, price));
                }
            }
        }
    }
    shelf
}

/// The ways from one node to all others and back.
struct Ways {
    /// Request there, answer back, as far as there are paths.
    ways: Vec<Option<(crate::links::Path, crate::links::Path)>>,
    ingress: NodeOrd,
}

impl Ways {
    fn new(index: &Index, ingress: NodeOrd) -> Self {
        let mut ways = Self::empty(index, ingress);
        for node in 0..ways.ways.len() {
            ways.find(index, node);
        }
        ways
    }

    fn new_to(index: &Index, ingress: NodeOrd, node: usize) -> Self {
        let mut ways = Self::empty(index, ingress);
        ways.find(index, node);
        ways
    }

    fn empty(index: &Index, ingress: NodeOrd) -> Self {
        Self {
            ways: vec![None; index.problem.fleet.nodes.len()],
            ingress,
        }
    }

    fn find(&mut self, index: &Index, node: usize) {
        let (fleet, to) = (&index.problem.fleet, NodeOrd::from_index(node));
        let there = index.links.get(fleet, self.ingress, to);
        let back = index.links.get(fleet, to, self.ingress);
        self.ways[node] = there.zip(back);
    }

    /// The items among `items` that keep the promises to a class at a gain.
    fn answers(&self, index: &Index, class: u32, items: &[u32]) -> Vec<(u32, i64)> {
        let asked = index.class(class);
        let service = index.service(asked.service.0);
        let Some(candidate) = service.candidates.first() else {
            return Vec::new();
        };
        let wire = Wire::new(service, index.problem.fleet.variant(*candidate).0);
        let mut way_costs: Vec<Option<Option<(u64, u64)>>> = vec![None; self.ways.len()];
        let mut answers = Vec::new();
        for &item in items {
            let figures = &index.items[item as usize].figures;
            let node = figures.parts[0].node as usize;
            let way = *way_costs[node].get_or_insert_with(|| self.way(&wire, service, node));
            let Some((time, cost)) = way else { continue };
            let late = service
                .slo_ttft
                .is_some_and(|slo| figures.ttft.saturating_add(time) > slo.0);
            let spent = figures.cost.saturating_add(cost);
            if !late && spent < asked.value.0 {
                answers.push((item, (asked.value.0 - spent).cast_signed()));
            }
        }
        answers
    }

    /// Time to the first token, and cost, of the way to a head and back.
    fn way(&self, wire: &Wire, service: &Service, node: usize) -> Option<(u64, u64)> {
        if node == self.ingress.index() {
            return Some((0, 0));
        }
        let (there, back) = self.ways[node].as_ref()?;
        let (there, back) = (wire.request(there), wire.answer(back));
        let time = there.ttft.saturating_add(back.ttft);
        let cost = time.saturating_mul(u64::from(service.ttft_weight));
        Some((
            time,
            cost.saturating_add(there.traffic())
                .saturating_add(back.traffic()),
        ))
    }
}

/// The cost model of a service with one variant on an idle fleet, requests entering at the head.
pub(super) fn cost_model<'p>(
    fleet: &'p Problem,
    links: &'p LinkIndex,
    service: &'p Service,
    candidate: Candidate,
) -> CostModel<'p> {
    CostModel::new(fleet, links, service, candidate, &vec![0; fleet.nodes.len()])
}
