//! U-shaped pipelines: text stays on one node, others compute the middle. That the answer costs what enumeration finds is
//! among the properties of all modes; here is what is told of it, and what refuses it.

use super::support::{brute_force, small_problem};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use solver::check::{Occupancy, check_pipeline};
use solver::fixtures::{FIRST, fleet_in_regions, regional_fleet, smollm_fleet};
use solver::joint::JointProblem;
use solver::problem::{Mode, Privacy, Tier};
use solver::search::{Tracker, throughput};
use solver::solution::{
    Cause, Illegality, Infeasible, NodeReason, Offer, Outcome, PipelineShape, Placed, Remedy, StageShape,
};
use solver::units::{Bytes, LayerRange, Nanos, NodeOrd, ServiceOrd, TrustDomainOrd};
use solver::{Budget, Problem, check, solve};

/// A small device that its user trusts, and a fast server that it does not. Prompts may not leave the device in clear, and
/// the device does not hold the whole model.
fn private_prompts(device_mebi: u64) -> Problem {
    let mut problem = smollm_fleet(&[device_mebi, 900]);
    problem.nodes[1].tier = Tier::Server;
    problem.nodes[1].trust_domain = TrustDomainOrd(1);
    problem.nodes[1].compute_share_milli = 8_000;
    let service = &mut problem.services[0];
    service.chunk_rows = 128;
    service.modes = Mode::ALL.to_vec();
    service.privacy = Privacy::Trusted {
        domains: vec![TrustDomainOrd(0)],
        shallow_layers: 4,
    };
    problem
}

fn only_u_shaped(mut problem: Problem) -> Problem {
    problem.services[0].modes = vec![Mode::UShaped];
    problem
}

fn outcome(problem: &Problem, budget: &Budget<'_>) -> Outcome {
    let solution = solve(problem, budget).expect("a meaningful problem");
    assert_eq!(check(problem, &solution), vec![]);
    solution.services[0].clone()
}

fn placed(problem: &Problem) -> Placed {
    let outcome = outcome(problem, &Budget::default());
    outcome.placed().expect("a pipeline").clone()
}

fn infeasible(problem: &Problem) -> Infeasible {
    let outcome = outcome(problem, &Budget::default());
    outcome.infeasible().expect("no pipeline").clone()
}

fn shape(stages: &[(u32, u32, u32)]) -> PipelineShape {
    let last = stages.len() - 1;
    let stages = stages
        .iter()
        .enumerate()
        .map(|(position, &(node, start, end))| StageShape {
            node: NodeOrd(node),
            layers: LayerRange::new(start, end),
            activation: (position < last).then_some(solver::problem::Precision::F32),
        });
    PipelineShape::alone(FIRST, stages.collect())
}

fn wrong(problem: &Problem, shape: &PipelineShape) -> Vec<Illegality> {
    check_pipeline(problem, ServiceOrd(0), shape, &Occupancy::default())
}

#[test]
fn a_server_that_may_see_no_text_computes_the_middle() {
    let placed = placed(&private_prompts(120));
    let stages = &placed.pipeline.stages;
    let nodes: Vec<u32> = stages.iter().map(|stage| stage.node.0).collect();
    assert_eq!((placed.pipeline.mode, nodes), (Mode::UShaped, vec![0, 1, 0]));
    assert!(stages[0].layers.end >= 4, "the cut hides the prompt: {stages:?}");
    assert!(placed.certificate.is_exact());
    assert_eq!(placed.sheet.hops.len(), 2, "two crossings");
    assert_eq!(placed.sheet.return_hop, None, "the token is where it is needed");
    assert_eq!(stages[2].memory.worker, Bytes::ZERO, "one worker for both stages");
    assert!(stages[2].memory.head > Bytes::ZERO && stages[0].memory.embedding > Bytes::ZERO);
}

