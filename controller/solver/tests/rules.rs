//! Where services may be, memory apart: taints of two kinds, preferences, services that keep apart, disks.

use super::support::brute_force;
use solver::check::check;
use solver::fixtures::{FIRST, smollm_fleet};
use solver::problem::{Aversion, ExcludedNode, Exclusion, Mode, Service};
use solver::solution::{Decision, Illegality, NodeReason, Outcome, Placed, WhyNot};
use solver::units::{Bytes, FileOrd, Nanos, NodeOrd, ServiceOrd, TermOrd};
use solver::{Budget, Problem, Solution, solve, why_not};

fn solved(problem: &Problem) -> Solution {
    let solution = solve(problem, &Budget::default()).expect("a meaningful problem");
    assert_eq!(check(problem, &solution), []);
    solution
}

fn placed(solution: &Solution, service: usize) -> &Placed {
    solution.services[service].placed().expect("a pipeline")
}

fn nodes(solution: &Solution, service: usize) -> Vec<u32> {
    let stages = &placed(solution, service).pipeline.stages;
    stages.iter().map(|stage| stage.node.0).collect()
}

fn closed(problem: &mut Problem, why: Exclusion) {
    problem.services[0].excluded = vec![ExcludedNode {
        node: NodeOrd(0),
        why,
    }];
}

#[test]
fn a_taint_for_new_stages_leaves_what_runs_and_any_other_does_not() {
    let mut problem = smollm_fleet(&[400, 400]);
    let first = solved(&problem);
    assert_eq!(nodes(&first, 0), [0]);
    problem.services[0].previous = Some(placed(&first, 0).pipeline.shape());

    closed(&mut problem, Exclusion::TaintForNew(TermOrd(7)));
    let kept = solved(&problem);
    assert_eq!(nodes(&kept, 0), [0]);
    assert!(matches!(placed(&kept, 0).decision, Decision::Kept { .. }));

    // Nor does it matter where else there is room.
    problem.nodes[1].memory = Bytes::mebi(10);
    assert_eq!(nodes(&solved(&problem), 0), [0]);
    problem.nodes[1].memory = Bytes::mebi(400);

    closed(&mut problem, Exclusion::Taint(TermOrd(7)));
    let moved = solved(&problem);
    assert_eq!(nodes(&moved, 0), [1]);
    let why = NodeReason::Excluded(Exclusion::Taint(TermOrd(7)));
    let node = NodeOrd(0);
    assert_eq!(
        placed(&moved, 0).decision,
        Decision::Replaced {
            why: Illegality::Node { node, why }
        }
    );

    closed(&mut problem, Exclusion::TaintForNew(TermOrd(7)));
    problem.services[0].previous = None;
    let fresh = solved(&problem);
    assert_eq!(nodes(&fresh, 0), [1]);
    let answer = why_not(&problem, &fresh, ServiceOrd(0), node, &Budget::default());
    let why = NodeReason::Excluded(Exclusion::TaintForNew(TermOrd(7)));
    assert_eq!(answer, WhyNot::Refused(why));
}

#[test]
fn a_preference_counts_for_each_stage_and_decides_between_equals() {
    let mut problem = smollm_fleet(&[400, 400]);
    let plain = solved(&problem);
    let averse = |node: u32, millis: u64| Aversion {
        node: NodeOrd(node),
        cost: Nanos::from_millis(millis),
    };
    problem.services[0].aversions = vec![averse(0, 3), averse(0, 4)];
    let solution = solved(&problem);
    assert_eq!(nodes(&solution, 0), [1]);
    assert_eq!(placed(&solution, 0).cost, placed(&plain, 0).cost);

    problem.services[0].aversions.push(averse(1, 9));
    let solution = solved(&problem);
    assert_eq!(nodes(&solution, 0), [0]);
    let cost = placed(&solution, 0).cost;
    assert_eq!(cost.preference, Nanos::from_millis(7));
    let expected = placed(&plain, 0).cost.total() + Nanos::from_millis(7);
    assert_eq!(cost.total(), expected);
    assert_eq!(brute_force(&problem), Some(expected));
}

