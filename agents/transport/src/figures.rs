//! What is known of a link, and how it came to be known. Pure: samples and times in, figures out.
//!
//! QUIC reports round trips, losses and its congestion window, but no delivered rate: the receiver times
//! large frames. Such a rate is the link's only if the link was what held the frame up. It was not if the
//! sender's congestion window did not allow more: then the rate is a lower bound, which may raise an
//! estimate and never lowers it. Each large frame therefore carries its sender's *ceiling*: congestion
//! window over least round trip, or no ceiling once the sender has met the link's limit (a loss ended
//! slow start). The clock runs from the frame's header to its last byte, so a sender with nothing to
//! send does not count.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

/// How a rate came to be known, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RateKind {
    /// The link's description says so.
    Declared,
    /// The sender had nothing more to send: the link delivers at least this.
    LowerBound,
    /// A probe was timed.
    Probed,
    /// Frames that were sent anyway were timed.
    Measured,
}

/// The rate that a link delivers in one direction, bytes per second on the wire, as quantiles over the
/// samples of the last five minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateFigures {
    /// One sample in ten was slower.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// One sample in ten was faster.
    pub p90: u64,
    /// How it is known.
    pub kind: RateKind,
    /// When the newest sample was taken; for a declared rate, when it was declared. By the receiver's clock.
    pub observed: SystemTime,
}

/// Round trips of the connection in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// QUIC's smoothed estimate (RFC 9002, section 5.3).
    pub smoothed: Duration,
    /// The least seen on this connection.
    pub minimum: Duration,
    /// Mean deviation of pings from their own smoothed value (RFC 9002, section 5.3, `rttvar`).
    pub deviation: Duration,
    /// The newest ping, from its writing to the reading of its answer by this program.
    pub newest: Duration,
}

/// What is known of the link to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkFigures {
    /// Round trips, while connected and after the first ping.
    pub round_trip: Option<RoundTrip>,
    /// Packets sent over all connections to this peer.
    pub packets_sent: u64,
    /// Packets of these that were lost.
    pub packets_lost: u64,
    /// Bytes that QUIC may have in flight, 0 while not connected.
    pub congestion_window: u64,
    /// Bytes in UDP datagrams to this peer, over all connections.
    pub bytes_sent: u64,
    /// Bytes in UDP datagrams from this peer, over all connections.
    pub bytes_received: u64,
    /// Bytes of probes sent to this peer.
    pub probe_bytes_sent: u64,
    /// What the peer's frames arrive at, timed here.
    pub inbound: Option<RateFigures>,
    /// What our frames arrive at, as the peer tells us with its pongs.
    pub outbound: Option<RateFigures>,
}

impl LinkFigures {
    /// The share of packets that were lost on their way to the peer, 0 to 1.
    pub fn loss_ratio(&self) -> f64 {
        if self.packets_sent == 0 {
            0.0
        } else {
            self.packets_lost as f64 / self.packets_sent as f64
        }
    }
}

/// No ceiling: the sender's window has found the link's limit already.
pub(crate) const NO_CEILING: u32 = u32::MAX;

/// The ceiling that a frame carries, KiB per second.
pub(crate) fn ceiling(congestion_window: u64, least_round_trip: Duration, in_slow_start: bool) -> u32 {
    if !in_slow_start {
        return NO_CEILING;
    }
    let kib_per_second = congestion_window as f64 / 1024.0 / least_round_trip.as_secs_f64().max(1e-6);
    (kib_per_second as u32).min(NO_CEILING - 1)
}

/// One timing of a large frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Bytes that arrived from the peer while the clock ran.
    pub(crate) bytes: u64,
    /// How long it ran.
    pub(crate) elapsed: Duration,
    /// The frame's ceiling, KiB per second.
    pub(crate) ceiling: u32,
    /// Whether the frame was a probe.
    pub(crate) probe: bool,
}

/// Less time than this is at the mercy of the scheduler; the rate is at least bytes over this.
const SHORTEST: Duration = Duration::from_micros(500);
/// Slower than this share of the ceiling, it was the link that held the frame up.
const BELOW_CEILING: f64 = 0.8;

