//! One device's work, one batch at a time: takes rows of many sessions, batches them as [`Queue`] says, and gives each
//! session its part of the answer. Slots are emptied here too, so that no row of a session that has ended can follow
//! the emptying of its slot.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use engine::{Batch, Epoch, Error, Input, Output, Row, Sample, Sampling, Worker};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    company::{Company, Place},
    queue::{Queue, Queued},
    seats::{LoadedStage, Release},
};
use crate::metrics::Metrics;

/// Jobs that may wait: as many as there may be sessions on a stage, each has at most one.
const QUEUE_LENGTH: usize = 256;

/// A batch that takes longer is a hang, and the worker is killed: the slowest batch that is planned for (a prompt's
/// chunk of a large model on a small share of a phone) takes some ten seconds.
const BATCH_LIMIT: Duration = Duration::from_secs(120);

/// Rows of one session, to be computed by one stage.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) stage: Arc<LoadedStage>,
    pub(crate) epoch: Epoch,
    pub(crate) slot: u32,
    /// Position of the first row.
    pub(crate) position: u32,
    pub(crate) rows: u32,
    pub(crate) input: Input,
    /// How to choose the token after the last row; none when it is not wanted.
    pub(crate) sample: Option<Sampling>,
    /// Rows of new tokens, which go before chunks of prompts.
    pub(crate) decodes: bool,
    /// When the client stops waiting.
    pub(crate) deadline: Instant,
}

/// What a job yields.
#[derive(Debug)]
pub(crate) struct Computed {
    /// Hidden states of its rows; empty from a last stage.
    pub(crate) hidden: Bytes,
    /// The token that was wanted.
    pub(crate) sample: Option<Sample>,
}

#[derive(Debug)]
struct Waiting {
    job: Job,
    since: Instant,
    done: oneshot::Sender<Result<Computed, Error>>,
}

impl Queued for Waiting {
    fn stage(&self) -> &str {
        &self.job.stage.id.0
    }
    fn decodes(&self) -> bool {
        self.job.decodes
    }
    fn rows(&self) -> usize {
        self.job.rows as usize
    }
    fn rows_max(&self) -> usize {
        self.job.stage.batch_rows() as usize
    }
    fn slot(&self) -> u32 {
        self.job.slot
    }
    fn abandoned(&self) -> bool {
        self.done.is_closed()
    }
}

/// The handle on a device's queue.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    jobs: mpsc::Sender<Waiting>,
}

impl Scheduler {
    /// Starts the device's task. `releases` are slots that sessions have left, `vacated` is told when one is empty. It
    /// ends with the agent, when nobody can send to it any more.
    pub(crate) fn start(
        worker: Worker,
        releases: mpsc::UnboundedReceiver<Release>,
        metrics: Arc<Metrics>,
        vacated: watch::Sender<()>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_LENGTH);
        let device = Device {
            worker,
            metrics,
            vacated,
        };
        tokio::spawn(device.run(queue, releases));
        Self { jobs }
    }

    /// Computes the rows of one session, together with whatever else waits.
    pub(crate) async fn compute(&self, job: Job) -> Result<Computed, Error> {
        let (done, answer) = oneshot::channel();
        let waiting = Waiting {
            job,
            since: Instant::now(),
            done,
        };
        self.jobs.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy { queued: QUEUE_LENGTH },
            mpsc::error::TrySendError::Closed(_) => Error::Stopped,
        })?;
        answer.await.unwrap_or(Err(Error::Stopped))
    }
}

/// The device's side of the queue.
#[derive(Debug)]
struct Device {
    worker: Worker,
    metrics: Arc<Metrics>,
    vacated: watch::Sender<()>,
}

impl Device {
    async fn run(self, mut jobs: mpsc::Receiver<Waiting>, mut releases: mpsc::UnboundedReceiver<Release>) {
        let (mut queue, mut company) = (Queue::default(), Company::default());
        loop {
            let wait = match queue.decodes_next() {
                Some(stage) => company.worth_waiting(stage, Instant::now()),
                None => None,
            };
            // What is here already is taken in before anything is computed.
            tokio::select! {
                biased;
                Some(release) = releases.recv() => {
                    company.left(&place_of(&release.stage, release.slot));
                    self.free(release).await;
                }
                job = jobs.recv() => {
                    let Some(job) = job else { return };
                    company.arrived(&place_of(&job.job.stage, job.job.slot), Instant::now());
                    queue.push(job);
                }
                () = until(wait), if queue.len() > 0 => self.compute_next(&mut queue, &mut company).await,
            }
        }
    }

    async fn compute_next(&self, queue: &mut Queue<Waiting>, company: &mut Company) {
        let batch = queue.next_batch();
        self.metrics.queued_jobs.set(queue.len() as i64);
        if batch.is_empty() {
            return;
        }
        let jobs = || batch.iter().map(|waiting| &waiting.job);
        let is_sampled_here = jobs().all(|job| job.sample.is_some() && matches!(job.input, Input::Tokens(_)));
        let of_tokens = jobs().filter(|job| job.decodes || job.sample.is_some());
        let places = of_tokens.map(|job| place_of(&job.stage, job.slot)).collect();
        let began = Instant::now();
        self.compute(batch).await;
        company.computed(places, is_sampled_here, began.elapsed(), Instant::now());
    }

