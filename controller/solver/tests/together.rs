//! Services of one priority, chosen together: legal, never above what brute force finds, nearly always equal to it, and
//! never below a bound that says so.

use super::support::crowded_problem;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use solver::check::{Occupancy, check_pipeline};
use solver::cost::{CostModel, Evaluation};
use solver::fixtures::smollm_fleet;
use solver::links::LinkIndex;
use solver::problem::Service;
use solver::solution::{Decision, Outcome, PipelineShape, StageShape};
use solver::units::{Bytes, LayerRange, NodeOrd, ServiceOrd};
use solver::{Budget, Problem, Solution, check, solve};

/// Up to three nodes, two layers, two or three services of one priority.
fn tiny() -> impl Strategy<Value = Problem> {
    (crowded_problem(), 0_u64..3).prop_map(|(mut problem, scarce)| {
        problem.nodes.truncate(3);
        let nodes = u32::try_from(problem.nodes.len()).expect("few");
        problem
            .links
            .retain(|link| link.from.0 < nodes && link.to.0 < nodes);
        for variant in problem.models.iter_mut().flat_map(|model| &mut model.variants) {
            variant.layer_bytes.truncate(2);
        }
        for node in &mut problem.nodes {
            node.memory = Bytes(node.memory.0 - scarce * node.memory.0 / 8);
        }
        for service in &mut problem.services {
            (service.priority, service.concurrency) = (0, 1);
            service.activations.truncate(1);
        }
        problem
    })
}

fn solved(problem: &Problem) -> Solution {
    solve(problem, &Budget::default()).expect("a meaningful problem")
}

/// Services without a pipeline, and the sum of what the others cost.
type Worth = (usize, u64);

fn worth(solution: &Solution) -> Worth {
    let placed: Vec<_> = solution.services.iter().filter_map(Outcome::placed).collect();
    let cost = placed.iter().map(|placed| placed.cost.total().0).sum();
    (solution.services.len() - placed.len(), cost)
}

/// The best choice of legal pipelines, by enumeration; each costs what it costs beside those before it.
fn optimum(problem: &Problem) -> Worth {
    let shapes: Vec<Vec<PipelineShape>> = (0..problem.services.len())
        .map(|service| shapes(problem, ServiceOrd::from_index(service)))
        .collect();
    let mut best = (usize::MAX, u64::MAX);
    let loads = vec![0; problem.nodes.len()];
    extend(problem, &shapes, &mut Vec::new(), &loads, (0, 0), &mut best);
    best
}

fn extend(
    problem: &Problem,
    shapes: &[Vec<PipelineShape>],
    chosen: &mut Vec<Option<PipelineShape>>,
    loads: &[u64],
    worth: Worth,
    best: &mut Worth,
) {
    let at = chosen.len();
    if at == problem.services.len() {
        *best = (*best).min(worth);
        return;
    }
    let service = ServiceOrd::from_index(at);
    let mut beside = Occupancy::default();
    for (other, shape) in chosen.iter().enumerate() {
        if let Some(shape) = shape {
            beside.admit(ServiceOrd::from_index(other), shape.clone());
        }
    }
    for shape in &shapes[at] {
        if !check_pipeline(problem, service, shape, &beside).is_empty() {
            continue;
        }
        let asked = &problem.services[at];
        let links = LinkIndex::new(problem);
        let evaluation = CostModel::new(problem, &links, asked, shape.candidate, loads)
            .evaluate(shape)
            .expect("a legal pipeline has a cost");
        let loads = loaded(asked, shape, &evaluation, loads);
        let worth = (worth.0, worth.1 + evaluation.cost.total().0);
        chosen.push(Some(shape.clone()));
        extend(problem, shapes, chosen, &loads, worth, best);
        chosen.pop();
    }
    chosen.push(None);
    extend(problem, shapes, chosen, loads, (worth.0 + 1, worth.1), best);
    chosen.pop();
}

/// How busy nodes are with a service too: its stage's part of a token's time, for each session in flight.
fn loaded(service: &Service, shape: &PipelineShape, evaluation: &Evaluation, loads: &[u64]) -> Vec<u64> {
    let mut loads = loads.to_vec();
    for (stage, times) in shape.stages.iter().zip(&evaluation.sheet.stages) {
        let sessions = u64::from(service.sessions_in_flight_milli);
        let part = times.decode.0 * sessions / evaluation.predicted.tpot.0.max(1);
        loads[stage.node.index()] += part.min(1_000);
    }
    loads
}

