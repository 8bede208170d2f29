//! Services that are to leave a node, because it takes no new stages, and have room nowhere else: they stay where they
//! are. The question is asked again with their own nodes open to them, and to nobody else.

use std::collections::BTreeSet;

use crds::placement::PlacementPhase;
use solver::{Solution, problem::Exclusion, solution::Outcome, units::NodeOrd};

use super::Snapshot;
use crate::{
    plan::{decision, phases},
    world::World,
};

/// The question once more, if a service that works has no pipeline in `solution`, the answer to `asked`, only because
/// nodes that it runs on take no new stages.
#[must_use]
pub fn ask_again(world: &World, asked: &Snapshot, solution: &Solution) -> Option<Snapshot> {
    let mut again = asked.clone();
    for (ordinal, name) in asked.services.iter().enumerate() {
        let Some(Outcome::Infeasible(infeasible)) = solution.services.get(ordinal) else {
            continue;
        };
        let works = world.placements_of(name).into_iter().any(|placement| {
            phases::phase_of(placement) == PlacementPhase::Serving
                && phases::progress(world, &placement.spec).lost.is_empty()
        });
        let question = &mut again.problem.services[ordinal];
        let Some(runs) = question.previous.as_ref().filter(|_| works) else {
            continue;
        };
        let nodes: BTreeSet<NodeOrd> = runs.stages.iter().map(|stage| stage.node).collect();
        let before = question.excluded.len();
        question
            .excluded
            .retain(|excluded| excluded.why != Exclusion::Unschedulable || !nodes.contains(&excluded.node));
        if question.excluded.len() < before {
            let why = decision::infeasible(asked, infeasible);
            again.staying.insert(name.clone(), why);
        }
    }
    (!again.staying.is_empty()).then_some(again)
}
