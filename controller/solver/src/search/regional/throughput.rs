//! The pipeline through which most chunks go in a second: its longest occupation of a stage or segment is least.
//!
//! With a longest occupation given, each node holds so many layers and no more, and each segment carries a chunk in time
//! or is left out. Where all segments do, a pipeline exists if and only if the layers that nodes hold add up to the
//! model: bisection on that count is exact in O(nodes × log(time)), and a bound where segments are slow. From there on the
//! search over regions, under a cap, says whether there is a pipeline; bisection closes in on the least cap. What stays
//! open is a region whose own backbone is slower than its ways through others: then the bound says how far the answer may
//! be off.

use super::super::budget::{Budget, Meter};
use super::super::instance::{NEVER, Objective};
use super::super::labels::StageCount;
use super::super::residual::Residual;
use super::super::survey::Survey;
use super::aim::Aim;
use super::descend::{Descender, Finds};
use super::fleet::{Fleet, Most};
use super::pass::Pass;
use super::settle::{Realised, Realiser};
use super::table::most_layers;
use super::{levels, stages};
use crate::cost::MemoryModel;
use crate::links::LinkIndex;
use crate::problem::{InvalidProblem, Problem};
use crate::solution::PipelineShape;
use crate::units::{Nanos, NodeOrd, ServiceOrd};

/// The pipeline of most throughput.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throughput {
    /// The pipeline; none if none was found.
    pub shape: Option<PipelineShape>,
    /// Longest time that a chunk of the typical prompt occupies a stage or segment of it.
    pub bottleneck: Nanos,
    /// No pipeline has a shorter one.
    pub lower_bound: Nanos,
    /// Steps of work that were used.
    pub steps: u64,
}

/// The pipeline of a service, as if it were the only one, whose bottleneck is the shortest; cost is not looked at.
///
/// # Errors
/// When the problem means nothing ([`Problem::validate`]), or the service allows U-shaped pipelines.
///
/// # Panics
/// When the service is not one of the problem's.
pub fn throughput(
    problem: &Problem,
    service: ServiceOrd,
    budget: &Budget<'_>,
) -> Result<Throughput, InvalidProblem> {
    problem.validate()?;
    problem.with_chains_only(service)?;
    let links = LinkIndex::new(problem);
    let residual = Residual::new(problem);
    let survey = Survey::new(problem, &links, &problem.services[service.index()], &residual);
    let mut meter = Meter::new(budget.steps, budget.cancelled);
    let mut best = Best {
        bottleneck: NEVER,
        shape: None,
    };
    let mut lower_bound = NEVER;
    for index in 0..survey.candidates.len() {
        best.offer_alone(&survey, index);
        let bound = of_candidate(&survey, index, &mut best, &mut meter);
        lower_bound = lower_bound.min(bound);
    }
    Ok(Throughput {
        shape: best.shape,
        bottleneck: Nanos(best.bottleneck),
        lower_bound: Nanos(lower_bound.min(best.bottleneck)),
        steps: meter.used(),
    })
}

struct Best {
    bottleneck: u64,
    shape: Option<PipelineShape>,
}

impl Best {
    fn offer(&mut self, bottleneck: u64, shape: &PipelineShape) {
        if bottleneck < self.bottleneck {
            (self.bottleneck, self.shape) = (bottleneck, Some(shape.clone()));
        }
    }

    /// Every node by itself.
    fn offer_alone(&mut self, survey: &Survey<'_>, index: usize) {
        let alone = survey.alone(index);
        let least = alone.iter().min_by_key(|(node, stage)| (stage.busy, *node));
        if let Some(&(node, stage)) = least {
            self.offer(stage.busy, &survey.whole_on(index, node));
        }
    }
}

