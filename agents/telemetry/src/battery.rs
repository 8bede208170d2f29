//! A battery that drains by what the profile says: idle watts times time, plus joules per second of
//! processor time used. Pure: both times are arguments. It does not charge.

use std::time::Duration;

use crate::{profile::BatteryProfile, reading::Battery};

/// The state of a declared battery.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredBattery {
    profile: BatteryProfile,
    energy_joules: f64,
}

impl DeclaredBattery {
    /// A battery charged as its profile says.
    pub fn new(profile: BatteryProfile) -> Self {
        let energy_joules = profile.capacity_joules.max(0.0) * profile.initial_ratio.clamp(0.0, 1.0);
        Self {
            profile,
            energy_joules,
        }
    }

    /// Takes out what `elapsed` of being on and `processor_time` of work cost, and says how the battery is
    /// then. An empty battery stays empty; that its device would be off is for others to act on.
    pub fn drain(&mut self, elapsed: Duration, processor_time: Duration) -> Battery {
        let BatteryProfile {
            capacity_joules,
            idle_watts,
            joules_per_cpu_second,
            ..
        } = self.profile;
        let drawn = idle_watts * elapsed.as_secs_f64() + joules_per_cpu_second * processor_time.as_secs_f64();
        let drawn = drawn.max(0.0);
        self.energy_joules = (self.energy_joules - drawn).max(0.0);
        let ratio = if capacity_joules > 0.0 {
            self.energy_joules / capacity_joules
        } else {
            0.0
        };
        let discharge_watts = if elapsed.is_zero() {
            idle_watts
        } else {
            drawn / elapsed.as_secs_f64()
        };
        Battery {
            ratio,
            energy_joules: self.energy_joules,
            discharge_watts,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PHONE: BatteryProfile = BatteryProfile {
        capacity_joules: 1000.0,
        initial_ratio: 0.5,
        idle_watts: 2.0,
        joules_per_cpu_second: 3.0,
    };

    #[test]
    fn idling_and_working_drain_as_declared() {
        let mut battery = DeclaredBattery::new(PHONE);
        let after = battery.drain(Duration::from_secs(10), Duration::from_secs(20));
        assert_eq!(after.energy_joules, 500.0 - 10.0 * 2.0 - 20.0 * 3.0);
        assert_eq!((after.ratio, after.discharge_watts), (0.42, 8.0));
    }

    #[test]
    fn an_empty_battery_stays_empty() {
        let mut battery = DeclaredBattery::new(PHONE);
        let after = battery.drain(Duration::from_secs(1000), Duration::ZERO);
        assert_eq!((after.ratio, after.energy_joules), (0.0, 0.0));
        assert_eq!(
            battery
                .drain(Duration::from_secs(1), Duration::ZERO)
                .energy_joules,
            0.0
        );
    }

    proptest! {
        #[test]
        fn the_charge_never_rises_and_stays_a_ratio(
            capacity in 0.0f64..1e6, initial in -1.0f64..2.0, idle in 0.0f64..50.0, work in 0.0f64..50.0,
            steps in prop::collection::vec((0u64..100, 0u64..100), 1..20),
        ) {
            let profile = BatteryProfile {
                capacity_joules: capacity, initial_ratio: initial, idle_watts: idle, joules_per_cpu_second: work,
            };
            let mut battery = DeclaredBattery::new(profile);
            let mut last = 1.0;
            for (elapsed, processor) in steps {
                let ratio = battery.drain(Duration::from_secs(elapsed), Duration::from_secs(processor)).ratio;
                prop_assert!((0.0..=1.0).contains(&ratio) && ratio <= last);
                last = ratio;
            }
        }
    }
}
