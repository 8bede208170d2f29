//! The task that keeps a worker alive: gives it one request at a time, starts it again when it ends, loads its stages
//! again. It owns the process; [`super::Worker`] speaks to it over a bounded queue.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    Epoch, State, WorkerConfig,
    life::{Life, millis},
    protocol::{Reply, Request, encode},
    reservation::Reservation,
};
use crate::{Error, LoadStage, Memory, Result, StageId, stage::LoadPlan};

/// The pause before the first restart; each further one without a good life doubles it.
const BACKOFF_LEAST: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(30);
/// A life of this length was a good one.
const GOOD_LIFE: Duration = Duration::from_secs(60);
/// A request that ended so many lives is not tried again.
const DEATHS_MAX: u32 = 2;
/// Requests that ended a life and are remembered.
const SUSPECTS_MAX: usize = 64;
/// Starting threads takes milliseconds; this is for a machine that swaps.
const SHARE_DEADLINE: Duration = Duration::from_secs(30);
/// Reading and repacking the largest models from a slow disk.
pub(super) const LOAD_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// A request on its way to the worker.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) deadline: Duration,
    pub(super) queued: Instant,
    pub(super) progress: Option<mpsc::Sender<f32>>,
    pub(super) answer: oneshot::Sender<Result<(Epoch, Reply, Memory)>>,
}

/// What stands in the queue.
pub(super) enum Command {
    Call(Box<Call>),
    Limit(Limits, oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// What a worker is held to, as in [`WorkerConfig`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) memory_bytes: Option<u64>,
    pub(super) compute_share_cores: Option<f64>,
}

/// Why serving ended.
enum Ended {
    Died(String),
    Stopped(Option<oneshot::Sender<()>>),
}

pub(super) struct Supervisor {
    config: WorkerConfig,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<State>,
    reservation: Arc<Reservation>,
    /// What was loaded and is to be loaded again, with what it holds.
    stages: BTreeMap<StageId, (LoadStage, Memory)>,
    /// Requests that ended a life, by their hash, oldest first.
    suspects: VecDeque<(u64, u32)>,
}

impl Supervisor {
    pub(super) fn new(
        config: WorkerConfig,
        commands: mpsc::Receiver<Command>,
        state: watch::Sender<State>,
        reservation: Arc<Reservation>,
    ) -> Self {
        Self {
            config,
            commands,
            state,
            reservation,
            stages: BTreeMap::new(),
            suspects: VecDeque::new(),
        }
    }

    /// Keeps the worker alive until it is told to stop or every handle is gone.
    pub(super) async fn run(mut self, first: Life) {
        let mut life = Some(first);
        let mut backoff = BACKOFF_LEAST;
        loop {
            let began = Instant::now();
            let ended = match life.take() {
                Some(life) => self.live(life).await,
                None => match Life::begin(&self.config).await {
                    Ok(life) => self.live(life).await,
                    Err(error) => Ended::Died(error.to_string()),
                },
            };
            let reason = match ended {
                Ended::Stopped(done) => {
                    self.reservation.end_life();
                    self.state.send_replace(State::Stopped);
                    // Whoever asked for the end may have gone meanwhile.
                    let _ = done.map(|done| done.send(()));
                    return;
                }
                Ended::Died(reason) => reason,
            };
            self.reservation.end_life();
            backoff = if began.elapsed() >= GOOD_LIFE {
                BACKOFF_LEAST
            } else {
                (backoff * 2).min(BACKOFF_MOST)
            };
            tracing::warn!(%reason, ?backoff, "the worker ended and is started again");
            self.state.send_replace(State::Restarting {
                reason: reason.clone(),
                backoff,
            });
            if let Some(done) = self.refuse_for(backoff, &reason).await {
                self.state.send_replace(State::Stopped);
                let _ = done.map(|done| done.send(()));
                return;
            }
        }
    }

    /// Serves one life from its start to its end.
    async fn live(&mut self, mut life: Life) -> Ended {
        self.reservation.begin_life(life.process);
        self.watch_over(&mut life);
        if let Err(reason) = self.load_again(&mut life).await {
            return Ended::Died(reason);
        }
        self.state.send_replace(State::Running { epoch: life.epoch });
        let ended = self.serve(&mut life).await;
        life.kill().await;
        ended
    }

    async fn serve(&mut self, life: &mut Life) -> Ended {
        loop {
            let command = tokio::select! {
                command = self.commands.recv() => command,
                reason = life.idle() => return Ended::Died(reason),
            };
            match command {
                None => return Ended::Stopped(None),
                Some(Command::Stop(done)) => return Ended::Stopped(Some(done)),
                Some(Command::Limit(limits, done)) => {
                    if let Err(reason) = self.limit(life, limits).await {
                        return Ended::Died(reason);
                    }
                    // Whoever asked may have gone meanwhile.
                    let _ = done.send(());
                }
                Some(Command::Call(call)) => {
                    if let Err(reason) = self.answer(life, *call).await {
                        return Ended::Died(reason);
                    }
                }
            }
        }
    }

    /// Holds a process that runs to other limits. An error is the reason why it is gone.
    async fn limit(&mut self, life: &mut Life, limits: Limits) -> std::result::Result<(), String> {
        self.set_limits(limits);
        self.watch_over(life);
        let share = Request::Share {
            threads: self.config.num_threads(),
            compute_share_cores: self.config.compute_share_cores,
        };
        let shared = life.ask(&share, SHARE_DEADLINE, None).await;
        shared.map(drop).map_err(|error| error.to_string())
    }

    fn set_limits(&mut self, limits: Limits) {
        self.config.memory_limit_bytes = limits.memory_bytes;
        self.config.compute_share_cores = limits.compute_share_cores;
    }

