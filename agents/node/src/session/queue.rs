//! Which rows a device computes next. Pure: no clock, no engine.
//!
//! Decoding goes before prefill, since a decoding client waits for each token; decode rows of one stage are batched
//! together, since a batch of few rows costs hardly more than one row. So that a stream of decoding sessions never
//! starves a prompt, a waiting prompt gets its chunk after [`DECODES_PER_PREFILL`] batches.

use std::collections::VecDeque;

/// Batches of decoding that may pass a waiting prefill chunk. At 30 ms a batch and 250 ms a chunk, decoding keeps
/// half of the device.
pub(crate) const DECODES_PER_PREFILL: u32 = 8;

/// What the queue needs to know of a job.
pub(crate) trait Queued {
    /// Jobs of equal stages may share a batch.
    fn stage(&self) -> &str;
    /// Whether it is a row of a new token, not a chunk of a prompt.
    fn decodes(&self) -> bool;
    /// Rows that it brings.
    fn rows(&self) -> usize;
    /// The most rows of a batch of its stage.
    fn rows_max(&self) -> usize;
    /// Its place in a batch: llama.cpp wants sequences in ascending order of slots.
    fn slot(&self) -> u32;
    /// Nobody waits for it any more.
    fn abandoned(&self) -> bool;
}

/// Jobs that wait for one device.
#[derive(Debug)]
pub(crate) struct Queue<J> {
    decode: VecDeque<J>,
    prefill: VecDeque<J>,
    decodes_since_prefill: u32,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self {
            decode: VecDeque::new(),
            prefill: VecDeque::new(),
            decodes_since_prefill: 0,
        }
    }
}

impl<J: Queued> Queue<J> {
    /// Adds a job behind those of its kind.
    pub(crate) fn push(&mut self, job: J) {
        if job.decodes() {
            self.decode.push_back(job);
        } else {
            self.prefill.push_back(job);
        }
    }

    /// How many jobs wait.
    pub(crate) fn len(&self) -> usize {
        self.decode.len() + self.prefill.len()
    }

    /// The stage of the next batch, if that is one of decoding.
    pub(crate) fn decodes_next(&self) -> Option<&str> {
        let first = self.decode.iter().find(|job| !job.abandoned())?;
        let is_next = self.prefill.is_empty() || !self.prefill_is_due();
        is_next.then(|| first.stage())
    }

    fn prefill_is_due(&self) -> bool {
        self.decodes_since_prefill >= DECODES_PER_PREFILL || self.decode.is_empty()
    }

    /// The jobs of the next batch, in the order of their slots; none when nothing waits.
    pub(crate) fn next_batch(&mut self) -> Vec<J> {
        self.decode.retain(|job| !job.abandoned());
        self.prefill.retain(|job| !job.abandoned());
        if self.prefill_is_due()
            && let Some(job) = self.prefill.pop_front()
        {
            self.decodes_since_prefill = 0;
            return vec![job];
        }
        let Some(first) = self.decode.pop_front() else {
            return vec![];
        };
        self.decodes_since_prefill = if self.prefill.is_empty() {
            0
        } else {
            self.decodes_since_prefill + 1
        };
        self.batch_with(first)
    }

    /// The oldest decoding job, and others of its stage while there is room.
    fn batch_with(&mut self, first: J) -> Vec<J> {
        let (stage, rows_max) = (first.stage().to_owned(), first.rows_max());
        let mut rows = first.rows();
        let mut batch = vec![first];
        let mut others = VecDeque::with_capacity(self.decode.len());
        for job in self.decode.drain(..) {
            if job.stage() == stage && rows + job.rows() <= rows_max {
                rows += job.rows();
                batch.push(job);
            } else {
                others.push_back(job);
            }
        }
        self.decode = others;
        batch.sort_by_key(Queued::slot);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Fake {
        stage: &'static str,
        decodes: bool,
        slot: u32,
        abandoned: bool,
    }

    impl Queued for Fake {
        fn stage(&self) -> &str {
            self.stage
        }
        fn decodes(&self) -> bool {
            self.decodes
        }
        fn rows(&self) -> usize {
            1
        }
        fn rows_max(&self) -> usize {
            3
        }
        fn slot(&self) -> u32 {
            self.slot
        }
        fn abandoned(&self) -> bool {
            self.abandoned
        }
    }

    fn decode(stage: &'static str, slot: u32) -> Fake {
        Fake {
            stage,
            decodes: true,
            slot,
            abandoned: false,
        }
    }

    fn prefill(slot: u32) -> Fake {
        Fake {
            decodes: false,
            ..decode("a", slot)
        }
    }

    fn queue(jobs: impl IntoIterator<Item = Fake>) -> Queue<Fake> {
        let mut queue = Queue::default();
        jobs.into_iter().for_each(|job| queue.push(job));
        queue
    }

    fn slots(batch: &[Fake]) -> Vec<u32> {
        batch.iter().map(|job| job.slot).collect()
    }

    #[test]
    fn decoding_sessions_of_a_stage_share_a_batch_in_the_order_of_their_slots() {
        let mut queue = queue([decode("a", 2), decode("b", 1), decode("a", 0)]);
        assert_eq!(slots(&queue.next_batch()), [0, 2]);
        assert_eq!(slots(&queue.next_batch()), [1]);
        assert!(queue.next_batch().is_empty());
    }

    #[test]
    fn a_batch_has_at_most_the_rows_of_its_stage() {
        let mut queue = queue((0..5).map(|slot| decode("a", slot)));
        assert_eq!(slots(&queue.next_batch()), [0, 1, 2]);
        assert_eq!(slots(&queue.next_batch()), [3, 4]);
    }

    #[test]
    fn decoding_passes_prefill_but_never_starves_it() {
        let mut queue = queue([prefill(9)]);
        for _ in 0..DECODES_PER_PREFILL {
            queue.push(decode("a", 1));
            assert_eq!(slots(&queue.next_batch()), [1]);
        }
        queue.push(decode("a", 1));
        assert_eq!(slots(&queue.next_batch()), [9]);
        assert_eq!(slots(&queue.next_batch()), [1]);
    }

    #[test]
    fn jobs_that_nobody_waits_for_are_dropped() {
        let gone = Fake {
            abandoned: true,
            ..decode("a", 1)
        };
        let mut queue = queue([
            gone.clone(),
            Fake {
                decodes: false,
                ..gone
            },
        ]);
        assert!(queue.next_batch().is_empty());
        assert_eq!(queue.len(), 0);
    }
}
