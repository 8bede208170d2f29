//! The loop: at each interval a reading, joined from the machine and the profile, into a watch channel.

use std::time::{Duration, Instant, SystemTime};

use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    battery::DeclaredBattery,
    process::{self, ProcessMemory},
    profile::Profile,
    reading::{Battery, Fact, Memory, Processor, Reading},
    system::Machine,
};

/// Reads a node again and again.
pub struct Telemetry {
    profile: Profile,
    machine: Option<Machine>,
    battery: Option<DeclaredBattery>,
    last: Option<Usage>,
}

/// What this agent's processes had used at one time.
#[derive(Clone, Copy, Debug)]
struct Usage {
    at: Instant,
    processor_time: Duration,
}

impl Telemetry {
    /// Takes a first reading, then one per `interval` and at each change of the profile, for as long as a receiver is
    /// left. Must be called within a tokio runtime. The interval should be seconds: a reading walks the page tables of
    /// this agent's processes. A declared battery is that of the first profile.
    pub fn start(mut profile: watch::Receiver<Profile>, interval: Duration) -> watch::Receiver<Reading> {
        let mut telemetry = Self::new(profile.borrow_and_update().clone());
        let (readings, receiver) = watch::channel(telemetry.read());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first tick is now, and the first reading has just been taken.
            ticks.tick().await;
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    // Whoever declares may be gone; what was declared last stands.
                    Ok(()) = profile.changed() => {}
                    () = readings.closed() => return,
                }
                telemetry.profile = profile.borrow_and_update().clone();
                // Files of /proc and /sys: they may take milliseconds, so not on a thread that serves others.
                let taken = tokio::task::spawn_blocking(move || {
                    let reading = telemetry.read();
                    (telemetry, reading)
                });
                let Ok((back, reading)) = taken.await else {
                    tracing::error!("taking a reading failed; the last one stands");
                    return;
                };
                telemetry = back;
                readings.send_replace(reading);
            }
        });
        receiver
    }

    fn new(profile: Profile) -> Self {
        let battery = profile.battery.map(DeclaredBattery::new);
        Self {
            profile,
            machine: Machine::open(),
            battery,
            last: None,
        }
    }

    fn read(&mut self) -> Reading {
        let (elapsed, processor_time) = self.used_since_last();
        let machine = self.machine.as_mut();
        let (memory, processor, real_battery, temperature) = match machine {
            Some(machine) => (
                machine.memory(self.profile.agent_bytes),
                machine.processor(),
                machine.battery(),
                machine.temperature_celsius(),
            ),
            None => (None, None, None, None),
        };
        let emulated = self.profile.emulated;
        let own_machine = self.machine.as_ref().filter(|_| !emulated);
        let gpus = own_machine.map(Machine::gpus).unwrap_or_default();
        let declared_battery = self
            .battery
            .as_mut()
            .map(|battery| battery.drain(elapsed, processor_time));
        let own = self
            .profile
            .memory_bytes
            .and_then(|_| process::memory_of_family(std::process::id()));
        Reading {
            observed: SystemTime::now(),
            memory: capped_memory(memory, self.profile.memory_bytes, own),
            processor: capped_processor(processor, self.profile.cores, elapsed, processor_time),
            battery: prefer::<Battery>(real_battery, declared_battery, emulated),
            temperature_celsius: prefer(temperature, self.profile.temperature_celsius, emulated),
            gpus,
        }
    }

    /// Time and this agent's processor time since the reading before; nothing at the first.
    fn used_since_last(&mut self) -> (Duration, Duration) {
        let processor_time = process::processor_time_of_family(std::process::id()).unwrap_or_default();
        let now = Usage {
            at: Instant::now(),
            processor_time,
        };
        let last = self.last.replace(now).unwrap_or(now);
        (
            now.at - last.at,
            now.processor_time.saturating_sub(last.processor_time),
        )
    }
}

/// The measured value, or the declared one where there is none; for an emulated device the other way round.
fn prefer<T>(measured: Option<T>, declared: Option<T>, emulated: bool) -> Option<Fact<T>> {
    let (measured, declared) = (measured.map(Fact::measured), declared.map(Fact::declared));
    if emulated {
        declared.or(measured)
    } else {
        measured.or(declared)
    }
}

/// A declared limit caps what the machine has. What this agent's processes hold counts against it; other
/// programs on the machine do not, unless they take what would be left.
fn capped_memory(
    machine: Option<Memory>,
    declared: Option<u64>,
    own: Option<ProcessMemory>,
) -> Option<Fact<Memory>> {
    let Some(declared) = declared else {
        return machine.map(Fact::measured);
    };
    let used = own.unwrap_or_default().proportional_bytes;
    let room = machine.map_or(u64::MAX, |machine| machine.available_bytes);
    let total_bytes = machine.map_or(declared, |machine| machine.total_bytes.min(declared));
    let available_bytes = total_bytes.saturating_sub(used).min(room);
    Some(Fact::declared(Memory {
        total_bytes,
        available_bytes,
    }))
}

