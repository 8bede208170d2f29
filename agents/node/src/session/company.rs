//! Which sessions a device waits a moment for before it decodes, so that those that were computed together stay together:
//! a batch of few rows costs hardly less than one of many, and sessions that came apart would halve each other's tokens.
//! Pure: it is told the time.
//!
//! A session comes back for its next token at once where it was sampled here, and at about the time of its companions where
//! the token takes a way through other stages. Of several stages each works for one company while the others go their way.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The wait is this part of what the last batch took, so that a session that does not come back costs little.
const PART_OF_BATCH: u32 = 8;
/// Timers are no finer.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// A client that reads slowly keeps the others waiting no longer, and once.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// A session's place: its stage, and its slot there.
pub(crate) type Place = (String, u32);

/// The sessions of the last batches, and those that are waited for.
#[derive(Debug, Default)]
pub(crate) struct Company {
    /// The last batch that each session was in.
    batches: BTreeMap<Place, u64>,
    last: u64,
    /// Sessions that are to come, each until when.
    awaited: BTreeMap<Place, Instant>,
    wait: Duration,
}

impl Company {
    /// A batch of new tokens was computed. `returns` when the tokens were chosen here, so that all of it comes back now.
    pub(crate) fn computed(&mut self, batch: Vec<Place>, returns: bool, took: Duration, now: Instant) {
        self.wait = (took / PART_OF_BATCH).clamp(WAIT_MIN, WAIT_MAX);
        self.last += 1;
        for place in batch {
            if returns {
                self.awaited.insert(place.clone(), now + self.wait);
            }
            self.batches.insert(place, self.last);
        }
    }

    /// A session is back, and its companions should be near.
    pub(crate) fn arrived(&mut self, place: &Place, now: Instant) {
        self.awaited.remove(place);
        let Some(batch) = self.batches.remove(place) else {
            return;
        };
        let others = self.batches.iter().filter(|(_, other)| **other == batch);
        for (other, _) in others {
            self.awaited.entry(other.clone()).or_insert(now + self.wait);
        }
    }

    /// A session has ended.
    pub(crate) fn left(&mut self, place: &Place) {
        self.awaited.remove(place);
        self.batches.remove(place);
    }

    /// Until when somebody of a stage is worth waiting for; who is late is waited for no more.
    pub(crate) fn worth_waiting(&mut self, stage: &str, now: Instant) -> Option<Instant> {
        let batches = &mut self.batches;
        self.awaited.retain(|place, until| {
            let is_near = now < *until;
            if !is_near {
                batches.remove(place);
            }
            is_near
        });
        let awaited = self.awaited.iter().filter(|((of, _), _)| of == stage);
        awaited.map(|(_, until)| *until).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Duration = Duration::from_millis(16);

    fn place(slot: u32) -> Place {
        ("a".to_owned(), slot)
    }

    fn places(slots: [u32; 2]) -> Vec<Place> {
        slots.map(place).into()
    }

    #[test]
    fn who_was_sampled_here_is_waited_for_until_all_are_back() {
        let (mut company, now) = (Company::default(), Instant::now());
        company.computed(places([0, 1]), true, BATCH, now);
        let until = now + Duration::from_millis(2);
        assert_eq!(company.worth_waiting("a", now), Some(until));
        assert_eq!(company.worth_waiting("another stage", now), None);
        company.arrived(&place(0), now);
        assert_eq!(company.worth_waiting("a", now), Some(until));
        company.arrived(&place(1), now);
        assert_eq!(company.worth_waiting("a", now), None);
    }

    #[test]
    fn tokens_that_take_a_way_are_waited_for_from_the_first_one_that_is_back() {
        let (mut company, now) = (Company::default(), Instant::now());
        company.computed(places([0, 1]), false, BATCH, now);
        assert_eq!(company.worth_waiting("a", now), None);
        let back = now + BATCH;
        company.arrived(&place(1), back);
        assert_eq!(
            company.worth_waiting("a", back),
            Some(back + Duration::from_millis(2))
        );
        // Another company is not waited for.
        company.computed(places([2, 3]), false, BATCH, back);
        company.arrived(&place(0), back);
        assert_eq!(company.worth_waiting("a", back), None);
    }

    #[test]
    fn who_is_late_or_has_ended_is_waited_for_no_more() {
        let (mut company, now) = (Company::default(), Instant::now());
        company.computed(places([0, 1]), true, BATCH, now);
        company.left(&place(1));
        let late = now + Duration::from_secs(1);
        assert_eq!(company.worth_waiting("a", late), None);
        // It begins anew, in a company of its own.
        company.arrived(&place(0), late);
        assert_eq!(company.worth_waiting("a", late), None);
        company.computed(places([0, 1]), false, Duration::from_secs(1), late);
        company.arrived(&place(0), late);
        assert_eq!(company.worth_waiting("a", late), Some(late + WAIT_MAX));
    }
}
