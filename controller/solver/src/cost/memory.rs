//! Memory of a stage: weights, ends, KV cache, buffers. Meant to be within 5 % of what the worker really takes and never
//! under it; all engine constants are parameters of the node, measured there.

use crate::problem::{Model, Node, Service, Variant};
use crate::solution::StageMemory;
use crate::units::{Bytes, LayerRange};

/// What earlier services' stages on the same node pay for already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// A stage with the same weights is there.
    pub weights: bool,
    /// A worker is there.
    pub worker: bool,
}

/// Memory of stages of one variant for one service.
#[derive(Clone, Debug)]
pub struct MemoryModel<'p> {
    model: &'p Model,
    variant: &'p Variant,
    concurrency: u64,
    context_tokens: u64,
    rows: u64,
    /// Rows whose logits are wanted at once.
    outputs: u64,
    /// `weights_before[l]` is the sum over layers before `l`, resident copies included.
    weights_before: Vec<u64>,
}

impl<'p> MemoryModel<'p> {
    /// Prepares the sums for one service and variant.
    #[must_use]
    pub fn new(service: &Service, model: &'p Model, variant: &'p Variant) -> Self {
        Self::of_rows(service, model, variant, 1)
    }

    /// The same where a session has so many rows in a batch of tokens, each of which is an output: a drafted token is verified
    /// so.
    pub(crate) fn of_rows(
        service: &Service,
        model: &'p Model,
        variant: &'p Variant,
        rows_per_session: u32,
    ) -> Self {
        let outputs = u64::from(service.concurrency) * u64::from(rows_per_session);
        let mut weights_before = vec![0];
        let mut sum = 0_u64;
        for &bytes in &variant.layer_bytes {
            sum = sum.saturating_add(resident(bytes, variant).0);
            weights_before.push(sum);
        }
        Self {
            model,
            variant,
            concurrency: u64::from(service.concurrency),
            context_tokens: u64::from(service.context_tokens),
            rows: u64::from(service.chunk_rows).max(outputs),
            outputs,
            weights_before,
        }
    }

    /// Memory that the layers take as a stage on the node (solver design 4.2).
    #[must_use]
    pub fn stage(&self, node: &Node, layers: LayerRange, sharing: Sharing) -> StageMemory {
        let (first, last) = (layers.start == 0, layers.end == self.variant.num_layers());
        let (engine, model) = (&node.engine, self.model);
        let weights = self.weights_before[layers.end as usize] - self.weights_before[layers.start as usize];
        let (embedding, head) = match (first, last) {
            (true, true) => (
                resident(self.variant.unsplit_ends_bytes, self.variant),
                Bytes::ZERO,
            ),
            (true, false) => (self.variant.embedding_bytes, Bytes::ZERO),
            (false, true) => (Bytes::ZERO, resident(self.variant.head_bytes, self.variant)),
            (false, false) => (Bytes::ZERO, Bytes::ZERO),
        };
        let unshared = |bytes: Bytes| if sharing.weights { Bytes::ZERO } else { bytes };
        let cells = self
            .context_tokens
            .next_multiple_of(u64::from(engine.kv_cell_multiple));
        let per_row = Bytes(engine.bytes_per_row_and_cell).times(cells) + Bytes(model.compute_bytes_per_row);
        let hidden_row = Bytes(u64::from(model.hidden) * 4);
        let logits_row = Bytes(u64::from(model.vocabulary) * 4);
        let mut memory = StageMemory {
            weights: unshared(Bytes(weights)),
            embedding: unshared(embedding),
            head: unshared(head),
            kv_cache: Bytes(model.kv_bytes_per_token_and_layer)
                .times(cells)
                .times(self.concurrency)
                .times(u64::from(layers.len())),
            compute: per_row.times(self.rows),
            outputs: if last {
                logits_row.times(self.outputs).times(engine.logits_copies)
            } else {
                Bytes::ZERO
            },
            activations: if first && last {
                Bytes::ZERO
            } else {
                hidden_row.times(2 * self.rows)
            },
            stage: engine.stage,
            worker: if sharing.worker {
                Bytes::ZERO
            } else {
                engine.worker
            },
            margin: Bytes::ZERO,
        };
        memory.margin = Bytes(
            memory
                .total()
                .times(u64::from(engine.margin_milli))
                .0
                .div_ceil(1_000),
        );
        memory
    }
}

fn resident(bytes: Bytes, variant: &Variant) -> Bytes {
    Bytes(bytes.times(u64::from(variant.resident_milli)).0.div_ceil(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{smollm, smollm_node};
    use crate::problem::Candidate;
    use crate::units::{ModelOrd, VariantOrd};

    fn stage(start: u32, end: u32, sharing: Sharing) -> StageMemory {
        let (model, node) = (smollm(), smollm_node(Bytes::mebi(1_000)));
        let service = Service::new(vec![Candidate {
            model: ModelOrd(0),
            variant: VariantOrd(0),
        }]);
        MemoryModel::new(&service, &model, &model.variants[0]).stage(
            &node,
            LayerRange::new(start, end),
            sharing,
        )
    }

    #[test]
    fn the_measured_stage_of_smollm_is_predicted() {
        // 15 layers of 2,211,840 bytes, 22.5 MiB of KV cache for 2048 tokens, 16.6 MiB of compute buffer.
        let middle = stage(5, 20, Sharing::default());
        assert_eq!(middle.weights, Bytes(15 * 2_216_448));
        assert_eq!(middle.kv_cache, Bytes(45 << 19));
        let measured = 16.6 * 1_048_576.0;
        #[allow(clippy::cast_precision_loss)]
        let predicted = middle.compute.0 as f64;
        assert!(
            (measured..measured * 1.05).contains(&predicted),
            "{predicted} against {measured}"
        );
    }

    #[test]
    fn both_ends_hold_the_tied_table_but_an_unsplit_stage_holds_it_once() {
        assert_eq!(stage(0, 15, Sharing::default()).embedding, Bytes(30_081_024));
        assert_eq!(stage(15, 30, Sharing::default()).head, Bytes(30_081_024));
        let whole = stage(0, 30, Sharing::default());
        assert_eq!(whole.embedding + whole.head, Bytes(30_081_024));
    }

    #[test]
    fn what_another_stage_pays_for_is_not_paid_twice() {
        let shared = stage(
            0,
            15,
            Sharing {
                weights: true,
                worker: true,
            },
        );
        assert_eq!(
            (shared.weights, shared.embedding, shared.worker),
            (Bytes::ZERO, Bytes::ZERO, Bytes::ZERO)
        );
        assert!(shared.kv_cache > Bytes::ZERO);
    }

    #[test]
    fn memory_grows_with_every_layer() {
        let totals: Vec<_> = (1..=29)
            .map(|end| stage(0, end, Sharing::default()).total())
            .collect();
        assert!(totals.is_sorted());
    }
}
