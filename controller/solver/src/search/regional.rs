//! Split pipelines of a fleet in regions: exact without a row for each pair of nodes.
//!
//! A hop costs what the sender's access, the backbone and the receiver's access add, so nodes of a region may swap places
//! within a visit at no cost. A pipeline is then a walk from region to region and, for each region, a set of nodes with
//! their layers:
//! 1. `fleet` groups the nodes; `table` holds, for each group and number of layers, the cheapest set of distinct nodes (a
//!    knapsack by sliding windows, so that its work does not grow with what a node holds).
//! 2. `pass` bounds walks with dynamic programs over (layers, group) in `completion`; `explore` finds the cheapest walk from each head's
//!    group; groups that are visited twice are remembered until none is used beyond its nodes.
//! 3. `settle` makes a pipeline of a walk and adds up the whole objective.
//!
//! What the sums do not hold, the bottleneck of chunks and the penalties, is bounded by an `aim` (prices of lateness, a
//! cap of the bottleneck) and closed in by bisection. Exact where a node's room does not depend on the place in the model
//! (layers of one size, trusted nodes), one precision is allowed, and no penalty is paid in part; otherwise the
//! certificate says what is left.

mod aim;
mod completion;
mod descend;
mod explore;
mod fleet;
mod pass;
mod settle;
mod table;
mod throughput;
mod tracker;

use super::budget::Meter;
use super::exact::Priced;
use super::instance::{NEVER, Objective};
use super::labels::StageCount;
use super::residual::Residual;
use crate::cost::{CostModel, MemoryModel};
use aim::Aim;
use descend::{Bounded, Descender, Descent, Finds, Stages};
pub(super) use fleet::{Fleet, Sources};
use pass::Pass;
use settle::Realiser;
use table::Levels;
pub use throughput::{Throughput, throughput};
pub use tracker::{Answer, InvalidChange, LinkChange, Tracker};

/// Sets of nodes are told apart by their number up to here; pipelines with a higher limit are counted when they are
/// found.
const LEVELS_MAX: u32 = 8;
/// Caps of the bottleneck that are tried at most.
const CAPS_MAX: usize = 24;
/// Prices of lateness that are tried at most for one cap.
const PRICES_MAX: usize = 5;

/// What a search over regions found.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The best pipelines, the cheapest first.
    pub(super) found: Vec<Priced>,
    /// No pipeline costs less than this or the limit, whichever is less.
    pub(super) lower_bound: u64,
}

/// Searches split pipelines below `limit`.
pub(super) fn search(
    sources: &Sources<'_>,
    cost: &CostModel<'_>,
    residual: &Residual,
    fleet: &Fleet,
    count: StageCount,
    limit: u64,
    meter: &mut Meter<'_>,
) -> Outcome {
    let objective = Objective::new(sources.service, cost);
    let (model, variant) = sources.problem.variant(sources.candidate);
    let realiser = Realiser {
        sources,
        residual,
        objective: &objective,
        fleet,
        memory: MemoryModel::new(sources.service, model, variant),
        wire: cost.wire(),
    };
    let mut search = Search::new(&realiser, count, limit);
    let lower_bound = search.run(meter);
    search.outcome(lower_bound)
}

fn levels(count: StageCount) -> Levels {
    if count.max <= LEVELS_MAX {
        Levels {
            top: count.max as usize,
            open: false,
        }
    } else if count.min > 2 {
        Levels {
            top: count.min.min(LEVELS_MAX) as usize,
            open: true,
        }
    } else {
        // Head and last stage are two nodes anyway.
        Levels { top: 1, open: true }
    }
}

fn stages(count: StageCount) -> Stages {
    let top = levels(count).top;
    Stages {
        min: count.min as usize,
        max: count.max as usize,
        level_min: (count.min as usize).min(top),
    }
}

struct Search<'s> {
    realiser: &'s Realiser<'s>,
    objective: &'s Objective,
    levels: Levels,
    stages: Stages,
    finds: Finds,
}

/// Bottlenecks that were not ruled out: `busy_min..=busy_max`, with the bound for their pipelines.
#[derive(Clone, Copy, Debug)]
struct Interval {
    busy_min: u64,
    busy_max: u64,
    best: Bounded,
}

impl<'s> Search<'s> {
    fn new(realiser: &'s Realiser<'s>, count: StageCount, limit: u64) -> Self {
        Self {
            realiser,
            objective: realiser.objective,
            levels: levels(count),
            stages: stages(count),
            finds: Finds::new(limit),
        }
    }

    fn outcome(self, lower_bound: u64) -> Outcome {
        let found = self.finds.best.into_iter().map(|found| Priced {
            value: found.value,
            shape: found.shape,
        });
        Outcome {
            found: found.collect(),
            lower_bound,
        }
    }

    /// A bound for all pipelines, the best of which are in `finds`.
    fn run(&mut self, meter: &mut Meter<'_>) -> u64 {
        self.run_from(None, meter)
    }

    /// The same, with the tables of the linear part as they were kept.
    fn run_from(&mut self, linear: Option<&Pass>, meter: &mut Meter<'_>) -> u64 {
        let whole = self.of_interval(0, NEVER, linear, meter);
        if !self.objective.has_bottleneck() {
            return whole.map_or(0, |interval| interval.best.lower_bound);
        }
        let mut open: Vec<Interval> = Vec::new();
        match whole {
            Some(whole) => open.push(whole),
            None => return 0,
        }
        for _ in 0..CAPS_MAX {
            open.sort_by_key(|interval| (interval.best.lower_bound, interval.busy_min));
            let least = open
                .first()
                .filter(|interval| interval.best.lower_bound < self.finds.limit);
            let Some(&worst) = least else { break };
            if worst.busy_min >= worst.busy_max || !meter.spend(1) {
                break;
            }
            open.remove(0);
            open.extend(self.halves(&worst, meter));
        }
        let bounds = open.iter().map(|interval| interval.best.lower_bound);
        bounds.min().unwrap_or(NEVER).min(self.finds.limit)
    }

