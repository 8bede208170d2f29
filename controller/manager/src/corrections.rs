//! What requests show of measured speeds: how much longer prompts and tokens take on a node than when its blocks were timed.
//!
//! ```text
//! RouteTable status.observed ─▶ learn ─▶ EdgeNode status.corrections ─▶ effective ─▶ snapshot ─▶ cost model
//! ```
//!
//! What is learnt stands in statuses alone, so it outlives the controller. Slow on purpose: a step needs a number of new
//! requests, goes half of the way, and is bounded. What other services or the service's own sessions can explain is no
//! error. Where nothing confirms it any more it fades, and takes longer to fade each time that it is found again: so a
//! service that left a node for it may come back to look, and seldom.
//!
//! Pure.

use std::collections::BTreeMap;

use crds::{
    EdgeNode, EdgeNodeStatus, Placement,
    edge_node::{Benchmark, SpeedCorrection},
    placement::PipelineStage,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use kube::ResourceExt;

use crate::world::{Now, World};

mod learn;
mod memory;

pub use learn::Learner;
pub use memory::learn as learn_memory;

/// The factor of a time that is as it was measured, in thousandths.
pub const NONE: i32 = 1_000;

/// An error that so many nodes show is as likely the model's as their own.
const OWN_ERRORS: i32 = 3;

/// A correction that nothing confirms loses half of what it says after this time, and again after each further one.
const HALF_LIFE: SignedDuration = SignedDuration::from_hours(6);

/// Doublings of the half-life, at most: to 16 days.
const RELAPSES_MAX: i32 = 6;

/// A service whose speed is being learnt stays for so many windows, and no longer than this after the last one.
const LEARNING_WINDOWS: i32 = 10;
const LEARNING: SignedDuration = SignedDuration::from_mins(10);

/// Halvings after which nothing is left.
const HALVINGS_MAX: i64 = 12;

/// Factors on the times of a model on a node, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factors {
    /// On times of prompts.
    pub prompt: i32,
    /// On times of single tokens.
    pub token: i32,
}

impl Factors {
    /// Times as they were measured.
    pub const NONE: Self = Self {
        prompt: NONE,
        token: NONE,
    };
}

/// What counts now of each correction that is about the node's present engine and measurements, by the digest of weights.
#[must_use]
pub fn of_node(node: &EdgeNode, at: Option<Now>) -> BTreeMap<&str, Factors> {
    let Some(status) = &node.status else {
        return BTreeMap::new();
    };
    let standing = status
        .corrections
        .iter()
        .filter(|correction| correction.windows > 0 && is_about_present(status, correction));
    standing
        .map(|correction| (correction.model.as_str(), effective(correction, at)))
        .collect()
}

/// The largest factor on memory that was learnt of what the node's engine runs now, in thousandths. A worker holds the stages
/// of all models in one process, so it counts for all of them.
#[must_use]
pub fn memory_of_node(node: &EdgeNode) -> i32 {
    let status = node.status.iter();
    let standing = status.flat_map(|status| {
        let corrections = status.corrections.iter();
        corrections.filter(move |correction| is_about_present(status, correction))
    });
    standing
        .map(|correction| correction.memory_milli)
        .max()
        .unwrap_or(NONE)
}

/// What stands for nodes that were not observed: a part of what all observed ones have in common, the more the more they
/// are. That part of the error is the model's, and moving to a node that nobody has looked at does not mend it.
#[must_use]
pub fn in_common(observed: &[Factors]) -> Factors {
    let count = i32::try_from(observed.len()).unwrap_or(i32::MAX - OWN_ERRORS);
    let shared = |factors: fn(&Factors) -> i32| {
        let factors = || observed.iter().map(factors);
        let (least, most) = (factors().min().unwrap_or(NONE), factors().max().unwrap_or(NONE));
        let common = if least > NONE {
            least
        } else if most < NONE {
            most
        } else {
            NONE
        };
        let part = i64::from(common - NONE) * i64::from(count) / i64::from(count + OWN_ERRORS);
        NONE + i32::try_from(part).unwrap_or(0)
    };
    Factors {
        prompt: shared(|factors| factors.prompt),
        token: shared(|factors| factors.token),
    }
}

