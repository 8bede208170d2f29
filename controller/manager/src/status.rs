//! What is said of each object: pure functions from a world and its plan to statuses. Writing them is apply's work.

use std::{collections::BTreeMap, sync::Arc};

use crds::{
    ConditionType, EdgeUser, EdgeUserStatus, LLMService, LLMServiceStatus, PlacementStatus, SERVICE_LABEL,
    condition::{self, Reason, State},
    llm_service::{FaultTolerance, ServiceFigures},
    placement::PlacementPhase,
    route_table::{ObservedQuantile, ObservedService},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use crate::{
    entrances::Entrances,
    plan::{Plan, PlannedPlacement, ServicePlan, Verdict, decision::pipeline_line, forecast, routes},
    snapshot::attachment,
    world::{Loss, Now, ServiceName, Withheld, World},
};

mod links;

pub(crate) use self::links::loose_end;
pub use self::links::of_links;

/// A reason and a sentence for a condition.
struct Said {
    state: State,
    reason: Reason,
    message: String,
}

impl Said {
    fn new(state: State, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            state,
            reason,
            message: message.into(),
        }
    }

    fn set(self, conditions: &mut Vec<Condition>, kind: ConditionType, generation: Option<i64>, now: Now) {
        let message: String = self.message.chars().take(2048).collect();
        condition::set(
            conditions,
            kind,
            self.state,
            self.reason,
            message,
            generation,
            now,
        );
    }
}

/// The status of every service.
#[must_use]
pub fn of_services<S>(world: &World, plan: &Plan<S>, now: Now) -> BTreeMap<ServiceName, LLMServiceStatus> {
    let status = |service: &Arc<LLMService>| {
        let status = of_service(world, plan, service, now);
        (ServiceName::of(service), status)
    };
    world.services.iter().map(status).collect()
}

/// The status of a service.
#[must_use]
pub fn of_service<S>(world: &World, plan: &Plan<S>, service: &LLMService, now: Now) -> LLMServiceStatus {
    let name = ServiceName::of(service);
    let known = plan.services.get(&name).cloned().unwrap_or_default();
    let serving = plan.serving(&name);
    let seen = serving.and_then(|placement| forecast::observed(world, &placement.spec, &name));
    let generation = service.metadata.generation;

    let mut conditions = service.status.clone().unwrap_or_default().conditions;
    feasible(&known.verdict).set(&mut conditions, ConditionType::Feasible, generation, now);
    ready(plan, &name, serving).set(&mut conditions, ConditionType::Ready, generation, now);
    match fault_tolerant(service, &known) {
        Some(said) => said.set(&mut conditions, ConditionType::FaultTolerant, generation, now),
        None => conditions.retain(|known| known.type_ != ConditionType::FaultTolerant.as_str()),
    }
    slo(service, seen).set(&mut conditions, ConditionType::SLOMet, generation, now);

    let shown = serving.or_else(|| plan.placements_of(&name).last());
    let pipeline = shown.and_then(|placement| placement.spec.pipelines.first());
    let is_ready = condition::state(&conditions, ConditionType::Ready) == Some(true);
    LLMServiceStatus {
        observed_generation: generation,
        conditions,
        active_placement: known.serving,
        next_placement: known.next,
        mode: pipeline.map(|pipeline| pipeline.mode),
        pipeline: shown.map(|placement| pipeline_line(&placement.spec)),
        replicas: i32::from(is_ready),
        selector: Some(format!("{SERVICE_LABEL}={}", name.name)),
        endpoints: endpoints_of(world, service),
        predicted: pipeline.map(|pipeline| ServiceFigures {
            time_to_first_token_microseconds: pipeline.predicted.time_to_first_token_microseconds,
            time_per_output_token_microseconds: pipeline.predicted.time_per_output_token_microseconds,
            requests: 0,
            prompt_tokens: pipeline.predicted.prompt_tokens,
        }),
        observed: seen.map(|seen| ServiceFigures {
            time_to_first_token_microseconds: seen.time_to_first_token_microseconds,
            time_per_output_token_microseconds: seen.time_per_output_token_microseconds,
            requests: seen.requests,
            prompt_tokens: seen.prompt_tokens,
        }),
        predicted_for_observed: known.forecast,
        why: match known.verdict {
            Verdict::Feasible(why) | Verdict::Infeasible(why, _) | Verdict::Skipped(why) => Some(
                known
                    .blocked
                    .map_or(why.clone(), |blocked| format!("{why} {blocked}.")),
            ),
            Verdict::Unknown => None,
        }
        .map(|why| why.chars().take(2048).collect()),
    }
}

