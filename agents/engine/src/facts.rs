//! What a model's file says about it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, architecture,
    gguf::{Gguf, Value, kind_name},
};

/// Shape, sizes and peculiarities of a model, read from its header. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// `general.architecture`.
    pub architecture: String,
    /// `general.name`, where there is one.
    pub name: Option<String>,
    /// Layers (transformer blocks).
    pub layers: u32,
    /// Floats in one row of hidden state.
    pub embedding_length: u32,
    /// Width of the feed-forward part.
    pub feed_forward_length: u32,
    /// Attention heads.
    pub heads: u32,
    /// Key and value heads.
    pub key_value_heads: u32,
    /// Floats in one key head.
    pub key_length: u32,
    /// Floats in one value head.
    pub value_length: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// Positions that the model was trained for.
    pub context_length: u32,
    /// The quantisation that most bytes of the layers are in, as GGUF names it (`Q4_1`).
    pub quantisation: String,
    /// Bytes of each layer.
    pub layer_bytes: Vec<u64>,
    /// Bytes of the embedding table.
    pub embedding_bytes: u64,
    /// Bytes of the head that the last stage holds: its own, or the embedding table again when they are tied, and the
    /// final norm.
    pub output_bytes: u64,
    /// Whether head and embedding table are the same tensor.
    pub tied: bool,
    /// Whether the file carries a chat template.
    pub chat_template: bool,
    /// Why the model cannot be split, or nothing when it can.
    pub split_unsupported: Option<String>,
    /// Bytes of the whole file.
    pub file_bytes: u64,
}

impl ModelFacts {
    /// Reads the header of the GGUF file at `path`; the weights are not touched.
    ///
    /// # Errors
    ///
    /// [`crate::Error::File`] and [`crate::Error::Gguf`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::of(&Gguf::read(path)?)
    }

    /// The facts of a header that was read already.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Gguf`] when a part of the shape is missing.
    pub fn of(file: &Gguf) -> Result<Self> {
        let architecture = file.architecture()?.to_owned();
        let need = |key: &str| {
            file.shape(key)?
                .filter(|number| *number > 0)
                .ok_or_else(|| Error::gguf(&file.path, format!("{architecture}.{key} is missing or 0")))
        };
        let layers = need("block_count")?;
        let embedding_length = need("embedding_length")?;
        let heads = need("attention.head_count")?;
        let head_length = embedding_length / heads;
        let mut layer_bytes = vec![0; layers as usize];
        for tensor in &file.tensors {
            if let Some(layer) = layer_of(&tensor.name) {
                *layer_bytes
                    .get_mut(layer as usize)
                    .ok_or_else(|| Error::gguf(&file.path, format!("{} is of no layer", tensor.name)))? +=
                    tensor.bytes;
            }
        }
        let bytes_of = |name: &str| file.tensor(name).map_or(0, |tensor| tensor.bytes);
        let embedding = file
            .tensor("token_embd.weight")
            .ok_or_else(|| Error::gguf(&file.path, "tensor token_embd.weight is missing"))?;
        let vocabulary = embedding
            .dimensions
            .get(1)
            .and_then(|length| u32::try_from(*length).ok())
            .unwrap_or(1);
        let tied = file.tensor("output.weight").is_none();
        let head_bytes = if tied {
            embedding.bytes
        } else {
            bytes_of("output.weight")
        };
        Ok(Self {
            name: file
                .value("general.name")
                .and_then(Value::as_text)
                .map(str::to_owned),
            layers,
            embedding_length,
            feed_forward_length: file.shape("feed_forward_length")?.unwrap_or(0),
            heads,
            key_value_heads: file.shape("attention.head_count_kv")?.unwrap_or(heads),
            key_length: file.shape("attention.key_length")?.unwrap_or(head_length),
            value_length: file.shape("attention.value_length")?.unwrap_or(head_length),
            vocabulary,
            context_length: need("context_length")?,
            quantisation: quantisation_of_layers(file),
            layer_bytes,
            embedding_bytes: embedding.bytes,
            output_bytes: head_bytes + bytes_of("output_norm.weight"),
            tied,
            chat_template: file.value("tokenizer.chat_template").is_some(),
            split_unsupported: architecture::refusal(file).err().map(|error| error.to_string()),
            file_bytes: file.file_bytes,
            architecture,
        })
    }

    /// Bytes of cache that one position takes in one layer: keys and values in half precision.
    #[must_use]
    pub fn cache_bytes_per_position_and_layer(&self) -> u64 {
        u64::from(self.key_value_heads) * u64::from(self.key_length + self.value_length) * 2
    }
}

/// The layer that a tensor belongs to by its name, `blk.N.…`.
pub(crate) fn layer_of(tensor: &str) -> Option<u32> {
    tensor.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// The type that holds most bytes of the layers. Norms and biases are small and do not decide.
fn quantisation_of_layers(file: &Gguf) -> String {
    let mut bytes_by_kind = std::collections::BTreeMap::<u32, u64>::new();
    for tensor in file
        .tensors
        .iter()
        .filter(|tensor| layer_of(&tensor.name).is_some())
    {
        *bytes_by_kind.entry(tensor.kind).or_default() += tensor.bytes;
    }
    let most = bytes_by_kind.into_iter().max_by_key(|(_, bytes)| *bytes);
    most.and_then(|(kind, _)| kind_name(kind))
        .unwrap_or("unknown")
        .to_owned()
}
