//! Proven optima, judged by enumeration.

use proptest::prelude::*;
use solver::caching::{CachingProblem, check, fixtures};
use solver::units::Bytes;

use super::{brute_force, session, small_problem, unlimited};
use solver::Budget;

fn proven(problem: &CachingProblem) -> i64 {
    let mut session = session(problem);
    session.place(&unlimited());
    session.prove(&Budget::steps(3_000_000_000));
    assert!(session.certificate().is_exact(), "{:?}", session.certificate());
    assert_eq!(check(problem, &session.placement()), vec![]);
    session.certificate().value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn what_is_proven_is_the_optimum(problem in small_problem()) {
        prop_assert_eq!(proven(&problem), brute_force(&problem));
    }

    #[test]
    fn more_memory_never_hurts(problem in small_problem(), extra in 1_u64..30, which in 0_usize..3) {
        let before = proven(&problem);
        let mut richer = problem;
        let which = which % richer.servers.len();
        richer.servers[which].capacity += Bytes(extra);
        prop_assert!(proven(&richer) >= before);
    }

    #[test]
    fn a_proof_that_is_cut_short_leaves_a_valid_bound(problem in small_problem(), steps in 0_u64..4_000) {
        let mut session = session(&problem);
        session.prove(&Budget::steps(steps));
        let certificate = session.certificate();
        let optimum = brute_force(&problem);
        prop_assert!(certificate.value <= optimum && optimum <= certificate.bound, "{certificate:?} {optimum}");
    }
}

#[test]
fn the_survey_setting_is_proven_to_a_hundredth() {
    let mut before = 0;
    for megabytes in [1_000, 2_000, 3_500, 5_000] {
        let problem = fixtures::gpt2_adapters(Bytes(megabytes * 1_000_000), 1);
        let mut session = session(&problem);
        session.place(&unlimited());
        session.tighten(200, &unlimited());
        session.improve(2, &unlimited());
        let certificate = session.certificate();
        assert!(certificate.gap() < 1e-2, "{megabytes} MB: {}", certificate.gap());
        assert!(certificate.bound >= before, "{megabytes} MB");
        before = certificate.value;
    }
}
