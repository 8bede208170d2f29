//! Prometheus metrics of the manager: what its rounds do, and the present plan as [`crate::figures`] has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
    core::{Collector, MetricVec, MetricVecBuilder},
    exponential_buckets,
};

use crate::{
    figures::{Family, Figure},
    world::ServiceName,
};

/// Every metric of the manager.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Rounds of the reconcile loop, by result.
    pub rounds: IntCounterVec,
    /// Time of a round.
    pub round_seconds: Histogram,
    /// When a plan was last applied.
    last_applied: Gauge,
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
    pub gap: Gauge,
    moves: Moves,
    present: BTreeMap<Family, Present>,
}

impl Metrics {
    /// Makes every metric and registers it.
    ///
    /// # Errors
    ///
    /// When one of them is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let seconds = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(exponential_buckets(0.000_5, 2.0, 16)?);
            register(registry, Histogram::with_opts(options)?)
        };
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help)?);
        let count = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
        let gauge = |name: &str, help: &str| register(registry, Gauge::new(name, help)?);
        let rounds = Opts::new("edgeloom_manager_rounds_total", "Rounds of the reconcile loop.");
        let services = Opts::new("edgeloom_services", "Services by state.");
        let present = Family::ALL.map(|family| {
            let options = Opts::new(family.name(), family.help());
            let gauge = register(registry, GaugeVec::new(options, family.labels())?)?;
            Ok((family, Present::new(gauge)))
        });
        let rounds = register(registry, IntCounterVec::new(rounds, &["result"])?)?;
        for result in ["applied", "cancelled", "conflict", "failed"] {
            // At zero, so that the first failure is seen as a rise.
            rounds.with_label_values(&[result]);
        }
        Ok(Self {
            rounds,
            round_seconds: seconds(
                "edgeloom_manager_round_duration_seconds",
                "Time of a reconcile round.",
            )?,
            last_applied: gauge(
                "edgeloom_manager_last_applied_timestamp_seconds",
                "When a plan was last applied; 0 before the first.",
            )?,
            solve_seconds: seconds("edgeloom_solver_duration_seconds", "Time of a solve.")?,
            solve_steps: counter(
                "edgeloom_solver_steps_total",
                "Steps of work that the solver used.",
            )?,
            writes: counter(
                "edgeloom_manager_writes_total",
                "Objects created, updated or deleted.",
            )?,
            services: register(registry, IntGaugeVec::new(services, &["state"])?)?,
            nodes_alive: count("edgeloom_nodes_alive", "Nodes whose agent answers.")?,
            nodes_lost: count("edgeloom_nodes_lost", "Nodes whose agent does not answer.")?,
            gap: gauge(
                "edgeloom_solver_gap_ratio",
                "Largest gap between a placement's objective and its lower bound, over the objective.",
            )?,
            moves: Moves::register(registry)?,
            present: present.into_iter().collect::<prometheus::Result<_>>()?,
        })
    }

    /// A plan was applied just now.
    pub fn applied(&self, now: SystemTime) {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_applied.set(since_epoch.as_secs_f64());
    }

    /// Shows these figures, and nothing of what was shown before.
    pub fn show(&mut self, figures: &[Figure]) {
        for (family, present) in &mut self.present {
            let own = figures.iter().filter(|figure| figure.family == *family);
            present.show(own);
        }
    }

    /// Counts the services whose Placement is another one than at the last call.
    pub fn serve<'a>(&mut self, serving: impl Iterator<Item = (&'a ServiceName, Option<&'a String>)>) {
        self.moves.serve(serving);
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
            gap,
            present,
            ..
        } = &self.0;
        services.reset();
        for count in [nodes_alive, nodes_lost] {
            count.set(0);
        }
        gap.set(0.0);
        for family in present.values() {
            family.gauge.reset();
        }
    }
}

/// Gauges of which each round says anew which there are.
#[derive(Clone, Debug)]
struct Present {
    gauge: GaugeVec,
    shown: BTreeSet<Vec<String>>,
}

impl Present {
    fn new(gauge: GaugeVec) -> Self {
        Self {
            gauge,
            shown: BTreeSet::new(),
        }
    }

