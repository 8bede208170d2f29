//! A fleet whose links are access and backbone, as groups: nodes that differ, to everybody else, by what they add alone.
//!
//! The order of such nodes within a visit to their group makes no difference, which is what the search lives on. A node
//! with links of its own, or where requests enter, is a group by itself.

use std::collections::BTreeMap;

use super::super::instance::{DEAREST, Element, NEVER, StageElements, shallow_layers, trusts};
use super::super::residual::Residual;
use crate::cost::{CostModel, MemoryModel, Part, Weights, Wire};
use crate::links::LinkIndex;
use crate::problem::{Candidate, Link, Problem, Segment, Service};
use crate::units::{LayerRange, NodeOrd, RegionOrd};

/// Groups whose hops to one another are kept at most: their table takes 64 bytes for each pair.
const GROUPS_MAX: usize = 2_048;

/// What does not exist.
pub(super) const NOTHING: Element = Element {
    cost: NEVER,
    ttft: NEVER,
    tpot: NEVER,
    busy: NEVER,
};

/// A node, with what it adds in each role.
#[derive(Clone, Debug)]
pub(in crate::search) struct Member {
    pub(super) node: NodeOrd,
    pub(super) stage: StageElements,
    /// Hidden states on the way out and in.
    pub(super) up: Element,
    pub(super) down: Element,
    /// Tokens on the way out and in.
    pub(super) token_up: Element,
    pub(super) token_down: Element,
    /// Requests in and answers out; [`NOTHING`] where that cannot be.
    pub(super) ingress: Element,
    /// Most layers that it holds as head, in the middle and as the last stage; of the latter two at the best place.
    pub(super) most: Most,
}

/// Most layers of a stage by its role; zero if it cannot be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Most {
    pub(super) head: u32,
    pub(super) middle: u32,
    pub(super) last: u32,
}

/// Nodes that are interchangeable but for what they add.
#[derive(Clone, Debug)]
pub(in crate::search) struct Group {
    pub(super) members: Vec<Member>,
    region: Option<RegionOrd>,
    /// The node of a group of one, whose own access counts among the hops.
    single: Option<NodeOrd>,
    /// What all heads here pay for the way between ingress and region; [`NOTHING`] if there is none.
    pub(super) entry: Element,
}

/// All groups and the hops between them.
#[derive(Clone, Debug)]
pub(in crate::search) struct Fleet {
    pub(super) num_layers: u32,
    pub(super) groups: Vec<Group>,
    /// Hidden states from group to group, access apart; the diagonal is a hop within the group.
    pub(super) hops: Vec<Element>,
    /// Tokens from group to group, likewise.
    pub(super) returns: Vec<Element>,
    pub(super) weights: Weights,
    wire: Wire,
    /// Group of each node, and its position there.
    homes: BTreeMap<NodeOrd, (usize, usize)>,
}

/// What a fleet is made from.
pub(in crate::search) struct Sources<'p> {
    pub(in crate::search) problem: &'p Problem,
    pub(in crate::search) links: &'p LinkIndex,
    pub(in crate::search) service: &'p Service,
    pub(in crate::search) candidate: Candidate,
}

