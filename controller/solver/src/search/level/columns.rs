//! Pipelines to choose from: some for each service, with what they cost by themselves and the memory that they take.

use std::collections::{BTreeMap, BTreeSet};

use super::select::Value;
use super::{Assignment, Level};
use crate::cost::{CostModel, Holdings};
use crate::problem::{Candidate, Mode, Problem, Service};
use crate::search::budget::Meter;
use crate::search::instance::NEVER;
use crate::search::survey::Survey;
use crate::solution::PipelineShape;
use crate::units::VariantOrd;

/// The cheapest pipelines of one stage that each service begins with.
const WHOLE_FIRST: usize = 12;

/// Steps for the bound on split pipelines of one service, at most.
const FLOOR_STEPS: u64 = 20_000_000;

/// Steps for looking at one node.
const NODE_STEPS: u64 = 64;

/// Margin of a service that stays: more than any costs save, and sums of a hundred do not overflow.
const STAYS: u64 = 1 << 57;

/// Bytes on nodes.
pub(super) type Memory = Vec<(u32, f64)>;

/// A pipeline of one service.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) shape: PipelineShape,
    /// Cost beside nobody but services of higher priority: it never costs less.
    pub(super) cost: u64,
    /// Margin that is to be paid because it is not what runs.
    pub(super) switch: u64,
    pub(super) moves: bool,
    /// Memory; weights that several services could share count in equal parts.
    pub(super) charged: Memory,
    /// Memory without weights that several services could share.
    pub(super) unshared: Memory,
}

impl Column {
    pub(super) fn with_switch(&self) -> u64 {
        self.cost.saturating_add(self.switch)
    }
}

/// The columns of all services of a level.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    of: Vec<Vec<Column>>,
    /// Every pipeline of one stage that fits by itself.
    whole: Vec<Vec<Column>>,
    /// What a split pipeline costs at least.
    split_floors: Vec<u64>,
    /// Services of the level that name a candidate.
    sharers: BTreeMap<Candidate, u32>,
}

impl Columns {
    /// No columns, and no bound.
    pub(super) fn empty(level: &Level<'_>) -> Self {
        let mut sharers = BTreeMap::new();
        for position in 0..level.services.len() {
            for candidate in &level.service(position).candidates {
                *sharers.entry(*candidate).or_insert(0) += 1;
            }
            for small in drafting(level.problem, level.service(position)) {
                *sharers.entry(small).or_insert(0) += 1;
            }
        }
        let num = level.services.len();
        Self {
            of: vec![Vec::new(); num],
            whole: vec![Vec::new(); num],
            split_floors: vec![NEVER; num],
            sharers,
        }
    }

    /// Every pipeline of one stage, the best split ones, and bounds on all.
    pub(super) fn new(level: &Level<'_>, meter: &mut Meter<'_>) -> Self {
        let mut columns = Self::empty(level);
        for position in 0..level.services.len() {
            if !meter.spend(NODE_STEPS * level.problem.nodes.len() as u64) {
                // Nobody looked: nothing is known about what the service costs.
                columns.split_floors[position] = 0;
                continue;
            }
            let service = level.service(position);
            let survey = level.survey(position, level.residual);
            columns.whole[position] = survey
                .whole_that_fit()
                .into_iter()
                .map(|priced| columns.priced(level, service, priced.shape, priced.value))
                .collect();
            columns.whole[position]
                .sort_by(|one, other| (one.cost, &one.shape).cmp(&(other.cost, &other.shape)));
            columns.of[position] = columns.whole[position]
                .iter()
                .take(WHOLE_FIRST)
                .cloned()
                .collect();
            if let Some(asked) = split_only(level.service(position)) {
                let survey = Survey::new(level.problem, level.links, &asked, level.residual);
                let (finds, _) = survey.search_within(meter.at_most(FLOOR_STEPS), meter);
                columns.split_floors[position] = finds.lower_bound;
                for priced in &finds.split {
                    columns.add(level, position, &priced.shape);
                }
            }
        }
        columns
    }

    /// Adds the pipelines of an assignment.
    pub(super) fn add_all(&mut self, level: &Level<'_>, assignment: &Assignment) {
        for (position, shape) in assignment.iter().enumerate() {
            if let Some(shape) = shape {
                self.add(level, position, shape);
            }
        }
    }

    /// Adds a pipeline, once.
    pub(super) fn add(&mut self, level: &Level<'_>, position: usize, shape: &PipelineShape) {
        if self.position(position, shape).is_none() {
            let column = self.column(level, position, shape);
            self.of[position].extend(column);
        }
    }

    fn column(&self, level: &Level<'_>, position: usize, shape: &PipelineShape) -> Option<Column> {
        let service = level.service(position);
        let loads = &level.residual.load_milli;
        let cost = CostModel::of_shape(level.problem, level.links, service, shape, loads).evaluate(shape)?;
        Some(self.priced(level, service, shape.clone(), cost.cost.total().0))
    }

    fn priced(&self, level: &Level<'_>, service: &Service, shape: PipelineShape, cost: u64) -> Column {
        let (charged, unshared) = self.memory(level, service, &shape);
        Column {
            shape,
            cost,
            switch: 0,
            moves: false,
            charged,
            unshared,
        }
    }

