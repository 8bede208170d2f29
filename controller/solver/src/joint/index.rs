//! A problem laid out for searching: items (replicas that could be) on the shelves of nodes, and who could be answered by
//! each, with what that is worth.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::catalogue::{candidates, chunk_bytes, shelf, whole_items};
use super::figures::{Figures, Part, Supplies};
use super::problem::{Class, JointProblem};
use super::ways::{Ways, answer};
use crate::caching::library::{Library, as_u32};
use crate::caching::pack::{Group, Knapsack, as_f64};
use crate::caching::parallel::for_parts;
use crate::cost::{CostModel, Wire};
use crate::links::LinkIndex;
use crate::problem::{Candidate, Problem, Service};
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
    pub(super) groups: Vec<Group>,
    pub(super) bytes: Vec<f64>,
    /// Price of loading each candidate that is not there.
    pub(super) load: Vec<(u32, u64)>,
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

    /// Items that are split.
    pub(super) fn splits(&self) -> std::ops::Range<u32> {
        let whole = self.shelves.last().map_or(0, |shelf| shelf.end);
        as_u32(whole)..as_u32(self.items.len())
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
            let net = answer(self, class, ordinal);
            pairs.extend(net.map(|net| Pair { class, net }));
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

    pub(super) fn class(&self, class: u32) -> &Class {
        &self.problem.classes[class as usize]
    }

    pub(super) fn service(&self, service: u32) -> &Service {
        &self.problem.fleet.services[service as usize]
    }

    /// Bytes on each segment for a request of a class by an item; a segment that is passed twice is told twice.
    pub(super) fn traffic(&self, class: u32, item: u32) -> impl Iterator<Item = (usize, u64)> + Clone {
        let (asked, item) = (self.class(class), &self.items[item as usize]);
        let (ingress, head) = (asked.ingress, NodeOrd(item.figures.parts[0].node));
        let (request, answer) = Wire::text_bytes(self.service(item.service));
        let ends = [(ingress, head, request.0), (head, ingress, answer.0)];
        let ends = ends.into_iter().filter(move |_| ingress != head);
        let all = ends.chain(item.figures.traffic.iter().copied());
        all.flat_map(move |(from, to, bytes)| {
            let segments = self.links.segments(&self.problem.fleet, from, to);
            let segments = segments.into_iter().flatten().flatten();
            segments.map(move |segment| (segment, bytes))
        })
    }

    /// Price of loading weights that are not on a node.
    pub(super) fn load_price(&self, node: usize, (candidate, layers): WeightsKey, bytes: u64) -> u64 {
        load_price(&self.problem, node, candidate, layers, bytes)
    }
}

pub(super) fn load_price(
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

/// The cost model of a service with one variant on an idle fleet, requests entering at the head.
pub(super) fn cost_model<'p>(
    fleet: &'p Problem,
    links: &'p LinkIndex,
    service: &'p Service,
    candidate: Candidate,
) -> CostModel<'p> {
    CostModel::new(fleet, links, service, candidate, &vec![0; fleet.nodes.len()])
}
