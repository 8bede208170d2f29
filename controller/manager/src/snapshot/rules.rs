//! Where a service may be, by what users write of it and of nodes: taints and tolerations, labels, other services.
//!
//! The solver counts rules; their texts stay here, so that an answer can name the rule that kept a node out.

use std::collections::BTreeMap;

use crds::{
    EdgeNode, LLMService,
    affinity::{LabelOperator, LabelRequirement, NodeSelectorTerm, ServiceSelector, TolerationOperator},
    edge_node::{Taint, TaintEffect, Tier},
};
use kube::{
    ResourceExt,
    core::{Expression, Selector, SelectorExt as _},
};
use solver::{
    problem::{Aversion, ExcludedNode, Exclusion},
    units::{Nanos, NodeOrd, TermOrd},
};

use super::Options;
use crate::world::{ServiceName, World};

/// What a point of weight of a preference costs, for each stage on a node that does not fit it: a hundred points are a second
/// of a request.
const POINT: Nanos = Nanos::from_millis(10);

/// Points of a taint that only prefers services elsewhere.
const TAINT_POINTS: u64 = 100;

/// Texts of rules, by their ordinals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(Vec<String>);

impl Terms {
    /// A rule's text, to follow the name of a node.
    #[must_use]
    pub fn text(&self, term: TermOrd) -> &str {
        self.0.get(term.index()).map_or("", String::as_str)
    }

    fn ord(&mut self, text: String) -> TermOrd {
        let known = self.0.iter().position(|known| *known == text);
        TermOrd::from_index(known.unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        }))
    }
}

/// The rules of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) excluded: Vec<ExcludedNode>,
    pub(super) aversions: Vec<Aversion>,
    pub(super) carries: Vec<TermOrd>,
    pub(super) shuns: Vec<TermOrd>,
}

/// Which services keep away from which.
#[derive(Debug, Default)]
pub(super) struct Apart(Vec<(ServiceName, Selector, TermOrd)>);

impl Apart {
    /// All rules of all services.
    pub(super) fn of(world: &World, terms: &mut Terms) -> Self {
        let mut all = Vec::new();
        for service in &world.services {
            for asked in &service.spec.affinity.service_anti_affinity.required {
                let (name, selector) = (ServiceName::of(service), services(asked));
                let term = terms.ord(format!(
                    "it holds a stage of another service, and {name} keeps away from services with {selector} \
                     (its spec.affinity.serviceAntiAffinity)"
                ));
                all.push((name, selector, term));
            }
        }
        Self(all)
    }
}

/// The rules of one service.
pub(super) fn of(
    world: &World,
    service: &LLMService,
    apart: &Apart,
    terms: &mut Terms,
    options: Options,
) -> Rules {
    let name = ServiceName::of(service);
    let mut rules = Rules::default();
    for (owner, selector, term) in &apart.0 {
        if *owner == name {
            rules.shuns.push(*term);
        } else if owner.namespace == name.namespace && selector.matches(service.labels()) {
            rules.carries.push(*term);
        }
    }
    for (index, node) in world.nodes.iter().enumerate() {
        let ord = NodeOrd::from_index(index);
        let labels = labels_of(node);
        if let Some(why) = exclusion(world, service, node, &labels, terms, options) {
            rules.excluded.push(ExcludedNode { node: ord, why });
            continue;
        }
        let points = aversion(service, node, &labels);
        if points > 0 {
            rules.aversions.push(Aversion {
                node: ord,
                cost: POINT.times(points),
            });
        }
    }
    rules
}

