//! The dead bands of GPUs, one set for each.

use std::{collections::BTreeMap, time::Instant};

use super::DeadBand;
use crate::gpu::Gpu;

/// Memory by a twentieth of its total, the temperature by 3 °C, power by 20 W, busy time by a quarter.
const WIDTHS: [f64; 4] = [0.05, 3.0, 20.0, 0.25];

/// By the GPU's name.
#[derive(Clone, Debug, Default)]
pub(super) struct GpuBands(BTreeMap<String, [DeadBand; 4]>);

impl GpuBands {
    /// Whether one of them is news, has appeared or has vanished.
    pub(super) fn is_news(&self, gpus: &[Gpu], now: Instant) -> bool {
        gpus.len() != self.0.len()
            || gpus.iter().any(|gpu| {
                self.0.get(&gpu.name).is_none_or(|bands| {
                    let mut pairs = bands.iter().zip(values(gpu));
                    pairs.any(|(band, value)| band.is_news(value, now))
                })
            })
    }

    /// All of them were reported.
    pub(super) fn reported(&mut self, gpus: &[Gpu], now: Instant) {
        self.0 = gpus
            .iter()
            .map(|gpu| {
                let mut bands = WIDTHS.map(DeadBand::new);
                for (band, value) in bands.iter_mut().zip(values(gpu)) {
                    band.reported(value, now);
                }
                (gpu.name.clone(), bands)
            })
            .collect();
    }
}

fn values(gpu: &Gpu) -> [Option<f64>; 4] {
    let taken = gpu.memory_used_bytes as f64 / gpu.memory_total_bytes.max(1) as f64;
    [
        Some(taken),
        gpu.temperature_celsius,
        gpu.power_watts,
        gpu.busy_ratio,
    ]
}
