//! Whether new pipelines are where their services may be: taints, labels, other services, read again from the objects.

use std::collections::BTreeMap;

use crds::{
    EdgeNode, LLMService,
    affinity::{LabelOperator, LabelRequirement},
    edge_node::TaintEffect,
    placement::PlacementPhase,
};

use super::{Finding, is_named};
use crate::{
    plan::{Plan, PlannedPlacement, Proposed, uses},
    world::{ServiceName, World},
};

/// Looks at new Placements. Where a service has a stage already it may have one: what is to leave a node may have nowhere to go.
pub(super) fn check(world: &World, plan: &Plan<Proposed>, findings: &mut Vec<Finding>) {
    for placement in plan
        .placements
        .iter()
        .filter(|placement| placement.existing.is_none())
    {
        let Some(service) = service_of(world, &placement.service) else {
            continue;
        };
        let stages = placement
            .spec
            .pipelines
            .iter()
            .flat_map(|pipeline| &pipeline.stages);
        for stage in stages {
            let node = world.nodes.iter().find(|node| is_named(node, &stage.node));
            let was_there = plan
                .placements_of(&placement.service)
                .any(|other| other.existing.is_some() && uses(&other.spec, &stage.node));
            let Some(node) = node.filter(|_| !was_there) else {
                continue;
            };
            if let Some(rule) = broken(service, node) {
                findings.push(Finding::Rule {
                    placement: placement.name.clone(),
                    node: stage.node.clone(),
                    rule,
                });
            }
            check_apart(world, plan, placement, service, &stage.node, findings);
        }
    }
}

/// Services that are to be apart and are not: what drains is on its way out, and so is what is about to be replaced.
fn check_apart(
    world: &World,
    plan: &Plan<Proposed>,
    placement: &PlannedPlacement,
    service: &LLMService,
    node: &str,
    findings: &mut Vec<Finding>,
) {
    for other in &world.services {
        let name = ServiceName::of(other);
        let last = plan
            .placements_of(&name)
            .filter(|other| other.phase != PlacementPhase::Draining)
            .last();
        let shares = name != placement.service
            && name.namespace == placement.service.namespace
            && last.is_some_and(|last| uses(&last.spec, node));
        if shares && (shuns(service, other) || shuns(other, service)) {
            findings.push(Finding::Apart {
                placement: placement.name.clone(),
                node: node.to_owned(),
                other: name.to_string(),
            });
        }
    }
}

fn service_of<'w>(world: &'w World, name: &ServiceName) -> Option<&'w LLMService> {
    let mut services = world.services.iter();
    services
        .find(|service| ServiceName::of(service) == *name)
        .map(AsRef::as_ref)
}

fn shuns(service: &LLMService, other: &LLMService) -> bool {
    let labels = other.metadata.labels.clone().unwrap_or_default();
    let rules = &service.spec.affinity.service_anti_affinity.required;
    rules.iter().any(|rule| {
        let equal = rule
            .match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value));
        equal && rule.match_expressions.iter().all(|asked| holds(asked, &labels))
    })
}

/// The rule of a service that a node breaks, if any.
fn broken(service: &LLMService, node: &EdgeNode) -> Option<String> {
    for taint in &node.spec.taints {
        if taint.effect == TaintEffect::PreferNoSchedule {
            continue;
        }
        let tolerated = service.spec.tolerations.iter().any(|toleration| {
            let any_value = toleration.operator == crds::affinity::TolerationOperator::Exists;
            let empty = String::new();
            let value = toleration.value.as_ref().unwrap_or(&empty) == taint.value.as_ref().unwrap_or(&empty);
            toleration.key.as_ref().is_none_or(|key| *key == taint.key)
                && toleration.effect.is_none_or(|effect| effect == taint.effect)
                && (any_value || value)
        });
        if !tolerated {
            return Some(format!("taint {} is not tolerated", taint.key));
        }
    }
    let mut labels = node.metadata.labels.clone().unwrap_or_default();
    let mut imply = |key: &str, value: Option<String>| {
        if let (Some(value), false) = (value, labels.contains_key(key)) {
            labels.insert(key.to_owned(), value);
        }
    };
    imply("kubernetes.io/hostname", node.metadata.name.clone());
    imply("edgeloom.dev/tier", Some(format!("{:?}", node.spec.tier)));
    imply("edgeloom.dev/site", node.spec.site.clone());
    imply("edgeloom.dev/trust-domain", node.spec.trust_domain.clone());
    let missed = service
        .spec
        .node_selector
        .iter()
        .find(|(key, value)| labels.get(*key) != Some(*value));
    if let Some((key, _)) = missed {
        return Some(format!("nodeSelector {key} does not fit"));
    }
    let required = &service.spec.affinity.node_affinity.required;
    let fits = required.iter().any(|term| {
        let mut asked = term.match_expressions.iter();
        asked.all(|asked| holds(asked, &labels))
    });
    (!required.is_empty() && !fits).then(|| "no required term of nodeAffinity fits".to_owned())
}

fn holds(asked: &LabelRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&asked.key);
    match asked.operator {
        LabelOperator::Exists => value.is_some(),
        LabelOperator::DoesNotExist => value.is_none(),
        LabelOperator::In => value.is_some_and(|value| asked.values.contains(value)),
        LabelOperator::NotIn => value.is_none_or(|value| !asked.values.contains(value)),
    }
}
