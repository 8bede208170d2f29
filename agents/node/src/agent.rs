//! The body: what all parts of an agent share, and the loop that reconciles. It knows no Kubernetes: it is given a
//! [`Desired`] state, whoever it comes from, and tells how it stands.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use crds::{condition::Reason, route_table::HopStatus};
use engine::{State, Worker};
use k8s_openapi::jiff::Timestamp;
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use transport::Endpoint;

use crate::{
    desired::Desired,
    disk::Disk,
    execute,
    files::Files,
    health::Pulse,
    ingress::Ingress,
    metrics::Metrics,
    observed::Observed,
    reconcile::{Actual, reconcile},
    report::hops,
    routes::{Routes, hop_key},
    session::{
        self,
        scheduler::{Computed, Job, Scheduler},
        seats::Release,
        tokens::Exchange,
    },
    stages::Stages,
};

/// What an agent is made of.
#[derive(Debug)]
pub struct Parts {
    /// The EdgeNode's name.
    pub node: String,
    /// The engine's worker.
    pub worker: Worker,
    /// The end of all connections to peers.
    pub endpoint: Endpoint,
    /// Where weights and verified digests are kept.
    pub data_dir: PathBuf,
    /// Memory for stages, bytes: the node's limit less what the engine's process holds beside them.
    pub memory_bytes: i64,
    /// Where metrics are registered.
    pub registry: Registry,
    /// How the loop that reconciles shows that it goes round.
    pub reconciles: Pulse,
}

/// The loop that reconciles goes round at least this often, and shows by it that it does.
const REST_MAX: Duration = Duration::from_secs(10);

/// A running agent. Clones share it; it stops with [`Self::stop`], or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Agent {
    core: Arc<Core>,
    desired: watch::Sender<Desired>,
    _stop_on_drop: Arc<tokio_util::sync::DropGuard>,
}

/// What all tasks of an agent share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) node: String,
    pub(crate) worker: Worker,
    pub(crate) endpoint: Endpoint,
    pub(crate) data_dir: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) memory_bytes: AtomicI64,
    pub(crate) stages: Stages,
    pub(crate) files: Files,
    pub(crate) routes: ArcSwap<Routes>,
    pub(crate) scheduler: Scheduler,
    pub(crate) releases: mpsc::UnboundedSender<Release>,
    pub(crate) exchange: Exchange,
    pub(crate) observed: Observed,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reconciles: Pulse,
    changes: watch::Sender<()>,
    stop: CancellationToken,
}

impl Core {
    /// Says that something is not as it was: reconcile and report look again.
    pub(crate) fn touch(&self) {
        self.changes.send_replace(());
    }

    /// Completes whenever something is not as it was.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Computes rows of a session. A stage that the worker does not know, since it could not load it again after a
    /// restart, is loaded anew.
    pub(crate) async fn compute(&self, job: Job) -> engine::Result<Computed> {
        let name = job.stage.id.0.clone();
        let computed = self.scheduler.compute(job).await;
        if let Err(error @ engine::Error::NoSuchStage { .. }) = &computed {
            self.stages
                .failed(&name, Reason::LoadFailed, error.to_string(), Instant::now());
            self.touch();
        }
        computed
    }

    /// Shows what is in memory and on its way there.
    pub(crate) fn count(&self) {
        for (phase, stages) in self.stages.phases() {
            let phase = format!("{phase:?}");
            self.metrics.stages.with_label_values(&[phase]).set(stages as i64);
        }
        let ready = self.stages.all_ready();
        let sessions: usize = ready.iter().map(|stage| stage.seats.taken()).sum();
        self.metrics.sessions.set(sessions as i64);
        let fetching = self.files.fetching_bytes();
        self.metrics.fetches.set(fetching.len() as i64);
        self.metrics.fetch_partial_bytes.set(fetching.iter().sum());
    }

    fn actual(&self, now: Instant) -> Actual {
        Actual {
            stages: self.stages.actual(now),
            files: self.files.actual(now),
            memory_bytes: self.memory_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Agent {
    /// Starts the agent's tasks; it holds nothing and serves nothing until it is told to.
    ///
    /// # Errors
    ///
    /// When a name of its metrics is taken in the registry.
    pub fn start(parts: Parts) -> Result<Self, prometheus::Error> {
        let Parts {
            node,
            worker,
            endpoint,
            data_dir,
            memory_bytes,
            registry,
            reconciles,
        } = parts;
        let metrics = Arc::new(Metrics::register(&registry)?);
        let (releases, released) = mpsc::unbounded_channel();
        let (changes, _) = watch::channel(());
        let stop = CancellationToken::new();
        let scheduler = Scheduler::start(worker.clone(), released, Arc::clone(&metrics), changes.clone());
        let core = Arc::new(Core {
            node,
            worker,
            endpoint,
            disk: Disk::new(data_dir.clone()),
            data_dir,
            memory_bytes: AtomicI64::new(memory_bytes),
            stages: Stages::default(),
            files: Files::default(),
            routes: ArcSwap::default(),
            scheduler,
            releases,
            exchange: Exchange::default(),
            observed: Observed::default(),
            metrics,
            reconciles,
            changes,
            stop: stop.clone(),
        });
        let (desired, wanted) = watch::channel(Desired::default());
        let until_stop = |task: futures::future::BoxFuture<'static, ()>| {
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(task).await });
        };
        until_stop(Box::pin(keep_reconciling(Arc::clone(&core), wanted)));
        until_stop(Box::pin(watch_worker(Arc::clone(&core))));
        until_stop(Box::pin(watch_peers(Arc::clone(&core))));
        until_stop(Box::pin(session::accept(Arc::clone(&core))));
        Ok(Self {
            core,
            desired,
            _stop_on_drop: Arc::new(stop.drop_guard()),
        })
    }

