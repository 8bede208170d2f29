//! Times stages of one and of three layers, and of the last layer with the head, through the same door as any batch:
//! two layers are what the three-layer stage takes longer, and what is left of the one-layer stage is a batch's own cost.

use std::{
    fs,
    hint::black_box,
    ops::Range,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{Benchmark, BenchmarkKey, BenchmarkPoint};
use crate::{
    Batch, Error, Input, LoadStage, ModelFacts, Output, Result, Row, Sampling, StageId, gguf::Gguf,
    stage::EmbeddingTable, worker::Device,
};

/// Rows of a batch, and how often each is timed: small batches are noisier and cheap to repeat.
const ROUNDS: [(u32, usize); 4] = [(1, 25), (8, 10), (64, 4), (512, 2)];
/// Batches up to this size decode, one row for each session; larger ones are a prompt's.
const SESSIONS: u32 = 8;
/// The version of llama.cpp's bindings, which is pinned in the workspace.
const LLAMA_VERSION: &str = "llama-cpp-sys-2 0.1.161";
/// Two buffers of this size are copied: beyond most caches, within the smallest memory limits.
const COPY_BYTES: usize = 16 << 20;
const COPIES: usize = 9;

/// Runs the benchmark on a device, which keeps nothing of it.
pub(crate) fn run(device: &mut Device, model_path: PathBuf, model_digest: String) -> Result<Benchmark> {
    let model = Gguf::read(&model_path)?;
    let facts = ModelFacts::of(&model)?;
    if facts.layers < 3 {
        return Err(Error::invalid(
            "layers",
            facts.layers,
            "a model of at least 3 layers can be timed",
        ));
    }
    let stage = |name: &str, layers: Range<u32>| LoadStage {
        id: StageId(format!("benchmark {name}")),
        model_path: model_path.clone(),
        model_digest: model_digest.clone(),
        layers,
        context: ROUNDS[3].0.min(facts.context_length),
        sessions: SESSIONS,
        rows_max: ROUNDS[3].0,
    };
    // Not the first layers: a first stage looks embeddings up, which is timed by itself.
    let stages = [
        stage("one", 1..2),
        stage("three", facts.layers - 4..facts.layers - 1),
        stage("last", facts.layers - 1..facts.layers),
    ];
    let timed = stages
        .iter()
        .try_for_each(|stage| device.load(stage.clone(), &mut |_| {}).map(drop))
        .and_then(|()| {
            let ids = stages.each_ref().map(|stage| &stage.id);
            measure(device, &facts, &EmbeddingTable::open(&model)?, ids)
        });
    for stage in &stages {
        // What was not loaded, because an earlier one failed, need not be freed.
        let _ = device.unload(&stage.id);
    }
    let (points, batch_overhead_ns) = timed?;
    Ok(Benchmark {
        key: key(device, &facts),
        points,
        batch_overhead_ns,
        copy_bytes_per_second: copy_speed(),
    })
}

fn measure(
    device: &mut Device,
    facts: &ModelFacts,
    embedding: &EmbeddingTable,
    [one, three, last]: [&StageId; 3],
) -> Result<(Vec<BenchmarkPoint>, u64)> {
    let mut points: Vec<BenchmarkPoint> = Vec::new();
    let mut overhead_ns = 0;
    for (rows, rounds) in ROUNDS
        .into_iter()
        .filter(|(rows, _)| *rows <= facts.context_length)
    {
        let decoding = rows <= SESSIONS;
        // The three take turns, so that a slow moment of the machine meets all of them.
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..rounds {
            times[0].push(time_batch(device, facts, one, rows, 0)?);
            times[1].push(time_batch(device, facts, three, rows, 0)?);
            if decoding {
                times[2].push(time_batch(device, facts, last, rows, rows)?);
            }
        }
        let [one_ns, three_ns, last_ns] = times.map(least_ns);
        let layer_ns = three_ns.saturating_sub(one_ns) / 2;
        if rows == 1 {
            overhead_ns = one_ns.saturating_sub(layer_ns);
        }
        // A prompt has one output row, whatever its length; that head was timed at one row.
        let (head_ns, outputs) = match (decoding, points.first()) {
            (false, Some(single)) => (single.head_ns, 1),
            _ => (last_ns.saturating_sub(one_ns), rows),
        };
        let embedding_ns = time_embedding(embedding, facts, rows)?;
        points.push(BenchmarkPoint {
            rows,
            layer_ns,
            head_ns,
            outputs,
            embedding_ns,
        });
    }
    Ok((points, overhead_ns))
}

/// Time of one batch of hidden states, paced as the device is.
fn time_batch(
    device: &mut Device,
    facts: &ModelFacts,
    stage: &StageId,
    rows: u32,
    outputs: u32,
) -> Result<Duration> {
    let decoding = rows <= SESSIONS;
    let row = |index| {
        if decoding {
            Row {
                slot: index,
                position: 0,
            }
        } else {
            Row {
                slot: 0,
                position: index,
            }
        }
    };
    let output = |index| Output {
        row: rows - 1 - index,
        sampling: Sampling::default(),
        history: Vec::new(),
        logprob: false,
    };
    let floats = u64::from(rows) * u64::from(facts.embedding_length);
    // Hidden states of about the right size; their values do not change the time.
    let hidden = (0..floats)
        .flat_map(|index| ((index % 17) as f32 / 8.0 - 1.0).to_le_bytes())
        .collect::<Vec<u8>>();
    let batch = Batch {
        stage: stage.clone(),
        epoch: device.epoch(),
        input: Input::Hidden(hidden.into()),
        rows: (0..rows).map(row).collect(),
        outputs: (0..outputs).map(output).collect(),
        deadline: Duration::MAX,
    };
    let output = device.execute(&batch)?;
    for slot in 0..if decoding { rows } else { 1 } {
        device.truncate(device.epoch(), stage, slot, 0)?;
    }
    // A share is a share of processor time, which does not depend on what else the machine does meanwhile.
    Ok(device
        .share_cores()
        .map_or(output.wall, |share| output.cpu.div_f64(share)))
}

fn time_embedding(embedding: &EmbeddingTable, facts: &ModelFacts, rows: u32) -> Result<u64> {
    const ROUNDS: usize = 7;
    // A prime stride visits rows all over the table.
    let tokens: Vec<u32> = (0..rows)
        .map(|row| row.wrapping_mul(7_919) % facts.vocabulary)
        .collect();
    let time = |_| {
        let began = Instant::now();
        embedding.look_up(&tokens).map(|hidden| {
            black_box(hidden);
            began.elapsed()
        })
    };
    (0..ROUNDS).map(time).collect::<Result<Vec<_>>>().map(least_ns)
}

fn copy_speed() -> u64 {
    let from = vec![1_u8; COPY_BYTES];
    let mut to = vec![0_u8; COPY_BYTES];
    let time = |_| {
        let began = Instant::now();
        to.copy_from_slice(black_box(&from));
        black_box(&to);
        began.elapsed()
    };
    let least_ns = least_ns((0..COPIES).map(time).collect());
    (COPY_BYTES as u64 * 1_000_000_000)
        .checked_div(least_ns)
        .unwrap_or(0)
}

/// The least of several times: whatever else the machine does only adds to them.
fn least_ns(times: Vec<Duration>) -> u64 {
    times
        .into_iter()
        .min()
        .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
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
