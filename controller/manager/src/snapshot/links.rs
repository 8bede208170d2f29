//! What a link carries, as far as anybody knows: a rate with how far it strays. What was measured long ago strays farther,
//! and somebody who asks for a rate that is reached more often gets a lower one.
//!
//! Rates are taken to be lognormal, which the tenth percentile and the median of a report describe.

use crds::{
    EdgeLinkSpec,
    edge_link::{LinkReport, Medium, RateProvenance},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use solver::{
    problem::{Link, Segment, Service},
    units::{BytesPerSecond, Nanos, NodeOrd},
};

use super::{MESSAGE_OVERHEAD, unsigned};
use crate::world::Now;

/// The percentile of reports, and of services that ask for none.
pub(super) const PERCENTILE: i32 = 10;

/// From so long ago, a measurement counts for less: how much its logarithm may have strayed since, on the air and in a
/// cable. Steps, so that a link that nobody measures does not change with every look at it.
const STALE: [(SignedDuration, f64, f64); 4] = [
    (SignedDuration::from_mins(15), 0.1, 0.03),
    (SignedDuration::from_hours(1), 0.25, 0.06),
    (SignedDuration::from_hours(6), 0.5, 0.12),
    (SignedDuration::from_hours(24), 1.0, 0.25),
];

/// Where a link's rate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateSource {
    /// The spec: nobody has measured it.
    Declared,
    /// The spec, or what traffic was carried without filling the link, whichever is more.
    LowerBound,
    /// Measurements.
    Measured {
        /// Bits per second that nine tenths of the observations reach.
        p10: u64,
        /// Bits per second that half of the observations reach.
        p50: u64,
        /// The time from which its age counts, if it is old.
        stale: Option<SignedDuration>,
    },
}

/// One direction of an EdgeLink.
pub(super) struct Direction<'a> {
    pub(super) spec: &'a EdgeLinkSpec,
    pub(super) from: NodeOrd,
    pub(super) to: NodeOrd,
    /// Its nominal bits per second.
    pub(super) rate: i64,
    pub(super) report: Option<&'a LinkReport>,
}

impl Direction<'_> {
    /// The link, and where its rate comes from.
    pub(super) fn link(&self, at: Option<Now>) -> (Link, RateSource) {
        let source = self.source(at);
        let declared = u64::try_from(self.rate).unwrap_or(0);
        let (bits, spread) = match source {
            RateSource::Declared => (declared, 0.0),
            RateSource::LowerBound => (declared.max(self.observed().unwrap_or(0)), 0.0),
            RateSource::Measured { p10, p50, stale } => self.measured(p10, p50, stale),
        };
        let round_trip = self.report.and_then(|report| report.round_trip_microseconds);
        let round_trip = round_trip.and_then(|micros| u64::try_from(micros).ok());
        let nominal = Nanos::from_micros(unsigned(self.spec.latency_microseconds));
        let link = Link {
            from: self.from,
            to: self.to,
            rate: BytesPerSecond((bits / 8).max(1)),
            spread_milli: (spread * 1e3) as u32,
            latency: round_trip.map_or(nominal, |micros| Nanos::from_micros(micros / 2)),
            message_overhead: MESSAGE_OVERHEAD,
            price_per_mebibyte: Nanos(unsigned(self.spec.cost_milli_per_gigabyte) * 1_000),
        };
        (link, source)
    }

    fn observed(&self) -> Option<u64> {
        u64::try_from(self.report?.rate_bits_per_second_p10?).ok()
    }

    fn source(&self, at: Option<Now>) -> RateSource {
        let (Some(report), Some(p10)) = (self.report, self.observed()) else {
            return RateSource::Declared;
        };
        let median = report
            .rate_bits_per_second_p50
            .and_then(|rate| u64::try_from(rate).ok());
        match report.rate_provenance {
            RateProvenance::Declared => RateSource::Declared,
            RateProvenance::LowerBound => RateSource::LowerBound,
            RateProvenance::Measured | RateProvenance::Probed => RateSource::Measured {
                p10,
                p50: median.unwrap_or(p10).max(p10),
                stale: stale(report, at),
            },
        }
    }

    /// Bits per second at the usual percentile, and how far their logarithm strays.
    fn measured(&self, p10: u64, p50: u64, stale: Option<SignedDuration>) -> (u64, f64) {
        let usual = deviations(PERCENTILE);
        let spread = (p50.max(1) as f64 / p10.max(1) as f64).ln() / usual;
        let step = STALE.iter().find(|step| Some(step.0) == stale);
        let Some((_, on_air, in_cable)) = step else {
            return (p10, spread);
        };
        let drift = match self.spec.medium {
            Medium::Wired => in_cable,
            Medium::Wifi | Medium::Cellular => on_air,
        };
        let wider = spread.hypot(*drift);
        ((p50 as f64 * (-usual * wider).exp()) as u64, wider)
    }
}

