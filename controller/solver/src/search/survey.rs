//! All that a service could be: candidates, usable nodes, and the pipelines found, with a bound for those that were not.

use super::both_ends::BothEnds;
use super::budget::Meter;
use super::exact::{Priced, beam, prove};
use super::instance::{Element, Form, Instance, NEVER, StageElements, trusts};
use super::labels::StageCount;
use super::regional::{self, Fleet, Sources};
use super::relax::Completion;
use super::residual::Residual;
use super::unsplit::{Attempt, attempts, mode_on};
use crate::cost::CostModel;
use crate::links::LinkIndex;
use crate::problem::{Candidate, Exclusion, Mode, Problem, Service};
use crate::solution::{NodeReason, PipelineShape, StageShape};
use crate::units::{Bytes, LayerRange, NodeOrd};

/// Most nodes among which U-shaped pipelines are searched where regions join them: each pair has an arc of its own.
pub(super) const U_SHAPE_NODES_MAX: usize = 512;

/// What a service asks, and of whom.
pub(crate) struct Survey<'p> {
    pub(super) problem: &'p Problem,
    pub(super) service: &'p Service,
    pub(super) residual: &'p Residual,
    /// Candidates that are good enough.
    pub(crate) candidates: Vec<Candidate>,
    /// Nodes that may be used for something, ascending.
    pub(crate) usable: Vec<NodeOrd>,
    /// Cost of each candidate's pipelines.
    pub(crate) costs: Vec<CostModel<'p>>,
    pub(super) links: &'p LinkIndex,
    /// Why each node is excluded, if it is.
    excluded: Vec<Option<Exclusion>>,
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Finds {
    /// One stage on each node, those that lack memory too.
    pub(super) attempts: Vec<Attempt>,
    /// Several stages, or an assistant: the best that were met, in no order.
    pub(crate) split: Vec<Priced>,
    /// No legal pipeline costs less.
    pub(crate) lower_bound: u64,
    /// Modes with an assistant of which there may be more, since their search ended at its budget.
    pub(super) open: Vec<Mode>,
}

impl Finds {
    /// Every legal pipeline that was met, the cheapest first; ties go to fewer stages, then to smaller ordinals.
    pub(super) fn legal(&self) -> Vec<&Priced> {
        let fitting = self
            .attempts
            .iter()
            .filter(|attempt| attempt.missing.0 == 0)
            .map(|attempt| &attempt.priced);
        let mut legal: Vec<&Priced> = fitting.chain(&self.split).collect();
        legal.sort_by_key(|priced| (priced.value, priced.shape.stages.len(), &priced.shape));
        legal.dedup_by(|one, other| one.shape == other.shape);
        legal
    }
}

impl<'p> Survey<'p> {
    pub(crate) fn new(
        problem: &'p Problem,
        links: &'p LinkIndex,
        service: &'p Service,
        residual: &'p Residual,
    ) -> Self {
        let good = |candidate: &&Candidate| {
            let (model, variant) = problem.variant(**candidate);
            variant.quality_milli >= service.quality_min_milli && model.context_max >= service.context_tokens
        };
        let candidates: Vec<Candidate> = service.candidates.iter().filter(good).copied().collect();
        let model = |&candidate| CostModel::new(problem, links, service, candidate, &residual.load_milli);
        let costs: Vec<_> = candidates.iter().map(model).collect();
        let mut excluded = vec![None; problem.nodes.len()];
        for entry in service.excluded.iter().rev() {
            excluded[entry.node.index()] = Some(entry.why);
        }
        let mut survey = Self {
            problem,
            service,
            residual,
            candidates,
            usable: Vec::new(),
            costs,
            links,
            excluded,
        };
        let all = (0..problem.nodes.len()).map(NodeOrd::from_index);
        survey.usable = all.filter(|&node| survey.refusal(node).is_none()).collect();
        survey
    }

