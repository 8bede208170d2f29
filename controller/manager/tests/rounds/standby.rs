//! Services that are to survive the loss of any one node.

use std::sync::Arc;

use crds::llm_service::FaultTolerance;
use futures::FutureExt as _;
use kube::ResourceExt as _;
use manager::{
    figures::{self, Family},
    foresight::Foresight,
    plan::{Plan, Verdict, decision::pipeline_line, standby},
    status,
    world::{Loss, ServiceName},
};

use crate::{Scene, condition, k8s_now, name, node};

fn protected(mut scene: Scene) -> Scene {
    scene.service().spec.fault_tolerance = FaultTolerance::NodeLoss;
    scene
}

/// Two nodes of which each holds one of two services of equal priority.
fn crowded() -> Scene {
    let mut scene = Scene::new([node("a", 400, 900), node("b", 400, 1_000)]);
    scene.service().spec.context_tokens = 8_192;
    let mut other = scene.service().clone();
    other.metadata.name = Some("other".to_owned());
    scene.world.services.push(Arc::new(other));
    scene
}

#[test]
fn a_service_with_a_standby_says_which() {
    let mut scene = protected(Scene::new([node("a", 400, 900), node("b", 400, 1_000)]));
    let plan = scene.settle();
    let known = plan.services[&name()].contingencies.as_ref();
    let known = known.expect("it was looked into");
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!(
        (known[0].lost.as_str(), known[0].pipeline.as_deref()),
        ("a", Some("b[0, 30)"))
    );
    assert!(
        known[0].time_per_output_token_microseconds > Some(30_000),
        "{known:?}"
    );
    assert_eq!(
        condition(&scene.world, &plan, "FaultTolerant"),
        ("True".to_owned(), "AsDesired".to_owned())
    );
    let placement = plan.serving(&name()).expect("a Placement");
    assert_eq!(
        status::of_placement(&plan, placement, k8s_now()).contingencies,
        *known
    );

    scene.world.lost.insert("a".to_owned(), Loss::LeaseExpired);
    scene.settle();
    assert_eq!(
        scene.serving().as_deref(),
        known[0].pipeline.as_deref(),
        "as foreseen"
    );
}

#[test]
fn the_node_whose_loss_would_end_the_service_is_named() {
    let mut scene = protected(Scene::new([
        node("a", 120, 900),
        node("b", 120, 800),
        node("c", 120, 850),
    ]));
    let plan = scene.settle();
    assert_eq!(condition(&scene.world, &plan, "FaultTolerant").0, "True");

    let mut scene = protected(Scene::new([
        node("a", 120, 900),
        node("b", 120, 800),
        node("c", 20, 850),
    ]));
    let plan = scene.settle();
    assert_eq!(
        condition(&scene.world, &plan, "FaultTolerant"),
        ("False".to_owned(), "NoStandby".to_owned())
    );
    let service = status::of_service(&scene.world, &plan, &scene.world.services[0], k8s_now());
    let said = service
        .conditions
        .iter()
        .find(|known| known.type_ == "FaultTolerant");
    let message = &said.expect("a condition").message;
    assert!(
        message.starts_with("the loss of a would end the service"),
        "{message}"
    );
    let figures = figures::of(&scene.world, &plan);
    let own = figures
        .iter()
        .find(|figure| figure.family == Family::ServiceFaultTolerant);
    assert_eq!(own.expect("a figure").value, 0.0);
    let (_, written) = scene.round();
    assert!(!written, "a settled world is left alone");
}

#[test]
fn a_service_that_asks_for_nothing_is_told_nothing() {
    let mut scene = Scene::new([node("a", 400, 900), node("b", 400, 1_000)]);
    let plan = scene.settle();
    assert_eq!(plan.services[&name()].contingencies, None);
    let service = status::of_service(&scene.world, &plan, &scene.world.services[0], k8s_now());
    assert!(
        service
            .conditions
            .iter()
            .all(|known| known.type_ != "FaultTolerant")
    );
}

#[test]
fn what_was_looked_into_is_told_of_the_same_pipeline_only() {
    let mut scene = protected(Scene::new([node("a", 400, 900), node("b", 400, 1_000)]));
    let foreseen = scene.foresee();
    scene.world.lost.insert("a".to_owned(), Loss::LeaseExpired);
    let moved = scene.plan_with(&foreseen);
    assert_eq!(moved.services[&name()].contingencies, None);
    assert_eq!(
        condition(&scene.world, &moved, "FaultTolerant"),
        ("Unknown".to_owned(), "NotObservedYet".to_owned())
    );
    scene.world.lost.clear();
    let known = scene.plan_with(&foreseen).services[&name()].contingencies.clone();
    assert_eq!(known.map(|known| known.len()), Some(1));
}

#[tokio::test]
async fn losses_are_looked_into_beside_the_rounds_and_each_question_once() {
    let scene = protected(Scene::new([node("a", 400, 900), node("b", 400, 1_000)]));
    let mut foresight = Foresight::default();
    let round = |foresight: &mut Foresight| {
        let (snapshot, solution) = scene.solve();
        let plan = Plan::propose(&scene.world, &snapshot, &solution);
        let plan = foresight.tell(plan, &snapshot, &solution);
        let asked = standby::asked(&scene.world, &snapshot);
        foresight.look_into(asked, snapshot, solution);
        plan.services[&name()].contingencies.as_ref().map(Vec::len)
    };
    assert_eq!(round(&mut foresight), None, "no round waits for it");
    foresight.news().await;
    assert_eq!(round(&mut foresight), Some(1));
    assert_eq!(foresight.news().now_or_never(), None, "the question is the same");
}

#[test]
fn of_equal_priority_the_service_that_does_not_ask_gives_way() {
    for asks in 0..2 {
        let mut scene = crowded();
        let asking = ServiceName::of(&scene.world.services[asks]);
        Arc::make_mut(&mut scene.world.services[asks])
            .spec
            .fault_tolerance = FaultTolerance::NodeLoss;
        let plan = scene.settle();
        let verdicts = plan.services.values().map(|known| &known.verdict);
        assert!(
            verdicts
                .into_iter()
                .all(|verdict| matches!(verdict, Verdict::Feasible(_)))
        );
        let uses = |plan: &Plan<_>| {
            let serving = plan.serving(&asking).expect("a Placement");
            pipeline_line(&serving.spec)
        };
        let before = uses(&plan);
        let known = plan.services[&asking].contingencies.as_ref();
        let contingency = &known.expect("it was looked into")[0];
        assert_eq!(contingency.why_not, None, "{asking}");

        scene
            .world
            .lost
            .insert(contingency.lost.clone(), Loss::LeaseExpired);
        let plan = scene.settle();
        let after = uses(&plan);
        assert_ne!(before, after);
        assert_eq!(Some(after), contingency.pipeline);
        let other = &scene.world.services[1 - asks].name_any();
        let gave_way = plan.services.iter().find(|(name, _)| name.name == *other);
        assert!(matches!(
            gave_way.expect("known").1.verdict,
            Verdict::Infeasible(..)
        ));
    }
}
