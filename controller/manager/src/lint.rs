//! A second pair of eyes on a plan, before it is applied. It shares no code with what made the plan.
//!
//! Pure. An error stops the plan; nothing of it is applied.

use std::collections::{BTreeMap, BTreeSet};

use crds::{InferenceMode, llm_service::PrivacyLevel, placement::PlacementPhase};

use crate::{
    plan::{Plan, PlannedPlacement, Proposed},
    snapshot::privacy_of,
    world::{ServiceName, World},
};

mod company;

/// What is wrong with a plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Finding {
    /// Layers are missing, doubled, or out of order.
    #[error("{placement}: stages must cover layers 0 to {layers} once and in order, and do not")]
    Layers {
        /// The Placement.
        placement: String,
        /// Layers of its model.
        layers: i32,
    },
    /// A node is used twice by one pipeline, and not for both ends of a U-shaped one.
    #[error("{placement}: node {node} holds two stages of one pipeline")]
    NodeTwice {
        /// The Placement.
        placement: String,
        /// The node.
        node: String,
    },
    /// A pipeline says that it is U-shaped and ends elsewhere than it begins, or the other way round.
    #[error("{placement}: the mode is {mode:?}, and the first stage is on {first}, the last on {last}")]
    Ends {
        /// The Placement.
        placement: String,
        /// What it says.
        mode: InferenceMode,
        /// The node of the first stage.
        first: String,
        /// The node of the last stage.
        last: String,
    },
    /// A new pipeline uses a node that does not answer.
    #[error("{placement}: node {node} does not exist or is lost")]
    NodeLost {
        /// The Placement.
        placement: String,
        /// The node.
        node: String,
    },
    /// Stages of the pipelines that are to stay do not fit.
    #[error("node {node}: stages need {needed} bytes of {available}")]
    Memory {
        /// The node.
        node: String,
        /// What the stages need.
        needed: i64,
        /// What there is.
        available: i64,
    },
    /// Files of the pipelines that are to stay do not fit on a disk.
    #[error("node {node}: weights need {needed} bytes of disk, and spec.limits.storage is {available}")]
    Storage {
        /// The node.
        node: String,
        /// What the files need.
        needed: i64,
        /// What there is.
        available: i64,
    },
    /// Text would reach a node that the service does not trust.
    #[error(
        "{placement}: node {node} would see text of a private service, and its trust domain is not trusted"
    )]
    Privacy {
        /// The Placement.
        placement: String,
        /// The node.
        node: String,
    },
    /// A new stage is on a node that the service may not have.
    #[error("{placement}: node {node} is not for the service: {rule}")]
    Rule {
        /// The Placement.
        placement: String,
        /// The node.
        node: String,
        /// What keeps it away.
        rule: String,
    },
    /// A new stage is beside a service that it is to be apart from.
    #[error("{placement}: node {node} has a stage of {other}, and both are to be apart")]
    Apart {
        /// The Placement.
        placement: String,
        /// The node.
        node: String,
        /// The other service.
        other: String,
    },
    /// A mode that no agent runs.
    #[error("{placement}: no agent runs the mode {mode:?}")]
    Mode {
        /// The Placement.
        placement: String,
        /// The mode.
        mode: InferenceMode,
    },
    /// A service has two pipelines that take requests.
    #[error("{service}: two placements serve")]
    TwoServe {
        /// The service.
        service: String,
    },
    /// A hop names a stage that the plan does not have.
    #[error("node {node}: a hop names stage {stage}, which is not planned there")]
    HopWithoutStage {
        /// The node.
        node: String,
        /// The stage.
        stage: String,
    },
}

/// Looks a plan through.
#[must_use]
pub fn lint(world: &World, plan: &Plan<Proposed>) -> Vec<Finding> {
    let mut findings = vec![];
    for placement in &plan.placements {
        if placement.existing.is_none() {
            check_layers(placement, &mut findings);
            check_nodes(world, placement, &mut findings);
            check_ends(placement, &mut findings);
            check_mode(placement, &mut findings);
            check_privacy(world, placement, &mut findings);
        }
    }
    company::check(world, plan, &mut findings);
    check_memory(world, plan, &mut findings);
    check_storage(world, plan, &mut findings);
    check_serving(plan, &mut findings);
    check_hops(plan, &mut findings);
    findings
}

