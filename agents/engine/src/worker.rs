//! The worker: one supervised process for each device, which holds that device's stages. llama.cpp aborts its process
//! when an assertion fails; here that costs one device's sessions, never the agent.
//!
//! [`Worker`] is the agent's handle; [`main`] is what the child process runs. They speak over a Unix socket, one
//! message for each batch, answered in order. When the worker dies or outlives a deadline it is started again with
//! back-off, its stages are loaded again, and it has a new [`Epoch`]: sessions of an earlier epoch are refused.
//! This module knows no network and no Kubernetes.

mod life;
mod pacing;
mod process;
mod protocol;
mod reservation;
mod supervisor;
mod system;

use std::{
    num::NonZero, path::PathBuf, process::ExitCode, sync::Arc, thread::available_parallelism, time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

pub(crate) use self::process::Device;
use self::{
    life::Life,
    protocol::{Description, Reply, Request},
    reservation::Reservation,
    supervisor::{Call, Command, LOAD_DEADLINE, Limits, Supervisor},
};
use crate::{Batch, BatchOutput, Benchmark, Error, LoadStage, Loaded, Memory, Result, StageId};

/// Requests that may wait for the worker. A device decodes one batch at a time, and whoever has more sessions than this
/// in flight gains nothing by queueing them here instead of batching them.
const QUEUE_LENGTH: usize = 64;
/// Dropping cells takes microseconds; this is for a machine that swaps.
const TRUNCATE_DEADLINE: Duration = Duration::from_secs(30);
/// A benchmark on a small share of a slow core.
const BENCHMARK_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// Steps of progress that may wait to be read; more are dropped.
const PROGRESS_WAITING: usize = 16;

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

impl WorkerConfig {
    /// The threads that a worker of this kind runs.
    #[must_use]
    pub fn num_threads(&self) -> u32 {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let cores = u32::try_from(cores).unwrap_or(1);
        let share = self
            .compute_share_cores
            .map_or(cores, |share| share.ceil().max(1.0) as u32);
        self.threads.unwrap_or(share).clamp(1, cores)
    }
}

fn check_share(compute_share_cores: Option<f64>) -> Result<()> {
    match compute_share_cores {
        Some(share) if !(0.001..=4_096.0).contains(&share) => Err(Error::invalid(
            "compute_share_cores",
            share,
            "use 0.001 to 4096 cores, or none",
        )),
        _ => Ok(()),
    }
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
    /// The process's number.
    pub process: u32,
    /// Resident bytes of the process now, mapped weights included.
    pub resident_bytes: u64,
    /// Predicted bytes of the process and all its stages.
    pub reserved_bytes: u64,
    /// Of them, what the process held before any stage.
    pub base_bytes: u64,
}

impl Held {
    /// What is resident of a stage for which so many bytes were predicted. Of several stages each has its part of what all
    /// of them hold, by prediction: a process does not tell them apart.
    #[must_use]
    pub fn of_stage(&self, predicted_bytes: u64) -> u64 {
        let stages = self.resident_bytes.saturating_sub(self.base_bytes);
        let predicted = self.reserved_bytes.saturating_sub(self.base_bytes).max(1);
        let part = u128::from(stages) * u128::from(predicted_bytes) / u128::from(predicted);
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

/// A handle on the worker process; clones speak to the same process, which ends when the last clone is dropped.
#[derive(Clone)]
pub struct Worker {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    reservation: Arc<Reservation>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Worker")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the process and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::WorkerDied`] when the program cannot be started or does not answer, [`Error::Invalid`] for a share that
    /// no machine has.
    pub async fn start(config: WorkerConfig) -> Result<Self> {
        check_share(config.compute_share_cores)?;
        let life = Life::begin(&config).await?;
        let (commands, queue) = mpsc::channel(QUEUE_LENGTH);
        let (state, states) = watch::channel(State::Running { epoch: life.epoch });
        let reservation = Arc::new(Reservation::default());
        reservation.begin_life(life.process);
        let supervisor = Supervisor::new(config, queue, state, Arc::clone(&reservation));
        tokio::spawn(supervisor.run(life));
        Ok(Self {
            commands,
            state: states,
            reservation,
        })
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

    /// What a stage would hold, without loading it.
    ///
    /// # Errors
    ///
    /// As [`Worker::load`], before anything is loaded.
    pub async fn predict_memory(stage: LoadStage) -> Result<Memory> {
        supervisor::predict(stage).await
    }

    /// Assembles the stage file where it is missing, loads it and reserves memory for all sessions. `progress` is
    /// called with a share of 1. A stage that is loaded is loaded again whenever the worker is started again.
    ///
    /// # Errors
    ///
    /// A refusal with its field; [`Error::Memory`], [`Error::SplitUnsupported`], [`Error::DiskFull`], [`Error::Load`].
    pub async fn load(&self, stage: LoadStage, mut progress: impl FnMut(f32) + Send) -> Result<Loaded> {
        let (sender, mut shares) = mpsc::channel(PROGRESS_WAITING);
        let answer = self.ask(Request::Load(stage), LOAD_DEADLINE, Some(sender));
        tokio::pin!(answer);
        let (epoch, reply, memory) = loop {
            tokio::select! {
                biased;
                Some(share) = shares.recv() => progress(share),
                answer = &mut answer => break answer?,
            }
        };
        match reply {
            Reply::Loaded(Description {
                roles,
                embedding_length,
                vocabulary,
                took,
            }) => Ok(Loaded {
                epoch,
                roles,
                embedding_length,
                vocabulary,
                memory,
                took,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Frees a stage and its sessions.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchStage`].
    pub async fn unload(&self, stage: &StageId) -> Result<()> {
        self.ask(Request::Unload(stage.clone()), LOAD_DEADLINE, None)
            .await
            .map(drop)
    }

    /// Computes one batch. Batches are computed in the order in which they come.
    ///
    /// # Errors
    ///
    /// A refusal ([`Error::is_refusal`]) leaves all sessions as they were. After [`Error::Deadline`] and
    /// [`Error::WorkerDied`] all sessions of the worker are gone.
    pub async fn execute(&self, batch: Batch) -> Result<BatchOutput> {
        let deadline = batch.deadline;
        match self.ask(Request::Execute(batch), deadline, None).await? {
            (_, Reply::Output(output), _) => Ok(output),
            (_, other, _) => Err(unexpected(&other)),
        }
    }

    /// Drops all but the first `keep_positions` positions of a session.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchStage`], [`Error::Epoch`], [`Error::Invalid`], [`Error::Position`] when it holds fewer.
    pub async fn truncate(
        &self,
        epoch: Epoch,
        stage: &StageId,
        slot: u32,
        keep_positions: u32,
    ) -> Result<()> {
        let request = Request::Truncate {
            epoch,
            stage: stage.clone(),
            slot,
            keep_positions,
        };
        self.ask(request, TRUNCATE_DEADLINE, None).await.map(drop)
    }

    /// Empties a session's slot.
    ///
    /// # Errors
    ///
    /// As [`Worker::truncate`].
    pub async fn release(&self, epoch: Epoch, stage: &StageId, slot: u32) -> Result<()> {
        self.truncate(epoch, stage, slot, 0).await
    }

    /// Times real blocks of a model on this worker, at its share of the machine. Takes some seconds, during which the
    /// worker serves nothing else.
    ///
    /// # Errors
    ///
    /// As [`Worker::load`].
    pub async fn benchmark(&self, model_path: PathBuf, model_digest: String) -> Result<Benchmark> {
        let request = Request::Benchmark {
            model_path,
            model_digest,
        };
        match self.ask(request, BENCHMARK_DEADLINE, None).await? {
            (_, Reply::Benchmark(benchmark), _) => Ok(benchmark),
            (_, other, _) => Err(unexpected(&other)),
        }
    }

    /// Changes what [`WorkerConfig`] said of memory and share, without a restart. Stages that are loaded stay, even
    /// beyond the memory; none is loaded until there is room again. The share counts from the next batch on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a share that no machine has; nothing is changed then. [`Error::Stopped`].
    pub async fn set_limits(
        &self,
        memory_limit_bytes: Option<u64>,
        compute_share_cores: Option<f64>,
    ) -> Result<()> {
        check_share(compute_share_cores)?;
        let limits = Limits {
            memory_bytes: memory_limit_bytes,
            compute_share_cores,
        };
        let (done, set) = oneshot::channel();
        let sent = self.commands.send(Command::Limit(limits, done)).await;
        sent.map_err(|_| Error::Stopped)?;
        // A worker that ends before it answers has the limits in its next life.
        let _ = set.await;
        Ok(())
    }

    /// What the process holds now, beside what was reserved.
    ///
    /// # Errors
    ///
    /// [`Error::Restarting`] between two lives.
    pub fn held_memory(&self) -> Result<Held> {
        let held = self.reservation.held();
        held.ok_or_else(|| Error::Restarting {
            reason: "there is no worker process now".into(),
        })
    }

    /// Ends the process and waits for its end. Requests that wait are answered by [`Error::Stopped`].
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            // An error means that another clone's stop came first.
            let _ = stopped.await;
        }
    }

    async fn ask(
        &self,
        request: Request,
        deadline: Duration,
        progress: Option<mpsc::Sender<f32>>,
    ) -> Result<(Epoch, Reply, Memory)> {
        let (answer, answered) = oneshot::channel();
        let call = Call {
            request,
            deadline,
            queued: Instant::now(),
            progress,
            answer,
        };
        self.commands
            .try_send(Command::Call(Box::new(call)))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Error::Busy { queued: QUEUE_LENGTH },
                mpsc::error::TrySendError::Closed(_) => Error::Stopped,
            })?;
        answered.await.unwrap_or(Err(Error::Stopped))
    }
}

/// The reply itself is not told: it may hold sampled tokens, and reasons stand in logs.
fn unexpected(reply: &Reply) -> Error {
    let kind = match reply {
        Reply::Done => "done",
        Reply::Progress(_) => "progress",
        Reply::Loaded(_) => "a loaded stage",
        Reply::Output(_) => "a batch's output",
        Reply::Benchmark(_) => "a benchmark",
        Reply::Failed(_) => "a failure",
    };
    Error::WorkerDied {
        reason: format!("it answered another question, with {kind}"),
    }
}

/// The child process: serves the socket that its parent left as standard input, and ends when that closes.
#[must_use]
pub fn main() -> ExitCode {
    process::main()
}
