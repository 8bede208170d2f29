//! Prometheus metrics of a node and its links. Units stand in the names. What is not known has no series;
//! a zero is always a measured or declared zero.

use std::time::SystemTime;

use prometheus::{Gauge, GaugeVec, IntCounterVec, Opts, Registry};

mod gpus;

use self::gpus::GpuMetrics;
use crate::reading::{Fact, Reading, Source};

/// The gauges of a node. Those of what was read have a label `source` that says `measured` or `declared`.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    reading_timestamp_seconds: Gauge,
    memory_total_bytes: GaugeVec,
    memory_available_bytes: GaugeVec,
    cores: GaugeVec,
    busy_cores: GaugeVec,
    battery_ratio: GaugeVec,
    battery_energy_joules: GaugeVec,
    battery_discharge_watts: GaugeVec,
    temperature_celsius: GaugeVec,
    gpus: GpuMetrics,
}

impl NodeMetrics {
    /// Registers the gauges; all but the time of the reading have no series before the first [`Self::show`]. Fails if `registry` has them
    /// already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reading_timestamp_seconds = Gauge::new(
            "edgeloom_node_reading_timestamp_seconds",
            "When the node was last read; 0 before the first reading.",
        )?;
        registry.register(Box::new(reading_timestamp_seconds.clone()))?;
        let gauge = |name: &str, help: &str| gauge(registry, name, help, &["source"]);
        Ok(Self {
            reading_timestamp_seconds,
            memory_total_bytes: gauge(
                "edgeloom_node_memory_total_bytes",
                "Memory that the node may use.",
            )?,
            memory_available_bytes: gauge(
                "edgeloom_node_memory_available_bytes",
                "Memory that could be used now without swapping.",
            )?,
            cores: gauge("edgeloom_node_cores", "Processor cores that the node may use.")?,
            busy_cores: gauge(
                "edgeloom_node_busy_cores",
                "Processor cores that were busy, on average.",
            )?,
            battery_ratio: gauge("edgeloom_node_battery_ratio", "Charge over full charge.")?,
            battery_energy_joules: gauge(
                "edgeloom_node_battery_energy_joules",
                "Energy left in the battery.",
            )?,
            battery_discharge_watts: gauge(
                "edgeloom_node_battery_discharge_watts",
                "Power drawn from the battery, negative while charging.",
            )?,
            temperature_celsius: gauge("edgeloom_node_temperature_celsius", "The hottest sensor.")?,
            gpus: GpuMetrics::register(registry)?,
        })
    }

    /// Shows a reading.
    pub fn show(&self, reading: &Reading) {
        let Reading {
            observed,
            memory,
            processor,
            battery,
            temperature_celsius,
            gpus,
        } = reading;
        let since_epoch = observed
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.reading_timestamp_seconds.set(since_epoch.as_secs_f64());
        self.gpus.show(gpus);
        show(&self.memory_total_bytes, memory, |memory| {
            memory.total_bytes as f64
        });
        show(&self.memory_available_bytes, memory, |memory| {
            memory.available_bytes as f64
        });
        show(&self.cores, processor, |processor| processor.cores);
        show(&self.busy_cores, processor, |processor| processor.busy_cores);
        show(&self.battery_ratio, battery, |battery| battery.ratio);
        show(&self.battery_energy_joules, battery, |battery| {
            battery.energy_joules
        });
        show(&self.battery_discharge_watts, battery, |battery| {
            battery.discharge_watts
        });
        show(&self.temperature_celsius, temperature_celsius, |celsius| *celsius);
    }
}

fn show<T>(gauge: &GaugeVec, fact: &Option<Fact<T>>, value: impl Fn(&T) -> f64) {
    for source in [Source::Measured, Source::Declared] {
        match fact.as_ref().filter(|fact| fact.source == source) {
            Some(fact) => gauge
                .with_label_values(&[source.as_str()])
                .set(value(&fact.value)),
            None => forget(gauge, &[source.as_str()]),
        }
    }
}

/// A series that was never shown cannot be forgotten, which is as good.
fn forget(gauge: &GaugeVec, labels: &[&str]) {
    let _never_shown = gauge.remove_label_values(labels);
}

/// What is known of the rate of a link in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct RateReading {
    /// Bytes per second at the 10th, 50th and 90th percentile.
    pub percentiles: [u64; 3],
    /// How it is known, as a label says it: `measured`, `probed`, `lower_bound` or `declared`.
    pub kind: &'static str,
}

