//! Single pipelines over fleets in regions: 100 stated instances for each size, and changes of their links.
//!
//! The instances are [`fleet_in_regions`] with seeds 1 to 100: the return hop, the head's cost and the way between ingress
//! and head are in the objective.

use super::{Row, Run};
use crate::fixtures::{Seeded, fleet_in_regions};
use crate::problem::{Access, Backbone};
use crate::search::{LinkChange, Tracker};
use crate::solution::{Certificate, PipelineShape};
use crate::units::{Nanos, ServiceOrd};
use crate::{Budget, solve};

const INSTANCES: u64 = 100;
const CHANGES: u64 = 100;
const GAP: &str = "median gap, %";

pub(super) fn large_deep(run: &Run<'_>) -> Vec<Row> {
    gaps(run, (10_000, 100, 80), (5.0, "target: median gap of 5 % in 1 s"))
}

pub(super) fn large(run: &Run<'_>) -> Vec<Row> {
    gaps(run, (10_000, 100, 32), (0.0, "target: exact in 2 s"))
}

pub(super) fn tenth_deep(run: &Run<'_>) -> Vec<Row> {
    gaps(run, (1_000, 10, 80), (5.0, "target for ten times the nodes"))
}

pub(super) fn sparse(run: &Run<'_>) -> Vec<Row> {
    gaps(run, (10_000, 1_000, 80), (5.0, "target for 100 regions"))
}

pub(super) fn changes_large(run: &Run<'_>) -> Vec<Row> {
    changes(run, (10_000, 100, 80))
}

pub(super) fn changes_tenth(run: &Run<'_>) -> Vec<Row> {
    changes(run, (1_000, 10, 80))
}

type Size = (u32, u64, usize);

fn name(what: &str, (nodes, regions, layers): Size) -> String {
    format!("{what} {nodes} nodes {regions} regions {layers} layers")
}

/// The median of the gaps of all instances; the row's seconds are the median, too.
fn gaps(run: &Run<'_>, size: Size, (target, source): (f64, &str)) -> Vec<Row> {
    let (nodes, regions, layers) = size;
    let (mut gaps, mut seconds, mut unanswered) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 1..=INSTANCES {
        let problem = fleet_in_regions(nodes, regions, layers, seed);
        let (solution, taken) = run.timed(|| solve(&problem, &Budget::default()));
        let solution = solution.expect("the instances mean something");
        let placed = solution.services[0].placed();
        gaps.push(placed.map_or(1.0, |placed| placed.certificate.gap()) * 100.0);
        unanswered.extend(placed.is_none().then_some(seed));
        seconds.push(taken);
    }
    let answered_worst = worst_but(&gaps, &unanswered);
    let (gaps, seconds) = (sorted(gaps), sorted(seconds));
    let exact = gaps.iter().filter(|gap| **gap == 0.0).count();
    let row = Row::new(name("pipeline", size), GAP, middle(&gaps), middle(&seconds))
        .bound(0.0)
        .reference(target, source)
        .memory((run.peak_memory)())
        .note(format!(
            "{INSTANCES} instances, {exact} proven optimal; {} without a pipeline, which count as 100 % (seeds {unanswered:?}); worst \
             gap of the others {answered_worst:.2} %, slowest {:.3} s",
            unanswered.len(),
            last(&seconds)
        ));
    vec![Row {
        gap: Some(middle(&gaps) / 100.0),
        ..row
    }]
}

/// The median time of an answer after a change of an access link or a backbone, each judged by a fresh solve.
fn changes(run: &Run<'_>, size: Size) -> Vec<Row> {
    let (nodes, regions, layers) = size;
    let problem = fleet_in_regions(nodes, regions, layers, 1);
    let mut tracker = Tracker::new(problem, ServiceOrd(0)).expect("the instance means something");
    let mut random = Seeded::new(2);
    let mut used = tracker.answer(&Budget::default()).shape;
    let (mut seconds, mut gaps, mut differing) = (Vec::new(), Vec::new(), 0);
    for number in 0..CHANGES {
        let change = drawn(&mut random, &tracker, used.as_ref(), number);
        let (answer, taken) = run.timed(|| {
            tracker.change(&change).expect("links that exist");
            tracker.answer(&Budget::default())
        });
        seconds.push(taken);
        gaps.push(answer.certificate.gap());
        used = answer.shape;
        if number % 10 == 0 {
            let fresh = solve(tracker.problem(), &Budget::default()).expect("still meaningful");
            let placed = fresh.services[0].placed();
            let best = placed.map(|placed| placed.certificate);
            let same = |fresh: Certificate| fresh.best == answer.certificate.best;
            differing += u32::from(!best.is_some_and(same));
        }
    }
    let (seconds, gaps) = (sorted(seconds), sorted(gaps));
    let row = Row::new(
        name("pipeline change", size),
        "median milliseconds",
        middle(&seconds) * 1e3,
        middle(&seconds),
    )
    .reference(5.0, "target: 5 ms")
    .memory((run.peak_memory)())
    .note(format!(
        "{CHANGES} changes, every other one of a backbone; slowest {:.2} ms, worst gap {:.2} %; {differing} of 10 differ \
         from a fresh solve",
        last(&seconds) * 1e3,
        last(&gaps) * 100.0
    ));
    vec![Row {
        gap: Some(last(&gaps)),
        ..row
    }]
}

/// A link that becomes slower or faster. Every fifth is the access of the node where requests enter or of a node of the
/// present answer, since those are most likely to matter.
fn drawn(random: &mut Seeded, tracker: &Tracker, used: Option<&PipelineShape>, number: u64) -> LinkChange {
    let regions = &tracker.problem().regions;
    let pick = |random: &mut Seeded, count: usize| {
        usize::try_from(random.between(0, count as u64 - 1)).expect("a position")
    };
    let latency = Nanos::from_micros(random.between(100, 2_100));
    if number % 2 == 1 {
        let mut backbone: Backbone = regions.backbone[pick(random, regions.backbone.len())];
        backbone.segment.latency = Nanos(latency.0 * 5);
        return LinkChange::Backbone(backbone);
    }
    let used = used.map(|shape| shape.stages[shape.stages.len() / 2].node);
    let position = match (number % 5, used) {
        (0, _) => tracker.problem().services[0].ingress[0].node.index(),
        (1 | 2, Some(node)) => node.index(),
        _ => pick(random, regions.access.len()),
    };
    let mut access: Access = regions.access[position];
    (access.up.latency, access.down.latency) = (latency, latency);
    LinkChange::Access(access)
}

/// The greatest gap of instances that have an answer; seeds count from one.
fn worst_but(gaps: &[f64], unanswered: &[u64]) -> f64 {
    let answered = (1..).zip(gaps).filter(|(seed, _)| !unanswered.contains(seed));
    answered.map(|(_, gap)| *gap).fold(0.0, f64::max)
}

fn sorted(mut figures: Vec<f64>) -> Vec<f64> {
    figures.sort_by(f64::total_cmp);
    figures
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn last(sorted: &[f64]) -> f64 {
    sorted[sorted.len() - 1]
}
