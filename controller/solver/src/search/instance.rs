//! One service with one model variant as dense tables: who may hold which layers, what a stage and a hop add.
//!
//! Nodes are numbered anew (local indices, in the order of their ordinals), so that a search over a part of the fleet
//! costs what that part costs.

use super::both_ends::BothEnds;
use crate::cost::{CostModel, Part, StageParts, Weights};
use crate::links::{LinkIndex, Path};
use crate::problem::{Candidate, Privacy, Problem, Service};
use crate::search::residual::Residual;
use crate::solution::{PipelineShape, StageShape};
use crate::units::{LayerRange, NodeOrd};

/// Cost of what cannot be. Sums of a few of these do not overflow.
pub(super) const NEVER: u64 = u64::MAX / 8;
/// Elements dearer than this, 11 days a request, are treated as if they did not exist: 4096 of them do not overflow.
pub(super) const DEAREST: u64 = 1_000_000_000_000_000;

/// What an element adds: the objective's linear part, TTFT, TPOT; and its bid for the bottleneck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) cost: u64,
    pub(super) ttft: u64,
    pub(super) tpot: u64,
    pub(super) busy: u64,
}

impl Element {
    pub(super) fn of(weights: Weights, part: &Part) -> Self {
        Self {
            cost: weights.scalar(part),
            ttft: part.ttft,
            tpot: part.tpot,
            busy: part.busy,
        }
    }

    /// Another element of the same stage: everything adds up.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            cost: self.cost + other.cost,
            ttft: self.ttft + other.ttft,
            tpot: self.tpot + other.tpot,
            busy: self.busy + other.busy,
        }
    }

    pub(super) fn times(self, count: u64) -> Self {
        Self {
            cost: self.cost * count,
            ttft: self.ttft * count,
            tpot: self.tpot * count,
            busy: self.busy * count,
        }
    }

    /// What follows in the pipeline: sums, and the greater bottleneck.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            busy: self.busy.max(next.busy),
            ..self.and(next)
        }
    }
}

/// Elements of a stage on a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct StageElements {
    pub(super) layer: Element,
    pub(super) fixed: Element,
    pub(super) first: Element,
    pub(super) last: Element,
}

impl StageElements {
    pub(super) fn of(cost: &CostModel<'_>, parts: &StageParts) -> Self {
        let element = |part| Element::of(cost.weights(), part);
        Self {
            layer: element(&parts.layer),
            fixed: element(&parts.fixed),
            first: element(&parts.first),
            last: element(&parts.last),
        }
    }

    /// What a stage adds.
    pub(super) fn stage(&self, start: u32, end: u32, num_layers: u32) -> Element {
        let closes = end == num_layers;
        let equal_layers = end - start - u32::from(closes);
        let mut sum = self.layer.times(u64::from(equal_layers)).and(self.fixed);
        if start == 0 {
            sum = sum.and(self.first);
        }
        if closes {
            sum = sum.and(self.last);
        }
        sum
    }

    /// Whether it is worth looking at.
    pub(super) fn is_usable(&self) -> bool {
        [self.layer, self.fixed, self.first, self.last]
            .iter()
            .all(|element| element.cost <= DEAREST)
    }
}

/// A hop in one format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arc {
    /// Local index of the receiver.
    pub(super) to: u32,
    /// Position of the format in [`Service::activations`].
    format: u16,
    pub(super) element: Element,
}

/// What pipelines are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Every node holds one stage.
    Chain,
    /// The first node holds the last stage too.
    UShape,
}

/// Which layers a node may hold as a stage of a split pipeline.
#[derive(Clone, Debug, Default)]
struct Room {
    /// `reach[s]`: the furthest end below the last layer for a stage that starts at `s`; `s` when there is none.
    reach: Vec<u32>,
    /// `closes[s]`: whether `[s, L)` fits.
    closes: Vec<bool>,
    /// Ends beyond the reach, for ranges that another service, or this one until now, holds there: (start, end).
    beyond: Vec<(u32, u32)>,
}

/// A node as the first of a U-shaped pipeline.
#[derive(Clone, Debug)]
struct Returns {
    memory: BothEnds,
    openings: Vec<u32>,
    closings: Vec<bool>,
}

