//! A stage that is loaded: checks a batch, computes it step by step, samples. This runs in the worker.

use std::{path::Path, sync::Arc};

use super::{
    Batch, BatchOutput, Input, LoadStage, Output, Roles, Row, Sample,
    embedding::{EmbeddingTable, check_token},
    slots::{Slots, Step},
};
use crate::{
    Error, Memory, ModelFacts, Result,
    gguf::Gguf,
    llama::{Context, ContextShape, Model, StepInput, StepRow, ThreadPool},
    memory, sampling, stage_file,
};

/// Sessions that one stage may hold: llama.cpp's own bound.
const SESSIONS_MAX: u32 = 256;
/// Rows of one batch. More would only make other sessions wait longer.
const ROWS_MAX: u32 = 4_096;

/// A stage in memory.
pub(crate) struct LoadedStage {
    context: Context,
    slots: Slots,
    /// For a stage that is first but not the whole model: llama.cpp looks embeddings up only in a whole model's file.
    embedding: Option<EmbeddingTable>,
    facts: ModelFacts,
    pub(crate) roles: Roles,
    rows_max: u32,
}

/// What a load request becomes once it is known to be possible.
pub(crate) struct LoadPlan {
    model: Gguf,
    facts: ModelFacts,
    roles: Roles,
    stage: LoadStage,
    /// What the stage will hold.
    pub(crate) memory: Memory,
}

impl LoadPlan {
    /// Reads the model's header, checks the request against it and predicts the stage's memory.
    pub(crate) fn of(stage: LoadStage) -> Result<Self> {
        let model = Gguf::read(&stage.model_path)?;
        let facts = ModelFacts::of(&model)?;
        let LoadStage {
            layers,
            context,
            sessions,
            rows_max,
            ..
        } = &stage;
        if layers.start >= layers.end || layers.end > facts.layers {
            return Err(Error::Layers {
                start: layers.start,
                end: layers.end,
                available: facts.layers,
            });
        }
        let in_range = |field: &str, value: u32, most: u32| match value {
            value if (1..=most).contains(&value) => Ok(()),
            value => Err(Error::invalid(
                field,
                value,
                format!("this model takes 1 to {most}"),
            )),
        };
        in_range("context", *context, facts.context_length)?;
        in_range("sessions", *sessions, SESSIONS_MAX)?;
        in_range("rows_max", *rows_max, ROWS_MAX)?;
        let roles = Roles {
            first: layers.start == 0,
            last: layers.end == facts.layers,
        };
        let memory = memory::predict(&facts, &model, &stage);
        Ok(Self {
            model,
            facts,
            roles,
            stage,
            memory,
        })
    }

    /// Assembles the file and loads it.
    pub(crate) fn load(
        self,
        cache: &Path,
        threads: Arc<ThreadPool>,
        progress: &mut dyn FnMut(f32),
    ) -> Result<LoadedStage> {
        let Self {
            model,
            facts,
            roles,
            stage,
            memory: _,
        } = self;
        let LoadStage {
            model_digest,
            layers,
            context,
            sessions,
            rows_max,
            ..
        } = stage;
        let file = stage_file::prepare(&model, &facts, &model_digest, &layers, cache)?;
        let embedding = (roles.first && !roles.last)
            .then(|| EmbeddingTable::open(&model))
            .transpose()?;
        let shape = ContextShape {
            cells: memory::padded_cells(context),
            sequences: sessions,
            rows_max: memory::step_rows_max(context, sessions, rows_max),
            outputs_max: if roles.last { sessions } else { 0 },
            unified: false,
            captured_layer: (!roles.last).then_some(layers.end - layers.start - 1),
        };
        let slots = Slots::new(sessions, context);
        let model = Arc::new(Model::load(&file, progress)?);
        let context = Context::new(model, threads, &shape)?;
        Ok(LoadedStage {
            context,
            slots,
            embedding,
            facts,
            roles,
            rows_max,
        })
    }
}

