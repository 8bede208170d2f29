//! Reflectors over every kind that a decision depends on, and one coalesced wake-up for all of them.
//!
//! Each watch has a backoff of its own, so that one that fails delays no other.

mod keys;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use crds::{EdgeLink, EdgeNode, EdgeUser, LLMService, Model, Placement, RouteTable, Stage};
use futures::{Stream, StreamExt as _};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Secret},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, reflector, reflector::Store, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::Notify, task::JoinSet};
use tracing::warn;

use crate::{
    cordons::Cordons,
    liveness::{Liveness, Verdict},
    rollout::{Agents, pods::Pods},
    world::{Identity, Loss, Withheld, World},
};

/// Watches are ended by the server after this time and opened again; kube refuses 295 s and more.
const WATCH_SECONDS: u32 = 290;

/// Where agents keep their Leases, and the control plane its identity, unless it is told otherwise.
pub const SYSTEM_NAMESPACE: &str = "edgeloom-system";

/// Every reflector, and what wakes when one of them changes.
pub struct Watches {
    models: Store<Model>,
    services: Store<LLMService>,
    users: Store<EdgeUser>,
    nodes: Store<EdgeNode>,
    links: Store<EdgeLink>,
    placements: Store<Placement>,
    stages: Store<Stage>,
    route_tables: Store<RouteTable>,
    leases: Store<Lease>,
    keys: keys::Keys,
    cordons: Cordons,
    agents: Option<Pods>,
    wake: Arc<Notify>,
    epoch: Instant,
    liveness: Liveness,
    /// Dropped with this value, and the watches end with it.
    _tasks: JoinSet<()>,
}

impl Watches {
    /// Opens every watch. Agents keep their Leases in `namespace`, and their DaemonSets, if any are named, are there too.
    #[must_use]
    pub fn open(client: &Client, namespace: &str, daemon_sets: Option<&[String]>) -> Self {
        let wake = Arc::new(Notify::new());
        let mut opener = Opener {
            wake: Arc::clone(&wake),
            tasks: JoinSet::new(),
        };
        let (users, keys) = opener.open_users_with_keys(client);
        let (cordons, follow) = Cordons::open(client, Arc::clone(&wake), WATCH_SECONDS);
        opener.tasks.spawn(follow);
        let agents = daemon_sets.map(|names| Pods {
            names: names.to_vec(),
            sets: opener.open(Api::namespaced(client.clone(), namespace)),
            revisions: opener.open(Api::namespaced(client.clone(), namespace)),
            pods: opener.open(Api::namespaced(client.clone(), namespace)),
        });
        let watches = Self {
            cordons,
            agents,
            models: opener.open(Api::all(client.clone())),
            services: opener.open(Api::all(client.clone())),
            users,
            keys,
            nodes: opener.open(Api::all(client.clone())),
            links: opener.open(Api::all(client.clone())),
            placements: opener.open(Api::all(client.clone())),
            stages: opener.open(Api::all(client.clone())),
            route_tables: opener.open(Api::all(client.clone())),
            leases: opener.open(Api::namespaced(client.clone(), namespace)),
            wake,
            epoch: Instant::now(),
            liveness: Liveness::default(),
            _tasks: JoinSet::new(),
        };
        Self {
            _tasks: opener.tasks,
            ..watches
        }
    }

