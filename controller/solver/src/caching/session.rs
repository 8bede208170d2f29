//! A problem under work: index, placement and dual, improved for as long as the caller has work to spend.

use std::num::NonZeroUsize;

use super::dual::Dual;
use super::greedy::{GreedyRule, LazyGreedy};
use super::index::Index;
use super::pack::Fill;
use super::placement::{Certificate, Placement};
use super::polish::{Colouring, Polish};
use super::rebuild::{Plan, improve, round};
use super::stock::Stock;
use super::{CachingProblem, Place};
use crate::problem::InvalidProblem;
use crate::search::{Budget, Meter};

/// Nodes of the exact filling per set of families when servers are packed for good.
const FILL_NODES_MAX: u32 = 2_000;

/// Items on a shelf up to which servers are packed exactly; beyond, what a whole item is short of its relaxation is small.
const EXACT_ITEMS_MAX: usize = 150;

/// A problem, its best placement so far, and the bound on all placements.
///
/// Three things are asked in turn, each with its own budget of steps; a budget that ends early leaves a legal placement and a
/// valid bound:
///
/// 1. [`place`](Self::place): lazy greedy by both rules, each polished; the better is kept.
/// 2. [`tighten`](Self::tighten): the bound descends.
/// 3. [`improve`](Self::improve): the dual's solution is rounded, then neighbourhoods are searched, guided by the dual.
///
/// [`prove`](Self::prove) goes on to the optimum where the problem is small, and [`handle`](Self::handle) takes in what changed.
///
/// The same problem with the same budgets has the same answer, for any number of threads.
#[derive(Clone, Debug)]
pub struct CachingSession {
    pub(super) problem: CachingProblem,
    pub(super) threads: NonZeroUsize,
    pub(super) index: Index,
    pub(super) stock: Stock,
    pub(super) value: i64,
    pub(super) dual: Dual,
    /// A bound that was proven otherwise; the largest number if there is none.
    pub(super) proven: i64,
    pub(super) colouring: Colouring,
    pub(super) neighbours: Vec<Vec<u32>>,
    sweeps: u64,
}

impl CachingSession {
    /// Indexes a problem; nothing is stored yet, and the bound is all demand that somebody could serve.
    ///
    /// # Errors
    /// When the problem means nothing.
    pub fn new(problem: CachingProblem, threads: NonZeroUsize) -> Result<Self, InvalidProblem> {
        problem.validate()?;
        Ok(Self::indexed(problem, threads))
    }

    /// Indexes a valid problem; its demands become the rows of the index.
    pub(super) fn indexed(mut problem: CachingProblem, threads: NonZeroUsize) -> Self {
        let index = Index::new(&problem, threads);
        problem.demands = index.rows.iter().map(|row| row.demand()).collect();
        let neighbours = (0..problem.servers.len())
            .map(|server| index.neighbours(&problem, server))
            .collect();
        Self {
            stock: Stock::empty(&index),
            value: 0,
            dual: Dual::new(&index),
            proven: i64::MAX,
            colouring: Colouring::new(&problem, &index),
            neighbours,
            sweeps: 0,
            problem,
            threads,
            index,
        }
    }

    /// The problem as it is now: events change it, and demands that agree in reach and model are one.
    #[must_use]
    pub fn problem(&self) -> &CachingProblem {
        &self.problem
    }

    /// The best placement so far.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.stock.placement(&self.index)
    }

    /// How good it is.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        Certificate {
            value: self.value,
            bound: self.dual.bound(&self.index).min(self.proven).max(self.value),
            demanded: self.index.demanded,
        }
    }

    /// Places by lazy greedy, once by each rule, and polishes both.
    pub fn place(&mut self, budget: &Budget<'_>) {
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        for rule in [GreedyRule::GainPerByte, GreedyRule::Gain] {
            let stock = LazyGreedy(rule).place(&self.index, &mut meter);
            self.offer(stock, &mut meter);
        }
    }

    /// What lazy greedy places by one rule, unpolished.
    #[must_use]
    pub fn greedy(&self, rule: GreedyRule) -> Placement {
        let mut meter = Meter::new(u64::MAX, &|| false);
        LazyGreedy(rule)
            .place(&self.index, &mut meter)
            .placement(&self.index)
    }

    /// Starts from a placement that is known, if it is better than the present one; models that nobody asks for are left
    /// out.
    pub fn start_from(&mut self, placement: &Placement, budget: &Budget<'_>) {
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        self.offer(Stock::of(&self.index, placement), &mut meter);
    }

    /// Lowers the bound by up to so many steps of the dual.
    pub fn tighten(&mut self, dual_steps: u32, budget: &Budget<'_>) {
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        self.dual
            .descend(&self.index, self.threads, self.value, dual_steps, &mut meter);
    }

    /// Rounds the dual's solution once, then searches neighbourhoods until the budget or so many sweeps end, or the
    /// placement is proven to be the best.
    pub fn improve(&mut self, sweeps: u32, budget: &Budget<'_>) {
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        let rounded = round(self.plan(), &mut meter);
        self.offer(rounded, &mut meter);
        for _ in 0..sweeps {
            if !meter.spend(0) || self.certificate().is_exact() {
                return;
            }
            self.sweeps += 1;
            let mut stock = self.stock.clone();
            improve(self.plan(), &mut stock, self.sweeps, &mut meter);
            self.offer(stock, &mut meter);
        }
    }

    fn plan(&self) -> Plan<'_> {
        Plan {
            problem: &self.problem,
            index: &self.index,
            dual: &self.dual,
            neighbours: &self.neighbours,
            threads: self.threads,
        }
    }

    /// Polishes a stock, and keeps it if it is better.
    pub(super) fn offer(&mut self, mut stock: Stock, meter: &mut Meter<'_>) {
        let mut dirty = vec![true; self.index.shelves.len()];
        self.polish().improve(&mut stock, &mut dirty, meter);
        let value = stock.value(&self.index);
        if value > self.value {
            (self.stock, self.value) = (stock, value);
        }
    }

    pub(super) fn polish(&self) -> Polish<'_> {
        Polish {
            problem: &self.problem,
            index: &self.index,
            colouring: &self.colouring,
            fill: self.fill(),
            threads: self.threads,
        }
    }

    fn fill(&self) -> Fill {
        let longest = self.index.shelves.iter().map(|shelf| shelf.models.len()).max();
        if longest.unwrap_or(0) <= EXACT_ITEMS_MAX {
            Fill::Exact(FILL_NODES_MAX)
        } else {
            Fill::Greedy
        }
    }
}
