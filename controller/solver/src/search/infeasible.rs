//! Says why a service has no pipeline: the cause, what each node could hold, and what would help.

use super::budget::Meter;
use super::report;
use super::survey::{Finds, Survey, U_SHAPE_NODES_MAX};
use super::unsplit::mode_on;
use crate::cost::{MemoryModel, Sharing};
use crate::links::LinkIndex;
use crate::problem::{Mode, Privacy, Problem, Service};
use crate::search::instance::trusts;
use crate::search::residual::Residual;
use crate::solution::{Cause, Infeasible, NodeReason, NodeReport, Remedy};
use crate::units::{Bytes, LayerRange, NodeOrd};

/// Nodes for which the extra memory that would help is sought: those with most free memory.
const NODES_TRIED: usize = 8;
/// Extra memory is found to this precision.
const MEMORY_STEP: Bytes = Bytes::mebi(1);

/// The report on a service without a pipeline. `proven`: the search came to its end.
pub(super) fn infeasible(
    survey: &Survey<'_>,
    links: &LinkIndex,
    proven: bool,
    mut meter: Meter<'_>,
    steps: u64,
) -> Infeasible {
    let (finds, told) = (Finds::default(), survey.search_told(&mut meter));
    let told_modes = survey.service.told_modes.iter();
    let told = told_modes
        .map(|&mode| report::alternative(survey, &finds, &told, mode))
        .collect();
    let nodes = (0..survey.problem.nodes.len()).map(NodeOrd::from_index);
    let nodes = nodes
        .map(|node| NodeReport {
            node,
            reason: node_reason(survey, node),
        })
        .collect();
    let cause = cause(survey, proven);
    // Without a proof that there is no pipeline, no change is known to be needed.
    let hopeless = survey.usable.is_empty()
        || matches!(
            cause,
            Cause::NoModeImplemented
                | Cause::NoModeRun
                | Cause::NotAmongRegions
                | Cause::TooManyNodes { .. }
                | Cause::NoChain { proven: false }
        );
    let remedies = if hopeless {
        Vec::new()
    } else {
        remedies(survey, links, &mut meter)
    };
    Infeasible {
        cause,
        nodes,
        remedies,
        told,
        steps: steps + meter.used(),
    }
}

fn cause(survey: &Survey<'_>, proven: bool) -> Cause {
    let Survey { problem, service, .. } = survey;
    if survey.candidates.is_empty() {
        let offered = service
            .candidates
            .iter()
            .map(|&candidate| problem.variant(candidate));
        let good = offered.filter(|(_, variant)| variant.quality_milli >= service.quality_min_milli);
        return match good.map(|(model, _)| model.context_max).max() {
            Some(longest) => Cause::ContextTooLong {
                longest,
                asked: service.context_tokens,
            },
            None => Cause::NoCandidate {
                best_quality_milli: service
                    .candidates
                    .iter()
                    .map(|&candidate| problem.variant(candidate).1.quality_milli)
                    .max()
                    .unwrap_or(0),
                asked_milli: service.quality_min_milli,
            },
        };
    }
    if service.modes.is_empty() {
        return if service.told_modes.is_empty() {
            Cause::NoModeImplemented
        } else {
            Cause::NoModeRun
        };
    }
    if survey.usable.is_empty() {
        return Cause::NoUsableNode;
    }
    if let Some(cause) = no_u_shape(survey).or_else(|| no_assistant(survey)) {
        return cause;
    }
    let free = survey
        .usable
        .iter()
        .map(|node| survey.residual.free[node.index()]);
    let (available, largest) = (free.clone().sum(), free.max().unwrap_or_default());
    let needed = survey
        .usable
        .iter()
        .filter_map(|&node| whole(survey, node))
        .min()
        .unwrap_or_default();
    let splittable = survey.has_splittable();
    if needed > largest && !(splittable && survey.may_split()) {
        Cause::NoNodeHoldsTheWhole {
            needed,
            largest,
            splittable,
        }
    } else if needed > available {
        Cause::NotEnoughMemory { needed, available }
    } else {
        Cause::NoChain { proven }
    }
}

