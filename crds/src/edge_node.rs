//! `EdgeNode`: a machine that can hold stages.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// A machine at the edge. Its spec says what may be used; its agent reports what is there.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "edgeloom.dev",
    version = "v1alpha1",
    kind = "EdgeNode",
    status = "EdgeNodeStatus",
    derive = "PartialEq",
    shortname = "en",
    category = "edgeloom",
    doc = "A machine at the edge: what of it may be used, and what its agent measured.",
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.site", priority = 1),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Reachable')].status"
    ),
    printcolumn(
        name = "Schedulable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Schedulable')].status"
    ),
    printcolumn(
        name = "Memory",
        type_ = "integer",
        json_path = ".status.devices[0].memoryBytes"
    ),
    printcolumn(name = "Battery", type_ = "integer", json_path = ".status.battery.percent"),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.agent.version",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeNodeSpec {
    /// Where in the hierarchy the machine stands.
    #[serde(default)]
    pub tier: Tier,
    /// The place that it belongs to, such as a factory hall. Nodes of one place, and those of none, that no EdgeLink joins are
    /// taken to be wired: 1 Gbit/s, 0.25 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub site: Option<String>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Who is trusted with what it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub trust_domain: Option<String>,
    /// The most that may be used. What the machine has, when absent.
    #[serde(default)]
    pub limits: NodeLimits,
    /// Where its power comes from.
    #[serde(default)]
    pub power: Power,
    /// What keeps services away that do not tolerate it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    #[schemars(length(max = 32))]
    pub taints: Vec<Taint>,
    /// No new stage is placed here, as after `kubectl cordon`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
    /// The Kubernetes Node that this is, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kubernetes_node_name: Option<String>,
}

/// A place in the hierarchy.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Tier {
    /// A phone, robot or laptop.
    Device,
    #[default]
    /// A base station or an edge server.
    Server,
    /// A data centre.
    Cloud,
}

/// A position on Earth, in millionths of a degree (about 0.1 m).
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// North is positive.
    #[schemars(range(min = -90_000_000, max = 90_000_000))]
    pub latitude_microdegrees: i32,
    /// East is positive.
    #[schemars(range(min = -180_000_000, max = 180_000_000))]
    pub longitude_microdegrees: i32,
}

/// Caps on what Edgeloom may use.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeLimits {
    /// Memory for stages, with everything that the engine needs beside weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Cores, such as `500m` or `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<Quantity>,
    /// Disk for weights that are fetched, and for the parts of models that are loaded. Services are placed within it; the agent
    /// removes what nobody uses, the oldest first, before it writes more. Files that a Model names by `file://` on the node itself
    /// do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Quantity>,
}

/// A source of power.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.source == 'Battery' || !has(self.battery)")
    .message("battery belongs to source Battery"))]
pub struct Power {
    /// Mains or battery.
    #[serde(default)]
    pub source: PowerSource,
    /// The battery, for a machine whose battery the system does not report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<DeclaredBattery>,
    /// The share of the battery that is left alone.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub reserve_percent: i32,
}

/// Mains or battery.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum PowerSource {
    #[default]
    /// The grid.
    Mains,
    /// A battery.
    Battery,
}

/// A battery as its owner declares it; status marks what follows from it as Declared.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredBattery {
    /// What it holds when full.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub capacity_milliwatt_hours: i32,
    /// The charge when the agent starts.
    #[serde(default = "full")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,
    /// What the machine draws when idle.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub idle_milliwatts: i32,
    /// What one busy core draws on top.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub milliwatts_per_core: i32,
}

fn full() -> i32 {
    100
}

/// Keeps services away that do not tolerate it.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// What it is about.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub value: Option<String>,
    /// What it does.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum TaintEffect {
    /// No new stage; stages that are there stay.
    NoSchedule,
    /// No new stage where another node is nearly as good: each counts, in a decision, as a second more for a request.
    PreferNoSchedule,
    /// No stage: services leave the node, as a cordoned one, where there is room elsewhere.
    NoExecute,
}

/// Whether a figure was measured, or stands for what somebody declared.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Provenance {
    /// Somebody measured it.
    Measured,
    #[default]
    /// Somebody said so.
    Declared,
}

/// What the agent reports, and what the controller has learnt. Written when a value leaves its dead band, or after five minutes.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EdgeNodeStatus {
    /// The generation that the agent acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` and `Benchmarked` by the agent, `Reachable` and `Schedulable` by the controller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentInfo>,
    /// What can hold stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub devices: Vec<Device>,
    /// The battery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<BatteryReading>,
    /// The hottest sensor, in thousandths of a degree Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_millicelsius: Option<i32>,
    /// Weights on the node's disk, by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["digest".into()]))]
    #[schemars(length(max = 256))]
    pub models: Vec<HeldModel>,
    /// Peers whose connection this agent lost, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["node".into()]))]
    #[schemars(length(max = 64))]
    pub lost_peers: Vec<LostPeer>,
    /// What requests have shown of the times in `devices[].benchmarks` (written by the controller).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["model".into()]))]
    #[schemars(length(max = 64))]
    pub corrections: Vec<SpeedCorrection>,
    /// When the status was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_time: Option<Time>,
}

