//! Searches for a [`Plan`] of greatest score: simulated annealing with restarts.
//!
//! The score is the caller's: a forecast ([`super::convoy`]), a flow ([`super::flow`]), or a simulation.
//! Moves: a node takes another seat or none; two nodes swap; a cut moves by one layer; a segment is split; two are merged.
//! Restarts differ in how nodes are dealt to groups: all in one, by type, by their order in the cluster (which is by region
//! where files list regions one after the other), or by chance. Deterministic by its seed; a step is one score.

use super::Cluster;
use super::convoy::Plan;
use crate::random::Random;
use crate::search::Budget;

/// A plan that was found, with its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The plan.
    pub plan: Plan,
    /// What the caller's function says of it.
    pub score: f64,
}

/// What is to be found.
#[derive(Clone, Copy)]
pub struct Goal<'g> {
    /// The nodes.
    pub cluster: &'g Cluster,
    /// More is better, and above 0; none for what cannot be.
    pub score: &'g dyn Fn(&Plan) -> Option<f64>,
}

/// Scores of one descent.
const STEPS_PER_DESCENT: u64 = 100_000;
const STEPS_BETWEEN_QUESTIONS: u64 = 4_096;
/// By what part a score may at first fall with probability 1/e.
const WARM: f64 = 0.06;
const COLD: f64 = 1e-4;

/// The best plan of each descent, best first, until the budget is used. Empty if none was found that serves the model.
#[must_use]
pub fn search(goal: Goal<'_>, seed: u64, budget: &Budget<'_>) -> Vec<Found> {
    let mut random = Random::seeded(seed);
    let mut found: Vec<Found> = Vec::new();
    let mut steps = 0;
    while steps < budget.steps && !(budget.cancelled)() {
        let most = STEPS_PER_DESCENT.min(budget.steps - steps);
        steps += most;
        let first = start(goal, &mut random);
        found.extend(first.map(|first| descend(goal, first, WARM, &mut random, most, budget.cancelled)));
    }
    found.sort_by(|one, other| other.score.total_cmp(&one.score));
    found.dedup_by(|one, other| one.plan == other.plan);
    found
}

/// A plan that is at least as good, after so many scores around a given one; none if the given one cannot be.
#[must_use]
pub fn improve(goal: Goal<'_>, plan: &Plan, seed: u64, budget: &Budget<'_>) -> Option<Found> {
    let score = (goal.score)(plan)?;
    let first = Found {
        plan: plan.clone(),
        score,
    };
    let mut random = Random::seeded(seed);
    Some(descend(
        goal,
        first,
        COLD,
        &mut random,
        budget.steps,
        budget.cancelled,
    ))
}

#[allow(clippy::cast_precision_loss, reason = "a temperature")]
fn descend(
    goal: Goal<'_>,
    first: Found,
    warm: f64,
    random: &mut Random,
    steps: u64,
    cancelled: &dyn Fn() -> bool,
) -> Found {
    let mut at = first;
    let mut best = at.clone();
    for step in 0..steps {
        if step.is_multiple_of(STEPS_BETWEEN_QUESTIONS) && cancelled() {
            break;
        }
        let left = 1.0 - step as f64 / steps as f64;
        let temperature = warm * left * left + COLD;
        let Some(plan) = neighbour(goal.cluster, &at.plan, random) else {
            continue;
        };
        let Some(score) = (goal.score)(&plan) else {
            continue;
        };
        let gain = score / at.score - 1.0;
        if gain >= 0.0 || random.unit() < (gain / temperature).exp() {
            at = Found { plan, score };
            if at.score > best.score {
                best = at.clone();
            }
        }
    }
    best
}

/// Attempts at a first plan; where none serves the model, the descent is given up.
const ATTEMPTS: usize = 50;

fn start(goal: Goal<'_>, random: &mut Random) -> Option<Found> {
    (0..ATTEMPTS).find_map(|_| {
        let plan = deal(goal.cluster, random)?;
        let score = (goal.score)(&plan).filter(|score| *score > 0.0)?;
        Some(Found { plan, score })
    })
}

/// Deals nodes to groups, cuts each group along a chain of its nodes, and seats the rest where they fit.
fn deal(cluster: &Cluster, random: &mut Random) -> Option<Plan> {
    let num_nodes = cluster.nodes.len();
    let num_groups = 1 + random.below(3);
    let rule = random.below(4);
    let group_of = |node: usize, random: &mut Random| match rule {
        0 => 0,
        1 => cluster.nodes[node].kind % num_groups,
        2 => node * num_groups / num_nodes,
        _ => random.below(num_groups),
    };
    let mut hands: Vec<Vec<usize>> = vec![Vec::new(); num_groups];
    for node in 0..num_nodes {
        let group = group_of(node, random);
        hands[group].push(node);
    }
    let mut plan = Plan {
        cuts: Vec::new(),
        seats: vec![None; num_nodes],
    };
    let mut spare = Vec::new();
    for mut hand in hands {
        shuffle(&mut hand, random);
        if random.below(3) > 0 || !equal_parts(cluster, &mut plan, &hand) {
            spare.extend(chain(cluster, &mut plan, &hand, random));
        }
    }
    for node in spare {
        plan.seats[node] = any_seat(cluster, &plan, node, random);
    }
    (!plan.cuts.is_empty()).then_some(plan)
}

/// One group for each type, if its nodes hold the model: a chain of them all, in equal parts. Nodes of other types hold
/// nothing. None if no type can.
#[must_use]
pub fn chain_per_type(cluster: &Cluster) -> Option<Plan> {
    let mut plan = Plan {
        cuts: Vec::new(),
        seats: vec![None; cluster.nodes.len()],
    };
    for kind in 0..cluster.types.len() {
        let nodes = (0..cluster.nodes.len()).filter(|node| cluster.nodes[*node].kind == kind);
        equal_parts(cluster, &mut plan, &nodes.collect::<Vec<_>>());
    }
    (!plan.cuts.is_empty()).then_some(plan)
}

