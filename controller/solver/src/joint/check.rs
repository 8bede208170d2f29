//! Judges a plan, independently of how it was found: shares no code with the index or the search. Only what an answer costs
//! comes from the same cost model, since that is what the plan is worth by definition.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{JointPlan, JointProblem};
use crate::check::{Occupancy, check_pipeline};
use crate::cost::{CostModel, Evaluation};
use crate::links::LinkIndex;
use crate::problem::{Ingress, Problem, Segment, Service};
use crate::solution::{Illegality, PipelineShape};
use crate::units::{NodeOrd, ServiceOrd};

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A route names a class or a replica that does not exist, or a replica of another service.
    Route(u32),
    /// A replica is not legal by itself, or beside the others.
    Replica(u32, Illegality),
    /// Two replicas of a service have a stage on one node.
    Together(ServiceOrd, NodeOrd),
    /// A class gets more answers than it asks for.
    TooMany(u32),
    /// A promise to a class is not kept.
    Late(u32),
    /// A replica has more sessions at once than it has memory for.
    Sessions(u32),
    /// A node is busy for longer than it may be.
    Busy(NodeOrd),
    /// A battery does not last.
    Battery(NodeOrd),
    /// A link is used more than it may be.
    Link(String),
}

/// Everything that is wrong with a plan; nothing if it is legal.
#[must_use]
pub fn check(problem: &JointProblem, plan: &JointPlan) -> Vec<Fault> {
    let mut found = Vec::new();
    for (position, route) in (0..).zip(&plan.routes) {
        let class = problem.classes.get(route.class as usize);
        let replica = plan.replicas.get(route.replica as usize);
        if class
            .zip(replica)
            .is_none_or(|(class, replica)| class.service != replica.service)
        {
            found.push(Fault::Route(position));
        }
    }
    if !found.is_empty() {
        return found;
    }
    check_replicas(problem, plan, &mut found);
    check_rates(problem, plan, &mut found);
    found
}

/// What a legal plan is worth, in units of [`Certificate::value`](super::Certificate::value).
#[must_use]
pub fn worth(problem: &JointProblem, plan: &JointPlan) -> i128 {
    let links = LinkIndex::new(&problem.fleet);
    let mut worth = 0;
    for route in &plan.routes {
        let class = problem.classes[route.class as usize];
        let evaluation = of_class(problem, &links, plan, route.class, route.replica);
        let cost =
            evaluation.cost.total().0 - evaluation.cost.ttft_violation.0 - evaluation.cost.tpot_violation.0;
        worth += i128::from(route.rate_micro) * (i128::from(class.value.0) - i128::from(cost));
    }
    let mut loads = BTreeSet::new();
    for shape in plan.replicas.iter().map(|replica| &replica.shape) {
        loads.extend(
            shape
                .stages
                .iter()
                .map(|stage| (stage.node, shape.candidate, stage.layers)),
        );
    }
    for (node, candidate, layers) in loads {
        let there = problem
            .fleet
            .loaded
            .iter()
            .any(|loaded| (loaded.node, loaded.candidate, loaded.layers) == (node, candidate, layers));
        if !there {
            let (_, variant) = problem.fleet.variant(candidate);
            let copies =
                |bytes: u64| (u128::from(bytes) * u128::from(variant.resident_milli)).div_ceil(1_000);
            let (start, end) = (layers.start as usize, layers.end as usize);
            let layers_bytes: u128 = variant.layer_bytes[start..end]
                .iter()
                .map(|bytes| copies(bytes.0))
                .sum();
            let ends = match (start == 0, end == variant.layer_bytes.len()) {
                (true, true) => copies(variant.unsplit_ends_bytes.0),
                (true, false) => u128::from(variant.embedding_bytes.0),
                (false, true) => copies(variant.head_bytes.0),
                (false, false) => 0,
            };
            let price = ((layers_bytes + ends) * u128::from(problem.load_price))
                .div_ceil(1 << 30)
                .min(1 << 52);
            worth -= i128::try_from(price).unwrap_or(i128::MAX);
        }
    }
    worth
}

fn check_replicas(problem: &JointProblem, plan: &JointPlan, found: &mut Vec<Fault>) {
    let mut fleet = problem.fleet.clone();
    for service in &mut fleet.services {
        service.ingress.clear();
        service.previous = None;
        service.kept.clear();
    }
    let mut places = BTreeSet::new();
    for replica in &plan.replicas {
        for stage in &replica.shape.stages {
            if !places.insert((replica.service, stage.node)) {
                found.push(Fault::Together(replica.service, stage.node));
            }
        }
    }
    for (position, replica) in plan.replicas.iter().enumerate() {
        let nodes: BTreeSet<NodeOrd> = replica.shape.stages.iter().map(|stage| stage.node).collect();
        let mut others = Occupancy::default();
        for (other_position, other) in plan.replicas.iter().enumerate() {
            let near = other.shape.stages.iter().any(|stage| nodes.contains(&stage.node));
            if other_position != position && near {
                others.admit(other.service, other.shape.clone());
            }
        }
        let faults = check_pipeline(&fleet, replica.service, &replica.shape, &others);
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        found.extend(faults.into_iter().map(|fault| Fault::Replica(position, fault)));
    }
}

