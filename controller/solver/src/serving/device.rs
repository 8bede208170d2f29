//! Which rows a node computes next: the rule of the agents' own queue.

use std::collections::VecDeque;

use super::company::{Company, Stage};
use super::{PipelineId, Time};

/// Batches of tokens that may pass a waiting chunk of a prompt.
const TOKENS_PER_PROMPT: u32 = 8;

/// Rows of one session that wait for a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Job {
    pub(super) session: usize,
    pub(super) pipeline: PipelineId,
    /// Which stage of the pipeline.
    pub(super) stage: usize,
    pub(super) step: Step,
}

/// What a session sends round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A chunk of its prompt.
    Chunk(u32),
    /// The token after so many.
    Token(u32),
}

/// What a node computes now.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) jobs: Vec<Job>,
    pub(super) began: Time,
    /// Tells the end of this batch from that of one that was dropped.
    pub(super) number: u64,
}

/// A node's processor.
#[derive(Clone, Debug, Default)]
pub(super) struct Device {
    pub(super) running: Option<Running>,
    pub(super) company: Company,
    /// When it looks for work next, if it is to.
    pub(super) looks_at: Option<Time>,
    tokens: VecDeque<Job>,
    chunks: VecDeque<Job>,
    tokens_since_chunk: u32,
}

impl Device {
    pub(super) fn push(&mut self, job: Job) {
        match job.step {
            Step::Token(_) => self.tokens.push_back(job),
            Step::Chunk(_) => self.chunks.push_back(job),
        }
    }

    /// Forgets what waits and what runs.
    pub(super) fn clear(&mut self) -> Option<Running> {
        self.tokens.clear();
        self.chunks.clear();
        self.tokens_since_chunk = 0;
        self.company = Company::default();
        self.running.take()
    }

    /// The stage of the next batch, if that is one of tokens.
    pub(super) fn decodes_next(&self, is_over: impl Fn(&Job) -> bool) -> Option<Stage> {
        let first = self.tokens.iter().find(|job| !is_over(job))?;
        let is_next = self.chunks.is_empty() || !self.chunk_is_due();
        is_next.then_some((first.pipeline, first.stage))
    }

    fn chunk_is_due(&self) -> bool {
        self.tokens_since_chunk >= TOKENS_PER_PROMPT || self.tokens.is_empty()
    }

    /// The jobs of the next batch, of at most so many rows; none when nothing waits for which somebody waits.
    pub(super) fn next(
        &mut self,
        rows_max: impl Fn(&Job) -> usize,
        is_over: impl Fn(&Job) -> bool,
    ) -> Vec<Job> {
        self.tokens.retain(|job| !is_over(job));
        self.chunks.retain(|job| !is_over(job));
        if self.chunk_is_due()
            && let Some(job) = self.chunks.pop_front()
        {
            self.tokens_since_chunk = 0;
            return vec![job];
        }
        let Some(first) = self.tokens.front().copied() else {
            return Vec::new();
        };
        self.tokens_since_chunk = match self.chunks.is_empty() {
            true => 0,
            false => self.tokens_since_chunk + 1,
        };
        let most = rows_max(&first);
        let mut batch = Vec::new();
        self.tokens.retain(|job| {
            let goes = batch.len() < most && (job.pipeline, job.stage) == (first.pipeline, first.stage);
            if goes {
                batch.push(*job);
            }
            !goes
        });
        batch
    }
}
