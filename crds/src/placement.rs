//! `Placement`: the decision for a service, and the commit record of its plan.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mode::{ActivationPrecision, InferenceMode};

/// A decision: the pipelines of a service, what was predicted for them, and why they won. It is written in
/// one request and never changed; Stages and RouteTables are derived from the live Placements.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "edgeloom.dev",
    version = "v1alpha1",
    kind = "Placement",
    namespaced,
    status = "PlacementStatus",
    derive = "PartialEq",
    shortname = "elp",
    category = "edgeloom",
    doc = "The decision for a service: its pipelines, what was predicted, and why they won.",
    selectable = ".spec.service",
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.service"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.pipelines[0].mode"),
    printcolumn(name = "Stages", type_ = "string", json_path = ".status.stages"),
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".spec.model.name",
        priority = 1
    ),
    printcolumn(
        name = "Variant",
        type_ = "string",
        json_path = ".spec.model.variant",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a Placement's spec is immutable: a new decision is a new Placement"))]
pub struct PlacementSpec {
    /// The LLMService in the same namespace.
    pub service: String,
    /// The weights that were chosen.
    pub model: ChosenModel,
    /// Tokens that one session may hold.
    pub context_tokens: i32,
    /// Sessions whose memory is reserved in every stage.
    pub sessions: i32,
    /// One pipeline for each replica.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub pipelines: Vec<Pipeline>,
    /// Why this, and how far from the best it may be.
    #[serde(default)]
    pub explanation: Explanation,
}

/// A variant of a Model.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChosenModel {
    /// The Model's name.
    pub name: String,
    /// The variant's name.
    pub variant: String,
    /// The digest of its weights.
    pub digest: String,
    /// Where they are.
    pub uri: String,
    /// The SHA-256 of the file, if the Model gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Transformer blocks.
    pub layers: i32,
    /// Its quantisation, such as `Q4_1`.
    pub quantisation: String,
}

/// Stages in the order in which hidden states pass them.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Pipeline {
    /// Unique in the cluster and the same through revisions: `namespace/service/ordinal`.
    pub name: String,
    /// Grows with each new wiring of the same pipeline; peers refuse an older one.
    pub revision: i64,
    /// How the pipeline answers.
    pub mode: InferenceMode,
    /// Rows of a prompt that are computed and sent at once.
    pub prefill_chunk_rows: i32,
    /// At least one stage; the first is the head.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(min = 1, max = 64))]
    pub stages: Vec<PipelineStage>,
    /// What the cost model predicts for the service's typical request.
    pub predicted: Prediction,
}

/// One stage of a pipeline.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PipelineStage {
    /// The Stage's name.
    pub stage: String,
    /// The EdgeNode that holds it.
    pub node: String,
    /// The device there.
    pub device: String,
    /// First block, counted from 0.
    pub first_layer: i32,
    /// One past the last block.
    pub end_layer: i32,
    /// The format of what it sends to the next stage.
    #[serde(default)]
    pub sends: ActivationPrecision,
    /// Memory that is reserved for it.
    pub memory: StageMemory,
    /// What it costs.
    pub cost: StageCost,
}

/// Memory of a stage, as the cost model computes it.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StageMemory {
    /// Blocks, embedding and head.
    pub weights_bytes: i64,
    /// Keys and values of all sessions.
    pub key_value_bytes: i64,
    /// Buffers of a batch in flight, and of its outputs.
    pub compute_bytes: i64,
    /// The sum, which the agent reserves.
    pub total_bytes: i64,
}

/// Predicted times of a stage, and of the hop behind it.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StageCost {
    /// The typical prompt through this stage.
    pub prefill_microseconds: i64,
    /// One output token through this stage.
    pub decode_microseconds: i64,
    /// The typical prompt over the hop to the next stage; for the last stage, the token back to the head.
    pub hop_prefill_microseconds: i64,
    /// One output token over that hop.
    pub hop_decode_microseconds: i64,
}

/// What the cost model predicts.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// From the request to the first token.
    pub time_to_first_token_microseconds: i64,
    /// Between two tokens.
    pub time_per_output_token_microseconds: i64,
    /// Battery energy for one output token.
    #[serde(default)]
    pub battery_microjoules_per_token: i64,
    /// Tokens of the prompt that the times are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<i32>,
}

