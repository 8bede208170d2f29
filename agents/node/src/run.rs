//! An agent from its start to its end: identity, own EdgeNode, engine, connections, router; then watching, reconciling
//! and reporting until it is told to stop.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use crds::edge_node::AgentInfo;
use futures::future::BoxFuture;
use prometheus::Registry;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{Agent, Parts},
    benchmark::{Benchmarks, Timekeeper},
    config::Config,
    disk::STAGE_FILES,
    health::Health,
    join::join,
    keep, lease,
    limits::{InForce, Keeper},
    report::{self, Reporter},
    watch::{Seen, Watches},
};

/// How often telemetry reads the machine.
const READ_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// The engine as all stages of a pipeline must have it, in the words of its benchmarks.
pub(crate) const ENGINE_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " llama-cpp-sys-2 0.1.161");
/// What this agent can do beyond its version.
const FEATURES: [&str; 2] = ["gguf", "layer-ranges"];

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent's folder cannot be used.
    #[error("folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no key pair.
    #[error("the agent's identity")]
    Identity(#[from] transport::identity::Error),
    /// The engine's worker does not start.
    #[error("the engine's worker")]
    Worker(#[from] engine::Error),
    /// The connections to peers cannot be set up.
    #[error("the connections to peers")]
    Endpoint(#[from] transport::endpoint::Error),
    /// An address cannot be listened at.
    #[error("listening at {address} for {what}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// For whom.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Two metrics have one name.
    #[error("registering metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Runs an agent until `stop` fires, and then lets running answers finish.
///
/// # Errors
///
/// When it cannot start. What goes wrong later is told in statuses, metrics and logs, and tried again.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), Error> {
    // An error says that the process has chosen one already.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let registry = config.registry.clone();
    let health = Arc::new(Health::default());
    let health_stop = CancellationToken::new();
    let _stops_with_this = health_stop.clone().drop_guard();
    if let Some(address) = config.listen_health {
        serve_health(address, &health, &registry, health_stop).await?;
    }
    let started = stop.run_until_cancelled(start(config, registry, Arc::clone(&health)));
    let Some(started) = started.await else {
        return Ok(());
    };
    let Started {
        agent,
        serve,
        mut tasks,
    } = started?;
    tokio::select! {
        () = stop.cancelled() => {}
        // None of them ends by itself.
        _ = tasks.join_next() => tracing::error!("a task of the agent has ended; stopping"),
    }
    tracing::info!("stopping");
    health.drain().cancel();
    if serve.await.is_err() {
        tracing::error!("the router has panicked");
    }
    tasks.shutdown().await;
    agent.stop().await;
    Ok(())
}

/// A running agent, and what ends it.
struct Started {
    agent: Agent,
    serve: tokio::task::JoinHandle<()>,
    tasks: JoinSet<()>,
}

/// Answers probes and scrapers until `stop` fires: from the agent's first moment until its last answer is given.
async fn serve_health(
    address: SocketAddr,
    health: &Arc<Health>,
    registry: &Registry,
    stop: CancellationToken,
) -> Result<(), Error> {
    let listen = |source| Error::Listen {
        address,
        what: "probes",
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let routes = router::health_routes(Arc::clone(health) as Arc<dyn router::Vitals>, registry);
    // Probes are short: none is waited for.
    tokio::spawn(router::serve(listener, routes, stop, std::time::Duration::ZERO));
    tracing::info!(%address, "health and metrics are served");
    Ok(())
}

async fn start(config: Config, registry: Registry, health: Arc<Health>) -> Result<Started, Error> {
    let folder = |source| Error::Folder {
        path: config.data_dir.clone(),
        source,
    };
    std::fs::create_dir_all(&config.data_dir).map_err(folder)?;
    let identity = transport::Identity::load_or_make(&config.data_dir.join("identity"))?;
    let kept = keep::read(&config.data_dir).unwrap_or_else(|error| {
        tracing::warn!(error = crds::with_causes(&error), "what was kept is not used");
        None
    });
    let kept = kept.unwrap_or_default();
    let node = join(&config, kept.node.clone()).await;

    let (profile, declared) = watch::channel(report::profile(&node.spec, config.emulated));
    let readings = telemetry::Telemetry::start(declared, READ_EVERY);
    let group = telemetry::cgroup::of_this_process();
    let worker_config = engine::WorkerConfig {
        program: config.worker_program.clone(),
        arguments: config.worker_arguments.clone(),
        memory_limit_bytes: report::engine_limit(&node.spec.limits, &group, config.emulated),
        compute_share_cores: report::core_limit(&node.spec.limits),
        threads: None,
        cache_dir: config.data_dir.join(STAGE_FILES),
    };
    let worker = engine::Worker::start(worker_config.clone()).await?;
    let overhead_bytes = report::steady_overhead(worker.held_memory()?.reserved_bytes, &node);
    let device = report::device(&readings.borrow(), overhead_bytes);

    let public_key = identity.public_key().to_string();
    let endpoint = transport::Endpoint::bind(transport::Config {
        emulation: config.emulation.clone(),
        ..transport::Config::new(config.listen_quic, identity)
    })?;
    let listen = |source| Error::Listen {
        address: config.listen_http,
        what: "HTTP",
        source,
    };
    let listener = TcpListener::bind(config.listen_http).await.map_err(listen)?;
    let http = listener.local_addr().map_err(listen)?;
    let quic = endpoint.local_address().unwrap_or(config.listen_quic);
    let info = AgentInfo {
        peer_address: config.advertise_quic.clone().unwrap_or_else(|| quic.to_string()),
        router_url: format!(
            "http://{}",
            config.advertise_http.clone().unwrap_or_else(|| http.to_string())
        ),
        public_key,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine_version: ENGINE_VERSION.to_owned(),
        incarnation: endpoint.incarnation().to_owned(),
        features: FEATURES.map(str::to_owned).to_vec(),
    };

    let node_metrics = telemetry::NodeMetrics::register(&registry)?;
    let link_metrics = telemetry::LinkMetrics::register(&registry)?;
    let agent = Agent::start(Parts {
        node: config.node_name.clone(),
        worker,
        endpoint,
        data_dir: config.data_dir.clone(),
        memory_bytes: device.memory_bytes - device.overhead_bytes,
        registry: registry.clone(),
        reconciles: health.reconciles.clone(),
    })?;
    agent.set_storage(report::storage_limit(&node.spec.limits));
    // What was told before is served at once; the control plane may be away for long.
    agent.apply(kept);
    let router_config = router::Config {
        serve_metrics: config.listen_health.is_none(),
        ..config.router.clone()
    };
    let routes = router::routes(agent.backend(), router_config, &registry)?;
    let serve = tokio::spawn(router::serve(
        listener,
        routes,
        health.drain().clone(),
        config.drain_timeout,
    ));
    health.serves(agent.backend());
    tracing::info!(
        node = config.node_name,
        http = %http,
        quic = %quic,
        memory_bytes = device.memory_bytes,
        cores_milli = device.cores_milli,
        incarnation = info.incarnation,
        "agent runs"
    );

    let (news, news_heard) = watch::channel(());
    let seen = Seen::default();
    let benchmarks = Benchmarks::new(device);
    let (in_force, limits) = watch::channel(InForce {
        limits: node.spec.limits,
        refused: None,
    });
    let keeper = Keeper {
        agent: agent.clone(),
        seen: seen.clone(),
        emulated: config.emulated,
        profile,
        readings: readings.clone(),
        benchmarks: benchmarks.clone(),
        in_force,
        news: news.clone(),
    };
    let reporter = Reporter::new(
        config.client.clone(),
        Arc::clone(agent.core()),
        seen.clone(),
        report::Facts {
            info: info.clone(),
            machine: report::Reported::new(readings, node_metrics),
            benchmarks: benchmarks.clone(),
            limits: limits.clone(),
        },
        link_metrics,
        health.reports.clone(),
    );
    let watches = Watches::new(
        config.client.clone(),
        config.node_name.clone(),
        config.data_dir.clone(),
        agent.clone(),
        seen,
        news.clone(),
    );
    let timekeeper = Timekeeper {
        client: config.client.clone(),
        worker: worker_config,
        limits,
        emulated: config.emulated,
        data_dir: config.data_dir.clone(),
        metrics: Arc::clone(&agent.core().metrics),
        lock: config.benchmark_lock.clone(),
        benchmarks,
        news,
    };
    let renewing = lease::keep_renewing(
        config.client.clone(),
        config.lease_namespace.clone(),
        config.node_name.clone(),
        info.incarnation,
    );
    let mut tasks = JoinSet::new();
    let timing: BoxFuture<'static, ()> = if config.benchmark {
        Box::pin(timekeeper.run())
    } else {
        Box::pin(std::future::pending())
    };
    tasks.spawn(timing);
    tasks.spawn(watches.run());
    tasks.spawn(keeper.run());
    tasks.spawn(reporter.run(news_heard));
    tasks.spawn(renewing);
    Ok(Started { agent, serve, tasks })
}