#[test]
fn services_that_keep_apart_share_no_node_whoever_asks_for_it() {
    for shy in [0, 1] {
        let mut problem = smollm_fleet(&[800, 800]);
        // The second node is slow, so that both would be on the first.
        problem.nodes[1].compute_share_milli = 300;
        problem.services.push(Service::new(vec![FIRST]));
        problem
            .services
            .iter_mut()
            .for_each(|service| service.modes = vec![Mode::OnDevice]);
        let together = solved(&problem);
        assert_eq!((nodes(&together, 0), nodes(&together, 1)), (vec![0], vec![0]));

        problem.services[shy].shuns = vec![TermOrd(3)];
        problem.services[1 - shy].carries = vec![TermOrd(3)];
        let apart = solved(&problem);
        assert_eq!((nodes(&apart, 0), nodes(&apart, 1)), (vec![0], vec![1]));
        let answer = why_not(&problem, &apart, ServiceOrd(1), NodeOrd(0), &Budget::default());
        assert_eq!(answer, WhyNot::Refused(NodeReason::Apart(TermOrd(3))));

        // The check itself, on what nobody would answer.
        let mut wrong = apart.clone();
        wrong.services[1] = together.services[1].clone();
        let (node, other) = (NodeOrd(0), ServiceOrd(0));
        assert_eq!(
            check(&problem, &wrong),
            [(ServiceOrd(1), Illegality::Apart { node, other })]
        );

        // What runs together now is parted.
        for (service, outcome) in problem.services.iter_mut().zip(&together.services) {
            service.previous = outcome.placed().map(|placed| placed.pipeline.shape());
        }
        let parted = solved(&problem);
        assert_ne!(nodes(&parted, 0), nodes(&parted, 1));
    }
}

/// Two services on one node with so much disk, of two variants with a file each, or of one variant.
fn on_one_disk(storage: Bytes, same: bool) -> Problem {
    let mut problem = smollm_fleet(&[4_000]);
    problem.nodes[0].storage = Some(storage);
    problem.files = vec![Bytes::mebi(100), Bytes::mebi(60)];
    problem.models[0].variants[0].files = vec![FileOrd(0)];
    let mut other = problem.models[0].clone();
    other.variants[0].files = vec![FileOrd(u32::from(!same))];
    problem.models.push(other);
    let mut second = FIRST;
    second.model.0 = 1;
    problem.services.push(Service::new(vec![second]));
    problem
}

#[test]
fn files_are_on_a_disk_once_and_fit_or_are_not_placed() {
    let placed = |problem: &Problem| {
        let solution = solved(problem);
        let outcomes = solution.services.iter();
        outcomes
            .map(|outcome| outcome.placed().is_some())
            .collect::<Vec<_>>()
    };
    let mebi = Bytes::mebi;
    assert_eq!(placed(&on_one_disk(mebi(160), false)), [true, true]);
    assert_eq!(placed(&on_one_disk(Bytes(mebi(160).0 - 1), false)), [true, false]);
    assert_eq!(placed(&on_one_disk(mebi(100), true)), [true, true]);
    let problem = on_one_disk(mebi(99), true);
    let solution = solved(&problem);
    let Outcome::Infeasible(infeasible) = &solution.services[0] else {
        panic!("a file of 100 MiB on a disk of 99");
    };
    let (free, needed) = (mebi(99), mebi(100));
    assert_eq!(
        infeasible.nodes[0].reason,
        NodeReason::StorageTooSmall { free, needed }
    );
}

#[test]
fn a_service_that_stays_leaves_for_nothing_better_but_for_what_is_not_legal() {
    let mut problem = smollm_fleet(&[400, 400]);
    problem.nodes[0].compute_share_milli = 20;
    problem.services.push(Service::new(vec![FIRST]));
    let slow = solved(&smollm_fleet(&[400]));
    for service in &mut problem.services {
        service.previous = Some(placed(&slow, 0).pipeline.shape());
    }
    problem.nodes[0].memory = Bytes::mebi(800);
    problem.nodes[1].memory = Bytes::mebi(800);
    let free = solved(&problem);
    assert_eq!((nodes(&free, 0), nodes(&free, 1)), (vec![1], vec![1]));
    problem.services[0].stays = true;
    let bound = solved(&problem);
    assert_eq!((nodes(&bound, 0), nodes(&bound, 1)), (vec![0], vec![1]));
    problem.services[1].stays = true;
    let both = solved(&problem);
    assert_eq!((nodes(&both, 0), nodes(&both, 1)), (vec![0], vec![0]));
    closed(&mut problem, Exclusion::Unschedulable);
    let left = solved(&problem);
    assert_eq!((nodes(&left, 0), nodes(&left, 1)), (vec![1], vec![0]));
}