impl Timing {
    /// Bytes per second, and how well that is known.
    pub(crate) fn rate(self) -> (u64, RateKind) {
        let rate = (self.bytes as f64 / self.elapsed.max(SHORTEST).as_secs_f64()) as u64;
        let held_up_by_link =
            self.ceiling == NO_CEILING || (rate as f64) < BELOW_CEILING * 1024.0 * f64::from(self.ceiling);
        let kind = match (self.elapsed >= SHORTEST && held_up_by_link, self.probe) {
            (false, _) => RateKind::LowerBound,
            (true, true) => RateKind::Probed,
            (true, false) => RateKind::Measured,
        };
        (rate, kind)
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    rate: u64,
    kind: RateKind,
    taken: Instant,
    observed: SystemTime,
}

/// How long a sample counts.
const WINDOW: Duration = Duration::from_secs(300);
/// How many samples are kept: enough for a p10, few enough to sort at each look.
const SAMPLES: usize = 128;
/// Fewer timings than this do not outweigh what the link's description says.
const CONTRADICTING_SAMPLES: usize = 3;

/// Collects samples of one direction of a link.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateEstimator {
    samples: VecDeque<Sample>,
    declared: Option<(u64, SystemTime)>,
}

impl RateEstimator {
    /// Says what the link's description promises; the time stays when the promise does.
    pub(crate) fn declare(&mut self, rate: Option<u64>, at: SystemTime) {
        if self.declared.map(|(rate, _)| rate) != rate {
            self.declared = rate.map(|rate| (rate, at));
        }
    }

    pub(crate) fn observe(&mut self, timing: Timing, now: Instant, at: SystemTime) {
        let (rate, kind) = timing.rate();
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            rate,
            kind,
            taken: now,
            observed: at,
        });
    }

    /// The figures of the samples that still count: real ones, raised by lower bounds above their median; if
    /// there are only lower bounds, the highest of them, raised to what is declared; otherwise what is
    /// declared. A few real ones do not contradict a declaration yet: on a busy machine one burst is easily late.
    pub(crate) fn figures(&self, now: Instant) -> Option<RateFigures> {
        let recent = || {
            self.samples
                .iter()
                .filter(|sample| now.saturating_duration_since(sample.taken) <= WINDOW)
        };
        let bounds = || recent().filter(|sample| sample.kind == RateKind::LowerBound);
        let real = || recent().filter(|sample| sample.kind != RateKind::LowerBound);

        let mut rates: Vec<u64> = real().map(|sample| sample.rate).collect();
        rates.sort_unstable();
        let contradicts = self.declared.is_none() || rates.len() >= CONTRADICTING_SAMPLES;
        let newest_real = real().next_back().filter(|_| contradicts);
        if let (Some(median), Some(newest)) = (quantile(&rates, 0.5), newest_real) {
            rates.extend(bounds().map(|sample| sample.rate).filter(|rate| *rate > median));
            rates.sort_unstable();
            return figures_of(&rates, newest.kind, newest.observed);
        }
        let highest = bounds().max_by_key(|sample| (sample.rate, sample.taken));
        match (highest, self.declared) {
            (Some(bound), declared) if declared.is_none_or(|(rate, _)| bound.rate > rate) => {
                figures_of(&[bound.rate], RateKind::LowerBound, bound.observed)
            }
            (_, Some((rate, at))) => figures_of(&[rate], RateKind::Declared, at),
            (_, None) => None,
        }
    }
}

fn figures_of(sorted: &[u64], kind: RateKind, observed: SystemTime) -> Option<RateFigures> {
    let at = |share| quantile(sorted, share);
    Some(RateFigures {
        p10: at(0.1)?,
        p50: at(0.5)?,
        p90: at(0.9)?,
        kind,
        observed,
    })
}