/// What is known of the link to a peer, as the transport measured it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkReading {
    /// Whether there is a connection.
    pub connected: bool,
    /// Smoothed round trip, seconds.
    pub round_trip_seconds: Option<f64>,
    /// Mean deviation of the round trip, seconds.
    pub round_trip_deviation_seconds: Option<f64>,
    /// Share of packets lost, 0 to 1.
    pub loss_ratio: f64,
    /// Bytes sent to the peer since this agent knows it.
    pub sent_bytes: u64,
    /// Bytes received from the peer since this agent knows it.
    pub received_bytes: u64,
    /// What the peer's frames arrive at.
    pub inbound: Option<RateReading>,
    /// What our frames arrive at.
    pub outbound: Option<RateReading>,
}

/// The metrics of all links, each with a label `peer`.
#[derive(Clone, Debug)]
pub struct LinkMetrics {
    connected: GaugeVec,
    round_trip_seconds: GaugeVec,
    round_trip_deviation_seconds: GaugeVec,
    loss_ratio: GaugeVec,
    sent_bytes_total: IntCounterVec,
    received_bytes_total: IntCounterVec,
    rate: GaugeVec,
}

const DIRECTIONS: [&str; 2] = ["inbound", "outbound"];
const PERCENTILES: [&str; 3] = ["10", "50", "90"];
const KINDS: [&str; 4] = ["measured", "probed", "lower_bound", "declared"];

impl LinkMetrics {
    /// Registers the metrics; they have no series before the first [`Self::show`]. Fails if `registry` has them
    /// already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let by_peer = |name: &str, help: &str| gauge(registry, name, help, &["peer"]);
        let counter = |name: &str, help: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["peer"])?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            connected: by_peer(
                "edgeloom_link_connected",
                "1 while there is a connection to the peer.",
            )?,
            round_trip_seconds: by_peer(
                "edgeloom_link_round_trip_seconds",
                "Smoothed round trip to the peer.",
            )?,
            round_trip_deviation_seconds: by_peer(
                "edgeloom_link_round_trip_deviation_seconds",
                "Mean deviation of the round trip to the peer.",
            )?,
            loss_ratio: by_peer(
                "edgeloom_link_loss_ratio",
                "Share of packets to the peer that were lost.",
            )?,
            sent_bytes_total: counter("edgeloom_link_sent_bytes_total", "Bytes sent to the peer.")?,
            received_bytes_total: counter(
                "edgeloom_link_received_bytes_total",
                "Bytes received from the peer.",
            )?,
            rate: gauge(
                registry,
                "edgeloom_link_rate_bytes_per_second",
                "Rate at which the link delivers, and how it is known.",
                &["peer", "direction", "percentile", "kind"],
            )?,
        })
    }

    /// Shows what is known of the link to `peer`.
    pub fn show(&self, peer: &str, link: &LinkReading) {
        let LinkReading {
            connected,
            round_trip_seconds,
            round_trip_deviation_seconds,
            loss_ratio,
            sent_bytes,
            received_bytes,
            inbound,
            outbound,
        } = link;
        self.connected
            .with_label_values(&[peer])
            .set(f64::from(u8::from(*connected)));
        self.loss_ratio.with_label_values(&[peer]).set(*loss_ratio);
        set_or_forget(&self.round_trip_seconds, &[peer], *round_trip_seconds);
        set_or_forget(
            &self.round_trip_deviation_seconds,
            &[peer],
            *round_trip_deviation_seconds,
        );
        count_up_to(&self.sent_bytes_total, peer, *sent_bytes);
        count_up_to(&self.received_bytes_total, peer, *received_bytes);
        for (direction, rate) in DIRECTIONS.into_iter().zip([inbound, outbound]) {
            self.show_rate(peer, direction, rate.as_ref());
        }
    }

    /// Takes a peer's series away.
    pub fn forget(&self, peer: &str) {
        for gauge in [
            &self.connected,
            &self.round_trip_seconds,
            &self.round_trip_deviation_seconds,
            &self.loss_ratio,
        ] {
            forget(gauge, &[peer]);
        }
        for counter in [&self.sent_bytes_total, &self.received_bytes_total] {
            let _never_shown = counter.remove_label_values(&[peer]);
        }
        DIRECTIONS
            .iter()
            .for_each(|direction| self.show_rate(peer, direction, None));
    }

    fn show_rate(&self, peer: &str, direction: &str, rate: Option<&RateReading>) {
        for kind in KINDS {
            let shown = rate.filter(|rate| rate.kind == kind);
            for (at, percentile) in PERCENTILES.into_iter().enumerate() {
                let value = shown.map(|rate| rate.percentiles[at] as f64);
                set_or_forget(&self.rate, &[peer, direction, percentile, kind], value);
            }
        }
    }
}

fn gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn set_or_forget(gauge: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => gauge.with_label_values(labels).set(value),
        None => forget(gauge, labels),
    }
}

