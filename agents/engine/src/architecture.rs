//! Which models may be split. A stage file is an unusual file: layers renumbered, embeddings given from outside. For
//! some architectures llama.cpp then computes something else without a word (Granite scales injected embeddings at each
//! stage, GPT-2 adds positions again, Gemma scales embeddings), so every architecture needs its proof first.

use crate::{
    Error, Result,
    gguf::{Gguf, Value},
};

/// An architecture whose split was shown to compute what the unsplit model computes.
struct Proven {
    architecture: &'static str,
    /// Tensors outside of layers that a stage file carries or replaces. Any other tensor outside of layers is a
    /// peculiarity that the proof did not cover.
    tensors: &'static [&'static str],
}

/// Proofs are in `tests/split.rs`, by architecture:
/// `llama`: greedy tokens and hidden states, with and without `rope_freqs`, tied and untied.
const PROVEN: &[Proven] = &[Proven {
    architecture: "llama",
    tensors: &[
        "token_embd.weight",
        "output_norm.weight",
        "output.weight",
        "rope_freqs.weight",
    ],
}];

/// Scales that some models of the `llama` family carry in their metadata and that would be applied at each stage.
const REPEATED_AT_EACH_STAGE: &[&str] = &["embedding_scale", "residual_scale", "logit_scale"];

/// Whether a model may be split.
///
/// # Errors
///
/// [`Error::SplitUnsupported`] with the reason.
pub(crate) fn refusal(file: &Gguf) -> Result<()> {
    let architecture = file.architecture()?;
    let refuse = |reason: String| {
        Err(Error::SplitUnsupported {
            architecture: architecture.to_owned(),
            reason,
        })
    };
    let Some(proven) = PROVEN.iter().find(|proven| proven.architecture == architecture) else {
        return refuse("no test shows yet that its split computes the same; it runs unsplit".into());
    };
    for tensor in file
        .tensors
        .iter()
        .filter(|tensor| !tensor.name.starts_with("blk."))
    {
        if !proven.tensors.contains(&tensor.name.as_str()) {
            return refuse(format!("it has a tensor {} outside of its layers", tensor.name));
        }
    }
    for entry in file
        .entries
        .iter()
        .filter(|entry| entry.key.starts_with(&format!("{architecture}.")))
    {
        if matches!(entry.value, Value::Array { .. }) {
            return refuse(format!("its {} differs from layer to layer", entry.key));
        }
    }
    if file.shape("expert_count")?.is_some_and(|experts| experts > 0) {
        return refuse(
            "no test shows yet that a split mixture of experts computes the same; it runs unsplit".into(),
        );
    }
    for key in REPEATED_AT_EACH_STAGE {
        match file.value(&format!("{architecture}.{key}")) {
            None => {}
            Some(Value::Float(scale)) if *scale == 0.0 || *scale == 1.0 => {}
            Some(_) => return refuse(format!("its {architecture}.{key} would be applied at each stage")),
        }
    }
    Ok(())
}