fn check_rates(problem: &JointProblem, plan: &JointPlan, found: &mut Vec<Fault>) {
    let fleet = &problem.fleet;
    let links = LinkIndex::new(fleet);
    let mut asked: BTreeMap<u32, u128> = BTreeMap::new();
    let mut sessions: BTreeMap<u32, u128> = BTreeMap::new();
    let mut busy: BTreeMap<NodeOrd, u128> = BTreeMap::new();
    let mut energy: BTreeMap<NodeOrd, u128> = BTreeMap::new();
    let mut bytes: BTreeMap<String, (u128, u64)> = BTreeMap::new();
    for (position, route) in (0..).zip(&plan.routes) {
        let replica = &plan.replicas[route.replica as usize];
        let service = &fleet.services[replica.service.index()];
        let evaluation = of_class(problem, &links, plan, route.class, route.replica);
        let (predicted, rate) = (&evaluation.predicted, u128::from(route.rate_micro));
        let late = service.slo_ttft.is_some_and(|slo| predicted.ttft > slo)
            || service
                .slo_tpot
                .is_some_and(|slo| predicted.tpot_at_concurrency > slo);
        if late {
            found.push(Fault::Late(position));
        }
        *asked.entry(route.class).or_default() += rate;
        let further = u128::from(service.output_tokens - 1);
        let inside = u128::from(predicted.ttft.0 - evaluation.sheet.ingress.0);
        *sessions.entry(route.replica).or_default() +=
            rate * (inside + further * u128::from(predicted.tpot_at_concurrency.0));
        for (stage, times) in replica.shape.stages.iter().zip(&evaluation.sheet.stages) {
            let crowd = (u128::from(times.decode_at_concurrency.0) * further)
                .div_ceil(u128::from(service.concurrency));
            let prompt = u128::from(times.prefill_chunk.0) * u128::from(evaluation.sheet.chunks);
            *busy.entry(stage.node).or_default() += rate * (prompt + u128::from(times.head.0) + crowd);
            *energy.entry(stage.node).or_default() += rate * u128::from(times.energy.0);
        }
        let hops = evaluation.sheet.hops.iter().chain(&evaluation.sheet.return_hop);
        let mut sent: Vec<(NodeOrd, NodeOrd, u64)> =
            hops.map(|hop| (hop.from, hop.to, hop.bytes.0)).collect();
        let (ingress, head) = (
            problem.classes[route.class as usize].ingress,
            replica.shape.stages[0].node,
        );
        if ingress != head {
            sent.push((ingress, head, 6 * u64::from(service.prompt_tokens) + 1_024));
            sent.push((head, ingress, 256 * u64::from(service.output_tokens)));
        }
        for (from, to, size) in sent {
            for (name, capacity) in segments(fleet, from, to) {
                bytes.entry(name).or_insert((0, capacity)).0 += rate * u128::from(size);
            }
        }
    }
    let million = 1_000_000_u128;
    let too_many = asked
        .iter()
        .filter(|(class, rate)| **rate > u128::from(problem.classes[**class as usize].rate_micro));
    found.extend(too_many.map(|(class, _)| Fault::TooMany(*class)));
    for (replica, time) in sessions {
        let service = &fleet.services[plan.replicas[replica as usize].service.index()];
        if time > u128::from(service.concurrency) * million * 1_000_000_000 {
            found.push(Fault::Sessions(replica));
        }
    }
    for (node, time) in busy {
        if time > million * million * u128::from(problem.busy_max_milli) {
            found.push(Fault::Busy(node));
        }
    }
    for (node, spent) in energy {
        let Some(battery) = fleet.nodes[node.index()].battery else {
            continue;
        };
        let charge = u128::from(battery.charge.0.saturating_sub(battery.reserve.0));
        if spent * u128::from(problem.battery_lasts.0) > charge * million * 1_000_000_000 {
            found.push(Fault::Battery(node));
        }
    }
    for (name, (sent, capacity)) in bytes {
        if sent * 1_000 > u128::from(capacity) * million * u128::from(problem.link_max_milli) {
            found.push(Fault::Link(name));
        }
    }
}

/// A replica as a class sees it.
fn of_class(
    problem: &JointProblem,
    links: &LinkIndex,
    plan: &JointPlan,
    class: u32,
    replica: u32,
) -> Evaluation {
    let replica = &plan.replicas[replica as usize];
    evaluate(
        &problem.fleet,
        links,
        &problem.fleet.services[replica.service.index()],
        &replica.shape,
        problem.classes[class as usize].ingress,
    )
    .expect("a route goes over links that exist, to nodes whose speed is known")
}

/// A pipeline for requests that enter at a node.
#[must_use]
pub fn evaluate(
    fleet: &Problem,
    links: &LinkIndex,
    service: &Service,
    shape: &PipelineShape,
    ingress: NodeOrd,
) -> Option<Evaluation> {
    let asked = Service {
        ingress: vec![Ingress {
            node: ingress,
            weight: 1,
        }],
        ..service.clone()
    };
    let idle = vec![0; fleet.nodes.len()];
    CostModel::new(fleet, links, &asked, shape.candidate, &idle).evaluate(shape)
}

/// What a message crosses, by name, and its rate.
fn segments(fleet: &Problem, from: NodeOrd, to: NodeOrd) -> Vec<(String, u64)> {
    if let Some(link) = fleet.links.iter().find(|link| (link.from, link.to) == (from, to)) {
        return vec![(format!("link {} {}", from.0, to.0), link.rate.0)];
    }
    let access = |node: NodeOrd| fleet.regions.access.iter().find(|access| access.node == node);
    let (Some(out), Some(into)) = (access(from), access(to)) else {
        return Vec::new();
    };
    let backbone = fleet
        .regions
        .backbone
        .iter()
        .find(|one| (one.from, one.to) == (out.region, into.region));
    let named = |name: String, segment: &Segment| (name, segment.rate.0);
    let mut found = vec![
        named(format!("up {}", from.0), &out.up),
        named(format!("down {}", to.0), &into.down),
    ];
    found.extend(backbone.map(|one| {
        named(
            format!("backbone {} {}", out.region.0, into.region.0),
            &one.segment,
        )
    }));
    found
}
