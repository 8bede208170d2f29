//! Tells the control plane how things stand, and nothing else: a status is written when it says something new, never
//! because time has passed. One writer per object; what others write into a status stays as it is.

mod difference;
mod links;
mod machine;
mod node;
mod routes;
mod stages;

use std::{
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};

use crds::edge_node::AgentInfo;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::difference::difference;
pub(crate) use self::machine::{
    Reported, core_limit, device, engine_limit, profile, steady_overhead, storage_limit,
};
pub(crate) use self::routes::hops;
use crate::{agent::Core, benchmark::Benchmarks, health::Pulse, limits::InForce, watch::Seen};

/// Changes that come in quick succession are told together.
const GATHER: Duration = Duration::from_millis(100);
/// How often it looks at what changes without a word, such as links.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one write may take.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The first pause after a write failed, doubled up to [`LOOK_EVERY`].
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// What is to be said of the node itself.
pub(crate) struct Facts {
    /// The agent.
    pub(crate) info: AgentInfo,
    /// The machine.
    pub(crate) machine: Reported,
    /// Its device, and what was timed on it.
    pub(crate) benchmarks: Benchmarks,
    /// The limits that are in force.
    pub(crate) limits: watch::Receiver<InForce>,
}

/// Writes the status of everything that is this node's own.
pub(crate) struct Reporter {
    client: Client,
    core: Arc<Core>,
    seen: Seen,
    facts: Facts,
    links: links::Links,
    observed_at: Option<Instant>,
    pulse: Pulse,
}

impl Reporter {
    pub(crate) fn new(
        client: Client,
        core: Arc<Core>,
        seen: Seen,
        facts: Facts,
        links: telemetry::LinkMetrics,
        pulse: Pulse,
    ) -> Self {
        Self {
            client,
            core,
            seen,
            facts,
            links: links::Links::new(links),
            observed_at: None,
            pulse,
        }
    }

    /// Reports for ever. `news` fires when an object was seen.
    pub(crate) async fn run(mut self, mut news: watch::Receiver<()>) {
        let mut changes = self.core.changes();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = PAUSE_MIN;
        loop {
            tokio::select! {
                _ = changes.changed() => {}
                _ = news.changed() => {}
                _ = looks.tick() => {}
            }
            self.pulse.beat();
            sleep(GATHER).await;
            changes.mark_unchanged();
            news.mark_unchanged();
            match self.look().await {
                Ok(()) => pause = PAUSE_MIN,
                Err(error) => {
                    // What was not told is seen as different again after the pause.
                    tracing::debug!(error = crds::with_causes(&error), "status not written");
                    sleep(pause).await;
                    pause = (pause * 2).min(LOOK_EVERY);
                    changes.mark_changed();
                }
            }
        }
    }

    /// Each part is tried even if another failed, so that one forbidden kind does not silence the others.
    async fn look(&mut self) -> kube::Result<()> {
        // Times travel in whole seconds; finer ones would differ from what comes back.
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        self.core.count();
        let stages = self.report_stages(now).await;
        let routes = self.report_routes(now).await;
        let node = self.report_node(now).await;
        let links = self.report_links(now).await;
        stages.and(routes).and(node).and(links)
    }

    /// Writes what differs of a status; nothing when nothing does. Returns the object as it is then.
    async fn write<K>(
        &self,
        api: &Api<K>,
        name: &str,
        old: &impl Serialize,
        new: &impl Serialize,
        resource_version: Option<&str>,
    ) -> kube::Result<Option<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let Some(status) = difference(&value_of(old), &value_of(new)) else {
            return Ok(None);
        };
        // There may be many to write, each of which may take its time.
        self.pulse.beat();
        let mut patch = json!({ "status": status });
        // Lists are replaced whole; where somebody else writes into one, it must be the one that we read.
        if let Some(version) = resource_version
            && patch["status"].get("conditions").is_some()
        {
            patch["metadata"] = json!({ "resourceVersion": version });
        }
        let parameters = PatchParams::default();
        let patch = Patch::Merge(patch);
        let write = api.patch_status(name, &parameters, &patch);
        let written = timeout(WRITE_WITHIN, write)
            .await
            .map_err(|_| kube::Error::Service("no answer in time".into()))??;
        self.core
            .metrics
            .status_writes
            .with_label_values(&[K::kind(&()).as_ref()])
            .inc();
        Ok(Some(written))
    }
}

fn value_of(status: &impl Serialize) -> Value {
    serde_json::to_value(status).expect("the keys of our kinds are strings")
}

/// An object that is gone, or that somebody has changed meanwhile, is no failure: the watch tells.
fn overtaken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
}
