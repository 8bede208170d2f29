//! What is said of each EdgeLink: whether it joins two nodes that are there, and whether something passes.

use std::collections::{BTreeMap, BTreeSet};

use crds::{ConditionType, EdgeLink, condition::Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::{Said, reachable};
use crate::world::{Now, World};

/// The conditions of every EdgeLink, in the world's order.
#[must_use]
pub fn of_links(world: &World, now: Now) -> Vec<Vec<Condition>> {
    let nodes: BTreeSet<String> = world.nodes.iter().map(|node| node.name_any()).collect();
    // Of several that join the same nodes the last one counts, as in the solver's question.
    let mut counts: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for link in &world.links {
        counts.insert(ends(link), link.name_any());
    }
    let conditions = |link: &EdgeLink| {
        let said = of_link(world, &nodes, &counts[&ends(link)], link);
        let mut conditions = link.status.clone().unwrap_or_default().conditions;
        said.set(
            &mut conditions,
            ConditionType::Ready,
            link.metadata.generation,
            now,
        );
        conditions
    };
    world.links.iter().map(|link| conditions(link)).collect()
}

/// Both ends, in an order that does not depend on the link's direction.
fn ends(link: &EdgeLink) -> (&str, &str) {
    let (from, to) = (link.spec.from.as_str(), link.spec.to.as_str());
    if from < to { (from, to) } else { (to, from) }
}

/// The end that is no EdgeNode, in words.
pub(crate) fn loose_end(link: &EdgeLink, nodes: &BTreeSet<String>) -> Option<String> {
    let ends = [("from", &link.spec.from), ("to", &link.spec.to)];
    let (field, node) = ends.into_iter().find(|(_, node)| !nodes.contains(*node))?;
    Some(format!(
        "spec.{field} is {node:?}, and there is no EdgeNode of that name"
    ))
}

fn of_link(world: &World, nodes: &BTreeSet<String>, counts: &str, link: &EdgeLink) -> Said {
    let spec = &link.spec;
    if let Some(message) = loose_end(link, nodes) {
        return Said::new(Some(false), Reason::NotFound, message);
    }
    if counts != link.name_any() {
        let message = format!(
            "EdgeLink {counts} joins the same nodes, and counts instead of this one: keep one of them, with \
             spec.rateBitsPerSecond and spec.reverseRateBitsPerSecond"
        );
        return Said::new(Some(false), Reason::InvalidSpec, message);
    }
    for node in [&spec.from, &spec.to] {
        if let Some(loss) = world.lost.get(node) {
            let said = reachable(Some(loss));
            return Said::new(said.state, said.reason, format!("{node}: {}", said.message));
        }
    }
    if !world.is_connected(&spec.from, &spec.to) {
        let message = format!("nothing passes between {} and {}", spec.from, spec.to);
        return Said::new(Some(false), Reason::PeersReportLoss, message);
    }
    Said::new(Some(true), Reason::AsDesired, "both ends are there")
}
