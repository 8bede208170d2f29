//! What a stage holds in memory, term by term, before it is loaded. Pure, but for one look at the processor's kind.
//!
//! The terms are llama.cpp's own buffers. Weights, cache, output and the computation's buffer follow from the model's
//! shape exactly; what the process needs around them was measured on whole models and ranges of 1 to 30 layers, 8 to
//! 512 rows and 1 to 4 sessions, and is rounded up. A test loads stages, fills them, and holds the prediction to the
//! peak of the worker's resident memory: never under, at most 5 % over.

use serde::{Deserialize, Serialize};

use crate::{
    LoadStage, ModelFacts,
    facts::layer_of,
    gguf::{Gguf, Tensor, Value},
    llama,
};

/// Bytes that a stage holds in its worker, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Weights, mapped from the stage file, and the second copy of those that are rearranged for fast kernels.
    pub weights_bytes: u64,
    /// Key and value cells of all sessions.
    pub cache_bytes: u64,
    /// Buffers of the computation graph.
    pub compute_bytes: u64,
    /// Logits.
    pub output_bytes: u64,
    /// Vocabulary, graph, messages on their way, and llama.cpp's code once it runs.
    pub overhead_bytes: u64,
}

impl Memory {
    /// The sum of all terms.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let Self {
            weights_bytes,
            cache_bytes,
            compute_bytes,
            output_bytes,
            overhead_bytes,
        } = *self;
        weights_bytes + cache_bytes + compute_bytes + output_bytes + overhead_bytes
    }
}

/// llama.cpp pads each session's cells to this number.
const CELLS_MULTIPLE: u32 = 256;
/// Pages of code and constants that computing touches for the first time.
const CODE_BYTES: u64 = 2_160 << 10;
/// Graph, scheduler, model and context, whatever their size.
const BOOKKEEPING_BYTES: u64 = 1_700 << 10;
/// Each layer's part of graph and model, beside its weights.
const LAYER_BYTES: u64 = 36 << 10;
/// Copies of a batch's hidden states that exist at the same time, in quarters: message in, rows of a step, llama.cpp's
/// batch and micro-batch, captured rows, message out. A first stage gets tokens instead; one that is last captures and sends nothing.
const QUARTER_COPIES_OF_ROWS: u64 = 25;
const QUARTER_COPIES_OF_ROWS_FIRST: u64 = 23;
const QUARTER_COPIES_OF_ROWS_LAST: u64 = 20;
/// An entry of llama.cpp's vocabulary: text, attributes, both maps, cached piece.
const TOKEN_BYTES: u64 = 205;
/// A merge of two tokens, with the texts of both.
const MERGE_BYTES: u64 = 145;
/// An entry of the vocabulary that a last stage has without texts.
const NAMELESS_TOKEN_BYTES: u64 = 46;

/// Cells that llama.cpp makes of a session's context.
pub(crate) fn padded_cells(context: u32) -> u32 {
    context.next_multiple_of(CELLS_MULTIPLE)
}

/// Most rows in one step of llama.cpp: a session's rows, or one row of each session.
pub(crate) fn step_rows_max(context: u32, sessions: u32, rows_max: u32) -> u32 {
    rows_max.min(context.max(sessions))
}

/// What a stage will hold at its peak, beside what the worker process holds without stages. The request has been
/// checked.
pub(crate) fn predict(facts: &ModelFacts, model: &Gguf, stage: &LoadStage) -> Memory {
    let LoadStage {
        layers,
        context,
        sessions,
        rows_max,
        ..
    } = stage;
    let num_layers = u64::from(layers.end - layers.start);
    let (first, last) = (layers.start == 0, layers.end == facts.layers);
    let cells = u64::from(padded_cells(*context));
    let rows = u64::from(step_rows_max(*context, *sessions, *rows_max));
    let outputs = if last { u64::from(*sessions) } else { 1 };
    let head_rows = if last { u64::from(facts.vocabulary) } else { 1 };
    Memory {
        weights_bytes: weights_bytes(facts, model, stage),
        cache_bytes: num_layers * cells * u64::from(*sessions) * facts.cache_bytes_per_position_and_layer(),
        compute_bytes: compute_bytes(facts, num_layers, rows, cells, outputs * head_rows),
        output_bytes: outputs * head_rows * 4,
        overhead_bytes: LAYER_BYTES * num_layers + overhead_bytes(facts, model, rows, first, last),
    }
}

