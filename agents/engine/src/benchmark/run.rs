//! Times stages of one and of three layers, and of the last layer with the head, through the same door as any batch:
//! two layers are what the three-layer stage takes longer, and what is left of the one-layer stage is a batch's own cost.
//! Stages and numbers of rows take turns, so that a slow moment of the machine meets all of them, and each stage finds its
//! weights no better cached than in a pass through a whole model.
//!
//! Of a model that may not be split, all layers are timed as one stage, with the head and without it; a batch's own cost is
//! then a part of its layers.

use std::{
    fs,
    hint::black_box,
    ops::Range,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Benchmark, BenchmarkKey, BenchmarkPoint, HISTORY_POSITIONS,
    timed::{Parts, Timed, id},
};
use crate::{
    Batch, Input, ModelFacts, Output, Result, Row, Sampling, StageId, gguf::Gguf, stage::EmbeddingTable,
    worker::Device,
};

/// Rows of a batch up to those of a prompt's chunk, and how often each is timed in a pass: small batches are noisier and
/// cheap to repeat.
const ROUNDS: [(u32, usize); 4] = [(1, 5), (8, 2), (32, 1), (128, 1)];
/// The machine counts as busy with something else when half of the batches of one kind take longer than the fastest by this
/// factor: llama.cpp's threads wait for each other, and one that has no core holds all of them up.
const DISTURBED: f64 = 1.5;
/// The version of llama.cpp's bindings, which is pinned in the workspace.
const LLAMA_VERSION: &str = "llama-cpp-sys-2 0.1.161";

/// Runs the benchmark on a device, which keeps nothing of it.
pub(crate) fn run(device: &mut Device, model_path: PathBuf, model_digest: String) -> Result<Benchmark> {
    let model = Gguf::read(&model_path)?;
    let facts = ModelFacts::of(&model)?;
    let timed = Timed::of(&model, &facts, ROUNDS[ROUNDS.len() - 1].0)?;
    let stages = timed.stages(&model_path, &model_digest);
    let measured = stages
        .iter()
        .try_for_each(|stage| device.load(stage.clone(), &mut |_| {}).map(drop))
        .and_then(|()| {
            Bench {
                device: &mut *device,
                facts: &facts,
                embedding: EmbeddingTable::open(&model)?,
                timed,
            }
            .measure()
        });
    for stage in &stages {
        // What was not loaded, because an earlier one failed, need not be freed.
        let _ = device.unload(&stage.id);
    }
    let (points, batch_overhead_ns) = measured?;
    Ok(Benchmark {
        key: key(device, &facts),
        points,
        batch_overhead_ns,
    })
}

/// Rows of a batch that is timed.
#[derive(Clone, Copy)]
enum Rows {
    /// One of each session, all of them outputs where the stage is the last.
    Decode(u32),
    /// A prompt's, of which the last is an output where the stage is the last.
    Prompt(u32),
    /// As a prompt's, behind the positions that a session holds.
    Continued(u32),
}

/// Times of batches of one number of rows.
#[derive(Clone, Default)]
struct Times {
    /// On the stage of one layer or of all, without a head.
    body: Vec<Duration>,
    /// On the three-layer stage, if there is one.
    three: Vec<Duration>,
    /// On the stage with the head, all rows being outputs.
    heads: Vec<Duration>,
    /// As `body`, behind the positions that a session holds.
    continued: Vec<Duration>,
    /// On the stage with the head, a prompt's rows with one output.
    ends: Vec<Duration>,
}

/// The stages, and what is known of the model.
struct Bench<'b> {
    device: &'b mut Device,
    facts: &'b ModelFacts,
    embedding: EmbeddingTable,
    timed: Timed,
}

