//! What Prometheus is told of stages and sessions. The router adds requests, telemetry the machine and its links.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

/// From a few small layers that the page cache holds to many large ones on a slow disk, in seconds.
const LOAD_BUCKETS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// The agent's own families.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) stage_loads: IntCounter,
    pub(crate) stage_load_failures: IntCounter,
    pub(crate) stage_load_duration: Histogram,
    pub(crate) stages: IntGaugeVec,
    pub(crate) sessions: IntGauge,
    pub(crate) sessions_refused: IntCounter,
    pub(crate) tokens: IntCounter,
    pub(crate) batch_rows: Histogram,
    pub(crate) queued_jobs: IntGauge,
    pub(crate) worker_restarts: IntCounter,
    pub(crate) fetched_bytes: IntCounter,
    pub(crate) fetch_failures: IntCounter,
    pub(crate) fetches: IntGauge,
    pub(crate) fetch_partial_bytes: IntGauge,
    pub(crate) status_writes: IntCounterVec,
}

impl Metrics {
    /// Makes the families and registers them.
    ///
    /// # Errors
    ///
    /// When one of their names is taken in this registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help)?);
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
        let rows = HistogramOpts::new(
            "edgeloom_batch_rows",
            "Rows of each batch that the engine computed.",
        )
        .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0]);
        let loads = HistogramOpts::new(
            "edgeloom_stage_load_duration_seconds",
            "Time to load a stage into memory.",
        )
        .buckets(LOAD_BUCKETS.to_vec());
        let stages = Opts::new("edgeloom_stages", "Stages of this node by phase.");
        let writes = Opts::new("edgeloom_status_writes_total", "Writes of status, by kind.");
        Ok(Self {
            stage_loads: counter("edgeloom_stage_loads_total", "Stages that were loaded.")?,
            stage_load_failures: counter(
                "edgeloom_stage_load_failures_total",
                "Attempts to load a stage that failed.",
            )?,
            stage_load_duration: register(registry, Histogram::with_opts(loads)?)?,
            stages: register(registry, IntGaugeVec::new(stages, &["phase"])?)?,
            sessions: gauge("edgeloom_sessions", "Sessions that hold cells on this node.")?,
            sessions_refused: counter(
                "edgeloom_sessions_refused_total",
                "Sessions that broke or were refused.",
            )?,
            tokens: counter(
                "edgeloom_tokens_total",
                "Tokens that sessions headed here received.",
            )?,
            batch_rows: register(registry, Histogram::with_opts(rows)?)?,
            queued_jobs: gauge("edgeloom_queued_jobs", "Jobs that wait for the device.")?,
            worker_restarts: counter(
                "edgeloom_worker_restarts_total",
                "Times that the engine's worker was started again.",
            )?,
            fetched_bytes: counter(
                "edgeloom_fetched_bytes_total",
                "Bytes of weights that were fetched.",
            )?,
            fetch_failures: counter(
                "edgeloom_fetch_failures_total",
                "Attempts to fetch or verify weights that failed.",
            )?,
            fetches: gauge(
                "edgeloom_fetches_in_progress",
                "Files of weights that are being fetched or verified.",
            )?,
            fetch_partial_bytes: gauge(
                "edgeloom_fetch_partial_bytes",
                "Bytes on disk of the files that are still being fetched.",
            )?,
            status_writes: register(registry, IntCounterVec::new(writes, &["kind"])?)?,
        })
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}
