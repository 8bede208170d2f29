//! Services of one priority together, higher priorities first; for each the best pipeline, exactly where the budget allows.
//!
//! `level` has what is chosen together. For one service, in this order:
//! 1. `unsplit`: one stage on every node. Exact.
//! 2. `relax`: the plain dynamic program over (layer boundary, node) for every candidate. It books nodes twice, so it
//!    is a bound and a compass, not an answer.
//! 3. `labels` as a beam: good pipelines early, none of them with a node used twice.
//! 4. `exact`: nodes that no better pipeline can use are discarded; decremental state-space relaxation proves the rest.
//!
//! U-shaped pipelines are searched by the same 2 to 4 in another form: an arc to the head ends the pipeline there, if the
//! head has memory for `both_ends`.
//!
//! Modes with a small model beside the large one ask the same for every place and use of the small one, as far as bounds allow:
//! `assisted`.
//!
//! Fleets in regions are not searched arc by arc: `regional` takes the place of 2 to 4 there, for all but the U-shape.
//! `choose`: what runs stays unless the new one is better by the margin.
//!
//! What is exact: the whole objective of the [crate], the bottleneck of chunked prefill and the penalties included, over
//! all pipelines with one stage per node (two on the head of a U-shaped one), for one service beside what services before it took. When the budget ends first,
//! the certificate says how much better a pipeline could be; that of the level says how much better all together could be.

mod assisted;
mod both_ends;
mod budget;
mod choose;
mod contingency;
mod exact;
mod forecast;
mod infeasible;
mod instance;
mod labels;
mod level;
pub(crate) mod presence;
mod regional;
mod relax;
mod report;
pub(crate) mod residual;
pub(crate) mod survey;
mod unsplit;
mod why_not;

use std::cmp::Reverse;

pub use budget::{Budget, DEFAULT_STEPS};
pub use contingency::{Contingency, contingencies};
pub use forecast::{ForecastRange, forecast, forecast_range};
pub use regional::{Answer, InvalidChange, LinkChange, Throughput, Tracker, throughput};

use crate::check::Occupancy;
use crate::links::LinkIndex;
use crate::problem::{InvalidProblem, Problem};
use crate::solution::{Outcome, Solution};
use crate::units::ServiceOrd;
pub(crate) use budget::Meter;
use level::Level;
use residual::Residual;
pub use why_not::why_not;

/// Answers a problem.
///
/// # Errors
/// Only when the problem means nothing ([`Problem::validate`]); a service without a pipeline is an answer.
pub fn solve(problem: &Problem, budget: &Budget<'_>) -> Result<Solution, InvalidProblem> {
    problem.validate()?;
    let links = LinkIndex::new(problem);
    let order = order(problem);
    let mut residual = Residual::new(problem);
    let mut occupancy = Occupancy::default();
    let mut outcomes: Vec<Option<Outcome>> = vec![None; problem.services.len()];
    let mut levels = Vec::new();
    let (mut steps, mut cancelled, mut left) = (0, false, order.len() as u64);
    let priority = |service: &ServiceOrd| problem.services[service.index()].priority;
    for services in order.chunk_by(|one, other| priority(one) == priority(other)) {
        // Every service has its share of what is left.
        let share = budget.steps.saturating_sub(steps) / left * services.len() as u64;
        let mut meter = Meter::new(share, budget.cancelled);
        let level = Level {
            problem,
            links: &links,
            services: services.to_vec(),
            residual: &residual,
            occupancy: &occupancy,
        };
        let answer = level.solve(&mut meter);
        steps += meter.used();
        cancelled |= meter.was_cancelled();
        left -= services.len() as u64;
        for (service, outcome) in answer.outcomes {
            outcomes[service.index()] = Some(outcome);
        }
        (residual, occupancy) = (answer.residual, answer.occupancy);
        levels.push(answer.certificate);
    }
    let services = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("every service had its turn"))
        .collect();
    Ok(Solution {
        services,
        levels,
        steps,
        cancelled,
    })
}

/// Services in the order in which they choose, and in which their costs are counted.
fn order(problem: &Problem) -> Vec<ServiceOrd> {
    let mut order: Vec<ServiceOrd> = (0..problem.services.len()).map(ServiceOrd::from_index).collect();
    order.sort_by_key(|service| (Reverse(problem.services[service.index()].priority), *service));
    order
}