    /// The same service, or nearly, with one candidate whose costs are known; nothing is asked of others.
    pub(super) fn of_one<'s>(
        &'s self,
        service: &'s Service,
        residual: &'s Residual,
        candidate: Candidate,
        cost: CostModel<'s>,
    ) -> Survey<'s> {
        let mut survey = Survey {
            problem: self.problem,
            service,
            residual,
            candidates: vec![candidate],
            usable: Vec::new(),
            costs: vec![cost],
            links: self.links,
            excluded: self.excluded.clone(),
        };
        let all = (0..survey.problem.nodes.len()).map(NodeOrd::from_index);
        survey.usable = all.filter(|&node| survey.refusal(node).is_none()).collect();
        survey
    }

    /// Whether one stage on a node may answer, its memory apart: it is trusted, and its tier's mode is allowed.
    pub(crate) fn may_answer_alone(&self, node: NodeOrd) -> bool {
        self.service.modes.contains(&mode_on(self.problem, node)) && trusts(self.problem, self.service, node)
    }

    /// Whether a node may hold the ends of the model.
    pub(crate) fn trusts(&self, node: NodeOrd) -> bool {
        trusts(self.problem, self.service, node)
    }

    /// Why a node is no use whatever its memory and links.
    pub(super) fn refusal(&self, node: NodeOrd) -> Option<NodeReason> {
        if let Some(why) = self.unusable(node) {
            return Some(why);
        }
        let known = self.candidates.iter().zip(&self.costs);
        let mut known = known.filter(|(_, cost)| cost.knows_speed_of(node)).peekable();
        if known.peek().is_none() {
            return Some(NodeReason::SpeedUnknown);
        }
        let (problem, presence) = (self.problem, &self.residual.presence);
        let free = presence.free_storage(problem, node)?;
        // The least is a layer in the middle, or the whole model; which are stages that have the files too.
        let needs = known.flat_map(|(candidate, _)| {
            let layers = self.problem.variant(*candidate).1.num_layers();
            let middle = LayerRange::new(layers / 2, layers / 2 + 1);
            let ranges = [LayerRange::new(0, layers), middle];
            ranges.map(|range| presence.more_storage(problem, self.service, node, *candidate, &[range]))
        });
        let needed = needs.min().filter(|needed| *needed > free)?;
        Some(NodeReason::StorageTooSmall { free, needed })
    }

    /// The same whatever the model.
    pub(super) fn unusable(&self, node: NodeOrd) -> Option<NodeReason> {
        if let Some(why) = self.excluded[node.index()] {
            return Some(NodeReason::Excluded(why));
        }
        if let Some(term) = self.residual.presence.keeps_away(self.service, node) {
            return Some(NodeReason::Apart(term));
        }
        let described = &self.problem.nodes[node.index()];
        if let Some(battery) = described
            .battery
            .filter(|battery| battery.charge <= battery.reserve)
        {
            return Some(NodeReason::BatteryLow {
                charge: battery.charge,
                reserve: battery.reserve,
            });
        }
        (described.compute_share_milli == 0).then_some(NodeReason::NoCompute)
    }

    /// How many stages a U-shaped pipeline may have; `None` if it is not allowed.
    pub(super) fn u_shape_count(&self) -> Option<StageCount> {
        let most = self.service.stages_max.unwrap_or(u32::MAX);
        let allowed = self.service.modes.contains(&Mode::UShaped) && most >= 3;
        allowed.then_some(StageCount { min: 3, max: most })
    }

    /// Whether a pipeline may have several stages.
    pub(super) fn may_split(&self) -> bool {
        let assisted = self.assisted_modes().next().is_some() && self.service.stages_max != Some(1);
        self.stage_count().is_some() || self.u_shape_count().is_some() || assisted
    }

    /// Whether a candidate can be split.
    pub(super) fn has_splittable(&self) -> bool {
        self.splittable().next().is_some()
    }

    /// Whether there are too many nodes to search U-shaped pipelines.
    pub(super) fn is_too_large_for_u_shape(&self) -> bool {
        !self.problem.regions.is_empty() && self.usable.len() > U_SHAPE_NODES_MAX
    }

    /// The node that may see text and comes nearest to holding a first and a last layer, and what it lacks.
    pub(super) fn nearest_for_both_ends(&self) -> Option<(NodeOrd, Bytes)> {
        let trusted = |node: &&NodeOrd| trusts(self.problem, self.service, **node);
        let lacks = |&node: &NodeOrd| {
            let needs = self.splittable().filter_map(|index| {
                let candidate = self.candidates[index];
                BothEnds::new(self.problem, self.service, candidate, self.residual, node).missing()
            });
            Some((needs.min()?, node))
        };
        let nearest = self.usable.iter().filter(trusted).filter_map(lacks).min();
        nearest.map(|(missing, node)| (node, missing))
    }

    /// How many stages a split pipeline with one stage for each node may have; `None` if it may not be split so.
    pub(super) fn stage_count(&self) -> Option<StageCount> {
        let most = self.service.stages_max.unwrap_or(u32::MAX);
        let split = self.service.modes.contains(&Mode::Split) && most >= 2;
        let hops = self.service.modes.contains(&Mode::MultiHop) && most >= 3;
        match (split, hops) {
            (true, true) => Some(StageCount { min: 2, max: most }),
            (true, false) => Some(StageCount { min: 2, max: 2 }),
            (false, true) => Some(StageCount { min: 3, max: most }),
            (false, false) => None,
        }
    }

    /// Candidates that may be split, by position.
    fn splittable(&self) -> impl Iterator<Item = usize> {
        let splittable = |&index: &usize| self.problem.variant(self.candidates[index]).0.splittable;
        (0..self.candidates.len()).filter(splittable)
    }

    pub(super) fn instance(&self, index: usize, form: Form) -> Instance<'_> {
        let (candidate, cost) = (self.candidates[index], &self.costs[index]);
        Instance::new(
            self.problem,
            self.links,
            self.service,
            candidate,
            cost,
            self.residual,
            &self.usable,
            form,
        )
    }

    fn attempts(&self) -> Vec<Attempt> {
        (0..self.candidates.len())
            .flat_map(|index| self.attempts_of(index))
            .collect()
    }

    fn attempts_of(&self, index: usize) -> Vec<Attempt> {
        attempts(
            self.problem,
            self.service,
            self.candidates[index],
            &self.costs[index],
            self.residual,
            &self.usable,
        )
    }

    /// A candidate as one stage.
    pub(super) fn whole_on(&self, index: usize, node: NodeOrd) -> PipelineShape {
        let candidate = self.candidates[index];
        let layers = LayerRange::new(0, self.problem.variant(candidate).1.num_layers());
        whole_on(candidate, layers, node)
    }

    /// Every pipeline of one stage that fits.
    pub(super) fn whole_that_fit(&self) -> Vec<Priced> {
        let fitting = self
            .attempts()
            .into_iter()
            .filter(|attempt| attempt.missing.0 == 0);
        fitting.map(|attempt| attempt.priced).collect()
    }

    /// Nodes that can answer alone with a candidate, and what the stage adds.
    pub(super) fn alone(&self, index: usize) -> Vec<(NodeOrd, Element)> {
        let num_layers = self.problem.variant(self.candidates[index]).1.num_layers();
        let fitting = self
            .attempts_of(index)
            .into_iter()
            .filter(|attempt| attempt.missing.0 == 0);
        let stage = |attempt: Attempt| {
            let parts = self.costs[index].stage_parts(attempt.node)?;
            let elements = StageElements::of(&self.costs[index], &parts);
            Some((attempt.node, elements.stage(0, num_layers, num_layers)))
        };
        fitting.filter_map(stage).collect()
    }

    /// Whether any pipeline is found, without looking for the best.
    pub(super) fn finds_any(&self, meter: &mut Meter<'_>) -> bool {
        if self.attempts().iter().any(|attempt| attempt.missing.0 == 0) {
            return true;
        }
        let chains = self.stage_count().is_some_and(|count| {
            if self.problem.regions.is_empty() {
                return self.finds_any_of(Form::Chain, count, meter);
            }
            let mut finds = Finds {
                lower_bound: NEVER,
                ..Finds::default()
            };
            self.search_regions(count, &mut finds, meter);
            !finds.split.is_empty()
        });
        let u_shaped =
            |count| !self.is_too_large_for_u_shape() && self.finds_any_of(Form::UShape, count, meter);
        if chains || self.u_shape_count().is_some_and(u_shaped) {
            return true;
        }
        let mut assisted = self.assisted_modes();
        assisted.any(|mode| !self.search_assisted(mode, true, meter).found.is_empty())
    }

    fn finds_any_of(&self, form: Form, count: StageCount, meter: &mut Meter<'_>) -> bool {
        self.splittable().any(|index| {
            if !meter.spend(self.problem.links.len() as u64) {
                return false;
            }
            let instance = self.instance(index, form);
            let Some(completion) = Completion::new(&instance, None, meter) else {
                return false;
            };
            !beam(&instance, &completion, count, meter).is_empty()
        })
    }

    /// The same as [`search`](Self::search) within a part of a meter, which is charged for it. Also the steps that it took.
    pub(crate) fn search_within<'m>(&self, mut part: Meter<'m>, meter: &mut Meter<'m>) -> (Finds, u64) {
        let finds = self.search(&mut part);
        meter.absorb(&part);
        (finds, part.used())
    }

    /// Looks for the best pipeline: one stage anywhere, then chains of several, then U-shaped ones, then those with an
    /// assistant.
    pub(crate) fn search(&self, meter: &mut Meter<'_>) -> Finds {
        let mut finds = Finds {
            attempts: self.attempts(),
            lower_bound: NEVER,
            ..Finds::default()
        };
        let u_shaped = self.u_shape_count();
        let assisted: Vec<Mode> = self.assisted_modes().collect();
        let mut left = assisted.len() as u64 + u64::from(u_shaped.is_some());
        if let Some(count) = self.stage_count() {
            let mut part = meter.part(1, 1 + left);
            if self.problem.regions.is_empty() {
                self.search_arcs(Form::Chain, count, &mut finds, &mut part);
            } else {
                self.search_regions(count, &mut finds, &mut part);
            }
            meter.absorb(&part);
        }
        if let Some(count) = u_shaped {
            if self.is_too_large_for_u_shape() {
                finds.lower_bound = 0;
            } else {
                let mut part = meter.part(1, left);
                self.search_arcs(Form::UShape, count, &mut finds, &mut part);
                meter.absorb(&part);
            }
            left -= 1;
        }
        for mode in assisted {
            let mut part = meter.part(1, left);
            let of_mode = self.search_assisted(mode, false, &mut part);
            meter.absorb(&part);
            finds.lower_bound = finds.lower_bound.min(of_mode.lower_bound);
            finds.open.extend((of_mode.lower_bound < NEVER).then_some(mode));
            finds.split.extend(of_mode.found);
            left -= 1;
        }
        self.bounded(finds)
    }

    /// What the modes would give that are only told.
    pub(super) fn search_told(&self, meter: &mut Meter<'_>) -> Finds {
        let modes = self.service.told_modes.iter().filter(|mode| mode.has_assistant());
        let mut told = Finds::default();
        for (done, &mode) in modes.clone().enumerate() {
            let mut part = meter.part(1, (modes.clone().count() - done) as u64);
            let of_mode = self.search_assisted(mode, false, &mut part);
            told.open.extend((of_mode.lower_bound < NEVER).then_some(mode));
            told.split.extend(of_mode.found);
            meter.absorb(&part);
        }
        told
    }

    /// Beams for every candidate, then the proof.
    fn search_arcs(&self, form: Form, count: StageCount, finds: &mut Finds, meter: &mut Meter<'_>) {
        let mut prepared = Vec::new();
        for index in self.splittable() {
            let instance = self.instance(index, form);
            if let Some(completion) = Completion::new(&instance, None, meter) {
                // Beams of both kinds and of every candidate may take a quarter of the budget between them.
                let mut part = meter.part(1, 4 * self.candidates.len() as u64);
                for kind in kinds(count) {
                    finds.split.extend(beam(&instance, &completion, kind, &mut part));
                }
                meter.absorb(&part);
                let bounds = (0..instance.num_nodes()).map(|head| completion.bound(&instance, head));
                prepared.push((bounds.min().unwrap_or(NEVER), instance, completion));
            } else {
                finds.lower_bound = 0;
            }
        }
        prepared.sort_by_key(|prepared| prepared.0);
        for (bound, instance, completion) in &prepared {
            let limit = finds.legal().first().map_or(NEVER, |best| best.value);
            if *bound >= limit {
                continue;
            }
            let proof = prove(instance, completion, count, limit, meter);
            finds.lower_bound = finds.lower_bound.min(proof.lower_bound);
            finds.split.extend(proof.best);
        }
    }

    /// Every splittable candidate in turn, each with an equal share of what is left of the budget.
    fn search_regions(&self, count: StageCount, finds: &mut Finds, meter: &mut Meter<'_>) {
        let splittable: Vec<usize> = self.splittable().collect();
        for (position, &index) in splittable.iter().enumerate() {
            let sources = self.sources(index);
            let Some(fleet) = Fleet::new(&sources, &self.costs[index], self.residual, &self.usable) else {
                finds.lower_bound = 0;
                continue;
            };
            let mut part = meter.part(1, (splittable.len() - position) as u64);
            let mut of = |count: StageCount, limit: u64| {
                regional::search(
                    &sources,
                    &self.costs[index],
                    self.residual,
                    &fleet,
                    count,
                    limit,
                    &mut part,
                )
            };
            let limit = finds.legal().first().map_or(NEVER, |best| best.value);
            let outcome = of(count, limit);
            finds.lower_bound = finds.lower_bound.min(outcome.lower_bound);
            finds.split.extend(outcome.found);
            // The report has the best of each mode.
            for kind in kinds(count).filter(|_| count.min == 2 && count.max > 2) {
                let has = |priced: &Priced| {
                    (kind.min as usize..=kind.max as usize).contains(&priced.shape.stages.len())
                };
                if !finds.split.iter().any(has) && fleet.may_have(kind.max) {
                    finds.split.extend(of(kind, NEVER).found);
                }
            }
            meter.absorb(&part);
        }
    }

    pub(super) fn sources(&self, index: usize) -> Sources<'_> {
        Sources {
            problem: self.problem,
            links: self.links,
            service: self.service,
            candidate: self.candidates[index],
        }
    }

    /// One stage is searched exhaustively, so the best of it bounds too.
    fn bounded(&self, mut finds: Finds) -> Finds {
        let best = finds.legal().first().map_or(NEVER, |best| best.value);
        finds.lower_bound = finds.lower_bound.min(best);
        finds
    }
}

/// A model variant as one stage.
pub(super) fn whole_on(candidate: Candidate, layers: LayerRange, node: NodeOrd) -> PipelineShape {
    let stage = StageShape {
        node,
        layers,
        activation: None,
    };
    PipelineShape::alone(candidate, vec![stage])
}

/// Two stages and more are searched apart, so that the report has both.
fn kinds(count: StageCount) -> impl Iterator<Item = StageCount> {
    let two = (count.min <= 2).then_some(StageCount { min: 2, max: 2 });
    let more = (count.max > 2).then_some(StageCount {
        min: 3,
        max: count.max,
    });
    two.into_iter().chain(more)
}