#[test]
fn the_times_are_the_sums_of_both_stages_and_both_crossings() {
    let mut problem = only_u_shaped(private_prompts(120));
    problem.services[0].prompt_tokens = 384;
    let placed = placed(&problem);
    let sheet = &placed.sheet;
    assert_eq!(sheet.chunks, 3);
    let [first, middle, last] = sheet.stages.as_slice() else {
        panic!("{sheet:?}")
    };
    // The device computes both ends of every chunk.
    let device = first.prefill_chunk + last.prefill_chunk;
    let links = sheet.hops.iter().map(|hop| hop.chunk_transfer).max();
    assert!(sheet.bottleneck >= device.max(middle.prefill_chunk).max(links.unwrap_or_default()));
    let crossings: Nanos = sheet
        .hops
        .iter()
        .map(|hop| hop.latency + hop.chunk_transfer)
        .sum();
    let once = sheet.ingress + device + middle.prefill_chunk + last.head + crossings;
    assert_eq!(placed.predicted.ttft, once + sheet.bottleneck.times(2));
    let crossings: Nanos = sheet
        .hops
        .iter()
        .map(|hop| hop.latency + hop.token_transfer)
        .sum();
    let decode = first.decode + middle.decode + last.decode;
    assert_eq!(placed.predicted.tpot, decode + crossings);
}

#[test]
fn without_the_mode_the_server_is_refused_and_the_mode_is_named_as_a_way() {
    let mut problem = private_prompts(120);
    problem.services[0].modes.retain(|mode| *mode != Mode::UShaped);
    let report = infeasible(&problem);
    assert!(report.remedies.contains(&Remedy::AllowUShaped), "{report:?}");
    let untrusted = Illegality::Node {
        node: NodeOrd(1),
        why: NodeReason::Untrusted,
    };
    let split = shape(&[(0, 0, 10), (1, 10, 30)]);
    assert!(
        wrong(&problem, &split).contains(&untrusted),
        "it would see the output"
    );
    assert!(wrong(&problem, &shape(&[(0, 0, 10), (1, 10, 29), (0, 29, 30)])).contains(&Illegality::Mode));
}

#[test]
fn the_check_knows_what_a_node_may_hold_twice() {
    let problem = private_prompts(120);
    assert_eq!(
        wrong(&problem, &shape(&[(0, 0, 5), (1, 5, 28), (0, 28, 30)])),
        vec![]
    );
    let shallow = wrong(&problem, &shape(&[(0, 0, 3), (1, 3, 28), (0, 28, 30)]));
    assert_eq!(
        shallow,
        [Illegality::Node {
            node: NodeOrd(1),
            why: NodeReason::Untrusted
        }]
    );
    // Each end fits by itself, both do not; the node is named once.
    let heavy = wrong(&problem, &shape(&[(0, 0, 15), (1, 15, 20), (0, 20, 30)]));
    assert!(
        matches!(heavy[..], [Illegality::Memory { node: NodeOrd(0), .. }]),
        "{heavy:?}"
    );
    for malformed in [
        shape(&[(0, 0, 10), (0, 10, 30)]),
        shape(&[(0, 0, 10), (1, 10, 20), (1, 20, 30)]),
        shape(&[(0, 0, 5), (1, 5, 10), (0, 10, 20), (1, 20, 30)]),
    ] {
        assert_eq!(wrong(&problem, &malformed), [Illegality::Malformed]);
    }
}

#[test]
fn it_is_told_what_the_node_of_both_ends_lacks() {
    let report = infeasible(&only_u_shaped(private_prompts(80)));
    let Cause::NoNodeForBothEnds {
        nearest: Some((NodeOrd(0), missing)),
    } = report.cause
    else {
        panic!("{:?}", report.cause)
    };
    let mut enough = only_u_shaped(private_prompts(80));
    enough.services[0].privacy = Privacy::Trusted {
        domains: vec![TrustDomainOrd(0)],
        shallow_layers: 0,
    };
    enough.nodes[0].memory += missing;
    assert_eq!(placed(&enough).pipeline.mode, Mode::UShaped);
    enough.nodes[0].memory = Bytes(enough.nodes[0].memory.0 - (1 << 20));
    assert!(matches!(
        infeasible(&enough).cause,
        Cause::NoNodeForBothEnds { .. }
    ));

    let mut stranger = only_u_shaped(private_prompts(120));
    stranger.nodes[0].trust_domain = TrustDomainOrd(2);
    let cause = infeasible(&stranger).cause;
    assert_eq!(cause, Cause::NoNodeForBothEnds { nearest: None });
}