    /// Empties the slot in the worker, and only then lets another session have it.
    async fn free(&self, release: Release) {
        let Release { stage, epoch, slot } = release;
        match self.worker.release(epoch, &stage.id, slot).await {
            // A worker that was started again holds nothing, and a stage that is gone no slot.
            Ok(()) | Err(Error::Epoch { .. } | Error::NoSuchStage { .. } | Error::Restarting { .. }) => {}
            Err(error) => tracing::warn!(stage = %stage.id, slot, %error, "a slot is not emptied"),
        }
        stage.seats.vacate(slot);
        self.vacated.send_replace(());
    }

    async fn compute(&self, waiting: Vec<Waiting>) {
        let now = Instant::now();
        let (waiting, late): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|waiting| waiting.job.deadline > now);
        for late in late {
            let waited_ms = now.duration_since(late.since).as_millis() as u64;
            let _gone = late.done.send(Err(Error::DeadlineInQueue { waited_ms }));
        }
        let Some(first) = waiting.first() else {
            return;
        };
        let rows: u32 = waiting.iter().map(|waiting| waiting.job.rows).sum();
        self.metrics.batch_rows.observe(rows.into());
        // Sessions of an earlier epoch must not spoil the batch for those of the present one.
        let epoch = first.job.epoch;
        let mixed = waiting.iter().any(|waiting| waiting.job.epoch != epoch);
        if waiting.len() == 1 || mixed {
            return self.one_by_one(waiting).await;
        }
        match self.worker.execute(batch_of(&waiting)).await {
            Ok(output) => scatter(waiting, &output.hidden, &output.samples),
            // A refusal changed nothing: the one who is at fault is found by letting each run alone.
            Err(error) if error.is_refusal() => self.one_by_one(waiting).await,
            Err(error) => {
                for waiting in waiting {
                    let _gone = waiting.done.send(Err(error.clone()));
                }
            }
        }
    }

    async fn one_by_one(&self, waiting: Vec<Waiting>) {
        for alone in waiting {
            let alone = [alone];
            let answer = self.worker.execute(batch_of(&alone)).await;
            let [alone] = alone;
            match answer {
                Ok(output) => scatter(vec![alone], &output.hidden, &output.samples),
                Err(error) => {
                    let _gone = alone.done.send(Err(error));
                }
            }
        }
    }
}

/// At once, where there is nobody to wait for.
async fn until(wait: Option<Instant>) {
    if let Some(wait) = wait {
        tokio::time::sleep_until(wait.into()).await;
    }
}

fn place_of(stage: &LoadedStage, slot: u32) -> Place {
    (stage.id.0.clone(), slot)
}

fn batch_of(waiting: &[Waiting]) -> Batch {
    let mut rows = vec![];
    let mut outputs = vec![];
    let mut tokens = vec![];
    let mut hidden: Vec<&Bytes> = vec![];
    for Waiting { job, .. } in waiting {
        rows.extend((0..job.rows).map(|row| Row {
            slot: job.slot,
            position: job.position + row,
        }));
        outputs.extend(job.sample.iter().map(|sampling| Output {
            row: rows.len() as u32 - 1,
            sampling: sampling.clone(),
            history: vec![],
            logprob: false,
        }));
        match &job.input {
            Input::Tokens(more) => tokens.extend_from_slice(more),
            Input::Hidden(bytes) => hidden.push(bytes),
        }
    }
    let input = match hidden.as_slice() {
        [] => Input::Tokens(tokens),
        [only] => Input::Hidden(Bytes::clone(only)),
        several => Input::Hidden(several.iter().flat_map(|bytes| bytes.iter().copied()).collect()),
    };
    let Job { stage, epoch, .. } = &waiting[0].job;
    Batch {
        stage: stage.id.clone(),
        epoch: *epoch,
        input,
        rows,
        outputs,
        deadline: BATCH_LIMIT,
    }
}

/// Gives each session its rows of the answer.
fn scatter(waiting: Vec<Waiting>, hidden: &Bytes, samples: &[Sample]) {
    let mut first_row = 0;
    for Waiting { job, done, .. } in waiting {
        let end_row = first_row + job.rows;
        let row_bytes = job.stage.row_bytes();
        let hidden = if hidden.is_empty() {
            Bytes::new()
        } else {
            hidden.slice(first_row as usize * row_bytes..end_row as usize * row_bytes)
        };
        let sample = samples
            .iter()
            .find(|sample| (first_row..end_row).contains(&sample.row))
            .copied();
        let _gone = done.send(Ok(Computed { hidden, sample }));
        first_row = end_row;
    }
}
