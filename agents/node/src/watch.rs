//! Hears what the control plane says, for as long as the agent runs: one watch per kind, each with its own back-off, so
//! that one that fails does not hold the others up. What was heard is kept on disk before it is acted on.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crds::{EdgeLink, EdgeNode, RouteTable, Stage};
use futures::{Stream, StreamExt, stream::BoxStream};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use tokio::sync::watch;

use crate::{
    agent::Agent,
    desired::{Desired, Verdict, read_stage},
    keep,
};

/// Seconds after which a watch is begun anew; servers and libraries cut longer ones.
const TIMEOUT_SECONDS: u32 = 270;
/// The first pause after a watch failed, doubled at each failure.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest pause: an agent should hear of a control plane that is back soon.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The longest pause for what an agent can do without, or may not be allowed to see.
const OPTIONAL_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The objects as they were last seen, with their status, for whoever writes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Objects>>);

/// See [`Seen`].
#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// The agent's own EdgeNode.
    pub(crate) node: Option<EdgeNode>,
    /// Its Stages, by name.
    pub(crate) stages: BTreeMap<String, Stage>,
    /// Its RouteTable.
    pub(crate) routes: Option<RouteTable>,
    /// The links that touch it, by name.
    pub(crate) links: BTreeMap<String, EdgeLink>,
}

impl Seen {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pauses that double up to a bound, shortened at random so that agents do not come back in step.
struct Pauses {
    next: Duration,
    max: Duration,
}

impl Pauses {
    fn up_to(max: Duration) -> Self {
        Self {
            next: BACKOFF_MIN,
            max,
        }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        Some(pause.mul_f64(1.0 - rand::random::<f64>() / 2.0))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = BACKOFF_MIN;
    }
}

type Watch<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// What this node watches, and where what it hears goes.
pub(crate) struct Watches {
    client: Client,
    node: String,
    data_dir: PathBuf,
    agent: Agent,
    seen: Seen,
    /// Told when something was seen that a report may go by.
    news: watch::Sender<()>,
    desired: Desired,
}

impl Watches {
    pub(crate) fn new(
        client: Client,
        node: String,
        data_dir: PathBuf,
        agent: Agent,
        seen: Seen,
        news: watch::Sender<()>,
    ) -> Self {
        let desired = agent.desired();
        Self {
            client,
            node,
            data_dir,
            agent,
            seen,
            news,
            desired,
        }
    }

    /// Watches for ever.
    pub(crate) async fn run(mut self) {
        let of_node = || watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
        let named = watcher::Config::default().fields(&format!("metadata.name={}", self.node));
        let mut stages = self.watch_stages();
        let mut routes = begin(
            Api::<RouteTable>::all(self.client.clone()),
            of_node(),
            BACKOFF_MAX,
        );
        let mut nodes = begin(Api::<EdgeNode>::all(self.client.clone()), named, BACKOFF_MAX);
        let mut links = begin(
            Api::<EdgeLink>::all(self.client.clone()),
            watcher::Config::default(),
            OPTIONAL_BACKOFF_MAX,
        );
        let mut listed_stages = BTreeMap::new();
        let mut listed_links = BTreeMap::new();
        let mut routes_listed = false;
        loop {
            let before = self.desired.clone();
            tokio::select! {
                Some(event) = stages.next() => self.hear_stage(event, &mut listed_stages),
                Some(event) = routes.next() => {
                    let incarnation = incarnation_of(&self.desired);
                    self.hear_routes(event, &mut routes_listed);
                    // Stages that were refused as older than what is held are said again.
                    if incarnation.is_some() && incarnation != incarnation_of(&self.desired) {
                        stages = self.watch_stages();
                    }
                }
                Some(event) = nodes.next() => self.hear_node(event),
                Some(event) = links.next() => self.hear_link(event, &mut listed_links),
                else => return,
            }
            if self.desired != before {
                self.act().await;
            }
            self.news.send_replace(());
        }
    }

    fn watch_stages(&self) -> Watch<DynamicObject> {
        let resource = ApiResource::erase::<Stage>(&());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
        begin(
            Api::<DynamicObject>::all_with(self.client.clone(), &resource),
            config,
            BACKOFF_MAX,
        )
    }

    /// Keeps what was heard, and then acts on it.
    async fn act(&self) {
        let (folder, desired) = (self.data_dir.clone(), self.desired.clone());
        let kept = tokio::task::spawn_blocking(move || keep::write(&folder, &desired)).await;
        if let Ok(Err(error)) = kept {
            // Serving goes before surviving the next start.
            tracing::warn!(
                error = crds::with_causes(&error),
                "what was heard is not kept on disk"
            );
        }
        self.agent.apply(self.desired.clone());
    }