/// A bound for the split pipelines of a candidate; what is better than the best so far replaces it.
fn of_candidate(survey: &Survey<'_>, index: usize, best: &mut Best, meter: &mut Meter<'_>) -> u64 {
    let sources = survey.sources(index);
    let (model, variant) = survey.problem.variant(sources.candidate);
    let Some(count) = survey
        .stage_count()
        .filter(|_| model.splittable && variant.num_layers() > 1)
    else {
        return NEVER;
    };
    let cost = &survey.costs[index];
    let Some(fleet) = Fleet::new(&sources, cost, survey.residual, &survey.usable) else {
        return 0;
    };
    let objective = Objective::new(survey.service, cost);
    let realiser = Realiser {
        sources: &sources,
        residual: survey.residual,
        objective: &objective,
        fleet: &fleet,
        memory: MemoryModel::new(survey.service, model, variant),
        wire: fleet.wire(),
    };
    let under = |cap: u64, meter: &mut Meter<'_>| under_cap(&realiser, count, cap, meter);
    // Caps below `low` are ruled out; between `low` and `floor` it stays open whether there is a pipeline.
    let mut low = counted(&fleet, best.bottleneck);
    let (mut floor, mut ask) = (low, low);
    while floor < best.bottleneck {
        let cap = ask.min(best.bottleneck - 1);
        match under(cap, meter) {
            Verdict::Found(found) => best.offer(found.sums.busy, &found.shape),
            Verdict::None => (low, floor) = (cap + 1, cap + 1),
            Verdict::Open => floor = cap + 1,
        }
        // While none is known, whether there is a pipeline at all comes first.
        ask = if best.bottleneck >= NEVER {
            NEVER - 1
        } else {
            floor.midpoint(best.bottleneck)
        };
    }
    low
}

enum Verdict {
    Found(Box<Realised>),
    /// Proven.
    None,
    Open,
}

/// Whether a pipeline exists in which nothing is occupied for longer.
fn under_cap(realiser: &Realiser<'_>, count: StageCount, cap: u64, meter: &mut Meter<'_>) -> Verdict {
    let aim = Aim {
        busy_max: cap,
        ..Aim::LINEAR
    };
    let Some(pass) = Pass::new(realiser.fleet, aim, levels(count), meter) else {
        return Verdict::Open;
    };
    let descender = Descender {
        pass: &pass,
        realiser,
        objective: realiser.objective,
        stages: stages(count),
        any_will_do: true,
    };
    let descent = descender.run(&mut Finds::new(NEVER), meter);
    match descent.cheapest {
        Some(found) if found.sums.busy <= cap => Verdict::Found(Box::new(found)),
        None if descent.lower_bound >= NEVER => Verdict::None,
        _ => Verdict::Open,
    }
}

/// The least cap, up to a limit, under which the nodes hold the model if every segment between them is fast enough.
fn counted(fleet: &Fleet, limit: u64) -> u64 {
    let holds = |cap: u64| {
        let aim = Aim {
            busy_max: cap,
            ..Aim::LINEAR
        };
        let members = fleet.groups.iter().flat_map(|group| &group.members);
        let most = members.map(|member| (member.node, most_layers(member, &aim, fleet.num_layers)));
        add_up(most) >= i64::from(fleet.num_layers)
    };
    let (mut bad, mut good) = (0, limit);
    while good - bad > 1 {
        let middle = bad.midpoint(good);
        if holds(middle) {
            good = middle
        } else {
            bad = middle
        }
    }
    good
}

/// Most layers of all nodes together, one of which is head and another one last; 0 if there are none for these.
fn add_up(each: impl Iterator<Item = (NodeOrd, Most)>) -> i64 {
    let mut sum = 0;
    let (mut heads, mut lasts) = (Vec::new(), Vec::new());
    for (node, most) in each {
        sum += i64::from(most.middle);
        // Two of each are enough to find two different nodes.
        offer(&mut heads, most.head, most.middle, node);
        offer(&mut lasts, most.last, most.middle, node);
    }
    let pairs = heads
        .iter()
        .flat_map(|head| lasts.iter().map(move |last| (head, last)));
    let gains = pairs
        .filter(|(head, last)| head.1 != last.1)
        .map(|(head, last)| head.0 + last.0);
    gains.max().map_or(0, |gain| sum + gain)
}

/// Keeps the two nodes that gain most, or lose least, by an end in place of the middle.
fn offer(best: &mut Vec<(i64, NodeOrd)>, end: u32, middle: u32, node: NodeOrd) {
    if end > 0 {
        best.push((i64::from(end) - i64::from(middle), node));
        best.sort_by_key(|&(gain, node)| (-gain, node));
        best.truncate(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_two_nodes_and_the_best_pair_is_taken() {
        let most = |head, middle, last| Most { head, middle, last };
        let sum = |all: &[Most]| add_up((0..).map(NodeOrd).zip(all.iter().copied()));
        assert_eq!(sum(&[most(5, 5, 5), most(1, 4, 4)]), 9);
        assert_eq!(sum(&[most(5, 0, 5)]), 0, "one node cannot be both");
        assert_eq!(sum(&[most(5, 5, 5), most(0, 4, 0), most(2, 4, 1)]), 11);
        assert_eq!(sum(&[most(0, 9, 3), most(0, 9, 3)]), 0, "no head");
    }
}
