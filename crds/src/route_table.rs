//! `RouteTable`: the flow table of one node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mode::{ActivationPrecision, InferenceMode};

/// Everything that one agent routes by. Named like its node; nothing in it is left to choose.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "edgeloom.dev",
    version = "v1alpha1",
    kind = "RouteTable",
    status = "RouteTableStatus",
    derive = "PartialEq",
    shortname = "elrt",
    category = "edgeloom",
    doc = "The flow table of one node: ingress rules, hops, peers, and keyed hashes of API keys.",
    selectable = ".spec.nodeName",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Generation", type_ = "integer", json_path = ".metadata.generation"),
    printcolumn(
        name = "Observed",
        type_ = "integer",
        json_path = ".status.observedGeneration"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RouteTableSpec {
    /// The EdgeNode.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
    /// The control plane's incarnation; another one resets the comparison of generations.
    pub incarnation: String,
    /// Which service goes to which pipeline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["service".into()]))]
    #[schemars(length(max = 256))]
    pub ingress: Vec<IngressRule>,
    /// The pipelines that pass through this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pipeline".into(), "revision".into(), "ordinal".into()]))]
    #[schemars(length(max = 256))]
    pub hops: Vec<Hop>,
    /// The agents that this one talks to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["node".into()]))]
    #[schemars(length(max = 4096))]
    pub peers: Vec<Peer>,
    /// The salt of the keyed hashes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key_salt: String,
    /// Who may call what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["hash".into()]))]
    #[schemars(length(max = 1024))]
    pub keys: Vec<ApiKey>,
}

/// Where requests for a service go.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IngressRule {
    /// `namespace/name` of the LLMService.
    pub service: String,
    /// The name that clients send as `model`.
    pub served_name: String,
    /// Whether requests need a key.
    pub access: crate::llm_service::Access,
    /// Tokens that prompt and answer may have together.
    pub context_tokens: i32,
    /// The most tokens of an answer.
    pub output_tokens_max: i32,
    /// What the service promises; the router counts the requests that it kept to.
    #[serde(default)]
    pub slo: crate::llm_service::ServiceLevel,
    /// Pipelines by weight; none while the service is not ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pipeline".into()]))]
    #[schemars(length(max = 16))]
    pub targets: Vec<IngressTarget>,
    /// Why there is no target; what a client is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub unavailable: Option<String>,
}

/// A pipeline that takes a share of the requests.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IngressTarget {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its revision.
    pub revision: i64,
    /// The EdgeNode of its first stage, which drives the session.
    pub head: String,
    /// How it answers.
    pub mode: InferenceMode,
    /// Its share among the targets.
    pub weight: i32,
}

/// This node's part in a pipeline.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its revision; frames of another one are refused.
    pub revision: i64,
    /// The place in the pipeline, from 0, the head.
    pub ordinal: i32,
    /// The Stage on this node.
    pub stage: String,
    /// The EdgeNode before; none for the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The EdgeNode behind; none for the last stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The EdgeNode of the head, to which the last stage's tokens go.
    pub head: String,
    /// The format of what it sends to the next stage.
    #[serde(default)]
    pub sends: ActivationPrecision,
    /// Rows of a prompt that are computed and sent at once.
    pub prefill_chunk_rows: i32,
    /// KV cells that sessions of this pipeline may hold together.
    pub cells: i64,
    /// Sessions of this pipeline that may be open.
    pub sessions: i32,
    /// Whether new sessions may begin; false while draining.
    pub admits: bool,
    /// Where this hop sees text of a private service, or what gives it away: the trust domains one of which its EdgeNode
    /// must be in. The agent compares and refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 16))]
    pub trust_domains: Option<Vec<String>>,
}

/// Another agent.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its EdgeNode.
    pub node: String,
    /// `address:port`.
    pub address: String,
    /// Its public key.
    pub public_key: String,
    /// Whether this agent dials, or waits to be dialled.
    pub dial: bool,
}

/// A key that this node's router accepts.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// The keyed hash of the key, see [`crate::api_key::keyed_hash`].
    pub hash: String,
    /// The pseudonym of the EdgeUser.
    pub user: String,
    /// `namespace/name` of the services that it may call.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 64))]
    pub services: Vec<String>,
}

/// What the agent says of it.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteTableStatus {
    /// The generation that the agent routes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Hops, and whether each can take a session: its stage is in memory and its neighbours are connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pipeline".into(), "revision".into(), "ordinal".into()]))]
    #[schemars(length(max = 256))]
    pub hops: Vec<HopStatus>,
    /// What was observed of each service's requests that this node is head for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["service".into()]))]
    #[schemars(length(max = 256))]
    pub observed: Vec<ObservedService>,
}

/// How a hop stands.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HopStatus {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its revision.
    pub revision: i64,
    /// The place in the pipeline.
    pub ordinal: i32,
    /// How it stands.
    pub phase: HopPhase,
    /// Sessions that are open, while the hop drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_sessions: Option<i32>,
    /// Why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// A step of a hop.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum HopPhase {
    /// The stage is not in memory, or a neighbour is not connected.
    #[default]
    Waiting,
    /// Sessions may begin.
    Ready,
    /// No new session begins; some are open.
    Draining,
    /// No session is open, and none may begin.
    Drained,
}

/// Quality of a service as its head saw it, of the most recent requests that the present pipeline answered. Written on
/// change only.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedService {
    /// `namespace/name`.
    pub service: String,
    /// Requests since the agent started.
    pub requests: i64,
    /// Requests that the figures below are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<i32>,
    /// The pipeline's revision that answered them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Median of the prompts' tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<i32>,
    /// Median from the arrival at the head to the first token.
    pub time_to_first_token_microseconds: i64,
    /// Median from the moment when a session's seat was free to the first token: what is left when requests have not to wait
    /// for each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seated_to_first_token_microseconds: Option<i64>,
    /// Median between two tokens.
    pub time_per_output_token_microseconds: i64,
    /// The same times at other percentiles, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["percentile".into()]))]
    #[schemars(length(max = 16))]
    pub quantiles: Vec<ObservedQuantile>,
    /// The share of requests within the objective that the service's percentile asks for, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_objective_parts_per_million: Option<i64>,
}

/// Times that so many percent of the requests did not exceed, each time by itself.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedQuantile {
    /// The share of the requests; 50 is the median, 100 the worst.
    #[schemars(range(min = 1, max = 100))]
    pub percentile: i32,
    /// From the arrival at the head to the first token.
    pub time_to_first_token_microseconds: i64,
    /// Between two tokens.
    pub time_per_output_token_microseconds: i64,
}
