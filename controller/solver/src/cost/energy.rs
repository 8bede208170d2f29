//! Energy that battery nodes spend on a request: busy time × the power that a busy node draws above an idle one.
//!
//! Radio energy is not modelled (the fits at hand are too weak to rank links by); nodes on mains power cost nothing.

use crate::problem::Battery;
use crate::units::Nanos;

/// Picojoules of so many busy nanoseconds: milliwatts × nanoseconds, exactly.
pub(crate) fn picojoules(battery: Option<Battery>, busy: Nanos) -> u64 {
    battery.map_or(0, |battery| busy.times(battery.active_milliwatts).0)
}

/// What so much energy costs, when a joule costs `joule_cost`.
pub(crate) fn energy_cost(picojoules: u64, joule_cost: Nanos) -> u64 {
    let cost = u128::from(picojoules) * u128::from(joule_cost.0) / 1_000_000_000_000;
    u64::try_from(cost).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MicroJoules;

    #[test]
    fn two_watts_for_a_second_are_two_joules() {
        let battery = Battery {
            charge: MicroJoules(1),
            reserve: MicroJoules(0),
            active_milliwatts: 2_000,
        };
        let spent = picojoules(Some(battery), Nanos::from_millis(1_000));
        assert_eq!(spent, 2_000_000_000_000);
        assert_eq!(
            energy_cost(spent, Nanos::from_millis(5)),
            Nanos::from_millis(10).0
        );
        assert_eq!(picojoules(None, Nanos::from_millis(1_000)), 0);
    }
}
