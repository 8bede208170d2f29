//! `LLMService`: a promise to answer, and how well it is kept.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    affinity::{Affinity, Toleration},
    mode::{ActivationPrecision, InferenceMode},
};

/// A service that answers OpenAI-compatible requests with one of its models.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "edgeloom.dev",
    version = "v1alpha1",
    kind = "LLMService",
    namespaced,
    status = "LLMServiceStatus",
    derive = "PartialEq",
    plural = "llmservices",
    shortname = "llm",
    category = "edgeloom",
    doc = "A language-model service: which models may answer, how fast, in which modes, for whom.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "Pipeline", type_ = "string", json_path = ".status.pipeline"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "TTFT-us",
        type_ = "integer",
        json_path = ".status.predicted.timeToFirstTokenMicroseconds",
        priority = 1
    ),
    printcolumn(
        name = "TPOT-us",
        type_ = "integer",
        json_path = ".status.predicted.timePerOutputTokenMicroseconds",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.outputTokensMax <= self.contextTokens")
    .message("outputTokensMax must not exceed contextTokens: prompt and answer share the context"))]
#[x_kube(validation = Rule::new("self.workload.promptTokens + self.workload.outputTokens <= self.contextTokens")
    .message("workload.promptTokens + workload.outputTokens must fit in contextTokens"))]
#[x_kube(validation = Rule::new("self.privacy.level == 'Open' || self.privacy.trustDomains.size() > 0")
    .message("privacy.trustDomains must name at least one domain unless privacy.level is Open"))]
pub struct LLMServiceSpec {
    /// Models in the same namespace that may answer, best first.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 8))]
    pub models: Vec<ModelReference>,
    /// The name that clients send as `model`. The object's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub served_name: Option<String>,
    /// What the service promises.
    #[serde(default)]
    pub slo: ServiceLevel,
    /// The modes that may be used.
    #[serde(default = "InferenceMode::defaults")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 7))]
    pub modes: Vec<InferenceMode>,
    /// What the mode Cascade is decided by.
    #[serde(default)]
    pub cascade: Cascade,
    /// Who may see prompts and answers.
    #[serde(default)]
    pub privacy: Privacy,
    /// Tokens that one session may hold, prompt and answer together.
    #[serde(default = "default_context")]
    #[schemars(range(min = 16, max = 1_048_576))]
    pub context_tokens: i32,
    /// Sessions that are held at once; their memory is reserved.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: i32,
    /// The most tokens that one answer may have, and what a request that names no limit gets.
    #[serde(default = "default_output")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub output_tokens_max: i32,
    /// A typical request; predictions and decisions are made for it.
    #[serde(default)]
    pub workload: Workload,
    /// Pipelines that should serve. 0 stops the service; more than 1 is for a later version.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1))]
    pub replicas: i32,
    /// What to do when memory does not hold the old and the new pipeline together.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// Services with a higher priority are placed first.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// What the service is to survive. The condition `FaultTolerant` says whether it does.
    #[serde(default)]
    pub fault_tolerance: FaultTolerance,
    /// Milliseconds of latency that one joule of battery energy is worth. 0 ignores energy.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub energy_weight_milliseconds_per_joule: i32,
    /// The percentile of measured link rates that decisions count on. 10 counts on what nine tenths of the observations
    /// reach, 1 is more careful, 50 counts on the median. Measurements that are old count for less in any case.
    #[serde(default = "default_link_rate_percentile")]
    #[schemars(range(min = 1, max = 50))]
    pub link_rate_percentile: i32,
    /// Formats in which hidden states may cross a cut. Only F32 keeps greedy text exactly.
    #[serde(default = "exact_activations")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 3))]
    pub activation_precisions: Vec<ActivationPrecision>,
    /// Whether a request needs an API key of an EdgeUser.
    #[serde(default)]
    pub access: Access,
    /// Nodes whose router takes requests of this service. All nodes when empty; of a private service only those that may see
    /// text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 64))]
    pub ingress_nodes: Vec<String>,
    /// Labels that an EdgeNode needs to hold a stage; shorter than `affinity` for the plain case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,
    /// Which EdgeNodes may hold stages or should rather, and which services stages keep away from.
    #[serde(default)]
    pub affinity: Affinity,
    /// Taints of EdgeNodes that do not keep stages away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
}

/// A Model in the same namespace.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelReference {
    /// The Model's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Variants of it that may be used; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 16))]
    pub variants: Vec<String>,
}

/// A service-level objective.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLevel {
    /// From the request to the first token of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub time_to_first_token_milliseconds: Option<i32>,
    /// Between two tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub time_per_output_token_milliseconds: Option<i32>,
    /// The share of requests that must be within the times. Agents report the percentiles 50, 75, 90, 95, 99 and 100 of
    /// recent requests; the next one of these is compared.
    #[serde(default = "default_percentile")]
    #[schemars(range(min = 1, max = 100))]
    pub percentile: i32,
}

// Written by hand, as those below, since a derived one would not be what an empty object is read as; and it stands
// in the schema.
impl Default for ServiceLevel {
    fn default() -> Self {
        Self {
            time_to_first_token_milliseconds: None,
            time_per_output_token_milliseconds: None,
            percentile: default_percentile(),
        }
    }
}

