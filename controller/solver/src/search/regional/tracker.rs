//! One service of a fleet in regions, answered again and again while its links change.
//!
//! Keeps groups, tables and sorted hops; a change of an access link touches one group, one of a backbone the hops between
//! two regions. The answer costs what a fresh solve's costs.

use std::fmt;

use super::super::budget::{Budget, Meter};
use super::super::exact::Priced;
use super::super::instance::{Element, NEVER, Objective};
use super::super::labels::StageCount;
use super::super::residual::Residual;
use super::super::survey::Survey;
use super::aim::Aim;
use super::fleet::{Fleet, Sources, separate_ingress};
use super::pass::Pass;
use super::settle::Realiser;
use super::{Outcome, Search, levels};
use crate::cost::{MemoryModel, Weights, Wire};
use crate::links::LinkIndex;
use crate::problem::{Access, Backbone, Candidate, InvalidProblem, Problem};
use crate::solution::{Certificate, PipelineShape, StageShape};
use crate::units::{LayerRange, Nanos, NodeOrd, ServiceOrd};

/// New figures of a link that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// A node's access, in the region where it is.
    Access(Access),
    /// A backbone.
    Backbone(Backbone),
}

/// A change that cannot be tracked: the problem has to be solved afresh, or corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidChange {
    /// The node has no access, or has it to another region.
    NoSuchAccess(NodeOrd),
    /// No such backbone is in the problem.
    NoSuchBackbone,
    /// A rate is zero.
    ZeroRate,
}

impl fmt::Display for InvalidChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchAccess(node) => write!(f, "node {} has no access to this region", node.0),
            Self::NoSuchBackbone => f.write_str("the problem has no backbone between these regions"),
            Self::ZeroRate => f.write_str("a rate is zero, where one above zero is expected"),
        }
    }
}

impl std::error::Error for InvalidChange {}

/// The best pipeline, whatever ran before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The pipeline; none if none was found.
    pub shape: Option<PipelineShape>,
    /// Its cost and the bound. Without a pipeline, both are the greatest number if that is proven.
    pub certificate: Certificate,
}

/// A service whose links change.
#[derive(Clone, Debug)]
pub struct Tracker {
    problem: Problem,
    service: ServiceOrd,
    links: LinkIndex,
    residual: Residual,
    count: Option<StageCount>,
    candidates: Vec<Tracked>,
}

/// What is kept of a candidate.
#[derive(Clone, Debug)]
struct Tracked {
    candidate: Candidate,
    objective: Objective,
    weights: Weights,
    wire: Wire,
    /// Nodes that can answer alone, with what the stage adds.
    alone: Vec<(NodeOrd, Element)>,
    /// None if it may not be split or has too many groups to be bounded.
    fleet: Option<(Fleet, Pass)>,
    bounded: bool,
    /// The last answer of several stages: mostly still the best, so nothing dearer is looked at.
    last: Option<PipelineShape>,
}

impl Tracker {
    /// Prepares one service of a problem as if it were the only one.
    ///
    /// # Errors
    /// When the problem means nothing ([`Problem::validate`]), or the service allows U-shaped pipelines.
    ///
    /// # Panics
    /// When the service is not one of the problem's.
    pub fn new(problem: Problem, service: ServiceOrd) -> Result<Self, InvalidProblem> {
        problem.validate()?;
        problem.with_chains_only(service)?;
        let links = LinkIndex::new(&problem);
        let residual = Residual::new(&problem);
        let survey = Survey::new(&problem, &links, &problem.services[service.index()], &residual);
        let count = survey.stage_count();
        let candidates = (0..survey.candidates.len())
            .map(|index| Tracked::new(&survey, index, count))
            .collect();
        Ok(Self {
            candidates,
            count,
            residual,
            links,
            service,
            problem,
        })
    }

    /// The problem as it stands after all changes.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Takes in new figures of a link.
    ///
    /// # Errors
    /// When there is no such link, or it would carry nothing; nothing is changed then.
    pub fn change(&mut self, change: &LinkChange) -> Result<(), InvalidChange> {
        match change {
            LinkChange::Access(access) => self.change_access(access),
            LinkChange::Backbone(backbone) => self.change_backbone(backbone),
        }
    }