/// Why there is no U-shaped pipeline, where nothing else is allowed and its ends are the reason.
fn no_u_shape(survey: &Survey<'_>) -> Option<Cause> {
    let alone = survey.service.modes.iter().all(|&mode| mode == Mode::UShaped);
    if !alone || survey.u_shape_count().is_none() {
        return None;
    }
    if survey.is_too_large_for_u_shape() {
        let number = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
        return Some(Cause::TooManyNodes {
            usable: number(survey.usable.len()),
            most: number(U_SHAPE_NODES_MAX),
        });
    }
    if !survey.has_splittable() {
        return None;
    }
    let nearest = survey.nearest_for_both_ends();
    let fits = nearest.is_some_and(|(_, missing)| missing == Bytes::ZERO);
    (!fits).then_some(Cause::NoNodeForBothEnds { nearest })
}

/// Why there is no small model, where nothing but modes with one is allowed.
fn no_assistant(survey: &Survey<'_>) -> Option<Cause> {
    if !survey.service.modes.iter().all(|mode| mode.has_assistant()) {
        return None;
    }
    let reasons = survey.assisted_modes().map(|mode| survey.no_assistant(mode));
    match reasons.reduce(|one, other| one.and(other))? {
        Some(why) => Some(Cause::NoAssistant(why)),
        None if !survey.problem.regions.is_empty() => Some(Cause::NotAmongRegions),
        None => None,
    }
}

/// Need of the smallest candidate as one stage.
fn whole(survey: &Survey<'_>, node: NodeOrd) -> Option<Bytes> {
    let need = |(model, layers): (MemoryModel<'_>, u32)| {
        model
            .stage(
                &survey.problem.nodes[node.index()],
                LayerRange::new(0, layers),
                Sharing::default(),
            )
            .total()
    };
    memory_models(survey, node).map(need).min()
}

/// Memory models of the candidates whose speed is known on a node, with their numbers of layers.
fn memory_models<'s>(survey: &'s Survey<'_>, node: NodeOrd) -> impl Iterator<Item = (MemoryModel<'s>, u32)> {
    let known = survey
        .candidates
        .iter()
        .zip(&survey.costs)
        .filter(move |(_, cost)| cost.knows_speed_of(node));
    known.map(|(&candidate, _)| {
        let (model, variant) = survey.problem.variant(candidate);
        (
            MemoryModel::new(survey.service, model, variant),
            variant.num_layers(),
        )
    })
}

pub(super) fn node_reason(survey: &Survey<'_>, node: NodeOrd) -> NodeReason {
    if let Some(refusal) = survey.refusal(node) {
        return refusal;
    }
    let may_split = survey.may_split();
    if !may_split && !survey.service.modes.contains(&mode_on(survey.problem, node)) {
        return NodeReason::TierNotAllowed;
    }
    if !may_split && !trusts(survey.problem, survey.service, node) {
        return NodeReason::Untrusted;
    }
    let described = &survey.problem.nodes[node.index()];
    let free = survey.residual.free[node.index()];
    let need = |memory: &MemoryModel<'_>, start: u32, end: u32| {
        memory
            .stage(described, LayerRange::new(start, end), Sharing::default())
            .total()
    };
    let (mut layers_held, mut smallest_stage) = (0, Bytes(u64::MAX));
    for (memory, num_layers) in memory_models(survey, node) {
        // Ends not counted: a range in the middle, or from the start where there is no middle.
        let start = u32::from(num_layers > 2);
        smallest_stage = smallest_stage.min(need(&memory, start, start + 1));
        let most = (start + 1..=num_layers)
            .take_while(|&end| need(&memory, start, end) <= free)
            .last();
        layers_held = layers_held.max(most.map_or(0, |end| end - start));
    }
    if layers_held == 0 {
        return NodeReason::MemoryTooSmall { free, smallest_stage };
    }
    NodeReason::CouldHold {
        free,
        layers: layers_held,
        whole: whole(survey, node).unwrap_or_default(),
    }
}