impl Bench<'_> {
    /// A point for each number of rows, and the time of a batch beside its layers.
    fn measure(mut self) -> Result<(Vec<BenchmarkPoint>, u64)> {
        self.fill_held_session()?;
        let rows_max = self.timed.rows_max;
        let rounds: Vec<_> = ROUNDS.into_iter().filter(|(rows, _)| *rows <= rows_max).collect();
        let mut all = vec![Times::default(); rounds.len()];
        for _pass in 0..self.timed.passes() {
            for ((rows, count), times) in rounds.iter().zip(&mut all) {
                for _ in 0..*count {
                    self.time_round(*rows, times)?;
                }
            }
        }
        let mut overhead_ns = 0;
        let mut points = Vec::new();
        for ((rows, _), times) in rounds.into_iter().zip(all) {
            let (point, batch_ns) = self.point(rows, times)?;
            if rows == 1 {
                overhead_ns = batch_ns;
            }
            points.push(point);
        }
        Ok((points, overhead_ns))
    }

    /// Every kind of batch of so many rows once.
    fn time_round(&mut self, rows: u32, times: &mut Times) -> Result<()> {
        let (body, end) = (self.timed.body(), self.timed.end());
        let decodes = rows <= self.timed.sessions();
        let batch = if decodes {
            Rows::Decode(rows)
        } else {
            Rows::Prompt(rows)
        };
        times.body.push(self.time_batch(&body, batch, false)?);
        if let Parts::Layers(_) = self.timed.parts {
            times.three.push(self.time_batch(&id("three"), batch, false)?);
        }
        if decodes {
            times.heads.push(self.time_batch(&end, batch, true)?);
        }
        let continued = self.time_batch(&body, Rows::Continued(rows), false)?;
        times.continued.push(continued);
        times.ends.push(self.time_batch(&end, Rows::Prompt(rows), true)?);
        Ok(())
    }

    /// What follows from the times of so many rows, and what a batch takes beside its layers.
    fn point(&self, rows: u32, times: Times) -> Result<(BenchmarkPoint, u64)> {
        let Times {
            body,
            three,
            heads,
            continued,
            ends,
        } = times;
        let decodes = !heads.is_empty();
        let [body_ns, three_ns, continued_ns, head_ns, end_ns] =
            typical_ns([body, three, continued, heads, ends]);
        let layers = self.timed.body_layers();
        let layer_ns = match self.timed.parts {
            Parts::Layers(_) => layer_between(body_ns, three_ns),
            Parts::Whole(_) => body_ns / layers,
        };
        // What the stage with the head takes beside its last layer and the head.
        let before_ns = body_ns.saturating_sub(layer_ns);
        let batch_ns = body_ns.saturating_sub(layers * layer_ns);
        let held = u128::from(layers) * u128::from(self.timed.held);
        let history_ns =
            u128::from(continued_ns.saturating_sub(body_ns)) * u128::from(HISTORY_POSITIONS) / held;
        let point = BenchmarkPoint {
            rows,
            layer_ns,
            head_ns: decodes.then(|| head_ns.saturating_sub(body_ns)),
            prompt_end_ns: end_ns.saturating_sub(before_ns),
            history_ns: u64::try_from(history_ns).unwrap_or(u64::MAX),
            embedding_ns: time_embedding(&self.embedding, self.facts, rows)?,
        };
        Ok((point, batch_ns))
    }

    /// Gives one session its positions.
    fn fill_held_session(&mut self) -> Result<()> {
        let Timed { rows_max, held, .. } = self.timed;
        let slot = self.timed.held_slot();
        for first in (0..held).step_by(rows_max as usize) {
            let end = (first + rows_max).min(held);
            let rows = (first..end).map(|position| Row { slot, position });
            self.execute(&self.timed.body(), rows.collect(), 0)?;
        }
        Ok(())
    }

    /// Time of one batch, paced as the device is.
    fn time_batch(&mut self, stage: &StageId, rows: Rows, is_last: bool) -> Result<Duration> {
        let of_one_session = |slot, first, count| {
            let positions = first..first + count;
            positions.map(move |position| Row { slot, position }).collect()
        };
        let (rows, num_outputs, slots, keep): (Vec<Row>, u32, Range<u32>, u32) = match rows {
            Rows::Decode(count) => {
                let rows = (0..count).map(|slot| Row { slot, position: 0 });
                (rows.collect(), count, 0..count, 0)
            }
            Rows::Prompt(count) => (of_one_session(0, 0, count), 1, 0..1, 0),
            Rows::Continued(count) => {
                let (slot, held) = (self.timed.held_slot(), self.timed.held);
                (of_one_session(slot, held, count), 1, slot..slot + 1, held)
            }
        };
        let time = self.execute(stage, rows, if is_last { num_outputs } else { 0 })?;
        for slot in slots {
            self.device.truncate(self.device.epoch(), stage, slot, keep)?;
        }
        Ok(time)
    }

    /// Computes rows, the last so many of them as outputs.
    fn execute(&mut self, stage: &StageId, rows: Vec<Row>, num_outputs: u32) -> Result<Duration> {
        let num_rows = rows.len() as u32;
        let output = |index| Output {
            row: num_rows - 1 - index,
            sampling: Sampling::default(),
            history: Vec::new(),
            logprob: false,
        };
        let batch = Batch {
            stage: stage.clone(),
            epoch: self.device.epoch(),
            input: self.input(num_rows),
            rows,
            outputs: (0..num_outputs).map(output).collect(),
            deadline: Duration::MAX,
        };
        let output = self.device.execute(&batch)?;
        // A share is a share of processor time, which does not depend on what else the machine does meanwhile.
        Ok(self
            .device
            .share_cores()
            .map_or(output.wall, |share| output.cpu.div_f64(share)))
    }

    /// Tokens for a whole model, otherwise hidden states of about the right size; their values do not change the time.
    fn input(&self, rows: u32) -> Input {
        if let Parts::Whole(_) = self.timed.parts {
            return Input::Tokens(tokens(rows, self.facts));
        }
        let floats = u64::from(rows) * u64::from(self.facts.embedding_length);
        let hidden = (0..floats).flat_map(|index| ((index % 17) as f32 / 8.0 - 1.0).to_le_bytes());
        Input::Hidden(hidden.collect::<Vec<u8>>().into())
    }
}

