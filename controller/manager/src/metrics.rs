//! Prometheus metrics of the manager.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};

/// Every metric of the manager.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Rounds of the reconcile loop, by result.
    pub rounds: IntCounterVec,
    /// Time of a round.
    pub round_seconds: Histogram,
    /// Time of the solver in a round.
    pub solve_seconds: Histogram,
    /// Steps of work that the solver used.
    pub solve_steps: IntCounter,
    /// Objects that were created, updated or deleted.
    pub writes: IntCounter,
    /// Services by what became of them.
    pub services: IntGaugeVec,
    /// Nodes that answer.
    pub nodes_alive: IntGauge,
    /// Nodes that do not.
    pub nodes_lost: IntGauge,
    /// The largest gap between a placement and its bound.
    pub gap_parts_per_million: IntGauge,
}

impl Metrics {
    /// Makes every metric and registers it.
    ///
    /// # Errors
    ///
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = |name: &str, help: &str| {
            Histogram::with_opts(
                HistogramOpts::new(name, help).buckets(exponential_buckets(0.000_5, 2.0, 16)?),
            )
        };
        let metrics = Self {
            rounds: IntCounterVec::new(
                Opts::new("edgeloom_manager_rounds_total", "Rounds of the reconcile loop."),
                &["result"],
            )?,
            round_seconds: seconds(
                "edgeloom_manager_round_duration_seconds",
                "Time of a reconcile round.",
            )?,
            solve_seconds: seconds("edgeloom_solver_duration_seconds", "Time of a solve.")?,
            solve_steps: IntCounter::new(
                "edgeloom_solver_steps_total",
                "Steps of work that the solver used.",
            )?,
            writes: IntCounter::new(
                "edgeloom_manager_writes_total",
                "Objects created, updated or deleted.",
            )?,
            services: IntGaugeVec::new(Opts::new("edgeloom_services", "Services by state."), &["state"])?,
            nodes_alive: IntGauge::new("edgeloom_nodes_alive", "Nodes whose agent answers.")?,
            nodes_lost: IntGauge::new("edgeloom_nodes_lost", "Nodes whose agent does not answer.")?,
            gap_parts_per_million: IntGauge::new(
                "edgeloom_solver_gap_parts_per_million",
                "Largest gap between a placement's objective and its lower bound.",
            )?,
        };
        registry.register(Box::new(metrics.rounds.clone()))?;
        registry.register(Box::new(metrics.round_seconds.clone()))?;
        registry.register(Box::new(metrics.solve_seconds.clone()))?;
        registry.register(Box::new(metrics.solve_steps.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        registry.register(Box::new(metrics.services.clone()))?;
        registry.register(Box::new(metrics.nodes_alive.clone()))?;
        registry.register(Box::new(metrics.nodes_lost.clone()))?;
        registry.register(Box::new(metrics.gap_parts_per_million.clone()))?;
        Ok(metrics)
    }

    /// Until the value is dropped, this process is the one that shows how the fleet is.
    #[must_use]
    pub fn while_leading(&self) -> WhileLeading {
        WhileLeading(self.clone())
    }
}

/// Forgets what is the next leader's to show.
#[derive(Debug)]
pub struct WhileLeading(Metrics);

impl Drop for WhileLeading {
    fn drop(&mut self) {
        let Metrics {
            services,
            nodes_alive,
            nodes_lost,
            gap_parts_per_million,
            ..
        } = &self.0;
        services.reset();
        for gauge in [nodes_alive, nodes_lost, gap_parts_per_million] {
            gauge.set(0);
        }
    }
}