    fn change_access(&mut self, access: &Access) -> Result<(), InvalidChange> {
        if access.up.rate.0 == 0 || access.down.rate.0 == 0 {
            return Err(InvalidChange::ZeroRate);
        }
        let same = |other: &&mut Access| other.node == access.node && other.region == access.region;
        let known = self.problem.regions.access.iter_mut().find(same);
        *known.ok_or(InvalidChange::NoSuchAccess(access.node))? = *access;
        let ingress = &self.problem.services[self.service.index()].ingress;
        let enters = ingress.iter().any(|entry| entry.node == access.node);
        self.refresh(|fleet, separate| {
            let own: Vec<usize> = fleet.group_of(access.node).into_iter().collect();
            let all: Vec<usize> = (0..fleet.groups.len()).collect();
            let single = own.iter().any(|&group| fleet.is_single(group));
            Touched {
                groups: if enters && !separate {
                    all.clone()
                } else {
                    own.clone()
                },
                entries: if enters { all.clone() } else { own.clone() },
                hops: if single { pairs(&own, &all) } else { Vec::new() },
            }
        });
        Ok(())
    }

    fn change_backbone(&mut self, backbone: &Backbone) -> Result<(), InvalidChange> {
        if backbone.segment.rate.0 == 0 {
            return Err(InvalidChange::ZeroRate);
        }
        let same = |other: &&mut Backbone| other.from == backbone.from && other.to == backbone.to;
        let known = self.problem.regions.backbone.iter_mut().find(same);
        *known.ok_or(InvalidChange::NoSuchBackbone)? = *backbone;
        self.refresh(|fleet, separate| {
            let (from, to) = (fleet.groups_in(backbone.from), fleet.groups_in(backbone.to));
            let within = backbone.from == backbone.to;
            let others = to.iter().filter(|_| !within);
            let ends: Vec<usize> = from.iter().chain(others).copied().collect();
            Touched {
                groups: if within || !separate {
                    ends.clone()
                } else {
                    Vec::new()
                },
                hops: pairs(&from, &to),
                entries: ends,
            }
        });
        Ok(())
    }

    fn refresh(&mut self, touched: impl Fn(&Fleet, bool) -> Touched) {
        let service = &self.problem.services[self.service.index()];
        for tracked in &mut self.candidates {
            let Some((fleet, pass)) = &mut tracked.fleet else {
                continue;
            };
            let sources = Sources {
                problem: &self.problem,
                links: &self.links,
                service,
                candidate: tracked.candidate,
            };
            let separate = separate_ingress(service).is_some();
            touched(fleet, separate).refresh(&sources, fleet, pass);
        }
    }

    /// The best pipeline now.
    #[must_use]
    pub fn answer(&mut self, budget: &Budget<'_>) -> Answer {
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        let mut best: Option<(u64, PipelineShape)> = None;
        let mut lower_bound = NEVER;
        for index in 0..self.candidates.len() {
            let limit = best.as_ref().map_or(NEVER, |best| best.0);
            let outcome = self.answer_with(&self.candidates[index], limit, &mut meter);
            lower_bound = lower_bound.min(outcome.lower_bound);
            let split = |found: &&Priced| found.shape.stages.len() > 1;
            if let Some(found) = outcome.found.iter().find(split) {
                self.candidates[index].last = Some(found.shape.clone());
            }
            for found in outcome.found {
                let better = |best: &(u64, PipelineShape)| {
                    (found.value, found.shape.stages.len(), &found.shape)
                        < (best.0, best.1.stages.len(), &best.1)
                };
                if best.as_ref().is_none_or(better) {
                    best = Some((found.value, found.shape));
                }
            }
        }
        let value = best.as_ref().map_or(NEVER, |best| best.0);
        Answer {
            shape: best.map(|best| best.1),
            certificate: Certificate {
                best: Nanos(value),
                lower_bound: Nanos(lower_bound.min(value)),
                steps: meter.used(),
            },
        }
    }