    /// What stays is overwritten and not taken away first: a scrape in between misses nothing.
    fn show<'a>(&mut self, figures: impl Iterator<Item = &'a Figure>) {
        let mut shown = BTreeSet::new();
        for figure in figures {
            self.gauge.with_label_values(&figure.labels).set(figure.value);
            shown.insert(figure.labels.clone());
        }
        for gone in self.shown.difference(&shown) {
            forget(&self.gauge, gone);
        }
        self.shown = shown;
    }
}

/// Counts how often each service was moved to another pipeline.
#[derive(Clone, Debug)]
struct Moves {
    counter: IntCounterVec,
    /// The Placement that served last, by service.
    serving: BTreeMap<ServiceName, Option<String>>,
}

impl Moves {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new(
            "edgeloom_service_moves_total",
            "Times that a service's requests were moved to another Placement.",
        );
        Ok(Self {
            counter: register(registry, IntCounterVec::new(options, &["service"])?)?,
            serving: BTreeMap::new(),
        })
    }

    /// A service without a Placement for a while has moved when the next one is another.
    fn serve<'a>(&mut self, serving: impl Iterator<Item = (&'a ServiceName, Option<&'a String>)>) {
        let before = std::mem::take(&mut self.serving);
        for (service, now) in serving {
            let counter = self.counter.with_label_values(&[service.to_string()]);
            let last = before.get(service).cloned().flatten();
            if last.is_some() && now.is_some() && last.as_ref() != now {
                counter.inc();
            }
            self.serving.insert(service.clone(), now.cloned().or(last));
        }
        for gone in before
            .keys()
            .filter(|service| !self.serving.contains_key(service))
        {
            forget(&self.counter, &[gone.to_string()]);
        }
    }
}

/// A series that was never shown cannot be forgotten, which is as good.
fn forget<B: MetricVecBuilder>(family: &MetricVec<B>, labels: &[String]) {
    let _never_shown = family.remove_label_values(labels);
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> prometheus::Result<C> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    fn reachable(node: &str, value: f64) -> Figure {
        Figure {
            family: Family::NodeReachable,
            labels: vec![node.to_owned()],
            value,
        }
    }

    #[test]
    fn what_is_not_in_the_newest_plan_is_not_shown() {
        let registry = Registry::new();
        let mut metrics = Metrics::register(&registry).unwrap();
        metrics.show(&[reachable("a", 1.0), reachable("b", 1.0)]);
        metrics.show(&[reachable("b", 0.0)]);
        let shown = text(&registry);
        assert!(
            shown.contains(r#"edgeloom_node_reachable{node="b"} 0"#),
            "{shown}"
        );
        assert!(!shown.contains(r#"node="a""#), "{shown}");
    }

    #[test]
    fn a_move_is_a_change_of_the_placement_and_not_its_first_or_its_pause() {
        let registry = Registry::new();
        let mut metrics = Metrics::register(&registry).unwrap();
        let service = ServiceName {
            namespace: "default".to_owned(),
            name: "chat".to_owned(),
        };
        for (placement, moves) in [
            (None, 0),
            (Some("one"), 0),
            (Some("one"), 0),
            (None, 0),
            (Some("one"), 0),
            (Some("two"), 1),
            (None, 1),
            (Some("three"), 2),
        ] {
            let placement = placement.map(str::to_owned);
            metrics.serve([(&service, placement.as_ref())].into_iter());
            let line = format!(r#"edgeloom_service_moves_total{{service="default/chat"}} {moves}"#);
            let shown = text(&registry);
            assert!(shown.contains(&line), "{line} in\n{shown}");
        }
        metrics.serve(std::iter::empty());
        assert!(!text(&registry).contains("default/chat"));
    }

    #[test]
    fn who_leads_no_more_shows_no_node() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let leading = metrics.while_leading();
        metrics.clone().show(&[reachable("a", 1.0)]);
        assert!(text(&registry).contains(r#"node="a""#));
        drop(leading);
        assert!(!text(&registry).contains(r#"node="a""#));
    }
}