impl LoadedStage {
    /// Computes with these threads from the next batch on.
    pub(crate) fn use_threads(&mut self, threads: Arc<ThreadPool>) {
        self.context.use_threads(threads);
    }

    /// Floats in one row of hidden state.
    pub(crate) fn embedding_length(&self) -> u32 {
        self.facts.embedding_length
    }

    /// Tokens in the vocabulary.
    pub(crate) fn vocabulary(&self) -> u32 {
        self.facts.vocabulary
    }

    /// Computes a batch. A refusal changes nothing; after [`Error::Decode`] the sessions that took part are empty.
    pub(crate) fn execute(&mut self, batch: &Batch) -> Result<BatchOutput> {
        let steps = self.check(batch)?;
        let computed = self.run(batch, &steps);
        if computed.is_err() {
            self.drop_sessions_of(batch);
        } else {
            self.slots.advance(&batch.rows);
        }
        computed
    }

    fn run(&mut self, batch: &Batch, steps: &[Step]) -> Result<BatchOutput> {
        let mut hidden = vec![
            0;
            if self.roles.last {
                0
            } else {
                batch.rows.len() * self.row_bytes()
            }
        ];
        let mut samples = vec![None; batch.outputs.len()];
        for step in steps {
            self.compute(batch, step)?;
            if self.roles.last {
                self.sample(batch, step, &mut samples)?;
            } else {
                self.collect(step, &mut hidden)?;
            }
        }
        Ok(BatchOutput {
            hidden: hidden.into(),
            samples: samples.into_iter().flatten().collect(),
            ..BatchOutput::default()
        })
    }

    /// Drops all but the first positions of a session.
    pub(crate) fn truncate(&mut self, slot: u32, keep_positions: u32) -> Result<()> {
        self.slots.truncate(slot, keep_positions)?;
        self.context.truncate(slot, keep_positions);
        Ok(())
    }

    fn row_bytes(&self) -> usize {
        self.facts.embedding_length as usize * size_of::<f32>()
    }

    /// Everything that llama.cpp would answer by aborting the process, or by computing something else.
    fn check(&self, batch: &Batch) -> Result<Vec<Step>> {
        let num_rows = batch.rows.len();
        if num_rows == 0 || num_rows > self.rows_max as usize {
            return Err(Error::invalid(
                "rows",
                num_rows,
                format!("this stage takes 1 to {} rows", self.rows_max),
            ));
        }
        match (&batch.input, self.roles.first) {
            (Input::Tokens(tokens), true) => {
                if tokens.len() != num_rows {
                    return Err(Error::invalid(
                        "input",
                        format!("{} tokens", tokens.len()),
                        format!("there are {num_rows} rows"),
                    ));
                }
                tokens
                    .iter()
                    .try_for_each(|&token| check_token(token, self.facts.vocabulary))?;
            }
            (Input::Hidden(bytes), false) => {
                let expected = num_rows * self.row_bytes();
                if bytes.len() != expected {
                    return Err(Error::invalid(
                        "input",
                        format!("{} bytes", bytes.len()),
                        format!("{num_rows} rows take {expected} bytes"),
                    ));
                }
            }
            (Input::Tokens(_), false) => {
                return Err(Error::invalid(
                    "input",
                    "tokens",
                    "a stage that is not first takes hidden states",
                ));
            }
            (Input::Hidden(_), true) => {
                return Err(Error::invalid(
                    "input",
                    "hidden states",
                    "a first stage takes tokens",
                ));
            }
        }
        self.check_outputs(batch)?;
        self.slots.plan(&batch.rows)
    }