    fn hear_stage(
        &mut self,
        event: watcher::Result<Event<DynamicObject>>,
        listed: &mut BTreeMap<String, DynamicObject>,
    ) {
        let Some(event) = heard(event, "Stage") else {
            return;
        };
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(stage) => {
                listed.insert(stage.name_any(), stage);
            }
            Event::InitDone => {
                let listed = std::mem::take(listed);
                let desired = listed
                    .iter()
                    .map(|(name, stage)| (name.clone(), read_stage(stage)))
                    .collect();
                self.seen.lock().stages = listed
                    .into_iter()
                    .filter_map(|(name, stage)| Some((name, stage.try_parse().ok()?)))
                    .collect();
                self.desired.replace_stages(desired);
            }
            Event::Apply(stage) => {
                let name = stage.name_any();
                let verdict = self.desired.put_stage(&name, read_stage(&stage));
                note("Stage", &name, &verdict);
                if let Ok(stage) = stage.try_parse::<Stage>() {
                    self.seen.lock().stages.insert(name, stage);
                }
            }
            Event::Delete(stage) => {
                let name = stage.name_any();
                self.desired.remove_stage(&name, &stage.uid().unwrap_or_default());
                self.seen.lock().stages.remove(&name);
            }
        }
    }

    fn hear_routes(&mut self, event: watcher::Result<Event<RouteTable>>, listed: &mut bool) {
        let Some(event) = heard(event, "RouteTable") else {
            return;
        };
        match event {
            Event::Init => *listed = false,
            Event::InitApply(table) | Event::Apply(table) => {
                *listed = true;
                let verdict = self.desired.put_routes(&table);
                note("RouteTable", &table.name_any(), &verdict);
                self.seen.lock().routes = Some(table);
            }
            Event::InitDone if *listed => {}
            Event::InitDone | Event::Delete(_) => {
                self.desired.remove_routes();
                self.seen.lock().routes = None;
            }
        }
    }

    fn hear_node(&mut self, event: watcher::Result<Event<EdgeNode>>) {
        let Some(event) = heard(event, "EdgeNode") else {
            return;
        };
        match event {
            Event::InitApply(node) | Event::Apply(node) => {
                self.desired.put_node(&node);
                self.seen.lock().node = Some(node);
            }
            // An agent goes on by what it knew of itself.
            Event::Delete(_) => self.seen.lock().node = None,
            Event::Init | Event::InitDone => {}
        }
    }

    fn hear_link(
        &mut self,
        event: watcher::Result<Event<EdgeLink>>,
        listed: &mut BTreeMap<String, EdgeLink>,
    ) {
        let Some(event) = heard(event, "EdgeLink") else {
            return;
        };
        let touches = |link: &EdgeLink| link.spec.from == self.node || link.spec.to == self.node;
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(link) if touches(&link) => {
                listed.insert(link.name_any(), link);
            }
            Event::InitDone => self.seen.lock().links = std::mem::take(listed),
            Event::Apply(link) if touches(&link) => {
                self.seen.lock().links.insert(link.name_any(), link);
            }
            Event::Delete(link) => {
                self.seen.lock().links.remove(&link.name_any());
            }
            Event::InitApply(_) | Event::Apply(_) => {}
        }
    }
}

/// Begins a watch with pauses of its own.
pub(crate) fn begin<K>(api: Api<K>, config: watcher::Config, longest_pause: Duration) -> Watch<K>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let events = watcher(api, config.timeout(TIMEOUT_SECONDS));
    boxed(events.backoff(Pauses::up_to(longest_pause)))
}

fn boxed<K>(events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static) -> Watch<K> {
    events.boxed()
}

/// The event; a failed watch is said once per failure and comes back by itself.
pub(crate) fn heard<K>(event: watcher::Result<Event<K>>, kind: &str) -> Option<Event<K>> {
    match event {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::debug!(kind, error = crds::with_causes(&error), "watch failed");
            None
        }
    }
}

fn note(kind: &str, name: &str, verdict: &Verdict) {
    if let Verdict::Older { held, got } = verdict {
        tracing::warn!(
            kind,
            name,
            held = held.generation,
            got = got.generation,
            "what the control plane says is older than what is held; refused"
        );
    }
}

fn incarnation_of(desired: &Desired) -> Option<String> {
    desired
        .routes
        .as_ref()
        .map(|routes| routes.spec.incarnation.clone())
}