/// Why a placement won.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// One sentence.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    pub summary: String,
    /// What kept the objective from being better, such as `MemoryOf` and a node.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub binding: String,
    /// The objective in microseconds for a typical request; lower is better.
    #[serde(default)]
    pub objective_microseconds: i64,
    /// No placement can be better than this.
    #[serde(default)]
    pub lower_bound_microseconds: i64,
    /// (objective − bound) / objective, in parts per million.
    #[serde(default)]
    pub gap_parts_per_million: i64,
    /// The rates that were counted on between the pipeline's nodes, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 64))]
    pub links: Vec<LinkRate>,
    /// What else was considered: the runner-up first, then the best of each mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    pub alternatives: Vec<Alternative>,
}

/// A rate that was counted on.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LinkRate {
    /// The EdgeNode that sends.
    pub from: String,
    /// The EdgeNode that receives.
    pub to: String,
    /// The rate, to three digits.
    pub bits_per_second: i64,
    /// Where it comes from.
    #[schemars(length(max = 512))]
    pub why: String,
}

/// Something that was not chosen.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Alternative {
    /// Its mode.
    pub mode: InferenceMode,
    /// Its stages in one line; empty when there is none.
    #[serde(default)]
    pub pipeline: String,
    /// Its figures, when it is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Prediction>,
    /// Why it lost, in one sentence.
    #[schemars(length(max = 1024))]
    pub why_not: String,
}

/// How far the placement is.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// The generation that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The step that it has reached.
    #[serde(default)]
    pub phase: PlacementPhase,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Stages that are ready of all, such as `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<String>,
    /// How good the choice for all services of the same priority together is known to be, and what memory is worth to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<Together>,
    /// How the times that are predicted now compare with those that the head observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// What the service has when one of its nodes is lost, for each of them, if the service asks for fault tolerance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["lost".into()]))]
    #[schemars(length(max = 64))]
    pub contingencies: Vec<Contingency>,
}

/// What remains of a service after the loss of a node.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Contingency {
    /// The EdgeNode that is lost.
    pub lost: String,
    /// The pipeline that answers then, in one line; none when nothing remains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub pipeline: Option<String>,
    /// Its predicted time to the first token for the typical request, to two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_microseconds: Option<i64>,
    /// Its predicted time per output token, to two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_per_output_token_microseconds: Option<i64>,
    /// Why nothing remains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub why_not: Option<String>,
}

/// How well the pipeline is predicted: observed times over predicted ones, for prompts of the observed length. A time
/// between what is predicted with all other services idle and with all of them busy counts as predicted.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Accuracy {
    /// Observed over predicted time to the first token, in thousandths, without waiting for a seat; 0 where it was not
    /// observed.
    #[serde(default)]
    pub first_token_milli: i64,
    /// Observed over predicted time per output token, in thousandths; 0 where it was not observed.
    #[serde(default)]
    pub per_token_milli: i64,
    /// The head's count of requests when this was looked at.
    pub requests: i64,
    /// When it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_time: Option<Time>,
    /// The factors that the prediction holds already, one for each node of the pipeline.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 64))]
    pub corrections: Vec<AppliedCorrection>,
}

/// Factors on the times of a node, in thousandths.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AppliedCorrection {
    /// The EdgeNode.
    pub node: String,
    /// On times of prompts.
    pub prompt_milli: i32,
    /// On times of single tokens.
    pub token_milli: i32,
}

/// The choice for all services of one priority. All fields are written, absent ones as `null`: a merge patch then leaves
/// nothing of an older one.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Together {
    /// Services of this priority that were asked for.
    pub services: i32,
    /// Those that have a placement.
    pub placed: i32,
    /// What the best choice that was found costs them together, in microseconds for a typical request of each, to three
    /// digits.
    pub objective_microseconds: i64,
    /// No choice that places as many as possible costs less.
    pub lower_bound_microseconds: i64,
    /// (objective − bound) / objective, in parts per million; none where it is not known whether more services could be
    /// placed.
    #[serde(default)]
    pub gap_parts_per_million: Option<i64>,
    /// What one more gibibyte of memory is worth, the dearest node first. Other nodes have enough.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 8))]
    pub prices: Vec<MemoryPrice>,
    /// The pipeline that would cost this service less, left to others because all together cost less so.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub gives_way: Option<String>,
}

/// What memory of a node is worth at the margin: the dual price of the bound.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MemoryPrice {
    /// The EdgeNode.
    pub node: String,
    /// What a gibibyte more would save at most, in microseconds of the objective, to two digits.
    pub microseconds_per_gibibyte: i64,
}

/// A step of make before break.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum PlacementPhase {
    /// Written; nothing was derived yet.
    #[default]
    Proposed,
    /// Its stages are being loaded.
    Loading,
    /// Its stages are loaded and wired; no request enters yet.
    Ready,
    /// Requests enter.
    Serving,
    /// No new request enters; it goes when its sessions have ended.
    Draining,
}
