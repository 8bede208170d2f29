//! Searches for a layout of greatest flow where links do not bind: an interval cover.
//!
//! Simulated annealing towards a target `F`: what is to vanish is `Σ_l max(0, 1 − c_l ÷ F)`, where `c_l` are the tokens per
//! second that pass layer `l`. Whenever it vanishes, the least `c_l` is the new best and the target is raised by half a
//! thousandth. Deterministic by its seed; the work is counted in moves.

use std::ops::Range;

use super::bound::Supply;
use crate::random::Random;
use crate::search::Budget;

/// A cover that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Cover {
    /// Tokens per second: the least over all layers.
    pub flow: f64,
    /// The layers of each node; nodes are in the order of their supplies.
    pub ranges: Vec<Range<usize>>,
    /// Moves that were tried.
    pub steps: u64,
}

/// Moves of the first descent. Each one begins anew from chance and is twice as long as the one before, so that nobody has to
/// know how slowly an instance must be cooled.
const FIRST_DESCENT: u64 = 3_000_000;
const MOVES_BETWEEN_QUESTIONS: u64 = 65_536;
const RAISE: f64 = 1.0005;
/// What counts as reaching the upper bound, or the target.
const TOLERANCE: f64 = 1e-9;
/// Many small changes add up to less rounding than this; what is missing is then added up anew.
const SUSPICION: f64 = 1e-6;

/// Searches until the budget is used, or `upper` is reached, which proves the cover optimal.
///
/// None if some type holds no layer at all, there are no nodes, or no cover was found.
#[must_use]
pub fn search(
    supplies: &[Supply],
    num_layers: usize,
    upper: f64,
    seed: u64,
    budget: &Budget<'_>,
) -> Option<Cover> {
    let rates: Vec<&[f64]> = supplies
        .iter()
        .flat_map(|supply| std::iter::repeat_n(supply.tokens_per_second.as_slice(), supply.count))
        .map(|rates| &rates[..rates.len().min(num_layers)])
        .collect();
    if rates.is_empty() || num_layers == 0 || rates.iter().any(|rates| rates.is_empty()) {
        return None;
    }
    let mut search = Search {
        rates,
        num_layers,
        random: Random::seeded(seed),
        best: Cover {
            flow: 0.0,
            ranges: Vec::new(),
            steps: 0,
        },
        upper,
    };
    let mut moves = FIRST_DESCENT;
    while search.best.steps < budget.steps && !search.is_proven() {
        if !search.descend(moves, budget) {
            break;
        }
        moves *= 2;
    }
    (search.best.flow > 0.0).then_some(search.best)
}

struct Search<'s> {
    /// By node and layers less one.
    rates: Vec<&'s [f64]>,
    num_layers: usize,
    random: Random,
    best: Cover,
    upper: f64,
}

/// Where one descent is.
struct Descent {
    ranges: Vec<Range<usize>>,
    passed: Vec<f64>,
    target: f64,
    missing: f64,
}

impl Search<'_> {
    fn is_proven(&self) -> bool {
        self.best.flow >= self.upper * (1.0 - TOLERANCE)
    }

    /// One descent; `false` if the caller cancelled.
    #[allow(clippy::cast_precision_loss, reason = "a temperature")]
    fn descend(&mut self, length: u64, budget: &Budget<'_>) -> bool {
        let mut at = self.anywhere();
        for moves in 0..length.min(budget.steps - self.best.steps) {
            if moves.is_multiple_of(MOVES_BETWEEN_QUESTIONS) && (budget.cancelled)() {
                return false;
            }
            self.best.steps += 1;
            let left = 1.0 - moves as f64 / length as f64;
            self.try_move(&mut at, 0.6 * left * left + 1e-3);
            if at.missing < SUSPICION && self.recount(&mut at) < TOLERANCE {
                self.rise(&mut at);
                if self.is_proven() {
                    return true;
                }
            }
        }
        true
    }

    fn anywhere(&mut self) -> Descent {
        let mut passed = vec![0.0; self.num_layers];
        let mut ranges = Vec::with_capacity(self.rates.len());
        for node in 0..self.rates.len() {
            let layers = 1 + self.random.below(self.rates[node].len());
            let start = self.random.below(self.num_layers - layers + 1);
            let range = start..start + layers;
            passed[range.clone()]
                .iter_mut()
                .for_each(|passed| *passed += self.rates[node][layers - 1]);
            ranges.push(range);
        }
        let target = if self.best.flow > 0.0 {
            self.best.flow * RAISE
        } else {
            self.upper / 8.0
        };
        let missing = passed.iter().map(|passed| lack(*passed, target)).sum();
        Descent {
            ranges,
            passed,
            target,
            missing,
        }
    }

    /// Takes the cover if it is the best, and aims higher.
    fn rise(&mut self, at: &mut Descent) {
        let least = at.passed.iter().copied().fold(f64::INFINITY, f64::min);
        if least > self.best.flow {
            self.best.flow = least;
            self.best.ranges.clone_from(&at.ranges);
        }
        at.target = (least.max(at.target) * RAISE).min(self.upper);
        at.missing = at.passed.iter().map(|passed| lack(*passed, at.target)).sum();
    }

    /// Adds up anew what passes each layer and what is missing, without the rounding of many small changes.
    fn recount(&self, at: &mut Descent) -> f64 {
        at.passed.fill(0.0);
        for (range, rates) in at.ranges.iter().zip(&self.rates) {
            let rate = rates[range.len() - 1];
            at.passed[range.clone()]
                .iter_mut()
                .for_each(|passed| *passed += rate);
        }
        at.missing = at.passed.iter().map(|passed| lack(*passed, at.target)).sum();
        at.missing
    }

    fn try_move(&mut self, at: &mut Descent, temperature: f64) {
        let node = self.random.below(self.rates.len());
        let old = at.ranges[node].clone();
        let Some(new) = self.neighbour(node, &old) else {
            return;
        };
        if new == old {
            return;
        }
        let (before, after) = (self.rates[node][old.len() - 1], self.rates[node][new.len() - 1]);
        let touched = old.start.min(new.start)..old.end.max(new.end);
        let change = |layer: usize, passed: f64| {
            let without = if old.contains(&layer) {
                passed - before
            } else {
                passed
            };
            if new.contains(&layer) {
                without + after
            } else {
                without
            }
        };
        let worse: f64 = touched
            .clone()
            .map(|layer| lack(change(layer, at.passed[layer]), at.target) - lack(at.passed[layer], at.target))
            .sum();
        if worse <= 0.0 || self.random.unit() < (-worse / temperature).exp() {
            for layer in touched {
                at.passed[layer] = change(layer, at.passed[layer]);
            }
            at.missing += worse;
            at.ranges[node] = new;
        }
    }

    /// Another interval for a node: anywhere, moved a little, or with one end moved by one layer.
    fn neighbour(&mut self, node: usize, old: &Range<usize>) -> Option<Range<usize>> {
        let most = self.rates[node].len();
        let end = self.num_layers;
        let new = match self.random.below(4) {
            0 => {
                let layers = 1 + self.random.below(most);
                let start = self.random.below(end - layers + 1);
                start..start + layers
            }
            1 => {
                let start = (old.start + self.random.below(7))
                    .saturating_sub(3)
                    .min(end - old.len());
                start..start + old.len()
            }
            2 => (old.start + self.random.below(3)).saturating_sub(1)..old.end,
            _ => old.start..(old.end + self.random.below(3)).saturating_sub(1),
        };
        (!new.is_empty() && new.len() <= most && new.end <= end).then_some(new)
    }
}

