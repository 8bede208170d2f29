//! Tokens per second of a model in one, two and three stages on this machine, through the worker, as ratios to the
//! unsplit run. Contenders take turns and medians are compared, because machines are noisy.
//!
//! `cargo bench -p engine --bench split -- [rounds] [threads]`; the model is found as in the tests. On a machine that does
//! other things meanwhile, use one thread and read the processor time: threads that wait for each other while others run
//! make every other figure meaningless.

use std::{
    env,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use engine::{
    Batch, BatchOutput, Epoch, Input, LoadStage, ModelFacts, Output, Result, Row, Sampling, StageId, Worker,
    WorkerConfig,
};

const PROMPT: u32 = 256;
const TOKENS: u32 = 64;
const SESSIONS: [u32; 2] = [1, 4];
const CUTS: [&[u32]; 3] = [&[], &[15], &[10, 20]];
const DEADLINE: Duration = Duration::from_secs(300);

/// One way to run the model, and what was measured.
struct Contender {
    name: String,
    sessions: u32,
    worker: Worker,
    stages: Vec<StageId>,
    epoch: Epoch,
    prefill: Vec<f64>,
    decode: Vec<f64>,
    /// Processor time for each decoded token, in milliseconds.
    cpu_ms: Vec<f64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let rounds = numbers.next().unwrap_or(5);
    let threads = numbers.next();
    let model = model_path();
    let facts = ModelFacts::read(&model)?;
    let mut contenders = Vec::new();
    for sessions in SESSIONS {
        for cuts in CUTS {
            contenders.push(Contender::start(&model, &facts, sessions, cuts, threads).await?);
        }
    }
    for _ in 0..rounds {
        for contender in &mut contenders {
            contender.run().await?;
        }
    }
    report(&contenders, &facts, rounds);
    Ok(())
}

fn model_path() -> PathBuf {
    let cache = env::var_os("EDGELOOM_CACHE").map(PathBuf::from);
    let cache = cache
        .or_else(|| env::home_dir().map(|home| home.join(".cache/edgeloom")))
        .unwrap_or_default();
    let cached = cache.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    env::var_os("EDGELOOM_TEST_MODEL").map_or(cached, PathBuf::from)
}

impl Contender {
    async fn start(
        model: &Path,
        facts: &ModelFacts,
        sessions: u32,
        cuts: &[u32],
        threads: Option<u32>,
    ) -> Result<Self> {
        let worker = Worker::start(WorkerConfig {
            program: env!("CARGO_BIN_EXE_engine-worker").into(),
            arguments: Vec::new(),
            memory_limit_bytes: None,
            compute_share_cores: None,
            threads,
            cache_dir: env::temp_dir().join("edgeloom-bench"),
        })
        .await?;
        let mut stages = Vec::new();
        let mut start = 0;
        for &end in cuts.iter().chain([&facts.layers]) {
            let id = StageId(format!("{start}-{end}"));
            let stage = LoadStage {
                id: id.clone(),
                model_path: model.to_owned(),
                model_digest: "bench".into(),
                layers: start..end,
                context: PROMPT + TOKENS,
                sessions,
                rows_max: PROMPT,
            };
            worker.load(stage, |_| {}).await?;
            stages.push(id);
            start = end;
        }
        let name = format!(
            "{} stage{}, {sessions} session{}",
            stages.len(),
            s(stages.len()),
            s(sessions as usize)
        );
        let epoch = worker.epoch()?;
        let (prefill, decode, cpu_ms) = Default::default();
        Ok(Self {
            name,
            sessions,
            worker,
            stages,
            epoch,
            prefill,
            decode,
            cpu_ms,
        })
    }

    /// A prompt for each session, then all sessions together token by token.
    async fn run(&mut self) -> Result<()> {
        let began = Instant::now();
        let mut tokens = Vec::new();
        for slot in 0..self.sessions {
            let prompt: Vec<u32> = (0..PROMPT)
                .map(|index| 1_000 + (index * 37 + slot) % 20_000)
                .collect();
            let rows: Vec<Row> = (0..PROMPT).map(|position| Row { slot, position }).collect();
            tokens.push(self.step(prompt, rows, vec![PROMPT - 1]).await?.0.samples[0].token);
        }
        self.prefill
            .push(f64::from(PROMPT * self.sessions) / began.elapsed().as_secs_f64());
        let began = Instant::now();
        let mut cpu = Duration::ZERO;
        for position in PROMPT..PROMPT + TOKENS {
            let rows: Vec<Row> = (0..self.sessions).map(|slot| Row { slot, position }).collect();
            let (output, used) = self.step(tokens, rows, (0..self.sessions).collect()).await?;
            tokens = output.samples.iter().map(|sample| sample.token).collect();
            cpu += used;
        }
        let decoded = f64::from(TOKENS * self.sessions);
        self.decode.push(decoded / began.elapsed().as_secs_f64());
        self.cpu_ms.push(cpu.as_secs_f64() * 1_000.0 / decoded);
        for stage in &self.stages {
            for slot in 0..self.sessions {
                self.worker.release(self.epoch, stage, slot).await?;
            }
        }
        Ok(())
    }

    async fn step(
        &self,
        tokens: Vec<u32>,
        rows: Vec<Row>,
        outputs: Vec<u32>,
    ) -> Result<(BatchOutput, Duration)> {
        let output = |row| Output {
            row,
            sampling: Sampling::default(),
            history: Vec::new(),
            logprob: false,
        };
        let mut input = Input::Tokens(tokens);
        let mut cpu = Duration::ZERO;
        let (last, before) = self.stages.split_last().expect("there is a stage");
        let batch = |stage: &StageId, input, outputs| Batch {
            stage: stage.clone(),
            epoch: self.epoch,
            input,
            rows: rows.clone(),
            outputs,
            deadline: DEADLINE,
        };
        for stage in before {
            let output = self.worker.execute(batch(stage, input, Vec::new())).await?;
            cpu += output.cpu;
            input = Input::Hidden(output.hidden);
        }
        let result = self
            .worker
            .execute(batch(last, input, outputs.into_iter().map(output).collect()))
            .await?;
        cpu += result.cpu;
        Ok((result, cpu))
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark's output is its purpose")]
fn report(contenders: &[Contender], facts: &ModelFacts, rounds: u32) {
    let name = facts.name.as_deref().unwrap_or(&facts.architecture);
    println!(
        "{name} {}, prompt {PROMPT}, {TOKENS} tokens, medians of {rounds} rounds in turns",
        facts.quantisation
    );
    println!(
        "{:<24} {:>15} {:>15} {:>17}   ratios to 1 stage",
        "", "prefill tok/s", "decode tok/s", "cpu ms per token"
    );
    for contender in contenders {
        let unsplit = contenders
            .iter()
            .find(|other| other.sessions == contender.sessions)
            .expect("it comes first");
        let figures = |one: &Contender| [&one.prefill, &one.decode, &one.cpu_ms].map(|times| median(times));
        let [prefill, decode, cpu] = figures(contender);
        let [unsplit_prefill, unsplit_decode, unsplit_cpu] = figures(unsplit);
        let ratios = [
            prefill / unsplit_prefill,
            decode / unsplit_decode,
            cpu / unsplit_cpu,
        ];
        let [a, b, c] = ratios;
        println!(
            "{:<24} {prefill:>15.1} {decode:>15.1} {cpu:>17.2}   {a:.3} {b:.3} {c:.3}",
            contender.name
        );
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn s(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
