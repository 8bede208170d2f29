//! Whose decisions: Edgeloom's, or the same question with fewer answers allowed.

use serde::{Deserialize, Serialize};
use solver::{
    Solution,
    links::LinkIndex,
    problem::{ExcludedNode, Exclusion, InvalidProblem, Mode, Problem, Tier},
    solution::Outcome,
    units::NodeOrd,
};

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// Every service runs whole in the cloud.
    CloudOnly,
    /// Every service runs whole on the node nearest to where most of its requests enter that holds it, and follows them at once.
    NearestNode,
    /// The first answer stays for as long as it works.
    NeverMove,
    /// As the controller decides.
    Edgeloom,
}

/// Thousandths that no new pipeline can be better by: the most that a problem allows.
const STAY: u32 = 999;

impl Policy {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudOnly => "cloud only",
            Self::NearestNode => "nearest node",
            Self::NeverMove => "never move",
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
            Self::NeverMove => {
                for service in &mut problem.services {
                    service.switching_margin_milli = STAY;
                }
            }
            Self::CloudOnly => {
                let elsewhere = |node: &NodeOrd| problem.nodes[node.index()].tier != Tier::Cloud;
                let others: Vec<NodeOrd> = ordinals(problem).filter(elsewhere).collect();
                for service in 0..problem.services.len() {
                    exclude(problem, service, &others);
                    only_whole(problem, service);
                }
            }
            Self::NearestNode => nearest(problem)?,
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

/// Leaves each service the nearest node that holds it, one service after the other; none where no node does.
fn nearest(problem: &mut Problem) -> Result<(), InvalidProblem> {
    for service in 0..problem.services.len() {
        only_whole(problem, service);
        problem.services[service].switching_margin_milli = 0;
        let order = by_distance(problem, service);
        let mut left = None;
        for node in &order {
            let mut tried = problem.clone();
            let others: Vec<NodeOrd> = ordinals(problem).filter(|other| other != node).collect();
            exclude(&mut tried, service, &others);
            if matches!(crate::solve(&tried)?.services[service], Outcome::Placed(_)) {
                left = Some(tried);
                break;
            }
        }
        if let Some(tried) = left {
            *problem = tried;
        }
    }
    Ok(())
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
