//! Turns a walk from group to group into a pipeline: layers for each group, nodes for the layers, precisions for the hops.

use super::super::instance::{Element, NEVER, Objective, shallow_layers, trusts};
use super::super::residual::Residual;
use super::aim::Aim;
use super::fleet::{Fleet, Member, Sources};
use super::pass::Pass;
use super::table::{Ends, Table};
use crate::cost::{MemoryModel, Wire};
use crate::links::Path;
use crate::problem::ActivationFormat;
use crate::solution::{PipelineShape, StageShape};
use crate::units::{LayerRange, NodeOrd};

/// Boundaries are only sought anew for models with at most so many layers: the work grows with their square.
const LAYERS_MAX: u32 = 512;

/// A group in a walk: its ends, and how often it is visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stop {
    group: usize,
    ends: Ends,
    visits: usize,
}

/// A stage of a pipeline in the making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'f> {
    pub(super) member: &'f Member,
    pub(super) layers: u32,
}

/// The best division of the layers among the groups of a walk, with each node used once; none if there is no such
/// division, not enough nodes for the visits, or nothing below the limit.
pub(super) fn settle<'f>(
    fleet: &'f Fleet,
    pass: &Pass,
    walk: &[usize],
    level_min: usize,
    limit: u64,
) -> Option<Vec<Part<'f>>> {
    let stops = stops(walk);
    if stops
        .iter()
        .any(|stop| stop.visits > 1 && pass.inner(stop.group) >= NEVER)
    {
        return None;
    }
    let (cost, divided) = divide(pass, &stops, level_min)?;
    let hops = walk.windows(2).map(|pair| pass.hop(pair[0], pair[1]));
    let way_back = pass.return_hop(*walk.last()?, walk[0]);
    let whole = hops.fold(cost.saturating_add(way_back), u64::saturating_add);
    if whole.saturating_add(pass.entries[walk[0]]) >= limit {
        return None;
    }
    let mut visits: Vec<Vec<Vec<Part<'f>>>> = Vec::new();
    for (stop, (level, layers)) in stops.iter().zip(divided) {
        let group = &fleet.groups[stop.group];
        let wanted = (stop.ends, level, layers);
        let inner = pass.inner(stop.group);
        let mut picks = Table::picks(group, &pass.aim, inner, pass.num_layers, pass.levels, wanted)?;
        if picks.len() < stop.visits {
            return None;
        }
        picks.sort_by_key(|pick| (!pick.ends.head, pick.ends.last, pick.member));
        let mut parts: Vec<Part<'_>> = picks
            .iter()
            .map(|pick| Part {
                member: &group.members[pick.member],
                layers: pick.layers,
            })
            .collect();
        // One node for each later visit, all others in the first; in reverse, to be taken from the end.
        let later = parts.split_off(parts.len() - (stop.visits - 1));
        let mut of_stop: Vec<Vec<Part<'_>>> = later.into_iter().rev().map(|part| vec![part]).collect();
        of_stop.push(parts);
        visits.push(of_stop);
    }
    let mut pipeline = Vec::new();
    for group in walk {
        let stop = stops.iter().position(|stop| stop.group == *group)?;
        pipeline.extend(visits[stop].pop()?);
    }
    Some(pipeline)
}

fn stops(walk: &[usize]) -> Vec<Stop> {
    let mut stops: Vec<Stop> = Vec::new();
    for (position, &group) in walk.iter().enumerate() {
        let ends = Ends::of(position == 0, position + 1 == walk.len());
        match stops.iter_mut().find(|stop| stop.group == group) {
            Some(stop) => {
                stop.ends = stop.ends.with(ends);
                stop.visits += 1;
            }
            None => stops.push(Stop {
                group,
                ends,
                visits: 1,
            }),
        }
    }
    stops
}

