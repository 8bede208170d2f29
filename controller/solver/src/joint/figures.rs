//! What a replica takes and gives, at the rates of a whole fleet: memory, busy time, energy, traffic, and requests that it
//! can hold at once.

use super::problem::JointProblem;
use crate::cost::{CostModel, MemoryModel, Sharing};
use crate::links::LinkIndex;
use crate::problem::{Candidate, Service};
use crate::solution::{Cost, PipelineShape, StageShape};
use crate::units::{LayerRange, NodeOrd};

/// Requests in a million seconds, times nanoseconds: a node that is busy all the time.
pub(super) const ALL_THE_TIME: u64 = 1_000_000 * 1_000_000_000;

/// What a replica takes of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) node: u32,
    /// The weights, which replicas with the same range of the same variant share.
    pub(super) layers: LayerRange,
    pub(super) weights: u64,
    /// Memory that is shared with nobody, the margin not counted.
    pub(super) own: u64,
    /// Nanoseconds that a request keeps the node busy, when all sessions are decoded together.
    pub(super) busy: u64,
    /// Microjoules of battery for a request.
    pub(super) energy: u64,
}

/// Figures of a replica, the way of its requests to its head left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    /// Cost of an answer.
    pub(super) cost: u64,
    pub(super) ttft: u64,
    /// Requests in a million seconds that its sessions can hold: by Little's law sessions divided by the time that a
    /// request stays, all sessions being decoded together.
    pub(super) rate_max: u64,
    pub(super) parts: Vec<Part>,
    /// Bytes of a request from node to node.
    pub(super) traffic: Vec<(NodeOrd, NodeOrd, u64)>,
}

/// The figures of a shape; `None` where it cannot keep the promises of the service, or a link or a speed is missing.
pub(super) fn figures(
    problem: &JointProblem,
    service: &Service,
    cost: &CostModel<'_>,
    memory: &MemoryModel<'_>,
    shape: &PipelineShape,
) -> Option<Figures> {
    let evaluation = cost.evaluate(shape)?;
    let (predicted, sheet) = (evaluation.predicted, evaluation.sheet);
    let late = service
        .slo_tpot
        .is_some_and(|slo| predicted.tpot_at_concurrency > slo)
        || service.slo_ttft.is_some_and(|slo| predicted.ttft > slo);
    if late {
        return None;
    }
    let further = u64::from(service.output_tokens - 1);
    let sessions = u64::from(service.concurrency);
    let stays = predicted.ttft + predicted.tpot_at_concurrency.times(further);
    let mut parts = Vec::new();
    for (stage, times) in shape.stages.iter().zip(&sheet.stages) {
        let crowd = times.decode_at_concurrency.times(further).0.div_ceil(sessions);
        let busy = times
            .prefill_chunk
            .times(u64::from(sheet.chunks))
            .0
            .saturating_add(times.head.0)
            .saturating_add(crowd);
        parts.push(Part {
            energy: times.energy.0,
            busy,
            ..stored(problem, memory, stage)
        });
    }
    let hops = sheet.hops.iter().chain(&sheet.return_hop);
    Some(Figures {
        cost: unpunished(&evaluation.cost),
        ttft: predicted.ttft.0,
        rate_max: rate_max(sessions, stays.0),
        parts,
        traffic: hops.map(|hop| (hop.from, hop.to, hop.bytes.0)).collect(),
    })
}

fn rate_max(sessions: u64, stays: u64) -> u64 {
    let rate = u128::from(sessions) * u128::from(ALL_THE_TIME) / u128::from(stays.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX).min(1 << 40)
}

/// Promises are kept here, so nothing is paid for missing them.
fn unpunished(cost: &Cost) -> u64 {
    cost.total()
        .saturating_sub(cost.ttft_violation + cost.tpot_violation)
        .0
}

/// What a stage stores.
fn stored(problem: &JointProblem, memory: &MemoryModel<'_>, stage: &StageShape) -> Part {
    let node = &problem.fleet.nodes[stage.node.index()];
    let sharing = Sharing {
        weights: false,
        worker: true,
    };
    let all = memory.stage(node, stage.layers, sharing);
    let weights = all.weights + all.embedding + all.head;
    Part {
        node: stage.node.0,
        layers: stage.layers,
        weights: weights.0,
        own: (all.kv_cache + all.compute + all.outputs + all.activations + all.stage).0,
        busy: 0,
        energy: 0,
    }
}

/// Bytes that stages may take on a node beside its worker, the margin taken off.
pub(super) fn room(problem: &JointProblem, node: usize) -> u64 {
    let node = &problem.fleet.nodes[node];
    let free = u128::from(node.memory.saturating_sub(node.reserved).0);
    let margin = u128::from(node.engine.margin_milli);
    let with_margin = |bytes: u128| bytes + (bytes * margin).div_ceil(1_000);
    let mut bytes = free * 1_000 / (1_000 + margin) + 1;
    while bytes > 0 && with_margin(bytes) > free {
        bytes -= 1;
    }
    u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .saturating_sub(node.engine.worker.0)
}

/// One stage with all layers.
pub(super) fn whole(candidate: Candidate, layers: u32, node: NodeOrd) -> PipelineShape {
    PipelineShape::alone(
        candidate,
        vec![StageShape {
            node,
            layers: LayerRange::new(0, layers),
            activation: None,
        }],
    )
}

/// What a node and the links have to give, in units that rates are multiplied with.
#[derive(Clone, Debug, Default)]
pub(super) struct Supplies {
    /// Bytes of memory, margin and worker taken off.
    pub(super) room: Vec<u64>,
    /// Busy time.
    pub(super) busy: Vec<u64>,
    /// Microjoules; none where there is no battery.
    pub(super) energy: Vec<u64>,
    /// Bytes of each segment.
    pub(super) traffic: Vec<u64>,
}

impl Supplies {
    pub(super) fn new(problem: &JointProblem, links: &LinkIndex) -> Self {
        let nodes = 0..problem.fleet.nodes.len();
        let share = u128::from(problem.link_max_milli);
        let bytes = |rate: u64| narrow(u128::from(rate) * 1_000_000 * share / 1_000);
        Self {
            room: nodes.clone().map(|node| room(problem, node)).collect(),
            busy: vec![ALL_THE_TIME / 1_000 * u64::from(problem.busy_max_milli); nodes.len()],
            energy: nodes.map(|node| energy(problem, node)).collect(),
            traffic: links
                .segment_rates(&problem.fleet)
                .map(|rate| bytes(rate.0))
                .collect(),
        }
    }
}

fn energy(problem: &JointProblem, node: usize) -> u64 {
    let Some(battery) = problem.fleet.nodes[node].battery else {
        return u64::MAX;
    };
    let charge = battery.charge.saturating_sub(battery.reserve).0;
    let per_second = u128::from(charge) * 1_000_000_000 * 1_000_000;
    narrow(per_second / u128::from(problem.battery_lasts.0))
}

fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}
