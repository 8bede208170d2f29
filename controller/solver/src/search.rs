//! Services one after the other by priority; for each the best pipeline, exactly where the budget allows.
//!
//! For one service, in this order:
//! 1. `unsplit`: one stage on every node. Exact.
//! 2. `relax`: the plain dynamic program over (layer boundary, node) for every candidate. It books nodes twice, so it
//!    is a bound and a compass, not an answer.
//! 3. `labels` as a beam: good pipelines early, none of them with a node used twice.
//! 4. `exact`: nodes that no better pipeline can use are discarded; decremental state-space relaxation proves the rest.
//!
//! Fleets in regions are not searched arc by arc: `regional` takes the place of 2 to 4 there.
//! 5. `choose`: what runs stays unless the new one is better by the margin.
//!
//! What is exact: the whole objective of the [crate], the bottleneck of chunked prefill and the penalties included, over
//! all pipelines with one stage per node, for one service beside what services of higher priority took. When the budget
//! ends first, the certificate says how much better a pipeline could be. What is not: services choose one after the
//! other, not jointly.

mod budget;
mod choose;
mod exact;
mod forecast;
mod infeasible;
mod instance;
mod labels;
mod regional;
mod relax;
mod report;
mod residual;
mod survey;
mod unsplit;

use std::cmp::Reverse;

pub use budget::{Budget, DEFAULT_STEPS};
pub use forecast::forecast;
pub use regional::{Answer, InvalidChange, LinkChange, Throughput, Tracker, throughput};

use crate::check::{Occupancy, check_pipeline};
use crate::links::LinkIndex;
use crate::problem::{InvalidProblem, Problem};
use crate::solution::{Outcome, Solution};
use crate::units::ServiceOrd;
pub(crate) use budget::Meter;
use choose::choose;
use infeasible::infeasible;
use instance::NEVER;
use residual::Residual;
use survey::Survey;

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
    let (mut steps, mut cancelled) = (0, false);
    for (position, &service) in order.iter().enumerate() {
        let share = budget.steps.saturating_sub(steps) / (order.len() - position) as u64;
        let mut meter = Meter::new(share, budget.cancelled);
        let outcome = place(problem, &links, service, &residual, &occupancy, &mut meter);
        steps += meter.used();
        cancelled |= meter.was_cancelled();
        if let Some(placed) = outcome.placed() {
            residual.take(&problem.services[service.index()], placed);
            occupancy.admit(service, placed.pipeline.shape());
        }
        outcomes[service.index()] = Some(outcome);
    }
    let services = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("every service had its turn"))
        .collect();
    Ok(Solution {
        services,
        steps,
        cancelled,
    })
}

/// Services in the order in which they choose.
fn order(problem: &Problem) -> Vec<ServiceOrd> {
    let mut order: Vec<ServiceOrd> = (0..problem.services.len()).map(ServiceOrd::from_index).collect();
    order.sort_by_key(|service| (Reverse(problem.services[service.index()].priority), *service));
    order
}

/// The outcome of one service beside what others took.
fn place(
    problem: &Problem,
    links: &LinkIndex,
    service: ServiceOrd,
    residual: &Residual,
    occupancy: &Occupancy,
    meter: &mut Meter<'_>,
) -> Outcome {
    let survey = Survey::new(problem, links, &problem.services[service.index()], residual);
    let mut searching = meter.part(3, 4);
    let finds = survey.search(&mut searching);
    meter.absorb(&searching);
    let best = finds.legal().first().copied();
    let illegal = |shape: &_| {
        check_pipeline(problem, service, shape, occupancy)
            .into_iter()
            .next()
    };
    if let Some((shape, decision)) = choose(&survey, best, illegal)
        && let Some(placed) = report::placed(&survey, &finds, &shape, decision, searching.used())
    {
        return Outcome::Placed(Box::new(placed));
    }
    let remedying = meter.part(1, 1);
    let report = infeasible(
        &survey,
        links,
        finds.lower_bound >= NEVER,
        remedying,
        searching.used(),
    );
    meter.spend(report.steps - searching.used());
    Outcome::Infeasible(Box::new(report))
}