/// A declared share caps what the machine has; of a share only this agent's own work is counted as busy.
fn capped_processor(
    machine: Option<Processor>,
    declared: Option<f64>,
    elapsed: Duration,
    processor_time: Duration,
) -> Option<Fact<Processor>> {
    let Some(declared) = declared else {
        return machine.map(Fact::measured);
    };
    let cores = machine.map_or(declared, |machine| machine.cores.min(declared));
    let busy_cores = if elapsed.is_zero() {
        0.0
    } else {
        processor_time.as_secs_f64() / elapsed.as_secs_f64()
    };
    Some(Fact::declared(Processor { cores, busy_cores }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{profile::BatteryProfile, reading::Source};

    const MACHINE: Memory = Memory {
        total_bytes: 1000,
        available_bytes: 400,
    };

    #[test]
    fn a_declared_memory_caps_and_only_this_agents_use_counts_against_it() {
        let own = Some(ProcessMemory {
            resident_bytes: 999,
            proportional_bytes: 100,
        });
        let capped = |declared| capped_memory(Some(MACHINE), Some(declared), own).unwrap();
        assert_eq!(
            capped(300),
            Fact::declared(Memory {
                total_bytes: 300,
                available_bytes: 200
            })
        );
        assert_eq!(
            capped(800).value.available_bytes,
            400,
            "the machine has no more to give"
        );
        assert_eq!(capped(5000).value.total_bytes, 1000, "declaring adds no memory");
        assert_eq!(
            capped_memory(Some(MACHINE), None, None),
            Some(Fact::measured(MACHINE))
        );
        assert_eq!(capped_memory(None, None, None), None);
    }

    #[test]
    fn a_share_of_cores_is_busy_with_this_agents_work() {
        let machine = Some(Processor {
            cores: 8.0,
            busy_cores: 7.0,
        });
        let second = Duration::from_secs(1);
        let share = capped_processor(machine, Some(0.5), second * 4, second).unwrap();
        assert_eq!(
            share,
            Fact::declared(Processor {
                cores: 0.5,
                busy_cores: 0.25
            })
        );
        assert_eq!(
            capped_processor(machine, None, second, second).unwrap().source,
            Source::Measured
        );
    }

    #[test]
    fn what_is_declared_fills_in_and_goes_first_only_for_an_emulated_device() {
        assert_eq!(prefer(Some(1), Some(2), false), Some(Fact::measured(1)));
        assert_eq!(prefer(Some(1), Some(2), true), Some(Fact::declared(2)));
        assert_eq!(prefer(None, Some(2), false), Some(Fact::declared(2)));
        assert_eq!(prefer(Some(1), None, true), Some(Fact::measured(1)));
        assert_eq!(prefer::<u8>(None, None, true), None);
    }

    #[tokio::test]
    async fn readings_keep_coming_and_a_declared_battery_drains() {
        let battery = BatteryProfile {
            capacity_joules: 10.0,
            initial_ratio: 1.0,
            idle_watts: 1000.0,
            joules_per_cpu_second: 0.0,
        };
        let profile = Profile {
            emulated: true,
            battery: Some(battery),
            ..Profile::default()
        };
        let (_declares, profile) = watch::channel(profile);
        let mut readings = Telemetry::start(profile, Duration::from_millis(5));
        let is_empty = |reading: &Reading| reading.battery.is_some_and(|battery| battery.value.ratio == 0.0);
        let empty = tokio::time::timeout(Duration::from_secs(30), readings.wait_for(is_empty))
            .await
            .unwrap();
        assert_eq!(empty.unwrap().battery.unwrap().source, Source::Declared);
    }

    #[tokio::test]
    async fn another_profile_is_read_at_once() {
        let (declares, profile) = watch::channel(Profile::default());
        let mut readings = Telemetry::start(profile, Duration::from_secs(24 * 3600));
        declares.send_modify(|profile| profile.cores = Some(0.125));
        let capped = |reading: &Reading| {
            reading
                .processor
                .is_some_and(|processor| processor.value.cores == 0.125)
        };
        let read = tokio::time::timeout(Duration::from_secs(30), readings.wait_for(capped)).await;
        assert_eq!(read.unwrap().unwrap().processor.unwrap().source, Source::Declared);
    }

    #[tokio::test]
    async fn with_nothing_declared_everything_is_measured_or_absent() {
        let (_, profile) = watch::channel(Profile::default());
        let reading = Telemetry::start(profile, Duration::from_secs(1)).borrow().clone();
        assert_eq!(reading.memory.unwrap().source, Source::Measured);
        assert!(
            reading
                .battery
                .is_none_or(|battery| battery.source == Source::Measured)
        );
    }
}
