//! What stages take on the disks of nodes whose EdgeNode says how much there is (`spec.limits.storage`).
//!
//! A node fetches the whole file of a variant, once, unless its URI names a place on the node itself; and where it holds only
//! some of the layers, it writes these to a file of their own, which llama.cpp loads.

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    PlacementSpec,
    model::ModelVariantStatus,
    placement::{ChosenModel, PipelineStage},
};

use crate::world::World;

/// Whether weights come over the network and stay in the agent's folder.
pub(crate) fn is_fetched(uri: &str) -> bool {
    !uri.starts_with("file://")
}

/// Bytes on the disk of each node that has a bound, and the bound, with all stages of these Placements.
pub(crate) fn needed<'a>(
    world: &World,
    placements: impl Iterator<Item = &'a PlacementSpec>,
) -> BTreeMap<&'a str, (i64, i64)> {
    let mut files: BTreeMap<&str, BTreeMap<(&str, i32, i32), i64>> = BTreeMap::new();
    for spec in placements {
        for stage in spec.pipelines.iter().flat_map(|pipeline| &pipeline.stages) {
            let here = files.entry(&stage.node).or_default();
            let Some(variant) = variant_of(world, &spec.model) else {
                continue;
            };
            let digest = spec.model.digest.as_str();
            if is_fetched(&spec.model.uri) {
                here.insert((digest, 0, spec.model.layers), variant.size_bytes);
            }
            if stage.first_layer > 0 || stage.end_layer < spec.model.layers {
                let bytes = slice_bytes(variant, &spec.model, stage);
                here.insert((digest, stage.first_layer, stage.end_layer), bytes);
            }
        }
    }
    let bounded = files.into_iter().filter_map(|(node, files)| {
        let bound = world.node(node)?.spec.limits.storage.as_ref()?.value();
        Some((node, (files.values().sum(), bound)))
    });
    bounded.collect()
}

/// The nodes whose disk does not hold all stages of these Placements and of every other live one.
pub(crate) fn too_full(world: &World, together: &[&PlacementSpec]) -> BTreeSet<String> {
    let others = world.placements.iter().map(|placement| &placement.spec);
    let needed = needed(world, others.chain(together.iter().copied()));
    let full = needed.into_iter().filter(|(_, (needed, bound))| needed > bound);
    full.map(|(node, _)| node.to_owned()).collect()
}

fn variant_of<'w>(world: &'w World, model: &ChosenModel) -> Option<&'w ModelVariantStatus> {
    let statuses = world.models.iter().filter_map(|known| known.status.as_ref());
    let mut variants = statuses.flat_map(|status| &status.variants);
    variants.find(|variant| variant.digest == model.digest)
}

/// The weights of a part of a model; tied weights are the head of its end.
fn slice_bytes(variant: &ModelVariantStatus, model: &ChosenModel, stage: &PipelineStage) -> i64 {
    let layers = (stage.first_layer.max(0)..stage.end_layer).filter_map(|layer| usize::try_from(layer).ok());
    let mut bytes: i64 = layers.map(|layer| variant.layer(layer)).sum();
    if stage.end_layer == model.layers {
        bytes += if variant.head_bytes > 0 {
            variant.head_bytes
        } else {
            variant.embedding_bytes
        };
    }
    bytes
}
