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