impl Returns {
    fn new(memory: BothEnds) -> Option<Self> {
        let openings: Vec<u32> = memory.openings().collect();
        (!openings.is_empty()).then(|| Self {
            openings,
            closings: memory.closings(),
            memory,
        })
    }
}

/// A service with one variant, ready to be searched.
#[derive(Clone, Debug)]
pub(super) struct Instance<'p> {
    pub(super) form: Form,
    pub(super) cost: &'p CostModel<'p>,
    pub(super) objective: Objective,
    candidate: Candidate,
    service: &'p Service,
    pub(super) nodes: Vec<NodeOrd>,
    pub(super) num_layers: u32,
    stages: Vec<StageElements>,
    rooms: Vec<Room>,
    /// From the ingress to each node as head; `None` where that cannot be.
    pub(super) heads: Vec<Option<Element>>,
    /// By node, in the U-shaped form: where its both ends fit, for those that may be the head.
    returns: Vec<Option<Returns>>,
    arc_starts: Vec<usize>,
    arcs: Vec<Arc>,
}

/// What the sums of a pipeline are worth: the objective without its constant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Objective {
    pub(super) further_chunks: u64,
    pub(super) ttft_weight: u64,
    /// Promise, and the cost of a nanosecond beyond it.
    pub(super) ttft_promise: Option<(u64, u64)>,
    pub(super) tpot_promise: Option<(u64, u64)>,
    /// Cost of the quality that the variant lacks.
    pub(super) constant: u64,
    /// The first token does not come before this, whatever the pipeline is.
    pub(super) ttft_floor: u64,
}

impl Objective {
    pub(super) fn new(service: &Service, cost: &CostModel<'_>) -> Self {
        let penalty = u64::from(service.slo_penalty);
        Self {
            further_chunks: cost.further_chunks(),
            ttft_weight: u64::from(service.ttft_weight),
            ttft_promise: service.slo_ttft.map(|slo| (slo.0, penalty)),
            tpot_promise: service
                .slo_tpot
                .map(|slo| (slo.0, penalty.saturating_mul(cost.further_tokens()))),
            constant: cost.quality_cost().0,
            ttft_floor: cost.ttft_floor().0,
        }
    }

    pub(super) fn has_promise(&self) -> bool {
        self.ttft_promise.is_some() || self.tpot_promise.is_some()
    }

    /// Whether any chunk waits for another.
    pub(super) fn has_bottleneck(&self) -> bool {
        self.further_chunks > 0
    }

    /// The objective of these sums, or a bound for it if they are bounds.
    pub(super) fn value(&self, sums: &Element) -> u64 {
        let waiting = sums.busy.saturating_mul(self.further_chunks);
        let late = |actual: u64, promise: Option<(u64, u64)>| {
            promise.map_or(0, |(promised, price)| {
                actual.saturating_sub(promised).saturating_mul(price)
            })
        };
        sums.cost
            .saturating_add(waiting.saturating_mul(self.ttft_weight))
            .saturating_add(late(sums.ttft.saturating_add(waiting), self.ttft_promise))
            .saturating_add(late(sums.tpot, self.tpot_promise))
            .saturating_add(self.constant)
            .min(NEVER)
    }

    /// The objective of a complete pipeline's sums.
    pub(super) fn complete_value(&self, sums: &Element) -> u64 {
        let waiting = sums.busy.saturating_mul(self.further_chunks);
        let early = self.ttft_floor.saturating_sub(sums.ttft.saturating_add(waiting));
        if early == 0 {
            return self.value(sums);
        }
        // What the first token is held back counts as its time does.
        let held = Element {
            cost: sums.cost.saturating_add(early.saturating_mul(self.ttft_weight)),
            ttft: sums.ttft.saturating_add(early),
            ..*sums
        };
        self.value(&held)
    }