fn check_layers(placement: &PlannedPlacement, findings: &mut Vec<Finding>) {
    let layers = placement.spec.model.layers;
    for pipeline in &placement.spec.pipelines {
        let mut next = 0;
        let contiguous = pipeline.stages.iter().all(|stage| {
            let follows = stage.first_layer == next && stage.end_layer > stage.first_layer;
            next = stage.end_layer;
            follows
        });
        if !contiguous || next != layers {
            findings.push(Finding::Layers {
                placement: placement.name.clone(),
                layers,
            });
        }
    }
}

fn check_nodes(world: &World, placement: &PlannedPlacement, findings: &mut Vec<Finding>) {
    for pipeline in &placement.spec.pipelines {
        let mut seen = BTreeSet::new();
        let head = pipeline.stages.first().map(|stage| &stage.node);
        for (ordinal, stage) in pipeline.stages.iter().enumerate() {
            let (name, node) = (placement.name.clone(), stage.node.clone());
            let comes_home = pipeline.mode == InferenceMode::UShaped
                && ordinal > 1
                && ordinal + 1 == pipeline.stages.len()
                && Some(&stage.node) == head;
            if !comes_home && !seen.insert(&stage.node) {
                findings.push(Finding::NodeTwice {
                    placement: name,
                    node,
                });
            } else if world.lost.contains_key(&node)
                || !world.nodes.iter().any(|known| is_named(known, &node))
            {
                findings.push(Finding::NodeLost {
                    placement: name,
                    node,
                });
            }
        }
    }
}

fn check_ends(placement: &PlannedPlacement, findings: &mut Vec<Finding>) {
    for pipeline in &placement.spec.pipelines {
        let [first, .., last] = pipeline.stages.as_slice() else {
            continue;
        };
        if (first.node == last.node) != (pipeline.mode == InferenceMode::UShaped) {
            findings.push(Finding::Ends {
                placement: placement.name.clone(),
                mode: pipeline.mode,
                first: first.node.clone(),
                last: last.node.clone(),
            });
        }
    }
}

fn check_mode(placement: &PlannedPlacement, findings: &mut Vec<Finding>) {
    for pipeline in &placement.spec.pipelines {
        if matches!(pipeline.mode, InferenceMode::Speculative | InferenceMode::Cascade) {
            findings.push(Finding::Mode {
                placement: placement.name.clone(),
                mode: pipeline.mode,
            });
        }
    }
}

fn is_named(node: &crds::EdgeNode, name: &str) -> bool {
    node.metadata.name.as_deref() == Some(name)
}

fn check_privacy(world: &World, placement: &PlannedPlacement, findings: &mut Vec<Finding>) {
    let service = world
        .services
        .iter()
        .find(|service| ServiceName::of(service) == placement.service);
    let Some(service) = service else { return };
    let level = privacy_of(world, service, &placement.service);
    let privacy = &service.spec.privacy;
    for pipeline in &placement.spec.pipelines {
        for stage in &pipeline.stages {
            let sees_text = match level {
                PrivacyLevel::Open => false,
                PrivacyLevel::TrustedOnly => true,
                PrivacyLevel::TrustedText => {
                    stage.first_layer < privacy.shallow_layers.max(1)
                        || stage.end_layer == placement.spec.model.layers
                }
            };
            let node = world.nodes.iter().find(|node| is_named(node, &stage.node));
            let domain = node.and_then(|node| node.spec.trust_domain.as_ref());
            if sees_text && !domain.is_some_and(|domain| privacy.trust_domains.contains(domain)) {
                findings.push(Finding::Privacy {
                    placement: placement.name.clone(),
                    node: stage.node.clone(),
                });
            }
        }
    }
}

