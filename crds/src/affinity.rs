//! Where a service may be, in the terms of Kubernetes: labels of EdgeNodes, taints and tolerations, other services.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::edge_node::TaintEffect;

/// Which EdgeNodes a service wants, and which services it keeps away from.
///
/// Beside those in its metadata, every EdgeNode has the labels `kubernetes.io/hostname` (its name), `edgeloom.dev/tier`, and where
/// its spec has them `edgeloom.dev/site` and `edgeloom.dev/trust-domain`.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// By labels of EdgeNodes.
    #[serde(default)]
    pub node_affinity: NodeAffinity,
    /// By labels of other LLMServices.
    #[serde(default)]
    pub service_anti_affinity: ServiceAntiAffinity,
}

/// Rules on labels of EdgeNodes.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeAffinity {
    /// Every stage is on a node that fits at least one of these terms; any node does when there is none. A service leaves a node
    /// that does so no longer, as it leaves a cordoned one: where there is room elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub required: Vec<NodeSelectorTerm>,
    /// Nodes that the service would rather have. Each stage on a node that does not fit a preference counts, in a decision, as 10
    /// milliseconds more for a request, times the weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub preferred: Vec<PreferredTerm>,
}

/// Requirements that a node has to meet, all of them.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    /// On labels.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 16))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A preference and what it counts.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PreferredTerm {
    /// How much it counts.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The nodes.
    pub preference: NodeSelectorTerm,
}

/// Rules on labels of other services.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAntiAffinity {
    /// No stage is on a node that has a stage of another LLMService of the namespace which fits one of these. It binds both,
    /// whichever is placed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub required: Vec<ServiceSelector>,
}

/// LLMServices, by their labels.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.matchLabels.size() + self.matchExpressions.size() > 0")
    .message("name at least one label in matchLabels or matchExpressions"))]
pub struct ServiceSelector {
    /// Labels that they have.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, String>,
    /// More on their labels.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A requirement on a label.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)")
    .message("values belong to the operators In and NotIn, which need at least one"))]
pub struct LabelRequirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// What is asked of it.
    pub operator: LabelOperator,
    /// The values that In and NotIn are about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 64))]
    pub values: Vec<String>,
}

/// What is asked of a label.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum LabelOperator {
    /// Its value is one of the values.
    In,
    /// It is not there, or its value is none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// A taint of EdgeNodes that does not keep the service away.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.key) || self.operator == 'Exists'")
    .message("a toleration without a key tolerates every key: its operator is Exists"))]
#[x_kube(validation = Rule::new("self.operator == 'Equal' || !has(self.value)")
    .message("value belongs to the operator Equal"))]
pub struct Toleration {
    /// The taint's key; every one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
    /// Whether the taint's value has to be the same.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// The taint's value; an absent one is the same as an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub value: Option<String>,
    /// The taint's effect; every one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// How a toleration compares values.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum TolerationOperator {
    /// The taint's value is this one.
    #[default]
    Equal,
    /// Any value.
    Exists,
}
