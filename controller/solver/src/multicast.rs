//! Who is served by one broadcast: blocks that many wait for are sent once to all of a group, at the rate of its slowest.
//!
//! Groups are served one after the other. Users who wait for the same `D` bytes with weights `w` and rates `r`:
//!
//! ```text
//! min Σ_u w_u · (Σ over groups up to that of u of D / min rate of the group)
//! ```
//!
//! Some optimum serves users by falling rate: who is faster than a member of an earlier group can join it and slows nobody. So
//! groups are stretches of that order, and the best cuts are found by dynamic programming (the grouping of broadcasts in
//! model downloading: Wu, Zeng, Huang, arXiv 2307.15316):
//!
//! ```text
//! f(i) = min over j < i of f(j) + D / r_i · Σ_{u > j} w_u        users 1..n by falling rate
//! ```
//!
//! since all that are not yet served wait through a group. Exact, in `O(n²)`.

use crate::units::{Bytes, BytesPerSecond};

/// Somebody who waits for the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The fastest broadcast that reaches this user; zero is never reached.
    pub rate: BytesPerSecond,
    /// What a second of waiting costs.
    pub weight: u64,
}

/// Groups in the order in which they are served.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcasts {
    /// Positions of the listeners of each group, fastest first.
    pub groups: Vec<Vec<usize>>,
    /// Weighted seconds of waiting; no grouping has less.
    pub waiting: f64,
}

/// The best groups for a block; listeners without a rate are in none.
#[must_use]
pub fn group(size: Bytes, listeners: &[Listener]) -> Broadcasts {
    let mut order: Vec<usize> = (0..listeners.len())
        .filter(|at| listeners[*at].rate.0 > 0)
        .collect();
    order.sort_by_key(|at| std::cmp::Reverse(listeners[*at].rate));
    // Weight of the user at a position and of all slower ones.
    let mut weights = vec![0.0; order.len() + 1];
    for at in (0..order.len()).rev() {
        weights[at] = weights[at + 1] + as_f64(listeners[order[at]].weight);
    }
    let mut best = vec![0.0; order.len() + 1];
    let mut cut = vec![0; order.len() + 1];
    for end in 1..=order.len() {
        let seconds = as_f64(size.0) / as_f64(listeners[order[end - 1]].rate.0);
        let cost = |start: usize| best[start] + seconds * weights[start];
        let start = (0..end)
            .min_by(|one, other| cost(*one).total_cmp(&cost(*other)))
            .unwrap_or(0);
        (best[end], cut[end]) = (cost(start), start);
    }
    let mut groups = Vec::new();
    let mut end = order.len();
    while end > 0 {
        groups.push(order[cut[end]..end].to_vec());
        end = cut[end];
    }
    groups.reverse();
    Broadcasts {
        groups,
        waiting: best[order.len()],
    }
}

#[allow(clippy::cast_precision_loss, reason = "times need few digits")]
fn as_f64(whole: u64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listener(rate: u64, weight: u64) -> Listener {
        Listener {
            rate: BytesPerSecond(rate),
            weight,
        }
    }

    /// Weighted waiting of any groups, served in their order.
    fn waiting(size: u64, listeners: &[Listener], groups: &[Vec<usize>]) -> f64 {
        let (mut clock, mut sum) = (0.0, 0.0);
        for group in groups.iter().filter(|group| !group.is_empty()) {
            let slowest = group
                .iter()
                .map(|at| listeners[*at].rate.0)
                .min()
                .expect("not empty");
            clock += as_f64(size) / as_f64(slowest);
            sum += group
                .iter()
                .map(|at| clock * as_f64(listeners[*at].weight))
                .sum::<f64>();
        }
        sum
    }

    /// The least waiting over all ways to put listeners into groups in any order.
    fn brute_force(size: u64, listeners: &[Listener]) -> f64 {
        let count = listeners.len();
        let mut best = f64::INFINITY;
        for code in 0..count.pow(u32::try_from(count).expect("few")) {
            let mut groups = vec![Vec::new(); count];
            let mut rest = code;
            for at in 0..count {
                groups[rest % count].push(at);
                rest /= count;
            }
            best = best.min(waiting(size, listeners, &groups));
        }
        best
    }

    #[test]
    fn a_slow_listener_does_not_hold_up_fast_ones() {
        let grouped = group(Bytes(100), &[listener(1, 1), listener(100, 1), listener(90, 1)]);
        assert_eq!(grouped.groups, [vec![1, 2], vec![0]]);
    }

    #[test]
    fn listeners_of_nearly_one_rate_share_a_broadcast() {
        let grouped = group(Bytes(100), &[listener(10, 1), listener(9, 1), listener(0, 5)]);
        assert_eq!(grouped.groups, [vec![0, 1]]);
        assert!((grouped.waiting - 2.0 * 100.0 / 9.0).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn no_grouping_waits_less(drawn in prop::collection::vec((1_u64..50, 0_u64..9), 1..=5), size in 1_u64..1_000) {
            let listeners: Vec<Listener> = drawn.into_iter().map(|(rate, weight)| listener(rate, weight)).collect();
            let grouped = group(Bytes(size), &listeners);
            prop_assert!((waiting(size, &listeners, &grouped.groups) - grouped.waiting).abs() <= 1e-9 * grouped.waiting);
            prop_assert!((grouped.waiting - brute_force(size, &listeners)).abs() <= 1e-9 * grouped.waiting);
        }
    }
}
