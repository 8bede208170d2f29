//! What Prometheus is told of stages and sessions. The router adds requests, telemetry the machine and its links.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

/// The agent's own families.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) stage_loads: IntCounter,
    pub(crate) stages: IntGauge,
    pub(crate) sessions: IntGauge,
    pub(crate) sessions_refused: IntCounter,
    pub(crate) tokens: IntCounter,
    pub(crate) batch_rows: Histogram,
    pub(crate) queued_jobs: IntGauge,
    pub(crate) worker_restarts: IntCounter,
    pub(crate) fetched_bytes: IntCounter,
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
        let writes = Opts::new("edgeloom_status_writes_total", "Writes of status, by kind.");
        Ok(Self {
            stage_loads: counter("edgeloom_stage_loads_total", "Stages that were loaded.")?,
            stages: gauge("edgeloom_stages", "Stages in memory.")?,
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
            status_writes: register(registry, IntCounterVec::new(writes, &["kind"])?)?,
        })
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}
