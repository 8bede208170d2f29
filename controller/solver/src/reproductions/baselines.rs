//! Layouts of others: Helix's own, Swarm's, and one pipeline for each type of GPU.

use std::ops::Range;

use super::helix::{Model, embedded};
use crate::region::{Cluster, Layout};

/// A layout to compare with. Helix's search of LLaMA-30B found one chain for each type of GPU, on both clusters.
///
/// # Panics
/// When there is none: names of rows are fixed, and a test asks for each.
pub(super) fn layout(cluster_name: &str, model: Model, method: &str, cluster: &Cluster) -> Layout {
    if method == "helix" && model.name == "llama-30b" {
        return pipeline_per_type(cluster);
    }
    embedded::layout(cluster_name, model, method, cluster.nodes.len())
        .expect("rows name layouts that are there")
}

/// One chain of equal parts for each type: what Helix's artifact has for LLaMA-30B on both clusters. Nodes are in the order
/// of the cluster's file, so that chains cross between regions as seldom as they can.
fn pipeline_per_type(cluster: &Cluster) -> Layout {
    let mut ranges = vec![0..0; cluster.nodes.len()];
    for kind in 0..cluster.types.len() {
        let nodes = (0..cluster.nodes.len()).filter(|node| cluster.nodes[*node].kind == kind);
        let nodes: Vec<usize> = nodes.collect();
        for (place, node) in nodes.iter().enumerate() {
            ranges[*node] = part(cluster.num_layers, nodes.len(), place);
        }
    }
    Layout(ranges)
}

/// The layers of one of `parts` parts that differ by one layer at most.
fn part(num_layers: usize, parts: usize, place: usize) -> Range<usize> {
    num_layers * place / parts..num_layers * (place + 1) / parts
}

/// Swarm's rule for a cluster of which nothing is published: segments of equal length that every type can hold, and each
/// node, the fastest first, to the segment that passes least. None if there are fewer nodes than segments.
pub(super) fn swarm(cluster: &Cluster) -> Option<Layout> {
    let longest = cluster
        .types
        .iter()
        .map(crate::region::NodeType::layers_max)
        .min()?;
    let num_segments = cluster.num_layers.div_ceil(longest);
    let segments: Vec<Range<usize>> = (0..num_segments)
        .map(|place| part(cluster.num_layers, num_segments, place))
        .collect();
    let mut passed = vec![0.0_f64; num_segments];
    let mut nodes: Vec<usize> = (0..cluster.nodes.len()).collect();
    let rate = |node: usize, segment: usize| cluster.tokens_per_second(node, &segments[segment]);
    nodes.sort_by(|one, other| rate(*other, 0).total_cmp(&rate(*one, 0)));
    let mut ranges = vec![0..0; nodes.len()];
    for node in nodes {
        let (least, _) = passed
            .iter()
            .enumerate()
            .min_by(|one, other| one.1.total_cmp(other.1))?;
        passed[least] += rate(node, least);
        ranges[node] = segments[least].clone();
    }
    let layout = Layout(ranges);
    layout.check(cluster).is_ok().then_some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproductions::helix::MODELS;

    #[test]
    fn swarms_rule_covers_the_model_with_segments_that_every_node_holds() {
        for model in MODELS {
            let cluster = embedded::cluster("single24", model).expect("built in");
            let layout = swarm(&cluster).expect("there are enough nodes");
            let mut segments: Vec<_> = layout.0.iter().map(|range| (range.start, range.end)).collect();
            segments.sort_unstable();
            segments.dedup();
            assert!(
                segments.windows(2).all(|pair| pair[0].1 == pair[1].0),
                "{segments:?}"
            );
            // As in the artifact: twenty segments of four layers, or of LLaMA-30B nine instead of ten.
            assert!(segments.len() == 20 || model.num_layers == 60, "{segments:?}");
        }
    }
}
