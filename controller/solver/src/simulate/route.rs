//! Which nodes a request goes through.

use crate::region::flow::Flow;
use crate::region::{Cluster, Layout};

/// By node, and last for the door: nodes to send to (the door's ordinal at the end of the model), each with a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing(pub Vec<Vec<(usize, f64)>>);

/// Edges with less than this part of what leaves a node are not used (as Helix does).
const NEGLIGIBLE: f64 = 0.05;

impl Routing {
    /// Weights are the tokens per second of a flow.
    #[must_use]
    pub fn from_flow(cluster: &Cluster, flow: &Flow) -> Self {
        let mut next = vec![Vec::new(); cluster.nodes.len() + 1];
        for &(from, to, tokens) in &flow.edges {
            next[from].push((to, tokens));
        }
        Self(next).without_negligible()
    }

    /// Every node sends to all that hold the layer at which it ends, in proportion to their tokens per second, over links that
    /// are there and to nodes from which the end of the model is reached.
    #[must_use]
    pub fn by_rate(cluster: &Cluster, layout: &Layout) -> Self {
        let door = cluster.door();
        let mut next = vec![Vec::new(); door + 1];
        // From the end of the model to its beginning: what a node sends to ends behind it.
        let mut holders: Vec<_> = layout.holders().collect();
        holders.sort_by_key(|(node, range)| (std::cmp::Reverse(range.end), *node));
        let ahead = |next: &[Vec<(usize, f64)>], from: usize, position: usize| {
            let holders = layout.holders().filter(|(_, range)| range.contains(&position));
            let open =
                holders.filter(|(node, _)| cluster.link(from, *node).is_some() && !next[*node].is_empty());
            open.map(|(node, range)| (node, cluster.tokens_per_second(node, range)))
                .collect()
        };
        for (node, range) in holders {
            next[node] = if range.end < cluster.num_layers {
                ahead(&next, node, range.end)
            } else if cluster.link(node, door).is_some() {
                vec![(door, 1.0)]
            } else {
                Vec::new()
            };
        }
        let entrances: Vec<(usize, f64)> = ahead(&next, door, 0);
        next[door] = entrances
            .into_iter()
            .filter(|(node, _)| layout.0[*node].start == 0)
            .collect();
        Self(next)
    }

    /// Nodes that serve, in groups that never send to one another; each in order.
    #[must_use]
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let door = self.0.len() - 1;
        let mut group_of: Vec<Option<usize>> = vec![None; door];
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for first in self.0[door].iter().map(|(node, _)| *node) {
            if group_of[first].is_some() {
                continue;
            }
            let mut reached = self.reached_from(first, &mut group_of, groups.len());
            reached.sort_unstable();
            groups.push(reached);
        }
        groups
    }

    /// Everything that is linked with a node by edges in either direction.
    fn reached_from(&self, first: usize, group_of: &mut [Option<usize>], group: usize) -> Vec<usize> {
        let door = group_of.len();
        let mut reached = vec![first];
        group_of[first] = Some(group);
        let mut next = 0;
        while let Some(node) = reached.get(next).copied() {
            next += 1;
            let ahead = self.0[node].iter().map(|(to, _)| *to);
            let behind = (0..door).filter(|from| self.0[*from].iter().any(|(to, _)| *to == node));
            for other in ahead
                .chain(behind)
                .filter(|other| *other != door)
                .collect::<Vec<_>>()
            {
                if group_of[other].is_none() {
                    group_of[other] = Some(group);
                    reached.push(other);
                }
            }
        }
        reached
    }

    /// With the edges of these nodes alone.
    #[must_use]
    pub fn only(&self, nodes: &[usize]) -> Self {
        let door = self.0.len() - 1;
        let among = |node: usize| node == door || nodes.contains(&node);
        let edges = |(from, edges): (usize, &Vec<(usize, f64)>)| {
            let kept = edges.iter().filter(|(to, _)| among(from) && among(*to));
            kept.copied().collect()
        };
        Self(self.0.iter().enumerate().map(edges).collect())
    }

    fn without_negligible(mut self) -> Self {
        for edges in &mut self.0 {
            let total: f64 = edges.iter().map(|(_, weight)| weight).sum();
            edges.retain(|(_, weight)| *weight >= NEGLIGIBLE * total);
        }
        self
    }
}

/// Memory of a node for keys and values, in tokens times layers.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) capacity: f64,
    pub(super) reserved: f64,
    pub(super) used: f64,
}

/// One node of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) node: usize,
    /// Which of [`Routing`]'s edges led here.
    edge: usize,
    /// The layer at which the request enters.
    pub(super) entry: usize,
    pub(super) layers: usize,
}

/// Chooses pipelines, and remembers what was sent where.
pub(super) struct Router<'r> {
    routing: &'r Routing,
    layout: &'r Layout,
    door: usize,
    num_layers: usize,
    /// By node and edge: tokens that were sent, over the weight.
    sent: Vec<Vec<f64>>,
}

impl<'r> Router<'r> {
    pub(super) fn new(cluster: &'r Cluster, layout: &'r Layout, routing: &'r Routing) -> Self {
        Self {
            routing,
            layout,
            door: cluster.door(),
            num_layers: cluster.num_layers,
            sent: routing.0.iter().map(|edges| vec![0.0; edges.len()]).collect(),
        }
    }

    /// A pipeline with room for `tokens` in each layer; none if some choice has no candidate. Interleaved weighted round
    /// robin: the edge that would then have got least for its weight. `prompt` tokens are counted as sent.
    pub(super) fn choose(
        &mut self,
        memory: &[Memory],
        tokens: f64,
        high_water: f64,
        prompt: f64,
    ) -> Option<Vec<Hop>> {
        let mut hops: Vec<Hop> = Vec::new();
        let (mut at, mut position) = (self.door, 0);
        while position < self.num_layers {
            let candidates = self.routing.0[at].iter().enumerate().filter(|(_, (to, _))| {
                *to != self.door && {
                    let memory = &memory[*to];
                    let held = self.layout.0[*to].len() as f64;
                    memory.reserved + tokens * held <= high_water * memory.capacity
                }
            });
            let after =
                |(edge, (_, weight)): (usize, &(usize, f64))| (self.sent[at][edge] + prompt / weight, edge);
            let Some((after, edge)) = candidates
                .map(after)
                .min_by(|one, other| one.0.total_cmp(&other.0))
            else {
                self.give_back(&hops, prompt);
                return None;
            };
            self.sent[at][edge] = after;
            let node = self.routing.0[at][edge].0;
            let end = self.layout.0[node].end;
            hops.push(Hop {
                node,
                edge,
                entry: position,
                layers: end - position,
            });
            (at, position) = (node, end);
        }
        Some(hops)
    }

    fn give_back(&mut self, hops: &[Hop], tokens: f64) {
        self.count(hops, -tokens);
    }

    /// Counts tokens as sent along a pipeline.
    pub(super) fn count(&mut self, hops: &[Hop], tokens: f64) {
        let mut at = self.door;
        for hop in hops {
            self.sent[at][hop.edge] += tokens / self.routing.0[at][hop.edge].1;
            at = hop.node;
        }
    }
}
