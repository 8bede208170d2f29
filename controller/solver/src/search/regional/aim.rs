//! What a pass minimises: the objective's sums at fixed prices of lateness, under a cap of the bottleneck.
//!
//! With the prices between zero and the objective's own, and every element at most as slow as the cap, the least sum is a
//! lower bound for all pipelines whose bottleneck lies between `busy_min` and the cap: a penalty is never below its price
//! times the lateness, and the bottleneck costs at least `busy_min`.

use super::super::instance::{Element, NEVER, Objective};

/// Prices and cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aim {
    /// Cost of a nanosecond of TTFT and of TPOT, beside the linear part of the objective.
    pub(super) ttft_price: u64,
    pub(super) tpot_price: u64,
    /// Longest time that a chunk may occupy a stage or segment.
    pub(super) busy_max: u64,
    /// Shortest bottleneck of the pipelines that the bound is for.
    pub(super) busy_min: u64,
}

impl Aim {
    /// The linear part alone.
    pub(super) const LINEAR: Self = Self {
        ttft_price: 0,
        tpot_price: 0,
        busy_max: NEVER,
        busy_min: 0,
    };

    /// What an element adds; [`NEVER`] if it is not allowed.
    pub(super) fn price(&self, element: &Element) -> u64 {
        if element.busy > self.busy_max || element.cost >= NEVER {
            return NEVER;
        }
        self.sum(element)
    }

    /// The same without the cap, for what is bounded otherwise.
    pub(super) fn sum(&self, element: &Element) -> u64 {
        element
            .cost
            .saturating_add(self.ttft_price.saturating_mul(element.ttft))
            .saturating_add(self.tpot_price.saturating_mul(element.tpot))
            .min(NEVER)
    }

    /// What the objective adds to the sum at least.
    fn offset(&self, objective: &Objective) -> i128 {
        let price = i128::from(objective.ttft_weight) + i128::from(self.ttft_price);
        let waiting = i128::from(objective.further_chunks) * i128::from(self.busy_min);
        let promised = |promise: Option<(u64, u64)>, price: u64| {
            promise.map_or(0, |(promised, _)| i128::from(promised) * i128::from(price))
        };
        waiting * price
            - promised(objective.ttft_promise, self.ttft_price)
            - promised(objective.tpot_promise, self.tpot_price)
            + i128::from(objective.constant)
    }

    /// The bound for the objective that follows from a least sum.
    pub(super) fn bound(&self, objective: &Objective, sum: u64) -> u64 {
        if sum >= NEVER {
            return NEVER;
        }
        let bound = i128::from(sum) + self.offset(objective);
        u64::try_from(bound.max(0)).unwrap_or(NEVER).min(NEVER)
    }

    /// The sum from which on the objective is not below the limit.
    pub(super) fn limit(&self, objective: &Objective, limit: u64) -> u64 {
        if limit >= NEVER {
            return NEVER;
        }
        let sum = i128::from(limit) - self.offset(objective);
        u64::try_from(sum.max(0)).unwrap_or(NEVER).min(NEVER)
    }
}
