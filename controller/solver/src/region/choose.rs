//! Chooses a plan: optimised on the convoy model, decided by simulation.
//!
//! The model's one free figure, the number of convoys, depends on the layout itself, so plans are searched for several of
//! them; the best of each, and a chain for each type of node, are then judged by the caller (a simulation). A judgement that
//! many plans compete for favours the lucky: so the best few, and the chains in any case, are each improved by it, and the winner
//! among them is found by a second judgement, on other chances.

use super::Cluster;
use super::convoy::{Demand, Forecast, Model, Plan};
use super::search::{Goal, chain_per_type, improve, search};
use crate::search::Budget;

/// Numbers of convoys that plans are searched for.
const CONVOYS: [f64; 5] = [2.0, 3.0, 5.0, 8.0, 16.0];

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Forecasts for each number of convoys.
    pub forecasts: u64,
    /// Plans of each search that are judged.
    pub judged: usize,
    /// Plans that are improved and judged again.
    pub finalists: usize,
    /// Judgements around each of them.
    pub refined: u64,
}

/// A plan that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The plan.
    pub plan: Plan,
    /// What the convoy model says of it, with the number of convoys that found it.
    pub forecast: Forecast,
    /// What the second judgement says of it.
    pub judged: f64,
}

/// Which judgement it is: plans that did well by chance in the first are found out in the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Of very many plans.
    First,
    /// Of the finalists.
    Second,
}

/// Judges a plan; more is better.
pub type Judge<'j> = dyn Fn(&Plan, &Forecast, Round) -> f64 + 'j;

/// A plan with its first judgement.
struct Candidate {
    plan: Plan,
    convoys: f64,
    judged: f64,
}

/// The plan that the judge likes best; none if no plan was found that serves the model. `demand.convoys` is not used.
#[must_use]
pub fn choose(
    cluster: &Cluster,
    demand: Demand,
    effort: Effort,
    judge: &Judge<'_>,
    seed: u64,
    cancelled: &dyn Fn() -> bool,
) -> Option<Chosen> {
    let model = |convoys| Model::new(cluster, Demand { convoys, ..demand });
    let mut candidates: Vec<Candidate> = Vec::new();
    for convoys in CONVOYS {
        let model = model(convoys);
        for plan in proposed(cluster, &model, effort, seed, cancelled) {
            if candidates.iter().any(|known| known.plan == plan) {
                continue;
            }
            if let Some(forecast) = model.forecast(&plan) {
                candidates.push(Candidate {
                    judged: judge(&plan, &forecast, Round::First),
                    plan,
                    convoys,
                });
            }
        }
    }
    let chains = chain_per_type(cluster);
    let is_chains = |candidate: &Candidate| chains.as_ref() == Some(&candidate.plan);
    candidates.sort_by(|one, other| {
        let key = |candidate: &Candidate| (is_chains(candidate), candidate.judged);
        let (one, other) = (key(one), key(other));
        other.0.cmp(&one.0).then(other.1.total_cmp(&one.1))
    });
    candidates.truncate(effort.finalists.max(1));
    let mut best: Option<Chosen> = None;
    for candidate in &candidates {
        let model = model(candidate.convoys);
        let score = |plan: &Plan| Some(judge(plan, &model.forecast(plan)?, Round::First));
        let goal = Goal {
            cluster,
            score: &score,
        };
        let steps = effort.refined;
        let refined = improve(goal, &candidate.plan, seed, &Budget { steps, cancelled });
        let refined = refined.map(|refined| refined.plan);
        for plan in std::iter::once(candidate.plan.clone()).chain(refined) {
            let Some(forecast) = model.forecast(&plan) else {
                continue;
            };
            let judged = judge(&plan, &forecast, Round::Second);
            if best.as_ref().is_none_or(|best| judged > best.judged) {
                best = Some(Chosen {
                    plan,
                    forecast,
                    judged,
                });
            }
        }
    }
    best
}

/// The best plans by a model, and a chain for each type of node.
fn proposed(
    cluster: &Cluster,
    model: &Model<'_>,
    effort: Effort,
    seed: u64,
    cancelled: &dyn Fn() -> bool,
) -> impl Iterator<Item = Plan> {
    let score = |plan: &Plan| model.forecast(plan).map(|forecast| forecast.flow);
    let goal = Goal {
        cluster,
        score: &score,
    };
    let steps = effort.forecasts;
    let found = search(goal, seed, &Budget { steps, cancelled });
    let found = found.into_iter().take(effort.judged).map(|found| found.plan);
    found.chain(chain_per_type(cluster))
}