/// The transport counts already; a counter here follows it and never goes back.
fn count_up_to(counter: &IntCounterVec, peer: &str, total: u64) {
    let counter = counter.with_label_values(&[peer]);
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::TextEncoder;

    use super::*;
    use crate::reading::{Battery, Memory};

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    fn reading(memory: Option<Fact<Memory>>, battery: Option<Fact<Battery>>) -> Reading {
        let (processor, temperature_celsius) = (None, Some(Fact::measured(41.5)));
        Reading {
            observed: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
            memory,
            processor,
            battery,
            temperature_celsius,
            gpus: vec![],
        }
    }

    #[test]
    fn a_gpu_is_shown_by_name_and_forgotten_when_it_is_gone() {
        let registry = Registry::new();
        let metrics = NodeMetrics::register(&registry).unwrap();
        let gpu = crate::Gpu {
            name: "cuda0".to_owned(),
            product: None,
            uuid: None,
            memory_total_bytes: 8000,
            memory_used_bytes: 500,
            temperature_celsius: Some(61.0),
            power_watts: None,
            busy_ratio: Some(0.25),
        };
        metrics.show(&Reading {
            gpus: vec![gpu],
            ..reading(None, None)
        });
        let shown = text(&registry);
        for line in [
            "edgeloom_gpu_memory_used_bytes{device=\"cuda0\"} 500",
            "edgeloom_gpu_temperature_celsius{device=\"cuda0\"} 61",
            "edgeloom_gpu_busy_ratio{device=\"cuda0\"} 0.25",
        ] {
            assert!(shown.contains(line), "{line} in\n{shown}");
        }
        assert!(!shown.contains("power"));
        metrics.show(&reading(None, None));
        assert!(!text(&registry).contains("gpu"));
    }

    #[test]
    fn a_reading_is_shown_with_its_units_and_sources_and_nothing_else_is() {
        let registry = Registry::new();
        let metrics = NodeMetrics::register(&registry).unwrap();
        assert!(!text(&registry).contains("source="));
        let memory = Fact::measured(Memory {
            total_bytes: 8000,
            available_bytes: 3000,
        });
        let battery = Fact::declared(Battery {
            ratio: 0.5,
            energy_joules: 100.0,
            discharge_watts: 2.5,
        });
        metrics.show(&reading(Some(memory), Some(battery)));
        let shown = text(&registry);
        for line in [
            "edgeloom_node_reading_timestamp_seconds 1.5",
            "edgeloom_node_memory_available_bytes{source=\"measured\"} 3000",
            "edgeloom_node_battery_ratio{source=\"declared\"} 0.5",
            "edgeloom_node_temperature_celsius{source=\"measured\"} 41.5",
        ] {
            assert!(shown.contains(line), "{line} in\n{shown}");
        }
        assert!(!shown.contains("edgeloom_node_cores"));
    }

    #[test]
    fn what_vanishes_or_changes_its_source_leaves_no_stale_series() {
        let registry = Registry::new();
        let metrics = NodeMetrics::register(&registry).unwrap();
        let memory = Memory {
            total_bytes: 8000,
            available_bytes: 3000,
        };
        metrics.show(&reading(Some(Fact::measured(memory)), None));
        metrics.show(&reading(Some(Fact::declared(memory)), None));
        assert!(!text(&registry).contains("total_bytes{source=\"measured\"}"));
        metrics.show(&reading(None, None));
        assert!(!text(&registry).contains("memory"));
    }

    #[test]
    fn a_link_is_shown_counted_and_forgotten() {
        let registry = Registry::new();
        let metrics = LinkMetrics::register(&registry).unwrap();
        let rate = RateReading {
            percentiles: [10, 20, 30],
            kind: "probed",
        };
        let link = LinkReading {
            connected: true,
            round_trip_seconds: Some(0.04),
            sent_bytes: 700,
            outbound: Some(rate),
            ..LinkReading::default()
        };
        metrics.show("skerry", &link);
        metrics.show(
            "skerry",
            &LinkReading {
                sent_bytes: 900,
                ..link
            },
        );
        let shown = text(&registry);
        for line in [
            "edgeloom_link_round_trip_seconds{peer=\"skerry\"} 0.04",
            "edgeloom_link_sent_bytes_total{peer=\"skerry\"} 900",
            "edgeloom_link_rate_bytes_per_second{direction=\"outbound\",kind=\"probed\",peer=\"skerry\",percentile=\"50\"} 20",
        ] {
            assert!(shown.contains(line), "{line} in\n{shown}");
        }
        metrics.forget("skerry");
        assert_eq!(text(&registry), "");
    }

    #[test]
    fn registering_twice_is_refused() {
        let registry = Registry::new();
        NodeMetrics::register(&registry).unwrap();
        assert!(NodeMetrics::register(&registry).is_err());
    }
}
