//! The least cost of a trace for who knows all of it: a shortest path through (epoch, site).

use super::{Outcome, Trace};
use crate::units::Nanos;

/// The sites of a cheapest way, one for each epoch, and what it costs. Of equally cheap ways, one that stays longest at its
/// later sites.
///
/// `least[t][s] = service[t][s] + min over r of (least[t − 1][r] + move(r, s))`, in O(epochs · sites²).
#[must_use]
pub fn optimum(trace: &Trace<'_>) -> (Vec<usize>, Outcome) {
    let sites = trace.moves.sites();
    let mut least: Vec<Nanos> = (0..sites)
        .map(|site| trace.moves.cost(trace.start, site))
        .collect();
    let mut came_from = Vec::with_capacity(trace.cells.len() * sites);
    for (ordinal, epoch) in trace.epochs().enumerate() {
        let before = least.clone();
        for (site, least) in least.iter_mut().enumerate() {
            // Before the first epoch the moves from the start are counted already.
            let reach = |from: usize| match ordinal {
                0 => (before[site], usize::from(from != site), from),
                _ => (
                    before[from] + trace.moves.cost(from, site),
                    usize::from(from != site),
                    from,
                ),
            };
            let (cost, _, from) = (0..sites).map(reach).min().expect("there is a site");
            *least = cost + epoch.service[site];
            came_from.push(from);
        }
    }
    let mut way = vec![0; trace.cells.len()];
    let mut site = (0..sites).min_by_key(|&site| least[site]).unwrap_or(trace.start);
    for epoch in (0..way.len()).rev() {
        way[epoch] = site;
        site = came_from[epoch * sites + site];
    }
    let outcome = price(trace, &way);
    (way, outcome)
}

/// What a way through sites costs.
#[must_use]
pub fn price(trace: &Trace<'_>, way: &[usize]) -> Outcome {
    let (mut outcome, mut site) = (Outcome::default(), trace.start);
    for (epoch, &next) in trace.epochs().zip(way) {
        outcome.add(&epoch, trace.moves, site, next);
        site = next;
    }
    outcome
}
