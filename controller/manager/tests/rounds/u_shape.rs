//! U-shaped pipelines: one node holds two stages of a pipeline, and what it may not tell stays there.

use std::sync::Arc;

use crds::{
    InferenceMode, LLMService, PlacementSpec,
    llm_service::PrivacyLevel,
    placement::PlacementPhase,
    route_table::{HopPhase, HopStatus},
};
use kube::ResourceExt as _;
use manager::{
    lint::{Finding, lint},
    plan::{Plan, Proposed},
    world::Loss,
};

use crate::{Scene, condition, name, node};

/// A phone that is trusted and too small, and servers that are neither.
fn scene(modes: &[InferenceMode]) -> Scene {
    let mut scene = Scene::new([
        node("phone", 110, 900),
        node("server", 400, 100),
        node("spare", 400, 300),
    ]);
    scene.node("phone").spec.trust_domain = Some("ada".to_owned());
    for server in ["server", "spare"] {
        scene.node(server).spec.trust_domain = Some("operator".to_owned());
    }
    let spec = &mut scene.service().spec;
    spec.modes = modes.to_vec();
    spec.privacy.level = PrivacyLevel::TrustedText;
    spec.privacy.trust_domains = vec!["ada".to_owned()];
    spec.privacy.shallow_layers = 4;
    scene
}

fn private() -> Scene {
    let mut modes = InferenceMode::defaults();
    modes.push(InferenceMode::UShaped);
    scene(&modes)
}

fn decided(scene: &Scene) -> PlacementSpec {
    scene.world.placements.first().expect("a decision").spec.clone()
}

#[test]
fn the_middle_is_on_a_node_that_may_see_no_text() {
    let mut scene = private();
    let plan = scene.settle();
    let spec = decided(&scene);
    let [pipeline] = spec.pipelines.as_slice() else {
        panic!("{spec:?}")
    };
    assert_eq!(pipeline.mode, InferenceMode::UShaped);
    let nodes: Vec<&str> = pipeline.stages.iter().map(|stage| stage.node.as_str()).collect();
    assert_eq!(nodes, ["phone", "server", "phone"]);
    assert!(pipeline.stages[1].first_layer >= 4, "{:?}", pipeline.stages);
    let summary = &spec.explanation.summary;
    assert!(summary.contains("first and last layers on phone"), "{summary}");

    let on_phone = scene
        .world
        .stages
        .iter()
        .filter(|stage| stage.spec.node_name == "phone");
    assert_eq!(on_phone.count(), 2);
    let table = scene.world.route_table("phone").expect("a table");
    let wired: Vec<_> = table
        .spec
        .hops
        .iter()
        .map(|hop| {
            (
                hop.ordinal,
                hop.previous.as_deref(),
                hop.next.as_deref(),
                hop.head.as_str(),
            )
        })
        .collect();
    let server = Some("server");
    assert_eq!(wired, [(0, None, server, "phone"), (2, server, None, "phone")]);
    let ada = Some(vec!["ada".to_owned()]);
    assert!(
        table.spec.hops.iter().all(|hop| hop.trust_domains == ada),
        "{table:?}"
    );
    let away = scene.world.route_table("server").expect("a table");
    assert_eq!(away.spec.hops[0].trust_domains, None, "hidden states only");
    assert_eq!(condition(&scene.world, &plan, "Ready").0, "True");
}

#[test]
fn without_the_mode_there_is_none_and_the_status_names_it() {
    let mut scene = scene(&InferenceMode::defaults());
    let plan = scene.settle();
    assert_eq!(scene.serving(), None);
    let told = format!("{:?}", plan.services[&name()].verdict);
    assert!(told.contains("allowing the mode UShaped"), "{told}");
}