/// The level and layers of each group that cost least together, and what.
fn divide(pass: &Pass, stops: &[Stop], level_min: usize) -> Option<(u64, Vec<(usize, u32)>)> {
    let (levels, row) = (pass.levels, pass.num_layers as usize + 1);
    let at = |level: usize, layers: usize| level * row + layers;
    let mut costs = vec![vec![NEVER; (levels.top + 1) * row]];
    costs[0][at(0, 0)] = 0;
    for stop in stops {
        let before = &costs[costs.len() - 1];
        let mut after = vec![NEVER; before.len()];
        each_choice(pass, stop, |level, layers, cost| {
            for so_far in 0..=levels.top {
                let Some(whole) = levels.sum(so_far, level) else {
                    continue;
                };
                for done in 0..row - layers {
                    let least = &mut after[at(whole, done + layers)];
                    *least = (*least).min(before[at(so_far, done)].saturating_add(cost));
                }
            }
        });
        costs.push(after);
    }
    let ends = (level_min..=levels.top).map(|level| (costs[stops.len()][at(level, row - 1)], level));
    let (cost, mut level) = ends.min()?;
    if cost >= NEVER {
        return None;
    }
    let (whole, mut layers, mut cost) = (cost, row - 1, cost);
    let mut divided = Vec::new();
    for (index, stop) in stops.iter().enumerate().rev() {
        let mut chosen = None;
        each_choice(pass, stop, |of_level, of_layers, of_cost| {
            for so_far in 0..=levels.top {
                if chosen.is_none()
                    && of_layers <= layers
                    && levels.sum(so_far, of_level) == Some(level)
                    && costs[index][at(so_far, layers - of_layers)].saturating_add(of_cost) == cost
                {
                    chosen = Some((of_level, of_layers, so_far, of_cost));
                }
            }
        });
        let (of_level, of_layers, so_far, of_cost) = chosen?;
        divided.push((of_level, u32::try_from(of_layers).ok()?));
        (level, layers, cost) = (so_far, layers - of_layers, cost - of_cost);
    }
    divided.reverse();
    Some((whole, divided))
}

/// What a group may take, and what that costs.
fn each_choice(pass: &Pass, stop: &Stop, mut take: impl FnMut(usize, usize, u64)) {
    let saved = pass
        .inner(stop.group)
        .saturating_mul(u64::try_from(stop.visits).unwrap_or(u64::MAX) - 1);
    for level in 1..=pass.levels.top {
        let row = pass.tables[stop.group].row(stop.ends, level);
        for (layers, &cost) in row.iter().enumerate().filter(|(_, cost)| **cost < NEVER) {
            take(level, layers, cost.saturating_sub(saved));
        }
    }
}

/// A legal pipeline with its cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::search) struct Realised {
    pub(in crate::search) value: u64,
    pub(in crate::search) shape: PipelineShape,
    /// Its longest occupation of a stage or segment, TTFT without waiting, and TPOT.
    pub(super) sums: Element,
}

/// What a pipeline really costs and whether it really fits.
pub(super) struct Realiser<'s> {
    pub(super) sources: &'s Sources<'s>,
    pub(super) residual: &'s Residual,
    pub(super) objective: &'s Objective,
    pub(super) fleet: &'s Fleet,
    pub(super) memory: MemoryModel<'s>,
    pub(super) wire: &'s Wire,
}

