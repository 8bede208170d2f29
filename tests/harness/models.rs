//! Models without weights, for suites about the control plane.

use crds::Model;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::control_plane::ControlPlane;

/// The digest of what [`model`] makes.
pub const DIGEST: &str = "sha256:smol";

/// The Model `smol`, of SmolLM2-135M's shape, as if its header had been read, so that no file is needed.
///
/// # Panics
///
/// When the server refuses.
pub async fn model(plane: &ControlPlane) {
    let manifest = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "Model", "metadata": { "name": "smol" },
        "spec": { "variants": [{ "name": "q4-1", "uri": "file:///models/smol.gguf" }] },
    });
    let created: Model = plane.create(manifest).await;
    let status = json!({ "status": {
        "observedGeneration": created.metadata.generation,
        "conditions": [{
            "type": "Inspected", "status": "True", "reason": "AsDesired", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "architecture": {
            "name": "llama", "layers": 30, "embeddingLength": 576, "feedForwardLength": 1536, "heads": 9,
            "keyValueHeads": 3, "headLength": 64, "vocabulary": 49152, "contextLength": 8192, "splittable": true,
        },
        "variants": [{
            "name": "q4-1", "digest": DIGEST, "sizeBytes": 98_362_432, "quantisation": "Q4_1",
            "layerBytes": [2_211_840], "embeddingBytes": 30_081_024, "headBytes": 0, "otherBytes": 2304,
        }],
    }});
    let api = plane.namespaced::<Model>();
    api.patch_status("smol", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .expect("the status is written");
}