    /// Memory of a pipeline at least, with weights in equal parts for all who could share them, and without those.
    fn memory(&self, level: &Level<'_>, service: &Service, shape: &PipelineShape) -> (Memory, Memory) {
        let holdings = Holdings::of(level.problem, service, shape);
        let (mut charged, mut unshared) = (Memory::new(), Memory::new());
        for stage in holdings.each(level.problem, shape) {
            let sharers = self.sharers(stage.candidate);
            let node = &level.problem.nodes[stage.node.index()];
            let sharing = level.residual.sharing(stage.node, stage.candidate, stage.layers);
            let held = stage.memory.stage(node, stage.layers, sharing);
            let weights = (held.weights + held.embedding + held.head).0;
            let own = (held.kv_cache + held.compute + held.outputs + held.activations + held.stage).0;
            let with_margin = |bytes: f64| bytes * (1.0 + f64::from(node.engine.margin_milli) / 1_000.0);
            let (weights, own) = (super::prices::as_f64(weights), super::prices::as_f64(own));
            charged.push((stage.node.0, with_margin(own + weights / f64::from(sharers))));
            let sure = if sharers > 1 { own } else { own + weights };
            unshared.push((stage.node.0, with_margin(sure)));
        }
        (charged, unshared)
    }

    /// Services of the level that could share the weights of a candidate.
    pub(super) fn sharers(&self, candidate: Candidate) -> u32 {
        self.sharers.get(&candidate).copied().unwrap_or(1)
    }

    pub(super) fn of(&self, position: usize) -> &[Column] {
        &self.of[position]
    }

    /// Every pipeline of one stage that fits by itself, the cheapest first.
    pub(super) fn whole(&self, position: usize) -> &[Column] {
        &self.whole[position]
    }

    /// What a split pipeline of a service costs at least.
    pub(super) fn split_floor(&self, position: usize) -> u64 {
        self.split_floors[position]
    }

    pub(super) fn position(&self, position: usize, shape: &PipelineShape) -> Option<usize> {
        self.of[position].iter().position(|column| column.shape == *shape)
    }

    /// What a column costs by itself.
    pub(super) fn cost_of(&self, position: usize, shape: &PipelineShape) -> Option<u64> {
        Some(self.of[position][self.position(position, shape)?].cost)
    }

    /// What any pipeline of a service costs at least; [`NEVER`] where it is proven that there is none.
    pub(super) fn floor_of(&self, position: usize) -> u64 {
        let whole = self.whole[position].first().map_or(NEVER, |column| column.cost);
        whole.min(self.split_floors[position])
    }

    /// What all services cost at least that have a pipeline.
    pub(super) fn floor(&self) -> u64 {
        let floors = (0..self.of.len()).map(|position| self.floor_of(position));
        floors.filter(|floor| *floor < NEVER).sum()
    }

    /// Services that are not known to have no pipeline.
    pub(super) fn placeable(&self) -> usize {
        let possible = |position: &usize| self.floor_of(*position) < NEVER || !self.of[*position].is_empty();
        (0..self.of.len()).filter(possible).count()
    }

    /// Makes those that are not what runs dearer by the margin.
    pub(super) fn set_margins(&mut self, level: &Level<'_>, running: &Assignment) {
        for (position, runs) in running.iter().enumerate() {
            let Some(runs) = runs else { continue };
            let Some(cost) = self.cost_of(position, runs) else {
                continue;
            };
            let service = level.service(position);
            let milli = u128::from(service.switching_margin_milli);
            let margin = match service.stays {
                true => STAYS,
                false => u64::try_from(u128::from(cost) * milli / 1_000).unwrap_or(u64::MAX),
            };
            for column in self.of[position]
                .iter_mut()
                .filter(|column| column.shape != *runs)
            {
                (column.switch, column.moves) = (margin, true);
            }
        }
    }

    /// What an assignment is worth with the margins; `None` if it does not fit.
    pub(super) fn value(&self, level: &Level<'_>, assignment: &Assignment) -> Option<Value> {
        let mut value = level.value(assignment)?;
        for (position, shape) in assignment.iter().enumerate() {
            let column = shape.as_ref().and_then(|shape| self.position(position, shape));
            if let Some(column) = column.map(|column| &self.of[position][column]) {
                value.cost = value.cost.saturating_add(column.switch);
                value.moved += u32::from(column.moves);
            }
        }
        Some(value)
    }
}

/// Variants that may draft for a service's candidates, if it may speculate.
fn drafting(problem: &Problem, service: &Service) -> BTreeSet<Candidate> {
    let speculates = service.modes.contains(&Mode::Speculative);
    let candidates = service.candidates.iter().filter(|_| speculates);
    let drafts = candidates.filter_map(|candidate| problem.variant(*candidate).0.draft);
    let variants = drafts.flat_map(|draft| {
        let variants = problem.models[draft.model.index()].variants.len();
        (0..variants).map(move |variant| Candidate {
            model: draft.model,
            variant: VariantOrd::from_index(variant),
        })
    });
    let named = |small: &Candidate| service.candidates.contains(small);
    variants.filter(|small| !named(small)).collect()
}

/// The service as one that may not have the whole model alone on a node; `None` if it may have nothing else.
pub(super) fn split_only(service: &Service) -> Option<Service> {
    let mut asked = service.clone();
    let one_stage = asked.stages_max == Some(1);
    asked
        .modes
        .retain(|mode| mode.has_assistant() || (mode.has_several_stages() && !one_stage));
    (!asked.modes.is_empty()).then_some(asked)
}