/// Why a node is closed to a service; what is left at once comes before what is only entered no more.
fn exclusion(
    world: &World,
    service: &LLMService,
    node: &EdgeNode,
    labels: &BTreeMap<String, String>,
    terms: &mut Terms,
    options: Options,
) -> Option<Exclusion> {
    let agent = node.status.as_ref().and_then(|status| status.agent.as_ref());
    if !options.offline && (!world.is_alive(&node.name_any()) || agent.is_none()) {
        return Some(Exclusion::NotReady);
    }
    if !world.is_schedulable(node) {
        return Some(Exclusion::Unschedulable);
    }
    let untolerated = |effect: TaintEffect| {
        let mut taints = node.spec.taints.iter();
        taints.find(|taint| taint.effect == effect && !tolerates(service, taint))
    };
    let text = |taint: &Taint| {
        let value = taint.value.iter().map(|value| format!("={value}"));
        let value: String = value.collect();
        format!(
            "its taint {}{value}:{:?} is tolerated by none of spec.tolerations",
            taint.key, taint.effect
        )
    };
    if let Some(taint) = untolerated(TaintEffect::NoExecute) {
        return Some(Exclusion::Taint(terms.ord(text(taint))));
    }
    let selected: Selector = equal(&service.spec.node_selector);
    if !selected.matches(labels) {
        let said = format!("spec.nodeSelector asks for {selected}");
        return Some(Exclusion::Unmatched(terms.ord(said)));
    }
    let required: Vec<Selector> = service
        .spec
        .affinity
        .node_affinity
        .required
        .iter()
        .map(nodes)
        .collect();
    if !required.is_empty() && !required.iter().any(|term| term.matches(labels)) {
        let asked: Vec<String> = required.iter().map(ToString::to_string).collect();
        let said = format!(
            "spec.affinity.nodeAffinity.required asks for {}",
            asked.join(", or for ")
        );
        return Some(Exclusion::Unmatched(terms.ord(said)));
    }
    let taint = untolerated(TaintEffect::NoSchedule)?;
    Some(Exclusion::TaintForNew(terms.ord(text(taint))))
}

/// Points against a node.
fn aversion(service: &LLMService, node: &EdgeNode, labels: &BTreeMap<String, String>) -> u64 {
    let preferred = service.spec.affinity.node_affinity.preferred.iter();
    let missed = preferred.filter(|preferred| !nodes(&preferred.preference).matches(labels));
    let points: u64 = missed
        .map(|preferred| u64::try_from(preferred.weight).unwrap_or(0))
        .sum();
    let taints = node.spec.taints.iter();
    let soft =
        taints.filter(|taint| taint.effect == TaintEffect::PreferNoSchedule && !tolerates(service, taint));
    points + TAINT_POINTS * soft.count() as u64
}

/// Kubernetes' rule: key, effect and value are the same, where the toleration says any.
fn tolerates(service: &LLMService, taint: &Taint) -> bool {
    service.spec.tolerations.iter().any(|toleration| {
        let key = toleration.key.as_ref().is_none_or(|key| *key == taint.key);
        let effect = toleration.effect.is_none_or(|effect| effect == taint.effect);
        let value = match toleration.operator {
            TolerationOperator::Exists => true,
            TolerationOperator::Equal => {
                toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
        };
        key && effect && value
    })
}

/// The labels of an EdgeNode, those that follow from its name and spec included; its own come first.
fn labels_of(node: &EdgeNode) -> BTreeMap<String, String> {
    let mut labels = node.labels().clone();
    let tier = match node.spec.tier {
        Tier::Device => "Device",
        Tier::Server => "Server",
        Tier::Cloud => "Cloud",
    };
    let implied = [
        ("kubernetes.io/hostname", Some(node.name_any())),
        ("edgeloom.dev/tier", Some(tier.to_owned())),
        ("edgeloom.dev/site", node.spec.site.clone()),
        ("edgeloom.dev/trust-domain", node.spec.trust_domain.clone()),
    ];
    for (key, value) in implied {
        if let Some(value) = value {
            labels.entry(key.to_owned()).or_insert(value);
        }
    }
    labels
}

fn nodes(term: &NodeSelectorTerm) -> Selector {
    term.match_expressions.iter().map(expression).collect()
}

fn services(asked: &ServiceSelector) -> Selector {
    let mut selector = equal(&asked.match_labels);
    selector.extend(asked.match_expressions.iter().map(expression));
    selector
}

fn equal(labels: &BTreeMap<String, String>) -> Selector {
    let pairs = labels.iter();
    pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn expression(asked: &LabelRequirement) -> Expression {
    let (key, values) = (asked.key.clone(), asked.values.iter().cloned().collect());
    match asked.operator {
        LabelOperator::In => Expression::In(key, values),
        LabelOperator::NotIn => Expression::NotIn(key, values),
        LabelOperator::Exists => Expression::Exists(key),
        LabelOperator::DoesNotExist => Expression::DoesNotExist(key),
    }
}