/// The nearest-rank quantile of sorted numbers.
fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn timing(rate: u64, ceiling: u32, probe: bool) -> Timing {
        Timing {
            bytes: rate / 10,
            elapsed: Duration::from_millis(100),
            ceiling,
            probe,
        }
    }

    fn estimate(timings: &[Timing]) -> RateFigures {
        let (now, at) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut estimator = RateEstimator::default();
        timings
            .iter()
            .for_each(|timing| estimator.observe(*timing, now, at));
        estimator.figures(now).unwrap()
    }

    #[test]
    fn a_rate_well_below_the_senders_ceiling_is_measured() {
        assert_eq!(
            timing(MIB, 10 * 1024, false).rate(),
            (MIB / 10 * 10, RateKind::Measured)
        );
        assert_eq!(timing(MIB, 10 * 1024, true).rate().1, RateKind::Probed);
        assert_eq!(timing(100 * MIB, NO_CEILING, false).rate().1, RateKind::Measured);
    }

    #[test]
    fn a_rate_at_the_senders_ceiling_is_a_lower_bound() {
        assert_eq!(timing(MIB, 1024, false).rate().1, RateKind::LowerBound);
        assert_eq!(timing(MIB, 1100, true).rate().1, RateKind::LowerBound);
    }

    #[test]
    fn a_burst_too_short_to_time_is_a_lower_bound() {
        let burst = Timing {
            bytes: MIB,
            elapsed: Duration::from_micros(10),
            ceiling: NO_CEILING,
            probe: false,
        };
        assert_eq!(burst.rate(), (2000 * MIB, RateKind::LowerBound));
    }

    #[test]
    fn a_lower_bound_never_lowers_an_estimate_and_may_raise_it() {
        let real = timing(8 * MIB, NO_CEILING, false);
        let before = estimate(&[real]);
        assert_eq!(estimate(&[real, timing(MIB, 1024, false)]), before);
        let raised = estimate(&[real, timing(64 * MIB, 64 * 1024, false)]);
        assert!(raised.p90 > before.p90 && raised.kind == RateKind::Measured);
    }

    #[test]
    fn lower_bounds_alone_give_the_highest_of_them() {
        let figures = estimate(&[
            timing(3 * MIB, 1024, false),
            timing(5 * MIB, 1024, false),
            timing(MIB, 1024, false),
        ]);
        assert_eq!((figures.p50, figures.kind), (5 * MIB, RateKind::LowerBound));
    }

    #[test]
    fn a_declared_rate_holds_until_something_better_is_known() {
        let (now, at) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut estimator = RateEstimator::default();
        assert_eq!(estimator.figures(now), None);
        estimator.declare(Some(2 * MIB), at);
        assert_eq!(estimator.figures(now).unwrap().kind, RateKind::Declared);
        estimator.observe(timing(MIB, 1024, false), now, at);
        assert_eq!(
            estimator.figures(now).unwrap().p50,
            2 * MIB,
            "a bound below the declaration says nothing"
        );
        for _ in 0..2 {
            estimator.observe(timing(MIB, NO_CEILING, true), now, at);
            let figures = estimator.figures(now).unwrap();
            assert_eq!(figures.kind, RateKind::Declared, "a burst or two may be late");
        }
        estimator.observe(timing(MIB, NO_CEILING, true), now, at);
        let figures = estimator.figures(now).unwrap();
        assert_eq!((figures.p50, figures.kind), (MIB / 10 * 10, RateKind::Probed));
    }

    #[test]
    fn samples_older_than_the_window_are_forgotten() {
        let now = Instant::now();
        let mut estimator = RateEstimator::default();
        estimator.observe(timing(MIB, NO_CEILING, false), now, SystemTime::UNIX_EPOCH);
        assert!(estimator.figures(now + WINDOW).is_some());
        assert_eq!(estimator.figures(now + WINDOW + Duration::from_secs(1)), None);
    }

    #[test]
    fn the_ceiling_is_window_over_round_trip_and_none_after_slow_start() {
        assert_eq!(ceiling(102_400, Duration::from_millis(10), true), 10_000);
        assert_eq!(ceiling(102_400, Duration::from_millis(10), false), NO_CEILING);
        assert!(ceiling(u64::MAX, Duration::ZERO, true) < NO_CEILING);
    }
}
