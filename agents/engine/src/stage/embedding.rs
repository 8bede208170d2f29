//! The embedding table of a first stage, read row by row from the model's file. Rows stay in the system's page cache:
//! the worker holds none of the table itself, and a file that shrinks is an error instead of a fault.

use std::{fs::File, os::unix::fs::FileExt};

use crate::{Error, Result, gguf::Gguf, llama};

/// Where a token's row lies, and how to read it.
#[derive(Debug)]
pub(crate) struct EmbeddingTable {
    file: File,
    name: String,
    offset: u64,
    row_bytes: u64,
    kind: u32,
    embedding_length: usize,
    rows: u32,
}

impl EmbeddingTable {
    /// The table of a model.
    pub(crate) fn open(model: &Gguf) -> Result<Self> {
        let missing = || Error::gguf(&model.path, "tensor token_embd.weight is missing or not a table");
        let tensor = model.tensor("token_embd.weight").ok_or_else(missing)?;
        let [length, rows] = tensor.dimensions[..] else {
            return Err(missing());
        };
        let table = Self {
            file: File::open(&model.path).map_err(|error| Error::file(&model.path, &error))?,
            name: model.path.display().to_string(),
            offset: tensor.offset,
            row_bytes: tensor.bytes / rows.max(1),
            kind: tensor.kind,
            embedding_length: usize::try_from(length).map_err(|_| missing())?,
            rows: u32::try_from(rows).map_err(|_| missing())?,
        };
        // Says now, and not at the first prompt, when ggml cannot read this type.
        table.look_up(&[0])?;
        Ok(table)
    }

    /// Hidden states of `tokens`, row after row: bit for bit what llama.cpp's own lookup yields.
    pub(crate) fn look_up(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut bytes = vec![0; usize::try_from(self.row_bytes).expect("a row is small")];
        let mut hidden = vec![0.0; tokens.len() * self.embedding_length];
        for (&token, floats) in tokens.iter().zip(hidden.chunks_exact_mut(self.embedding_length)) {
            check_token(token, self.rows)?;
            let failed = |reason: String| Error::File {
                path: self.name.clone(),
                reason,
            };
            self.file
                .read_exact_at(&mut bytes, self.offset + u64::from(token) * self.row_bytes)
                .map_err(|error| failed(error.to_string()))?;
            if !llama::dequantise(self.kind, &bytes, floats) {
                return Err(failed(format!(
                    "embeddings of tensor type {} cannot be read",
                    self.kind
                )));
            }
        }
        Ok(hidden)
    }
}

/// Refuses a token that is not in the vocabulary.
pub(crate) fn check_token(token: u32, vocabulary: u32) -> Result<()> {
    if token < vocabulary {
        return Ok(());
    }
    Err(Error::invalid(
        "token",
        token,
        format!("the vocabulary has tokens 0..{vocabulary}"),
    ))
}
