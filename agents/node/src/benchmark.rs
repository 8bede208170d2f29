//! Times models on this node before anybody asks for them: the controller places nothing on a node that has no figures.
//! Each variant is timed once, but for files that should be on this disk and are not; of a file on a web server only some
//! layers are fetched. The table is kept, and stands in EdgeNode status.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
    time::{Duration, Instant},
};

use crds::{
    ConditionType, Model,
    condition::state,
    edge_node::{Benchmark, BenchmarkPoint, Device},
    location::Location,
};
use engine::{BenchmarkKey, Worker, WorkerConfig};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::{
    execute::fetch::{self, Sampled, Source, fetch, file_name, local_path, location_of, sample},
    keep,
    limits::InForce,
    metrics::Metrics,
    report::{core_limit, engine_limit},
    run::ENGINE_VERSION,
    watch::{begin, heard},
};

/// The longest pause of the watch of Models: new models are rare.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The pause after a model could not be timed.
const PAUSE: Duration = Duration::from_secs(10);
/// How often that is tried before the model is left until it is heard of again.
const ATTEMPTS: usize = 3;
/// Variants that may wait to be timed; the newest are then not timed until the next list.
const QUEUE_LENGTH: usize = 256;

/// The figures of this node's device, shared by who measures and who reports.
#[derive(Clone, Debug)]
pub(crate) struct Benchmarks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    device: watch::Sender<Device>,
    /// By digest; with the cores that the device had.
    table: Mutex<BTreeMap<String, (i64, Benchmark)>>,
}

impl Benchmarks {
    pub(crate) fn new(device: Device) -> Self {
        Self(Arc::new(Inner {
            device: watch::Sender::new(device),
            table: Mutex::default(),
        }))
    }

    /// The device, without figures.
    pub(crate) fn device(&self) -> Device {
        self.0.device.borrow().clone()
    }

    /// The device is another now. Figures stay until there are new ones: without any, nothing would be placed here.
    pub(crate) fn describe(&self, device: Device) {
        self.0.device.send_replace(device);
    }

    /// Figures by model, as EdgeNode status shows them.
    pub(crate) fn report(&self) -> Vec<Benchmark> {
        let table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.values().map(|(_, benchmark)| benchmark.clone()).collect()
    }

    /// Whether there are figures of the device as it is now.
    fn has(&self, digest: &str) -> bool {
        let cores_milli = self.0.device.borrow().cores_milli;
        let table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(digest).is_some_and(|(cores, _)| *cores == cores_milli)
    }

    fn put(&self, cores_milli: i64, benchmark: Benchmark) {
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.insert(benchmark.model.clone(), (cores_milli, benchmark));
    }
}