/// By what part a layer misses the target.
fn lack(passed: f64, target: f64) -> f64 {
    (1.0 - passed / target).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::bound::upper_bound;

    fn fleet(counts_and_rates: &[(usize, &[f64])]) -> Vec<Supply> {
        let supply = |(count, rates): &(usize, &[f64])| Supply {
            count: *count,
            tokens_per_second: rates.to_vec(),
        };
        counts_and_rates.iter().map(supply).collect()
    }

    #[test]
    fn one_node_that_holds_everything_is_proven_optimal() {
        let rates: Vec<f64> = (1..=80).map(|layers| 7_777.7 / f64::from(layers)).collect();
        let fleet = fleet(&[(1, &rates)]);
        let upper = upper_bound(&fleet, 80);
        let cover = search(&fleet, 80, upper, 1, &Budget::steps(1_000_000)).expect("a cover");
        assert_eq!(cover.ranges.len(), 1);
        assert_eq!(cover.ranges[0], 0..80);
        assert!(
            (cover.flow - upper).abs() <= upper * TOLERANCE,
            "{} of {upper}",
            cover.flow
        );
    }

    #[test]
    fn a_seed_and_a_budget_fix_the_cover() {
        let fleet = fleet(&[(3, &[9.0, 5.0, 3.0]), (4, &[4.0, 2.5])]);
        let upper = upper_bound(&fleet, 8);
        let again = |seed| search(&fleet, 8, upper, seed, &Budget::steps(20_000));
        assert_eq!(again(3), again(3));
        assert!(again(3).expect("a cover").steps <= 20_000);
    }

    #[test]
    fn a_cancelled_search_ends_with_what_it_has() {
        let fleet = fleet(&[(3, &[9.0, 5.0, 3.0])]);
        let questions = std::cell::Cell::new(0);
        let cancelled = || questions.replace(questions.get() + 1) == 1;
        let budget = Budget {
            steps: u64::MAX,
            cancelled: &cancelled,
        };
        let upper = upper_bound(&fleet, 4) * 2.0;
        let cover = search(&fleet, 4, upper, 1, &budget).expect("nodes hold layers");
        assert_eq!(cover.steps, MOVES_BETWEEN_QUESTIONS);
        let at_once = Budget {
            cancelled: &|| true,
            ..budget
        };
        assert_eq!(search(&fleet, 4, upper, 1, &at_once), None, "it has nothing yet");
    }

    #[test]
    fn nodes_that_do_not_hold_the_model_together_have_no_cover() {
        let fleet = fleet(&[(2, &[9.0, 5.0])]);
        for upper in [upper_bound(&fleet, 8), 1.0] {
            assert_eq!(search(&fleet, 8, upper, 1, &Budget::steps(1_000)), None);
        }
    }

    #[test]
    fn nodes_that_hold_nothing_have_no_cover() {
        assert_eq!(search(&[], 8, 1.0, 1, &Budget::steps(10)), None);
        assert_eq!(search(&fleet(&[(1, &[])]), 8, 1.0, 1, &Budget::steps(10)), None);
    }
}