    /// Whether `one` is not worse than `other` whatever follows. For any completion, what `one` can lose by its longer
    /// bottleneck, its later first token or its slower tokens is at most the difference itself times its price (both
    /// maximum and penalty are 1-Lipschitz); if that still leaves it the cheaper, it dominates. `longer`: by how much more
    /// than `other` it occupies what will be occupied again.
    pub(super) fn dominates(&self, one: &Element, other: &Element, longer: u64) -> bool {
        let waiting = one
            .busy
            .saturating_sub(other.busy)
            .max(longer)
            .saturating_mul(self.further_chunks);
        let mut regret = waiting.saturating_mul(self.ttft_weight);
        if self.ttft_floor > 0 {
            // An earlier first token may be held back for as long as it is earlier, and then costs as much more.
            let earlier = other.ttft.saturating_sub(one.ttft);
            regret = regret.saturating_add(earlier.saturating_mul(self.ttft_weight));
        }
        if let Some((_, price)) = self.ttft_promise {
            let later = one.ttft.saturating_add(waiting).saturating_sub(other.ttft);
            regret = regret.saturating_add(later.saturating_mul(price));
        }
        if let Some((_, price)) = self.tpot_promise {
            regret = regret.saturating_add(one.tpot.saturating_sub(other.tpot).saturating_mul(price));
        }
        one.cost.saturating_add(regret) <= other.cost
    }
}

