//! Finds the link between two nodes. Built once per solve; knows nothing of costs.

use crate::problem::{Link, Problem};
use crate::units::NodeOrd;

/// An index over [`Problem::links`].
#[derive(Clone, Debug)]
pub struct LinkIndex {
    /// Links of node `n` are `entries[starts[n]..starts[n + 1]]`.
    starts: Vec<usize>,
    /// (receiver, position of the link), ascending per sender.
    entries: Vec<(NodeOrd, usize)>,
}

impl LinkIndex {
    /// Indexes the links of a problem, which must be [valid](Problem::validate).
    #[must_use]
    pub fn new(problem: &Problem) -> Self {
        let mut sorted: Vec<_> = problem
            .links
            .iter()
            .enumerate()
            .map(|(position, link)| (link.from, link.to, position))
            .collect();
        sorted.sort_unstable();
        let mut starts = vec![0; problem.nodes.len() + 1];
        for &(from, ..) in &sorted {
            starts[from.index() + 1] += 1;
        }
        for node in 0..problem.nodes.len() {
            starts[node + 1] += starts[node];
        }
        Self {
            starts,
            entries: sorted
                .into_iter()
                .map(|(_, to, position)| (to, position))
                .collect(),
        }
    }

    /// The link from one node to another.
    #[must_use]
    pub fn get<'p>(&self, problem: &'p Problem, from: NodeOrd, to: NodeOrd) -> Option<&'p Link> {
        let entries = self.entries_from(from);
        let found = entries.binary_search_by_key(&to, |entry| entry.0).ok()?;
        Some(&problem.links[entries[found].1])
    }

    /// The links that leave a node, by receiver.
    pub(crate) fn from<'p>(&self, problem: &'p Problem, from: NodeOrd) -> impl Iterator<Item = &'p Link> {
        self.entries_from(from)
            .iter()
            .map(|entry| &problem.links[entry.1])
    }

    fn entries_from(&self, from: NodeOrd) -> &[(NodeOrd, usize)] {
        &self.entries[self.starts[from.index()]..self.starts[from.index() + 1]]
    }
}
