//! Keeps what runs unless it is illegal, or worse than the best find by more than the switching margin.

use super::exact::Priced;
use super::survey::Survey;
use crate::cost::CostModel;
use crate::solution::{Decision, Illegality, PipelineShape};
use crate::units::Nanos;

/// The pipeline to run and how it came about; `None` when there is none.
///
/// The search has not looked at what runs: the same question finds the same best, so an answer handed back is kept.
pub(super) fn choose(
    survey: &Survey<'_>,
    best: Option<&Priced>,
    illegal: impl Fn(&PipelineShape) -> Option<Illegality>,
) -> Option<(PipelineShape, Decision)> {
    let Some(previous) = &survey.service.previous else {
        return best.map(|best| (best.shape.clone(), Decision::New));
    };
    if let Some(why) = illegal(previous) {
        return best.map(|best| (best.shape.clone(), Decision::Replaced { why }));
    }
    let running = cost_of(survey, previous);
    match (best, running) {
        (None, Some(_)) => Some((previous.clone(), Decision::Kept { passed_over: None })),
        (Some(best), Some(running)) if !worth_switching(survey, running, best.value) => {
            let better = (best.value < running).then(|| (best.shape.clone(), Nanos(best.value)));
            Some((previous.clone(), Decision::Kept { passed_over: better }))
        }
        (Some(best), running) => {
            let previous_cost = Nanos(running.unwrap_or(u64::MAX));
            Some((best.shape.clone(), Decision::Moved { previous_cost }))
        }
        (None, None) => None,
    }
}

/// What a pipeline costs; `None` when a link or a speed is missing, or its candidate is not good enough.
pub(super) fn cost_of(survey: &Survey<'_>, shape: &PipelineShape) -> Option<u64> {
    cost_model(survey, shape)?
        .evaluate(shape)
        .map(|evaluation| evaluation.cost.total().0)
}

/// The cost model of a shape's candidate.
pub(super) fn cost_model<'s, 'p>(survey: &'s Survey<'p>, shape: &PipelineShape) -> Option<&'s CostModel<'p>> {
    let index = survey
        .candidates
        .iter()
        .position(|&candidate| candidate == shape.candidate)?;
    Some(&survey.costs[index])
}

fn worth_switching(survey: &Survey<'_>, running: u64, best: u64) -> bool {
    if survey.service.stays {
        return false;
    }
    let margin = u128::from(running) * u128::from(survey.service.switching_margin_milli) / 1_000;
    u128::from(best) < u128::from(running) - margin
}
