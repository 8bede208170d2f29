//! What holds for every problem, judged by enumeration and by the independent check.

use super::support::{brute_force, crowded_problem, small_problem};
use proptest::prelude::*;
use solver::problem::{ExcludedNode, Exclusion, KeptStage};
use solver::solution::{Decision, Outcome};
use solver::units::Bytes;
use solver::{Budget, Problem, Solution, check, solve};

fn solved(problem: &Problem) -> Solution {
    solve(problem, &Budget::default()).expect("a meaningful problem")
}

/// The problem with its answer as what runs.
fn running(problem: &Problem, solution: &Solution) -> Problem {
    let mut problem = problem.clone();
    for (service, outcome) in problem.services.iter_mut().zip(&solution.services) {
        service.previous = outcome.placed().map(|placed| placed.pipeline.shape());
    }
    problem
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_answer_costs_what_brute_force_finds(problem in small_problem()) {
        let solution = solved(&problem);
        let placed = solution.services[0].placed();
        prop_assert_eq!(placed.map(|placed| placed.cost.total()), brute_force(&problem));
        if let Some(placed) = placed {
            prop_assert!(placed.certificate.is_exact());
            prop_assert_eq!(placed.certificate.best, placed.cost.total());
        }
    }

    #[test]
    fn what_fits_beside_a_running_pipeline_costs_what_brute_force_finds(problem in small_problem(), leaves in 0_usize..5) {
        let solution = solved(&problem);
        let mut problem = running(&problem, &solution);
        if let Some(placed) = solution.services[0].placed() {
            let stages = placed.pipeline.stages.iter();
            let service = &mut problem.services[0];
            service.kept = stages
                .map(|stage| KeptStage { node: stage.node, layers: stage.layers, memory: stage.memory.total() })
                .collect();
            let node = service.kept[leaves % service.kept.len()].node;
            service.excluded.push(ExcludedNode { node, why: Exclusion::Unschedulable });
        }
        let answer = solved(&problem);
        prop_assert_eq!(check(&problem, &answer), vec![]);
        prop_assert_eq!(answer.services[0].placed().map(|placed| placed.cost.total()), brute_force(&problem));
    }

    #[test]
    fn every_answer_is_legal(problem in crowded_problem()) {
        prop_assert_eq!(check(&problem, &solved(&problem)), vec![]);
    }

    #[test]
    fn the_same_question_has_the_same_answer(problem in crowded_problem()) {
        prop_assert_eq!(solved(&problem), solved(&problem));
    }

    #[test]
    fn an_answer_handed_back_is_given_again(problem in crowded_problem()) {
        let first = solved(&problem);
        let again = running(&problem, &first);
        let second = solved(&again);
        for (one, other) in first.services.iter().zip(&second.services) {
            match (one, other) {
                (Outcome::Placed(one), Outcome::Placed(other)) => {
                    prop_assert_eq!(&one.pipeline, &other.pipeline);
                    prop_assert_eq!(&other.decision, &Decision::Kept { passed_over: None });
                }
                _ => prop_assert_eq!(one, other),
            }
        }
        prop_assert_eq!(&second, &solved(&running(&again, &second)));
    }

    #[test]
    fn more_memory_never_makes_it_worse(problem in small_problem(), extra in 0_u64..600, which in 0_usize..5) {
        let before = solved(&problem).services[0].placed().map(|placed| placed.cost.total());
        let mut richer = problem.clone();
        let which = which % richer.nodes.len();
        richer.nodes[which].memory += Bytes::mebi(extra);
        let after = solved(&richer).services[0].placed().map(|placed| placed.cost.total());
        if let Some(before) = before {
            prop_assert!(after.is_some_and(|after| after <= before), "{before:?} then {after:?}");
        }
    }

    #[test]
    fn a_small_budget_gives_a_legal_answer_with_a_valid_bound(problem in small_problem(), steps in 0_u64..20_000) {
        let hurried = solve(&problem, &Budget::steps(steps)).expect("a meaningful problem");
        prop_assert_eq!(check(&problem, &hurried), vec![]);
        if let (Some(placed), Some(optimum)) = (hurried.services[0].placed(), brute_force(&problem)) {
            prop_assert!(placed.certificate.lower_bound <= optimum && optimum <= placed.certificate.best);
        }
    }
}
