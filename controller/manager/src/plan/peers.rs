//! Which agents know one another: those between which requests and tokens pass, and some more, whose links are measured before
//! anything uses them.
//!
//! In a small fleet every agent knows every other one. In a large one that would be a table of a million entries, each of which
//! an agent would have to keep a connection for.

use std::collections::{BTreeMap, BTreeSet};

use crds::{edge_node::AgentInfo, route_table::Peer};
use kube::ResourceExt;

use super::{Plan, routes::agent_of};
use crate::{
    entrances::Entrances,
    world::{ServiceName, World},
};

/// Up to so many agents all know each other.
const ALL_KNOW_ALL: usize = 64;

/// In a larger fleet an agent knows so many on each side in the order of their names, beside those that it works with.
const NEIGHBOURS: usize = 8;

/// The most peers that a RouteTable holds.
const PEERS_MAX: usize = 4096;

/// The peers of each agent that has reported, in the order of their names. Of two agents the one with the lesser name dials.
#[must_use]
pub fn derive<State>(world: &World, plan: &Plan<State>) -> BTreeMap<String, Vec<Peer>> {
    let agents: BTreeMap<String, &AgentInfo> = world
        .nodes
        .iter()
        .filter_map(|node| Some((node.name_any(), agent_of(node)?)))
        .collect();
    let mut known = Acquaintances::default();
    known.add_pipelines(plan);
    known.add_ways_in(world, plan, &agents);
    for link in &world.links {
        known.join(&link.spec.from, &link.spec.to);
    }
    let names: Vec<_> = agents.keys().map(String::as_str).collect();
    known.add_neighbours(&names);
    let peers_of = |node: &str| {
        let met = known.met.get(node).into_iter().flatten();
        let peers = met.filter_map(|other| Some(peer(node, other, agents.get(*other)?)));
        let mut peers: Vec<_> = peers.take(PEERS_MAX).collect();
        peers.sort_by(|one, other| one.node.cmp(&other.node));
        peers
    };
    agents.keys().map(|node| (node.clone(), peers_of(node))).collect()
}

fn peer(node: &str, other: &str, agent: &AgentInfo) -> Peer {
    Peer {
        node: other.to_owned(),
        address: agent.peer_address.clone(),
        public_key: agent.public_key.clone(),
        dial: node < other,
    }
}

/// Who knows whom; what matters most was added first.
#[derive(Default)]
struct Acquaintances<'n> {
    pairs: BTreeSet<(&'n str, &'n str)>,
    met: BTreeMap<&'n str, Vec<&'n str>>,
}

impl<'n> Acquaintances<'n> {
    fn join(&mut self, one: &'n str, other: &'n str) {
        let pair = if one < other { (one, other) } else { (other, one) };
        if one != other && self.pairs.insert(pair) {
            self.met.entry(one).or_default().push(other);
            self.met.entry(other).or_default().push(one);
        }
    }

    /// Every two agents of a pipeline.
    fn add_pipelines<State>(&mut self, plan: &'n Plan<State>) {
        let pipelines = plan
            .placements
            .iter()
            .flat_map(|placement| &placement.spec.pipelines);
        for pipeline in pipelines {
            for (index, stage) in pipeline.stages.iter().enumerate() {
                for other in &pipeline.stages[..index] {
                    self.join(&stage.node, &other.node);
                }
            }
        }
    }

    /// Agents that take a service's requests, and the heads of its pipelines, also of those that come and go.
    fn add_ways_in<State>(
        &mut self,
        world: &'n World,
        plan: &'n Plan<State>,
        agents: &'n BTreeMap<String, &AgentInfo>,
    ) {
        for service in &world.services {
            let heads: BTreeSet<&str> = plan
                .placements_of(&ServiceName::of(service))
                .flat_map(|placement| &placement.spec.pipelines)
                .filter_map(|pipeline| Some(pipeline.stages.first()?.node.as_str()))
                .collect();
            let entrances = Entrances::of(world, service);
            let admitting = world.nodes.iter().filter(|node| entrances.admit(node));
            let known = admitting.filter_map(|node| agents.get_key_value(&node.name_any()));
            let ways_in: Vec<&String> = known.map(|(name, _)| name).collect();
            for head in heads {
                for node in &ways_in {
                    self.join(node, head);
                }
            }
        }
    }

    /// All of them in a small fleet, otherwise those that are next to each other, the last and the first as well.
    fn add_neighbours(&mut self, names: &[&'n str]) {
        let reach = if names.len() <= ALL_KNOW_ALL {
            names.len() / 2
        } else {
            NEIGHBOURS
        };
        for (index, name) in names.iter().enumerate() {
            for step in 1..=reach {
                self.join(name, names[(index + step) % names.len()]);
            }
        }
    }
}
