//! A problem under work: plan and bound, improved for as long as the caller has work to spend.

use std::num::NonZeroUsize;

use super::dual::Dual;
use super::improve::{Improver, serve};
use super::index::Index;
use super::problem::{Certificate, JointPlan, JointProblem};
use super::split::{Which, add_splits, serve_all};
use super::state::State;
use crate::problem::InvalidProblem;
use crate::search::{Budget, Meter};

/// Steps of the dual between two tries for a better plan.
const DUAL_STEPS: u32 = 12;

/// Before the first plan.
const FIRST_STEPS: u32 = 2;

/// A bound that falls by less than this part of it does not go on.
const PROGRESS_PART: i128 = 2_000;

/// Sweeps over all nodes in one try.
const SWEEPS: u32 = 3;

/// Steps for taking replicas away in one try.
const REPAIR_STEPS: u64 = 60_000_000;

/// A problem, its best plan so far, and the bound on all plans. A budget that ends early leaves a legal plan and a valid
/// bound; the same problem with the same budgets has the same answer, for any number of threads.
#[derive(Clone, Debug)]
pub struct JointSession {
    pub(super) threads: NonZeroUsize,
    pub(super) index: Index,
    pub(super) state: State,
    pub(super) dual: Dual,
    steps: u64,
    cancelled: bool,
}

impl JointSession {
    /// Indexes a problem; nothing is placed yet, and the bound is all that is asked for.
    ///
    /// # Errors
    /// When the problem means nothing.
    pub fn new(problem: JointProblem, threads: NonZeroUsize) -> Result<Self, InvalidProblem> {
        problem.validate()?;
        let index = Index::new(problem, threads);
        Ok(Self {
            state: State::empty(&index),
            dual: Dual::new(&index),
            steps: 0,
            cancelled: false,
            threads,
            index,
        })
    }

    /// The problem as it is now: events change it.
    #[must_use]
    pub fn problem(&self) -> &JointProblem {
        &self.index.problem
    }

    /// The best plan so far.
    #[must_use]
    pub fn plan(&self) -> JointPlan {
        self.state.plan(&self.index)
    }

    /// How good it is.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        let bound = self.dual.bound(&self.index);
        let value = self.state.value;
        Certificate {
            value,
            bound: bound.max(value),
            demanded: self.index.problem.demanded(),
        }
    }

    /// Steps of work so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether a caller ended some work early.
    #[must_use]
    pub fn was_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Plans and bounds in turn until the gap is `enough`, a part of the bound, or the budget ends.
    pub fn solve(&mut self, enough: f64, budget: &Budget<'_>) {
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        let mut rounds_without = 0;
        while rounds_without < 4 && self.certificate().gap() > enough {
            let before = self.certificate();
            let known = self.certificate().value;
            // The bound leaves enough for a plan.
            let mut bounding = meter.part(1, 3);
            let steps = if known > 0 { DUAL_STEPS } else { FIRST_STEPS };
            self.dual
                .descend(&self.index, self.threads, known, steps, &mut bounding);
            meter.absorb(&bounding);
            self.replan(enough, &mut meter);
            if !meter.spend(0) {
                break;
            }
            let after = self.certificate();
            let descended = (before.bound - after.bound) * PROGRESS_PART > before.bound;
            let progress = descended || after.value > before.value;
            rounds_without = if progress { 0 } else { rounds_without + 1 };
        }
        self.spend(&meter);
    }

    /// Plans from nothing at the dual's prices; where that is not enough, goes on from the best plan. Keeps the better one.
    fn replan(&mut self, enough: f64, meter: &mut Meter<'_>) {
        let mut improver = Improver::default();
        let mut fresh = State::empty(&self.index);
        let prices = self.dual.best.request.clone();
        let first = Some(prices.as_slice());
        let Self {
            index, dual, state, ..
        } = self;
        add_splits(index, &mut fresh, dual, Which::Large, &mut improver, meter);
        improver.sweep(index, &mut fresh, first, meter);
        improve(index, dual, &mut fresh, &mut improver, meter);
        state.grow(index);
        if self.gap_of(fresh.value) > enough {
            let Self {
                index, dual, state, ..
            } = self;
            improve(index, dual, state, &mut improver, meter);
            fresh.grow(index);
        }
        if fresh.value > self.state.value {
            self.state = fresh;
        }
        if self.gap_of(self.state.value) > enough {
            let mut repairing = meter.at_most(REPAIR_STEPS);
            self.repair(&mut improver, &mut repairing);
            meter.absorb(&repairing);
        }
        self.state.drop_idle(&self.index);
        self.state.settle();
    }

    /// The gap of a plan that is worth so much.
    fn gap_of(&self, value: i128) -> f64 {
        let certificate = self.certificate();
        Certificate { value, ..certificate }.gap()
    }

    /// Takes replicas away, one after the other, and plans what that leaves anew; split ones first, which no packing of a
    /// node takes away.
    fn repair(&mut self, improver: &mut Improver, meter: &mut Meter<'_>) {
        for item in self.state.replicas(&self.index) {
            if !meter.spend(self.index.problem.classes.len() as u64) {
                return;
            }
            if !self.state.placed[item as usize] {
                continue;
            }
            let state = &mut self.state;
            let (mark, before) = (state.mark(), state.value);
            let touched = state.withdraw(&self.index, item);
            state.remove(&self.index, item);
            if self.index.items[item as usize].figures.parts.len() > 1 {
                add_splits(&mut self.index, state, &self.dual, Which::All, improver, meter);
            }
            touched.iter().for_each(|class| serve(&self.index, state, *class));
            improver.repack_near(&self.index, state, &touched, meter);
            if state.value <= before {
                state.undo(&self.index, mark);
            }
        }
    }

    /// Counts what was done.
    pub(super) fn spend(&mut self, meter: &Meter<'_>) {
        self.steps += meter.used();
        self.cancelled |= meter.was_cancelled();
    }

    /// More is possible than was, at most by so much.
    pub(super) fn raise_bound(&mut self, by: i128) {
        self.dual.raise(by);
    }

    /// A node's part of the bound is found anew.
    pub(super) fn rebound_node(&mut self, node: usize) {
        self.dual.rebound(&self.index, node);
    }
}

/// Packs every node anew a few times, adds split replicas, and answers who still waits.
fn improve(
    index: &mut Index,
    dual: &Dual,
    state: &mut State,
    improver: &mut Improver,
    meter: &mut Meter<'_>,
) {
    state.grow(index);
    for _ in 0..SWEEPS {
        if !improver.sweep(index, state, None, meter) {
            break;
        }
    }
    add_splits(index, state, dual, Which::All, improver, meter);
    serve_all(index, state);
}
