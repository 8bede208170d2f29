//! The machine as EdgeNode status shows it: what telemetry read, held still within its dead bands.

use std::time::Instant;

use crds::{
    EdgeNode, EdgeNodeSpec,
    edge_node::{BatteryReading, Device, NodeLimits, PowerSource, Provenance},
};
use telemetry::{BatteryProfile, Gpu, NodeMetrics, Profile, Reading, ReadingBands, Source};
use tokio::sync::watch;

/// What of a pod's limit is the agent's own. Idle it takes some 40 MiB; the rest is for requests on their way, whose bodies
/// and connections are bounded by the router's limits. Beyond it the kernel would end the pod and not just the engine.
const AGENT_BYTES: u64 = 64 << 20;

/// What an engine's process may hold beside stages after its next start, and did not at this one.
const OVERHEAD_HEADROOM_BYTES: u64 = 1 << 20;

/// How much less the engine's process must hold than was told for the figure to be told anew.
const OVERHEAD_TOLERANCE_BYTES: u64 = 4 << 20;

/// Seconds in an hour: milliwatt hours times this are millijoules.
const SECONDS_PER_HOUR: f64 = 3600.0;

/// The reading that was told last, and what decides when another is news.
pub(crate) struct Reported {
    readings: watch::Receiver<Reading>,
    bands: ReadingBands,
    metrics: NodeMetrics,
    told: Reading,
}

impl Reported {
    pub(crate) fn new(readings: watch::Receiver<Reading>, metrics: NodeMetrics) -> Self {
        let told = readings.borrow().clone();
        Self {
            readings,
            bands: ReadingBands::default(),
            metrics,
            told,
        }
    }

    /// Takes the newest reading, and keeps it if it is news; says whether it is.
    pub(super) fn look(&mut self) -> bool {
        let reading = self.readings.borrow_and_update().clone();
        self.metrics.show(&reading);
        let news = self.bands.report(&reading, Instant::now());
        if news {
            self.told = reading;
        }
        news
    }

    pub(super) fn battery(&self) -> Option<BatteryReading> {
        let fact = self.told.battery?;
        Some(BatteryReading {
            percent: (fact.value.ratio * 100.0).round() as i32,
            energy_milliwatt_hours: Some(
                (fact.value.energy_joules * 1000.0 / SECONDS_PER_HOUR).round() as i64
            ),
            charging: fact.value.discharge_watts < 0.0,
            provenance: match fact.source {
                Source::Measured => Provenance::Measured,
                Source::Declared => Provenance::Declared,
            },
        })
    }

    /// The GPUs, after the processor in EdgeNode status.
    pub(super) fn gpus(&self) -> Vec<Device> {
        // The schema bounds the list.
        self.told.gpus.iter().take(15).map(gpu).collect()
    }

    pub(super) fn temperature_millicelsius(&self) -> Option<i32> {
        self.told
            .temperature_celsius
            .map(|fact| (fact.value * 1000.0).round() as i32)
    }
}

/// What telemetry is told of an EdgeNode.
pub(crate) fn profile(spec: &EdgeNodeSpec, emulated: bool) -> Profile {
    let watts = |milliwatts: i32| f64::from(milliwatts) / 1000.0;
    let battery = spec.power.battery.as_ref();
    let battery = battery.filter(|_| spec.power.source == PowerSource::Battery);
    Profile {
        emulated,
        memory_bytes: memory_limit(&spec.limits),
        // A machine that only plays the node has an owner who declared what may be used.
        agent_bytes: if emulated { 0 } else { AGENT_BYTES },
        cores: core_limit(&spec.limits),
        battery: battery.map(|battery| BatteryProfile {
            capacity_joules: watts(battery.capacity_milliwatt_hours) * SECONDS_PER_HOUR,
            initial_ratio: f64::from(battery.percent) / 100.0,
            idle_watts: watts(battery.idle_milliwatts),
            joules_per_cpu_second: watts(battery.milliwatts_per_core),
        }),
        temperature_celsius: None,
    }
}

/// What the engine's process may hold, bytes: the declared limit, within that of the agent's control group if it has one.
/// A process that goes beyond is started again by itself, before the kernel would end the whole pod.
pub(crate) fn engine_limit(
    limits: &NodeLimits,
    group: &telemetry::cgroup::Limits,
    emulated: bool,
) -> Option<u64> {
    let group = group.memory.filter(|_| !emulated);
    let in_group = group.map(|group| group.limit_bytes.saturating_sub(AGENT_BYTES));
    memory_limit(limits).into_iter().chain(in_group).min()
}

/// The declared limit of memory, bytes.
fn memory_limit(limits: &NodeLimits) -> Option<u64> {
    let limit = limits.memory.as_ref()?.value();
    u64::try_from(limit).ok()
}

/// The declared disk for weights, bytes.
pub(crate) fn storage_limit(limits: &NodeLimits) -> Option<i64> {
    limits.storage.as_ref().map(crds::Quantity::value)
}

/// The declared share of processors, cores.
pub(crate) fn core_limit(limits: &NodeLimits) -> Option<f64> {
    let limit = limits.cores.as_ref()?.milli();
    Some(limit as f64 / 1000.0)
}

