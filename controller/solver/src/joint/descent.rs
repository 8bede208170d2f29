//! Where prices move: along an average of the subgradients (volume algorithm, Barahona and Anbil 2000) with Polyak's step, as
//! in [`caching`](crate::caching).

use super::dual::Prices;

/// Weight of the newest subgradient in the average.
const NEWEST: f64 = 0.25;

/// First share of Polyak's step, its shrinking, and the number of steps without progress after which it shrinks.
const STEP_FIRST: f64 = 0.5;
const STEP_SHRINK: f64 = 0.7;
const STALLED_MAX: u32 = 4;

/// Direction and length of the steps.
#[derive(Clone, Debug)]
pub(super) struct Descent {
    direction: Prices,
    scales: Prices,
    step: f64,
    stalled: u32,
    has_moved: bool,
}

impl Descent {
    /// `scales` says how much a price is expected to be; one that is expected to be nothing stays where it is.
    pub(super) fn new(scales: Prices, zero: Prices) -> Self {
        Self {
            direction: zero,
            scales,
            step: STEP_FIRST,
            stalled: 0,
            has_moved: false,
        }
    }

    /// Shortens steps that bring nothing; whether to go on from the best prices.
    pub(super) fn is_astray(&mut self, progress: bool) -> bool {
        self.stalled = if progress { 0 } else { self.stalled + 1 };
        let astray = self.stalled >= STALLED_MAX;
        if astray {
            (self.step, self.stalled) = (self.step * STEP_SHRINK, 0);
        }
        astray
    }

    /// One step; `false` where there is no direction to descend in.
    pub(super) fn advance(
        &mut self,
        prices: &mut Prices,
        supplies: &Prices,
        usage: &Prices,
        excess: f64,
    ) -> bool {
        let newest = if self.has_moved { NEWEST } else { 1.0 };
        self.has_moved = true;
        let (scales, direction) = (&self.scales, &mut self.direction);
        let mut groups = [
            Group {
                prices: &mut prices.request,
                direction: &mut direction.request,
                scales: &scales.request,
                supplies: &supplies.request,
                usage: &usage.request,
            },
            Group {
                prices: &mut prices.busy,
                direction: &mut direction.busy,
                scales: &scales.busy,
                supplies: &supplies.busy,
                usage: &usage.busy,
            },
            Group {
                prices: &mut prices.memory,
                direction: &mut direction.memory,
                scales: &scales.memory,
                supplies: &supplies.memory,
                usage: &usage.memory,
            },
        ];
        let norm: f64 = groups.iter_mut().map(|group| group.turn(newest)).sum();
        if norm <= 0.0 || excess <= 0.0 {
            return false;
        }
        let length = self.step * excess / norm;
        groups.iter_mut().for_each(|group| group.go(length));
        true
    }
}

/// Prices of one kind on their way.
struct Group<'a> {
    prices: &'a mut [f64],
    direction: &'a mut [f64],
    scales: &'a [f64],
    supplies: &'a [f64],
    usage: &'a [f64],
}

impl Group<'_> {
    /// Turns towards what is taken beyond the supply, in parts of it; returns how much there is to gain.
    fn turn(&mut self, newest: f64) -> f64 {
        let mut norm = 0.0;
        for (position, direction) in self.direction.iter_mut().enumerate() {
            let (supply, scale) = (self.supplies[position], self.scales[position]);
            if supply <= 0.0 || scale <= 0.0 {
                continue;
            }
            let excess = (self.usage[position] / supply - 1.0).min(20.0);
            *direction = (1.0 - newest) * *direction + newest * excess;
            let leaves = self.prices[position] <= 0.0 && *direction < 0.0;
            if !leaves {
                norm += *direction * *direction * scale * supply;
            }
        }
        norm
    }

    fn go(&mut self, length: f64) {
        for (position, price) in self.prices.iter_mut().enumerate() {
            let scale = self.scales[position];
            let next = *price + length * scale * self.direction[position];
            *price = next.clamp(0.0, scale * 50.0);
        }
    }
}
