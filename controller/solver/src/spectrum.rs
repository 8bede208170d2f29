//! How one cell's spectrum is shared among its transfers: in closed form, so exactly.
//!
//! A transfer of `D` bytes that gets the share `a` of a channel whose whole spectrum carries `R` bytes per second takes
//! `D / (R·a)`. With weights `w`, shares that add up to at most one, and deadlines `s`:
//!
//! ```text
//! min Σ w·D / (R·a)   s.t. Σ a ≤ 1,  a ≥ m = D / (R·s)
//! ```
//!
//! The problem is convex; its Karush-Kuhn-Tucker conditions say `a = max(m, θ·√(w·D/R))` for one level `θ` (water-filling;
//! Boyd and Vandenberghe, Convex Optimization, 5.5.3). Without deadlines `a = √(w·D/R) / Σ √(w·D/R)`. When the least shares
//! `m` exceed one together, some transfers are not admitted: a knapsack, filled by value per share.

use crate::units::{Bytes, BytesPerSecond, Nanos};

/// Bytes on their way through a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How much.
    pub size: Bytes,
    /// What the whole spectrum would carry to or from this user; zero never ends.
    pub rate: BytesPerSecond,
    /// What a second of waiting costs, relative to others.
    pub weight: u64,
    /// Time until the transfer must have ended.
    pub deadline: Option<Nanos>,
    /// What admitting it is worth.
    pub value: u64,
}

/// Shares of the spectrum.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// By transfer; none for those that are not admitted.
    pub shares: Vec<Option<f64>>,
    /// Value of those that are admitted.
    pub admitted: u64,
    /// No admission is worth more (the knapsack with one transfer admitted in part).
    pub admitted_max: f64,
}

impl Transfer {
    /// Seconds that the transfer takes on the whole spectrum.
    fn seconds(&self) -> f64 {
        as_f64(self.size.0) / as_f64(self.rate.0)
    }

    /// The share that the deadline demands.
    fn least(&self) -> f64 {
        self.deadline
            .map_or(0.0, |deadline| self.seconds() / (as_f64(deadline.0) / 1e9))
    }
}

/// Admits transfers by value per least share, and shares the spectrum among them at the least weighted sum of times.
///
/// A transfer without a deadline is admitted; one that meets its deadline not even alone is not. Of equal densities the
/// first is admitted first.
#[must_use]
pub fn share(transfers: &[Transfer]) -> Shares {
    let mut order: Vec<usize> = (0..transfers.len())
        .filter(|at| possible(&transfers[*at]))
        .collect();
    let density = |at: usize| as_f64(transfers[at].value) / transfers[at].least();
    order.sort_by(|one, other| density(*other).total_cmp(&density(*one)));
    let mut left = 1.0;
    let (mut admitted, mut admitted_max, mut is_full) = (Vec::new(), 0.0, false);
    for at in order {
        let (least, value) = (transfers[at].least(), as_f64(transfers[at].value));
        if !is_full {
            admitted_max += value * (left / least).min(1.0);
        }
        if least <= left {
            left -= least;
            admitted.push(at);
        } else {
            is_full = true;
        }
    }
    let mut shares = vec![None; transfers.len()];
    let demands: Vec<Transfer> = admitted.iter().map(|at| transfers[*at]).collect();
    for (at, share) in admitted.iter().zip(fill(&demands)) {
        shares[*at] = Some(share);
    }
    Shares {
        shares,
        admitted: demands.iter().map(|transfer| transfer.value).sum(),
        admitted_max,
    }
}

fn possible(transfer: &Transfer) -> bool {
    (transfer.rate.0 > 0 || transfer.size.0 == 0) && transfer.least() <= 1.0
}

/// Water-filling among transfers whose least shares fit. The level rises as transfers at their least share are found, those
/// with the largest least share per unit of demand first.
fn fill(transfers: &[Transfer]) -> Vec<f64> {
    let pull = |transfer: &Transfer| (as_f64(transfer.weight) * transfer.seconds()).sqrt();
    let mut order: Vec<usize> = (0..transfers.len()).collect();
    let pinned_until = |at: &usize| transfers[*at].least() / pull(&transfers[*at]);
    order.sort_by(|one, other| pinned_until(other).total_cmp(&pinned_until(one)));
    let mut pulls: f64 = transfers.iter().map(pull).sum();
    let (mut left, mut level) = (1.0, 0.0);
    for at in order {
        level = if pulls > 0.0 { left / pulls } else { 0.0 };
        if level * pull(&transfers[at]) >= transfers[at].least() {
            break;
        }
        left -= transfers[at].least();
        pulls -= pull(&transfers[at]);
        level = 0.0;
    }
    transfers
        .iter()
        .map(|transfer| (level * pull(transfer)).max(transfer.least()))
        .collect()
}

/// Halvings after which two doubles around a time have met.
const HALVINGS: usize = 200;

