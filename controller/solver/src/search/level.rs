//! Services of one priority, together: one pipeline each, such that as many as possible have one, and all of them cost
//! least in sum.
//!
//! ```text
//! sequence ─▶ columns ◀─ prices ─▶ select ─▶ best ─▶ stay ─▶ outcomes
//!                          └─▶ bound: certificate
//! ```
//!
//! 1. `sequence`: one after the other, each the best beside those before it. Where nobody is in anybody's way, this is
//!    proven to be the best, and the work ends here.
//! 2. `prices`: a price on memory of each node (Lagrangian relaxation). At any prices the sum of everybody's cheapest
//!    pipeline, less what the memory there is would earn, bounds all choices. The pipelines that are cheapest at some prices
//!    are the columns (Dantzig and Wolfe).
//! 3. `select`: the best choice of one column for each service, by branch and bound with the same prices.
//! 4. `stay`: what runs is kept where leaving it saves less than the switching margins.
//!
//! Deterministic; the first three steps do not look at what runs, so an answer that is handed back is given again.

mod columns;
mod prices;
mod report;
mod select;

use super::budget::Meter;
use super::choose::choose;
use super::residual::Residual;
use super::survey::{Finds, Survey};
use crate::check::{Occupancy, check_pipeline};
use crate::cost::CostModel;
use crate::links::LinkIndex;
use crate::problem::{Problem, Service};
use crate::solution::{Illegality, LevelCertificate, MemoryPrice, Outcome, PipelineShape};
use crate::units::{Nanos, NodeOrd, ServiceOrd};
use columns::Columns;
use prices::Prices;
use select::{Chosen, Value};

/// A pipeline for each service that has one.
pub(super) type Assignment = Vec<Option<PipelineShape>>;

/// Orders in which services are placed one after the other, at most: each puts those first that fared worst.
const SEQUENCES_MAX: usize = 5;

/// Prices that are reported, the highest.
const PRICES_MAX: usize = 8;

/// The services of one priority, in the order in which their costs are counted, and what is left for them.
pub(super) struct Level<'p> {
    pub(super) problem: &'p Problem,
    pub(super) links: &'p LinkIndex,
    pub(super) services: Vec<ServiceOrd>,
    pub(super) residual: &'p Residual,
    pub(super) occupancy: &'p Occupancy,
}

/// What became of a level.
pub(super) struct Answer {
    pub(super) outcomes: Vec<(ServiceOrd, Outcome)>,
    pub(super) residual: Residual,
    pub(super) occupancy: Occupancy,
    pub(super) certificate: LevelCertificate,
}

/// A service's turn in the first sequence.
#[derive(Debug)]
struct Turn {
    shape: Option<PipelineShape>,
    finds: Finds,
    steps: u64,
}

/// The best choice and its bound.
struct Best {
    assignment: Assignment,
    value: Value,
    lower_bound: u64,
    prices: Prices,
    columns: Columns,
}

impl<'p> Level<'p> {
    /// Places the services.
    pub(super) fn solve(&self, meter: &mut Meter<'_>) -> Answer {
        let steps_before = meter.used();
        let alone = self.services.len() == 1;
        let mut sequencing = if alone { meter.part(3, 4) } else { meter.part(1, 2) };
        let turns = self.first_sequence(&mut sequencing);
        meter.absorb(&sequencing);
        let mut improving = meter.part(1, 2);
        let best = if alone {
            self.of_one(&turns)
        } else {
            self.improve(&turns, &mut improving)
        };
        meter.absorb(&improving);
        let mut staying = meter.part(1, 2);
        let chosen = self.stay(&best, &mut staying);
        meter.absorb(&staying);
        let (outcomes, residual, occupancy) = self.report(&best.assignment, &chosen, turns, meter);
        let certificate = LevelCertificate {
            priority: self.service(0).priority,
            services: count(self.services.len()),
            placed: count(self.services.len()) - best.value.unplaced,
            placeable: count(best.columns.placeable()),
            best: Nanos(best.value.cost),
            lower_bound: Nanos(best.lower_bound.min(best.value.cost)),
            prices: dearest(&best.prices),
            steps: meter.used() - steps_before,
        };
        Answer {
            outcomes,
            residual,
            occupancy,
            certificate,
        }
    }

