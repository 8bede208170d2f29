//! Holds a worker to its share of the machine: a batch that used `cpu` of processor time ends no earlier than
//! `cpu / share` after its beginning, or after the end that earlier batches were given. Idle time earns nothing, so a
//! burst is as slow as a steady load. Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// A share of the machine, in cores.
#[derive(Debug)]
pub(super) struct Pace {
    share_cores: f64,
    /// Before this, nothing more may be answered.
    paid_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(share_cores: f64) -> Self {
        Self {
            share_cores,
            paid_until: None,
        }
    }

    pub(super) fn share_cores(&self) -> f64 {
        self.share_cores
    }

    /// How long to wait at `now` before a batch that began at `began` and used `cpu` may be answered.
    pub(super) fn wait(&mut self, began: Instant, cpu: Duration, now: Instant) -> Duration {
        let begin = self.paid_until.map_or(began, |paid| paid.max(began));
        let end = begin + cpu.div_f64(self.share_cores);
        self.paid_until = Some(end);
        end.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_quarter_of_a_core_takes_four_times_the_processor_time() {
        let mut pace = Pace::new(0.25);
        let began = Instant::now();
        assert_eq!(
            pace.wait(began, 10 * MILLISECOND, began + 12 * MILLISECOND),
            28 * MILLISECOND
        );
    }

    #[test]
    fn a_share_that_was_not_used_up_does_not_wait() {
        let mut pace = Pace::new(2.0);
        let began = Instant::now();
        assert_eq!(
            pace.wait(began, 10 * MILLISECOND, began + 10 * MILLISECOND),
            Duration::ZERO
        );
    }

    #[test]
    fn idle_time_earns_no_burst() {
        let mut pace = Pace::new(0.5);
        let began = Instant::now();
        assert_eq!(
            pace.wait(began, 10 * MILLISECOND, began + 10 * MILLISECOND),
            10 * MILLISECOND
        );
        let later = began + 1_000 * MILLISECOND;
        assert_eq!(
            pace.wait(later, 10 * MILLISECOND, later + 10 * MILLISECOND),
            10 * MILLISECOND
        );
    }
}
