//! Split pipelines that are put together quickly: around each of the cheapest nodes, one after the other of those that go best
//! with it. The exact search for one pipeline takes too long for hundreds of replicas of a large fleet.

use super::floor::{Floor, NodePrices, Ranked};
use super::index::{Index, cost_model};
use crate::cost::CostModel;
use crate::problem::{Mode, Precision, Service};
use crate::solution::{PipelineShape, StageShape};
use crate::units::{LayerRange, NodeOrd};

/// Nodes that are looked at, the cheapest ones.
const NODES_MAX: usize = 96;

/// Nodes that pipelines are built around, and pipelines that are told, the cheapest ones.
const ANCHORS_MAX: usize = 24;
const TOLD_MAX: usize = 6;

/// Stages of a pipeline where a service does not limit them.
const STAGES_MAX: u32 = 8;

/// The nodes where layers cost least at the prices, in so much room: half of them hold so many layers that as many as there may
/// be stages hold the model, the others may be of use beside those. The cheapest first.
pub(super) fn likely(floor: &Floor, prices: NodePrices<'_>, rooms: &[u64], stages_max: u32) -> Vec<Ranked> {
    let mut ranked = floor.ranked(prices, |node| rooms[node]);
    ranked.sort_unstable_by(|one, other| one.cost.total_cmp(&other.cost).then(one.node.cmp(&other.node)));
    let share = f64::from(floor.num_layers() / stages_max).max(1.0);
    let (mut large, mut others) = (0, 0);
    ranked.retain(|one| {
        let count = if one.reach >= share {
            &mut large
        } else {
            &mut others
        };
        *count += 1;
        *count <= NODES_MAX / 2 && one.reach >= share / 4.0
    });
    ranked
}

/// Most stages that a replica of a service may have.
pub(super) fn stages_max(service: &Service) -> u32 {
    let hops = service.modes.contains(&Mode::MultiHop);
    let most = if hops { STAGES_MAX } else { 2 };
    service.stages_max.unwrap_or(most).min(most)
}

/// Pipelines for a service in so much room, the cheapest at the prices first. Whether they keep its promises is not looked at.
pub(super) fn assemble(
    index: &Index,
    floor: &Floor,
    prices: NodePrices<'_>,
    rooms: &[u64],
) -> Vec<PipelineShape> {
    let service = Service {
        ingress: Vec::new(),
        ..index.service(floor.service).clone()
    };
    let cost = cost_model(&index.problem.fleet, &index.links, &service, floor.candidate);
    let mut likely = likely(floor, prices, rooms, stages_max(&service));
    likely.retain(|one| one.trusted && one.reach > floor.end_layers());
    let assembly = Assembly {
        index,
        service: &service,
        cost: &cost,
        floor,
        likely: &likely,
    };
    let mut built: Vec<(f64, PipelineShape)> = (0..likely.len().min(ANCHORS_MAX))
        .filter_map(|anchor| assembly.around(anchor))
        .collect();
    built.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    built.dedup_by(|one, other| one.1 == other.1);
    built.into_iter().map(|(_, shape)| shape).take(TOLD_MAX).collect()
}

/// Nodes to put together.
struct Assembly<'a> {
    index: &'a Index,
    service: &'a Service,
    cost: &'a CostModel<'a>,
    floor: &'a Floor,
    likely: &'a [Ranked],
}

/// A stage in the making.
struct Chosen {
    at: usize,
    layers: u32,
    /// Of the hop to it.
    format: Option<Precision>,
}

impl Assembly<'_> {
    /// A pipeline that begins at a node, and its cost; none if no nodes go with it.
    fn around(&self, anchor: usize) -> Option<(f64, PipelineShape)> {
        let mut left = self.floor.num_layers();
        // One layer at least is for others.
        let own = self.room(anchor).min(left - 1);
        let mut whole = self.likely[anchor].cost * f64::from(own);
        left -= own;
        let mut chosen = vec![Chosen {
            at: anchor,
            layers: own,
            format: None,
        }];
        while left > 0 {
            let (cost, next) = self.next(&chosen, left)?;
            whole += cost;
            left -= next.layers;
            chosen.push(next);
        }
        let allowed = match chosen.len() {
            2 => self.service.modes.contains(&Mode::Split),
            _ => self.service.modes.contains(&Mode::MultiHop),
        };
        allowed.then(|| (whole, self.shape(&chosen)))
    }

    /// Layers that a node holds beside an end of the model.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small whole number"
    )]
    fn room(&self, at: usize) -> u32 {
        (self.likely[at].reach - self.floor.end_layers()).max(1.0) as u32
    }

    /// The node whose layers cost least with the hop to it, among those with which the rest can be held.
    fn next(&self, chosen: &[Chosen], left: u32) -> Option<(f64, Chosen)> {
        let last = chosen.last()?.at;
        let more = stages_max(self.service).checked_sub(u32::try_from(chosen.len()).ok()?)?;
        let mut best: Option<(f64, f64, Chosen)> = None;
        for at in (0..self.likely.len()).filter(|at| chosen.iter().all(|other| other.at != *at)) {
            let layers = self.room(at).min(left);
            if layers.saturating_mul(more) < left {
                continue;
            }
            let own = self.likely[at].cost * f64::from(layers);
            let each = own / f64::from(layers);
            if best.as_ref().is_some_and(|best| each >= best.0) {
                // The cheapest come first, and a hop costs something.
                break;
            }
            let Some((hop, format)) = self.hop(last, at) else {
                continue;
            };
            let each = (own + hop) / f64::from(layers);
            if best.as_ref().is_none_or(|best| each < best.0) {
                let next = Chosen {
                    at,
                    layers,
                    format: Some(format),
                };
                best = Some((each, own + hop, next));
            }
        }
        best.map(|(_, cost, next)| (cost, next))
    }

    /// What a hop between two nodes costs in the cheapest format.
    fn hop(&self, from: usize, to: usize) -> Option<(f64, Precision)> {
        let node = |at: usize| NodeOrd(self.likely[at].node);
        let fleet = &self.index.problem.fleet;
        let path = self.index.links.get(fleet, node(from), node(to))?;
        let formats = self.service.activations.iter();
        let costs = formats.map(|format| {
            let part = self.cost.wire().hop(&path, format);
            (self.cost.weights().scalar(&part), format.precision)
        });
        let (cost, precision) = costs.min_by_key(|(cost, _)| *cost)?;
        Some((crate::caching::pack::as_f64(cost), precision))
    }

    fn shape(&self, chosen: &[Chosen]) -> PipelineShape {
        let mut start = 0;
        let mut stages = Vec::new();
        for (position, stage) in chosen.iter().enumerate() {
            let end = start + stage.layers;
            stages.push(StageShape {
                node: NodeOrd(self.likely[stage.at].node),
                layers: LayerRange::new(start, end),
                activation: chosen.get(position + 1).and_then(|next| next.format),
            });
            start = end;
        }
        PipelineShape::alone(self.floor.candidate, stages)
    }
}
