//! What the items of a node would earn, as their requests share the node's time.

use std::ops::Range;

/// Requests of one class that an item would answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Worth of an answer beyond its price.
    pub(super) gain: f64,
    pub(super) class: u32,
    pub(super) rate: f64,
}

/// A wish, with all before it.
#[derive(Clone, Copy, Debug)]
struct Step {
    wish: Wish,
    rate_sum: f64,
    worth_sum: f64,
}

/// An item's wishes, the greatest gain first.
#[derive(Clone, Debug)]
struct Offer {
    busy: f64,
    /// Price of having it here, its weights apart.
    own: f64,
    steps: Range<usize>,
}

/// What the items of a node would earn, by position on the shelf.
#[derive(Clone, Debug, Default)]
pub(super) struct Offers {
    offers: Vec<Offer>,
    steps: Vec<Step>,
}

impl Offers {
    pub(super) fn clear(&mut self) {
        self.offers.clear();
        self.steps.clear();
    }

    /// Adds the next item: each request keeps the node `busy` for so long, and no more than `most` can be answered.
    pub(super) fn push(&mut self, busy: f64, most: f64, own: f64, wishes: &mut [Wish]) {
        wishes
            .sort_unstable_by(|one, other| other.gain.total_cmp(&one.gain).then(one.class.cmp(&other.class)));
        let start = self.steps.len();
        let (mut rate_sum, mut worth_sum) = (0.0, 0.0);
        for wish in wishes.iter() {
            let rate = wish.rate.min(most - rate_sum);
            if rate <= 0.0 {
                break;
            }
            rate_sum += rate;
            worth_sum += rate * wish.gain;
            self.steps.push(Step {
                wish: Wish { rate, ..*wish },
                rate_sum,
                worth_sum,
            });
        }
        self.offers.push(Offer {
            busy,
            own,
            steps: start..self.steps.len(),
        });
    }

    pub(super) fn len(&self) -> usize {
        self.offers.len()
    }

    /// Price of having an item here, its weights apart.
    pub(super) fn own(&self, position: usize) -> f64 {
        self.offers[position].own
    }

    /// What an item earns where time has a price, and the time it takes for that.
    pub(super) fn earned(&self, position: usize, price: f64) -> (f64, f64) {
        let offer = &self.offers[position];
        let steps = &self.steps[offer.steps.clone()];
        let each = offer.busy * price;
        let worth_it = steps.partition_point(|step| step.wish.gain > each);
        match worth_it.checked_sub(1).map(|last| &steps[last]) {
            Some(step) => (step.worth_sum - each * step.rate_sum, offer.busy * step.rate_sum),
            None => (0.0, 0.0),
        }
    }

    /// At this price nobody takes any time.
    pub(super) fn price_max(&self) -> f64 {
        let takes_time = self.offers.iter().filter(|offer| offer.busy > 0.0);
        let dearest = takes_time.filter_map(|offer| {
            let first = self.steps[offer.steps.clone()].first()?;
            Some(first.wish.gain / offer.busy)
        });
        dearest.fold(0.0, f64::max)
    }

    /// What a set answers within so much time, the best use of time first: `(position, class, rate)`.
    pub(super) fn answered(&self, items: &[u32], time: f64) -> Vec<(u32, u32, f64)> {
        let mut by_use: Vec<(f64, u32, Wish)> = Vec::new();
        for &position in items {
            let offer = &self.offers[position as usize];
            let steps = self.steps[offer.steps.clone()].iter();
            by_use.extend(steps.map(|step| (step.wish.gain / offer.busy, position, step.wish)));
        }
        by_use.sort_unstable_by(|one, other| {
            let ties = (one.1, one.2.class).cmp(&(other.1, other.2.class));
            other.0.total_cmp(&one.0).then(ties)
        });
        let mut left = time;
        let mut answered = Vec::new();
        for (_, position, wish) in by_use {
            let busy = self.offers[position as usize].busy;
            let rate = if busy > 0.0 {
                wish.rate.min(left / busy)
            } else {
                wish.rate
            };
            if rate > 0.0 {
                answered.push((position, wish.class, rate));
                left -= rate * busy;
            }
        }
        answered
    }
}