/// A prime stride visits rows all over the table.
fn tokens(rows: u32, facts: &ModelFacts) -> Vec<u32> {
    (0..rows)
        .map(|row| row.wrapping_mul(7_919) % facts.vocabulary)
        .collect()
}

fn time_embedding(embedding: &EmbeddingTable, facts: &ModelFacts, rows: u32) -> Result<u64> {
    const ROUNDS: usize = 7;
    let tokens = tokens(rows, facts);
    let time = |_| {
        let began = Instant::now();
        embedding.look_up(&tokens).map(|hidden| {
            black_box(hidden);
            began.elapsed()
        })
    };
    (0..ROUNDS).map(time).collect::<Result<Vec<_>>>().map(median_ns)
}

/// One layer, by a batch of one layer and one of three. The rest of a batch takes some time, so that a layer takes neither all of
/// the one nor a third of the other, whatever else the machine did meanwhile.
fn layer_between(one_ns: u64, three_ns: u64) -> u64 {
    let most = one_ns.min(three_ns / 3);
    match three_ns.saturating_sub(one_ns) / 2 {
        0 => most,
        between => between.min(most),
    }
}

/// A time for each of several kinds of batches, whose differences matter: the median of each, or, when the machine was busy with
/// something else, of each the fastest, which was held up least.
fn typical_ns<const KINDS: usize>(times: [Vec<Duration>; KINDS]) -> [u64; KINDS] {
    let fastest = times
        .each_ref()
        .map(|times| times.iter().min().map_or(0, |time| time.as_nanos() as u64));
    let medians = times.map(median_ns);
    let mut kinds = medians.iter().zip(&fastest);
    if kinds.any(|(median, fastest)| *median as f64 > *fastest as f64 * DISTURBED) {
        fastest
    } else {
        medians
    }
}

/// The median of several times, which are to stand for what a request will see: neither the luckiest nor the one that
/// was interrupted.
fn median_ns(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    u64::try_from(median.as_nanos()).unwrap_or(u64::MAX)
}

fn key(device: &Device, facts: &ModelFacts) -> BenchmarkKey {
    let ModelFacts {
        architecture,
        embedding_length,
        feed_forward_length,
        heads,
        key_value_heads,
        vocabulary,
        ..
    } = facts;
    BenchmarkKey {
        engine: format!("{} {LLAMA_VERSION}", env!("CARGO_PKG_VERSION")),
        processor: processor_name(),
        quantisation: facts.quantisation.clone(),
        shape: format!(
            "{architecture}/{embedding_length}/{feed_forward_length}/{heads}/{key_value_heads}/{vocabulary}"
        ),
        threads: device.num_threads(),
        share_millicores: device
            .share_cores()
            .map_or(0, |share| (share * 1_000.0).round() as u32),
    }
}

fn processor_name() -> String {
    let description = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = description
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds<const TIMES: usize>(times: [u64; TIMES]) -> Vec<Duration> {
        times.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_quiet_machine_is_known_by_its_medians_and_a_busy_one_by_its_fastest_batches() {
        const MILLISECOND: u64 = 1_000_000;
        let quiet = [milliseconds([10, 11, 12]), milliseconds([30, 33, 60])];
        assert_eq!(typical_ns(quiet), [11 * MILLISECOND, 33 * MILLISECOND]);
        let busy = [milliseconds([10, 11, 12]), milliseconds([90, 30, 75])];
        assert_eq!(typical_ns(busy), [10 * MILLISECOND, 30 * MILLISECOND]);
        assert_eq!(typical_ns([vec![], milliseconds([4])]), [0, 4 * MILLISECOND]);
    }

    #[test]
    fn a_layer_takes_some_time_and_no_more_than_its_batches_allow() {
        // A batch of its own cost 4, and layers of 10.
        assert_eq!(layer_between(14, 34), 10);
        // One of the two was held up.
        assert_eq!(layer_between(14, 90), 14);
        assert_eq!(layer_between(60, 33), 11);
    }
}
