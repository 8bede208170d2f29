//! The nodes that this machine plays, and what of it each may use. Pure: the machine is an argument.

use std::collections::BTreeSet;

use crds::{EdgeLink, EdgeNode, EdgeNodeSpec, Quantity};
use kube::ResourceExt as _;

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores, in thousandths.
    pub cores_milli: i64,
    /// Memory, bytes.
    pub memory_bytes: i64,
}

/// Why nodes cannot be played.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Two EdgeNodes have one name.
    #[error("EdgeNode {0} is declared twice")]
    DuplicateNode(String),
    /// A name that the API server would refuse.
    #[error(
        "{0:?} is no name for an EdgeNode; use lowercase letters, digits, '-' and '.', with a letter or digit at both ends"
    )]
    InvalidName(String),
    /// A link ends nowhere.
    #[error("EdgeLink {link} names the node {node}, which is not declared")]
    UnknownNode {
        /// The link.
        link: String,
        /// The node.
        node: String,
    },
    /// The nodes want more than the machine can give.
    #[error(
        "spec.limits.cores of the EdgeNodes add up to {} cores, but this machine has {} and a quarter of them is left to \
         everything else: declare {} cores or less in all",
        cores(*.asked_milli), cores(*.machine_milli), cores(*.usable_milli)
    )]
    Cores {
        /// What all nodes declare together, in thousandths.
        asked_milli: i64,
        /// What the machine has.
        machine_milli: i64,
        /// What may be declared.
        usable_milli: i64,
    },
    /// The nodes want more memory than there is.
    #[error(
        "spec.limits.memory of the EdgeNodes adds up to {asked_mebibytes} MiB, but this machine has {machine_mebibytes} MiB"
    )]
    Memory {
        /// What all nodes declare together.
        asked_mebibytes: i64,
        /// What the machine has.
        machine_mebibytes: i64,
    },
    /// Nothing is left for a node that declares no limit.
    #[error(
        "EdgeNode {node} declares no spec.limits.{limit}, and the others leave nothing of it: declare less for them"
    )]
    NothingLeft {
        /// The node.
        node: String,
        /// `cores` or `memory`.
        limit: &'static str,
    },
}

/// The nodes and links of this machine. Every node has a limit of cores and memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The nodes, by name.
    pub nodes: Vec<EdgeNode>,
    /// The links between them.
    pub links: Vec<EdgeLink>,
}

impl Machine {
    /// The machine that this runs on, or the container's part of it.
    ///
    /// # Errors
    ///
    /// When the system does not say how much memory there is.
    pub fn here() -> Result<Self, sysinfo::Error> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut system = sysinfo::System::new()?;
        system.refresh_memory();
        let memory = system
            .cgroup_limits()
            .map_or(system.total_memory(), |limits| limits.total_memory);
        Ok(Self {
            cores_milli: i64::try_from(cores).unwrap_or(1) * 1000,
            memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
        })
    }

    /// What nodes may use together: a quarter is left to the control plane, the routers and everything else.
    fn usable_cores_milli(self) -> i64 {
        self.cores_milli - self.cores_milli / 4
    }

    fn usable_memory_bytes(self) -> i64 {
        self.memory_bytes - self.memory_bytes / 4
    }
}

impl Fleet {
    /// `count` nodes, `node-1` and so on, which share the machine equally.
    ///
    /// # Errors
    ///
    /// When a link names another node.
    pub fn equal_shares(count: u16, links: Vec<EdgeLink>, machine: Machine) -> Result<Self, Error> {
        let nodes =
            (1..=count).map(|ordinal| EdgeNode::new(&format!("node-{ordinal}"), EdgeNodeSpec::default()));
        Self::declared(nodes.collect(), links, machine)
    }

    /// Nodes as they are declared. Those that declare no limit share equally what the others leave.
    ///
    /// # Errors
    ///
    /// When names are wrong, or the nodes want more than the machine has.
    pub fn declared(mut nodes: Vec<EdgeNode>, links: Vec<EdgeLink>, machine: Machine) -> Result<Self, Error> {
        nodes.sort_by_key(kube::ResourceExt::name_any);
        check_names(&nodes, &links)?;
        share_cores(&mut nodes, machine)?;
        share_memory(&mut nodes, machine)?;
        Ok(Self { nodes, links })
    }

