//! Dantzig's bound without sorting.
//!
//! The knapsack with one item cut has the value of its dual, a convex function of the price per byte (Dantzig 1957):
//!
//! ```text
//! min over π ≥ 0 of g(π) = π·room + Σ_i (v_i − π·s_i)⁺
//! ```
//!
//! Two tangents, one that falls and one that rises, meet at the next price, until `g` touches their meeting point
//! (Kelley's cutting planes in one dimension). Every `g(π)` is a bound, wherever that ends.

use super::{FamilyEnumeration, Group, Knapsack, Walk};

/// `Σ (v − π·s)⁺` of some items at a price, and the bytes of those with a gain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tangent {
    pub(super) gain: f64,
    pub(super) bytes: f64,
}

/// The tangent of one group. The loop is the innermost of all: no branch, so that it is compiled to vectors.
pub(super) fn tangent(knapsack: &Knapsack<'_>, group: Group, price: f64) -> Tangent {
    let (values, bytes) = (&knapsack.values[group.range()], &knapsack.bytes[group.range()]);
    let mut lanes = [Tangent::default(); 4];
    let (value_lanes, value_rest) = values.as_chunks::<4>();
    let (byte_lanes, byte_rest) = bytes.as_chunks::<4>();
    for (value, size) in value_lanes.iter().zip(byte_lanes) {
        for lane in 0..4 {
            add(&mut lanes[lane], value[lane], size[lane], price);
        }
    }
    for (value, size) in value_rest.iter().zip(byte_rest) {
        add(&mut lanes[0], *value, *size, price);
    }
    let [a, b, c, d] = lanes;
    Tangent {
        gain: (a.gain + b.gain) + (c.gain + d.gain),
        bytes: (a.bytes + b.bytes) + (c.bytes + d.bytes),
    }
}

#[inline(always)]
fn add(sum: &mut Tangent, value: f64, size: f64, price: f64) {
    let gain = value - price * size;
    // Spelt out: `max` would also have to look for NaN.
    sum.gain += if gain > 0.0 { gain } else { 0.0 };
    sum.bytes += if gain > 0.0 { size } else { 0.0 };
}

/// The value of the relaxation, and the price per byte that has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relaxed {
    pub(super) value: f64,
    pub(super) price: f64,
}

/// A point of `g` and its slope.
#[derive(Clone, Copy, Debug)]
struct Line {
    price: f64,
    value: f64,
    slope: f64,
}

/// Prices tried; some six suffice, and any number is valid.
const ROUNDS_MAX: usize = 60;

impl FamilyEnumeration {
    /// Relaxes the items of the groups in `now` within some room; ends early where the value is seen not to exceed
    /// `enough`.
    pub(super) fn relax(&self, walk: &mut Walk<'_>, room: f64, enough: f64) -> Relaxed {
        let chosen = |tangents: &[Tangent]| {
            let on = tangents.iter().zip(&self.now).filter(|(_, now)| **now);
            on.fold(Tangent::default(), |sum, (one, _)| Tangent {
                gain: sum.gain + one.gain,
                bytes: sum.bytes + one.bytes,
            })
        };
        let line = |price: f64, tangent: Tangent| Line {
            price,
            value: price * room + tangent.gain,
            slope: room - tangent.bytes,
        };
        let walk_slack = walk.slack;
        let mut falling = line(0.0, chosen(&self.at_zero));
        if falling.slope >= 0.0 {
            return Relaxed {
                value: falling.value,
                price: 0.0,
            };
        }
        let mut probe = |price: f64| {
            let mut sum = Tangent::default();
            for (group, _) in walk
                .knapsack
                .groups
                .iter()
                .zip(&self.now)
                .filter(|(_, now)| **now)
            {
                let one = tangent(walk.knapsack, *group, price);
                sum.gain += one.gain;
                sum.bytes += one.bytes;
                walk.steps += u64::from(group.end - group.start);
            }
            line(price, sum)
        };
        let mut rising = line(walk.price, chosen(&self.at_price));
        while rising.slope < 0.0 {
            falling = rising;
            rising = probe(if rising.price > 0.0 {
                rising.price * 2.0
            } else {
                falling.value / falling.slope.abs().max(room).max(1.0)
            });
        }
        let mut best = if rising.value < falling.value {
            rising
        } else {
            falling
        };
        for _ in 0..ROUNDS_MAX {
            if rising.slope <= 0.0 || best.value <= enough {
                break;
            }
            let climb = rising.slope * rising.price - falling.slope * falling.price;
            let price = (falling.value - rising.value + climb) / (rising.slope - falling.slope);
            let meeting = falling.value + falling.slope * (price - falling.price);
            if !(price > falling.price && price < rising.price) {
                break;
            }
            let next = probe(price);
            if next.value < best.value {
                best = next;
            }
            if next.value - meeting <= walk_slack * next.value {
                break;
            }
            if next.slope < 0.0 {
                falling = next;
            } else {
                rising = next;
            }
        }
        Relaxed {
            value: best.value,
            price: best.price,
        }
    }
}