/// Every pipeline that is legal by itself.
fn shapes(problem: &Problem, service: ServiceOrd) -> Vec<PipelineShape> {
    let mut found = Vec::new();
    for &candidate in &problem.services[service.index()].candidates {
        let stages = Vec::new();
        grow(
            problem,
            service,
            PipelineShape::alone(candidate, stages),
            &mut found,
        );
    }
    found
}

fn grow(problem: &Problem, service: ServiceOrd, shape: PipelineShape, found: &mut Vec<PipelineShape>) {
    let layers = problem.variant(shape.candidate).1.num_layers();
    let start = shape.stages.last().map_or(0, |stage| stage.layers.end);
    if start == layers {
        if check_pipeline(problem, service, &shape, &Occupancy::default()).is_empty() {
            found.push(shape);
        }
        return;
    }
    for node in (0..problem.nodes.len()).map(NodeOrd::from_index) {
        for end in start + 1..=layers {
            let precision = problem.services[service.index()].activations[0].precision;
            let mut longer = shape.clone();
            longer.stages.push(StageShape {
                node,
                layers: LayerRange::new(start, end),
                activation: (end < layers).then_some(precision),
            });
            grow(problem, service, longer, found);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answer_optimum_and_bound_stand_in_this_order(problem in tiny()) {
        let solution = solved(&problem);
        prop_assert_eq!(check(&problem, &solution), vec![]);
        let (ours, best) = (worth(&solution), optimum(&problem));
        prop_assert!(ours >= best, "{ours:?} is better than the optimum {best:?}");
        let certificate = &solution.levels[0];
        prop_assert_eq!(problem.services.len() - certificate.placed as usize, ours.0);
        prop_assert!(certificate.placeable as usize >= problem.services.len() - best.0);
        if problem.services.len() - best.0 == certificate.placeable as usize {
            prop_assert!(certificate.lower_bound.0 <= best.1, "{certificate:?} against {best:?}");
        }
        if certificate.is_exact() {
            prop_assert_eq!(ours, best);
        }
    }

    #[test]
    fn an_answer_to_many_that_is_handed_back_is_given_again(problem in tiny()) {
        let first = solved(&problem);
        let mut again = problem.clone();
        for (service, outcome) in again.services.iter_mut().zip(&first.services) {
            service.previous = outcome.placed().map(|placed| placed.pipeline.shape());
        }
        let second = solved(&again);
        for (one, other) in first.services.iter().zip(&second.services) {
            let pipeline = |outcome: &Outcome| outcome.placed().map(|placed| placed.pipeline.shape());
            prop_assert_eq!(pipeline(one), pipeline(other));
            if let Some(placed) = other.placed() {
                prop_assert_eq!(&placed.decision, &Decision::Kept { passed_over: None });
            }
        }
    }

    #[test]
    fn any_budget_leaves_a_legal_answer_for_many(problem in tiny(), steps in 0_u64..100_000) {
        let hurried = solve(&problem, &Budget::steps(steps)).expect("a meaningful problem");
        prop_assert_eq!(check(&problem, &hurried), vec![]);
    }
}

#[test]
fn nearly_all_small_choices_are_the_best() {
    let mut runner = TestRunner::deterministic();
    let (mut equal, mut proven, mut crowded, mut num) = (0, 0, 0, 0);
    for _ in 0..300 {
        let problem = tiny().new_tree(&mut runner).expect("a problem").current();
        let solution = solved(&problem);
        let best = optimum(&problem);
        num += 1;
        crowded += usize::from(best.0 > 0);
        equal += usize::from(worth(&solution) == best);
        proven += usize::from(solution.levels[0].is_exact());
    }
    assert!(
        equal * 100 >= num * 97,
        "{equal} of {num} are optimal, {crowded} leave one out, {proven} are proven"
    );
    assert!(proven * 3 >= num, "{proven} of {num} are proven");
}

/// A large and a small node. The first service would run on either, a little faster on the large one; the second has twice
/// the sessions and fits on that alone. Both do not fit there.
fn large_and_small() -> Problem {
    let mut problem = smollm_fleet(&[260, 180]);
    problem.links.clear();
    problem.nodes[0].compute_share_milli = 1_100;
    let mut second = problem.services[0].clone();
    (second.candidates[0].model.0, second.concurrency) = (1, 2);
    problem.services.push(second);
    problem.models.push(problem.models[0].clone());
    problem
}

#[test]
fn a_service_gives_way_to_one_that_fits_nowhere_else() {
    let problem = large_and_small();
    for service in 0..2 {
        let mut alone = problem.clone();
        alone.services = vec![problem.services[service].clone()];
        let solution = solved(&alone);
        let placed = solution.services[0].placed().expect("it fits alone");
        assert_eq!(
            placed.pipeline.stages[0].node,
            NodeOrd(0),
            "service {service} alone"
        );
    }

    let solution = solved(&problem);
    let node = |service: usize| {
        let placed = solution.services[service].placed().expect("both are placed");
        placed.pipeline.stages[0].node
    };
    assert_eq!((node(0), node(1)), (NodeOrd(1), NodeOrd(0)));
    let first = solution.services[0].placed().expect("it is placed");
    let given = first.gives_way.as_ref().expect("it gives way");
    assert_eq!(given.shape.stages[0].node, NodeOrd(0));
    assert!(given.cost < first.cost.total());
}

#[test]
fn memory_that_all_want_has_a_price_and_memory_that_nobody_lacks_has_none() {
    // One node is fast and holds one of three services; the others are slow and hold one each.
    let mut problem = smollm_fleet(&[180, 180, 180]);
    problem.links.clear();
    problem.nodes[0].compute_share_milli = 4_000;
    let service = problem.services[0].clone();
    problem.services = (0..3)
        .map(|model: u32| {
            let mut service = service.clone();
            service.candidates[0].model.0 = model;
            service
        })
        .collect();
    problem.models = vec![problem.models[0].clone(); 3];
    let solution = solved(&problem);
    let level = &solution.levels[0];
    assert_eq!((level.placed, level.placeable), (3, 3));
    assert_eq!(level.prices.first().map(|price| price.node), Some(NodeOrd(0)));
    assert!(level.gap().expect("all are placed") < 0.05, "{level:?}");

    for node in &mut problem.nodes {
        node.memory = Bytes::mebi(4_000);
    }
    for service in &mut problem.services {
        service.sessions_in_flight_milli = 0;
    }
    let roomy = solved(&problem);
    assert!(roomy.levels[0].prices.is_empty());
    assert!(roomy.levels[0].is_exact());
}

#[test]
fn a_service_of_higher_priority_gives_way_to_nobody() {
    let mut problem = large_and_small();
    problem.services[0].priority = 1;
    let solution = solved(&problem);
    let placed = solution.services[0].placed().expect("it chooses first");
    assert_eq!(placed.pipeline.stages[0].node, NodeOrd(0));
    assert_eq!(placed.gives_way, None);
    assert_eq!(solution.levels.len(), 2);
    assert!(solution.levels[0].priority > solution.levels[1].priority);
}

#[test]
fn what_runs_stays_unless_all_together_save_more_than_the_margins() {
    // Two services run on two of three equal nodes; the third becomes a little faster, then much faster.
    let mut problem = smollm_fleet(&[180, 180, 180]);
    problem.links.clear();
    let mut second = problem.services[0].clone();
    second.candidates[0].model.0 = 1;
    problem.services.push(second);
    problem.models.push(problem.models[0].clone());
    let shape = |solution: &Solution, service: usize| {
        let placed = solution.services[service].placed();
        placed.expect("it is placed").pipeline.shape()
    };
    let first = solved(&problem);
    for service in 0..2 {
        problem.services[service].previous = Some(shape(&first, service));
    }
    let moved = |compute_share_milli: u32| {
        let mut faster = problem.clone();
        let free = (0..3).find(|node| (0..2).all(|service| shape(&first, service).stages[0].node.0 != *node));
        let free = free.expect("one of three is free") as usize;
        faster.nodes[free].compute_share_milli = compute_share_milli;
        let after = solved(&faster);
        (0..2)
            .filter(|service| shape(&after, *service) != shape(&first, *service))
            .count()
    };
    assert_eq!(moved(1_050), 0, "five per cent are not worth a move");
    assert_eq!(moved(3_000), 1, "a third of the time is");
}