impl Fleet {
    /// Groups the usable nodes; `None` if there are too many groups.
    pub(in crate::search) fn new(
        sources: &Sources<'_>,
        cost: &CostModel<'_>,
        residual: &Residual,
        usable: &[NodeOrd],
    ) -> Option<Self> {
        let &Sources {
            problem,
            links,
            service,
            candidate,
        } = sources;
        let variant = problem.variant(candidate).1;
        let capacity = Capacity::new(sources, residual);
        let alone = alone(problem, service, usable);
        let mut by_region: BTreeMap<RegionOrd, Vec<Member>> = BTreeMap::new();
        let mut singles = Vec::new();
        for &node in usable {
            let Some(parts) = cost.stage_parts(node) else {
                continue;
            };
            let stage = StageElements::of(cost, &parts);
            let most = capacity.most(node);
            if !stage.is_usable() || most == Most::default() {
                continue;
            }
            let member = Member {
                node,
                stage,
                up: Element::default(),
                down: Element::default(),
                token_up: Element::default(),
                token_down: Element::default(),
                ingress: Element::default(),
                most,
            };
            match links.access(problem, node).filter(|_| !alone[node.index()]) {
                Some(access) => by_region.entry(access.region).or_default().push(member),
                None => singles.push(member),
            }
        }
        let regional = by_region.into_iter().map(|(region, members)| Group {
            members,
            region: Some(region),
            single: None,
            entry: Element::default(),
        });
        let single = singles.into_iter().map(|member| Group {
            region: links.access(problem, member.node).map(|access| access.region),
            single: Some(member.node),
            members: vec![member],
            entry: Element::default(),
        });
        let groups: Vec<Group> = regional.chain(single).collect();
        if groups.len() > GROUPS_MAX {
            return None;
        }
        let mut homes = BTreeMap::new();
        for (index, group) in groups.iter().enumerate() {
            let members = group.members.iter().enumerate();
            homes.extend(members.map(|(position, member)| (member.node, (index, position))));
        }
        let mut fleet = Self {
            homes,
            num_layers: variant.num_layers(),
            hops: vec![NOTHING; groups.len() * groups.len()],
            returns: vec![NOTHING; groups.len() * groups.len()],
            groups,
            weights: cost.weights(),
            wire: cost.wire().clone(),
        };
        for group in 0..fleet.groups.len() {
            fleet.connect(sources, group);
            for other in 0..fleet.groups.len() {
                fleet.join(sources, group, other);
            }
        }
        Some(fleet)
    }

    /// Whether so many stages could hold the model.
    pub(in crate::search) fn may_have(&self, stages: u32) -> bool {
        let members = || self.groups.iter().flat_map(|group| &group.members);
        let largest = |most: fn(&Most) -> u32| members().map(|member| most(&member.most)).max().unwrap_or(0);
        let middle = largest(|most| most.middle).saturating_mul(stages.saturating_sub(2));
        let ends = largest(|most| most.head) + largest(|most| most.last);
        middle.saturating_add(ends) >= self.num_layers
    }

    /// Computes what access adds to each member of a group, and its entry.
    pub(super) fn connect(&mut self, sources: &Sources<'_>, group: usize) {
        let weights = self.weights;
        let element = |part: Part| Some(Element::of(weights, &part)).filter(|it| it.cost <= DEAREST);
        self.enter(sources, group);
        let group = &mut self.groups[group];
        let separate = separate_ingress(sources.service);
        for member in &mut group.members {
            let access = sources
                .links
                .access(sources.problem, member.node)
                .filter(|_| group.single.is_none());
            if let Some(access) = access {
                let hidden = |segment: &Segment| hop_over(&self.wire, weights, sources.service, segment);
                (member.up, member.down) = (hidden(&access.up), hidden(&access.down));
                let token = |segment: &Segment| Element::of(weights, &self.wire.token_segment(segment));
                (member.token_up, member.token_down) = (token(&access.up), token(&access.down));
            }
            let ingress = match (separate, access) {
                (Some(_), Some(access)) => {
                    let request = Element::of(weights, &self.wire.request_segment(&access.down));
                    Some(request.then(Element::of(weights, &self.wire.answer_segment(&access.up))))
                }
                // Counted in the entry.
                (Some(_), None) => Some(Element::default()),
                (None, _) => ingress_of(sources, &self.wire, member.node).and_then(element),
            };
            member.ingress = ingress.unwrap_or(NOTHING);
        }
    }

    /// Computes a group's entry alone.
    pub(super) fn enter(&mut self, sources: &Sources<'_>, group: usize) {
        let entry = self.entry(sources, &self.groups[group]);
        let element = entry.map(|part| Element::of(self.weights, &part));
        self.groups[group].entry = element.filter(|entry| entry.cost <= DEAREST).unwrap_or(NOTHING);
    }

    /// The group that a node is in.
    pub(super) fn group_of(&self, node: NodeOrd) -> Option<usize> {
        Some(self.homes.get(&node)?.0)
    }

    /// A node of the fleet.
    pub(super) fn member(&self, node: NodeOrd) -> Option<&Member> {
        let &(group, position) = self.homes.get(&node)?;
        Some(&self.groups[group].members[position])
    }

    /// The groups of a region: one of many nodes, and single nodes.
    pub(super) fn groups_in(&self, region: RegionOrd) -> Vec<usize> {
        let groups = 0..self.groups.len();
        groups
            .filter(|&group| self.groups[group].region == Some(region))
            .collect()
    }