impl<'p> Instance<'p> {
    /// Fills the tables for the nodes given, in ascending order.
    #[allow(clippy::too_many_arguments, reason = "all that a search looks at")]
    pub(super) fn new(
        problem: &'p Problem,
        links: &LinkIndex,
        service: &'p Service,
        candidate: Candidate,
        cost: &'p CostModel<'p>,
        residual: &Residual,
        usable: &[NodeOrd],
        form: Form,
    ) -> Self {
        let memory = cost.memory(candidate);
        let num_layers = problem.variant(candidate).1.num_layers();
        let (mut nodes, mut stages, mut rooms, mut heads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut returns = Vec::new();
        for &node in usable {
            let Some(parts) = cost.stage_parts(node) else {
                continue;
            };
            let elements = StageElements::of(cost, &parts);
            if !elements.is_usable() {
                continue;
            }
            let trusted = trusts(problem, service, node);
            let fits = |start: u32, end: u32, share: bool| {
                let layers = LayerRange::new(start, end);
                let mut sharing = residual.sharing(node, candidate, layers);
                sharing.weights &= share;
                let stage = share.then_some((candidate, layers));
                let visible = start == 0 || end == num_layers || start < shallow_layers(service);
                // What the service has there itself it may keep, and share with others; a range that is not named shares nothing.
                let stored = residual
                    .presence
                    .stores(problem, service, node, candidate, &[layers]);
                (trusted || !visible)
                    && stored
                    && memory
                        .stage(&problem.nodes[node.index()], layers, sharing)
                        .total()
                        <= residual.free_for(service, node, stage)
            };
            let kept = service.kept.iter().filter(|kept| kept.node == node);
            let held = residual.held(node, candidate).chain(kept.map(|kept| kept.layers));
            let room = Room::new(num_layers, fits, held);
            let both_ends = (form == Form::UShape && trusted)
                .then(|| BothEnds::new(problem, service, candidate, residual, node))
                .and_then(Returns::new);
            let opens = match form {
                Form::Chain => room.reach[0] > 0 || room.beyond.iter().any(|beyond| beyond.0 == 0),
                Form::UShape => both_ends.is_some(),
            };
            let head = cost.ingress_part(node).ok().filter(|_| opens);
            heads.push(
                head.map(|part| Element::of(cost.weights(), &part))
                    .filter(|element| element.cost <= DEAREST),
            );
            nodes.push(node);
            stages.push(elements);
            rooms.push(room);
            returns.push(both_ends);
        }
        let (arc_starts, arcs) = arcs(problem, links, service, cost, &nodes, form);
        let objective = Objective::new(service, cost);
        Self {
            form,
            cost,
            objective,
            candidate,
            service,
            nodes,
            num_layers,
            stages,
            rooms,
            heads,
            returns,
            arc_starts,
            arcs,
        }
    }

    pub(super) fn num_nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn num_arcs(&self) -> usize {
        self.arcs.len()
    }

    /// Hops that leave a node.
    pub(super) fn arcs_from(&self, node: usize) -> &[Arc] {
        &self.arcs[self.arc_starts[node]..self.arc_starts[node + 1]]
    }

    /// Ends of stages that start at `start` on the node and fit; the last layer's only if something came before. In the
    /// U-shaped form first stages are those beside which a last one fits, and [`tail`](Self::tail) has the last layer.
    pub(super) fn ends(&self, node: usize, start: u32) -> impl Iterator<Item = u32> {
        let room = &self.rooms[node];
        let returns = self.form == Form::UShape;
        let opens = returns && start == 0;
        let opening = self.returns[node].iter().filter(move |_| opens);
        let opening = opening.flat_map(|returns| &returns.openings).copied();
        let reach = if opens { start } else { room.reach[start as usize] };
        let far = room
            .beyond
            .iter()
            .filter(move |beyond| !opens && beyond.0 == start)
            .map(|beyond| beyond.1);
        let close = (start > 0 && !returns && room.closes[start as usize]).then_some(self.num_layers);
        opening.chain(start + 1..=reach).chain(far).chain(close)
    }

    /// What the last stage `[start, L)` adds on the node that holds the first stage `[0, opening)` too; `None` if both do
    /// not fit. A chunk occupies the node for both.
    pub(super) fn tail(&self, head: usize, opening: u32, start: u32) -> Option<Element> {
        let returns = self.returns[head].as_ref()?;
        if opening >= start || !returns.memory.fit(opening, start) {
            return None;
        }
        let tail = self.stage(head, start, self.num_layers);
        Some(Element {
            busy: tail.busy + self.stage(head, 0, opening).busy,
            ..tail
        })
    }

    /// The least that a last stage adds on a head, whatever its first stage is; `None` if none fits.
    pub(super) fn least_tail(&self, head: usize, start: u32) -> Option<Element> {
        let closes = self.returns[head].as_ref()?.closings[start as usize];
        closes.then(|| self.stage(head, start, self.num_layers))
    }

    /// Whether a first stage `[0, one)` leaves as much memory as `[0, other)` does to whatever follows from `boundary` on,
    /// and by how much longer a chunk then occupies the head.
    pub(super) fn compare_openings(&self, head: usize, one: u32, other: u32, boundary: u32) -> Option<u64> {
        let Some(returns) = &self.returns[head] else {
            return Some(0);
        };
        let busy = |opening: u32| self.stage(head, 0, opening).busy;
        let longer = if one > other {
            busy(one).saturating_sub(busy(other))
        } else {
            0
        };
        returns
            .memory
            .leaves_as_much(one, other, boundary)
            .then_some(longer)
    }

    /// Whether the node can hold everything from `start` to the last layer.
    pub(super) fn closes(&self, node: usize, start: u32) -> bool {
        self.rooms[node].closes[start as usize]
    }

    /// What a stage adds.
    pub(super) fn stage(&self, node: usize, start: u32, end: u32) -> Element {
        self.stages[node].stage(start, end, self.num_layers)
    }

    /// What the token's way from the last stage back to the head adds; `None` without a link.
    pub(super) fn way_back(&self, last: usize, head: usize) -> Option<Element> {
        let part = self.cost.return_part(self.nodes[last], self.nodes[head])?;
        Some(Element::of(self.cost.weights(), &part)).filter(|element| element.cost <= DEAREST)
    }

    /// The pipeline of (local node, end, arc taken to the next) in order.
    pub(super) fn shape(&self, path: &[PathStage]) -> PipelineShape {
        let mut start = 0;
        let stages = path
            .iter()
            .map(|stage| {
                let layers = LayerRange::new(start, stage.end);
                start = stage.end;
                let format = stage
                    .onward
                    .map(|arc| self.service.activations[usize::from(self.arcs[arc].format)]);
                StageShape {
                    node: self.nodes[stage.node],
                    layers,
                    activation: format.map(|format| format.precision),
                }
            })
            .collect();
        PipelineShape::alone(self.candidate, stages)
    }

    /// The hop at a position.
    pub(super) fn arc(&self, position: usize) -> &Arc {
        &self.arcs[position]
    }

    /// Position of the first arc that leaves a node.
    pub(super) fn first_arc(&self, node: usize) -> usize {
        self.arc_starts[node]
    }

    /// The same over some of the nodes.
    pub(super) fn restricted(&self, keep: &[usize]) -> Self {
        let mut local = vec![u32::MAX; self.nodes.len()];
        for (new, &old) in keep.iter().enumerate() {
            local[old] = u32::try_from(new).expect("fewer nodes than before");
        }
        let mut arc_starts = vec![0];
        let mut arcs = Vec::new();
        for &old in keep {
            let kept = self.arcs_from(old).iter().map(|arc| Arc {
                to: local[arc.to as usize],
                ..*arc
            });
            arcs.extend(kept.filter(|arc| arc.to != u32::MAX));
            arc_starts.push(arcs.len());
        }
        Self {
            nodes: keep.iter().map(|&node| self.nodes[node]).collect(),
            stages: keep.iter().map(|&node| self.stages[node]).collect(),
            rooms: keep.iter().map(|&node| self.rooms[node].clone()).collect(),
            heads: keep.iter().map(|&node| self.heads[node]).collect(),
            returns: keep.iter().map(|&node| self.returns[node].clone()).collect(),
            arc_starts,
            arcs,
            ..*self
        }
    }
}

/// A stage of a found path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathStage {
    /// Local node.
    pub(super) node: usize,
    /// End of its layers.
    pub(super) end: u32,
    /// Position of the arc to the next stage.
    pub(super) onward: Option<usize>,
}

