//! `EdgeUser`: a subscription.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::llm_service::{PrivacyLevel, ServiceLevel, TokenQuantile};

/// Someone who uses services: who, from where, how much.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "edgeloom.dev",
    version = "v1alpha1",
    kind = "EdgeUser",
    namespaced,
    status = "EdgeUserStatus",
    derive = "PartialEq",
    shortname = "eu",
    category = "edgeloom",
    doc = "A subscription: an API key, where its requests come from, and how many there are.",
    printcolumn(name = "Device", type_ = "string", json_path = ".spec.deviceNode"),
    printcolumn(name = "Attached", type_ = "string", json_path = ".status.attachedTo"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeUserSpec {
    /// A pseudonym for logs and metrics. The object's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub pseudonym: Option<String>,
    /// The Secret in the same namespace that holds the API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret: Option<SecretKeyReference>,
    /// The EdgeNode that is the user's own device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub device_node: Option<String>,
    /// EdgeNodes where the user's requests may enter, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32))]
    pub attach_nodes: Vec<String>,
    /// Services in the same namespace that the user may call, and how often that happens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["service".into()]))]
    #[schemars(length(max = 64))]
    pub demands: Vec<Demand>,
    /// How private the user's prompts are; the stricter of this and the service's level holds.
    #[serde(default)]
    pub privacy: PrivacyLevel,
    /// An objective of the user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<ServiceLevel>,
}

/// A key of a Secret.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data.
    #[serde(default = "api_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn api_key() -> String {
    "apiKey".to_owned()
}

/// What a user asks of a service.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// The LLMService's name.
    #[schemars(length(min = 1, max = 253))]
    pub service: String,
    /// Requests in an hour; weighs where requests enter.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100_000_000))]
    pub requests_per_hour: i32,
    /// How long this user's prompts are, by a few percentiles; as the service says when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["percentile".into()]))]
    #[schemars(length(max = 16))]
    pub prompt_token_quantiles: Vec<TokenQuantile>,
    /// How long its answers are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["percentile".into()]))]
    #[schemars(length(max = 16))]
    pub output_token_quantiles: Vec<TokenQuantile>,
}

fn one() -> i32 {
    1
}

/// Where the user is served.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeUserStatus {
    /// The generation that was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the key is known to the routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The EdgeNode where its requests enter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_to: Option<String>,
    /// Placements that serve it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 64))]
    pub served_by: Vec<String>,
}
