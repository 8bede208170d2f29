//! The worker: one supervised process for each device, which holds that device's stages. llama.cpp aborts its process
//! when an assertion fails; here that costs one device's sessions, never the agent.
//!
//! [`Worker`] is the agent's handle; [`main`] is what the child process runs. They speak over a Unix socket, one
//! message for each batch, answered in order. When the worker dies or outlives a deadline it is started again with
//! back-off, its stages are loaded again, and it has a new [`Epoch`]: sessions of an earlier epoch are refused.
//! This module knows no network and no Kubernetes.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Batch, BatchOutput, Benchmark, Error, LoadStage, Loaded, Result, StageId};

/// Names one life of a worker process. Random, never 0, new at each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// How a worker is run.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The program that calls [`main`]; usually the running binary itself.
    pub program: PathBuf,
    /// Its arguments (a hidden subcommand).
    pub arguments: Vec<String>,
    /// Most bytes that the process may hold; stages that would exceed it are refused, and a process that does is
    /// killed. `None` does not limit.
    pub memory_limit_bytes: Option<u64>,
    /// Share of the machine in cores, paced by the processor time that batches use: 0.25 takes four times as long as
    /// its processor time. `None` runs freely.
    pub compute_share_cores: Option<f64>,
    /// Threads; `None` takes the share rounded up, at most the machine's cores.
    pub threads: Option<u32>,
    /// Where assembled stage files are kept.
    pub cache_dir: PathBuf,
}

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs and answers; all stages that it was told to hold are loaded.
    Running {
        /// Its life.
        epoch: Epoch,
    },
    /// It ended and is started again after a pause.
    Restarting {
        /// Why it ended.
        reason: String,
        /// How long until the next attempt.
        backoff: Duration,
    },
    /// It was told to stop.
    Stopped,
}

/// What the worker process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Resident bytes of the process now, mapped weights included.
    pub resident_bytes: u64,
    /// Predicted bytes of the process and all its stages.
    pub reserved_bytes: u64,
}

/// A handle on the worker process; clones speak to the same process, which ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Worker {
    state: watch::Receiver<State>,
}

impl Worker {
    /// Starts the process and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::WorkerDied`] when the program cannot be started or does not answer.
    pub async fn start(config: WorkerConfig) -> Result<Self> {
        let _ = config;
        Err(Error::Stopped)
    }

    /// The worker's present life.
    ///
    /// # Errors
    ///
    /// [`Error::Restarting`] between two lives, [`Error::Stopped`] at the end.
    pub fn epoch(&self) -> Result<Epoch> {
        match &*self.state.borrow() {
            State::Running { epoch } => Ok(*epoch),
            State::Restarting { reason, .. } => Err(Error::Restarting {
                reason: reason.clone(),
            }),
            State::Stopped => Err(Error::Stopped),
        }
    }

    /// A view of the state that can be awaited.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Assembles the stage file where it is missing, loads it and reserves memory for all sessions. `progress` is
    /// called with a share of 1.
    ///
    /// # Errors
    ///
    /// A refusal with its field; [`Error::Memory`], [`Error::SplitUnsupported`], [`Error::DiskFull`], [`Error::Load`].
    pub async fn load(&self, stage: LoadStage, progress: impl FnMut(f32) + Send) -> Result<Loaded> {
        let _ = (stage, progress);
        Err(Error::Stopped)
    }

    /// Frees a stage and its sessions.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchStage`].
    pub async fn unload(&self, stage: &StageId) -> Result<()> {
        let _ = stage;
        Err(Error::Stopped)
    }

    /// Computes one batch.
    ///
    /// # Errors
    ///
    /// A refusal ([`Error::is_refusal`]) leaves all sessions as they were. After [`Error::Deadline`] and
    /// [`Error::WorkerDied`] all sessions of the worker are gone.
    pub async fn execute(&self, batch: Batch) -> Result<BatchOutput> {
        let _ = batch;
        Err(Error::Stopped)
    }

    /// Drops all but the first `keep_positions` positions of a session.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchStage`], [`Error::Invalid`], [`Error::Position`] when it holds fewer.
    pub async fn truncate(
        &self,
        epoch: Epoch,
        stage: &StageId,
        slot: u32,
        keep_positions: u32,
    ) -> Result<()> {
        let _ = (epoch, stage, slot, keep_positions);
        Err(Error::Stopped)
    }

    /// Empties a session's slot.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchStage`], [`Error::Invalid`].
    pub async fn release(&self, epoch: Epoch, stage: &StageId, slot: u32) -> Result<()> {
        self.truncate(epoch, stage, slot, 0).await
    }

    /// Times real blocks of a model on this worker, at its share of the machine. Takes some seconds.
    ///
    /// # Errors
    ///
    /// As [`Worker::load`].
    pub async fn benchmark(&self, model_path: PathBuf, model_digest: String) -> Result<Benchmark> {
        let _ = (model_path, model_digest);
        Err(Error::Stopped)
    }

    /// What the process holds now, beside what was reserved.
    ///
    /// # Errors
    ///
    /// [`Error::Restarting`] between two lives.
    pub fn held_memory(&self) -> Result<Held> {
        Err(Error::Stopped)
    }

    /// Ends the process and waits for its end.
    pub async fn stop(&self) {}
}

/// The child process: serves the socket that its parent left as standard input, and ends when that closes.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