impl Realiser<'_> {
    /// The pipeline of these stages, with boundaries moved where memory wants it; none if it cannot be.
    pub(super) fn realise(&self, parts: &[Part<'_>], aim: &Aim) -> Option<Realised> {
        let mut ends = Vec::new();
        let mut end = 0;
        for part in parts {
            end += part.layers;
            ends.push(end);
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let fits = starts
            .zip(&ends)
            .zip(parts)
            .all(|((start, &end), part)| self.fits(part.member.node, start, end));
        if !fits {
            ends = self.boundaries(parts, aim)?;
        }
        self.priced(parts, &ends, aim)
    }

    fn fits(&self, node: NodeOrd, start: u32, end: u32) -> bool {
        let &Sources {
            problem,
            service,
            candidate,
            ..
        } = self.sources;
        let layers = LayerRange::new(start, end);
        let visible = start == 0 || end == self.fleet.num_layers || start < shallow_layers(service);
        let sharing = self.residual.sharing(node, candidate, layers);
        let stored = self
            .residual
            .presence
            .stores(problem, service, node, candidate, &[layers]);
        (!visible || trusts(problem, service, node))
            && stored
            && self
                .memory
                .stage(&problem.nodes[node.index()], layers, sharing)
                .total()
                <= self.residual.free_for(service, node, Some((candidate, layers)))
    }

    /// The cheapest boundaries for these nodes in this order.
    fn boundaries(&self, parts: &[Part<'_>], aim: &Aim) -> Option<Vec<u32>> {
        let num_layers = self.fleet.num_layers;
        if num_layers > LAYERS_MAX {
            return None;
        }
        let row = num_layers as usize + 1;
        let mut costs = vec![NEVER; (parts.len() + 1) * row];
        let mut starts = vec![0_u32; (parts.len() + 1) * row];
        costs[0] = 0;
        for (index, part) in parts.iter().enumerate() {
            let closes = index + 1 == parts.len();
            for start in 0..num_layers {
                let so_far = costs[index * row + start as usize];
                if so_far >= NEVER || (index == 0) != (start == 0) {
                    continue;
                }
                let ends = if closes {
                    num_layers..=num_layers
                } else {
                    start + 1..=num_layers - 1
                };
                for end in ends {
                    if !self.fits(part.member.node, start, end) {
                        continue;
                    }
                    let stage = part.member.stage.stage(start, end, num_layers);
                    let cost = so_far.saturating_add(aim.price(&stage));
                    let at = (index + 1) * row + end as usize;
                    if cost < costs[at] {
                        (costs[at], starts[at]) = (cost, start);
                    }
                }
            }
        }
        let mut end = num_layers;
        if costs[parts.len() * row + end as usize] >= NEVER {
            return None;
        }
        let mut ends = Vec::new();
        for index in (1..=parts.len()).rev() {
            ends.push(end);
            end = starts[index * row + end as usize];
        }
        ends.reverse();
        Some(ends)
    }

    /// A pipeline that was found before, at what it costs now.
    pub(super) fn again(&self, shape: &PipelineShape, aim: &Aim) -> Option<Realised> {
        let part = |stage: &StageShape| {
            let member = self.fleet.member(stage.node)?;
            let layers = stage.layers.len();
            Some(Part { member, layers })
        };
        let parts: Option<Vec<Part<'_>>> = shape.stages.iter().map(part).collect();
        let ends: Vec<u32> = shape.stages.iter().map(|stage| stage.layers.end).collect();
        self.priced(&parts?, &ends, aim)
    }

    /// Adds everything up, each hop in the precision that is best for the aim.
    fn priced(&self, parts: &[Part<'_>], ends: &[u32], aim: &Aim) -> Option<Realised> {
        let Sources {
            problem,
            links,
            service,
            candidate,
        } = *self.sources;
        let (first, last) = (parts.first()?.member.node, parts.last()?.member.node);
        let weights = self.fleet.weights;
        let ingress = self.wire.ingress(problem, links, service, first).ok()?;
        let mut sums = Element::of(weights, &ingress);
        let mut start = 0;
        let mut stages = Vec::new();
        for (index, (part, &end)) in parts.iter().zip(ends).enumerate() {
            sums = sums.then(part.member.stage.stage(start, end, self.fleet.num_layers));
            let onward = match parts.get(index + 1) {
                Some(next) => {
                    let path = links.get(problem, part.member.node, next.member.node)?;
                    let (format, element) = self.format(&path, aim)?;
                    sums = sums.then(element);
                    Some(format.precision)
                }
                None => None,
            };
            stages.push(StageShape {
                node: part.member.node,
                layers: LayerRange::new(start, end),
                activation: onward,
            });
            start = end;
        }
        if first != last {
            let back = self.wire.token(&links.get(problem, last, first)?);
            sums = sums.then(Element::of(weights, &back));
        }
        Some(Realised {
            value: self.objective.value(&sums),
            shape: PipelineShape::alone(candidate, stages),
            sums,
        })
    }

    fn format(&self, path: &Path, aim: &Aim) -> Option<(&ActivationFormat, Element)> {
        let formats = self.sources.service.activations.iter();
        let each = formats.map(|format| {
            let element = Element::of(self.fleet.weights, &self.wire.hop(path, format));
            (format, element)
        });
        each.min_by_key(|(_, element)| (element.busy > aim.busy_max, aim.sum(element)))
    }
}