    /// Whether a group is one node, whose access counts among the hops.
    pub(super) fn is_single(&self, group: usize) -> bool {
        self.groups[group].single.is_some()
    }

    /// What messages add.
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Between the one ingress and a group: its own access and the backbone; for a single node the whole way.
    fn entry(&self, sources: &Sources<'_>, group: &Group) -> Option<Part> {
        let Some(ingress) = separate_ingress(sources.service) else {
            return Some(Part::default());
        };
        if let Some(single) = group.single {
            return ingress_of(sources, &self.wire, single);
        }
        let &Sources { problem, links, .. } = sources;
        let access = links.access(problem, ingress)?;
        let region = group.region?;
        let there = links.backbone(problem, access.region, region)?;
        let back = links.backbone(problem, region, access.region)?;
        let wire = &self.wire;
        Some(
            wire.request_segment(&access.up)
                .then(wire.request_segment(there))
                .then(wire.answer_segment(back))
                .then(wire.answer_segment(&access.down)),
        )
    }

    /// Computes the hops from one group to another.
    pub(super) fn join(&mut self, sources: &Sources<'_>, from: usize, to: usize) {
        let at = from * self.groups.len() + to;
        let weights = self.weights;
        let hidden = |segment: &Segment| hop_over(&self.wire, weights, sources.service, segment);
        let token = |segment: &Segment| Element::of(weights, &self.wire.token_segment(segment));
        let format = cheapest_format(weights, sources.service);
        let near = |element: Element| if element.cost <= DEAREST { element } else { NOTHING };
        let hop = self.between(sources, from, to, hidden);
        let back = self.between(sources, from, to, token);
        self.hops[at] = hop.map_or(NOTHING, |hop| near(hop.then(format)));
        self.returns[at] = back.map_or(NOTHING, near);
    }

    /// The way between two groups, with the access of those that are single nodes.
    fn between(
        &self,
        sources: &Sources<'_>,
        from: usize,
        to: usize,
        over: impl Fn(&Segment) -> Element,
    ) -> Option<Element> {
        let &Sources { problem, links, .. } = sources;
        let (from, to) = (&self.groups[from], &self.groups[to]);
        if let (Some(one), Some(other)) = (from.single, to.single) {
            if one == other {
                return None;
            }
            let path = links.get(problem, one, other)?;
            return Some(path.segments().map(&over).fold(Element::default(), Element::then));
        }
        let between = over(links.backbone(problem, from.region?, to.region?)?);
        let own = |single: Option<NodeOrd>| single.and_then(|node| links.access(problem, node));
        let out = own(from.single).map_or(Element::default(), |access| over(&access.up));
        let into = own(to.single).map_or(Element::default(), |access| over(&access.down));
        Some(out.then(between).then(into))
    }
}

/// The ingress, if there is one: then its own access is apart from what heads add.
pub(super) fn separate_ingress(service: &Service) -> Option<NodeOrd> {
    match service.ingress.as_slice() {
        [only] => Some(only.node),
        _ => None,
    }
}

/// The way between all ingress nodes and a head, and back.
fn ingress_of(sources: &Sources<'_>, wire: &Wire, head: NodeOrd) -> Option<Part> {
    wire.ingress(sources.problem, sources.links, sources.service, head)
        .ok()
}

/// Hidden states over a segment, each figure in the format that is best for it.
fn hop_over(wire: &Wire, weights: Weights, service: &Service, segment: &Segment) -> Element {
    let each = service.activations.iter();
    least(each.map(|format| Element::of(weights, &wire.hop_segment(segment, format))))
}

fn cheapest_format(weights: Weights, service: &Service) -> Element {
    let each = service.activations.iter();
    least(each.map(|format| Element::of(weights, &Wire::format(format))))
}

fn least(elements: impl Iterator<Item = Element>) -> Element {
    elements.fold(NOTHING, |least, element| Element {
        cost: least.cost.min(element.cost),
        ttft: least.ttft.min(element.ttft),
        tpot: least.tpot.min(element.tpot),
        busy: least.busy.min(element.busy),
    })
}