/// Names of the nodes, each with its factors for the weights with this digest, observed or assumed.
#[must_use]
pub fn of_model(world: &World, digest: &str) -> BTreeMap<String, Factors> {
    let own: Vec<_> = world
        .nodes
        .iter()
        .map(|node| (node.name_any(), of_node(node, world.at).get(digest).copied()))
        .collect();
    let observed: Vec<Factors> = own.iter().filter_map(|(_, factors)| *factors).collect();
    let common = in_common(&observed);
    own.into_iter()
        .map(|(name, factors)| (name, factors.unwrap_or(common)))
        .collect()
}

/// Whether the speed of what runs is still being learnt: the last window was far from what was predicted, and few were seen
/// so far. A service does not leave a node for a half-learnt error, which it would find again elsewhere.
#[must_use]
pub fn is_learning(world: &World, placement: &Placement) -> bool {
    let accuracy = placement
        .status
        .as_ref()
        .and_then(|status| status.accuracy.as_ref());
    let Some((accuracy, now)) = accuracy.zip(world.at) else {
        return false;
    };
    let is_recent = accuracy
        .observed_time
        .as_ref()
        .is_some_and(|Time(then)| now.duration_since(*then) < LEARNING);
    let has_seen_few = |stage: &PipelineStage| {
        let status = world.node(&stage.node).and_then(|node| node.status.as_ref());
        let mut corrections = status.iter().flat_map(|status| &status.corrections);
        corrections
            .any(|known| known.model == placement.spec.model.digest && known.windows < LEARNING_WINDOWS)
    };
    let mut stages = placement
        .spec
        .pipelines
        .iter()
        .flat_map(|pipeline| &pipeline.stages);
    is_recent && learn::is_off(accuracy) && stages.any(has_seen_few)
}

/// Whether a correction is about what the node runs now.
fn is_about_present(status: &EdgeNodeStatus, correction: &SpeedCorrection) -> bool {
    let engine = status.agent.as_ref().map(|agent| agent.engine_version.as_str());
    let device = status.devices.first().map(|device| device.name.as_str());
    let measured = benchmark_of(status, &correction.model);
    engine == Some(correction.engine_version.as_str())
        && device == Some(correction.device.as_str())
        && measured.is_some_and(|measured| measured.observed_time == correction.benchmarked_time)
}

/// The corrections that stand in a status and are about what the node runs now.
fn present(status: &EdgeNodeStatus) -> Vec<SpeedCorrection> {
    let standing = status.corrections.iter();
    standing
        .filter(|known| is_about_present(status, known))
        .cloned()
        .collect()
}

/// A correction of nothing, of weights that were timed on the node; none for others.
fn blank(status: &EdgeNodeStatus, digest: &str, now: Now) -> Option<SpeedCorrection> {
    Some(SpeedCorrection {
        model: digest.to_owned(),
        device: status.devices.first()?.name.clone(),
        engine_version: status.agent.as_ref()?.engine_version.clone(),
        benchmarked_time: benchmark_of(status, digest)?.observed_time.clone(),
        prompt_milli: NONE,
        token_milli: NONE,
        memory_milli: NONE,
        windows: 0,
        relapses: 0,
        observed_time: Time(now),
    })
}

/// The times of a model on the device that stages run on.
fn benchmark_of<'s>(status: &'s EdgeNodeStatus, digest: &str) -> Option<&'s Benchmark> {
    let mut benchmarks = status.devices.first()?.benchmarks.iter();
    benchmarks.find(|benchmark| benchmark.model == digest)
}

/// What a correction says after the time that nothing has confirmed it.
fn effective(correction: &SpeedCorrection, at: Option<Now>) -> Factors {
    let halvings = halvings(correction, at);
    let faded = |factor: i32| NONE + (factor - NONE) / (1 << halvings);
    Factors {
        prompt: faded(correction.prompt_milli),
        token: faded(correction.token_milli),
    }
}

/// How often a correction has lost half of what it says.
fn halvings(correction: &SpeedCorrection, at: Option<Now>) -> u32 {
    let Some(now) = at else { return 0 };
    let Time(confirmed) = correction.observed_time;
    let half_life = HALF_LIFE.as_secs() << correction.relapses.clamp(0, RELAPSES_MAX);
    let passed = now.duration_since(confirmed).as_secs().max(0) / half_life;
    u32::try_from(passed.min(HALVINGS_MAX)).unwrap_or(0)
}