    /// Cuts an interval: what may take longer keeps its sums and has a longer bottleneck, what may not is searched.
    fn halves(&mut self, whole: &Interval, meter: &mut Meter<'_>) -> Vec<Interval> {
        let highest = self
            .finds
            .best
            .iter()
            .map(|found| found.sums.busy)
            .filter(|&busy| busy > whole.busy_min)
            .max()
            .unwrap_or(whole.busy_min.saturating_mul(2).max(1));
        let top = whole.busy_max.min(highest.saturating_mul(2));
        let middle = whole.busy_min.midpoint(top).min(whole.busy_max - 1);
        let mut slower = *whole;
        slower.busy_min = middle + 1;
        slower.best.lower_bound =
            slower
                .best
                .lower_bound
                .max(self.raised(&whole.best, whole.busy_min, middle + 1));
        let faster = self
            .of_interval(whole.busy_min, middle, None, meter)
            .unwrap_or(Interval {
                busy_max: middle,
                ..*whole
            });
        vec![faster, slower]
    }

    /// The bound of the same sums with a longer bottleneck.
    fn raised(&self, bounded: &Bounded, from: u64, to: u64) -> u64 {
        let price = self.objective.ttft_weight.saturating_add(bounded.aim.ttft_price);
        let waiting = (to - from).saturating_mul(self.objective.further_chunks);
        bounded
            .lower_bound
            .saturating_add(waiting.saturating_mul(price))
            .min(NEVER)
    }

    /// The best bound for pipelines whose bottleneck is in an interval; `None` when the budget ends before there is one.
    fn of_interval(
        &mut self,
        busy_min: u64,
        busy_max: u64,
        linear: Option<&Pass>,
        meter: &mut Meter<'_>,
    ) -> Option<Interval> {
        let mut best: Option<Bounded> = None;
        let mut aim = Aim {
            busy_max,
            busy_min,
            ..Aim::LINEAR
        };
        let (first, each) = (self.objective.ttft_promise, self.objective.tpot_promise);
        let (mut ttft, mut tpot) = (Price::of(first), Price::of(each));
        for _ in 0..PRICES_MAX {
            let descent = match linear.filter(|pass| pass.aim == aim) {
                Some(pass) => Some(self.descend(pass, meter)),
                None => self.under(aim, meter),
            };
            let Some(descent) = descent else {
                break;
            };
            if best.is_none_or(|best| descent.lower_bound > best.lower_bound) {
                best = Some(Bounded {
                    aim,
                    lower_bound: descent.lower_bound,
                });
            }
            let Some(cheapest) = descent.cheapest else { break };
            if descent.lower_bound >= self.finds.limit {
                break;
            }
            let waiting = cheapest.sums.busy.saturating_mul(self.objective.further_chunks);
            ttft.weigh(cheapest.sums.ttft.saturating_add(waiting));
            tpot.weigh(cheapest.sums.tpot);
            let next = Aim {
                ttft_price: ttft.price,
                tpot_price: tpot.price,
                ..aim
            };
            if next == aim {
                break;
            }
            aim = next;
        }
        best.map(|best| Interval {
            busy_min,
            busy_max,
            best,
        })
    }

    /// One aim; `None` when the budget ends before there is a bound.
    fn under(&mut self, aim: Aim, meter: &mut Meter<'_>) -> Option<Descent> {
        // Where several aims are needed, none may take all that is left.
        let several = self.objective.has_promise() || self.objective.has_bottleneck();
        let mut part = if several {
            meter.part(1, 3)
        } else {
            meter.part(1, 1)
        };
        let pass = Pass::new(self.realiser.fleet, aim, self.levels, &mut part);
        let descent = pass.map(|pass| self.descend(&pass, &mut part));
        meter.absorb(&part);
        descent
    }

    fn descend(&mut self, pass: &Pass, meter: &mut Meter<'_>) -> Descent {
        let descender = Descender {
            pass,
            realiser: self.realiser,
            objective: self.objective,
            stages: self.stages,
            any_will_do: false,
        };
        descender.run(&mut self.finds, meter)
    }
}

/// The price of a promise, closed in by bisection between zero and the objective's own.
struct Price {
    price: u64,
    low: u64,
    high: u64,
    promised: u64,
    most: u64,
}

impl Price {
    fn of(promise: Option<(u64, u64)>) -> Self {
        let (promised, most) = promise.unwrap_or((NEVER, 0));
        Self {
            price: 0,
            low: 0,
            high: most,
            promised,
            most,
        }
    }

    /// Makes lateness dearer if the cheapest pipeline is late, cheaper if it is early; a pipeline that is neither, or
    /// early for free, or late at the full price, shows that the price is right.
    fn weigh(&mut self, actual: u64) {
        if actual > self.promised && self.price < self.most {
            self.low = self.price;
            let untried = self.high == self.most;
            self.price = if untried {
                self.most
            } else {
                self.low.midpoint(self.high)
            };
        } else if actual < self.promised && self.price > 0 {
            self.high = self.price;
            self.price = self.low.midpoint(self.high);
        }
    }
}