fn feasible(verdict: &Verdict) -> Said {
    match verdict {
        Verdict::Feasible(why) => Said::new(Some(true), Reason::AsDesired, why),
        Verdict::Infeasible(why, _) => Said::new(Some(false), Reason::Infeasible, why),
        Verdict::Skipped(why) if why.starts_with("Model") => Said::new(None, Reason::ModelNotReady, why),
        Verdict::Skipped(why) => Said::new(None, Reason::ScaledToZero, why),
        Verdict::Unknown => Said::new(None, Reason::NotObservedYet, "the solver has not looked yet"),
    }
}

/// Whether a service that is to survive the loss of a node does; nothing for others.
fn fault_tolerant(service: &LLMService, known: &ServicePlan) -> Option<Said> {
    if service.spec.fault_tolerance == FaultTolerance::None {
        return None;
    }
    if !matches!(known.verdict, Verdict::Feasible(_)) {
        let why = "the service has no pipeline to lose";
        return Some(Said::new(None, Reason::Infeasible, why));
    }
    let Some(contingencies) = &known.contingencies else {
        let why = "the loss of each of its nodes is being looked into";
        return Some(Said::new(None, Reason::NotObservedYet, why));
    };
    let ends = contingencies.iter().find_map(|contingency| {
        let why_not = contingency.why_not.as_ref()?;
        Some(format!(
            "the loss of {} would end the service: {why_not}",
            contingency.lost
        ))
    });
    if let Some(message) = ends {
        return Some(Said::new(Some(false), Reason::NoStandby, message));
    }
    let remains = contingencies.iter().map(|contingency| {
        let pipeline = contingency.pipeline.as_deref().unwrap_or_default();
        format!("without {}, {pipeline}", contingency.lost)
    });
    let message: String = remains
        .collect::<Vec<_>>()
        .join("; ")
        .chars()
        .take(2_048)
        .collect();
    Some(Said::new(Some(true), Reason::AsDesired, message))
}

fn ready<S>(plan: &Plan<S>, name: &ServiceName, serving: Option<&PlannedPlacement>) -> Said {
    let known = plan.services.get(name);
    if let Some(placement) = serving {
        let progress = &placement.progress;
        return if progress.is_ready() {
            let line = pipeline_line(&placement.spec);
            Said::new(Some(true), Reason::AsDesired, format!("requests go to {line}"))
        } else if let Some(lost) = progress.lost.first() {
            Said::new(Some(false), Reason::StageLost, lost)
        } else {
            let waits = progress
                .waits_for
                .as_ref()
                .map_or("a stage", |wait| wait.message.as_str());
            Said::new(Some(false), Reason::Loading, format!("waiting for {waits}"))
        };
    }
    let draining = plan
        .placements_of(name)
        .find(|placement| !placement.progress.lost.is_empty());
    let loading = plan
        .placements_of(name)
        .find(|placement| placement.phase < PlacementPhase::Serving);
    let wait = loading.and_then(|placement| placement.progress.waits_for.as_ref());
    let message = routes::unavailable(plan, name);
    let (reason, message) = match (known.map(|known| &known.verdict), draining, wait) {
        (Some(Verdict::Skipped(why)), ..) if why.starts_with("Model") => (Reason::ModelNotReady, message),
        (Some(Verdict::Skipped(_)), ..) => (Reason::ScaledToZero, message),
        (Some(Verdict::Infeasible(..)), Some(lost), _) => {
            (Reason::StageLost, format!("{}; {message}", lost.progress.lost[0]))
        }
        (Some(Verdict::Infeasible(..)), ..) => (Reason::Infeasible, message),
        (_, Some(lost), _) => (Reason::StageLost, format!("{}; {message}", lost.progress.lost[0])),
        (_, _, Some(wait)) if wait.failed => (Reason::LoadFailed, message),
        (_, _, Some(wait)) if wait.memory => (Reason::MemoryNotFree, message),
        _ => (Reason::Loading, message),
    };
    Said::new(Some(false), reason, message)
}

