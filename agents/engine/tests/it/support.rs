//! The test model, workers, and pipelines of stages on one worker.

use std::{env, ops::Range, path::PathBuf, time::Duration};

use engine::{
    Batch, BatchOutput, Epoch, Input, LoadStage, Output, Result, Row, Sampling, StageId, Worker, WorkerConfig,
};
use tempfile::TempDir;

/// The model's file, fetched beforehand.
pub(crate) fn model_path() -> PathBuf {
    let cached = || {
        let cache = env::var_os("EDGELOOM_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache/edgeloom")));
        cache
            .expect("HOME is set")
            .join("SmolLM2-135M-Instruct.Q4_1.gguf")
    };
    let path = env::var_os("EDGELOOM_TEST_MODEL").map_or_else(cached, PathBuf::from);
    assert!(
        path.exists(),
        "the test model is not at {}: get it with `make model` (tests/programs/model.py), or set EDGELOOM_TEST_MODEL",
        path.display()
    );
    path
}

pub(crate) const MODEL_DIGEST: &str =
    "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
pub(crate) const NUM_LAYERS: u32 = 30;
/// Long enough for a busy machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A folder for stage files that all tests share, since they are the same for all.
pub(crate) fn shared_cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stage-files")
}

pub(crate) fn config() -> WorkerConfig {
    WorkerConfig {
        program: env!("CARGO_BIN_EXE_engine-worker").into(),
        arguments: Vec::new(),
        memory_limit_bytes: None,
        compute_share_cores: None,
        threads: Some(1),
        cache_dir: shared_cache(),
    }
}

/// A folder that is gone after the test.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub(crate) fn stage(layers: Range<u32>) -> LoadStage {
    LoadStage {
        id: StageId(format!("layers-{}-{}", layers.start, layers.end)),
        model_path: model_path(),
        model_digest: MODEL_DIGEST.into(),
        layers,
        context: 256,
        sessions: 1,
        rows_max: 256,
    }
}

/// Greedy output of one row.
pub(crate) fn greedy(row: u32) -> Output {
    Output {
        row,
        sampling: Sampling::default(),
        history: Vec::new(),
        logprob: false,
    }
}

/// Stages of one model, one behind the other, on one worker.
pub(crate) struct Pipeline {
    pub(crate) worker: Worker,
    pub(crate) stages: Vec<StageId>,
    pub(crate) epoch: Epoch,
}

impl Pipeline {
    /// Loads the model cut at `cuts`.
    pub(crate) async fn load(worker: Worker, cuts: &[u32], like: &LoadStage) -> Self {
        let mut ends = cuts.to_vec();
        ends.push(like.layers.end);
        let mut start = like.layers.start;
        let mut stages = Vec::new();
        for end in ends {
            let id = StageId(format!("layers-{start}-{end}"));
            let stage = LoadStage {
                id: id.clone(),
                layers: start..end,
                ..like.clone()
            };
            worker.load(stage, |_| {}).await.unwrap();
            stages.push(id);
            start = end;
        }
        let epoch = worker.epoch().unwrap();
        Self {
            worker,
            stages,
            epoch,
        }
    }

    pub(crate) fn batch(&self, stage: usize, input: Input, rows: &[Row], outputs: &[Output]) -> Batch {
        Batch {
            stage: self.stages[stage].clone(),
            epoch: self.epoch,
            input,
            rows: rows.to_vec(),
            outputs: outputs.to_vec(),
            deadline: PATIENCE,
        }
    }

    /// Sends tokens through all stages.
    pub(crate) async fn step(&self, tokens: &[u32], rows: &[Row], outputs: &[Output]) -> Result<BatchOutput> {
        let mut input = Input::Tokens(tokens.to_vec());
        for stage in 0..self.stages.len() - 1 {
            let output = self.worker.execute(self.batch(stage, input, rows, &[])).await?;
            input = Input::Hidden(output.hidden);
        }
        self.worker
            .execute(self.batch(self.stages.len() - 1, input, rows, outputs))
            .await
    }

    /// Greedy tokens after a prompt that is given in chunks of `chunk` rows.
    pub(crate) async fn generate(&self, slot: u32, prompt: &[u32], chunk: usize, count: usize) -> Vec<u32> {
        let mut position = 0;
        let mut tokens = Vec::new();
        let mut next = Vec::new();
        for (index, chunk_tokens) in prompt.chunks(chunk).enumerate() {
            let rows = rows(slot, position, chunk_tokens.len());
            let last = (index + 1) * chunk >= prompt.len();
            let outputs: Vec<Output> = last.then(|| greedy(rows.len() as u32 - 1)).into_iter().collect();
            next = self.step(chunk_tokens, &rows, &outputs).await.unwrap().samples;
            position += chunk_tokens.len() as u32;
        }
        loop {
            tokens.push(next[0].token);
            if tokens.len() == count {
                return tokens;
            }
            next = self
                .step(&[next[0].token], &rows(slot, position, 1), &[greedy(0)])
                .await
                .unwrap()
                .samples;
            position += 1;
        }
    }

    pub(crate) async fn release(&self, slot: u32) {
        for stage in &self.stages {
            self.worker.release(self.epoch, stage, slot).await.unwrap();
        }
    }
}

/// `count` rows of one session from a position on.
pub(crate) fn rows(slot: u32, position: u32, count: usize) -> Vec<Row> {
    (position..)
        .take(count)
        .map(|position| Row { slot, position })
        .collect()
}