/// The processor as a device for stages. `overhead_bytes` is what the engine's process holds beside them.
pub(crate) fn device(reading: &Reading, overhead_bytes: u64) -> Device {
    let memory = reading.memory.map_or(0, |fact| fact.value.total_bytes);
    let cores = reading.processor.map_or(0.0, |fact| fact.value.cores);
    Device {
        name: "cpu".to_owned(),
        memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
        cores_milli: (cores * 1000.0).round() as i64,
        overhead_bytes: i64::try_from(overhead_bytes).unwrap_or(i64::MAX),
        ..Device::default()
    }
}

/// What the device of the engine is told to hold beside stages, bytes: a little more than was measured, or what
/// `node` told before while that is about right. A process holds some hundred KiB more or less after each start, and stages that
/// fill a node to the last byte must fit again.
pub(crate) fn steady_overhead(measured: u64, node: &EdgeNode) -> u64 {
    let stated = (measured + OVERHEAD_HEADROOM_BYTES).next_multiple_of(OVERHEAD_HEADROOM_BYTES);
    let device = node.status.as_ref().and_then(|status| status.devices.first());
    let before = device.and_then(|device| u64::try_from(device.overhead_bytes).ok());
    let about_right = |before: &u64| (measured..=stated + OVERHEAD_TOLERANCE_BYTES).contains(before);
    before.filter(about_right).unwrap_or(stated)
}

fn gpu(gpu: &Gpu) -> Device {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    Device {
        name: gpu.name.clone(),
        memory_bytes: bytes(gpu.memory_total_bytes),
        memory_used_bytes: Some(bytes(gpu.memory_used_bytes)),
        product: gpu.product.clone(),
        uuid: gpu.uuid.clone(),
        temperature_millicelsius: gpu
            .temperature_celsius
            .map(|celsius| (celsius * 1000.0).round() as i32),
        power_milliwatts: gpu.power_watts.map(|watts| (watts * 1000.0).round() as i64),
        busy_percent: gpu.busy_ratio.map(|ratio| (ratio * 100.0).round() as i32),
        ..Device::default()
    }
}

#[cfg(test)]
mod tests {
    use telemetry::cgroup::{Limits, MemoryLimit};

    use super::*;

    fn spec(memory: Option<&str>) -> EdgeNodeSpec {
        let limits = serde_json::json!({ "limits": { "memory": memory } });
        serde_json::from_value(limits).unwrap()
    }

    #[test]
    fn a_gpu_is_a_device_of_its_own_with_the_units_of_the_schema() {
        let told = gpu(&Gpu {
            name: "cuda0".to_owned(),
            product: Some("Test Card".to_owned()),
            uuid: None,
            memory_total_bytes: 8_000,
            memory_used_bytes: 500,
            temperature_celsius: Some(61.0),
            power_watts: Some(72.5),
            busy_ratio: Some(0.4),
        });
        let expected = serde_json::json!({
            "name": "cuda0", "product": "Test Card", "memoryBytes": 8000, "memoryUsedBytes": 500, "coresMilli": 0,
            "overheadBytes": 0, "temperatureMillicelsius": 61_000, "powerMilliwatts": 72_500, "busyPercent": 40,
        });
        assert_eq!(serde_json::to_value(told).unwrap(), expected);
    }

    #[test]
    fn what_the_engine_holds_is_told_anew_only_when_it_is_more_or_much_less() {
        const MIB: u64 = 1 << 20;
        let mut node = EdgeNode::new("a", spec(None));
        let first = steady_overhead(40 * MIB + 1, &node);
        assert_eq!(first, 42 * MIB);
        let mut status = crds::EdgeNodeStatus::default();
        status.devices.push(Device {
            overhead_bytes: i64::try_from(first).unwrap(),
            ..Device::default()
        });
        node.status = Some(status);
        for measured in [39 * MIB, 40 * MIB + 300_000, first] {
            assert_eq!(steady_overhead(measured, &node), first, "{measured} bytes");
        }
        assert_eq!(steady_overhead(first + 1, &node), 44 * MIB);
        assert_eq!(steady_overhead(30 * MIB, &node), 31 * MIB);
    }

    #[test]
    fn the_engine_is_held_to_the_pods_limit_where_there_is_one() {
        let alone = Limits::default();
        let pod = Limits {
            memory: Some(MemoryLimit {
                limit_bytes: 512 << 20,
                used_bytes: 0,
            }),
            cores: None,
        };
        let limit = |memory, group, emulated| engine_limit(&spec(memory).limits, group, emulated);
        assert_eq!(limit(None, &alone, false), None);
        assert_eq!(limit(Some("1Gi"), &alone, false), Some(1 << 30));
        assert_eq!(limit(None, &pod, false), Some(448 << 20));
        assert_eq!(limit(Some("1Gi"), &pod, false), Some(448 << 20));
        assert_eq!(limit(Some("64Mi"), &pod, false), Some(64 << 20));
        assert_eq!(limit(Some("1Gi"), &pod, true), Some(1 << 30));
    }

    #[test]
    fn the_agents_own_part_is_kept_back_unless_the_node_is_only_played() {
        assert_eq!(profile(&spec(None), false).agent_bytes, AGENT_BYTES);
        assert_eq!(profile(&spec(None), true).agent_bytes, 0);
    }
}