/// A table as it is kept on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// What the device was when it was timed; another share makes other figures.
    cores_milli: i64,
    measured_at: i64,
    benchmark: engine::Benchmark,
}

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

    async fn time_all(&self, mut waiting: mpsc::Receiver<Source>) {
        let mut device = self.benchmarks.0.device.subscribe();
        let mut known = BTreeMap::new();
        loop {
            tokio::select! {
                source = waiting.recv() => {
                    let Some(source) = source else { return };
                    self.try_to_time(&source).await;
                    known.insert(source.digest.clone(), source);
                }
                // Another share of the machine makes other figures.
                Ok(()) = device.changed() => {
                    for source in known.values() {
                        self.try_to_time(source).await;
                    }
                }
            }
        }
    }

    async fn try_to_time(&self, source: &Source) {
        for _attempt in 0..ATTEMPTS {
            if self.time(source).await {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether there are figures now, or can be none.
    async fn time(&self, source: &Source) -> bool {
        if self.benchmarks.has(&source.digest) {
            return true;
        }
        let (kept, cores_milli) = (self.kept_at(&source.digest), self.benchmarks.device().cores_milli);
        let fits =
            |kept: &Kept| kept.cores_milli == cores_milli && kept.benchmark.key.engine == ENGINE_VERSION;
        if let Some(kept) = read(&kept).filter(fits) {
            self.publish(source, &kept);
            return true;
        }
        let weights = match self.weights(source).await {
            Ok(Some(weights)) => weights,
            Ok(None) => {
                tracing::debug!(
                    digest = source.digest,
                    "the model is not on this disk, and is not timed"
                );
                return true;
            }
            Err(error) => {
                self.metrics.fetch_failures.inc();
                let error = crds::with_causes(&error);
                tracing::warn!(
                    digest = source.digest,
                    error,
                    "the model cannot be fetched, and is not timed"
                );
                return false;
            }
        };
        let measured = self.measure(source, &weights).await;
        self.discard(weights).await;
        match measured {
            Ok(benchmark) => {
                let fresh = Kept {
                    cores_milli,
                    measured_at: Timestamp::now().as_second(),
                    benchmark,
                };
                if let Err(error) = write(&kept, &fresh) {
                    tracing::warn!(error = crds::with_causes(&error), "figures are not kept on disk");
                }
                self.publish(source, &fresh);
                true
            }
            Err(error) => {
                let hopeless = error.is_refusal();
                tracing::warn!(digest = source.digest, %error, hopeless, "the model cannot be timed");
                hopeless
            }
        }
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
        self.news.send_replace(());
    }

    fn kept_at(&self, digest: &str) -> PathBuf {
        self.data_dir
            .join("benchmarks")
            .join(format!("{}.json", file_name(digest)))
    }
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
    let whole = fetch(source, data_dir, &AtomicI64::new(0))?;
    fetched_bytes += whole.fetched_bytes;
    Ok((Some(Weights::Whole(whole.path)), fetched_bytes))
}

/// Finds what can be timed. What finds no room in the queue comes again with the next list.
async fn watch_models(client: Client, found: mpsc::Sender<Source>) {
    let mut models = begin(Api::<Model>::all(client), watcher::Config::default(), BACKOFF_MAX);
    while let Some(event) = models.next().await {
        if let Some(Event::Apply(model) | Event::InitApply(model)) = heard(event, "Model") {
            for source in sources(&model) {
                if found.try_send(source).is_err() {
                    tracing::debug!("too many models wait to be timed");
                }
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

fn read(path: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, kept: &Kept) -> Result<(), keep::Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| keep::Error::File {
            path: folder.to_owned(),
            source,
        })?;
    }
    let bytes = serde_json::to_vec(kept).expect("plain values are JSON");
    keep::replace(path, &bytes)
}

/// The engine's figures as the kinds write them.
fn to_kind(digest: &str, kept: &Kept) -> Benchmark {
    let Kept {
        benchmark,
        measured_at,
        ..
    } = kept;
    let BenchmarkKey {
        engine, quantisation, ..
    } = &benchmark.key;
    let nanoseconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let points = benchmark.points.iter().map(|point| BenchmarkPoint {
        rows: i32::try_from(point.rows).unwrap_or(i32::MAX),
        layer_nanoseconds: nanoseconds(point.layer_ns),
        head_nanoseconds: point.head_ns.map_or(0, nanoseconds),
        prompt_end_nanoseconds: Some(nanoseconds(point.prompt_end_ns)),
        history_nanoseconds: Some(nanoseconds(point.history_ns)),
    });
    let largest = benchmark.points.last();
    Benchmark {
        model: digest.to_owned(),
        quantisation: quantisation.clone(),
        engine_version: engine.clone(),
        points: points.collect(),
        embedding_nanoseconds_per_row: largest.map_or(0, |point| {
            nanoseconds(point.embedding_ns / u64::from(point.rows.max(1)))
        }),
        batch_overhead_nanoseconds: nanoseconds(benchmark.batch_overhead_ns),
        observed_time: Timestamp::from_second(*measured_at).ok().map(Time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_figures_become_the_kinds_figures() {
        let kept = Kept {
            cores_milli: 500,
            measured_at: 1_000,
            benchmark: engine::Benchmark {
                key: BenchmarkKey {
                    engine: "e".to_owned(),
                    processor: "p".to_owned(),
                    quantisation: "Q4_1".to_owned(),
                    shape: "s".to_owned(),
                    threads: 1,
                    share_millicores: 500,
                },
                points: vec![
                    engine::BenchmarkPoint {
                        rows: 1,
                        layer_ns: 10,
                        head_ns: Some(30),
                        prompt_end_ns: 40,
                        history_ns: 5,
                        embedding_ns: 2,
                    },
                    engine::BenchmarkPoint {
                        rows: 4,
                        layer_ns: 20,
                        head_ns: None,
                        prompt_end_ns: 45,
                        history_ns: 6,
                        embedding_ns: 8,
                    },
                ],
                batch_overhead_ns: 7,
                copy_bytes_per_second: 1,
            },
        };
        let figures = to_kind("sha256:1", &kept);
        assert_eq!(
            figures.points[0],
            BenchmarkPoint {
                rows: 1,
                layer_nanoseconds: 10,
                head_nanoseconds: 30,
                prompt_end_nanoseconds: Some(40),
                history_nanoseconds: Some(5),
            }
        );
        assert_eq!(
            figures.points[1].head_nanoseconds, 0,
            "what was not measured is not scaled from what was"
        );
        assert_eq!(figures.embedding_nanoseconds_per_row, 2);
        assert_eq!(figures.batch_overhead_nanoseconds, 7);
    }
}
