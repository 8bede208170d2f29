//! Finds the path between two nodes. Built once per solve; knows nothing of costs.

use crate::problem::{Access, Link, Problem, Segment};
use crate::units::{BytesPerSecond, NodeOrd, RegionOrd};

/// A way from one node to another: a link of their own, or access, backbone and access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Sender.
    pub from: NodeOrd,
    /// Receiver.
    pub to: NodeOrd,
    segments: [Option<Segment>; 3],
}

impl Path {
    /// What a message crosses, in order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().flatten()
    }
}

impl From<&Link> for Path {
    fn from(link: &Link) -> Self {
        Self {
            from: link.from,
            to: link.to,
            segments: [Some(Segment::from(link)), None, None],
        }
    }
}

/// An index over [`Problem::links`] and [`Problem::regions`].
#[derive(Clone, Debug)]
pub struct LinkIndex {
    /// Links of node `n` are `entries[starts[n]..starts[n + 1]]`.
    starts: Vec<usize>,
    /// (receiver, position of the link), ascending per sender.
    entries: Vec<(NodeOrd, usize)>,
    /// Position of each node's access link.
    access: Vec<Option<usize>>,
    /// ((from, to), position), ascending.
    backbone: Vec<((RegionOrd, RegionOrd), usize)>,
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
        let mut access = vec![None; problem.nodes.len()];
        for (position, entry) in problem.regions.access.iter().enumerate() {
            access[entry.node.index()] = Some(position);
        }
        let mut backbone: Vec<_> = problem
            .regions
            .backbone
            .iter()
            .enumerate()
            .map(|(position, entry)| ((entry.from, entry.to), position))
            .collect();
        backbone.sort_unstable();
        Self {
            starts,
            entries: sorted
                .into_iter()
                .map(|(_, to, position)| (to, position))
                .collect(),
            access,
            backbone,
        }
    }

    /// The path from one node to another.
    #[must_use]
    pub fn get(&self, problem: &Problem, from: NodeOrd, to: NodeOrd) -> Option<Path> {
        let entries = self.entries_from(from);
        if let Ok(found) = entries.binary_search_by_key(&to, |entry| entry.0) {
            return Some(Path::from(&problem.links[entries[found].1]));
        }
        let (out, into) = (self.access(problem, from)?, self.access(problem, to)?);
        let between = self.backbone(problem, out.region, into.region)?;
        Some(Path {
            from,
            to,
            segments: [Some(out.up), Some(*between), Some(into.down)],
        })
    }

    /// Ordinals of the segments that [`get`](Self::get) finds, in order: links first, then ways out of and into regions, then
    /// the backbone, as [`segment_rates`](Self::segment_rates) counts them.
    pub(crate) fn segments(
        &self,
        problem: &Problem,
        from: NodeOrd,
        to: NodeOrd,
    ) -> Option<[Option<usize>; 3]> {
        let entries = self.entries_from(from);
        if let Ok(found) = entries.binary_search_by_key(&to, |entry| entry.0) {
            return Some([Some(entries[found].1), None, None]);
        }
        let (out, into) = (self.access[from.index()]?, self.access[to.index()]?);
        let (access, links) = (&problem.regions.access, problem.links.len());
        let regions = (access[out].region, access[into].region);
        let found = self
            .backbone
            .binary_search_by_key(&regions, |entry| entry.0)
            .ok()?;
        let backbone = links + 2 * access.len() + self.backbone[found].1;
        Some([Some(links + 2 * out), Some(backbone), Some(links + 2 * into + 1)])
    }

    /// Rates of all segments.
    pub(crate) fn segment_rates<'p>(
        &self,
        problem: &'p Problem,
    ) -> impl Iterator<Item = BytesPerSecond> + 'p {
        let access = problem.regions.access.iter();
        let links = problem.links.iter().map(|link| link.rate);
        links
            .chain(access.flat_map(|access| [access.up.rate, access.down.rate]))
            .chain(problem.regions.backbone.iter().map(|entry| entry.segment.rate))
    }

    /// A node's access link.
    pub(crate) fn access<'p>(&self, problem: &'p Problem, node: NodeOrd) -> Option<&'p Access> {
        self.access[node.index()].map(|position| &problem.regions.access[position])
    }

    /// The path between two regions.
    pub(crate) fn backbone<'p>(
        &self,
        problem: &'p Problem,
        from: RegionOrd,
        to: RegionOrd,
    ) -> Option<&'p Segment> {
        let found = self
            .backbone
            .binary_search_by_key(&(from, to), |entry| entry.0)
            .ok()?;
        Some(&problem.regions.backbone[self.backbone[found].1].segment)
    }

    /// The links that leave a node, by receiver; not its ways through regions.
    pub(crate) fn from<'p>(&self, problem: &'p Problem, from: NodeOrd) -> impl Iterator<Item = &'p Link> {
        self.entries_from(from)
            .iter()
            .map(|entry| &problem.links[entry.1])
    }

    fn entries_from(&self, from: NodeOrd) -> &[(NodeOrd, usize)] {
        &self.entries[self.starts[from.index()]..self.starts[from.index() + 1]]
    }
}