    /// Waits until every reflector has listed once.
    ///
    /// # Errors
    ///
    /// When a watch has ended for good, which only happens while the process stops.
    pub async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        self.models.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        // Of two who wait for one store only the last is woken: users are waited for by their keys alone.
        self.keys.ready().await;
        self.nodes.wait_until_ready().await?;
        self.links.wait_until_ready().await?;
        self.placements.wait_until_ready().await?;
        self.stages.wait_until_ready().await?;
        self.route_tables.wait_until_ready().await?;
        self.leases.wait_until_ready().await?;
        self.cordons.ready().await;
        if let Some(agents) = &self.agents {
            agents.ready().await;
        }
        Ok(())
    }

    /// The agents, if it is this control plane that updates them.
    #[must_use]
    pub fn agents(&self) -> Option<Agents> {
        self.agents.as_ref()?.agents()
    }

    /// Waits for a change, or for `at_most`.
    pub async fn changed(&self, at_most: Duration) {
        // A time-out is as good as a change: the caller looks again either way.
        let _ = tokio::time::timeout(at_most, self.wake.notified()).await;
    }

    /// The Models as they are now.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.models.state()
    }

    /// The world as the reflectors show it now, and how long until the next Lease expires.
    #[must_use]
    pub fn world(&mut self, identity: &Identity) -> (World, Option<Duration>) {
        let nodes = self.nodes.state();
        let now = self.epoch.elapsed();
        let Verdict {
            lost,
            cut,
            next_expiry,
        } = self.liveness.observe(now, &self.leases.state(), &nodes);
        let users = self.users.state();
        let cordoned = self.cordons.names();
        let is_cordoned = |node: &&Arc<EdgeNode>| {
            let machine = node.spec.kubernetes_node_name.as_ref();
            machine.is_some_and(|name| cordoned.contains(name))
        };
        let withheld = nodes.iter().filter(is_cordoned);
        let mut world = World {
            withheld: withheld
                .map(|node| (node.name_any(), Withheld::NodeCordoned))
                .collect(),
            key_hashes: self.key_hashes(&users, identity),
            models: self.models.state(),
            services: self.services.state(),
            users,
            nodes,
            links: self.links.state(),
            placements: self.placements.state(),
            stages: self.stages.state(),
            route_tables: self.route_tables.state(),
            lost,
            cut,
            identity: identity.clone(),
            at: Some(Timestamp::now()),
            settling: BTreeSet::new(),
        };
        world.settling = world.at.map(|now| world.settling_at(now)).unwrap_or_default();
        (
            world.sorted(),
            next_expiry.map(|expiry| expiry.saturating_sub(now)),
        )
    }

    /// Who is lost now. Looks at Leases and EdgeNodes alone, so it may be asked often.
    #[must_use]
    pub fn lost(&mut self) -> BTreeMap<String, Loss> {
        let now = self.epoch.elapsed();
        self.liveness
            .observe(now, &self.leases.state(), &self.nodes.state())
            .lost
    }

    fn key_hashes(&self, users: &[Arc<EdgeUser>], identity: &Identity) -> BTreeMap<(String, String), String> {
        let mut hashes = BTreeMap::new();
        for user in users {
            let (Some(namespace), Some(reference)) = (user.namespace(), &user.spec.api_key_secret) else {
                continue;
            };
            if let Some(key) = self.keys.get(&namespace, reference) {
                let hash = crds::api_key::keyed_hash(&identity.key_salt, &key);
                hashes.insert((namespace, user.name_any()), hash);
            }
        }
        hashes
    }
}

/// What every watch shares.
struct Opener {
    wake: Arc<Notify>,
    tasks: JoinSet<()>,
}

impl Opener {
    fn open<K>(&mut self, api: Api<K>) -> Store<K>
    where
        K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone,
    {
        // Listed and then watched: streaming lists are off in Kubernetes 1.33 and in versions before 1.32.
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let stream = watcher(api, config).default_backoff();
        let wake = Arc::clone(&self.wake);
        self.follow(stream, move || wake.notify_one())
    }

    /// EdgeUsers, and their keys: Secrets by their metadata, and what is in those that somebody names.
    fn open_users_with_keys(&mut self, client: &Client) -> (Store<EdgeUser>, keys::Keys) {
        let news = Arc::new(Notify::new());
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let (wake, heard) = (Arc::clone(&self.wake), Arc::clone(&news));
        let users = watcher(Api::<EdgeUser>::all(client.clone()), config.clone()).default_backoff();
        let users = self.follow(users, move || {
            wake.notify_one();
            heard.notify_one();
        });
        let heard = Arc::clone(&news);
        let secrets =
            watcher(Api::<PartialObjectMeta<Secret>>::all(client.clone()), config).default_backoff();
        let sources = keys::Sources {
            users: users.clone(),
            secrets: self.follow(secrets, move || heard.notify_one()),
            news,
        };
        let (keys, follow) = keys::Keys::open(client.clone(), sources, Arc::clone(&self.wake));
        self.tasks.spawn(follow);
        (users, keys)
    }

    /// Keeps what a watch tells, and calls `changed` after each change.
    fn follow<K, S>(&mut self, stream: S, changed: impl Fn() + Send + 'static) -> Store<K>
    where
        K: Resource + Clone + std::fmt::Debug + Send + Sync + 'static,
        K::DynamicType: Default + Eq + Hash + Clone,
        S: Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    {
        let (store, writer) = reflector::store();
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        self.tasks.spawn(async move {
            let mut stream = std::pin::pin!(stream.reflect(writer));
            while let Some(event) = stream.next().await {
                if let Err(error) = event {
                    warn!(kind, %error, "a watch failed and is opened again");
                    continue;
                }
                changed();
            }
        });
        store
    }
}
