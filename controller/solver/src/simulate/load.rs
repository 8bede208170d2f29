//! Requests: their lengths, and when they come.

use crate::random::Random;

/// Tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Of the prompt.
    pub prompt: u32,
    /// Of the answer.
    pub output: u32,
}

/// A request that comes at a certain time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Seconds.
    pub arrival: f64,
    /// Tokens.
    pub length: Length,
}

/// Where requests come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Offline: as many as memory allows. Begins with `initial` requests, a tenth of a second apart; whenever a prompt or a
    /// request is done, another one comes a tenth of a second later, unless some layer's memory is reserved beyond `mark`.
    Saturated {
        /// Lengths are drawn from these.
        lengths: Vec<Length>,
        /// Of the draws.
        seed: u64,
        /// Requests at the beginning.
        initial: usize,
        /// Part of memory.
        mark: f64,
    },
    /// Offline: so many requests at any time; the next one begins when one is done.
    Population {
        /// Lengths are drawn from these.
        lengths: Vec<Length>,
        /// Of the draws.
        seed: u64,
        /// How many.
        size: usize,
    },
    /// Online: at their times, which must not fall. Those for which there is no memory wait at the door, in order.
    Arrivals(Vec<Request>),
}

/// Requests of a Poisson process until `seconds`, with so many per second and lengths drawn from `lengths`.
#[must_use]
pub fn poisson(lengths: &[Length], per_second: f64, seconds: f64, seed: u64) -> Vec<Request> {
    let mut random = Random::seeded(seed);
    let mut requests = Vec::new();
    let mut arrival = random.exponential(1.0 / per_second);
    while arrival < seconds {
        let length = lengths[random.below(lengths.len())];
        requests.push(Request { arrival, length });
        arrival += random.exponential(1.0 / per_second);
    }
    requests
}

/// A trace from a place of its own choosing, stretched so that so many requests come per second on average, until
/// `seconds`. Bursts stay bursts. The trace begins anew when it ends.
#[must_use]
pub fn replay(trace: &[Request], per_second: f64, seconds: f64, seed: u64) -> Vec<Request> {
    let (Some(first), Some(last)) = (trace.first(), trace.last()) else {
        return Vec::new();
    };
    #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
    let mean_gap = ((last.arrival - first.arrival) / trace.len() as f64).max(f64::MIN_POSITIVE);
    let stretch = 1.0 / (per_second * mean_gap);
    let start = Random::seeded(seed).below(trace.len());
    let mut requests = Vec::new();
    let (mut arrival, mut at) = (0.0, start);
    while arrival < seconds {
        requests.push(Request {
            arrival,
            length: trace[at].length,
        });
        let next = (at + 1) % trace.len();
        let gap = if next == 0 {
            mean_gap
        } else {
            trace[next].arrival - trace[at].arrival
        };
        arrival += gap * stretch;
        at = next;
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [Length; 2] = [
        Length {
            prompt: 10,
            output: 5,
        },
        Length {
            prompt: 20,
            output: 1,
        },
    ];

    #[test]
    fn arrivals_have_the_rate_that_was_asked_for_and_are_in_order() {
        let trace: Vec<Request> = (0..50)
            .map(|index| Request {
                arrival: f64::from(index * index),
                length: LENGTHS[0],
            })
            .collect();
        for requests in [
            poisson(&LENGTHS, 3.0, 1_000.0, 1),
            replay(&trace, 3.0, 1_000.0, 1),
        ] {
            assert!((2_700..3_300).contains(&requests.len()), "{}", requests.len());
            assert!(requests.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival));
            assert!(
                requests
                    .iter()
                    .all(|request| (0.0..1_000.0).contains(&request.arrival))
            );
        }
        assert_eq!(poisson(&LENGTHS, 3.0, 10.0, 7), poisson(&LENGTHS, 3.0, 10.0, 7));
        assert!(replay(&[], 3.0, 10.0, 7).is_empty());
    }
}
