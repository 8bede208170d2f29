//! Services that are to leave a node, because it takes no new stages or is none of theirs any more, and have room nowhere
//! else: they stay where they are. The question is asked again with their own nodes open to them, and to nobody else.
//!
//! And services that could leave if they were allowed a pause: the question is asked again for a pipeline that fits beside
//! theirs. One stage of two can often be moved where the two cannot be exchanged.

use std::collections::BTreeSet;

use crds::placement::PlacementPhase;
use solver::{
    Solution,
    problem::{ExcludedNode, Exclusion, KeptStage},
    solution::Outcome,
    units::{Bytes, NodeOrd},
};

use super::{Snapshot, layers};
use crate::{
    plan::{Plan, Proposed, decision, phases},
    world::{ServiceName, World, phase_of},
};

/// The question once more, if a service that works has no pipeline in `solution`, the answer to `asked`, only because it is to
/// leave nodes that it runs on.
#[must_use]
pub fn ask_again(world: &World, asked: &Snapshot, solution: &Solution) -> Option<Snapshot> {
    let mut again = asked.clone();
    for (ordinal, name) in asked.services.iter().enumerate() {
        let Some(Outcome::Infeasible(infeasible)) = solution.services.get(ordinal) else {
            continue;
        };
        let works = world.placements_of(name).into_iter().any(|placement| {
            phase_of(placement) == PlacementPhase::Serving
                && phases::progress(world, &placement.spec).lost.is_empty()
        });
        let question = &mut again.problem.services[ordinal];
        let Some(runs) = question.previous.as_ref().filter(|_| works) else {
            continue;
        };
        let nodes: BTreeSet<NodeOrd> = runs.stages.iter().map(|stage| stage.node).collect();
        let before = question.excluded.clone();
        let opens = |excluded: &ExcludedNode| is_left(excluded.why) && nodes.contains(&excluded.node);
        question.excluded.retain(|excluded| !opens(excluded));
        if question.excluded.len() < before.len() {
            let takes_none = before
                .iter()
                .any(|excluded| opens(excluded) && excluded.why == Exclusion::Unschedulable);
            let node = if takes_none {
                "a node that takes no new stages"
            } else {
                "a node that it is to leave"
            };
            let why = decision::infeasible(asked, infeasible);
            again
                .staying
                .insert(name.clone(), format!("it stays on {node}: {why}"));
        }
    }
    (!again.staying.is_empty()).then_some(again)
}

/// Whether what runs on a node leaves it as soon as there is room elsewhere, and no sooner.
fn is_left(why: Exclusion) -> bool {
    match why {
        Exclusion::Unschedulable | Exclusion::Taint(_) | Exclusion::Unmatched(_) => true,
        Exclusion::NotReady
        | Exclusion::TaintForNew(_)
        | Exclusion::NotSelected
        | Exclusion::EngineUnsupported => false,
    }
}

/// The question once more, if a service is to leave a node, and `plan`, the answer to `asked`, does not let it: what is
/// decided now has to fit beside what serves.
#[must_use]
pub fn ask_beside(world: &World, asked: &Snapshot, plan: &Plan<Proposed>) -> Option<Snapshot> {
    let mut again = asked.clone();
    for (ordinal, name) in asked.services.iter().enumerate() {
        let known = plan.services.get(name);
        let question = &mut again.problem.services[ordinal];
        let leaves = question.previous.as_ref().is_some_and(|runs| {
            question.excluded.iter().any(|excluded| {
                is_left(excluded.why) && runs.stages.iter().any(|stage| stage.node == excluded.node)
            })
        });
        if leaves && known.is_some_and(|known| known.blocked.is_some()) {
            question.kept = kept(world, asked, name);
        }
    }
    let asks = again
        .problem
        .services
        .iter()
        .any(|question| !question.kept.is_empty());
    asks.then_some(again)
}

/// Whether every service that keeps something has an answer.
#[must_use]
pub fn all_move(asked: &Snapshot, solution: &Solution) -> bool {
    let services = asked.problem.services.iter().zip(&solution.services);
    let mut keeping = services.filter(|(question, _)| !question.kept.is_empty());
    !solution.cancelled && keeping.all(|(_, outcome)| outcome.placed().is_some())
}

/// The stages of the Placement that serves.
fn kept(world: &World, asked: &Snapshot, name: &ServiceName) -> Vec<KeptStage> {
    let placements = world.placements_of(name).into_iter();
    let serving = placements.filter(|placement| phase_of(placement) == PlacementPhase::Serving);
    let stages = serving.flat_map(|placement| {
        placement
            .spec
            .pipelines
            .iter()
            .flat_map(|pipeline| &pipeline.stages)
    });
    stages
        .filter_map(|stage| {
            Some(KeptStage {
                node: asked.node_ord(&stage.node)?,
                layers: layers(stage.first_layer, stage.end_layer),
                memory: Bytes(u64::try_from(stage.memory.total_bytes).ok()?),
            })
        })
        .collect()
}