/// Mapped tensors, and once more those that llama.cpp rearranges.
fn weights_bytes(facts: &ModelFacts, model: &Gguf, stage: &LoadStage) -> u64 {
    let last = stage.layers.end == facts.layers;
    let whole = last && stage.layers.start == 0;
    let head = if facts.tied {
        "token_embd.weight"
    } else {
        "output.weight"
    };
    let held = |tensor: &&Tensor| match layer_of(&tensor.name) {
        Some(layer) => stage.layers.contains(&layer),
        None if tensor.name == head => last,
        None if tensor.name == "token_embd.weight" => whole,
        None => true,
    };
    let bytes = |tensor: &Tensor| {
        // Embeddings are looked up, not multiplied; only matrices have a second form.
        let multiplied =
            tensor.dimensions.len() == 2 && (layer_of(&tensor.name).is_some() || tensor.name == head);
        let repacked = multiplied && llama::is_repacked(tensor.kind, tensor.dimensions[1]);
        tensor.bytes.next_multiple_of(model.alignment) * if repacked { 2 } else { 1 }
    };
    model.tensors.iter().filter(held).map(bytes).sum()
}

/// The largest sum of tensors that are alive at once, which is inside the feed-forward part: gate, up and their product
/// beside five rows of hidden state (read off llama.cpp's reported buffer sizes, which this meets to the byte). The mask
/// has half a float for each cell and row. A single layer drops rows without output before its feed-forward part, and
/// a head beside few rows may outweigh the layers.
fn compute_bytes(facts: &ModelFacts, num_layers: u64, rows: u64, cells: u64, logits: u64) -> u64 {
    let (hidden, inner) = (
        u64::from(facts.embedding_length),
        u64::from(facts.feed_forward_length),
    );
    let widest = if num_layers == 1 { 2 * inner } else { 3 * inner };
    let mask = rows * cells * 2;
    let layers = rows * (widest + 5 * hidden + 8) * 4 + mask;
    let head = logits * 4 + rows * (5 * hidden + 8) * 4 + mask;
    layers.max(head)
}

fn overhead_bytes(facts: &ModelFacts, model: &Gguf, rows: u64, first: bool, last: bool) -> u64 {
    let hidden = rows * u64::from(facts.embedding_length) * 4;
    let quarter_copies = match (first, last) {
        (true, true) => 0,
        (false, true) => QUARTER_COPIES_OF_ROWS_LAST,
        (true, false) => QUARTER_COPIES_OF_ROWS_FIRST,
        (false, false) => QUARTER_COPIES_OF_ROWS,
    };
    // Activations are quantised for the multiplication with quantised weights: at most 9/8 bytes each.
    let work = rows * u64::from(facts.feed_forward_length.max(facts.embedding_length)) * 9 / 8;
    let vocabulary = match (first, last) {
        (true, true) => vocabulary_bytes(facts, model),
        (_, true) => u64::from(facts.vocabulary) * NAMELESS_TOKEN_BYTES,
        (_, false) => 0,
    };
    CODE_BYTES + BOOKKEEPING_BYTES + hidden * quarter_copies / 4 + work + vocabulary
}

fn vocabulary_bytes(facts: &ModelFacts, model: &Gguf) -> u64 {
    let merges = match model.value("tokenizer.ggml.merges") {
        Some(Value::Array { length, .. }) => *length,
        _ => 0,
    };
    u64::from(facts.vocabulary) * TOKEN_BYTES + merges * MERGE_BYTES
}