/// From when on a report counts as old; none for one that is fresh, or has no time.
fn stale(report: &LinkReport, at: Option<Now>) -> Option<SignedDuration> {
    let Time(observed) = report.observed_time.as_ref()?;
    let age = at?.duration_since(*observed);
    let steps = STALE.iter().rev();
    steps.map(|step| step.0).find(|from| age >= *from)
}

/// The solver's margin for a service that counts on the rate that all but so many percent of observations reach.
pub(super) fn margin_milli(percentile: i32) -> i32 {
    if percentile == PERCENTILE {
        return 0;
    }
    ((deviations(percentile) - deviations(PERCENTILE)) * 1e3).round() as i32
}

/// By how many standard deviations a percentile up to the median lies below it (Abramowitz and Stegun 26.2.23; exact to
/// 0.0005).
fn deviations(percentile: i32) -> f64 {
    if percentile >= 50 {
        return 0.0;
    }
    let part = f64::from(percentile.max(1)) / 100.0;
    let t = (-2.0 * part.ln()).sqrt();
    let above = 2.515_517 + 0.802_853 * t + 0.010_328 * t * t;
    let below = 1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t;
    t - above / below
}

/// Bits per second that a service counts on, to three digits.
pub(crate) fn bits_for(service: &Service, link: &Link) -> i64 {
    let BytesPerSecond(bytes) = Segment::from(link).rate_with(service.link_margin_milli);
    let bits = bytes.saturating_mul(8);
    let mut unit = 1;
    while bits / unit >= 1_000 {
        unit *= 10;
    }
    i64::try_from(bits / unit * unit).unwrap_or(i64::MAX)
}

/// Why a service counts on that rate, in a sentence without its end.
pub(crate) fn why(source: RateSource, percentile: i32) -> String {
    match source {
        RateSource::Declared => "as spec says, since nobody has measured it".to_owned(),
        RateSource::LowerBound => "as spec says, or more: no traffic has filled it yet".to_owned(),
        RateSource::Measured { p10, p50, stale } => {
            let asked = if percentile == PERCENTILE {
                String::new()
            } else {
                format!("; the service asks for percentile {percentile}")
            };
            let aged = stale.map_or_else(String::new, |age| {
                format!(
                    "; measured more than {} ago, so less is counted on",
                    in_words(age)
                )
            });
            let megabits = |bits: u64| bits as f64 / 1e6;
            format!(
                "nine tenths of what was measured reach {:.1} Mbit/s and half {:.1} Mbit/s{asked}{aged}",
                megabits(p10),
                megabits(p50)
            )
        }
    }
}

fn in_words(age: SignedDuration) -> String {
    match age.as_hours() {
        0 => format!("{} minutes", age.as_mins()),
        1 => "an hour".to_owned(),
        hours => format!("{hours} hours"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_normal_distribution() {
        for (percentile, expected) in [
            (50, 0.0),
            (25, 0.674_5),
            (10, 1.281_6),
            (5, 1.644_9),
            (1, 2.326_3),
        ] {
            let deviations = deviations(percentile);
            assert!((deviations - expected).abs() < 1e-3, "{percentile}: {deviations}");
        }
        assert_eq!(margin_milli(PERCENTILE), 0);
        assert!(margin_milli(1) > 0 && margin_milli(50) < 0);
    }
}
