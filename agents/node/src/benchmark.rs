//! Times models on this node before anybody asks for them: the controller places nothing on a node that has no figures.
//! Each variant is timed once, but for files that should be on this disk and are not; of a file on a web server only some
//! layers are fetched. The table is kept, and stands in EdgeNode status.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, Instant},
};

use crds::{ConditionType, Model, condition::state, location::Location};
use engine::{Worker, WorkerConfig};
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use tokio::sync::{mpsc, watch};

use crate::{
    disk::Full,
    execute::fetch::{self, Sampled, Source, fetch, file_name, local_path, location_of, sample},
    limits::InForce,
    metrics::Metrics,
    report::{core_limit, engine_limit},
    run::ENGINE_VERSION,
    watch::{begin, heard},
};

use kept::{Kept, read, to_kind, write};
pub(crate) use table::Benchmarks;

mod kept;
mod table;

/// The longest pause of the watch of Models: new models are rare.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The pause after a model could not be timed; it doubles with each failure.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest pause: a disk that was full may have room again.
const PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// Variants that may wait to be timed; the newest are then not timed until the next list.
const QUEUE_LENGTH: usize = 256;

/// Who times models.
pub(crate) struct Timekeeper {
    pub(crate) client: Client,
    /// How the worker is run that times: a process of its own, so that sessions of the other go on, and what timing
    /// holds in memory is gone afterwards.
    pub(crate) worker: WorkerConfig,
    /// What it is held to.
    pub(crate) limits: watch::Receiver<InForce>,
    /// Whether this machine only plays the node, and has more memory than that.
    pub(crate) emulated: bool,
    pub(crate) data_dir: PathBuf,
    pub(crate) metrics: Arc<Metrics>,
    /// Locked while a model is timed.
    pub(crate) lock: PathBuf,
    pub(crate) benchmarks: Benchmarks,
    /// Told when there are new figures.
    pub(crate) news: watch::Sender<()>,
}

impl Timekeeper {
    /// Watches Models, and times each variant, one after the other, for ever.
    pub(crate) async fn run(self) {
        let (found, waiting) = mpsc::channel(QUEUE_LENGTH);
        tokio::join!(watch_models(self.client.clone(), found), self.time_all(waiting));
    }

