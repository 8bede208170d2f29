//! The phases of a service's Placements: the new pipeline is loaded and wired before requests enter it, and the old
//! one goes when its sessions have ended. A dead pipeline drains at once, so that its memory is free for the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{
    LLMService, Placement, PlacementSpec,
    llm_service::UpdatePolicy,
    placement::{PipelineStage, PlacementPhase},
    route_table::HopPhase,
    stage::StagePhase,
};
use kube::ResourceExt;

use super::{PlannedPlacement, disks, stages};
use crate::world::{ServiceName, World, phase_of, revision_of};

/// How far a Placement's stages are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Stages whose hop is ready.
    pub ready: usize,
    /// All stages.
    pub total: usize,
    /// Nodes of it that are lost, and why.
    pub lost: Vec<String>,
    /// What the first stage that is not ready waits for.
    pub waits_for: Option<Wait>,
}

/// Why a stage is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Whether the agent gave up on it.
    pub failed: bool,
    /// Whether it waits for memory.
    pub memory: bool,
    /// In words.
    pub message: String,
}

impl Progress {
    /// Whether requests may enter.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready == self.total && self.lost.is_empty()
    }
}

/// What becomes of a service's Placements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advance {
    /// Those that live on, or are new, oldest first.
    pub placements: Vec<PlannedPlacement>,
    /// Those that go.
    pub finished: Vec<Arc<Placement>>,
    /// What keeps the decision from being carried out.
    pub blocked: Option<String>,
}

/// Advances the Placements of a service towards `decision`, or towards none.
#[must_use]
pub fn advance(
    world: &World,
    service: &LLMService,
    name: &ServiceName,
    decision: Option<&PlacementSpec>,
) -> Advance {
    let live = world.placements_of(name);
    let deleted = service.metadata.deletion_timestamp.is_some();
    let decision = decision.filter(|_| !deleted);
    let wanted = decision.and_then(|content| {
        live.iter().rev().find(|placement| {
            phase_of(placement) != PlacementPhase::Draining && is_same_decision(&placement.spec, content)
        })
    });
    let mut advance = Advance::default();
    let wanted_is_ready = wanted.is_some_and(|placement| {
        phase_of(placement) == PlacementPhase::Serving || progress(world, &placement.spec).is_ready()
    });

    for placement in &live {
        let progress = progress(world, &placement.spec);
        let phase = if wanted.is_some_and(|wanted| wanted.name_any() == placement.name_any()) {
            if wanted_is_ready {
                PlacementPhase::Serving
            } else {
                PlacementPhase::Loading
            }
        } else if phase_of(placement) == PlacementPhase::Serving
            && decision.is_some()
            && !wanted_is_ready
            && progress.lost.is_empty()
        {
            PlacementPhase::Serving
        } else {
            PlacementPhase::Draining
        };
        if phase == PlacementPhase::Draining && is_drained(world, placement) {
            advance.finished.push(Arc::clone(placement));
        } else {
            advance.placements.push(PlannedPlacement {
                service: name.clone(),
                name: placement.name_any(),
                spec: placement.spec.clone(),
                phase,
                existing: Some(Arc::clone(placement)),
                progress,
            });
        }
    }
    if let (Some(content), None) = (decision, wanted) {
        add_new(world, service, name, content, &live, &mut advance);
    }
    advance
}

