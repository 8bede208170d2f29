//! `Model`: where weights are, and what their header says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model: its weights in one or more precisions. The user writes where they are; the controller reads the
/// rest from the file's header.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[kube(
    group = "edgeloom.dev",
    version = "v1alpha1",
    kind = "Model",
    namespaced,
    status = "ModelStatus",
    derive = "PartialEq",
    shortname = "elmodel",
    category = "edgeloom",
    doc = "A language model: where its weights are, in which precisions, and what their header says.",
    printcolumn(
        name = "Architecture",
        type_ = "string",
        json_path = ".status.architecture.name"
    ),
    printcolumn(name = "Layers", type_ = "integer", json_path = ".status.architecture.layers"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// The file format of every variant.
    #[serde(default)]
    pub format: ModelFormat,
    /// The same weights at one or more precisions. At least one.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub variants: Vec<ModelVariant>,
    /// The Model in the same namespace that this one was fine-tuned from and shares blocks with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub base_model: Option<String>,
    /// LoRA adapters over these weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 64))]
    pub adapters: Vec<ModelAdapter>,
    /// A smaller Model in the same namespace that may draft for speculative decoding. Its tokenizer has to be this model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub draft_model: Option<String>,
    /// How many of a hundred tokens that the draft model proposes are those that this model would have chosen. It depends on
    /// both models and on what is asked: Leviathan and others (2023) measured 53 to 75 for T5 of 11 billion parameters with
    /// T5-small, by task and temperature; the default is in their midst.
    #[serde(default = "default_draft_acceptance")]
    #[schemars(range(min = 1, max = 100))]
    pub draft_acceptance_percent: i32,
}

/// A format of weights.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum ModelFormat {
    #[default]
    /// The file format of llama.cpp.
    GGUF,
}

/// One precision of a model.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelVariant {
    /// A name within the model, such as `q4-1`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Where the file is: `file:///…`, `https://…`, `hf://owner/repository/file` or `oci://…`.
    #[schemars(length(min = 8, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^(file|https?|hf|oci)://.+')")
        .message("must begin with file://, https://, hf:// or oci://"))]
    pub uri: String,
    /// The SHA-256 of the file, in hex; a file with another digest is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
    /// How good the variant's answers are, in thousandths of the best variant's.
    #[serde(default = "full_quality")]
    #[schemars(range(min = 1, max = 1000))]
    pub quality_milli: i32,
}

/// A LoRA adapter.
#[derive(KubeSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelAdapter {
    /// A name within the model.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Where the file is.
    #[schemars(length(min = 8, max = 2048))]
    pub uri: String,
}

fn default_draft_acceptance() -> i32 {
    60
}

fn full_quality() -> i32 {
    1000
}

/// What the controller read from the headers.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// The generation that was inspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` and `Inspected`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The shape of the network; all variants share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<ModelArchitecture>,
    /// Sizes by variant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub variants: Vec<ModelVariantStatus>,
}

/// The shape of a decoder.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelArchitecture {
    /// As the file names it, such as `llama`.
    pub name: String,
    /// Transformer blocks.
    pub layers: i32,
    /// Width of the hidden state.
    pub embedding_length: i32,
    /// Width of the feed-forward layer.
    pub feed_forward_length: i32,
    /// Attention heads.
    pub heads: i32,
    /// Key and value heads.
    pub key_value_heads: i32,
    /// Width of one key of one head, and of one value.
    pub head_length: i32,
    /// Tokens in the vocabulary.
    pub vocabulary: i32,
    /// Positions the model was trained for.
    pub context_length: i32,
    /// Whether layer ranges of this architecture are proven to compute what the whole model computes.
    pub splittable: bool,
}

/// Sizes of a variant, from its file's header.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelVariantStatus {
    /// The variant's name.
    pub name: String,
    /// What identifies the weights: `sha256:…` of the file when the spec gives it, else `header:…` with a hash
    /// of the header and the file's size.
    pub digest: String,
    /// The file's size.
    pub size_bytes: i64,
    /// The most frequent type of the blocks' matrices, such as `Q4_1`.
    pub quantisation: String,
    /// Bytes of each block, in order; one entry when all are equal.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 1024))]
    pub layer_bytes: Vec<i64>,
    /// Bytes of the token embedding table.
    pub embedding_bytes: i64,
    /// Bytes of the output projection; 0 when it is tied to the embedding.
    pub head_bytes: i64,
    /// Bytes of the tensors that belong to no block and are neither embedding nor head (norms, rope factors).
    pub other_bytes: i64,
}

/// What starts the digest of weights whose SHA-256 nobody has said.
const HEADER: &str = "header:";

/// Identifies weights by their file's header (magic, metadata, tensor infos) and size, where the spec gives no SHA-256:
/// `header:` and a hash. Another shape, quantisation, vocabulary or length is another digest; other numbers in the same
/// tensors are not noticed.
#[must_use]
pub fn header_digest(header: &[u8], file_bytes: u64) -> String {
    let content = [header, &file_bytes.to_le_bytes()].concat();
    format!("{HEADER}{}", crate::api_key::content_hash(&content))
}

/// Whether a digest is one of [`header_digest`].
#[must_use]
pub fn is_header_digest(digest: &str) -> bool {
    digest.starts_with(HEADER)
}

impl ModelVariantStatus {
    /// Bytes of block `layer`.
    #[must_use]
    pub fn layer(&self, layer: usize) -> i64 {
        match self.layer_bytes.as_slice() {
            [every] => *every,
            each => each.get(layer).copied().unwrap_or(0),
        }
    }
}
