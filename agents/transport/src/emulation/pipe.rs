//! One direction of one emulated link: when does a packet that is handed over now arrive, if at all? Pure:
//! the time is an argument and the randomness is seeded.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::Conditions;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives(Instant),
    Dropped,
}

/// A queue in front of a transmitter, and a wire behind it.
#[derive(Debug)]
pub(super) struct Pipe {
    conditions: Conditions,
    /// When the transmitter has sent all that waits.
    free_at: Option<Instant>,
    /// When the last packet arrives; later ones do not overtake it.
    last_arrival: Option<Instant>,
    random: SmallRng,
}

impl Pipe {
    pub(super) fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            free_at: None,
            last_arrival: None,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Fades, mends or cuts the link. What is under way still arrives.
    pub(super) fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Whether packets may go straight to the socket: the link changes nothing and none is under way.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.conditions == Conditions::PERFECT && self.last_arrival.is_none_or(|last| last <= now)
    }

    /// Hands a packet of `bytes` over at `now`.
    pub(super) fn offer(&mut self, bytes: usize, now: Instant) -> Fate {
        let Conditions {
            rate,
            delay,
            jitter,
            loss,
            buffer_bytes,
            cut,
        } = self.conditions;
        if cut {
            return Fate::Dropped;
        }
        let begins = self.free_at.map_or(now, |free_at| free_at.max(now));
        let leaves = match rate {
            Some(rate) => {
                // A rate of nothing would never be done; one byte per second is as good as nothing.
                let rate = rate.max(1) as f64;
                let waiting = begins.duration_since(now).as_secs_f64() * rate;
                if waiting + bytes as f64 > buffer_bytes as f64 {
                    return Fate::Dropped;
                }
                begins + Duration::from_secs_f64(bytes as f64 / rate)
            }
            None => begins,
        };
        self.free_at = Some(leaves);
        // A packet that is lost has used the transmitter all the same.
        if loss > 0.0 && self.random.random_bool(loss.clamp(0.0, 1.0)) {
            return Fate::Dropped;
        }
        let jitter = if jitter.is_zero() {
            jitter
        } else {
            self.random.random_range(Duration::ZERO..=jitter)
        };
        let arrives = leaves + delay + jitter;
        let arrives = self.last_arrival.map_or(arrives, |last| arrives.max(last));
        self.last_arrival = Some(arrives);
        Fate::Arrives(arrives)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn conditions() -> impl Strategy<Value = Conditions> {
        (
            prop::option::of(1_000u64..10_000_000),
            0u64..100,
            0u64..50,
            0.0f64..0.5,
        )
            .prop_map(|(rate, delay, jitter, loss)| Conditions {
                rate,
                delay: MS * delay as u32,
                jitter: MS * jitter as u32,
                loss,
                buffer_bytes: 50_000,
                cut: false,
            })
    }

    proptest! {
        #[test]
        fn packets_keep_their_order_and_no_window_of_time_delivers_more_than_the_rate(
            conditions in conditions(),
            packets in prop::collection::vec((1usize..1500, 0u64..5), 1..200),
            seed: u64,
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut pipe = Pipe::new(conditions, seed);
            let mut arrivals = Vec::new();
            for (bytes, pause) in packets {
                now += MS * pause as u32;
                if let Fate::Arrives(at) = pipe.offer(bytes, now) {
                    prop_assert!(at >= now + conditions.delay);
                    arrivals.push((at, bytes));
                }
            }
            prop_assert!(arrivals.is_sorted_by_key(|(at, _)| *at));
            // Without jitter, which bunches packets up, n packets take the time of n - 1 at least.
            if let (Some(rate), true, [(first, _), rest @ ..]) = (conditions.rate, conditions.jitter.is_zero(), &arrivals[..])
                && let Some((last, _)) = rest.last()
            {
                let bytes: usize = rest.iter().map(|(_, bytes)| bytes).sum();
                prop_assert!(last.duration_since(*first).as_secs_f64() >= bytes as f64 / rate as f64 * 0.999);
            }
        }

        #[test]
        fn the_same_seed_has_the_same_fates(conditions in conditions(), seed: u64) {
            let now = Instant::now();
            let fates = || {
                let mut pipe = Pipe::new(conditions, seed);
                (0..100).map(|i| pipe.offer(1000, now + MS * i)).collect::<Vec<_>>()
            };
            prop_assert_eq!(fates(), fates());
        }
    }

    #[test]
    fn a_packet_takes_its_bytes_over_the_rate_and_the_delay() {
        let now = Instant::now();
        let mut pipe = Pipe::new(Conditions::new(100_000, 20 * MS), 0);
        assert_eq!(pipe.offer(1000, now), Fate::Arrives(now + 30 * MS));
        assert_eq!(pipe.offer(1000, now), Fate::Arrives(now + 40 * MS));
    }

    #[test]
    fn a_full_buffer_drops_at_its_tail() {
        let now = Instant::now();
        let mut pipe = Pipe::new(
            Conditions {
                buffer_bytes: 2500,
                ..Conditions::new(100_000, MS)
            },
            0,
        );
        assert_ne!(pipe.offer(1000, now), Fate::Dropped);
        assert_ne!(pipe.offer(1000, now), Fate::Dropped);
        assert_eq!(pipe.offer(1000, now), Fate::Dropped);
        assert_ne!(
            pipe.offer(1000, now + 10 * MS),
            Fate::Dropped,
            "10 ms later there is room again"
        );
    }

    #[test]
    fn a_cut_link_drops_and_a_mended_one_delivers() {
        let now = Instant::now();
        let mut pipe = Pipe::new(Conditions::severed(), 0);
        assert_eq!(pipe.offer(1, now), Fate::Dropped);
        pipe.set(Conditions::PERFECT);
        assert!(pipe.is_open(now));
        assert_eq!(pipe.offer(1, now), Fate::Arrives(now));
    }

    #[test]
    fn losses_come_at_the_declared_rate() {
        let now = Instant::now();
        let mut pipe = Pipe::new(
            Conditions {
                loss: 0.2,
                ..Conditions::PERFECT
            },
            42,
        );
        let lost = (0..10_000)
            .filter(|_| pipe.offer(100, now) == Fate::Dropped)
            .count();
        // Five standard deviations of a binomial(10,000, 0.2) are 200.
        assert!((1800..2200).contains(&lost), "{lost}");
    }
}