impl Room {
    fn new(
        num_layers: u32,
        fits: impl Fn(u32, u32, bool) -> bool,
        held: impl Iterator<Item = LayerRange>,
    ) -> Self {
        let mut room = Self::default();
        for start in 0..num_layers {
            // Without sharing, need grows with the end: bisect.
            let (mut reach, mut too_far) = (start, num_layers);
            while too_far - reach > 1 {
                let end = reach.midpoint(too_far);
                if fits(start, end, false) {
                    reach = end
                } else {
                    too_far = end
                }
            }
            room.reach.push(reach);
            room.closes.push(fits(start, num_layers, true));
        }
        for LayerRange { start, end } in held {
            if end < num_layers && room.reach[start as usize] < end && fits(start, end, true) {
                room.beyond.push((start, end));
            }
        }
        room
    }
}

fn arcs(
    problem: &Problem,
    links: &LinkIndex,
    service: &Service,
    cost: &CostModel<'_>,
    nodes: &[NodeOrd],
    form: Form,
) -> (Vec<usize>, Vec<Arc>) {
    let mut local = vec![u32::MAX; problem.nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        local[node.index()] = u32::try_from(index).expect("ordinals are 32 bits wide");
    }
    let mut starts = vec![0];
    let mut arcs: Vec<Arc> = Vec::new();
    for &node in nodes {
        for path in paths(problem, links, node, nodes, form) {
            let to = local[path.to.index()];
            if to == u32::MAX {
                continue;
            }
            let first = arcs.len();
            for (format, activation) in (0_u16..).zip(&service.activations) {
                let element = Element::of(cost.weights(), &cost.wire().hop(&path, activation));
                // A format that is nowhere better than an earlier one is never chosen.
                let beaten = arcs[first..].iter().any(|arc| {
                    let other = arc.element;
                    other.cost <= element.cost
                        && other.ttft <= element.ttft
                        && other.tpot <= element.tpot
                        && other.busy <= element.busy
                });
                if !beaten && element.cost <= DEAREST {
                    arcs.push(Arc { to, format, element });
                }
            }
        }
        starts.push(arcs.len());
    }
    (starts, arcs)
}

/// Ways out of a node: its links; in the U-shaped form those through regions too, which chains do not search one by one.
fn paths(problem: &Problem, links: &LinkIndex, from: NodeOrd, nodes: &[NodeOrd], form: Form) -> Vec<Path> {
    if form == Form::Chain || problem.regions.is_empty() {
        return links.from(problem, from).map(Path::from).collect();
    }
    let others = nodes.iter().filter(|&&to| to != from);
    others.filter_map(|&to| links.get(problem, from, to)).collect()
}

/// Whether a node may see text.
pub(super) fn trusts(problem: &Problem, service: &Service, node: NodeOrd) -> bool {
    match &service.privacy {
        Privacy::Open => true,
        Privacy::Trusted { domains, .. } => domains.contains(&problem.nodes[node.index()].trust_domain),
    }
}

/// Stages that start below this layer give the prompt away.
pub(super) fn shallow_layers(service: &Service) -> u32 {
    match service.privacy {
        Privacy::Open => 0,
        Privacy::Trusted { shallow_layers, .. } => shallow_layers,
    }
}
