//! Learns from what workers were seen to hold of stages, beside what was predicted of them.

use std::collections::BTreeMap;

use crds::{edge_node::SpeedCorrection, stage::StagePhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{blank, learn::CORRECTIONS_MAX, present};
use crate::world::World;

/// The most that a factor becomes, in thousandths.
const FACTOR_MAX: i64 = 4_000;

/// What is seen is this exact, in thousandths: the kernel counts pages by processor, and agents tell whole steps.
const TOLERANCE: i64 = 10;

/// Raises factors on memory where a worker holds more of a stage than its spec says. They stay: memory that was once needed
/// is needed again, and a prediction that was too high costs less than a worker that is killed.
pub fn learn(world: &World, nodes: &mut BTreeMap<String, Vec<SpeedCorrection>>) {
    let Some(now) = world.at else { return };
    for stage in &world.stages {
        let (spec, Some(status)) = (&stage.spec, &stage.status) else {
            continue;
        };
        let Some(held) = status.held_bytes.filter(|_| status.phase == StagePhase::Ready) else {
            continue;
        };
        let predicted = spec.memory.total_bytes.max(1);
        let milli = (held.saturating_mul(1_000) + predicted - 1) / predicted;
        if milli <= 1_000 + TOLERANCE {
            continue;
        }
        let node = world.node(&spec.node_name);
        let Some(status) = node.and_then(|node| node.status.as_ref()) else {
            continue;
        };
        let corrections = nodes
            .entry(spec.node_name.clone())
            .or_insert_with(|| present(status));
        let factor = i32::try_from(milli.min(FACTOR_MAX)).unwrap_or(i32::MAX);
        let digest = &spec.model.digest;
        if let Some(known) = corrections.iter_mut().find(|known| known.model == *digest) {
            if factor > known.memory_milli {
                known.memory_milli = factor;
                known.observed_time = Time(now);
            }
        } else if let Some(first) = blank(status, digest, now).filter(|_| corrections.len() < CORRECTIONS_MAX)
        {
            corrections.push(SpeedCorrection {
                memory_milli: factor,
                ..first
            });
            corrections.sort_by(|one, other| one.model.cmp(&other.model));
        }
    }
}
