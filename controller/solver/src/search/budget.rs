//! Work is counted in steps, never in time, so that the same budget gives the same answer anywhere.

/// How much work a solve may do, and who may stop it.
pub struct Budget<'c> {
    /// Steps for all services together; each gets an equal share of what is left when its turn comes. A step is about
    /// a relaxed arc or a compared label: some three nanoseconds.
    pub steps: u64,
    /// Asked now and then; `true` ends the search with the best pipelines so far. Such an answer is legal, but depends
    /// on when it was stopped.
    pub cancelled: &'c dyn Fn() -> bool,
}

/// About one second on one quiet core; three quarters of it are for searching, the rest for remedies. Enough to prove
/// fleets of 1,000 nodes with 30 layers and of 100 nodes with 80 layers optimal in most cases (`cargo bench -p solver`
/// has the figures; tight memory, and thus long pipelines, is what makes a case hard).
pub const DEFAULT_STEPS: u64 = 400_000_000;

impl Default for Budget<'_> {
    fn default() -> Self {
        Self::steps(DEFAULT_STEPS)
    }
}

impl Budget<'_> {
    /// So many steps, and nobody stops it.
    #[must_use]
    pub fn steps(steps: u64) -> Self {
        Self {
            steps,
            cancelled: &|| false,
        }
    }
}

/// Counts the steps of one service.
pub(crate) struct Meter<'c> {
    used: u64,
    allowed: u64,
    ask_again_at: u64,
    stopped: bool,
    cancelled: &'c dyn Fn() -> bool,
}

/// Steps between two questions whether the caller cancelled: well under a millisecond of work.
const STEPS_BETWEEN_QUESTIONS: u64 = 65_536;

impl<'c> Meter<'c> {
    pub(crate) fn new(allowed: u64, cancelled: &'c dyn Fn() -> bool) -> Self {
        Self {
            used: 0,
            allowed,
            ask_again_at: 0,
            stopped: false,
            cancelled,
        }
    }

    /// Counts steps; `false` when the work should end.
    pub(crate) fn spend(&mut self, steps: u64) -> bool {
        self.used += steps;
        if self.used >= self.ask_again_at {
            self.ask_again_at = self.used + STEPS_BETWEEN_QUESTIONS;
            self.stopped |= (self.cancelled)();
        }
        self.used < self.allowed && !self.stopped
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// Whether the caller, not the budget, ended the work.
    pub(crate) fn was_cancelled(&self) -> bool {
        self.stopped
    }

    /// A part of the steps that are left, as a meter of its own; add it up with [`absorb`](Self::absorb).
    pub(crate) fn part(&self, numerator: u64, denominator: u64) -> Self {
        let left = self.allowed.saturating_sub(self.used);
        Self {
            stopped: self.stopped,
            ..Self::new(left / denominator * numerator, self.cancelled)
        }
    }

    /// So many of the steps that are left, at most, as a meter of its own.
    pub(crate) fn at_most(&self, steps: u64) -> Self {
        Self {
            stopped: self.stopped,
            ..Self::new(self.allowed.saturating_sub(self.used).min(steps), self.cancelled)
        }
    }

    pub(crate) fn absorb(&mut self, part: &Self) {
        self.used += part.used;
        self.stopped |= part.stopped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_ends_at_its_budget_and_at_a_cancellation() {
        let mut meter = Meter::new(10, &|| false);
        assert!(meter.spend(9));
        assert!(!meter.spend(1));
        assert!(!meter.was_cancelled());
        let mut stopped = Meter::new(10, &|| true);
        assert!(!stopped.spend(1));
        assert!(stopped.was_cancelled());
    }
}