    /// The links that end at a node.
    #[must_use]
    pub fn links_of(&self, node: &str) -> Vec<EdgeLink> {
        let touches = |link: &&EdgeLink| link.spec.from == node || link.spec.to == node;
        self.links.iter().filter(touches).cloned().collect()
    }
}

fn check_names(nodes: &[EdgeNode], links: &[EdgeLink]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for node in nodes {
        let name = node.name_any();
        if !is_name(&name) {
            return Err(Error::InvalidName(name));
        }
        if !names.insert(name.clone()) {
            return Err(Error::DuplicateNode(name));
        }
    }
    for link in links {
        for node in [&link.spec.from, &link.spec.to] {
            if !names.contains(node) {
                return Err(Error::UnknownNode {
                    link: link.name_any(),
                    node: node.clone(),
                });
            }
        }
    }
    Ok(())
}

/// A DNS subdomain (RFC 1123), as Kubernetes wants names; it is also safe as a file name.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn share_cores(nodes: &mut [EdgeNode], machine: Machine) -> Result<(), Error> {
    let usable_milli = machine.usable_cores_milli();
    let declared = |node: &EdgeNode| node.spec.limits.cores.as_ref().map(Quantity::milli);
    let asked_milli: i64 = nodes.iter().filter_map(declared).fold(0, i64::saturating_add);
    if asked_milli > usable_milli {
        return Err(Error::Cores {
            asked_milli,
            machine_milli: machine.cores_milli,
            usable_milli,
        });
    }
    let sharing = nodes.iter().filter(|node| declared(node).is_none()).count();
    for node in nodes.iter_mut().filter(|node| declared(node).is_none()) {
        let share = (usable_milli - asked_milli) / i64::try_from(sharing).unwrap_or(i64::MAX);
        if share == 0 {
            return Err(Error::NothingLeft {
                node: node.name_any(),
                limit: "cores",
            });
        }
        node.spec.limits.cores = Some(format!("{share}m").parse().expect("thousandths are a quantity"));
    }
    Ok(())
}

fn share_memory(nodes: &mut [EdgeNode], machine: Machine) -> Result<(), Error> {
    let declared = |node: &EdgeNode| node.spec.limits.memory.as_ref().map(Quantity::value);
    let asked: i64 = nodes.iter().filter_map(declared).fold(0, i64::saturating_add);
    if asked > machine.memory_bytes {
        return Err(Error::Memory {
            asked_mebibytes: asked >> 20,
            machine_mebibytes: machine.memory_bytes >> 20,
        });
    }
    let sharing = nodes.iter().filter(|node| declared(node).is_none()).count();
    for node in nodes.iter_mut().filter(|node| declared(node).is_none()) {
        let left =
            (machine.usable_memory_bytes() - asked).max(0) / i64::try_from(sharing).unwrap_or(i64::MAX);
        if left == 0 {
            return Err(Error::NothingLeft {
                node: node.name_any(),
                limit: "memory",
            });
        }
        node.spec.limits.memory = Some(Quantity::bytes(left));
    }
    Ok(())
}