fn remedies(survey: &Survey<'_>, links: &LinkIndex, meter: &mut Meter<'_>) -> Vec<Remedy> {
    let mut remedies: Vec<Remedy> = memory_remedy(survey, links, meter).into_iter().collect();
    let mut asks_if = |change: &dyn Fn(&mut Service)| {
        let mut service = survey.service.clone();
        change(&mut service);
        finds_any(survey.problem, links, &service, survey.residual, meter)
    };
    let sessions = largest_that(survey.service.concurrency, &mut |sessions| {
        asks_if(&|service| service.concurrency = sessions)
    });
    remedies.extend(sessions.map(|sessions| Remedy::Concurrency { sessions }));
    // Half the context is the least worth offering; what is shorter is another service.
    let shortest = survey.service.context_tokens / 2;
    let longer = largest_that(survey.service.context_tokens - shortest, &mut |longer| {
        asks_if(&|service| service.context_tokens = shortest + longer)
    });
    remedies.extend(longer.map(|longer| Remedy::Context {
        tokens: shortest + longer,
    }));
    let may_split =
        survey.service.modes.contains(&Mode::Split) && survey.service.modes.contains(&Mode::MultiHop);
    if !may_split && asks_if(&|service| service.modes.extend([Mode::Split, Mode::MultiHop])) {
        remedies.push(Remedy::AllowSplit);
    }
    let private = matches!(survey.service.privacy, Privacy::Trusted { .. });
    let may_return = survey.service.modes.contains(&Mode::UShaped);
    if private && !may_return && asks_if(&|service| service.modes.push(Mode::UShaped)) {
        remedies.push(Remedy::AllowUShaped);
    }
    remedies
}

/// The largest value in `1..limit` for which the question holds, if it holds for 1.
fn largest_that(limit: u32, holds: &mut dyn FnMut(u32) -> bool) -> Option<u32> {
    if limit <= 1 || !holds(1) {
        return None;
    }
    let (mut good, mut bad) = (1, limit);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if holds(middle) {
            good = middle
        } else {
            bad = middle
        }
    }
    Some(good)
}

/// The smallest extra memory on one node that is enough, as far as the nodes that were tried go.
fn memory_remedy(survey: &Survey<'_>, links: &LinkIndex, meter: &mut Meter<'_>) -> Option<Remedy> {
    let mut nodes = survey.usable.clone();
    nodes.sort_by_key(|node| (std::cmp::Reverse(survey.residual.free[node.index()]), *node));
    nodes.truncate(NODES_TRIED);
    let mut best: Option<(Bytes, NodeOrd)> = None;
    for node in nodes {
        let mut enough = |extra: Bytes| {
            let mut residual = survey.residual.clone();
            residual.free[node.index()] += extra;
            finds_any(survey.problem, links, survey.service, &residual, meter)
        };
        // Not more than the best so far, nor than the whole model.
        let most = whole(survey, node)?.saturating_sub(survey.residual.free[node.index()]);
        let most = best.map_or(most, |best| best.0.min(most));
        if most == Bytes::ZERO || !enough(most) {
            continue;
        }
        let (mut good, mut bad) = (most.0, 0);
        while good - bad > MEMORY_STEP.0 {
            let middle = good.midpoint(bad);
            if enough(Bytes(middle)) {
                good = middle
            } else {
                bad = middle
            }
        }
        if best.is_none_or(|best| good < best.0.0) {
            best = Some((Bytes(good), node));
        }
    }
    best.map(|(extra, node)| Remedy::Memory { node, extra })
}

fn finds_any(
    problem: &Problem,
    links: &LinkIndex,
    service: &Service,
    residual: &Residual,
    meter: &mut Meter<'_>,
) -> bool {
    Survey::new(problem, links, service, residual).finds_any(meter)
}
