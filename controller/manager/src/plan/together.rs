//! What is said of the choice for all services of one priority: its gap, and what memory is worth to them.
//!
//! Figures are rounded to few digits, so that a measured rate that moves a little does not write every status anew.

use crds::placement::{MemoryPrice, Together};
use solver::{
    Solution,
    solution::{LevelCertificate, Placed},
    units::Nanos,
};

use super::decision::{micros, shape_line};
use crate::{snapshot::Snapshot, world::ServiceName};

/// Prices that stand in a status.
const PRICES_MAX: usize = 4;

/// What the solver says of the services of this one's priority; none when it was not asked or has no pipeline.
#[must_use]
pub fn of(snapshot: &Snapshot, solution: &Solution, name: &ServiceName) -> Option<Together> {
    let service = snapshot.services.iter().position(|known| known == name)?;
    let placed = solution.services.get(service)?.placed()?;
    let priority = snapshot.problem.services[service].priority;
    let level = solution.levels.iter().find(|level| level.priority == priority)?;
    Some(together(snapshot, level, placed))
}

fn together(snapshot: &Snapshot, level: &LevelCertificate, placed: &Placed) -> Together {
    let price = |price: &solver::solution::MemoryPrice| MemoryPrice {
        node: snapshot.node_name(price.node).to_owned(),
        microseconds_per_gibibyte: rounded(micros(price.per_gibibyte), 2),
    };
    let prices = level.prices.iter().map(price);
    Together {
        services: signed(level.services),
        placed: signed(level.placed),
        objective_microseconds: rounded(micros(level.best), 3),
        lower_bound_microseconds: rounded(micros(level.lower_bound), 3),
        gap_parts_per_million: gap(level).map(|gap| rounded(gap, 2)),
        prices: prices
            .filter(|price| price.microseconds_per_gibibyte > 0)
            .take(PRICES_MAX)
            .collect(),
        gives_way: placed.gives_way.as_ref().map(|other| {
            let more = placed.cost.total().saturating_sub(other.cost);
            let line = shape_line(snapshot, &other.shape);
            let text = format!(
                "{line} would cost it {} less per request, and others more than that",
                tidy(more)
            );
            text.chars().take(1000).collect()
        }),
    }
}

/// In parts per million.
fn gap(level: &LevelCertificate) -> Option<i64> {
    level.gap()?;
    let missing = u128::from(level.best.saturating_sub(level.lower_bound).0);
    let parts = missing * 1_000_000 / u128::from(level.best.0.max(1));
    i64::try_from(parts).ok()
}

fn tidy(time: Nanos) -> Nanos {
    let rounded = rounded(micros(time), 2);
    Nanos::from_micros(rounded.unsigned_abs())
}

/// A number with its first digits only.
pub(super) fn rounded(number: i64, digits: u32) -> i64 {
    let mut unit = 1;
    while number / unit >= 10_i64.pow(digits) {
        unit *= 10;
    }
    (number + unit / 2) / unit * unit
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_their_first_digits() {
        let cases = [
            (0, 0),
            (7, 7),
            (99, 99),
            (123, 120),
            (12_345, 12_000),
            (98_765, 99_000),
            (999, 1_000),
        ];
        for (number, expected) in cases {
            assert_eq!(rounded(number, 2), expected, "{number}");
        }
    }
}
