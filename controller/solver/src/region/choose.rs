//! Chooses a plan: optimised on the convoy model, decided by simulation.
//!
//! The model's one free figure, the number of convoys, depends on the layout itself, so plans are searched for several of
//! them; the best of each, and a chain for each type of node, are then judged by the caller (a simulation), and the winner is
//! improved by its judgement.

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
    /// Judgements around the winner.
    pub refined: u64,
}

/// A plan that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The plan.
    pub plan: Plan,
    /// What the convoy model says of it, with the number of convoys that found it.
    pub forecast: Forecast,
    /// What the judge says of it.
    pub judged: f64,
}

/// Judges a plan; more is better.
pub type Judge<'j> = dyn Fn(&Plan, &Forecast) -> f64 + 'j;

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
    let budget = |steps| Budget { steps, cancelled };
    let mut best: Option<(Chosen, Model<'_>)> = None;
    for convoys in CONVOYS {
        let model = Model::new(cluster, Demand { convoys, ..demand });
        let score = |plan: &Plan| model.forecast(plan).map(|forecast| forecast.flow);
        let found = search(
            Goal {
                cluster,
                score: &score,
            },
            seed,
            &budget(effort.forecasts),
        );
        let found = found.into_iter().take(effort.judged).map(|found| found.plan);
        for plan in found.chain(chain_per_type(cluster)) {
            let Some(forecast) = model.forecast(&plan) else {
                continue;
            };
            let judged = judge(&plan, &forecast);
            if best.as_ref().is_none_or(|(best, _)| judged > best.judged) {
                let model = Model::new(cluster, Demand { convoys, ..demand });
                best = Some((
                    Chosen {
                        plan,
                        forecast,
                        judged,
                    },
                    model,
                ));
            }
        }
    }
    let (chosen, model) = best?;
    let score = |plan: &Plan| model.forecast(plan).map(|forecast| judge(plan, &forecast));
    let refined = improve(
        Goal {
            cluster,
            score: &score,
        },
        &chosen.plan,
        seed,
        &budget(effort.refined),
    );
    let refined = refined
        .filter(|refined| refined.score > chosen.judged)
        .and_then(|refined| {
            let forecast = model.forecast(&refined.plan)?;
            Some(Chosen {
                plan: refined.plan,
                forecast,
                judged: refined.score,
            })
        });
    Some(refined.unwrap_or(chosen))
}