/// Who may see prompts, answers, and hidden states that give them away.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Privacy {
    /// How much may leave the trusted nodes.
    #[serde(default)]
    pub level: PrivacyLevel,
    /// The trust domains of nodes that may see text.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 16))]
    pub trust_domains: Vec<String>,
    /// Blocks that must be computed on trusted nodes before a hidden state may leave them.
    #[serde(default = "default_shallow_layers")]
    #[schemars(range(min = 0, max = 1024))]
    pub shallow_layers: i32,
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            level: PrivacyLevel::default(),
            trust_domains: vec![],
            shallow_layers: default_shallow_layers(),
        }
    }
}

/// How private a service is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum PrivacyLevel {
    /// Any node may see text.
    #[default]
    Open,
    /// Only nodes of the named trust domains may see text: the head, the last stage, and stages behind a cut
    /// shallower than `shallowLayers`.
    TrustedText,
    /// Every stage runs on nodes of the named trust domains.
    TrustedOnly,
}

/// A small model that answers first, and a large one for what it is not confident of: of `models`, one that is named later
/// before one that is named earlier.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cascade {
    /// How many of a hundred requests go on to the large model, so that what the small one keeps is as good. Nobody knows before
    /// it was tried: the default says that half of them do.
    #[serde(default = "default_escalated")]
    #[schemars(range(min = 0, max = 100))]
    pub escalated_percent: i32,
}

impl Default for Cascade {
    fn default() -> Self {
        Self {
            escalated_percent: default_escalated(),
        }
    }
}

/// A typical request.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Tokens of a prompt.
    #[serde(default = "default_prompt")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub prompt_tokens: i32,
    /// How long prompts are where they differ, by a few percentiles such as 50, 90 and 99; in the place of `promptTokens`. A promised
    /// time to the first token is then judged for the prompt at the objective's percentile, everything else for the mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["percentile".into()]))]
    #[schemars(length(max = 16))]
    pub prompt_token_quantiles: Vec<TokenQuantile>,
    /// Tokens of an answer.
    #[serde(default = "default_answer")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub output_tokens: i32,
    /// How long answers are where they differ, likewise; in the place of `outputTokens`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["percentile".into()]))]
    #[schemars(length(max = 16))]
    pub output_token_quantiles: Vec<TokenQuantile>,
}

/// A length that so many percent of prompts or answers do not exceed. Between percentiles lengths are taken to be spread evenly, from 0
/// tokens at 0 percent; beyond the last one none is longer.
#[derive(KubeSchema, Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TokenQuantile {
    /// The share; 50 is the median, 100 the longest.
    #[schemars(range(min = 1, max = 100))]
    pub percentile: i32,
    /// The length.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub tokens: i32,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            prompt_tokens: default_prompt(),
            output_tokens: default_answer(),
            prompt_token_quantiles: vec![],
            output_token_quantiles: vec![],
        }
    }
}

/// How a pipeline is replaced.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum UpdatePolicy {
    /// The new pipeline serves before the old one goes; where memory does not hold both, nothing changes.
    #[default]
    MakeBeforeBreak,
    /// Where memory does not hold both, the old pipeline goes first: the service pauses.
    AllowPause,
}

/// What a service is to survive.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum FaultTolerance {
    /// It is placed again where there is room then.
    #[default]
    None,
    /// The loss of any one node of its pipeline: that another pipeline remains is found out beforehand. The service is placed
    /// before others of its priority that do not ask for it, so that these give way when a node is lost.
    NodeLoss,
}

/// Who may send requests.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Access {
    /// Requests carry an API key of an EdgeUser who has a demand for the service.
    #[default]
    ApiKey,
    /// Anyone who reaches a router.
    Anonymous,
}

fn default_escalated() -> i32 {
    50
}
fn default_context() -> i32 {
    2048
}
fn default_concurrency() -> i32 {
    1
}
fn default_output() -> i32 {
    512
}
fn default_percentile() -> i32 {
    95
}
fn default_link_rate_percentile() -> i32 {
    10
}
fn default_prompt() -> i32 {
    128
}
fn default_answer() -> i32 {
    128
}
fn default_shallow_layers() -> i32 {
    4
}
fn one() -> i32 {
    1
}
fn exact_activations() -> Vec<ActivationPrecision> {
    vec![ActivationPrecision::F32]
}

/// How the service stands.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LLMServiceStatus {
    /// The generation that was decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Feasible`, `Ready` and `SLOMet`; `FaultTolerant` where the spec asks for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The Placement that requests go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_placement: Option<String>,
    /// The Placement that is being made ready to replace it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_placement: Option<String>,
    /// The mode of the active placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<InferenceMode>,
    /// The active pipeline in one line: `laptop[0,12) robot[12,30)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Pipelines that serve.
    #[serde(default)]
    pub replicas: i32,
    /// A label selector for the scale subresource; it selects the service's Placements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// URLs of routers that take requests for the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 64))]
    pub endpoints: Vec<String>,
    /// What the cost model predicts for the typical request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<ServiceFigures>,
    /// What the head of the active pipeline observed: medians of recent requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ServiceFigures>,
    /// What the cost model predicts, with the speeds and links that are measured now, for prompts as long as those that
    /// were observed and one request at a time: what `observed` is to be compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_for_observed: Option<ServiceFigures>,
    /// Why the placement is as it is, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub why: Option<String>,
}

/// Speed of a service.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFigures {
    /// From the request to the first token of the answer.
    pub time_to_first_token_microseconds: i64,
    /// Between two tokens of the answer.
    pub time_per_output_token_microseconds: i64,
    /// Requests that an observed figure stands for; 0 for a prediction.
    #[serde(default)]
    pub requests: i64,
    /// Tokens of the prompt that the figures are for: their median where they were observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<i32>,
}
