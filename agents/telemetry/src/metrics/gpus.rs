//! The gauges of GPUs, each with a label `device` that says `cuda0` and so on, as EdgeNode status does.

use prometheus::{GaugeVec, Registry};

use super::gauge;
use crate::gpu::Gpu;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct GpuMetrics {
    memory_total_bytes: GaugeVec,
    memory_used_bytes: GaugeVec,
    temperature_celsius: GaugeVec,
    power_watts: GaugeVec,
    busy_ratio: GaugeVec,
}

impl GpuMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| gauge(registry, name, help, &["device"]);
        Ok(Self {
            memory_total_bytes: gauge("edgeloom_gpu_memory_total_bytes", "Memory of the GPU.")?,
            memory_used_bytes: gauge(
                "edgeloom_gpu_memory_used_bytes",
                "Memory of the GPU that is taken, by whomever.",
            )?,
            temperature_celsius: gauge("edgeloom_gpu_temperature_celsius", "Temperature of the GPU.")?,
            power_watts: gauge("edgeloom_gpu_power_watts", "Power that the GPU draws.")?,
            busy_ratio: gauge(
                "edgeloom_gpu_busy_ratio",
                "Share of the time in which something ran on the GPU.",
            )?,
        })
    }

    /// Shows these GPUs, and no other any more.
    pub(super) fn show(&self, gpus: &[Gpu]) {
        let Self {
            memory_total_bytes,
            memory_used_bytes,
            temperature_celsius,
            power_watts,
            busy_ratio,
        } = self;
        let value = |gauge: &GaugeVec, of: fn(&Gpu) -> Option<f64>| {
            gauge.reset();
            for (gpu, value) in gpus.iter().filter_map(|gpu| Some((gpu, of(gpu)?))) {
                gauge.with_label_values(&[gpu.name.as_str()]).set(value);
            }
        };
        value(memory_total_bytes, |gpu| Some(gpu.memory_total_bytes as f64));
        value(memory_used_bytes, |gpu| Some(gpu.memory_used_bytes as f64));
        value(temperature_celsius, |gpu| gpu.temperature_celsius);
        value(power_watts, |gpu| gpu.power_watts);
        value(busy_ratio, |gpu| gpu.busy_ratio);
    }
}
