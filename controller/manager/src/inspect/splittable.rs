//! Whether layer ranges of a model are proven to compute what the whole model computes. The engine refuses by the same
//! rules; `tests/it/headers.rs` holds the two against each other, since neither room may import the other.

use serde_json::Value;

use super::gguf::Header;

/// The architectures whose split is proven.
const PROVEN: [&str; 1] = ["llama"];

/// Tensors outside of layers that the proof covers.
const OUTSIDE_OF_LAYERS: [&str; 4] = [
    "token_embd.weight",
    "output_norm.weight",
    "output.weight",
    "rope_freqs.weight",
];

/// Scales that would be applied at each stage instead of once.
const REPEATED_AT_EACH_STAGE: [&str; 3] = ["embedding_scale", "residual_scale", "logit_scale"];

impl Header {
    /// Whether a model of this header may be split.
    pub(super) fn is_splittable(&self, architecture: &str) -> bool {
        let own = |key: &str| self.metadata.get(&format!("{architecture}.{key}"));
        let tensors_are_covered = self.tensors.iter().all(|tensor| {
            tensor.name.starts_with("blk.") || OUTSIDE_OF_LAYERS.contains(&tensor.name.as_str())
        });
        // An array of numbers has one for each layer, and stages renumber layers.
        let layers_are_alike = !self
            .array_lengths
            .keys()
            .any(|key| key.starts_with(&format!("{architecture}.")));
        let has_experts = own("expert_count")
            .and_then(Value::as_u64)
            .is_some_and(|experts| experts > 0);
        let is_unscaled = REPEATED_AT_EACH_STAGE
            .iter()
            .filter_map(|key| own(key))
            .all(|scale| scale.is_f64() && [Some(0.0), Some(1.0)].contains(&scale.as_f64()));
        PROVEN.contains(&architecture)
            && tensors_are_covered
            && layers_are_alike
            && !has_experts
            && is_unscaled
    }
}
