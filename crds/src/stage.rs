//! `Stage`: a layer range held in memory on one node, as a Pod is a set of containers on one node.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::placement::{ChosenModel, StageMemory};

/// Exactly what one agent loads. Its name is a hash of its spec, so equal stages of two pipelines are one.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "edgeloom.dev",
    version = "v1alpha1",
    kind = "Stage",
    status = "StageStatus",
    derive = "PartialEq",
    shortname = "elst",
    category = "edgeloom",
    doc = "A layer range held in memory on one node.",
    selectable = ".spec.nodeName",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "First", type_ = "integer", json_path = ".spec.firstLayer"),
    printcolumn(name = "End", type_ = "integer", json_path = ".spec.endLayer"),
    printcolumn(name = "Precision", type_ = "string", json_path = ".spec.model.quantisation"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Bytes",
        type_ = "integer",
        json_path = ".spec.memory.totalBytes",
        priority = 1
    ),
    printcolumn(name = "Loads", type_ = "integer", json_path = ".status.loads", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a Stage's spec is immutable: another range is another Stage"))]
#[x_kube(validation = Rule::new("self.firstLayer < self.endLayer && self.endLayer <= self.model.layers")
    .message("firstLayer < endLayer <= model.layers must hold"))]
pub struct StageSpec {
    /// The EdgeNode.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
    /// The device there.
    #[schemars(length(min = 1, max = 63))]
    pub device: String,
    /// The weights.
    pub model: ChosenModel,
    /// First block, counted from 0. The stage that has block 0 looks tokens up.
    #[schemars(range(min = 0, max = 1024))]
    pub first_layer: i32,
    /// One past the last block. The stage that ends the model samples.
    #[schemars(range(min = 1, max = 1024))]
    pub end_layer: i32,
    /// Tokens that one session may hold.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub context_tokens: i32,
    /// Sessions that are held at once.
    #[schemars(range(min = 1, max = 256))]
    pub sessions: i32,
    /// The most rows of one batch.
    #[schemars(range(min = 1, max = 4096))]
    pub batch_rows: i32,
    /// What the agent reserves.
    pub memory: StageMemory,
}

impl StageSpec {
    /// The stage that a session's tokens enter.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.first_layer == 0
    }

    /// The stage that samples.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.end_layer == self.model.layers
    }
}

/// What the agent says of it.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// The generation that the agent acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The step that it has reached.
    #[serde(default)]
    pub phase: StagePhase,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The epoch of the worker that holds it: a restarted worker is another, with an empty cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// How often the agent has loaded it since the agent started.
    #[serde(default)]
    pub loads: i32,
    /// Bytes fetched so far, while the weights are being fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_bytes: Option<i64>,
    /// The most that the worker was seen to hold for it since it is ready, mapped weights included. Of several stages each
    /// has its part, by prediction, of what the worker's process holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<i64>,
    /// When it became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_time: Option<Time>,
}

/// A step of loading.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum StagePhase {
    /// The agent has not begun, or waits for memory.
    #[default]
    Pending,
    /// The weights are on their way to the node's disk.
    Fetching,
    /// The worker loads them.
    Loading,
    /// In memory.
    Ready,
    /// It cannot be loaded; the condition says why.
    Failed,
}
