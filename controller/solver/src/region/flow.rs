//! The maximum flow of one layout, with every link: Dinic's algorithm on the graph of nodes.

use std::collections::VecDeque;

use super::{Cluster, Layout};

/// How tokens flow through a layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Tokens per second that arrive at the end of the model.
    pub value: f64,
    /// From, to (node ordinals, or the door's), tokens per second: what is not zero, in order.
    pub edges: Vec<(usize, usize, f64)>,
}

/// The maximum flow of a layout: `T_i(k_i)` in each node, link rate ÷ bytes per token on each link.
#[must_use]
pub fn max_flow(cluster: &Cluster, layout: &Layout) -> Flow {
    let mut network = Network::default();
    let arcs = build(cluster, layout, &mut network);
    let num_nodes = layout.0.len();
    let value = network.run(2 * num_nodes, 2 * num_nodes + 1);
    let edges = arcs
        .into_iter()
        .map(|(from, to, arc)| (from, to, network.flow_on(arc)));
    Flow {
        value,
        edges: edges.filter(|(_, _, flow)| *flow > NOTHING).collect(),
    }
}

/// Node `i` is the arc from vertex `2i` to `2i + 1`; the source and the sink follow.
fn build(cluster: &Cluster, layout: &Layout, network: &mut Network) -> Vec<(usize, usize, usize)> {
    let (num_nodes, door) = (layout.0.len(), cluster.door());
    let (source, sink) = (2 * num_nodes, 2 * num_nodes + 1);
    let capacity = |from, to| {
        let bytes = cluster.token_bytes_between(from, to);
        cluster.link(from, to).map(|link| link.rate / bytes)
    };
    let mut arcs = Vec::new();
    for (node, range) in layout.holders() {
        network.arc(2 * node, 2 * node + 1, cluster.tokens_per_second(node, range));
        if range.start == 0
            && let Some(capacity) = capacity(door, node)
        {
            arcs.push((door, node, network.arc(source, 2 * node, capacity)));
        }
        if range.end == cluster.num_layers {
            if let Some(capacity) = capacity(node, door) {
                arcs.push((node, door, network.arc(2 * node + 1, sink, capacity)));
            }
            continue;
        }
        for (next, ahead) in layout.holders() {
            if next != node
                && ahead.contains(&range.end)
                && let Some(capacity) = capacity(node, next)
            {
                arcs.push((node, next, network.arc(2 * node + 1, 2 * next, capacity)));
            }
        }
    }
    arcs
}

/// Flows and capacities below this, in tokens per second, are rounding.
const NOTHING: f64 = 1e-9;

#[derive(Default)]
struct Network {
    heads: Vec<usize>,
    residual: Vec<f64>,
    leaving: Vec<Vec<usize>>,
}

impl Network {
    /// Adds an arc and its reverse, which has the next number.
    fn arc(&mut self, from: usize, to: usize, capacity: f64) -> usize {
        let arc = self.heads.len();
        self.heads.extend([to, from]);
        self.residual.extend([capacity, 0.0]);
        self.leaving
            .resize_with(self.leaving.len().max(from.max(to) + 1), Vec::new);
        self.leaving[from].push(arc);
        self.leaving[to].push(arc + 1);
        arc
    }

    fn flow_on(&self, arc: usize) -> f64 {
        self.residual[arc + 1]
    }

    fn run(&mut self, source: usize, sink: usize) -> f64 {
        self.leaving
            .resize_with(self.leaving.len().max(sink + 1), Vec::new);
        let mut total = 0.0;
        while let Some(levels) = self.levels(source, sink) {
            let mut next = vec![0; self.leaving.len()];
            loop {
                let pushed = self.push(source, sink, f64::INFINITY, &levels, &mut next);
                if pushed <= NOTHING {
                    break;
                }
                total += pushed;
            }
        }
        total
    }

    /// Distances from the source in arcs with room; none if the sink is not reached.
    fn levels(&self, source: usize, sink: usize) -> Option<Vec<usize>> {
        let mut levels = vec![usize::MAX; self.leaving.len()];
        levels[source] = 0;
        let mut queue = VecDeque::from([source]);
        while let Some(vertex) = queue.pop_front() {
            for &arc in &self.leaving[vertex] {
                let head = self.heads[arc];
                if self.residual[arc] > NOTHING && levels[head] == usize::MAX {
                    levels[head] = levels[vertex] + 1;
                    queue.push_back(head);
                }
            }
        }
        (levels[sink] != usize::MAX).then_some(levels)
    }

    fn push(&mut self, at: usize, sink: usize, room: f64, levels: &[usize], next: &mut [usize]) -> f64 {
        if at == sink {
            return room;
        }
        while next[at] < self.leaving[at].len() {
            let arc = self.leaving[at][next[at]];
            let head = self.heads[arc];
            if self.residual[arc] > NOTHING && levels[head] == levels[at] + 1 {
                let pushed = self.push(head, sink, room.min(self.residual[arc]), levels, next);
                if pushed > NOTHING {
                    self.residual[arc] -= pushed;
                    self.residual[arc ^ 1] += pushed;
                    return pushed;
                }
            }
            next[at] += 1;
        }
        0.0
    }
}