/// Memory of what is to stay; what drains is on its way out, and agents admit a stage only when its memory is free.
fn check_memory(world: &World, plan: &Plan<Proposed>, findings: &mut Vec<Finding>) {
    let mut needed: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    let mut with_new = BTreeSet::new();
    for placement in plan
        .placements
        .iter()
        .filter(|placement| placement.phase != PlacementPhase::Draining)
    {
        for stage in placement
            .spec
            .pipelines
            .iter()
            .flat_map(|pipeline| &pipeline.stages)
        {
            needed
                .entry(&stage.node)
                .or_default()
                .insert(&stage.stage, stage.memory.total_bytes);
            if placement.existing.is_none() {
                with_new.insert(stage.node.as_str());
            }
        }
    }
    for (node, stages) in needed.into_iter().filter(|(node, _)| with_new.contains(node)) {
        let known = world.nodes.iter().find(|known| is_named(known, node));
        let device = known.and_then(|node| node.status.as_ref()?.devices.first());
        let available = device.map_or(0, |device| device.memory_bytes - device.overhead_bytes);
        let needed: i64 = stages.values().sum();
        if needed > available {
            findings.push(Finding::Memory {
                node: node.to_owned(),
                needed,
                available,
            });
        }
    }
}

/// Disks of nodes that get a new stage: each fetched file once, and each part of a model once.
fn check_storage(world: &World, plan: &Plan<Proposed>, findings: &mut Vec<Finding>) {
    for node in &world.nodes {
        let Some(bound) = &node.spec.limits.storage else {
            continue;
        };
        let (mut files, mut has_new) = (BTreeMap::new(), false);
        let stays = |placement: &&PlannedPlacement| placement.phase != PlacementPhase::Draining;
        for placement in plan.placements.iter().filter(stays) {
            let model = &placement.spec.model;
            let variant = world
                .models
                .iter()
                .filter_map(|model| model.status.as_ref())
                .flat_map(|status| &status.variants)
                .find(|variant| variant.digest == model.digest);
            let stages = placement
                .spec
                .pipelines
                .iter()
                .flat_map(|pipeline| &pipeline.stages);
            for stage in stages.filter(|stage| is_named(node, &stage.node)) {
                has_new |= placement.existing.is_none();
                let Some(variant) = variant else { continue };
                if !model.uri.starts_with("file:") {
                    files.insert(format!("{} whole", model.digest), variant.size_bytes);
                }
                if (stage.first_layer, stage.end_layer) != (0, model.layers) {
                    let mut bytes = 0;
                    for layer in stage.first_layer..stage.end_layer {
                        bytes += usize::try_from(layer).map_or(0, |layer| variant.layer(layer));
                    }
                    if stage.end_layer == model.layers {
                        bytes += match variant.head_bytes {
                            0 => variant.embedding_bytes,
                            own => own,
                        };
                    }
                    let name = format!("{} {} {}", model.digest, stage.first_layer, stage.end_layer);
                    files.insert(name, bytes);
                }
            }
        }
        let (needed, available) = (files.values().sum::<i64>(), bound.value());
        if has_new && needed > available {
            findings.push(Finding::Storage {
                node: node.metadata.name.clone().unwrap_or_default(),
                needed,
                available,
            });
        }
    }
}

fn check_serving(plan: &Plan<Proposed>, findings: &mut Vec<Finding>) {
    let mut serving = BTreeSet::new();
    for placement in plan
        .placements
        .iter()
        .filter(|placement| placement.phase == PlacementPhase::Serving)
    {
        if !serving.insert(&placement.service) {
            findings.push(Finding::TwoServe {
                service: placement.service.to_string(),
            });
        }
    }
}

fn check_hops(plan: &Plan<Proposed>, findings: &mut Vec<Finding>) {
    for (node, table) in &plan.route_tables {
        for hop in &table.hops {
            if plan
                .stages
                .get(&hop.stage)
                .is_none_or(|stage| stage.node_name != *node)
            {
                findings.push(Finding::HopWithoutStage {
                    node: node.clone(),
                    stage: hop.stage.clone(),
                });
            }
        }
    }
}