/// Adds the Placement of a new decision, unless memory does not hold it beside the one that serves and the service does
/// not allow a pause.
fn add_new(
    world: &World,
    service: &LLMService,
    name: &ServiceName,
    content: &PlacementSpec,
    live: &[&Arc<Placement>],
    advance: &mut Advance,
) {
    let revision = live
        .iter()
        .map(|placement| revision_of(placement))
        .max()
        .unwrap_or(0)
        + 1;
    let new = planned(world, name, content, revision);
    let staying: Vec<_> = advance
        .placements
        .iter()
        .map(|placement| &placement.spec)
        .collect();
    // A node that is too small without the new one already, since its limit was lowered, frees memory by no waiting.
    let mut shrunk = nodes_too_small(world, &staying);
    shrunk.extend(disks::too_full(world, &staying));
    let too_small = nodes_too_small(world, &[&staying[..], &[&new.spec]].concat());
    let too_full = disks::too_full(world, &[&staying[..], &[&new.spec]].concat());
    let is_used = |node: &String| stages_of(&new.spec).any(|stage| stage.node == *node);
    let too_small = too_small.into_iter().find(is_used).map(|node| (node, "memory"));
    let too_small = too_small.or_else(|| too_full.into_iter().find(is_used).map(|node| (node, "disk")));
    let serving = advance
        .placements
        .iter_mut()
        .find(|placement| placement.phase == PlacementPhase::Serving);
    if let (Some(serving), Some((node, what))) = (serving, too_small) {
        // Nor does a pipeline come back that has lost a stage which its node does not hold any more.
        let is_lost = !serving.progress.is_ready()
            && stages_of(&serving.spec).any(|stage| shrunk.contains(&stage.node));
        match service.spec.update_policy {
            UpdatePolicy::AllowPause => serving.phase = PlacementPhase::Draining,
            UpdatePolicy::MakeBeforeBreak if is_lost || shrunk.contains(&node) => {
                serving.phase = PlacementPhase::Draining;
            }
            UpdatePolicy::MakeBeforeBreak => {
                advance.blocked = Some(format!(
                    "a better placement waits: {node} has no {what} for the old and the new pipeline together, and \
                     updatePolicy MakeBeforeBreak allows no pause"
                ));
                return;
            }
        }
    }
    advance.placements.push(new);
}

fn planned(world: &World, name: &ServiceName, content: &PlacementSpec, revision: i64) -> PlannedPlacement {
    let mut spec = content.clone();
    for pipeline in &mut spec.pipelines {
        pipeline.revision = revision;
    }
    let text = serde_json::to_vec(&spec).expect("a Placement is plain data");
    let hash = crds::api_key::content_hash(&text);
    PlannedPlacement {
        service: name.clone(),
        name: format!("{}-{}", name.name, &hash[..10]),
        progress: progress(world, &spec),
        spec,
        phase: PlacementPhase::Proposed,
        existing: None,
    }
}

/// Placements whose LLMService is gone drain like any other.
#[must_use]
pub fn orphans(world: &World) -> Advance {
    let services: BTreeSet<ServiceName> = world
        .services
        .iter()
        .map(|service| ServiceName::of(service))
        .collect();
    let mut advance = Advance::default();
    for placement in &world.placements {
        let name = ServiceName {
            namespace: placement.namespace().unwrap_or_default(),
            name: placement.spec.service.clone(),
        };
        if services.contains(&name) {
            continue;
        }
        if is_drained(world, placement) {
            advance.finished.push(Arc::clone(placement));
        } else {
            advance.placements.push(PlannedPlacement {
                service: name,
                name: placement.name_any(),
                spec: placement.spec.clone(),
                phase: PlacementPhase::Draining,
                existing: Some(Arc::clone(placement)),
                progress: progress(world, &placement.spec),
            });
        }
    }
    advance
}

/// Whether two decisions put the same layers of the same weights on the same nodes. Figures and words may differ.
#[must_use]
pub fn is_same_decision(one: &PlacementSpec, other: &PlacementSpec) -> bool {
    let stage = |stage: &PipelineStage| {
        (
            stage.node.clone(),
            stage.device.clone(),
            stage.first_layer,
            stage.end_layer,
            stage.sends,
        )
    };
    let shape = |spec: &PlacementSpec| {
        let pipelines = spec.pipelines.iter();
        pipelines
            .map(|pipeline| {
                (
                    pipeline.name.clone(),
                    pipeline.prefill_chunk_rows,
                    pipeline.stages.iter().map(stage).collect::<Vec<_>>(),
                )
            })
            .collect::<Vec<_>>()
    };
    one.model.digest == other.model.digest
        && one.model.uri == other.model.uri
        && one.context_tokens == other.context_tokens
        && one.sessions == other.sessions
        && shape(one) == shape(other)
}