/// Shares under which the last transfer ends soonest, when each ends so much later than its bytes arrive (`after`), and the
/// seconds until then. `Σ D / (R·(t − after)) = 1` falls in `t`, so it is bisected. Nothing where a rate is zero.
#[must_use]
pub fn share_to_end_together(transfers: &[(Transfer, Nanos)]) -> Option<(Vec<f64>, f64)> {
    if transfers.iter().any(|(transfer, _)| transfer.rate.0 == 0) {
        return None;
    }
    let after = |nanos: &Nanos| as_f64(nanos.0) / 1e9;
    let need = |end: f64| {
        transfers
            .iter()
            .map(move |(transfer, nanos)| transfer.seconds() / (end - after(nanos)))
    };
    let latest = transfers
        .iter()
        .map(|(_, nanos)| after(nanos))
        .fold(0.0, f64::max);
    let work: f64 = transfers.iter().map(|(transfer, _)| transfer.seconds()).sum();
    let (mut low, mut high) = (latest, latest + work);
    for _ in 0..HALVINGS {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if need(middle).sum::<f64>() <= 1.0 {
            high = middle;
        } else {
            low = middle;
        }
    }
    let shares = if work > 0.0 {
        need(high).collect()
    } else {
        vec![0.0; transfers.len()]
    };
    Some((shares, high))
}

#[allow(clippy::cast_precision_loss, reason = "shares need few digits")]
fn as_f64(whole: u64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transfer(size: u64, rate: u64, weight: u64) -> Transfer {
        Transfer {
            size: Bytes(size),
            rate: BytesPerSecond(rate),
            weight,
            deadline: None,
            value: 1,
        }
    }

    /// Weighted seconds of all transfers.
    fn cost(transfers: &[Transfer], shares: &[f64]) -> f64 {
        let times = transfers.iter().zip(shares);
        times
            .map(|(transfer, share)| as_f64(transfer.weight) * transfer.seconds() / share)
            .sum()
    }

    #[test]
    fn shares_follow_the_square_root() {
        let shared = share(&[transfer(100, 1, 1), transfer(100, 1, 4), transfer(900, 1, 1)]);
        let shares: Vec<f64> = shared.shares.into_iter().flatten().collect();
        for (share, expected) in shares.iter().zip([1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0]) {
            assert!((share - expected).abs() < 1e-12, "{shares:?}");
        }
    }

    #[test]
    fn what_cannot_be_in_time_is_not_admitted() {
        let late = |value, seconds: u64| Transfer {
            deadline: Some(Nanos::from_millis(seconds * 1_000)),
            value,
            ..transfer(10, 1, 1)
        };
        // Alone too late; 0.5 and 0.5 fit; 0.25 does not fit any more.
        let shared = share(&[late(9, 5), late(8, 20), late(7, 20), late(1, 40)]);
        assert_eq!(
            shared.shares.iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, true, true, false]
        );
        assert_eq!(shared.admitted, 15);
        assert!((shared.admitted_max - 15.0).abs() < 1e-9);
        assert_eq!(share(&[transfer(1, 0, 1)]).shares, [None]);
    }

    #[test]
    fn transfers_end_together_when_the_last_ends_soonest() {
        let transfers = [
            (transfer(10, 1, 1), Nanos::from_millis(5_000)),
            (transfer(30, 1, 1), Nanos::ZERO),
        ];
        let (shares, end) = share_to_end_together(&transfers).expect("rates above zero");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((10.0 / shares[0] + 5.0 - end).abs() < 1e-6);
        assert!((30.0 / shares[1] - end).abs() < 1e-6);
        assert_eq!(share_to_end_together(&[(transfer(1, 0, 1), Nanos::ZERO)]), None);
        assert_eq!(share_to_end_together(&[]), Some((Vec::new(), 0.0)));
    }

    prop_compose! {
        fn transfers()(drawn in prop::collection::vec((1_u64..100, 1_u64..20, 1_u64..10, 0_u64..400_000, 0_u64..50), 1..=6))
            -> Vec<Transfer> {
            drawn
                .into_iter()
                .map(|(size, rate, weight, millis, value)| Transfer {
                    deadline: (millis > 1_000).then(|| Nanos::from_millis(millis)),
                    value,
                    ..transfer(size, rate, weight)
                })
                .collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_exchange_between_two_transfers_is_better(transfers in transfers()) {
            let shared = share(&transfers);
            let admitted: Vec<Transfer> =
                transfers.iter().zip(&shared.shares).filter(|(_, share)| share.is_some()).map(|(one, _)| *one).collect();
            let shares: Vec<f64> = shared.shares.iter().flatten().copied().collect();
            prop_assert!(shares.iter().sum::<f64>() <= 1.0 + 1e-9);
            for (transfer, share) in admitted.iter().zip(&shares) {
                prop_assert!(*share >= transfer.least() - 1e-12);
            }
            // The problem is convex: what no small exchange improves is optimal.
            let best = cost(&admitted, &shares);
            for from in 0..shares.len() {
                for to in 0..shares.len() {
                    let step = 1e-4_f64.min(shares[from] - admitted[from].least());
                    let mut other = shares.clone();
                    other[from] -= step;
                    other[to] += step;
                    prop_assert!(step <= 1e-9 || cost(&admitted, &other) >= best * (1.0 - 1e-9));
                }
            }
        }

        #[test]
        fn no_admission_is_worth_more_than_the_bound(transfers in transfers()) {
            let shared = share(&transfers);
            let best = (0..1_u32 << transfers.len())
                .filter_map(|set| {
                    let chosen = || transfers.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, one)| one);
                    let fits = chosen().map(Transfer::least).sum::<f64>() <= 1.0;
                    fits.then(|| chosen().map(|one| one.value).sum::<u64>())
                })
                .max()
                .unwrap_or(0);
            prop_assert!(shared.admitted <= best);
            prop_assert!(as_f64(best) <= shared.admitted_max + 1e-9);
        }
    }
}
