//! Stages that follow from Placements: one for each layer range, node and reservation, whatever number of Placements
//! name it.

use std::collections::BTreeMap;

use crds::{
    PlacementSpec, StageSpec,
    placement::{ChosenModel, Pipeline, PipelineStage},
};

use super::PlannedPlacement;
use crate::world::World;

/// Every Stage that the Placements name.
///
/// A Stage's memory is what the Placement that asks for most predicts; a Stage that exists keeps its spec.
#[must_use]
pub fn derive(world: &World, placements: &[PlannedPlacement]) -> BTreeMap<String, StageSpec> {
    let mut stages: BTreeMap<String, StageSpec> = BTreeMap::new();
    for placement in placements {
        for pipeline in &placement.spec.pipelines {
            for stage in &pipeline.stages {
                let spec = spec_of(&placement.spec, pipeline, stage);
                let known = stages.entry(stage.stage.clone()).or_insert_with(|| spec.clone());
                if spec.memory.total_bytes > known.memory.total_bytes {
                    known.memory = spec.memory;
                }
            }
        }
    }
    for (name, spec) in &mut stages {
        if let Some(existing) = world.stage(name) {
            *spec = existing.spec.clone();
        }
    }
    stages
}

fn spec_of(placement: &PlacementSpec, pipeline: &Pipeline, stage: &PipelineStage) -> StageSpec {
    StageSpec {
        node_name: stage.node.clone(),
        device: stage.device.clone(),
        model: placement.model.clone(),
        first_layer: stage.first_layer,
        end_layer: stage.end_layer,
        context_tokens: placement.context_tokens,
        sessions: placement.sessions,
        batch_rows: pipeline.prefill_chunk_rows,
        memory: stage.memory.clone(),
    }
}

/// The name of a Stage: readable, and with a hash of all that is loaded.
#[must_use]
pub fn name_of(
    model: &ChosenModel,
    stage: &PipelineStage,
    context_tokens: i32,
    sessions: i32,
    batch_rows: i32,
) -> String {
    let content = format!(
        "{}\n{}\n{}\n{}\n{}\n{}\n{context_tokens}\n{sessions}\n{batch_rows}",
        stage.node, stage.device, model.digest, model.uri, stage.first_layer, stage.end_layer
    );
    let hash = crds::api_key::content_hash(content.as_bytes());
    let model_name: String = model.name.chars().take(200).collect();
    format!(
        "{model_name}-{}-{}-{}",
        stage.first_layer,
        stage.end_layer,
        &hash[..10]
    )
}

/// Memory that stages may use on a node, without what the engine's process holds.
#[must_use]
pub fn memory_of(world: &World, node: &str) -> i64 {
    let device = world
        .node(node)
        .and_then(|node| node.status.as_ref()?.devices.first());
    device.map_or(0, |device| device.memory_bytes - device.overhead_bytes)
}
