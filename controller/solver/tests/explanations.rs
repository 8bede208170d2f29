//! Explanations as people read them, compared with the texts in `explanations/`.

use solver::explain::{Names, explain};
use solver::fixtures::smollm_fleet;
use solver::problem::{ExcludedNode, Exclusion};
use solver::units::NodeOrd;
use solver::{Budget, Problem, solve};

fn explained(problem: &Problem) -> String {
    let node = |node: NodeOrd| ["alpha", "beta", "gamma"][node.index()].to_owned();
    let names = Names {
        node: &node,
        candidate: &|_| "smollm/q4_1".to_owned(),
    };
    explain(
        &solve(problem, &Budget::default())
            .expect("a meaningful problem")
            .services[0],
        &names,
    )
}

#[test]
fn a_split_is_explained() {
    let mut problem = smollm_fleet(&[150, 130, 150]);
    problem.services[0].chunk_rows = 128;
    assert_eq!(explained(&problem), include_str!("explanations/split.txt"));
}

#[test]
fn a_lack_of_memory_is_explained() {
    let mut problem = smollm_fleet(&[80, 40, 400]);
    problem.services[0].excluded = vec![ExcludedNode {
        node: NodeOrd(2),
        why: Exclusion::NotReady,
    }];
    assert_eq!(explained(&problem), include_str!("explanations/infeasible.txt"));
}
