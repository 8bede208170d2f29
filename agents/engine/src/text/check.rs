//! Rules out the vocabularies on which llama.cpp aborts its process instead of refusing: the agent is that process.

use std::collections::HashSet;

use crate::{
    Error, Result,
    gguf::{Gguf, Value},
};

/// Kinds of vocabulary by GGUF's name: byte pairs and SentencePiece, which is what decoders have.
const KINDS: &[&str] = &["gpt2", "llama"];

/// Whether the file has a vocabulary that can be loaded into this process.
pub(super) fn vocabulary(file: &Gguf) -> Result<()> {
    let refuse = |reason: String| Err(Error::gguf(&file.path, reason));
    let kind = file
        .value("tokenizer.ggml.model")
        .and_then(Value::as_text)
        .unwrap_or("none");
    if !KINDS.contains(&kind) {
        return refuse(format!(
            "its vocabulary is of kind `{kind}`; {KINDS:?} can be used"
        ));
    }
    let tokens = file.texts("tokenizer.ggml.tokens")?;
    if tokens.is_empty() {
        return refuse("it has no tokens".into());
    }
    let mut seen = HashSet::with_capacity(tokens.len());
    if let Some(twice) = tokens.iter().find(|token| !seen.insert(*token)) {
        return refuse(format!(
            "its vocabulary has {:?} twice",
            String::from_utf8_lossy(twice)
        ));
    }
    for key in ["bos", "eos"] {
        let id = file
            .value(&format!("tokenizer.ggml.{key}_token_id"))
            .and_then(Value::as_u32);
        let adds = file.value(&format!("tokenizer.ggml.add_{key}_token")) == Some(&Value::Bool(true));
        if adds && id.is_none_or(|id| id as usize >= tokens.len()) {
            return refuse(format!("it adds a {key} token that it does not have"));
        }
    }
    Ok(())
}
