//! Plans for all services at once: legal, worth what they say, never above the bound, and near or at the optimum of a brute
//! force that shares nothing with the search.

mod oracle;

use std::num::NonZeroUsize;

use super::support::crowded_chains;
use oracle::optimum;
use proptest::prelude::*;
use solver::Budget;
use solver::fixtures::{FIRST, round_model, smollm_fleet};
use solver::joint::fixtures::Metro;
use solver::joint::{Class, Event, JointProblem, JointSession, check, worth};
use solver::problem::{Mode, Service};
use solver::units::{Nanos, NodeOrd, ServiceOrd};

/// Two or three nodes, two layers, one or two services: small enough to look at every plan.
fn tiny() -> impl Strategy<Value = JointProblem> {
    let classes = prop::collection::vec((0_u32..2, 0_u32..3, 1_u64..40, 1_u64..60), 1..5);
    (crowded_chains(), classes, 300_u32..1_001, 0_u64..2).prop_map(
        |(mut fleet, classes, busy_max_milli, load)| {
            fleet.nodes.truncate(3);
            let nodes = u32::try_from(fleet.nodes.len()).expect("few");
            fleet
                .links
                .retain(|link| link.from.0 < nodes && link.to.0 < nodes);
            for model in &mut fleet.models {
                for variant in &mut model.variants {
                    variant.layer_bytes.truncate(2);
                }
            }
            fleet.services.truncate(2);
            for service in &mut fleet.services {
                service.ingress.clear();
                service.activations.truncate(1);
                service.concurrency = 2;
                // Promises that almost nothing keeps are promises for other tests.
                service.slo_ttft = service.slo_ttft.map(|slo| Nanos(slo.0 * 8));
                service.slo_tpot = service.slo_tpot.map(|slo| Nanos(slo.0 * 8));
            }
            let services = u32::try_from(fleet.services.len()).expect("few");
            let class = |(service, node, rate, seconds): (u32, u32, u64, u64)| Class {
                service: ServiceOrd(service % services),
                ingress: NodeOrd(node % nodes),
                rate_micro: rate * 10_000,
                value: Nanos::from_millis(seconds * 1_000),
            };
            JointProblem {
                busy_max_milli,
                load_price: load * 1_000_000_000_000_000,
                ..JointProblem::new(fleet, classes.into_iter().map(class).collect())
            }
        },
    )
}

fn session(problem: &JointProblem, threads: usize) -> JointSession {
    let threads = NonZeroUsize::new(threads).expect("some");
    JointSession::new(problem.clone(), threads).expect("a meaningful problem")
}

fn solved(problem: &JointProblem, threads: usize) -> JointSession {
    let mut session = session(problem, threads);
    session.solve(0.0, &Budget::steps(20_000_000));
    session
}

#[allow(clippy::cast_precision_loss, reason = "a ratio")]
fn close(one: i128, other: f64) -> bool {
    (one as f64 - other).abs() <= 1e-6 * other.abs() + 1e9
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn plan_optimum_and_bound_stand_in_this_order(problem in tiny()) {
        let session = solved(&problem, 1);
        let (plan, certificate) = (session.plan(), session.certificate());
        prop_assert_eq!(check(&problem, &plan), vec![]);
        prop_assert_eq!(worth(&problem, &plan), certificate.value);
        let optimum = optimum(&problem);
        let (value, bound) = (certificate.value as f64, certificate.bound as f64);
        prop_assert!(value <= optimum * (1.0 + 1e-9) + 1e9, "value {value} above the optimum {optimum}");
        prop_assert!(bound >= optimum * (1.0 - 1e-9) - 1e9, "bound {bound} below the optimum {optimum}");
    }

    #[test]
    fn any_budget_leaves_a_legal_plan_and_the_same_one_for_any_number_of_threads(problem in tiny(), steps in 0_u64..200_000) {
        let run = |threads: usize| {
            let mut session = session(&problem, threads);
            session.solve(0.0, &Budget::steps(steps));
            session
        };
        let (one, other) = (run(1), run(3));
        prop_assert_eq!(check(&problem, &one.plan()), vec![]);
        prop_assert_eq!(one.plan(), other.plan());
        prop_assert_eq!(one.certificate(), other.certificate());
    }

    #[test]
    fn after_events_the_plan_is_legal_and_the_bound_holds(problem in tiny(), rate in 0_u64..60, which in 0_usize..8, lost in 0_u32..3) {
        let mut session = solved(&problem, 1);
        let class = u32::try_from(which % problem.classes.len()).expect("few");
        let node = NodeOrd(lost % u32::try_from(problem.fleet.nodes.len()).expect("few"));
        let mut now = problem.clone();
        now.classes[class as usize].rate_micro = rate * 10_000;
        session.handle(Event::Rate { class, rate_micro: rate * 10_000 }, &Budget::default());
        prop_assert_eq!(check(&now, &session.plan()), vec![]);
        prop_assert!(session.certificate().bound as f64 >= optimum(&now) * (1.0 - 1e-9) - 1e9);

        session.handle(Event::NodeLost(node), &Budget::default());
        let mut without = now.clone();
        without.fleet.nodes[node.index()].compute_share_milli = 0;
        prop_assert_eq!(check(&without, &session.plan()), vec![]);
        prop_assert_eq!(worth(&without, &session.plan()), session.certificate().value);
        prop_assert!(session.certificate().bound as f64 >= optimum(&without) * (1.0 - 1e-9) - 1e9);

        session.handle(Event::NodeBack(node), &Budget::default());
        prop_assert_eq!(check(&now, &session.plan()), vec![]);
        prop_assert!(session.certificate().bound as f64 >= optimum(&now) * (1.0 - 1e-9) - 1e9);
    }
}

