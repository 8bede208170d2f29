//! What is said about a service, gathered from its objects or from an answer that was computed offline.

use crds::{
    ConditionType, LLMService, Placement, PlacementSpec, condition,
    llm_service::ServiceFigures,
    placement::{Accuracy, Alternative, Contingency, PlacementPhase, Together},
};
use kube::ResourceExt as _;

/// Everything that an explanation is printed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// `namespace/name`.
    pub(crate) service: String,
    /// How the service stands, in a word or two.
    pub(crate) state: String,
    /// Why, in sentences; for a service that cannot be placed, what each node lacks.
    pub(crate) why: String,
    /// The decision; none for a service that cannot be placed.
    pub(crate) placement: Option<PlacementSpec>,
    /// The name of the Placement that is made ready to take over, when there is one beside the decision that serves.
    pub(crate) next: Option<String>,
    /// What the head observed.
    pub(crate) observed: Option<ServiceFigures>,
    /// What is predicted for prompts as long as those that were observed.
    pub(crate) predicted_for_observed: Option<ServiceFigures>,
    /// The objective, as (time to first token, time per output token), in milliseconds.
    pub(crate) objective: (Option<i32>, Option<i32>),
    /// For a service that cannot be placed: what each kind of pipeline lacks.
    pub(crate) impossible: Vec<Alternative>,
    /// How good the choice for all services of its priority is.
    pub(crate) together: Option<Together>,
    /// How its predictions compare with what was observed, and what they hold of it.
    pub(crate) accuracy: Option<Accuracy>,
    /// What remains after the loss of each of its nodes, where it asks.
    pub(crate) contingencies: Vec<Contingency>,
}

impl Report {
    /// What the objects in the API server say.
    pub(crate) fn of(service: &LLMService, placements: &[Placement]) -> Self {
        let status = service.status.clone().unwrap_or_default();
        let shown = shown_placement(service, placements);
        let (state, said) = state_of(service);
        let summary = shown.map(|placement| placement.spec.explanation.summary.clone());
        let why = match (summary, said) {
            (Some(summary), Some(said)) if !summary.is_empty() && said != summary => {
                format!("{summary}\n{said}")
            }
            (Some(summary), _) if !summary.is_empty() => summary,
            (_, said) => said.or(status.why).unwrap_or_default(),
        };
        Self {
            service: format!(
                "{}/{}",
                service.namespace().unwrap_or_default(),
                service.name_any()
            ),
            state,
            why,
            placement: shown.map(|placement| placement.spec.clone()),
            next: status
                .next_placement
                .filter(|next| shown.is_some_and(|placement| placement.name_any() != *next)),
            observed: status.observed,
            predicted_for_observed: status.predicted_for_observed,
            objective: (
                service.spec.slo.time_to_first_token_milliseconds,
                service.spec.slo.time_per_output_token_milliseconds,
            ),
            impossible: vec![],
            together: shown.and_then(|placement| placement.status.as_ref()?.together.clone()),
            contingencies: shown
                .and_then(|placement| Some(placement.status.as_ref()?.contingencies.clone()))
                .unwrap_or_default(),
            accuracy: shown.and_then(|placement| placement.status.as_ref()?.accuracy.clone()),
        }
    }
}

/// The placement that serves, or else the newest that is on its way.
fn shown_placement<'a>(service: &LLMService, placements: &'a [Placement]) -> Option<&'a Placement> {
    let status = service.status.as_ref();
    let named = |name: Option<&String>| {
        name.and_then(|name| placements.iter().find(|placement| placement.name_any() == *name))
    };
    named(status.and_then(|status| status.active_placement.as_ref()))
        .or_else(|| named(status.and_then(|status| status.next_placement.as_ref())))
        .or_else(|| {
            let phase = |placement: &&Placement| {
                placement
                    .status
                    .as_ref()
                    .map(|status| status.phase)
                    .unwrap_or_default()
            };
            placements
                .iter()
                .filter(|placement| phase(placement) < PlacementPhase::Draining)
                .max_by_key(phase)
        })
}

/// The state in words, and the message of the condition that says so, when all is not well.
fn state_of(service: &LLMService) -> (String, Option<String>) {
    let conditions = service
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let message = |kind: ConditionType| {
        let condition = conditions
            .iter()
            .find(|condition| condition.type_ == kind.as_str());
        condition
            .map(|condition| condition.message.clone())
            .filter(|message| !message.is_empty())
    };
    let missed = condition::state(conditions, ConditionType::SLOMet) == Some(false);
    match (
        condition::state(conditions, ConditionType::Feasible),
        condition::state(conditions, ConditionType::Ready),
    ) {
        (_, Some(true)) if missed => (
            "Ready, objective missed".to_owned(),
            message(ConditionType::SLOMet),
        ),
        (_, Some(true)) => ("Ready".to_owned(), None),
        (Some(false), _) => ("Infeasible".to_owned(), message(ConditionType::Feasible)),
        (_, Some(false)) => ("Not ready".to_owned(), message(ConditionType::Ready)),
        _ => (
            "Unknown".to_owned(),
            Some("nothing has decided about the service yet: is a controller running?".to_owned()),
        ),
    }
}