/// Compares what the head saw with the objective, at the percentile that it names.
fn slo(service: &LLMService, observed: Option<&ObservedService>) -> Said {
    let objective = &service.spec.slo;
    if objective.time_to_first_token_milliseconds.is_none()
        && objective.time_per_output_token_milliseconds.is_none()
    {
        return Said::new(Some(true), Reason::AsDesired, "the service promises nothing");
    }
    let Some(observed) = observed else {
        return Said::new(None, Reason::NoTraffic, "no request was answered yet");
    };
    let Some(quantile) = quantile_for(objective.percentile, observed) else {
        let message = format!(
            "the head does not report percentile {} of its requests",
            objective.percentile
        );
        return Said::new(None, Reason::NotObservedYet, message);
    };
    let percentile = quantile.percentile;
    let miss = |what: &str, observed: i64, promised: Option<i32>| {
        let promised = i64::from(promised?) * 1000;
        (observed > promised).then(|| {
            format!("percentile {percentile} of the {what} is {observed} µs, promised are {promised} µs")
        })
    };
    let missed = miss(
        "time to first token",
        quantile.time_to_first_token_microseconds,
        objective.time_to_first_token_milliseconds,
    )
    .or_else(|| {
        miss(
            "time per output token",
            quantile.time_per_output_token_microseconds,
            objective.time_per_output_token_milliseconds,
        )
    });
    match missed {
        Some(message) => Said::new(Some(false), Reason::Missed, message),
        None => Said::new(
            Some(true),
            Reason::AsDesired,
            format!("percentile {percentile} of the observed times is within the objective"),
        ),
    }
}

/// The least reported percentile that is not below the one that was asked for.
fn quantile_for(percentile: i32, observed: &ObservedService) -> Option<&ObservedQuantile> {
    let enough = |quantile: &&ObservedQuantile| quantile.percentile >= percentile;
    let quantiles = observed.quantiles.iter().filter(enough);
    quantiles.min_by_key(|quantile| quantile.percentile)
}

fn endpoints_of(world: &World, service: &LLMService) -> Vec<String> {
    let entrances = Entrances::of(world, service);
    let nodes = world.nodes.iter();
    let nodes = nodes.filter(|node| world.is_alive(&node.name_any()) && entrances.admit(node));
    let urls = nodes.filter_map(|node| Some(node.status.as_ref()?.agent.as_ref()?.router_url.clone()));
    urls.filter(|url| !url.is_empty()).take(64).collect()
}

/// The status of a Placement.
#[must_use]
pub fn of_placement<S>(plan: &Plan<S>, placement: &PlannedPlacement, now: Now) -> PlacementStatus {
    let existing = placement
        .existing
        .as_ref()
        .and_then(|existing| existing.status.clone())
        .unwrap_or_default();
    let generation = placement
        .existing
        .as_ref()
        .and_then(|existing| existing.metadata.generation)
        .or(Some(1));
    let progress = &placement.progress;
    let said = if progress.is_ready() {
        Said::new(
            Some(true),
            Reason::AsDesired,
            "every stage is in memory and wired",
        )
    } else if let Some(lost) = progress.lost.first() {
        Said::new(Some(false), Reason::StageLost, lost)
    } else {
        let wait = progress.waits_for.as_ref();
        let reason = match wait {
            Some(wait) if wait.failed => Reason::LoadFailed,
            Some(wait) if wait.memory => Reason::MemoryNotFree,
            _ => Reason::Loading,
        };
        Said::new(Some(false), reason, wait.map_or("", |wait| &wait.message))
    };
    let mut conditions = existing.conditions;
    said.set(&mut conditions, ConditionType::Ready, generation, now);
    let leaves = placement.phase == PlacementPhase::Draining;
    let decided = plan.services.get(&placement.service).filter(|_| !leaves);
    PlacementStatus {
        observed_generation: generation,
        phase: placement.phase,
        conditions,
        stages: Some(format!("{}/{}", progress.ready, progress.total)),
        together: decided.and_then(|decided| decided.together.clone()),
        accuracy: decided
            .filter(|_| placement.phase == PlacementPhase::Serving)
            .and_then(|decided| decided.accuracy.clone()),
        contingencies: decided
            .and_then(|decided| decided.contingencies.clone())
            .unwrap_or_default(),
    }
}