#[test]
fn a_u_shape_that_runs_is_kept_and_one_without_its_node_is_replaced() {
    let mut problem = private_prompts(120);
    let first = placed(&problem).pipeline.shape();
    problem.services[0].previous = Some(first.clone());
    assert_eq!(placed(&problem).pipeline.shape(), first);
    problem.nodes[0].memory = Bytes::mebi(400);
    let moved = placed(&problem);
    assert_eq!(moved.alternatives[4].mode, Mode::UShaped);
    assert!(
        matches!(moved.alternatives[4].offer, Offer::Found { .. }),
        "{:?}",
        moved.alternatives
    );
}

#[test]
fn a_search_that_is_cut_short_tells_a_bound_that_holds() {
    for seed in 1..=6 {
        let problem = only_u_shaped(regional_fleet(24, 4, 12, seed));
        let best = placed(&problem);
        assert!(best.certificate.is_exact(), "{:?}", best.certificate);
        for steps in [1, 20_000, 400_000] {
            let hurried = outcome(&problem, &Budget::steps(steps));
            if let Some(hurried) = hurried.placed() {
                assert!(hurried.certificate.lower_bound <= best.cost.total());
                assert!(hurried.cost.total() >= best.cost.total());
            }
        }
    }
}

/// Enough of the random problems that are judged by enumeration are about U-shaped pipelines.
#[test]
fn many_small_problems_are_answered_so_and_at_the_least_cost() {
    let mut runner = TestRunner::deterministic();
    let mut so_answered = 0;
    for _ in 0..300 {
        let problem = small_problem()
            .new_tree(&mut runner)
            .expect("a problem is drawn")
            .current();
        let outcome = outcome(&only_u_shaped(problem.clone()), &Budget::default());
        let cost = outcome.placed().map(|placed| placed.cost.total());
        assert_eq!(cost, brute_force(&only_u_shaped(problem)));
        if let Some(placed) = outcome.placed() {
            assert!(placed.certificate.is_exact());
            so_answered += 1;
        }
    }
    assert!(so_answered > 20, "{so_answered} of 300");
}

#[test]
fn fleets_in_regions_are_searched_up_to_a_number_of_nodes() {
    let few = placed(&only_u_shaped(fleet_in_regions(20, 3, 8, 1)));
    assert!(few.certificate.is_exact());
    let many = only_u_shaped(fleet_in_regions(513, 3, 8, 1));
    let cause = Cause::TooManyNodes {
        usable: 513,
        most: 512,
    };
    assert_eq!(infeasible(&many).cause, cause);
    let mut many = many;
    many.services[0].modes = Mode::ALL.to_vec();
    let placed = placed(&many);
    assert_eq!(placed.alternatives[4].offer, Offer::TooManyNodes { most: 512 });
    assert!(!placed.certificate.is_exact(), "a U-shape could be better");
}

#[test]
fn searches_that_do_not_look_at_it_say_so() {
    let problem = only_u_shaped(fleet_in_regions(6, 2, 4, 1));
    let told = "problem field services[0].modes is invalid: expected modes without UShaped, which this search does not look at";
    let tracker = Tracker::new(problem.clone(), ServiceOrd(0)).map(drop);
    assert_eq!(tracker.expect_err("refused").to_string(), told);
    let flow = throughput(&problem, ServiceOrd(0), &Budget::default()).map(drop);
    assert_eq!(flow.expect_err("refused").to_string(), told);
    let joint = JointProblem {
        fleet: problem,
        ..JointProblem::default()
    };
    assert_eq!(joint.validate().expect_err("refused").to_string(), told);
}
