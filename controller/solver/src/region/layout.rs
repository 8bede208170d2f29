//! A layout: which layers each node holds.

use std::fmt;
use std::ops::Range;

use super::Cluster;

/// The layers of each node, by its ordinal; an empty range for a node that holds none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(pub Vec<Range<usize>>);

/// Why a layout cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Illegal {
    /// The layout is of another number of nodes.
    Length,
    /// The node holds a layer that the model does not have.
    BeyondModel(usize),
    /// The node holds more layers than fit.
    TooMany(usize),
    /// No node holds the layer.
    Uncovered(usize),
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "the layout is of another number of nodes"),
            Self::BeyondModel(node) => write!(f, "node {node} holds layers that the model does not have"),
            Self::TooMany(node) => write!(f, "node {node} holds more layers than fit"),
            Self::Uncovered(layer) => write!(f, "no node holds layer {layer}"),
        }
    }
}

impl std::error::Error for Illegal {}

impl Layout {
    /// Whether the layout can be loaded and holds the whole model.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, cluster: &Cluster) -> Result<(), Illegal> {
        if self.0.len() != cluster.nodes.len() {
            return Err(Illegal::Length);
        }
        let mut covered = vec![false; cluster.num_layers];
        for (node, range) in self.0.iter().enumerate() {
            if range.end > cluster.num_layers {
                return Err(Illegal::BeyondModel(node));
            }
            if range.len() > cluster.type_of(node).layers_max() {
                return Err(Illegal::TooMany(node));
            }
            covered[range.clone()].fill(true);
        }
        covered
            .iter()
            .position(|held| !held)
            .map_or(Ok(()), |layer| Err(Illegal::Uncovered(layer)))
    }

    /// Nodes that hold something.
    pub fn holders(&self) -> impl Iterator<Item = (usize, &Range<usize>)> {
        self.0.iter().enumerate().filter(|(_, range)| !range.is_empty())
    }
}
