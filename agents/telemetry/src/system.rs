//! This machine, read through its own interfaces. Everything is optional: what is not there is `None`.

use std::thread::available_parallelism;

use starship_battery::{
    State,
    units::{energy::joule, power::watt, ratio::ratio},
};
use sysinfo::{Components, CpuRefreshKind, MemoryRefreshKind, System};

use crate::{
    cgroup,
    gpu::{Gpu, Gpus},
    process,
    reading::{Battery, Memory, Processor},
};

/// Handles that are kept open between readings.
pub(crate) struct Machine {
    system: System,
    components: Option<Components>,
    batteries: Option<starship_battery::Manager>,
    gpus: Option<Gpus>,
}

impl Machine {
    pub(crate) fn open() -> Option<Self> {
        let system = System::new()
            .inspect_err(|error| tracing::debug!(%error, "no system figures"))
            .ok()?;
        let components = Components::new_with_refreshed_list()
            .inspect_err(|error| tracing::debug!(%error, "no temperature sensors"))
            .ok();
        let batteries = starship_battery::Manager::new()
            .inspect_err(|error| tracing::debug!(%error, "no battery interface"))
            .ok();
        Some(Self {
            system,
            components,
            batteries,
            gpus: Gpus::open(),
        })
    }

    /// Memory within the control group's limit, of which `agent_bytes` are not the engine's.
    pub(crate) fn memory(&mut self, agent_bytes: u64) -> Option<Memory> {
        self.system
            .refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let total = Some(self.system.total_memory()).filter(|total| *total > 0)?;
        let machine = Memory {
            total_bytes: total,
            available_bytes: self.system.available_memory(),
        };
        Some(match cgroup::of_this_process().memory {
            None => machine,
            Some(limit) => Memory {
                total_bytes: machine
                    .total_bytes
                    .min(limit.limit_bytes.saturating_sub(agent_bytes)),
                available_bytes: machine.available_bytes.min(limit.available_bytes()),
            },
        })
    }

    /// Cores within the control group's quota, and how many were busy since the last call (on the first, since
    /// the machine's start).
    pub(crate) fn processor(&mut self) -> Option<Processor> {
        self.system
            .refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        let busy_cores = f64::from(self.system.global_cpu_usage()) / 100.0 * self.system.cpus().len() as f64;
        Some(Processor {
            cores: cores()?,
            busy_cores,
        })
    }

    /// The hottest sensor, degrees Celsius.
    pub(crate) fn temperature_celsius(&mut self) -> Option<f64> {
        let components = self.components.as_mut()?;
        components.refresh(true);
        let readings = components.iter().filter_map(|component| component.temperature());
        readings
            .filter(|celsius| celsius.is_finite())
            .map(f64::from)
            .reduce(f64::max)
    }

    /// The GPUs that can be read now.
    pub(crate) fn gpus(&self) -> Vec<Gpu> {
        self.gpus.as_ref().map(Gpus::read).unwrap_or_default()
    }

    /// All batteries together.
    pub(crate) fn battery(&mut self) -> Option<Battery> {
        let batteries = self.batteries.as_ref()?.batteries().ok()?.flatten();
        let (mut energy, mut full, mut power, mut charges) = (0.0, 0.0, 0.0, Vec::new());
        for battery in batteries {
            energy += f64::from(battery.energy().get::<joule>());
            full += f64::from(battery.energy_full().get::<joule>());
            let watts = f64::from(battery.energy_rate().get::<watt>());
            power += match battery.state() {
                State::Charging => -watts,
                State::Discharging | State::Empty => watts,
                State::Full | State::Paused | State::Unknown => 0.0,
            };
            charges.push(f64::from(battery.state_of_charge().get::<ratio>()));
        }
        let count = Some(charges.len()).filter(|count| *count > 0)?;
        let mean = charges.iter().sum::<f64>() / count as f64;
        // Some drivers tell the charge only, and no energy.
        let charge = if full > 0.0 { energy / full } else { mean };
        Some(Battery {
            ratio: charge.clamp(0.0, 1.0),
            energy_joules: energy,
            discharge_watts: power,
        })
    }
}

/// Cores that this process may use: those that it may be scheduled on, within the control group's quota.
pub(crate) fn cores() -> Option<f64> {
    // The standard library's figure has the quota in it already, rounded down.
    let schedulable = match process::allowed_processors() {
        Some(allowed) => allowed as f64,
        None => available_parallelism().ok()?.get() as f64,
    };
    Some(
        cgroup::of_this_process()
            .cores
            .map_or(schedulable, |quota| quota.min(schedulable)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_cores() {
        let mut machine = Machine::open().unwrap();
        let memory = machine.memory(0).unwrap();
        assert!(
            memory.total_bytes > 16 << 20 && memory.available_bytes <= memory.total_bytes,
            "{memory:?}"
        );
        let processor = machine.processor().unwrap();
        assert!(
            processor.cores > 0.0 && processor.busy_cores >= 0.0,
            "{processor:?}"
        );
    }

    #[test]
    fn sensors_and_batteries_that_are_absent_are_no_error() {
        let mut machine = Machine::open().unwrap();
        if let Some(battery) = machine.battery() {
            assert!((0.0..=1.0).contains(&battery.ratio));
        }
        if let Some(celsius) = machine.temperature_celsius() {
            assert!((-100.0..200.0).contains(&celsius));
        }
    }
}
