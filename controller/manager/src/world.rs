//! Everything that the manager looks at, at one moment: plain objects, in the order of their names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{
    EdgeLink, EdgeNode, EdgeUser, LLMService, Model, Placement, RouteTable, Stage, placement::PlacementPhase,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

/// For so long a service that has moved counts as settling: figures that are measured waver, and a node that has just come back
/// may be gone again.
pub const SETTLING: SignedDuration = SignedDuration::from_mins(5);

/// Objects as the watches show them, with what the manager knows beside them.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// All Models.
    pub models: Vec<Arc<Model>>,
    /// All LLMServices.
    pub services: Vec<Arc<LLMService>>,
    /// All EdgeUsers.
    pub users: Vec<Arc<EdgeUser>>,
    /// All EdgeNodes.
    pub nodes: Vec<Arc<EdgeNode>>,
    /// All EdgeLinks.
    pub links: Vec<Arc<EdgeLink>>,
    /// All Placements.
    pub placements: Vec<Arc<Placement>>,
    /// All Stages.
    pub stages: Vec<Arc<Stage>>,
    /// All RouteTables.
    pub route_tables: Vec<Arc<RouteTable>>,
    /// Nodes that do not answer, and why.
    pub lost: BTreeMap<String, Loss>,
    /// Pairs of nodes between which nothing passes now, though both may be alive; the lesser name first.
    pub cut: BTreeSet<(String, String)>,
    /// EdgeNodes that take no new stages for now, and why. Services leave them where there is room elsewhere.
    pub withheld: BTreeMap<String, Withheld>,
    /// When this is how things stand; none where time plays no part, as for plans made offline. Nothing has aged then.
    pub at: Option<Now>,
    /// Services that have moved a moment ago, and stay unless another place is far better.
    pub settling: BTreeSet<ServiceName>,
    /// Keyed hashes of API keys, by namespace and EdgeUser.
    pub key_hashes: BTreeMap<(String, String), String>,
    /// What this control plane calls itself.
    pub identity: Identity,
}

/// What sets one control plane apart from another, and from itself restored from a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// A name that is new for each control plane and each restored backup.
    pub incarnation: String,
    /// The salt of keyed hashes.
    pub key_salt: String,
}

/// Why a node counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It never had a Lease.
    NeverSeen,
    /// Its Lease has expired.
    LeaseExpired,
    /// A peer lost its connection, and the Lease was not renewed since.
    PeersReport,
}

impl Loss {
    /// In words, to follow "node x is lost: ".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::NeverSeen => "its agent has never reported",
            Self::LeaseExpired => "its Lease has expired",
            Self::PeersReport => "its peers lost their connections to it",
        }
    }
}

/// Why an EdgeNode takes no new stages, beside its own `spec.unschedulable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// Its Kubernetes Node is cordoned, as by `kubectl cordon` or `drain`.
    NodeCordoned,
    /// Its agent is the next to be updated.
    AgentUpdate,
}

impl Withheld {
    /// In words, to follow "node x takes no new stages: ".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::NodeCordoned => "its Kubernetes Node is cordoned",
            Self::AgentUpdate => "its agent is about to be updated",
        }
    }
}

impl World {
    /// Sorts every list by namespace and name, so that equal worlds are equal values.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        fn sort<K: ResourceExt>(objects: &mut [Arc<K>]) {
            objects.sort_by_cached_key(|object| (object.namespace(), object.name_any()));
        }
        sort(&mut self.models);
        sort(&mut self.services);
        sort(&mut self.users);
        sort(&mut self.nodes);
        sort(&mut self.links);
        sort(&mut self.placements);
        sort(&mut self.stages);
        sort(&mut self.route_tables);
        self
    }

    /// The EdgeNode of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<EdgeNode>> {
        self.nodes.iter().find(|node| node.name_any() == name)
    }

    /// Whether the node's agent answers.
    #[must_use]
    pub fn is_alive(&self, node: &str) -> bool {
        self.node(node).is_some() && !self.lost.contains_key(node)
    }

    /// Whether new stages may be placed on a node.
    #[must_use]
    pub fn is_schedulable(&self, node: &EdgeNode) -> bool {
        !node.spec.unschedulable && !self.withheld.contains_key(&node.name_any())
    }

    /// Whether something passes between two nodes, as far as is known.
    #[must_use]
    pub fn is_connected(&self, one: &str, other: &str) -> bool {
        let pair = if one < other { (one, other) } else { (other, one) };
        self.cut.is_empty() || !self.cut.contains(&(pair.0.to_owned(), pair.1.to_owned()))
    }

    /// The Stage of that name.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&Arc<Stage>> {
        self.stages.iter().find(|stage| stage.name_any() == name)
    }

    /// The RouteTable of a node.
    #[must_use]
    pub fn route_table(&self, node: &str) -> Option<&Arc<RouteTable>> {
        self.route_tables.iter().find(|table| table.name_any() == node)
    }

    /// The Placements of a service, oldest revision first, without those that are being deleted.
    #[must_use]
    pub fn placements_of(&self, service: &ServiceName) -> Vec<&Arc<Placement>> {
        let mut placements: Vec<_> = self
            .placements
            .iter()
            .filter(|placement| {
                placement.metadata.deletion_timestamp.is_none()
                    && placement.spec.service == service.name
                    && placement.namespace().as_deref() == Some(service.namespace.as_str())
            })
            .collect();
        placements.sort_by_key(|placement| (revision_of(placement), placement.name_any()));
        placements
    }

    /// The Placement that a service runs on: the one that serves, otherwise the newest that is not draining.
    #[must_use]
    pub fn runs_on(&self, service: &ServiceName) -> Option<&Arc<Placement>> {
        let placements = self.placements_of(service);
        let newest = |is_meant: fn(PlacementPhase) -> bool| {
            placements
                .iter()
                .rfind(|placement| is_meant(phase_of(placement)))
                .copied()
        };
        newest(|phase| phase == PlacementPhase::Serving)
            .or_else(|| newest(|phase| phase != PlacementPhase::Draining))
    }

    /// Services whose Placement took the place of another less than [`SETTLING`] before `now`.
    #[must_use]
    pub fn settling_at(&self, now: Timestamp) -> BTreeSet<ServiceName> {
        let services = self.services.iter().map(|service| ServiceName::of(service));
        let has_moved = |service: &ServiceName| {
            self.runs_on(service).is_some_and(|placement| {
                let made = placement.metadata.creation_timestamp.as_ref();
                let is_young = made.is_some_and(|made| now.duration_since(made.0) < SETTLING);
                is_young && revision_of(placement) > 1
            })
        };
        services.filter(has_moved).collect()
    }
}

/// The phase that a Placement has.
#[must_use]
pub fn phase_of(placement: &Placement) -> PlacementPhase {
    placement
        .status
        .as_ref()
        .map(|status| status.phase)
        .unwrap_or_default()
}

/// The revision of a Placement's pipelines.
#[must_use]
pub fn revision_of(placement: &Placement) -> i64 {
    placement
        .spec
        .pipelines
        .iter()
        .map(|pipeline| pipeline.revision)
        .max()
        .unwrap_or(0)
}

/// Namespace and name of an LLMService; prints as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ServiceName {
    /// The name of an object.
    #[must_use]
    pub fn of(service: &LLMService) -> Self {
        Self {
            namespace: service.namespace().unwrap_or_default(),
            name: service.name_any(),
        }
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// When something happens; an argument of everything that writes a time.
pub type Now = Timestamp;