    async fn time_all(&self, mut waiting: mpsc::Receiver<Heard>) {
        let mut device = self.benchmarks.device_changes();
        let mut known: BTreeMap<String, Known> = BTreeMap::new();
        loop {
            let due = known.values().filter_map(|known| known.again_at).min();
            tokio::select! {
                heard = waiting.recv() => match heard {
                    None => return,
                    Some(Heard::Found(source)) => {
                        let first = Known { source, failures: 0, again_at: None };
                        let known = known.entry(first.source.digest.clone()).or_insert(first);
                        self.try_to_time(known).await;
                    }
                    Some(Heard::Gone(digest)) => {
                        known.remove(&digest);
                        self.benchmarks.forget_failure(&digest);
                        self.news.send_replace(());
                    }
                },
                // Another share of the machine makes other figures.
                Ok(()) = device.changed() => {
                    for known in known.values_mut() {
                        self.try_to_time(known).await;
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                    let is_due = |known: &&mut Known| known.again_at == due;
                    for known in known.values_mut().filter(is_due) {
                        self.try_to_time(known).await;
                    }
                }
            }
        }
    }

    async fn try_to_time(&self, known: &mut Known) {
        let digest = &known.source.digest;
        match self.time(&known.source).await {
            Ok(()) => {
                known.failures = 0;
                known.again_at = None;
                self.benchmarks.forget_failure(digest);
            }
            Err(failure) => {
                known.again_at = failure
                    .may_pass
                    .then(|| tokio::time::Instant::now() + pause_after(known.failures));
                known.failures += 1;
                let Failure { why, may_pass } = failure;
                tracing::warn!(digest, why, may_pass, "the model cannot be timed");
                self.benchmarks.note_failure(digest, why);
            }
        }
        self.news.send_replace(());
    }

    /// Makes sure that there are figures, or that there need be none.
    async fn time(&self, source: &Source) -> Result<(), Failure> {
        if self.benchmarks.has(&source.digest) {
            return Ok(());
        }
        let (kept, cores_milli) = (self.kept_at(&source.digest), self.benchmarks.device().cores_milli);
        let fits =
            |kept: &Kept| kept.cores_milli == cores_milli && kept.benchmark.key.engine == ENGINE_VERSION;
        if let Some(kept) = read(&kept).filter(fits) {
            self.publish(source, &kept);
            return Ok(());
        }
        let weights = match self.weights(source).await {
            Ok(Some(weights)) => weights,
            Ok(None) => {
                tracing::debug!(
                    digest = source.digest,
                    "the model is not on this disk, and is not timed"
                );
                return Ok(());
            }
            Err(error) => {
                self.metrics.fetch_failures.inc();
                return Err(Failure {
                    why: crds::with_causes(&error),
                    may_pass: true,
                });
            }
        };
        let measured = self.measure(source, &weights).await;
        self.discard(weights).await;
        let benchmark = measured.map_err(|error| Failure {
            why: error.to_string(),
            may_pass: !error.is_refusal(),
        })?;
        let fresh = Kept {
            cores_milli,
            measured_at: Timestamp::now().as_second(),
            benchmark,
        };
        if let Err(error) = write(&kept, &fresh) {
            tracing::warn!(error = crds::with_causes(&error), "figures are not kept on disk");
        }
        self.publish(source, &fresh);
        Ok(())
    }

    /// Brings what is timed to this disk; nothing when the file should be here and is not. Nobody else fetches it meanwhile:
    /// stages come to a node that has timed the model.
    async fn weights(&self, source: &Source) -> Result<Option<Weights>, fetch::Error> {
        let (source, data_dir) = (source.clone(), self.data_dir.clone());
        let (metrics, begun) = (Arc::clone(&self.metrics), Instant::now());
        let brought = tokio::task::spawn_blocking(move || {
            let (weights, fetched_bytes) = bring(&source, &data_dir)?;
            metrics.fetched_bytes.inc_by(fetched_bytes);
            tracing::debug!(
                digest = source.digest,
                fetched_bytes,
                took_ms = begun.elapsed().as_millis() as u64,
                "what is timed is on disk"
            );
            Ok(weights)
        });
        // The agent stops when the task is lost.
        brought.await.unwrap_or(Ok(None))
    }

    /// Removes what only timing needed.
    async fn discard(&self, weights: Weights) {
        let Weights::Sample(folder) = weights else { return };
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
            tracing::warn!(path = %folder.display(), %error, "what only timing needed stays on disk");
        }
    }

    async fn measure(&self, source: &Source, weights: &Weights) -> engine::Result<engine::Benchmark> {
        let lock_path = self.lock.clone();
        let locked = tokio::task::spawn_blocking(move || {
            let file = fs::OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(false)
                .open(&lock_path)?;
            file.lock()?;
            Ok::<_, std::io::Error>(file)
        });
        // Unlocked when it is closed.
        let _lock = match locked.await {
            Ok(Ok(file)) => Some(file),
            Ok(Err(error)) => {
                tracing::warn!(path = %self.lock.display(), %error, "agents of this machine may time at once");
                None
            }
            Err(_) => None,
        };
        tracing::info!(digest = source.digest, "timing the model on this node");
        let (path, cache_dir) = match weights {
            Weights::Whole(path) => (path.clone(), self.worker.cache_dir.clone()),
            Weights::Sample(folder) => (sample_in(folder), folder.clone()),
        };
        let config = WorkerConfig {
            cache_dir,
            ..self.config()
        };
        let worker = Worker::start(config).await?;
        let benchmark = worker.benchmark(path, source.digest.clone()).await;
        worker.stop().await;
        benchmark
    }

    fn config(&self) -> WorkerConfig {
        let limits = &self.limits.borrow().limits;
        WorkerConfig {
            // Timing needs some layers, a head and buffers at once. A machine that plays a smaller one has that memory.
            memory_limit_bytes: engine_limit(limits, &telemetry::cgroup::of_this_process(), false)
                .filter(|_| !self.emulated),
            compute_share_cores: core_limit(limits),
            ..self.worker.clone()
        }
    }