/// Nodes that cannot be in a group with others: with links of their own to usable nodes, or where requests enter.
fn alone(problem: &Problem, service: &Service, usable: &[NodeOrd]) -> Vec<bool> {
    let mut useful = vec![false; problem.nodes.len()];
    for node in usable {
        useful[node.index()] = true;
    }
    let mut alone = vec![false; problem.nodes.len()];
    for ingress in &service.ingress {
        alone[ingress.node.index()] = true;
        useful[ingress.node.index()] = true;
    }
    for &Link { from, to, .. } in &problem.links {
        if useful[from.index()] && useful[to.index()] {
            (alone[from.index()], alone[to.index()]) = (true, true);
        }
    }
    alone
}

/// How many layers nodes can hold.
struct Capacity<'s> {
    sources: &'s Sources<'s>,
    residual: &'s Residual,
    memory: MemoryModel<'s>,
    num_layers: u32,
    /// `lightest[k]`: where the lightest `k` consecutive layers begin, the first layer and the last apart.
    lightest: Vec<u32>,
}

impl<'s> Capacity<'s> {
    fn new(sources: &'s Sources<'s>, residual: &'s Residual) -> Self {
        let (model, variant) = sources.problem.variant(sources.candidate);
        let num_layers = variant.num_layers();
        let mut before = vec![0_u64];
        for bytes in &variant.layer_bytes {
            before.push(before[before.len() - 1].saturating_add(bytes.0));
        }
        let lightest = |layers: u32| {
            let starts = 1..num_layers.saturating_sub(layers).max(1);
            let bytes = |start: u32| before[(start + layers) as usize] - before[start as usize];
            starts.min_by_key(|&start| bytes(start)).unwrap_or(1)
        };
        Self {
            sources,
            residual,
            memory: MemoryModel::new(sources.service, model, variant),
            num_layers,
            lightest: (0..num_layers).map(lightest).collect(),
        }
    }

    fn most(&self, node: NodeOrd) -> Most {
        let (problem, service) = (self.sources.problem, self.sources.service);
        let trusted = trusts(problem, service, node);
        let longest = self.num_layers - 1;
        let largest = |limit: u32, begins: &dyn Fn(u32) -> u32| {
            let fits = |layers: u32| {
                let start = begins(layers);
                self.fits(node, LayerRange::new(start, start + layers), false)
            };
            let (mut good, mut bad) = (0, limit + 1);
            while bad - good > 1 {
                let middle = good.midpoint(bad);
                if fits(middle) { good = middle } else { bad = middle }
            }
            good
        };
        let mut most = Most {
            head: if trusted { largest(longest, &|_| 0) } else { 0 },
            middle: largest(longest.saturating_sub(1), &|layers| {
                self.lightest[layers as usize]
            }),
            last: if trusted {
                largest(longest, &|layers| self.num_layers - layers)
            } else {
                0
            },
        };
        if !trusted && shallow_layers(service) > 1 {
            most.middle = most.middle.min((longest).saturating_sub(shallow_layers(service)));
        }
        let kept = service.kept.iter().filter(|kept| kept.node == node);
        let held = self.residual.held(node, self.sources.candidate);
        for held in held.chain(kept.map(|kept| kept.layers)) {
            if !self.fits(node, held, true) || held.len() >= self.num_layers {
                continue;
            }
            let role = match (held.start == 0, held.end == self.num_layers) {
                (true, _) => &mut most.head,
                (_, true) => &mut most.last,
                _ => &mut most.middle,
            };
            if trusted || (held.start > 0 && held.end < self.num_layers) {
                *role = (*role).max(held.len());
            }
        }
        most
    }

    /// Whether a node can hold these layers; `stays` if they may be those that the service has there now.
    fn fits(&self, node: NodeOrd, layers: LayerRange, stays: bool) -> bool {
        let stage = stays.then_some((self.sources.candidate, layers));
        let free = self.residual.free_for(self.sources.service, node, stage);
        let described = &self.sources.problem.nodes[node.index()];
        let sharing = self.residual.sharing(node, self.sources.candidate, layers);
        let &Sources {
            problem,
            service,
            candidate,
            ..
        } = self.sources;
        let presence = &self.residual.presence;
        self.memory.stage(described, layers, sharing).total() <= free
            && presence.stores(problem, service, node, candidate, &[layers])
    }
}
