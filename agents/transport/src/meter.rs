//! Where the samples of one link come together: timings of frames, pings and quinn's own counters, over as
//! many connections as there were. Decides nothing; [`crate::figures`] does the arithmetic.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use quinn::Connection;

use crate::figures::{LinkFigures, RateEstimator, RateFigures, RoundTrip, Timing, ceiling};

/// Frames with at least this many bytes still to come are timed: 32 KiB take 2.6 ms at 100 Mbit/s, well
/// above the clock's and scheduler's grain.
pub(crate) const LARGE_BYTES: usize = 32 * 1024;
/// If fewer bytes than this arrived while the clock ran, the frame had been waiting here already.
const FRESH_BYTES: u64 = LARGE_BYTES as u64 / 2;

/// What is measured on the link to one peer.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    inbound: RateEstimator,
    outbound: Option<RateFigures>,
    pings: Option<Pings>,
    connection: Option<Connection>,
    past: Counters,
    probe_bytes_sent: u64,
    large_frame_sent: Option<Instant>,
}

/// Counters of UDP and QUIC that are summed over connections.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    packets_sent: u64,
    packets_lost: u64,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Counters {
    fn of(connection: &Connection) -> Self {
        let stats = connection.stats();
        Self {
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            packets_sent: self.packets_sent + other.packets_sent,
            packets_lost: self.packets_lost + other.packets_lost,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            bytes_received: self.bytes_received + other.bytes_received,
        }
    }
}

/// Smoothed ping and its mean deviation (RFC 9002, section 5.3).
#[derive(Clone, Copy, Debug)]
struct Pings {
    smoothed: Duration,
    deviation: Duration,
    newest: Duration,
}

impl Pings {
    fn first(sample: Duration) -> Self {
        Self {
            smoothed: sample,
            deviation: sample / 2,
            newest: sample,
        }
    }

    fn with(self, sample: Duration) -> Self {
        let deviation = (self.deviation * 3 + self.smoothed.abs_diff(sample)) / 4;
        Self {
            smoothed: (self.smoothed * 7 + sample) / 8,
            deviation,
            newest: sample,
        }
    }
}

impl Meter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows this connection from now on; what another one counted is kept.
    pub(crate) fn attach(&self, connection: &Connection) {
        let mut state = self.state();
        state.detach();
        state.pings = None;
        state.connection = Some(connection.clone());
    }

    /// Lets go of this connection, if it is the one followed.
    pub(crate) fn detach(&self, connection: &Connection) {
        let mut state = self.state();
        if state
            .connection
            .as_ref()
            .is_some_and(|followed| followed.stable_id() == connection.stable_id())
        {
            state.detach();
        }
    }

    pub(crate) fn declare(&self, rate: Option<u64>) {
        self.state().inbound.declare(rate, SystemTime::now());
    }

    pub(crate) fn timed(&self, timing: Timing) {
        self.state()
            .inbound
            .observe(timing, Instant::now(), SystemTime::now());
    }

    pub(crate) fn ping_answered(&self, sample: Duration) {
        let mut state = self.state();
        state.pings = Some(
            state
                .pings
                .map_or_else(|| Pings::first(sample), |pings| pings.with(sample)),
        );
    }

    /// The peer tells how fast our frames arrive.
    pub(crate) fn told(&self, outbound: Option<RateFigures>) {
        self.state().outbound = outbound;
    }

    pub(crate) fn inbound(&self) -> Option<RateFigures> {
        self.state().inbound.figures(Instant::now())
    }

    pub(crate) fn large_frame_sent(&self, probe_bytes: u64) {
        let mut state = self.state();
        state.large_frame_sent = Some(Instant::now());
        state.probe_bytes_sent += probe_bytes;
    }

    /// Whether the peer could time none of our frames for so long.
    pub(crate) fn nothing_large_sent_within(&self, interval: Duration) -> bool {
        self.state()
            .large_frame_sent
            .is_none_or(|at| at.elapsed() >= interval)
    }

    pub(crate) fn figures(&self) -> LinkFigures {
        let state = self.state();
        let (mut counters, mut round_trip, mut congestion_window) = (state.past, None, 0);
        if let Some(connection) = &state.connection {
            counters = counters.plus(Counters::of(connection));
            let path = connection.stats().path;
            congestion_window = path.cwnd;
            round_trip = state.pings.map(|pings| RoundTrip {
                smoothed: path.rtt,
                minimum: path.min_rtt,
                deviation: pings.deviation,
                newest: pings.newest,
            });
        }
        let Counters {
            packets_sent,
            packets_lost,
            bytes_sent,
            bytes_received,
        } = counters;
        LinkFigures {
            round_trip,
            packets_sent,
            packets_lost,
            congestion_window,
            bytes_sent,
            bytes_received,
            probe_bytes_sent: state.probe_bytes_sent,
            inbound: state.inbound.figures(Instant::now()),
            outbound: state.outbound,
        }
    }
}

impl State {
    fn detach(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.past = self.past.plus(Counters::of(&connection));
        }
    }
}

/// The ceiling of a frame that is to be sent now; see [`crate::figures`].
pub(crate) fn ceiling_now(connection: &Connection) -> u32 {
    let path = connection.stats().path;
    let in_slow_start = connection
        .congestion_state()
        .metrics()
        .ssthresh
        .is_none_or(|threshold| path.cwnd < threshold);
    ceiling(path.cwnd, path.min_rtt, in_slow_start)
}

/// Times one frame, from its header to its last byte. What counts is what quinn received meanwhile, not
/// what we read: a frame that had been waiting here gives no sample, and no sample is too fast because the
/// reader was late.
pub(crate) struct FrameClock {
    started: Instant,
    received: u64,
    ceiling: u32,
    probe: bool,
}

impl FrameClock {
    pub(crate) fn start(connection: &Connection, ceiling: u32, probe: bool) -> Self {
        Self {
            started: Instant::now(),
            received: connection.stats().udp_rx.bytes,
            ceiling,
            probe,
        }
    }

    pub(crate) fn stop(self, connection: &Connection) -> Option<Timing> {
        let bytes = connection.stats().udp_rx.bytes.saturating_sub(self.received);
        let elapsed = self.started.elapsed();
        (bytes >= FRESH_BYTES).then_some(Timing {
            bytes,
            elapsed,
            ceiling: self.ceiling,
            probe: self.probe,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_of_steady_pings_falls_and_a_jump_raises_it() {
        let steady = |pings: Pings| pings.with(Duration::from_millis(40));
        let mut pings = Pings::first(Duration::from_millis(40));
        for _ in 0..20 {
            pings = steady(pings);
        }
        assert!(pings.deviation < Duration::from_millis(1) && pings.smoothed == Duration::from_millis(40));
        assert!(pings.with(Duration::from_millis(80)).deviation >= Duration::from_millis(10));
    }
}
