//! Figures over time.

use solver::serving::{Serving, Time};

use super::{SECOND, report::Sample, seconds};

/// Samples that a plot needs.
const SAMPLES: u64 = 240;

/// Figures at some moments.
#[derive(Debug)]
pub(super) struct Series {
    every: Time,
    next: Time,
    samples: Vec<Sample>,
}

impl Series {
    pub(super) fn new(duration: Time) -> Self {
        Self {
            every: (duration / SAMPLES).max(SECOND),
            next: 0,
            samples: vec![],
        }
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    pub(super) fn add(&mut self, now: Time, serving: &Serving, batteries: Vec<(usize, u64)>) {
        self.next = now + self.every;
        self.samples.push(Sample {
            at_seconds: seconds(now),
            tokens: serving.books().tokens,
            batteries,
        });
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.clone()
    }
}