#[test]
fn plans_of_many_small_problems_are_as_good_as_the_best() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut ours, mut best, mut equal, mut num) = (0.0, 0.0, 0, 0);
    for _ in 0..300 {
        let problem = tiny().new_tree(&mut runner).expect("a problem").current();
        let value = solved(&problem, 1).certificate().value;
        let optimum = optimum(&problem);
        if optimum > 0.0 {
            #[allow(clippy::cast_precision_loss, reason = "a ratio")]
            let value_f64 = value as f64;
            (ours, best, num) = (ours + value_f64 / optimum, best + 1.0, num + 1);
            equal += usize::from(close(value, optimum));
        }
    }
    assert!(num > 100, "{num} problems with an answer");
    assert!(
        ours / best > 0.99,
        "{:.4} of the optimum on the average",
        ours / best
    );
    assert!(equal * 100 > num * 60, "{equal} of {num} are optimal");
}

/// By what part of the bound the optimum is less, on the average of small problems; and at most.
fn looseness(change: impl Fn(&mut JointProblem)) -> (f64, f64) {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut sum, mut most, mut num) = (0.0, 0.0_f64, 0);
    for _ in 0..200 {
        let mut problem = tiny().new_tree(&mut runner).expect("a problem").current();
        change(&mut problem);
        let optimum = optimum(&problem);
        if optimum > 0.0 {
            #[allow(clippy::cast_precision_loss, reason = "a ratio")]
            let bound = solved(&problem, 1).certificate().bound as f64;
            let loose = 1.0 - optimum / bound;
            (sum, most, num) = (sum + loose, most.max(loose), num + 1);
        }
    }
    assert!(num > 50, "{num} problems with an answer");
    (sum / f64::from(num), most)
}

fn unsplit(problem: &mut JointProblem) {
    for service in &mut problem.fleet.services {
        service.modes = vec![Mode::OnServer, Mode::OnDevice];
        service.candidates.truncate(1);
    }
}

#[test]
fn services_that_share_one_node_are_bounded_by_their_optimum() {
    let (mean, most) = looseness(|problem| {
        unsplit(problem);
        problem.fleet.nodes.truncate(1);
        problem.fleet.links.clear();
        for service in &mut problem.fleet.services {
            (service.previous, service.kept) = (None, Vec::new());
            service.excluded.retain(|excluded| excluded.node == NodeOrd(0));
        }
        problem.fleet.loaded.retain(|loaded| loaded.node == NodeOrd(0));
        problem
            .classes
            .iter_mut()
            .for_each(|class| class.ingress = NodeOrd(0));
    });
    assert!(mean < 0.02, "loose by {mean} on the average, {most} at most");
}

#[test]
fn services_that_share_nodes_are_bounded_closely() {
    let (mean, most) = looseness(unsplit);
    assert!(mean < 0.02, "loose by {mean} on the average, {most} at most");
}

#[test]
fn a_metropolitan_area_is_planned_with_a_small_gap() {
    let metro = Metro {
        nodes: 60,
        regions: 4,
        services: 12,
        users: 1_000,
        seed: 3,
    };
    let problem = metro.problem();
    let session = solved(&problem, 2);
    let certificate = session.certificate();
    assert_eq!(check(&problem, &session.plan()), vec![]);
    assert!(certificate.gap() < 0.1, "{certificate:?}");
    let split = session
        .plan()
        .replicas
        .iter()
        .any(|replica| replica.shape.stages.len() > 1);
    assert!(split, "the largest model fits no machine");
}

#[test]
fn services_that_ask_one_large_model_share_its_weights() {
    // A node holds one half of the model and the sessions of both services, but neither two halves nor one half twice.
    let mut fleet = smollm_fleet(&[650, 650]);
    fleet.models = vec![round_model(4)];
    fleet.services = vec![Service::new(vec![FIRST]); 2];
    let class = |service| Class {
        service: ServiceOrd(service),
        ingress: NodeOrd(0),
        rate_micro: 10_000,
        value: Nanos::from_millis(1_000_000),
    };
    let problem = JointProblem::new(fleet, vec![class(0), class(1)]);
    let session = solved(&problem, 1);
    let plan = session.plan();
    assert_eq!(check(&problem, &plan), vec![]);
    assert_eq!(plan.replicas.len(), 2, "{plan:?}");
    assert_eq!(plan.replicas[0].shape, plan.replicas[1].shape);
    let answered: u64 = plan.routes.iter().map(|route| route.rate_micro).sum();
    assert_eq!(answered, 20_000);
}

#[test]
fn a_model_too_large_for_any_node_is_split_only_if_that_is_allowed() {
    let metro = Metro {
        nodes: 40,
        regions: 2,
        services: 5,
        users: 400,
        seed: 1,
    };
    let mut problem = metro.problem();
    for service in &mut problem.fleet.services {
        service.modes = vec![Mode::OnServer];
    }
    let session = solved(&problem, 1);
    assert!(
        session
            .plan()
            .replicas
            .iter()
            .all(|replica| replica.shape.stages.len() == 1)
    );
    assert_eq!(check(&problem, &session.plan()), vec![]);
}

#[test]
fn a_class_of_an_unknown_service_is_refused_by_name() {
    let mut problem = Metro {
        nodes: 4,
        regions: 2,
        services: 2,
        users: 10,
        seed: 1,
    }
    .problem();
    problem.classes[0].service = ServiceOrd(9);
    let refused = JointSession::new(problem, NonZeroUsize::MIN).expect_err("means nothing");
    assert_eq!(refused.field, "classes[0].service");
}
