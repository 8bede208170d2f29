//! A cluster as Helix writes it.
//!
//! ```ini
//! [NodeNames]
//! total_compute_nodes=2
//! [ComputeNode-0]
//! type=A100
//! [ComputeNode-1]
//! type=T4
//! [Link-0-1]              # both ways; ends are numbers of nodes, source and sink
//! bandwidth=1000 * mbps   # bytes per second; kbps, mbps and gbps are 10³, 10⁶ and 10⁹
//! latency=1 * MilliSec    # Sec or MilliSec
//! ```

use super::{Error, ini};
use crate::region::{Link, Node};

/// A cluster, before times are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// Types of nodes, in the order in which they first appear.
    pub types: Vec<String>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// As [`crate::region::Cluster::links`].
    pub links: Vec<Option<Link>>,
}

const RATES: [(&str, f64); 3] = [("kbps", 1e3), ("mbps", 1e6), ("gbps", 1e9)];
const TIMES: [(&str, f64); 2] = [("MilliSec", 1e-3), ("Sec", 1.0)];
/// More nodes than this is a mistake in the file: links are held for each pair.
const NODES_MAX: usize = 4_096;

/// Reads a cluster; `file` is its name, for errors.
///
/// # Errors
/// Names the line or the section that is wrong, and what would be right.
pub fn parse(file: &str, text: &str) -> Result<Parsed, Error> {
    let sections = ini::sections(file, text)?;
    let section = |name: &str| {
        let found = sections.iter().find(|section| section.name == name);
        found.ok_or_else(|| Error::new(file, format!("the section [{name}] is missing")))
    };
    let num_nodes = section("NodeNames")?.number("total_compute_nodes")?;
    if num_nodes == 0 || num_nodes > NODES_MAX {
        let problem = format!("total_compute_nodes={num_nodes} is not between 1 and {NODES_MAX}");
        return Err(Error::new(format!("{file}, section [NodeNames]"), problem));
    }
    let mut types: Vec<String> = Vec::new();
    let mut nodes = Vec::with_capacity(num_nodes);
    for node in 0..num_nodes {
        let name = section(&format!("ComputeNode-{node}"))?.text("type")?;
        let kind = types.iter().position(|known| known == name).unwrap_or_else(|| {
            types.push(name.to_owned());
            types.len() - 1
        });
        nodes.push(Node { kind });
    }
    let mut links = vec![None; (num_nodes + 1) * (num_nodes + 1)];
    for section in &sections {
        let Some(ends) = section.name.strip_prefix("Link-") else {
            continue;
        };
        let link = link(section)?;
        let (one, other) = ends_of(section, ends, num_nodes)?;
        links[one * (num_nodes + 1) + other] = Some(link);
        let door = num_nodes;
        if one != door && other != door {
            links[other * (num_nodes + 1) + one] = Some(link);
        }
    }
    Ok(Parsed { types, nodes, links })
}

fn link(section: &ini::Section<'_>) -> Result<Link, Error> {
    let rate = section.quantity("bandwidth", &RATES)?;
    let latency = section.quantity("latency", &TIMES)?;
    if !(rate > 0.0 && rate.is_finite()) {
        return Err(Error::new(
            section.place(),
            format!("bandwidth={rate} is not above 0"),
        ));
    }
    if !(latency >= 0.0 && latency.is_finite()) {
        return Err(Error::new(
            section.place(),
            format!("latency={latency} is not 0 or above"),
        ));
    }
    Ok(Link { rate, latency })
}

fn ends_of(section: &ini::Section<'_>, ends: &str, num_nodes: usize) -> Result<(usize, usize), Error> {
    let end = |text: &str| match text {
        "source" | "sink" => Some(num_nodes),
        number => number.parse().ok().filter(|node| *node < num_nodes),
    };
    let both = ends
        .split_once('-')
        .and_then(|(one, other)| Some((end(one)?, end(other)?)));
    let proper = both.filter(|(one, other)| one != other);
    proper.ok_or_else(|| {
        let expected =
            format!("Link-A-B where A and B are source, sink, or numbers of nodes below {num_nodes}");
        Error::new(section.place(), format!("its name is not {expected}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "# a comment\n[NodeNames]\ntotal_compute_nodes=2\n\n[ComputeNode-0]\ntype=A100\n\
        [ComputeNode-1]\ntype=T4\n[Link-source-0]\nbandwidth=1 * gbps\nlatency=1 * MilliSec\n\
        [Link-0-1]\nbandwidth=12.5 * mbps\nlatency=0.05\n[Link-1-sink]\nbandwidth=3e5\nlatency=1 * Sec\n";

    #[test]
    fn a_cluster_is_read() {
        let parsed = parse("c.ini", SMALL).expect("a good file");
        assert_eq!(parsed.types, ["A100", "T4"]);
        let at = |from: usize, to: usize| parsed.links[from * 3 + to].map(|link| (link.rate, link.latency));
        assert_eq!(at(0, 1), Some((12.5e6, 0.05)));
        assert_eq!(at(1, 0), at(0, 1), "links between nodes go both ways");
        assert_eq!(at(2, 0), Some((1e9, 1e-3)));
        assert_eq!(at(1, 2), Some((3e5, 1.0)));
        assert_eq!(at(0, 2), None, "a link from the source is none to the sink");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("", "section [NodeNames] is missing"),
            ("[NodeNames\n", "line 1: a section ends with ]"),
            ("total=1\n", "line 1: key=value stands before"),
            (
                "[NodeNames]\ntotal_compute_nodes\n",
                "line 2: \"total_compute_nodes\" is neither",
            ),
            ("[NodeNames]\ntotal_compute_nodes=many\n", "not a whole number"),
            ("[NodeNames]\ntotal_compute_nodes=0\n", "not between 1 and"),
            (
                "[NodeNames]\ntotal_compute_nodes=1\n",
                "[ComputeNode-0] is missing",
            ),
            (
                "[NodeNames]\ntotal_compute_nodes=1\n[ComputeNode-0]\n",
                "type=… is missing",
            ),
        ];
        for (text, expected) in cases {
            let error = parse("c.ini", text).expect_err(text).to_string();
            assert!(error.starts_with("c.ini"), "{error}");
            assert!(error.contains(expected), "{error} should say {expected}");
        }
        let links = [
            (
                "bandwidth=1 * mbps",
                "bandwidth=fast",
                "not a number, or a number times one of kbps",
            ),
            ("bandwidth=1 * mbps", "bandwidth=1 * furlongs", "not a number"),
            ("bandwidth=1 * mbps", "bandwidth=0", "not above 0"),
            ("latency=1", "latency=-1", "not 0 or above"),
            ("Link-0-sink", "Link-0-7", "numbers of nodes below 1"),
            ("Link-0-sink", "Link-0-0", "Link-A-B"),
        ];
        let good = "[NodeNames]\ntotal_compute_nodes=1\n[ComputeNode-0]\ntype=T4\n[Link-0-sink]\nbandwidth=1 * mbps\nlatency=1\n";
        parse("c.ini", good).expect("a good file");
        for (from, to, expected) in links {
            let error = parse("c.ini", &good.replace(from, to)).expect_err(to).to_string();
            assert!(error.contains(expected), "{error} should say {expected}");
        }
    }
}
