//! Why a node has no part in a pipeline, judged by enumeration: what is named is legal, has the node in it, costs what is
//! said, and is nearly always the best with it.

use super::support::{each_legal, small_problem};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use solver::check::{Occupancy, check_pipeline};
use solver::solution::{PipelineShape, WhyNot};
use solver::units::{Nanos, NodeOrd, ServiceOrd};
use solver::{Budget, Problem, solve, why_not};

fn asked(problem: &Problem, node: NodeOrd) -> (Option<Nanos>, WhyNot) {
    let solution = solve(problem, &Budget::default()).expect("a meaningful problem");
    let budget = Budget::default();
    let cost = solution.services[0].placed().map(|placed| placed.cost.total());
    (cost, why_not(problem, &solution, ServiceOrd(0), node, &budget))
}

fn has(shape: &PipelineShape, node: NodeOrd) -> bool {
    shape.stages.iter().any(|stage| stage.node == node)
}

/// The least cost of a pipeline of the first service with a node in it, by enumeration.
fn least_with(problem: &Problem, node: NodeOrd) -> Option<Nanos> {
    let mut least: Option<Nanos> = None;
    each_legal(problem, |shape, evaluation| {
        let cost = evaluation.cost.total();
        if has(shape, node) && least.is_none_or(|least| cost < least) {
            least = Some(cost);
        }
    });
    least
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_named_is_legal_and_costs_no_less_than_the_best_with_the_node(problem in small_problem(), node in 0_usize..5) {
        let node = NodeOrd::from_index(node % problem.nodes.len());
        let (cost, answer) = asked(&problem, node);
        let best = least_with(&problem, node);
        match answer {
            WhyNot::Chosen => prop_assert_eq!(cost, best),
            WhyNot::Refused(_) => prop_assert!(best.is_none() || best > cost),
            WhyNot::Dearer { shape, cost: with_node, more } => {
                prop_assert!(has(&shape, node));
                prop_assert_eq!(check_pipeline(&problem, ServiceOrd(0), &shape, &Occupancy::default()), vec![]);
                prop_assert!(Some(with_node) >= best);
                prop_assert_eq!(Some(with_node), cost.map(|cost| cost + more));
            }
        }
    }
}

#[test]
fn nearly_always_the_best_with_the_node_is_named() {
    let mut runner = TestRunner::deterministic();
    let (mut num, mut named) = (0, 0);
    for round in 0..200 {
        let problem = small_problem()
            .new_tree(&mut runner)
            .expect("a problem")
            .current();
        let node = NodeOrd::from_index(round % problem.nodes.len());
        let Some(best) = least_with(&problem, node) else {
            continue;
        };
        match asked(&problem, node).1 {
            WhyNot::Chosen => {}
            WhyNot::Refused(_) => num += 1,
            WhyNot::Dearer { cost, .. } => {
                num += 1;
                named += usize::from(cost == best);
            }
        }
    }
    assert!(num > 20, "{num} nodes could have had a part");
    assert!(
        named * 10 >= num * 8,
        "{named} of {num} are the best with the node"
    );
}