    fn watch_over(&self, life: &mut Life) {
        let limit = self.config.memory_limit_bytes;
        life.memory_limit_bytes = limit.map(|limit| self.reservation.allowed_bytes(limit));
    }

    /// Loads every stage into a new process. A stage that is refused now (its file is gone) is dropped with a warning;
    /// its batches are answered by `NoSuchStage`.
    async fn load_again(&mut self, life: &mut Life) -> std::result::Result<(), String> {
        let stages: Vec<_> = self.stages.values().map(|(stage, _)| stage.clone()).collect();
        for stage in stages {
            let id = stage.id.clone();
            match life.ask(&Request::Load(stage), LOAD_DEADLINE, None).await {
                Ok(_) => {}
                Err(error @ (Error::WorkerDied { .. } | Error::Deadline { .. })) => {
                    return Err(error.to_string());
                }
                Err(error) => {
                    tracing::error!(stage = %id, %error, "the stage cannot be loaded again");
                    self.forget(&id);
                }
            }
        }
        Ok(())
    }

    /// Answers one call. An error is the reason why the process is gone.
    async fn answer(&mut self, life: &mut Life, call: Call) -> std::result::Result<(), String> {
        let Call {
            request,
            deadline,
            queued,
            progress,
            answer,
        } = call;
        if answer.is_closed() {
            return Ok(());
        }
        let admitted = match self.admit(&request, queued, deadline).await {
            Ok(memory) => memory,
            Err(error) => {
                let _ = answer.send(Err(error));
                return Ok(());
            }
        };
        let outcome = life.ask(&request, deadline, progress.as_ref()).await;
        let died = match &outcome {
            Err(error @ (Error::WorkerDied { .. } | Error::Deadline { .. })) => {
                self.suspect(&request);
                Err(error.to_string())
            }
            _ => Ok(()),
        };
        if outcome.is_ok() {
            self.note(request, admitted);
            self.watch_over(life);
        }
        // A caller that went away meanwhile wants no answer.
        let _ = answer.send(outcome.map(|reply| (life.epoch, reply, admitted)));
        died
    }

    /// Whether a request may be tried; what it will hold.
    async fn admit(&self, request: &Request, queued: Instant, deadline: Duration) -> Result<Memory> {
        if let Some((_, times)) = self.suspects.iter().find(|(hash, _)| *hash == hash_of(request))
            && *times >= DEATHS_MAX
        {
            return Err(Error::Poisonous { times: *times });
        }
        match request {
            Request::Execute(_) if queued.elapsed() > deadline => Err(Error::DeadlineInQueue {
                waited_ms: millis(queued.elapsed()),
            }),
            Request::Load(stage) => {
                if self.stages.contains_key(&stage.id) {
                    return Err(Error::StageExists {
                        stage: stage.id.to_string(),
                    });
                }
                let memory = predict(stage.clone()).await?;
                self.reservation
                    .admit(memory.total_bytes(), self.config.memory_limit_bytes)?;
                Ok(memory)
            }
            _ => Ok(Memory::default()),
        }
    }

    /// Notes what an answered request changed.
    fn note(&mut self, request: Request, memory: Memory) {
        match request {
            Request::Load(stage) => {
                self.reservation.add(memory.total_bytes());
                self.stages.insert(stage.id.clone(), (stage, memory));
            }
            Request::Unload(id) => self.forget(&id),
            _ => {}
        }
    }

    fn forget(&mut self, id: &StageId) {
        if let Some((_, memory)) = self.stages.remove(id) {
            self.reservation.remove(memory.total_bytes());
        }
    }

    fn suspect(&mut self, request: &Request) {
        let hash = hash_of(request);
        if let Some((_, times)) = self.suspects.iter_mut().find(|(suspect, _)| *suspect == hash) {
            *times += 1;
            return;
        }
        if self.suspects.len() == SUSPECTS_MAX {
            self.suspects.pop_front();
        }
        self.suspects.push_back((hash, 1));
    }

    /// Answers everything by a refusal until the pause is over. `Some` when the worker is to stop for good.
    async fn refuse_for(&mut self, pause: Duration, reason: &str) -> Option<Option<oneshot::Sender<()>>> {
        let until = Instant::now() + pause;
        loop {
            let command = tokio::select! {
                command = self.commands.recv() => command,
                () = tokio::time::sleep_until(until) => return None,
            };
            match command {
                None => return Some(None),
                Some(Command::Stop(done)) => return Some(Some(done)),
                Some(Command::Limit(limits, done)) => {
                    self.set_limits(limits);
                    let _ = done.send(());
                }
                Some(Command::Call(call)) => {
                    let _ = call.answer.send(Err(Error::Restarting {
                        reason: reason.to_owned(),
                    }));
                }
            }
        }
    }
}

/// What a stage will hold, read from its model's header away from the async threads.
pub(super) async fn predict(stage: LoadStage) -> Result<Memory> {
    let plan = tokio::task::spawn_blocking(|| LoadPlan::of(stage)).await;
    Ok(plan.map_err(|_| Error::Stopped)??.memory)
}

/// Names a request by its content. The epoch and the deadline do not count: a batch that is tried again in another life
/// is the same batch.
fn hash_of(request: &Request) -> u64 {
    let mut request = request.clone();
    match &mut request {
        Request::Execute(batch) => {
            batch.epoch = Epoch(0);
            batch.deadline = Duration::ZERO;
        }
        Request::Truncate { epoch, .. } => *epoch = Epoch(0),
        _ => {}
    }
    let mut hasher = DefaultHasher::new();
    let tail = super::protocol::Message::tail(&request);
    // A request that cannot be encoded cannot be sent either.
    encode(&request, &tail).unwrap_or_default().hash(&mut hasher);
    tail.hash(&mut hasher);
    hasher.finish()
}