/// Thousandths of a core as cores: `1.5`.
fn cores(milli: i64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        cores_milli: 2000,
        memory_bytes: 8 << 30,
    };

    fn node(name: &str, cores: Option<&str>, memory: Option<&str>) -> EdgeNode {
        let mut node = EdgeNode::new(name, EdgeNodeSpec::default());
        node.spec.limits.cores = cores.map(|text| text.parse().unwrap());
        node.spec.limits.memory = memory.map(|text| text.parse().unwrap());
        node
    }

    fn limits(fleet: &Fleet) -> Vec<(String, i64, i64)> {
        let limits = |node: &EdgeNode| {
            let limits = &node.spec.limits;
            (
                node.name_any(),
                limits.cores.as_ref().unwrap().milli(),
                limits.memory.as_ref().unwrap().value() >> 20,
            )
        };
        fleet.nodes.iter().map(limits).collect()
    }

    fn link(from: &str, to: &str) -> EdgeLink {
        let spec = format!("{{from: {from}, to: {to}, rateBitsPerSecond: 20M}}");
        let spec = crds::manifest::parse(crds::manifest::read(&spec).unwrap().remove(0)).unwrap();
        EdgeLink::new(&format!("{from}-{to}"), spec)
    }

    #[test]
    fn equal_shares_leave_a_quarter_of_the_machine() {
        let fleet = Fleet::equal_shares(3, vec![], MACHINE).unwrap();
        let expected: Vec<_> = ["node-1", "node-2", "node-3"]
            .map(|name| (name.to_owned(), 500, 2048))
            .to_vec();
        assert_eq!(limits(&fleet), expected);
    }

    #[test]
    fn nodes_without_limits_share_what_the_declared_ones_leave() {
        let nodes = vec![
            node("b", None, None),
            node("a", Some("1"), Some("2Gi")),
            node("c", None, Some("1Gi")),
        ];
        let fleet = Fleet::declared(nodes, vec![], MACHINE).unwrap();
        let expected = [("a", 1000, 2048), ("b", 250, 3072), ("c", 250, 1024)];
        assert_eq!(
            limits(&fleet),
            expected.map(|(name, cores, memory)| (name.to_owned(), cores, memory))
        );
    }

    #[test]
    fn shares_of_just_the_cores_less_a_quarter_are_taken_and_more_is_refused() {
        Fleet::declared(
            vec![node("a", Some("1"), None), node("b", Some("500m"), None)],
            vec![],
            MACHINE,
        )
        .unwrap();
        let nodes = vec![node("a", Some("1"), None), node("b", Some("501m"), None)];
        let refused = Fleet::declared(nodes, vec![], MACHINE).unwrap_err().to_string();
        assert!(
            refused.contains("1.501 cores") && refused.contains("declare 1.5 cores or less"),
            "{refused}"
        );
    }

    #[test]
    fn a_node_for_which_nothing_is_left_is_named() {
        let nodes = vec![node("a", Some("1500m"), None), node("b", None, None)];
        let refused = Fleet::declared(nodes, vec![], MACHINE).unwrap_err();
        assert_eq!(
            refused,
            Error::NothingLeft {
                node: "b".to_owned(),
                limit: "cores"
            }
        );
    }

    #[test]
    fn more_memory_than_the_machine_has_is_refused() {
        let nodes = vec![node("a", None, Some("5Gi")), node("b", None, Some("4Gi"))];
        let refused = Fleet::declared(nodes, vec![], MACHINE).unwrap_err();
        assert_eq!(
            refused,
            Error::Memory {
                asked_mebibytes: 9216,
                machine_mebibytes: 8192
            }
        );
    }

    #[test]
    fn names_are_checked_before_anything_is_made_from_them() {
        for name in ["", "Robot", "../robot", "a..b", "-a", "a_b"] {
            let refused = Fleet::declared(vec![node(name, None, None)], vec![], MACHINE).unwrap_err();
            assert_eq!(refused, Error::InvalidName(name.to_owned()));
        }
        let twice = Fleet::declared(
            vec![node("a", None, None), node("a", None, None)],
            vec![],
            MACHINE,
        );
        assert_eq!(twice.unwrap_err(), Error::DuplicateNode("a".to_owned()));
    }

    #[test]
    fn a_link_belongs_to_both_its_ends_and_to_no_stranger() {
        let nodes = || {
            vec![
                node("a", None, None),
                node("b", None, None),
                node("c", None, None),
            ]
        };
        let fleet = Fleet::declared(nodes(), vec![link("a", "b")], MACHINE).unwrap();
        assert_eq!(["a", "b", "c"].map(|name| fleet.links_of(name).len()), [1, 1, 0]);
        let refused = Fleet::declared(nodes(), vec![link("a", "d")], MACHINE).unwrap_err();
        assert_eq!(
            refused,
            Error::UnknownNode {
                link: "a-d".to_owned(),
                node: "d".to_owned()
            }
        );
    }
}