#[test]
fn another_node_takes_the_middle_over_and_without_the_phone_nothing_remains() {
    let mut scene = private();
    scene.settle();
    scene.world.lost.insert("server".to_owned(), Loss::LeaseExpired);
    scene.settle();
    let serving = scene.serving().expect("it serves again");
    assert!(
        serving.starts_with("phone[") && serving.contains(" spare["),
        "{serving}"
    );
    scene.world.lost.insert("phone".to_owned(), Loss::LeaseExpired);
    let plan = scene.settle();
    assert_eq!(scene.serving(), None);
    let (ready, _) = condition(&scene.world, &plan, "Ready");
    assert_eq!(ready, "False");
}

#[test]
fn it_has_drained_when_both_hops_of_the_node_have() {
    let mut scene = private();
    scene.settle();
    scene.service().spec.replicas = 0;
    let (_, changed) = scene.round();
    assert!(changed);
    let drain = |scene: &mut Scene, phases: [HopPhase; 2]| {
        scene.agents();
        for table in &mut scene.world.route_tables {
            if table.name_any() != "phone" {
                continue;
            }
            let hops = table.spec.hops.iter().zip(phases).map(|(hop, phase)| HopStatus {
                pipeline: hop.pipeline.clone(),
                revision: hop.revision,
                ordinal: hop.ordinal,
                phase,
                ..HopStatus::default()
            });
            let hops = hops.collect();
            Arc::make_mut(table).status.get_or_insert_default().hops = hops;
        }
    };
    for phases in [
        [HopPhase::Drained, HopPhase::Draining],
        [HopPhase::Draining, HopPhase::Drained],
    ] {
        drain(&mut scene, phases);
        let (plan, _) = scene.round();
        assert_eq!(plan.finished.len(), 0, "{phases:?}");
        assert_eq!(plan.placements[0].phase, PlacementPhase::Draining);
    }
    drain(&mut scene, [HopPhase::Drained, HopPhase::Drained]);
    let (plan, _) = scene.round();
    assert_eq!(plan.finished.len(), 1);
}

/// What the linter says of a first plan that somebody has changed.
fn found(change: impl FnOnce(&mut Plan<Proposed>, &mut LLMService)) -> Vec<Finding> {
    let mut scene = private();
    let mut plan = scene.plan();
    assert_eq!(plan.placements.len(), 1);
    change(&mut plan, scene.service());
    lint(&scene.world, &plan)
}

#[test]
fn the_linter_looks_at_both_ends_and_at_the_cut() {
    let stages = |plan: &mut Plan<Proposed>, cut: i32| {
        let stages = &mut plan.placements[0].spec.pipelines[0].stages;
        stages[0].end_layer = cut;
        stages[1].first_layer = cut;
    };
    let is_private =
        |finding: &Finding, on: &str| matches!(finding, Finding::Privacy { node, .. } if node == on);
    let shallow = found(|plan, _| stages(plan, 3));
    assert!(
        matches!(&shallow[..], [finding] if is_private(finding, "server")),
        "{shallow:?}"
    );
    assert_eq!(found(|plan, _| stages(plan, 4)), []);

    let mode = found(|plan, _| plan.placements[0].spec.pipelines[0].mode = InferenceMode::MultiHop);
    let twice = |finding: &Finding| matches!(finding, Finding::NodeTwice { node, .. } if node == "phone");
    let ends = |finding: &Finding| matches!(finding, Finding::Ends { .. });
    assert!(mode.iter().any(twice) && mode.iter().any(ends), "{mode:?}");

    let elsewhere = found(|plan, _| {
        let stages = &mut plan.placements[0].spec.pipelines[0].stages;
        stages[2].node = "spare".to_owned();
    });
    assert!(elsewhere.iter().any(ends), "{elsewhere:?}");
    assert!(
        elsewhere.iter().any(|finding| is_private(finding, "spare")),
        "{elsewhere:?}"
    );

    let only = found(|_, service| service.spec.privacy.level = PrivacyLevel::TrustedOnly);
    assert!(
        only.iter().any(|finding| is_private(finding, "server")),
        "{only:?}"
    );
}