/// The status of a user.
#[must_use]
pub fn of_user<S>(world: &World, plan: &Plan<S>, user: &EdgeUser, now: Now) -> EdgeUserStatus {
    let namespace = user.namespace().unwrap_or_default();
    let generation = user.metadata.generation;
    let known = world
        .key_hashes
        .contains_key(&(namespace.clone(), user.name_any()));
    let said = match &user.spec.api_key_secret {
        _ if known => Said::new(Some(true), Reason::AsDesired, "routers know the API key"),
        None => Said::new(Some(false), Reason::NotFound, "spec.apiKeySecret names no Secret"),
        Some(secret) => {
            let message = format!(
                "Secret {} with key {} does not exist or is empty",
                secret.name, secret.key
            );
            Said::new(Some(false), Reason::NotFound, message)
        }
    };
    let mut conditions = user.status.clone().unwrap_or_default().conditions;
    said.set(&mut conditions, ConditionType::Ready, generation, now);
    let serving = user.spec.demands.iter().filter_map(|demand| {
        let name = ServiceName {
            namespace: namespace.clone(),
            name: demand.service.clone(),
        };
        plan.serving(&name).map(|placement| placement.name.clone())
    });
    EdgeUserStatus {
        observed_generation: generation,
        conditions,
        attached_to: attachment(world, user).map(str::to_owned),
        served_by: serving.collect(),
    }
}

/// The conditions of an EdgeNode with the controller's own, `Reachable` and `Schedulable`, set.
#[must_use]
pub fn of_node<S>(world: &World, plan: &Plan<S>, node: &crds::EdgeNode, now: Now) -> Vec<Condition> {
    let mut conditions = node.status.clone().unwrap_or_default().conditions;
    let generation = node.metadata.generation;
    reachable(world.lost.get(&node.name_any())).set(
        &mut conditions,
        ConditionType::Reachable,
        generation,
        now,
    );
    schedulable(world, plan, node).set(&mut conditions, ConditionType::Schedulable, generation, now);
    conditions
}

fn reachable(loss: Option<&Loss>) -> Said {
    match loss {
        None => Said::new(Some(true), Reason::LeaseRenewed, "the agent renews its Lease"),
        Some(loss @ Loss::NeverSeen) => Said::new(None, Reason::NotObservedYet, loss.describe()),
        Some(loss @ Loss::LeaseExpired) => Said::new(Some(false), Reason::LeaseExpired, loss.describe()),
        Some(loss @ Loss::PeersReport) => Said::new(Some(false), Reason::PeersReportLoss, loss.describe()),
    }
}

fn schedulable<S>(world: &World, plan: &Plan<S>, node: &crds::EdgeNode) -> Said {
    let (reason, why) = match world.withheld.get(&node.name_any()) {
        Some(withheld @ Withheld::NodeCordoned) => (Reason::NodeCordoned, withheld.describe()),
        Some(withheld @ Withheld::AgentUpdate) => (Reason::AgentUpdate, withheld.describe()),
        None if node.spec.unschedulable => (Reason::NodeCordoned, "spec.unschedulable is set"),
        None => return Said::new(Some(true), Reason::Schedulable, "new stages may be placed here"),
    };
    let still_here = plan.services_on(&node.name_any());
    if still_here.is_empty() {
        return Said::new(Some(false), reason, format!("{why}; no service uses it"));
    }
    let names: Vec<String> = still_here.into_iter().map(ToString::to_string).collect();
    Said::new(
        Some(false),
        reason,
        format!("{why}; still used by {}", names.join(", ")),
    )
}