    fn check_outputs(&self, batch: &Batch) -> Result<()> {
        if !self.roles.last && !batch.outputs.is_empty() {
            return Err(Error::invalid(
                "outputs",
                batch.outputs.len(),
                "only a last stage samples",
            ));
        }
        let mut slots = std::collections::BTreeSet::new();
        for Output {
            row,
            sampling,
            history,
            logprob: _,
        } in &batch.outputs
        {
            let Some(Row { slot, .. }) = batch.rows.get(*row as usize) else {
                return Err(Error::invalid(
                    "outputs.row",
                    row,
                    format!("there are rows 0..{}", batch.rows.len()),
                ));
            };
            if !slots.insert(*slot) {
                return Err(Error::invalid(
                    "outputs.row",
                    row,
                    format!("slot {slot} has another output in this batch"),
                ));
            }
            sampling.check()?;
            history
                .iter()
                .try_for_each(|&token| check_token(token, self.facts.vocabulary))?;
        }
        Ok(())
    }

    /// One step of llama.cpp.
    fn compute(&mut self, batch: &Batch, step: &Step) -> Result<()> {
        let rows: Vec<StepRow> = step
            .iter()
            .map(|&index| StepRow {
                sequence: batch.rows[index].slot,
                position: batch.rows[index].position,
                output: batch.outputs.iter().any(|output| output.row as usize == index),
            })
            .collect();
        let computed = match (&batch.input, &self.embedding) {
            (Input::Tokens(tokens), Some(table)) => {
                let tokens: Vec<u32> = step.iter().map(|&index| tokens[index]).collect();
                self.context
                    .step(StepInput::Hidden(&table.look_up(&tokens)?), &rows)
            }
            (Input::Tokens(tokens), None) => {
                let tokens: Vec<i32> = step.iter().map(|&index| tokens[index].cast_signed()).collect();
                self.context.step(StepInput::Tokens(&tokens), &rows)
            }
            (Input::Hidden(bytes), _) => {
                let mut hidden = Vec::with_capacity(step.len() * self.facts.embedding_length as usize);
                for row in step
                    .iter()
                    .map(|&index| &bytes[index * self.row_bytes()..][..self.row_bytes()])
                {
                    hidden.extend(row.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)));
                }
                self.context.step(StepInput::Hidden(&hidden), &rows)
            }
        };
        computed.map_err(|code| Error::Decode { code })
    }

    /// Puts the hidden states of a step where the batch has their rows.
    fn collect(&self, step: &Step, hidden: &mut [u8]) -> Result<()> {
        let captured = self.context.captured();
        if size_of_val(captured) != step.len() * self.row_bytes() {
            return Err(Error::LayerOutput {
                floats: captured.len(),
                rows: step.len(),
            });
        }
        for (&index, row) in step
            .iter()
            .zip(captured.chunks_exact(self.facts.embedding_length as usize))
        {
            let bytes = &mut hidden[index * self.row_bytes()..][..self.row_bytes()];
            for (bytes, float) in bytes.as_chunks_mut().0.iter_mut().zip(row) {
                *bytes = float.to_le_bytes();
            }
        }
        Ok(())
    }

    /// Samples the outputs whose rows are in this step.
    fn sample(&self, batch: &Batch, step: &Step, samples: &mut [Option<Sample>]) -> Result<()> {
        for (output, sample) in batch.outputs.iter().zip(samples) {
            let Some(row_of_step) = step.iter().position(|&index| index == output.row as usize) else {
                continue;
            };
            let position = batch.rows[output.row as usize].position;
            let logits = self
                .context
                .logits(row_of_step)
                .ok_or(Error::Logits { row: output.row })?;
            let token = sampling::choose(logits, &output.sampling, &output.history, position);
            let token = token.ok_or(Error::Logits { row: output.row })?;
            let logprob = output.logprob.then(|| sampling::logprob(logits, token));
            *sample = Some(Sample {
                row: output.row,
                token,
                logprob,
            });
        }
        Ok(())
    }

    /// Empties the sessions of a batch that failed half-way: nobody can say what their caches hold.
    fn drop_sessions_of(&mut self, batch: &Batch) {
        for row in &batch.rows {
            self.context.truncate(row.slot, 0);
            self.slots.truncate(row.slot, 0).expect("the batch was checked");
        }
    }
}