    /// Tells the agent what is wanted. It is compared with what is there; what is healthy stays as it is.
    pub fn apply(&self, desired: Desired) {
        self.desired.send_if_modified(|held| {
            let changed = *held != desired;
            if changed {
                *held = desired;
            }
            changed
        });
    }

    /// What the agent was last told.
    #[must_use]
    pub fn desired(&self) -> Desired {
        self.desired.borrow().clone()
    }

    /// Changes the memory for stages, bytes; stages that are loaded stay.
    pub fn set_memory(&self, memory_bytes: i64) {
        self.core.memory_bytes.store(memory_bytes, Ordering::Relaxed);
        self.core.touch();
    }

    /// Changes the disk for weights, bytes; none where nothing bounds it. Files that are wanted stay.
    pub fn set_storage(&self, bytes: Option<i64>) {
        self.core.disk.bound_by(bytes);
        self.core.touch();
    }

    /// What the router asks of this agent.
    #[must_use]
    pub fn backend(&self) -> Arc<dyn router::Backend> {
        Arc::new(Ingress::new(Arc::clone(&self.core)))
    }

    /// Completes each time when something may be reported.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.core.changes()
    }

    /// Sessions that hold cells here.
    #[must_use]
    pub fn sessions(&self) -> usize {
        let stages = self.core.stages.all_ready();
        stages.iter().map(|stage| stage.seats.taken()).sum()
    }

    /// How each hop of the RouteTable in force stands.
    #[must_use]
    pub fn hops(&self) -> Vec<HopStatus> {
        hops(&self.core)
    }

    /// Ends all tasks, the connections to peers, and the worker.
    pub async fn stop(&self) {
        self.core.stop.cancel();
        self.core.endpoint.close().await;
        self.core.worker.stop().await;
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

async fn keep_reconciling(core: Arc<Core>, mut wanted: watch::Receiver<Desired>) {
    let mut changes = core.changes();
    loop {
        core.reconciles.beat();
        let desired = wanted.borrow_and_update().clone();
        changes.mark_unchanged();
        put_routes(&core, &desired);
        core.stages.know(desired.stages.keys());
        let now = Instant::now();
        for step in reconcile(&desired.stages, &core.actual(now)) {
            tracing::debug!(?step, "step");
            execute::begin(&core, &desired, step);
        }
        core.count();
        let retry_at = [core.stages.next_retry(), core.files.next_retry()]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min();
        let rest_until = retry_at.map_or(now + REST_MAX, |at| at.min(now + REST_MAX));
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(rest_until.into()) => {}
        }
    }
}

/// Puts the RouteTable in force: peers first, so that hops find them; then hops; then sessions end whose hop
/// is gone, or not trusted any more.
fn put_routes(core: &Core, desired: &Desired) {
    let routes = Routes {
        table: desired
            .routes
            .as_ref()
            .map(|routes| (routes.version.generation, routes.spec.clone())),
        created: desired
            .routes
            .as_ref()
            .map_or(0, |routes| routes.version.created.unsigned_abs()),
        trust_domain: desired
            .node
            .as_ref()
            .and_then(|node| node.spec.trust_domain.clone()),
    };
    let held = core.routes.load();
    if held.table == routes.table && held.trust_domain == routes.trust_domain {
        return;
    }
    let (peers, wrong) = routes.peers();
    for wrong in wrong {
        tracing::warn!(%wrong, "a peer of the RouteTable cannot be used");
    }
    if let Err(error) = core.endpoint.set_peers(peers) {
        tracing::warn!(
            error = crds::with_causes(&error),
            "the RouteTable's peers are refused"
        );
    }
    tracing::info!(
        generation = routes.table.as_ref().map(|(generation, _)| generation),
        hops = routes.hops().len(),
        ingress = routes.ingress().len(),
        "routes in force"
    );
    let trusted = routes.hops().iter().filter(|hop| routes.trusted(hop).is_ok());
    let hops: std::collections::BTreeSet<_> = trusted.map(hop_key).collect();
    core.routes.store(Arc::new(routes));
    for stage in core.stages.all_ready() {
        stage.seats.withdraw(|hop| hops.contains(hop));
    }
    core.touch();
}

/// The engine starts a worker that died again and loads its stages again; here that is counted and told.
async fn watch_worker(core: Arc<Core>) {
    let mut states = core.worker.subscribe();
    let mut known = core.worker.epoch().ok();
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        match state {
            State::Running { epoch } if known != Some(epoch) => {
                known = Some(epoch);
                let reloaded = core.stages.reloaded(Timestamp::now());
                core.metrics.worker_restarts.inc();
                core.metrics.stage_loads.inc_by(reloaded as u64);
                tracing::info!(epoch = epoch.0, stages = reloaded, "the worker runs again");
            }
            State::Running { .. } => {}
            State::Restarting { reason, backoff } => {
                tracing::warn!(reason, ?backoff, "the worker has ended");
            }
            State::Stopped => return,
        }
        core.touch();
    }
}

async fn watch_peers(core: Arc<Core>) {
    let mut states = core.endpoint.peer_states();
    while states.changed().await.is_ok() {
        states.mark_unchanged();
        core.touch();
    }
}