/// Adds a group with one node in each of as many equal segments, if these nodes can hold them.
fn equal_parts(cluster: &Cluster, plan: &mut Plan, nodes: &[usize]) -> bool {
    let num_parts = nodes.len();
    if num_parts == 0 || num_parts > cluster.num_layers {
        return false;
    }
    let cuts: Vec<usize> = (0..=num_parts)
        .map(|part| cluster.num_layers * part / num_parts)
        .collect();
    let fits =
        |(part, node): (usize, &usize)| cuts[part + 1] - cuts[part] <= cluster.type_of(*node).layers_max();
    if !nodes.iter().enumerate().all(fits) {
        return false;
    }
    for (part, node) in nodes.iter().enumerate() {
        plan.seats[*node] = Some((plan.cuts.len(), part));
    }
    plan.cuts.push(cuts);
    true
}

fn shuffle(nodes: &mut [usize], random: &mut Random) {
    for last in (1..nodes.len()).rev() {
        nodes.swap(last, random.below(last + 1));
    }
}

/// Adds a group with one node in each segment, if these nodes hold the model. Returns those that are left over.
fn chain(cluster: &Cluster, plan: &mut Plan, nodes: &[usize], random: &mut Random) -> Vec<usize> {
    let mut cuts = vec![0];
    let mut used = 0;
    let mut end = 0;
    while end < cluster.num_layers && used < nodes.len() {
        let most = cluster
            .type_of(nodes[used])
            .layers_max()
            .min(cluster.num_layers - end);
        end += if most > 2 { most - random.below(2) } else { most };
        cuts.push(end);
        used += 1;
    }
    if end < cluster.num_layers {
        return nodes.to_vec();
    }
    for (segment, node) in nodes[..used].iter().enumerate() {
        plan.seats[*node] = Some((plan.cuts.len(), segment));
    }
    plan.cuts.push(cuts);
    nodes[used..].to_vec()
}

/// A seat that the node can hold, if a few tries find one.
fn any_seat(cluster: &Cluster, plan: &Plan, node: usize, random: &mut Random) -> Option<(usize, usize)> {
    if plan.cuts.is_empty() {
        return None;
    }
    let most = cluster.type_of(node).layers_max();
    (0..20).find_map(|_| {
        let group = random.below(plan.cuts.len());
        let segment = random.below(plan.cuts[group].len() - 1);
        let fits = plan.cuts[group][segment + 1] - plan.cuts[group][segment] <= most;
        fits.then_some((group, segment))
    })
}

/// A plan one move away; none where the drawn move does not exist.
fn neighbour(cluster: &Cluster, plan: &Plan, random: &mut Random) -> Option<Plan> {
    let mut plan = plan.clone();
    let num_nodes = plan.seats.len();
    match random.below(6) {
        0 | 1 => {
            let node = random.below(num_nodes);
            plan.seats[node] = if random.below(12) == 0 {
                None
            } else {
                any_seat(cluster, &plan, node, random)
            };
        }
        2 => {
            let (one, other) = (random.below(num_nodes), random.below(num_nodes));
            plan.seats.swap(one, other);
        }
        3 => shift(&mut plan, random)?,
        4 => split(&mut plan, random)?,
        _ => merge(cluster, &mut plan, random)?,
    }
    Some(plan)
}

/// A group that has a cut within, and the cut's place.
fn inner_cut(plan: &Plan, random: &mut Random) -> Option<(usize, usize)> {
    let group = random.below(plan.cuts.len());
    let inner = plan.cuts[group].len() - 2;
    (inner > 0).then(|| (group, 1 + random.below(inner)))
}

fn shift(plan: &mut Plan, random: &mut Random) -> Option<()> {
    let (group, cut) = inner_cut(plan, random)?;
    let cuts = &mut plan.cuts[group];
    let moved = if random.below(2) == 0 {
        cuts[cut] + 1
    } else {
        cuts[cut] - 1
    };
    if moved <= cuts[cut - 1] || moved >= cuts[cut + 1] {
        return None;
    }
    cuts[cut] = moved;
    Some(())
}

fn split(plan: &mut Plan, random: &mut Random) -> Option<()> {
    let group = random.below(plan.cuts.len());
    let segment = random.below(plan.cuts[group].len() - 1);
    let (start, end) = (plan.cuts[group][segment], plan.cuts[group][segment + 1]);
    if end - start < 2 {
        return None;
    }
    plan.cuts[group].insert(segment + 1, start + 1 + random.below(end - start - 1));
    for seat in plan.seats.iter_mut().flatten().filter(|seat| seat.0 == group) {
        let goes_right = seat.1 == segment && random.below(2) == 0;
        if seat.1 > segment || goes_right {
            seat.1 += 1;
        }
    }
    Some(())
}

fn merge(cluster: &Cluster, plan: &mut Plan, random: &mut Random) -> Option<()> {
    let (group, cut) = inner_cut(plan, random)?;
    plan.cuts[group].remove(cut);
    for seat in plan
        .seats
        .iter_mut()
        .flatten()
        .filter(|seat| seat.0 == group && seat.1 >= cut)
    {
        seat.1 -= 1;
    }
    for node in 0..plan.seats.len() {
        if plan.range(node).len() > cluster.type_of(node).layers_max() {
            plan.seats[node] = any_seat(cluster, plan, node, random);
        }
    }
    Some(())
}
