//! RouteTables that follow from Placements and their phases: one for each node whose agent has reported.

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    EdgeNode, LLMService, RouteTableSpec,
    llm_service::PrivacyLevel,
    placement::{Pipeline, PipelineStage, PlacementPhase},
    route_table::{ApiKey, Hop, IngressRule, IngressTarget},
};
use kube::ResourceExt;

use super::{Plan, PlannedPlacement, Verdict, peers};
use crate::{
    entrances::Entrances,
    snapshot::privacy_of,
    world::{ServiceName, World},
};

/// Derives every RouteTable.
#[must_use]
pub fn derive<State>(world: &World, plan: &Plan<State>) -> BTreeMap<String, RouteTableSpec> {
    let keys = keys_of(world);
    let mut peers = peers::derive(world, plan);
    let rules = rules_of(world, plan);
    let reported = world.nodes.iter().filter(|node| agent_of(node).is_some());
    reported
        .map(|node| {
            let name = node.name_any();
            let table = RouteTableSpec {
                incarnation: world.identity.incarnation.clone(),
                ingress: rules
                    .iter()
                    .filter(|(entrances, _)| entrances.admit(node))
                    .map(|(_, rule)| rule.clone())
                    .collect(),
                hops: plan
                    .placements
                    .iter()
                    .flat_map(|placement| hops_on(world, placement, &name))
                    .collect(),
                peers: peers.remove(&name).unwrap_or_default(),
                key_salt: world.identity.key_salt.clone(),
                keys: keys.clone(),
                node_name: name.clone(),
            };
            (name, table)
        })
        .collect()
}

/// What an agent has reported of itself.
pub(super) fn agent_of(node: &EdgeNode) -> Option<&crds::edge_node::AgentInfo> {
    node.status.as_ref()?.agent.as_ref()
}

/// The rule of each service, and whose routers have it.
fn rules_of<'w, State>(world: &'w World, plan: &Plan<State>) -> Vec<(Entrances<'w>, IngressRule)> {
    let services = world.services.iter();
    let services = services.filter(|service| service.metadata.deletion_timestamp.is_none());
    services
        .map(|service| (Entrances::of(world, service), rule_of(plan, service)))
        .collect()
}

fn rule_of<State>(plan: &Plan<State>, service: &LLMService) -> IngressRule {
    let name = ServiceName::of(service);
    let serving = plan
        .serving(&name)
        .filter(|placement| placement.progress.lost.is_empty());
    let targets: Vec<IngressTarget> = serving
        .into_iter()
        .flat_map(|placement| &placement.spec.pipelines)
        .filter_map(|pipeline| {
            Some(IngressTarget {
                pipeline: pipeline.name.clone(),
                revision: pipeline.revision,
                head: pipeline.stages.first()?.node.clone(),
                mode: pipeline.mode,
                weight: 1,
            })
        })
        .collect();
    IngressRule {
        served_name: service
            .spec
            .served_name
            .clone()
            .unwrap_or_else(|| service.name_any()),
        access: service.spec.access,
        context_tokens: service.spec.context_tokens,
        output_tokens_max: service.spec.output_tokens_max,
        slo: service.spec.slo.clone(),
        unavailable: targets.is_empty().then(|| unavailable(plan, &name)),
        targets,
        service: name.to_string(),
    }
}

/// What a client is told while a service has no pipeline that takes requests.
#[must_use]
pub fn unavailable<State>(plan: &Plan<State>, service: &ServiceName) -> String {
    let Some(known) = plan.services.get(service) else {
        return "the service is not known yet".to_owned();
    };
    let loading = plan
        .placements_of(service)
        .find(|placement| placement.phase < PlacementPhase::Serving);
    match (&known.verdict, loading) {
        (Verdict::Infeasible(why, _), _) | (Verdict::Skipped(why), _) => why.clone(),
        // How far it is stands in the service's status: here each step would be a write for every node.
        (_, Some(placement)) => match &placement.progress.waits_for {
            Some(wait) if wait.failed => format!("its pipeline is being loaded; {}", wait.message),
            _ => "its pipeline is being loaded".to_owned(),
        },
        _ => "no placement was decided yet".to_owned(),
    }
}

fn hops_on(world: &World, placement: &PlannedPlacement, node: &str) -> Vec<Hop> {
    let admits = placement.phase != PlacementPhase::Draining;
    let mut hops = vec![];
    for pipeline in &placement.spec.pipelines {
        for ordinal in (0..pipeline.stages.len()).filter(|ordinal| pipeline.stages[*ordinal].node == node) {
            hops.push(Hop {
                trust_domains: trust_domains(world, placement, &pipeline.stages[ordinal]),
                ..hop_of(placement, pipeline, ordinal, admits)
            });
        }
    }
    hops
}

/// Who may hold a stage that sees text of a private service; none where anybody may.
fn trust_domains(world: &World, placement: &PlannedPlacement, stage: &PipelineStage) -> Option<Vec<String>> {
    let mut services = world.services.iter();
    let service = services.find(|service| ServiceName::of(service) == placement.service)?;
    let privacy = &service.spec.privacy;
    let sees_text = match privacy_of(world, service, &placement.service) {
        PrivacyLevel::Open => false,
        PrivacyLevel::TrustedOnly => true,
        PrivacyLevel::TrustedText => {
            let sees_prompt = stage.first_layer == 0 || stage.first_layer < privacy.shallow_layers;
            sees_prompt || stage.end_layer == placement.spec.model.layers
        }
    };
    sees_text.then(|| privacy.trust_domains.clone())
}

fn hop_of(placement: &PlannedPlacement, pipeline: &Pipeline, ordinal: usize, admits: bool) -> Hop {
    let stage = &pipeline.stages[ordinal];
    let node_at = |ordinal: usize| pipeline.stages.get(ordinal).map(|stage| stage.node.clone());
    Hop {
        pipeline: pipeline.name.clone(),
        revision: pipeline.revision,
        ordinal: i32::try_from(ordinal).expect("a pipeline has at most 64 stages"),
        stage: stage.stage.clone(),
        previous: ordinal.checked_sub(1).and_then(node_at),
        next: node_at(ordinal + 1),
        head: pipeline.stages[0].node.clone(),
        sends: stage.sends,
        prefill_chunk_rows: pipeline.prefill_chunk_rows,
        cells: i64::from(placement.spec.context_tokens) * i64::from(placement.spec.sessions),
        sessions: placement.spec.sessions,
        admits,
        trust_domains: None,
    }
}

/// Keyed hashes of the users' API keys, with the services that each may call.
fn keys_of(world: &World) -> Vec<ApiKey> {
    let mut services_by_hash: BTreeMap<&str, (String, BTreeSet<String>)> = BTreeMap::new();
    for user in &world.users {
        let namespace = user.namespace().unwrap_or_default();
        let Some(hash) = world.key_hashes.get(&(namespace.clone(), user.name_any())) else {
            continue;
        };
        let pseudonym = user.spec.pseudonym.clone().unwrap_or_else(|| user.name_any());
        let (_, services) = services_by_hash
            .entry(hash)
            .or_insert_with(|| (pseudonym, BTreeSet::new()));
        services.extend(
            user.spec
                .demands
                .iter()
                .map(|demand| format!("{namespace}/{}", demand.service)),
        );
    }
    services_by_hash
        .into_iter()
        .map(|(hash, (user, services))| ApiKey {
            hash: hash.to_owned(),
            user,
            services: services.into_iter().collect(),
        })
        .collect()
}
