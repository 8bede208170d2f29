//! What remains after the loss of a node, judged by enumeration.

use std::collections::BTreeSet;

use super::support::{each_legal, small_problem};
use proptest::prelude::*;
use solver::fixtures::smollm_fleet;
use solver::search::{Contingency, contingencies};
use solver::units::{NodeOrd, ServiceOrd};
use solver::{Budget, Problem, Solution, solve};

fn foreseen(problem: &Problem) -> (Solution, Vec<Contingency>) {
    let solution = solve(problem, &Budget::default()).expect("a meaningful problem");
    let found = contingencies(problem, &solution, &[ServiceOrd(0)], &Budget::default());
    (solution, found.expect("a meaningful problem"))
}

/// Whether the first service has a legal pipeline without a node.
fn remains(problem: &Problem, lost: NodeOrd) -> bool {
    let mut remains = false;
    each_legal(problem, |shape, _| {
        remains |= shape.stages.iter().all(|stage| stage.node != lost);
    });
    remains
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn something_remains_exactly_where_a_pipeline_without_the_node_is_legal(mut problem in small_problem()) {
        problem.services[0].ingress.clear();
        let (solution, found) = foreseen(&problem);
        let stages = solution.services[0].placed().map(|placed| placed.pipeline.stages.clone());
        let uses: BTreeSet<_> = stages.iter().flatten().map(|stage| stage.node).collect();
        prop_assert_eq!(found.len(), uses.len(), "one for each node of the pipeline");
        for contingency in found {
            let placed = contingency.services[0].1.placed();
            prop_assert_eq!(placed.is_some(), remains(&problem, contingency.lost));
            let stages = placed.iter().flat_map(|placed| &placed.pipeline.stages);
            prop_assert!(stages.into_iter().all(|stage| stage.node != contingency.lost));
        }
    }
}

#[test]
fn who_enters_at_the_lost_node_enters_elsewhere() {
    let mut problem = smollm_fleet(&[400, 400]);
    problem.services[0].ingress = vec![solver::problem::Ingress {
        node: NodeOrd(0),
        weight: 1,
    }];
    let (_, found) = foreseen(&problem);
    let placed = found[0].services[0].1.placed().expect("the other node holds it");
    assert_eq!(
        (found[0].lost, placed.pipeline.stages[0].node),
        (NodeOrd(0), NodeOrd(1))
    );
}
