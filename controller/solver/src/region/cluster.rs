//! What a region is made of: types of nodes with measured times, nodes, and links between them.

use std::ops::Range;

/// Seconds by size, measured at some sizes and linear between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Times(Vec<(f64, f64)>);

impl Times {
    /// From measured pairs of size and seconds. A pair (0, 0) may be among them and is otherwise added.
    ///
    /// # Errors
    /// Says what is wrong with the pairs: none, sizes that do not grow, or figures that are negative or not finite.
    pub fn new(pairs: &[(f64, f64)]) -> Result<Self, &'static str> {
        let mut points = vec![(0.0, 0.0)];
        points.extend(pairs.iter().filter(|(size, _)| *size != 0.0));
        if points.len() < 2 {
            return Err("at least one measured size above 0");
        }
        if !points
            .iter()
            .all(|(size, seconds)| size.is_finite() && seconds.is_finite() && *seconds >= 0.0)
        {
            return Err("finite figures that are not negative");
        }
        if points.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err("sizes that grow from line to line");
        }
        if points[points.len() - 1].1 <= 0.0 {
            return Err("a time above 0 at the greatest size");
        }
        Ok(Self(points))
    }

    /// Seconds for `size`: linear between measured sizes and from (0, 0); beyond the greatest one, in proportion to it.
    #[must_use]
    pub fn at(&self, size: f64) -> f64 {
        let (greatest, longest) = self.0[self.0.len() - 1];
        if size >= greatest {
            return longest * size / greatest;
        }
        let above = self.0.partition_point(|(measured, _)| *measured <= size).max(1);
        let ((low, fast), (high, slow)) = (self.0[above - 1], self.0[above]);
        fast + (slow - fast) * (size - low) / (high - low)
    }

    /// As [`at`](Self::at), but never less than the time of the smallest measured size: weights are read once per step,
    /// however few the sequences.
    #[must_use]
    pub fn at_least_one_step(&self, size: f64) -> f64 {
        if size <= 0.0 {
            0.0
        } else {
            self.at(size.max(self.0[1].0))
        }
    }
}

/// Times of one layer of one model on one type of node.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTimes {
    /// By prompt tokens in a batch.
    pub prompt: Times,
    /// By sequences that get a token each.
    pub decode: Times,
}

/// What a node takes at once when it holds a certain number of layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Tokens whose keys and values fit, for all its layers.
    pub kv_tokens: f64,
    /// Prompts in one batch.
    pub prompts_max: usize,
    /// Sequences in one batch.
    pub sequences_max: usize,
}

/// Nodes that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeType {
    /// For people.
    pub name: String,
    /// Times of a layer.
    pub times: LayerTimes,
    /// At `k − 1`: limits with `k` layers. Its length is how many layers fit.
    pub limits: Vec<Limits>,
    /// At `k − 1`: tokens per second, of prompts and answers together, with `k` layers ([`super::capacity`]).
    pub tokens_per_second: Vec<f64>,
}

impl NodeType {
    /// How many layers fit.
    #[must_use]
    pub fn layers_max(&self) -> usize {
        self.limits.len()
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its place in [`Cluster::types`].
    pub kind: usize,
}

/// A link, one way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bytes per second.
    pub rate: f64,
    /// Seconds until the first byte arrives.
    pub latency: f64,
}

/// One model on one region.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Layers of the model.
    pub num_layers: usize,
    /// Bytes of a token between two nodes.
    pub activation_bytes: f64,
    /// Bytes of a token between users and the first or the last node.
    pub token_bytes: f64,
    /// Types of nodes.
    pub types: Vec<NodeType>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// At `from · (nodes + 1) + to`, where the last ordinal is the door: users, at both ends of every pipeline.
    pub links: Vec<Option<Link>>,
}

impl Cluster {
    /// The ordinal of the door.
    #[must_use]
    pub fn door(&self) -> usize {
        self.nodes.len()
    }

    /// The link between two nodes, or between a node and the door.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> Option<Link> {
        self.links[from * (self.nodes.len() + 1) + to]
    }

    /// Bytes of a token on the way from `from` to `to`.
    #[must_use]
    pub fn token_bytes_between(&self, from: usize, to: usize) -> f64 {
        if from == self.door() || to == self.door() {
            self.token_bytes
        } else {
            self.activation_bytes
        }
    }

    /// The type of a node.
    #[must_use]
    pub fn type_of(&self, node: usize) -> &NodeType {
        &self.types[self.nodes[node].kind]
    }

    /// How many nodes there are of each type.
    #[must_use]
    pub fn type_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.types.len()];
        for node in &self.nodes {
            counts[node.kind] += 1;
        }
        counts
    }

    /// Tokens per second of a node that holds `range`; 0 if it holds nothing.
    #[must_use]
    pub fn tokens_per_second(&self, node: usize, range: &Range<usize>) -> f64 {
        match range.len() {
            0 => 0.0,
            layers => self.type_of(node).tokens_per_second[layers - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_linear_between_what_was_measured_and_in_proportion_beyond_it() {
        let times = Times::new(&[(0.0, 0.0), (2.0, 1.0), (4.0, 3.0)]).expect("good pairs");
        assert_eq!(
            [0.0, 1.0, 2.0, 3.0, 4.0, 8.0].map(|size| times.at(size)),
            [0.0, 0.5, 1.0, 2.0, 3.0, 6.0]
        );
        assert_eq!(
            [0.0, 1.0, 3.0].map(|size| times.at_least_one_step(size)),
            [0.0, 1.0, 2.0]
        );
    }

    #[test]
    fn pairs_that_mean_nothing_are_refused() {
        assert!(Times::new(&[]).is_err());
        assert!(Times::new(&[(0.0, 0.0)]).is_err());
        assert!(Times::new(&[(2.0, 1.0), (2.0, 1.5)]).is_err());
        assert!(Times::new(&[(1.0, -1.0)]).is_err());
        assert!(Times::new(&[(1.0, f64::NAN)]).is_err());
    }
}
