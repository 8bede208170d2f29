//! The best choice of one column for each service, by branch and bound.
//!
//! A choice is built service by service in the order in which costs count, so that each one's cost is that beside those
//! before it. A branch ends when what it costs, with the least that the others can cost at the prices of memory, is no
//! better than the best choice.

use super::columns::{Column, Columns};
use super::prices::Prices;
use super::{Assignment, Level};
use crate::search::budget::Meter;
use crate::search::residual::Residual;

/// Steps for one column that is tried: once, and for each node whose figures are copied.
const STEPS: u64 = 64;
const NODE_STEPS: u64 = 8;

/// What a choice is worth: the less, the better, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value {
    /// Services without a pipeline.
    pub(super) unplaced: u32,
    /// Sum of costs, switching margins included where they count.
    pub(super) cost: u64,
    /// Services that leave what runs.
    pub(super) moved: u32,
}

impl Value {
    pub(super) const WORST: Self = Self {
        unplaced: u32::MAX,
        cost: u64::MAX,
        moved: u32::MAX,
    };
}

/// A column for each service that has one.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    picks: Vec<Option<usize>>,
    pub(super) value: Value,
}

impl Chosen {
    /// An assignment whose pipelines are all columns.
    pub(super) fn of(columns: &Columns, assignment: &Assignment, value: Value) -> Self {
        let pick = |(position, shape): (usize, &Option<_>)| columns.position(position, shape.as_ref()?);
        Self {
            picks: assignment.iter().enumerate().map(pick).collect(),
            value,
        }
    }

    pub(super) fn assignment(&self, columns: &Columns) -> Assignment {
        let shape = |(position, pick): (usize, &Option<usize>)| {
            pick.map(|pick| columns.of(position)[pick].shape.clone())
        };
        self.picks.iter().enumerate().map(shape).collect()
    }
}

/// The best choice among the columns, or the best until the budget ends; never worse than `start`.
pub(super) fn select(
    level: &Level<'_>,
    columns: &Columns,
    prices: &Prices,
    start: Chosen,
    meter: &mut Meter<'_>,
) -> Chosen {
    let mut search = Search {
        level,
        columns,
        prices,
        order: Vec::new(),
        rest: vec![Rest::default(); level.services.len() + 1],
        picks: vec![None; level.services.len()],
        best: start,
    };
    search.prepare();
    let mut residual = level.residual.clone();
    search.branch(0, &mut residual, Value::default(), meter);
    search.best
}

/// The least that the services from some position on cost.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    plain: u64,
    /// With the memory that they need at its prices.
    priced: f64,
    /// How many of them have a column at all.
    placeable: u32,
}

struct Search<'a, 'p> {
    level: &'a Level<'p>,
    columns: &'a Columns,
    prices: &'a Prices,
    /// Columns of each service in the order in which they are tried.
    order: Vec<Vec<usize>>,
    rest: Vec<Rest>,
    picks: Vec<Option<usize>>,
    best: Chosen,
}

impl Search<'_, '_> {
    fn prepare(&mut self) {
        for position in 0..self.level.services.len() {
            let columns = self.columns.of(position);
            let mut order: Vec<usize> = (0..columns.len()).collect();
            order.sort_by(|one, other| {
                let (one, other) = (&columns[*one], &columns[*other]);
                let priced = |column: &Column| self.priced(column);
                priced(one)
                    .total_cmp(&priced(other))
                    .then((one.switch, &one.shape).cmp(&(other.switch, &other.shape)))
            });
            self.order.push(order);
        }
        for position in (0..self.level.services.len()).rev() {
            let after = self.rest[position + 1];
            let columns = self.columns.of(position);
            let plain = columns.iter().map(Column::with_switch).min();
            let priced = columns.iter().map(|column| self.priced(column)).reduce(f64::min);
            self.rest[position] = Rest {
                plain: after.plain.saturating_add(plain.unwrap_or(0)),
                priced: after.priced + priced.unwrap_or(0.0),
                placeable: after.placeable + u32::from(!columns.is_empty()),
            };
        }
    }

    /// What a column costs at the prices, where memory counts that nobody else can hold in its place.
    fn priced(&self, column: &Column) -> f64 {
        super::prices::as_f64(column.with_switch()) + self.prices.of(&column.unshared)
    }

    fn branch(&mut self, position: usize, residual: &mut Residual, value: Value, meter: &mut Meter<'_>) {
        if position == self.level.services.len() {
            if value < self.best.value {
                self.best.value = value;
                self.best.picks.clone_from(&self.picks);
            }
            return;
        }
        for at in 0..self.order[position].len() {
            if !meter.spend(STEPS + NODE_STEPS * self.level.problem.nodes.len() as u64) {
                return;
            }
            let pick = self.order[position][at];
            let mut after = residual.clone();
            let column = &self.columns.of(position)[pick];
            let Some(cost) = self.level.admit(&mut after, position, &column.shape) else {
                continue;
            };
            let value = Value {
                cost: value.cost.saturating_add(cost).saturating_add(column.switch),
                moved: value.moved + u32::from(column.moves),
                ..value
            };
            if self.may_be_better(position + 1, &after, value) {
                self.picks[position] = Some(pick);
                self.branch(position + 1, &mut after, value, meter);
            }
        }
        let without = Value {
            unplaced: value.unplaced + 1,
            ..value
        };
        if self.may_be_better(position + 1, residual, without) {
            self.picks[position] = None;
            self.branch(position + 1, residual, without, meter);
        }
    }

    /// Whether a branch could end with less than the best: services that have no column are not placed in any.
    fn may_be_better(&self, position: usize, residual: &Residual, value: Value) -> bool {
        let rest = &self.rest[position];
        let left = u32::try_from(self.level.services.len() - position).unwrap_or(u32::MAX);
        let unplaced = value.unplaced + (left - rest.placeable);
        let best = self.best.value;
        if unplaced != best.unplaced {
            return unplaced < best.unplaced;
        }
        // As many as in the best are placed only if all that are left and can be are.
        let plain = value.cost.saturating_add(rest.plain);
        let room = self.prices.room(self.level.problem, residual);
        let priced = super::prices::as_f64(value.cost) + rest.priced - room;
        let least = plain.max(super::prices::below(priced));
        (least, value.moved) < (best.cost, best.moved)
    }
}
