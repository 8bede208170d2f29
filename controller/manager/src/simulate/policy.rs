//! Whose decisions: Edgeloom's, or the same question with fewer answers allowed or another margin for moving.

use serde::{Deserialize, Serialize};
use solver::{
    Solution,
    links::LinkIndex,
    problem::{ExcludedNode, Exclusion, InvalidProblem, Mode, Problem, Tier},
    units::{Bytes, NodeOrd},
};

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// Every service runs whole in the cloud.
    CloudOnly,
    /// Every service runs whole on the node nearest to where most of its requests enter that holds it, and follows them at once.
    NearestNode,
    /// Every service runs whole on the node with the most memory left, and stays there for as long as it works: as schedulers
    /// do that place one instance after the other.
    Greedy,
    /// The first answer stays for as long as it works.
    NeverMove,
    /// The best answer is followed at once, however little it is better.
    AlwaysMove,
    /// As the controller decides.
    Edgeloom,
}

/// Thousandths that no new pipeline can be better by: the most that a problem allows.
const STAY: u32 = 999;

impl Policy {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CloudOnly,
        Self::NearestNode,
        Self::Greedy,
        Self::NeverMove,
        Self::AlwaysMove,
        Self::Edgeloom,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudOnly => "cloud only",
            Self::NearestNode => "nearest node",
            Self::Greedy => "greedy",
            Self::NeverMove => "never move",
            Self::AlwaysMove => "always move",
            Self::Edgeloom => "Edgeloom",
        }
    }

    /// What it answers.
    ///
    /// # Errors
    ///
    /// When the question contradicts itself.
    pub(super) fn solve(self, problem: &mut Problem) -> Result<Solution, InvalidProblem> {
        match self {
            Self::Edgeloom => {}
            Self::NeverMove => set_margins(problem, STAY),
            Self::AlwaysMove => set_margins(problem, 0),
            Self::CloudOnly => {
                let elsewhere = |node: &NodeOrd| problem.nodes[node.index()].tier != Tier::Cloud;
                let others: Vec<NodeOrd> = ordinals(problem).filter(elsewhere).collect();
                for service in 0..problem.services.len() {
                    exclude(problem, service, &others);
                    only_whole(problem, service);
                }
            }
            Self::NearestNode => {
                set_margins(problem, 0);
                one_node_each(problem, |problem, service, _| by_distance(problem, service))?;
            }
            Self::Greedy => {
                set_margins(problem, STAY);
                one_node_each(problem, by_memory_left)?;
            }
        }
        crate::solve(problem)
    }
}

fn ordinals(problem: &Problem) -> impl Iterator<Item = NodeOrd> {
    (0..problem.nodes.len()).map(NodeOrd::from_index)
}

fn only_whole(problem: &mut Problem, service: usize) {
    let modes = &mut problem.services[service].modes;
    modes.retain(|mode| matches!(mode, Mode::OnDevice | Mode::OnServer));
}

fn exclude(problem: &mut Problem, service: usize, nodes: &[NodeOrd]) {
    let excluded = &mut problem.services[service].excluded;
    for node in nodes {
        if !excluded.iter().any(|known| known.node == *node) {
            excluded.push(ExcludedNode {
                node: *node,
                why: Exclusion::NotSelected,
            });
        }
    }
    excluded.sort_by_key(|known| known.node);
}

fn set_margins(problem: &mut Problem, thousandths: u32) {
    for service in &mut problem.services {
        service.switching_margin_milli = thousandths;
    }
}

/// Leaves each service the first node of an order that holds it, one service after the other; none where no node does. The
/// order is told what earlier services take of each node.
fn one_node_each(
    problem: &mut Problem,
    order: impl Fn(&Problem, usize, &[Bytes]) -> Vec<NodeOrd>,
) -> Result<(), InvalidProblem> {
    let mut taken = vec![Bytes::ZERO; problem.nodes.len()];
    for service in 0..problem.services.len() {
        only_whole(problem, service);
        for node in order(problem, service, &taken) {
            let mut tried = problem.clone();
            let others: Vec<NodeOrd> = ordinals(problem).filter(|other| *other != node).collect();
            exclude(&mut tried, service, &others);
            if let Some(placed) = crate::solve(&tried)?.services[service].placed() {
                for stage in &placed.pipeline.stages {
                    taken[stage.node.index()] += stage.memory.total();
                }
                *problem = tried;
                break;
            }
        }
    }
    Ok(())
}

/// The node that a service runs on, then the others by the memory that is left on them, the most first.
fn by_memory_left(problem: &Problem, service: usize, taken: &[Bytes]) -> Vec<NodeOrd> {
    let previous = problem.services[service].previous.as_ref();
    let runs = previous
        .and_then(|shape| shape.stages.first())
        .map(|stage| stage.node);
    let left = |node: NodeOrd| {
        let known = &problem.nodes[node.index()];
        known
            .memory
            .0
            .saturating_sub(known.reserved.0 + taken[node.index()].0)
    };
    let mut order: Vec<NodeOrd> = ordinals(problem).collect();
    order.sort_by_key(|node| (Some(*node) != runs, std::cmp::Reverse(left(*node)), *node));
    order
}

/// Nodes by the latency from the node where most requests of a service enter.
fn by_distance(problem: &Problem, service: usize) -> Vec<NodeOrd> {
    let entries = problem.services[service].ingress.iter();
    let Some(entry) = entries.max_by_key(|entry| (entry.weight, std::cmp::Reverse(entry.node))) else {
        return ordinals(problem).collect();
    };
    let links = LinkIndex::new(problem);
    let distance = |node: NodeOrd| {
        if node == entry.node {
            return Some(0);
        }
        let path = links.get(problem, entry.node, node)?;
        Some(path.segments().map(|segment| segment.latency.0 + 1).sum())
    };
    let mut order: Vec<(u64, NodeOrd)> = ordinals(problem)
        .filter_map(|node| Some((distance(node)?, node)))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, node)| node).collect()
}