    fn publish(&self, source: &Source, kept: &Kept) {
        let benchmark = to_kind(&source.digest, kept);
        tracing::info!(
            digest = source.digest,
            points = benchmark.points.len(),
            "the model's figures are known"
        );
        self.benchmarks.put(kept.cores_milli, benchmark);
    }

    fn kept_at(&self, digest: &str) -> PathBuf {
        self.data_dir
            .join("benchmarks")
            .join(format!("{}.json", file_name(digest)))
    }
}

/// What was heard of a model.
enum Heard {
    /// A variant that can be timed.
    Found(Source),
    /// The digest of one that is no more.
    Gone(String),
}

/// A variant that was heard of.
struct Known {
    source: Source,
    /// How often it could not be timed, since it was.
    failures: u32,
    /// When that is tried again.
    again_at: Option<tokio::time::Instant>,
}

/// Why a model has no figures.
struct Failure {
    why: String,
    /// Whether another try may end better.
    may_pass: bool,
}

fn pause_after(failures: u32) -> Duration {
    PAUSE
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(PAUSE_MAX)
}

/// Weights that are timed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Weights {
    /// The whole file, as a stage would use it.
    Whole(PathBuf),
    /// A folder with a file with holes, and with stages that are made of it. Nobody has verified what it holds, so that no
    /// stage that serves may come from it.
    Sample(PathBuf),
}

fn sample_in(folder: &Path) -> PathBuf {
    folder.join("sample.gguf")
}

/// What of the weights is needed for timing, and the bytes that came over the network for it.
fn bring(source: &Source, data_dir: &Path) -> Result<(Option<Weights>, u64), fetch::Error> {
    let mut fetched_bytes = 0;
    match location_of(source)? {
        Location::File(path) if !path.exists() => return Ok((None, 0)),
        Location::Web(url) if local_path(source, data_dir).is_none() => {
            let folder = data_dir.join("benchmarks").join(file_name(&source.digest));
            match sample(source, &url, &sample_in(&folder))? {
                Sampled::Sample(bytes) => return Ok((Some(Weights::Sample(folder)), bytes)),
                Sampled::FetchWhole(bytes) => fetched_bytes = bytes,
            }
        }
        Location::File(_) | Location::Web(_) => {}
    }
    // A server that knows no ranges: the file is there for stages then, and goes when others need its room.
    let any = |_| Ok::<_, Full>(());
    let whole = fetch(source, data_dir, &AtomicI64::new(0), &any)?;
    fetched_bytes += whole.fetched_bytes;
    Ok((Some(Weights::Whole(whole.path)), fetched_bytes))
}

/// Finds what can be timed. What finds no room in the queue comes again with the next list.
async fn watch_models(client: Client, found: mpsc::Sender<Heard>) {
    let mut models = begin(Api::<Model>::all(client), watcher::Config::default(), BACKOFF_MAX);
    while let Some(event) = models.next().await {
        let heard: Vec<_> = match heard(event, "Model") {
            Some(Event::Apply(model) | Event::InitApply(model)) => {
                sources(&model).into_iter().map(Heard::Found).collect()
            }
            Some(Event::Delete(model)) => {
                let gone = sources(&model).into_iter();
                gone.map(|source| Heard::Gone(source.digest)).collect()
            }
            _ => vec![],
        };
        for heard in heard {
            if found.try_send(heard).is_err() {
                tracing::debug!("too many models wait to be timed");
            }
        }
    }
}

/// The variants of a model that was inspected.
fn sources(model: &Model) -> Vec<Source> {
    let Some(status) = &model.status else {
        return vec![];
    };
    if state(&status.conditions, ConditionType::Ready) != Some(true) {
        return vec![];
    }
    let variants = status.variants.iter().filter_map(|inspected| {
        let variant = model
            .spec
            .variants
            .iter()
            .find(|variant| variant.name == inspected.name)?;
        Some(Source {
            digest: inspected.digest.clone(),
            uri: variant.uri.clone(),
            sha256: variant.sha256.clone(),
        })
    });
    variants.collect()
}