/// How far the stages of a Placement are, by what agents report.
#[must_use]
pub fn progress(world: &World, spec: &PlacementSpec) -> Progress {
    let mut progress = Progress::default();
    for pipeline in &spec.pipelines {
        for (ordinal, stage) in pipeline.stages.iter().enumerate() {
            progress.total += 1;
            if let Some(loss) = world.lost.get(&stage.node) {
                let lost = format!("node {} is lost: {}", stage.node, loss.describe());
                if !progress.lost.contains(&lost) {
                    progress.lost.push(lost);
                }
                continue;
            }
            let next = &pipeline.stages[(ordinal + 1) % pipeline.stages.len()];
            if next.node != stage.node && !world.is_connected(&stage.node, &next.node) {
                progress
                    .lost
                    .push(format!("nothing passes between {} and {}", stage.node, next.node));
                continue;
            }
            match wait_of(world, &pipeline.name, pipeline.revision, ordinal, stage) {
                None => progress.ready += 1,
                Some(wait) => drop(progress.waits_for.get_or_insert(wait)),
            }
        }
    }
    progress
}

/// What a stage waits for; nothing when it is in memory and its hop takes sessions.
fn wait_of(
    world: &World,
    pipeline: &str,
    revision: i64,
    ordinal: usize,
    stage: &PipelineStage,
) -> Option<Wait> {
    let describe = |message: &str| format!("stage {} on {}: {message}", stage.stage, stage.node);
    let waits = |message: &str| {
        Some(Wait {
            failed: false,
            memory: false,
            message: describe(message),
        })
    };
    let Some(object) = world.stage(&stage.stage) else {
        return waits("not written yet");
    };
    let status = object.status.clone().unwrap_or_default();
    if status.phase != StagePhase::Ready {
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let said = ready.map_or("the agent has not begun", |condition| condition.message.as_str());
        return Some(Wait {
            failed: status.phase == StagePhase::Failed,
            memory: ready.is_some_and(|condition| condition.reason == "MemoryNotFree"),
            message: describe(said),
        });
    }
    let table = world
        .route_table(&stage.node)
        .and_then(|table| table.status.clone())
        .unwrap_or_default();
    let hop = table.hops.iter().find(|hop| {
        hop.pipeline == pipeline && hop.revision == revision && usize::try_from(hop.ordinal) == Ok(ordinal)
    });
    match hop {
        Some(hop) if hop.phase == HopPhase::Ready => None,
        Some(hop) => waits(hop.message.as_deref().unwrap_or("its hop is not ready")),
        None => waits("its hop is not acknowledged yet"),
    }
}

/// Whether no session of a Placement is open on any node that lives.
fn is_drained(world: &World, placement: &Placement) -> bool {
    placement.spec.pipelines.iter().all(|pipeline| {
        pipeline.stages.iter().enumerate().all(|(ordinal, stage)| {
            let Some(table) = world
                .route_table(&stage.node)
                .filter(|_| world.is_alive(&stage.node))
            else {
                return true;
            };
            // A node may hold two hops of a pipeline.
            let is_hop = |name: &str, revision, place: i32| {
                name == pipeline.name
                    && revision == pipeline.revision
                    && usize::try_from(place) == Ok(ordinal)
            };
            let mut wired = table.spec.hops.iter();
            let wired = wired.any(|hop| is_hop(&hop.pipeline, hop.revision, hop.ordinal));
            let mut hops = table.status.iter().flat_map(|status| &status.hops);
            !wired
                || hops.any(|hop| {
                    is_hop(&hop.pipeline, hop.revision, hop.ordinal) && hop.phase == HopPhase::Drained
                })
        })
    })
}

fn stages_of(spec: &PlacementSpec) -> impl Iterator<Item = &PipelineStage> {
    spec.pipelines.iter().flat_map(|pipeline| &pipeline.stages)
}

/// The nodes whose memory does not hold all stages of these Placements and of every other live one.
fn nodes_too_small(world: &World, together: &[&PlacementSpec]) -> BTreeSet<String> {
    let others = world.placements.iter().map(|placement| &placement.spec);
    let mut needed: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for stage in others.chain(together.iter().copied()).flat_map(stages_of) {
        needed
            .entry(&stage.node)
            .or_default()
            .insert(&stage.stage, stage.memory.total_bytes);
    }
    let too_small = |(node, stages): &(&str, BTreeMap<&str, i64>)| {
        world.is_alive(node) && stages.values().sum::<i64>() > stages::memory_of(world, node)
    };
    let too_small = needed.into_iter().filter(too_small);
    too_small.map(|(node, _)| node.to_owned()).collect()
}