/// How to reach an agent, and what it is.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AgentInfo {
    /// Where peers reach it over QUIC: `address:port`.
    pub peer_address: String,
    /// Its router: `http://address:port`.
    pub router_url: String,
    /// Its public key, as transport's identity prints it.
    pub public_key: String,
    /// The agent's version.
    pub version: String,
    /// The engine's version; all stages of a pipeline run the same one.
    pub engine_version: String,
    /// A number that is new at each start of the agent.
    pub incarnation: String,
    /// What it can do beyond its version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32))]
    pub features: Vec<String>,
}

/// A processor with memory of its own. Stages run on `cpu`, which comes first. GPUs are told for those who plan with
/// them; the engine of this version does not run stages there.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// `cpu` for the processor; `cuda0` and so on for GPUs.
    pub name: String,
    /// Memory that stages may use: the machine's, the pod's without the agent's own part, or the declared limit, whichever
    /// is least. Of a GPU, all that it has.
    pub memory_bytes: i64,
    /// Cores that stages may use, in thousandths.
    pub cores_milli: i64,
    /// Memory that the engine's process holds beside stages.
    #[serde(default)]
    pub overhead_bytes: i64,
    /// The product, such as `NVIDIA L4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub product: Option<String>,
    /// What stays the same when cards are put in another order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub uuid: Option<String>,
    /// Memory of a GPU that is taken, by whomever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<i64>,
    /// Its temperature, in thousandths of a degree Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_millicelsius: Option<i32>,
    /// Power that it draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_milliwatts: Option<i64>,
    /// Share of the time in which something ran on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_percent: Option<i32>,
    /// Times of real blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["model".into()]))]
    #[schemars(length(max = 64))]
    pub benchmarks: Vec<Benchmark>,
}

/// Times of a model's blocks on a device, as they run at the device's share of cores.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Benchmark {
    /// The digest of the weights that were timed.
    pub model: String,
    /// Their quantisation.
    pub quantisation: String,
    /// The engine that ran them.
    pub engine_version: String,
    /// Times by the number of rows in a batch, ascending.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["rows".into()]))]
    #[schemars(length(max = 16))]
    pub points: Vec<BenchmarkPoint>,
    /// Time to look one row of the embedding up.
    pub embedding_nanoseconds_per_row: i64,
    /// Time of a batch that is independent of layers and rows (message to the worker and back).
    pub batch_overhead_nanoseconds: i64,
    /// When it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_time: Option<Time>,
}

/// Times at one batch size.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BenchmarkPoint {
    /// Rows in the batch.
    pub rows: i32,
    /// Time of one block for the whole batch.
    pub layer_nanoseconds: i64,
    /// Time of the output projection for `rows` outputs; 0 where it was not measured, since a prompt has one output.
    pub head_nanoseconds: i64,
    /// Time of the last block and the output projection for a prompt's rows, of which only the last is an output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_end_nanoseconds: Option<i64>,
    /// What a thousand positions, which the session held before the batch, add to one block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_nanoseconds: Option<i64>,
}

/// How much longer a model's blocks take in requests than when they were timed, learnt from what heads observe, and how much
/// more memory than was predicted. Decisions are made with corrected figures.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SpeedCorrection {
    /// The digest of the weights.
    pub model: String,
    /// The device that runs them.
    pub device: String,
    /// The engine that runs them; another engine is learnt anew.
    pub engine_version: String,
    /// When the times that are corrected were measured; times that are measured anew are learnt anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmarked_time: Option<Time>,
    /// The factor on times of prompts, in thousandths: 1000 where they are as they were timed.
    #[schemars(range(min = 1, max = 100_000))]
    pub prompt_milli: i32,
    /// The factor on times of single tokens, in thousandths.
    #[schemars(range(min = 1, max = 100_000))]
    pub token_milli: i32,
    /// The factor on the memory of stages, in thousandths: 1000 unless the worker was seen to hold more than was predicted.
    /// It does not fade.
    #[serde(default = "as_predicted")]
    #[schemars(range(min = 1_000, max = 4_000))]
    pub memory_milli: i32,
    /// Windows of requests that it was learnt from, since it last faded.
    pub windows: i32,
    /// Times that it had faded, since nothing confirmed it, and was found again. Each doubles the time for which it holds.
    #[serde(default)]
    pub relapses: i32,
    /// When requests last confirmed it.
    pub observed_time: Time,
}

fn as_predicted() -> i32 {
    1_000
}

/// A battery's state.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BatteryReading {
    /// Charge.
    pub percent: i32,
    /// Energy left, in milliwatt hours, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_milliwatt_hours: Option<i64>,
    /// Whether it is being charged.
    #[serde(default)]
    pub charging: bool,
    /// Measured, or what a declared battery would have left.
    #[serde(default)]
    pub provenance: Provenance,
}

/// Weights on disk.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HeldModel {
    /// The digest of the weights.
    pub digest: String,
    /// Bytes on disk.
    pub bytes: i64,
}

/// A peer that does not answer.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LostPeer {
    /// The peer's EdgeNode.
    pub node: String,
    /// The incarnation of the agent that was lost; a restarted one is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// When the connection died.
    pub since: Time,
}
