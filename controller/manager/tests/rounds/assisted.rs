//! Speculative and cascaded pipelines: what they would give is told, and nothing of them is written.

use std::sync::Arc;

use crds::{
    InferenceMode, Model, ModelSpec,
    edge_node::{Benchmark, BenchmarkPoint},
    model::ModelVariantStatus,
    placement::Alternative,
};
use kube::ResourceExt as _;
use manager::{
    lint::{Finding, lint},
    plan::{Plan, Proposed, Verdict},
};
use serde_json::json;

use crate::{Scene, condition, model, name, node, spec};

/// A model of a fifth of the layers, with the same tokens.
fn tiny() -> Model {
    let mut tiny = model();
    tiny.metadata.name = Some("tiny".to_owned());
    tiny.spec = spec::<ModelSpec>(json!({
        "variants": [{ "name": "q4-1", "uri": "file:///models/tiny.gguf" }],
    }));
    let status = tiny.status.as_mut().expect("it was inspected");
    status.architecture.as_mut().expect("it was inspected").layers = 6;
    status.variants = vec![ModelVariantStatus {
        digest: "sha256:tiny".to_owned(),
        ..status.variants[0].clone()
    }];
    tiny
}

/// A phone and a server that have timed both models; `smol` names `tiny` as its draft model.
fn scene(modes: &[InferenceMode]) -> Scene {
    let mut scene = Scene::new([node("phone", 90, 4_000), node("server", 600, 2_000)]);
    let large = Arc::make_mut(&mut scene.world.models[0]);
    large.spec.draft_model = Some("tiny".to_owned());
    large.spec.draft_acceptance_percent = 85;
    scene.world.models.push(Arc::new(tiny()));
    for known in ["phone", "server"] {
        let device = &mut scene.node(known).status.as_mut().expect("an agent").devices[0];
        let point = |rows: i32, factor: i64| BenchmarkPoint {
            rows,
            layer_nanoseconds: 100_000 * factor,
            head_nanoseconds: 400_000 * factor,
            ..BenchmarkPoint::default()
        };
        device.benchmarks.push(Benchmark {
            model: "sha256:tiny".to_owned(),
            points: vec![point(1, 1), point(8, 3), point(512, 110)],
            ..Benchmark::default()
        });
    }
    scene.service().spec.modes = modes.to_vec();
    scene
}

fn and_default(mode: InferenceMode) -> Vec<InferenceMode> {
    InferenceMode::defaults().into_iter().chain([mode]).collect()
}

fn told(scene: &Scene, mode: InferenceMode) -> Alternative {
    let spec = &scene.world.placements.first().expect("a decision").spec;
    let told = spec
        .explanation
        .alternatives
        .iter()
        .find(|other| other.mode == mode);
    told.expect("the mode is told").clone()
}

#[test]
fn a_speculation_that_would_be_better_is_told_and_not_written() {
    let mut scene = scene(&and_default(InferenceMode::Speculative));
    let plan = scene.settle();
    let spec = scene.world.placements[0].spec.clone();
    assert_eq!(spec.pipelines[0].mode, InferenceMode::OnServer);
    let told = told(&scene, InferenceMode::Speculative);
    assert!(told.pipeline.starts_with("tiny q4-1 on "), "{told:?}");
    assert!(told.pipeline.contains(" drafts "), "{told:?}");
    assert!(
        told.why_not.contains(" less; agents do not run this mode yet"),
        "{told:?}"
    );
    let each = |prediction: &crds::placement::Prediction| prediction.time_per_output_token_microseconds;
    let faster = told.predicted.as_ref().map(each) < Some(each(&spec.pipelines[0].predicted));
    assert!(faster, "{told:?}");
    let summary = &spec.explanation.summary;
    assert!(summary.contains("Speculative (tiny q4-1 on "), "{summary}");
    assert!(summary.ends_with("agents do not run it yet."), "{summary}");
    let loaded = scene.world.stages.iter();
    let loaded: Vec<&str> = loaded.map(|stage| stage.spec.model.digest.as_str()).collect();
    assert_eq!(loaded, ["sha256:smol"], "no stage of the small model");
    assert_eq!(condition(&scene.world, &plan, "Ready").0, "True");
}

#[test]
fn a_service_that_allows_nothing_else_is_infeasible_and_says_what_it_would_have() {
    let mut scene = scene(&[InferenceMode::Speculative]);
    let plan = scene.settle();
    assert!(scene.world.placements.is_empty() && scene.world.stages.is_empty());
    assert_eq!(
        condition(&scene.world, &plan, "Feasible"),
        ("False".to_owned(), "Infeasible".to_owned())
    );
    let Verdict::Infeasible(why, tried) = &plan.services[&name()].verdict else {
        panic!("{:?}", plan.services)
    };
    assert!(
        why.starts_with("spec.modes allows only what agents do not run yet; OnDevice, OnServer"),
        "{why}"
    );
    assert!(
        why.contains("Speculative (tiny q4-1 on ") && why.contains("per token"),
        "{why}"
    );
    assert!(matches!(&tried[..], [one] if one.mode == InferenceMode::Speculative));
}

#[test]
fn what_a_mode_lacks_is_told() {
    let why = |change: &dyn Fn(&mut Scene)| {
        let mut scene = scene(&and_default(InferenceMode::Speculative));
        change(&mut scene);
        scene.settle();
        told(&scene, InferenceMode::Speculative).why_not
    };
    let unnamed = why(&|scene| Arc::make_mut(&mut scene.world.models[0]).spec.draft_model = None);
    assert_eq!(
        unnamed,
        "no Model of the service names a draftModel that exists and was inspected"
    );
    let differs = why(&|scene| {
        let tiny = Arc::make_mut(&mut scene.world.models[1]);
        let architecture = tiny
            .status
            .as_mut()
            .and_then(|status| status.architecture.as_mut());
        architecture.expect("it was inspected").vocabulary = 32_000;
    });
    assert!(
        differs.contains("has 32000 tokens and the model's has 49152"),
        "{differs}"
    );
    let untimed = why(&|scene| {
        for known in ["phone", "server"] {
            scene.node(known).status.as_mut().expect("an agent").devices[0]
                .benchmarks
                .pop();
        }
    });
    assert!(untimed.contains("has timed the small model"), "{untimed}");
}

#[test]
fn a_cascade_is_told_where_the_service_names_two_models() {
    let mut scene = scene(&and_default(InferenceMode::Cascade));
    scene.settle();
    let alone = told(&scene, InferenceMode::Cascade).why_not;
    assert!(alone.starts_with("spec.models names one Model"), "{alone}");
    let spec = &mut scene.service().spec;
    spec.models.push(spec.models[0].clone());
    spec.models[1].name = "tiny".to_owned();
    spec.cascade.escalated_percent = 10;
    scene.world.placements.clear();
    scene.settle();
    let told = told(&scene, InferenceMode::Cascade);
    assert!(
        told.pipeline.starts_with("tiny q4-1 on ") && told.pipeline.contains(", then "),
        "{told:?}"
    );
}

#[test]
fn a_plan_with_such_a_pipeline_is_refused() {
    let scene = scene(&and_default(InferenceMode::Speculative));
    let mut plan: Plan<Proposed> = scene.plan();
    plan.placements[0].spec.pipelines[0].mode = InferenceMode::Speculative;
    let placement = plan.placements[0].name.clone();
    let findings = lint(&scene.world, &plan);
    let mode = InferenceMode::Speculative;
    assert_eq!(findings, [Finding::Mode { placement, mode }]);
    assert!(scene.world.models.iter().any(|model| model.name_any() == "tiny"));
}