    fn answer_with(&self, tracked: &Tracked, limit: u64, meter: &mut Meter<'_>) -> Outcome {
        let mut outcome = Outcome {
            found: Vec::new(),
            lower_bound: if tracked.bounded { NEVER } else { 0 },
        };
        let service = &self.problem.services[self.service.index()];
        let sources = Sources {
            problem: &self.problem,
            links: &self.links,
            service,
            candidate: tracked.candidate,
        };
        outcome.found.extend(tracked.best_alone(&sources));
        let alone = outcome.found.first().map_or(NEVER, |found| found.value);
        outcome.lower_bound = outcome.lower_bound.min(alone);
        if let (Some((fleet, pass)), Some(count)) = (&tracked.fleet, self.count) {
            let (model, variant) = self.problem.variant(tracked.candidate);
            let realiser = Realiser {
                sources: &sources,
                residual: &self.residual,
                objective: &tracked.objective,
                fleet,
                memory: MemoryModel::new(service, model, variant),
                wire: fleet.wire(),
            };
            let mut search = Search::new(&realiser, count, limit.min(alone));
            let last = tracked
                .last
                .as_ref()
                .and_then(|last| realiser.again(last, &pass.aim));
            if let Some(last) = last.filter(|last| last.value < search.finds.limit) {
                search.finds.add(last);
            }
            let lower_bound = search.run_from(Some(pass), meter);
            let split = search.outcome(lower_bound);
            outcome.lower_bound = outcome.lower_bound.min(split.lower_bound);
            outcome.found.extend(split.found);
        }
        outcome
    }
}

impl Tracked {
    fn new(survey: &Survey<'_>, index: usize, count: Option<StageCount>) -> Self {
        let (candidate, cost) = (survey.candidates[index], &survey.costs[index]);
        let sources = survey.sources(index);
        let (model, variant) = survey.problem.variant(candidate);
        let mut tracked = Self {
            candidate,
            objective: Objective::new(survey.service, cost),
            weights: cost.weights(),
            wire: cost.wire().clone(),
            alone: survey.alone(index),
            fleet: None,
            bounded: true,
            last: None,
        };
        let Some(count) = count.filter(|_| model.splittable && variant.num_layers() > 1) else {
            return tracked;
        };
        let mut unlimited = Meter::new(u64::MAX, &|| false);
        let fleet = Fleet::new(&sources, cost, survey.residual, &survey.usable);
        tracked.bounded = fleet.is_some();
        tracked.fleet = fleet.and_then(|fleet| {
            let pass = Pass::new(&fleet, Aim::LINEAR, levels(count), &mut unlimited)?;
            Some((fleet, pass))
        });
        tracked
    }

    /// The best pipeline of one stage.
    fn best_alone(&self, sources: &Sources<'_>) -> Option<Priced> {
        let &Sources {
            problem,
            links,
            service,
            candidate,
        } = sources;
        let price = |&(node, stage): &(NodeOrd, Element)| {
            let ingress = self.wire.ingress(problem, links, service, node).ok()?;
            let sums = Element::of(self.weights, &ingress).then(stage);
            Some((self.objective.value(&sums), node))
        };
        let (value, node) = self.alone.iter().filter_map(price).min()?;
        let stages = vec![StageShape {
            node,
            layers: LayerRange::new(0, problem.variant(candidate).1.num_layers()),
            activation: None,
        }];
        let shape = PipelineShape::alone(candidate, stages);
        Some(Priced { value, shape })
    }
}

/// What a change touches.
struct Touched {
    /// Groups whose members are priced anew.
    groups: Vec<usize>,
    entries: Vec<usize>,
    hops: Vec<(usize, usize)>,
}

impl Touched {
    fn refresh(self, sources: &Sources<'_>, fleet: &mut Fleet, pass: &mut Pass) {
        let mut unlimited = Meter::new(u64::MAX, &|| false);
        for (from, to) in self.hops {
            fleet.join(sources, from, to);
            pass.refresh_hop(fleet, from, to);
        }
        for group in self.entries {
            fleet.enter(sources, group);
            pass.refresh_entry(fleet, group);
        }
        for group in self.groups {
            fleet.connect(sources, group);
            pass.refresh_group(fleet, group, &mut unlimited)
                .expect("the budget has no end");
        }
    }
}

/// Both directions between two lists of groups.
fn pairs(some: &[usize], others: &[usize]) -> Vec<(usize, usize)> {
    let each = some
        .iter()
        .flat_map(|&one| others.iter().map(move |&other| (one, other)));
    each.flat_map(|(one, other)| [(one, other), (other, one)])
        .collect()
}
