//! The solver's memory of a stage against the engine's, which the engine's own tests hold to what a worker really takes.

use std::{path::Path, sync::Arc};

use crds::{EdgeNode, EdgeNodeSpec, LLMService, Model, ModelSpec, ModelStatus};
use engine::{LoadStage, ModelFacts, Worker};
use manager::{
    inspect,
    snapshot::{Options, PREFILL_CHUNK_ROWS, Snapshot},
    world::World,
};
use serde_json::json;
use solver::{
    cost::{MemoryModel, Sharing},
    units::LayerRange,
};
use tests::up;

/// The real model as the controller sees it, one node, and a service.
fn world(model: &Path, context: u32, sessions: u32) -> World {
    let spec: ModelSpec = serde_json::from_value(json!({
        "variants": [{ "name": "q4-1", "uri": format!("file://{}", model.display()) }],
    }))
    .expect("a spec");
    let (architecture, variants) = inspect::read_variants(&spec.variants).expect("the header is readable");
    let mut object = Model::new("smol", spec);
    object.metadata.namespace = Some("default".to_owned());
    object.status = Some(ModelStatus {
        architecture: Some(architecture),
        variants,
        ..ModelStatus::default()
    });
    let service = serde_json::from_value(json!({
        "models": [{ "name": "smol" }], "contextTokens": context, "concurrency": sessions,
        "outputTokensMax": 64, "workload": { "promptTokens": 32, "outputTokens": 32 },
    }));
    let mut service = LLMService::new("chat", service.expect("a spec"));
    service.metadata.namespace = Some("default".to_owned());
    World {
        models: vec![Arc::new(object)],
        services: vec![Arc::new(service)],
        nodes: vec![Arc::new(EdgeNode::new("a", EdgeNodeSpec::default()))],
        ..World::default()
    }
}

#[test]
fn the_controller_reads_the_header_as_the_engine_does() {
    let path = up::model();
    let world = world(&path, 1024, 1);
    let facts = ModelFacts::read(&path).expect("the engine reads the file");
    let status = world.models[0].status.clone().expect("a status");
    let architecture = status.architecture.expect("a shape");
    assert_eq!(u32::try_from(architecture.layers), Ok(facts.layers));
    assert_eq!(
        u32::try_from(architecture.embedding_length),
        Ok(facts.embedding_length)
    );
    assert_eq!(
        u32::try_from(architecture.feed_forward_length),
        Ok(facts.feed_forward_length)
    );
    assert_eq!(u32::try_from(architecture.vocabulary), Ok(facts.vocabulary));
    let bytes = status.variants[0]
        .layer_bytes
        .iter()
        .map(|bytes| u64::try_from(*bytes).expect("positive"));
    assert!(
        bytes
            .clone()
            .all(|bytes| facts.layer_bytes.iter().all(|known| *known == bytes)),
        "{facts:?}"
    );
}

#[tokio::test]
async fn the_solver_foresees_what_the_engine_reserves() {
    let path = up::model();
    for (context, sessions) in [(512, 1), (1024, 2), (2048, 4)] {
        let snapshot = Snapshot::take(&world(&path, context, sessions), Options { offline: true });
        let (problem, service) = (&snapshot.problem, &snapshot.problem.services[0]);
        let (model, variant) = problem.variant(service.candidates[0]);
        let foreseen = MemoryModel::new(service, model, variant);
        for (start, end) in [(0, 30), (0, 15), (15, 30), (0, 29), (29, 30), (5, 20)] {
            let reserved = Worker::predict_memory(LoadStage {
                id: "stage".into(),
                model_path: path.clone(),
                model_digest: "digest".to_owned(),
                layers: start..end,
                context,
                sessions,
                rows_max: PREFILL_CHUNK_ROWS,
            })
            .await
            .expect("the engine predicts")
            .total_bytes();
            let stage = foreseen.stage(&problem.nodes[0], LayerRange::new(start, end), Sharing::default());
            let foreseen = stage.total().saturating_sub(stage.worker).0;
            let case = format!("layers {start} to {end}, {sessions} × {context}: {foreseen} for {reserved}");
            assert!(foreseen >= reserved, "{case}");
            // A mebibyte for stages that hold nearly nothing: one layer alone needs a narrower buffer than the solver counts.
            assert!(foreseen <= reserved + reserved / 20 + (1 << 20), "{case}");
        }
    }
}
