//! Augmenting paths by depth-first search over a matrix of capacities, and all layouts one after the other. Slow and plain.

use std::ops::Range;

use solver::region::flow::Flow;
use solver::region::{Cluster, Layout};

/// The maximum flow of a layout. Vertices are positions of tokens at nodes: `in` and `out` of each, source and sink.
pub(super) fn max_flow(cluster: &Cluster, layout: &Layout) -> f64 {
    let num_nodes = layout.0.len();
    let (source, sink) = (2 * num_nodes, 2 * num_nodes + 1);
    let mut room = vec![vec![0.0_f64; sink + 1]; sink + 1];
    for (node, range) in layout.0.iter().enumerate() {
        if range.is_empty() {
            continue;
        }
        room[node][num_nodes + node] = cluster.type_of(node).tokens_per_second[range.len() - 1];
        if range.start == 0 {
            room[source][node] = capacity(cluster, num_nodes, node, 1.0);
        }
        if range.end == cluster.num_layers {
            room[num_nodes + node][sink] = capacity(cluster, node, num_nodes, 1.0);
        }
        for (next, ahead) in layout.0.iter().enumerate() {
            if next != node && enters(range, ahead) {
                room[num_nodes + node][next] = capacity(cluster, node, next, cluster.activation_bytes);
            }
        }
    }
    let mut total = 0.0;
    loop {
        let mut seen = vec![false; sink + 1];
        let pushed = augment(&mut room, &mut seen, source, sink, f64::INFINITY);
        if pushed < 1e-9 {
            return total;
        }
        total += pushed;
    }
}

fn enters(range: &Range<usize>, ahead: &Range<usize>) -> bool {
    ahead.start <= range.end && range.end < ahead.end
}

fn capacity(cluster: &Cluster, from: usize, to: usize, bytes: f64) -> f64 {
    let bytes = if from < cluster.nodes.len() && to < cluster.nodes.len() {
        bytes
    } else {
        cluster.token_bytes
    };
    cluster.links[from * (cluster.nodes.len() + 1) + to].map_or(0.0, |link| link.rate / bytes)
}

fn augment(room: &mut [Vec<f64>], seen: &mut [bool], at: usize, sink: usize, most: f64) -> f64 {
    if at == sink {
        return most;
    }
    seen[at] = true;
    for next in 0..room.len() {
        if !seen[next] && room[at][next] > 1e-9 {
            let pushed = augment(room, seen, next, sink, most.min(room[at][next]));
            if pushed > 0.0 {
                room[at][next] -= pushed;
                room[next][at] += pushed;
                return pushed;
            }
        }
    }
    0.0
}

/// Whether edges of a flow keep to capacities, are conserved at nodes, and sum up to its value.
pub(super) fn conserves(cluster: &Cluster, layout: &Layout, flow: &Flow) -> Result<(), String> {
    let door = cluster.nodes.len();
    let mut balance = vec![0.0; door + 1];
    let mut through = vec![0.0; door];
    for &(from, to, tokens) in &flow.edges {
        if tokens > capacity(cluster, from, to, cluster.activation_bytes) + 1e-6 {
            return Err(format!("{tokens} on the link from {from} to {to}"));
        }
        balance[from] -= tokens;
        balance[to] += tokens;
        if to != door {
            through[to] += tokens;
        }
    }
    for (node, range) in layout.0.iter().enumerate() {
        let most = if range.is_empty() {
            0.0
        } else {
            cluster.type_of(node).tokens_per_second[range.len() - 1]
        };
        if balance[node].abs() > 1e-6 || through[node] > most + 1e-6 {
            return Err(format!(
                "node {node} keeps {}, passes {} of {most}",
                balance[node], through[node]
            ));
        }
    }
    let out: f64 = flow
        .edges
        .iter()
        .filter(|(from, ..)| *from == door)
        .map(|(.., tokens)| tokens)
        .sum();
    if (out - flow.value).abs() > 1e-6 {
        return Err(format!("{out} leaves the door, not {}", flow.value));
    }
    Ok(())
}

/// The greatest flow over all layouts.
pub(super) fn best_flow(cluster: &Cluster) -> f64 {
    fn descend(cluster: &Cluster, layout: &mut Vec<Range<usize>>, best: &mut f64) {
        let node = layout.len();
        if node == cluster.nodes.len() {
            *best = best.max(max_flow(cluster, &Layout(layout.clone())));
            return;
        }
        for start in 0..cluster.num_layers {
            let most = cluster
                .type_of(node)
                .tokens_per_second
                .len()
                .min(cluster.num_layers - start);
            for layers in 1..=most {
                layout.push(start..start + layers);
                descend(cluster, layout, best);
                layout.pop();
            }
        }
    }
    let mut best = 0.0;
    descend(cluster, &mut Vec::new(), &mut best);
    best
}
