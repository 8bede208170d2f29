//! Explanations as people read them, compared with the texts in `explanations/`.

use super::assisted::{cascading, device_and_server};
use solver::explain::{Names, explain};
use solver::fixtures::smollm_fleet;
use solver::problem::{Candidate, ExcludedNode, Exclusion, Mode};
use solver::units::NodeOrd;
use solver::{Budget, Problem, solve};

fn explained(problem: &Problem) -> String {
    explained_of(problem, &|_| "smollm/q4_1".to_owned())
}

/// A large model and a small one.
fn of_two_models(problem: &Problem) -> String {
    explained_of(problem, &|candidate| {
        ["large/q8", "small/q8"][candidate.model.index()].to_owned()
    })
}

fn explained_of(problem: &Problem, candidate: &dyn Fn(Candidate) -> String) -> String {
    let node = |node: NodeOrd| ["alpha", "beta", "gamma"][node.index()].to_owned();
    let names = Names {
        node: &node,
        candidate,
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

#[test]
fn a_small_model_that_drafts_is_explained() {
    let text = of_two_models(&device_and_server());
    assert_eq!(text, include_str!("explanations/speculative.txt"));
}

#[test]
fn a_small_model_that_answers_first_is_explained() {
    let mut problem = cascading(10);
    problem.services[0].modes = vec![Mode::Cascade];
    let text = of_two_models(&problem);
    assert_eq!(text, include_str!("explanations/cascade.txt"));
}