    fn service(&self, position: usize) -> &'p Service {
        &self.problem.services[self.services[position].index()]
    }

    fn survey<'s>(&'s self, position: usize, residual: &'s Residual) -> Survey<'s> {
        Survey::new(self.problem, self.links, self.service(position), residual)
    }

    /// In this order each takes its best beside those before it. What runs is not looked at.
    fn sequence(&self, order: &[usize], meter: &mut Meter<'_>) -> Vec<(usize, Turn)> {
        let mut residual = self.residual.clone();
        let mut turns = Vec::with_capacity(order.len());
        for (done, &position) in order.iter().enumerate() {
            let part = meter.part(1, (order.len() - done) as u64);
            let (finds, steps) = self.survey(position, &residual).search_within(part, meter);
            let shape = finds.legal().first().map(|best| best.shape.clone());
            if let Some(shape) = &shape {
                self.admit(&mut residual, position, shape);
            }
            turns.push((position, Turn { shape, finds, steps }));
        }
        turns
    }

    /// The turns of the order in which costs are counted.
    fn first_sequence(&self, meter: &mut Meter<'_>) -> Vec<Turn> {
        let order: Vec<usize> = (0..self.services.len()).collect();
        let turns = self.sequence(&order, meter).into_iter();
        turns.map(|(_, turn)| turn).collect()
    }

    /// A service by itself: its best is the best.
    fn of_one(&self, turns: &[Turn]) -> Best {
        let mut columns = Columns::empty(self);
        let best = turns[0].finds.legal().first().map(|best| best.value);
        if let Some(shape) = &turns[0].shape {
            columns.add(self, 0, shape);
        }
        Best {
            assignment: vec![turns[0].shape.clone()],
            value: Value {
                unplaced: u32::from(best.is_none()),
                cost: best.unwrap_or(0),
                moved: 0,
            },
            lower_bound: best.map_or(0, |_| turns[0].finds.lower_bound),
            prices: Prices::none(self),
            columns,
        }
    }

    /// The best choice that the budget allows, at least as good as the first sequence.
    fn improve(&self, turns: &[Turn], meter: &mut Meter<'_>) -> Best {
        let assignment: Assignment = turns.iter().map(|turn| turn.shape.clone()).collect();
        let mut columns = Columns::new(self, meter);
        columns.add_all(self, &assignment);
        let value = self.value(&assignment).unwrap_or(Value::WORST);
        let mut best = Best {
            lower_bound: columns.floor(),
            prices: Prices::none(self),
            assignment,
            value,
            columns,
        };
        if best.is_proven() {
            return best;
        }
        self.resequence(&mut best, meter);
        if best.is_proven() {
            return best;
        }
        let mut pricing = meter.part(1, 2);
        let (prices, bound) = prices::descend(self, &mut best.columns, best.value.cost, &mut pricing);
        meter.absorb(&pricing);
        (best.lower_bound, best.prices) = (best.lower_bound.max(bound), prices);
        let start = Chosen::of(&best.columns, &best.assignment, best.value);
        let chosen = select::select(self, &best.columns, &best.prices, start, meter);
        if chosen.value < best.value {
            best.assignment = chosen.assignment(&best.columns);
            best.value = chosen.value;
        }
        best
    }

    /// Places the services in other orders: first those that lost most by their place in the last one.
    fn resequence(&self, best: &mut Best, meter: &mut Meter<'_>) {
        let mut order: Vec<usize> = (0..self.services.len()).collect();
        let mut last = best.assignment.clone();
        let mut tried = vec![order.clone()];
        for _ in 1..SEQUENCES_MAX {
            let lost = |position: &usize| match &last[*position] {
                None => u64::MAX,
                Some(shape) => {
                    let cost = best.columns.cost_of(*position, shape).unwrap_or(u64::MAX);
                    cost.saturating_sub(best.columns.floor_of(*position))
                }
            };
            // Stable: who lost nothing stays behind those who stood before it.
            order.sort_by_key(|position| std::cmp::Reverse(lost(position)));
            if tried.contains(&order) || !meter.spend(0) {
                return;
            }
            tried.push(order.clone());
            let mut part = meter.part(1, 4);
            for (position, turn) in self.sequence(&order, &mut part) {
                last[position] = turn.shape;
            }
            meter.absorb(&part);
            best.columns.add_all(self, &last);
            if let Some(value) = self.value(&last).filter(|value| *value < best.value) {
                (best.assignment, best.value) = (last.clone(), value);
            }
            if best.is_proven() {
                return;
            }
        }
    }

    /// What to run: the best choice, but for what runs and is not worth leaving.
    fn stay(&self, best: &Best, meter: &mut Meter<'_>) -> Assignment {
        let runs = |position: usize| self.service(position).previous.as_ref();
        let as_before = |position: usize| best.assignment[position].as_ref() == runs(position);
        let positions = 0..self.services.len();
        if positions
            .clone()
            .all(|position| runs(position).is_none() || as_before(position))
        {
            return best.assignment.clone();
        }
        let mut columns = Columns::empty(self);
        columns.add_all(self, &best.assignment);
        let legal = |position: usize| {
            runs(position).filter(|shape| self.illegality(position, shape, self.occupancy).is_none())
        };
        let running: Assignment = positions.map(|position| legal(position).cloned()).collect();
        columns.add_all(self, &running);
        if self.services.len() > 1 {
            columns.add_all(self, &self.sequence_from(&running, meter));
        }
        columns.set_margins(self, &running);
        let value = columns.value(self, &best.assignment).unwrap_or(Value::WORST);
        let mut start = Chosen::of(&columns, &best.assignment, value);
        if let Some(value) = columns.value(self, &running).filter(|value| *value < start.value) {
            start = Chosen::of(&columns, &running, value);
        }
        let chosen = select::select(self, &columns, &Prices::none(self), start, meter);
        chosen.assignment(&columns)
    }

    /// One after the other, each keeping what runs unless that is worse by its margin.
    fn sequence_from(&self, running: &Assignment, meter: &mut Meter<'_>) -> Assignment {
        let (mut residual, mut occupancy) = (self.residual.clone(), self.occupancy.clone());
        let mut assignment = Assignment::with_capacity(running.len());
        for position in 0..running.len() {
            let part = meter.part(1, (running.len() - position) as u64);
            let survey = self.survey(position, &residual);
            let (finds, _) = survey.search_within(part, meter);
            let illegal = |shape: &PipelineShape| self.illegality(position, shape, &occupancy);
            let chosen = choose(&survey, finds.legal().first().copied(), illegal);
            let shape = chosen.map(|(shape, _)| shape);
            if let Some(shape) = &shape {
                self.admit(&mut residual, position, shape);
                occupancy.admit(self.services[position], shape.clone());
            }
            assignment.push(shape);
        }
        assignment
    }

    fn illegality(&self, position: usize, shape: &PipelineShape, beside: &Occupancy) -> Option<Illegality> {
        check_pipeline(self.problem, self.services[position], shape, beside)
            .into_iter()
            .next()
    }

    /// What a pipeline costs beside what `residual` says, which then has it too; `None` if it does not fit.
    fn admit(&self, residual: &mut Residual, position: usize, shape: &PipelineShape) -> Option<u64> {
        let service = self.service(position);
        let cost = CostModel::of_shape(self.problem, self.links, service, shape, &residual.load_milli);
        let evaluation = cost.evaluate(shape)?;
        residual
            .admit(self.problem, service, shape, &evaluation)
            .then(|| evaluation.cost.total().0)
    }

    /// What a choice is worth; `None` if it does not fit.
    fn value(&self, assignment: &Assignment) -> Option<Value> {
        let mut residual = self.residual.clone();
        let mut value = Value::default();
        for (position, shape) in assignment.iter().enumerate() {
            match shape {
                None => value.unplaced += 1,
                Some(shape) => {
                    let cost = self.admit(&mut residual, position, shape)?;
                    value.cost = value.cost.saturating_add(cost);
                }
            }
        }
        Some(value)
    }
}

impl Best {
    /// Whether no choice is better: everybody who could be placed is, and costs no more than the bound.
    fn is_proven(&self) -> bool {
        let placed = self.assignment.iter().flatten().count();
        placed == self.columns.placeable() && self.value.cost <= self.lower_bound
    }
}

/// The highest prices.
fn dearest(prices: &Prices) -> Vec<MemoryPrice> {
    let mut priced: Vec<MemoryPrice> = (0..)
        .zip(&prices.by_byte)
        .filter_map(|(node, by_byte)| {
            let per_gibibyte = prices::whole(by_byte * f64::from(1 << 30));
            (per_gibibyte > 0).then_some(MemoryPrice {
                node: NodeOrd(node),
                per_gibibyte: Nanos(per_gibibyte),
            })
        })
        .collect();
    priced.sort_by_key(|price| (std::cmp::Reverse(price.per_gibibyte), price.node));
    priced.truncate(PRICES_MAX);
    priced
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
