//! `edgeloom controller`: the manager against any Kubernetes API, such as a cluster's own. Of several replicas one leads.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use kube::Client;
use manager::{Metrics, Pulse, leader, rollout};
use prometheus::Registry;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{connect, definitions, health::Health, registry, stop};

/// The pause after the first attempt to begin, and the longest one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// `edgeloom controller`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connect: connect::Arguments,
    /// Where agents keep their Leases, and the control plane its identity.
    #[arg(long, env = "POD_NAMESPACE", default_value = manager::SYSTEM_NAMESPACE)]
    namespace: String,
    /// Stands by while another controller leads, and leads while it holds the Lease edgeloom-controller in --namespace.
    #[arg(long)]
    leader_elect: bool,
    /// The name in that Lease, which no other controller may have. Without it: the host's name and a random number.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
    /// A DaemonSet of agents, in --namespace, whose pods are replaced node by node after a change, each node left by its
    /// services first. Its update strategy must be OnDelete. May be given several times; no two nodes are replaced at once.
    #[arg(long, value_name = "NAME")]
    agent_daemonset: Vec<String>,
    /// How long services may take to leave a node before its agent is replaced under them. Services that have room nowhere
    /// else and allow a pause are not waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    agent_update_timeout: u64,
    /// How long a replaced agent may take to become Ready; then no further one is replaced.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    agent_ready_timeout: u64,
    /// Most pipelines that may move in an epoch where nothing forces them but a better place. Moves after a loss, from nodes
    /// that are to be left, and of services that could not stay are not counted. As many as like when absent; 0 for none.
    #[arg(long, value_name = "NUMBER")]
    disruption_pipelines: Option<u32>,
    /// Most bytes of weights that such moves may load in an epoch, such as 20Gi. One move may exceed it; the epochs after it pay for
    /// that.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    disruption_bytes: Option<u64>,
    /// Seconds of such an epoch.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    disruption_epoch: u32,
    /// Installs the definitions of Edgeloom's kinds that are missing or differ.
    #[arg(long)]
    install_crds: bool,
    /// How long the API server may take to answer and to serve Edgeloom's kinds; then the program ends with what it
    /// waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    startup_timeout: u64,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen_health: SocketAddr,
    /// Stops when standard input closes.
    #[arg(long, hide = true)]
    lifeline: bool,
}

/// A quantity of bytes as Kubernetes writes it.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no number of bytes, such as 20Gi");
    let quantity: crds::Quantity = text.parse().map_err(|_| wrong())?;
    u64::try_from(quantity.value()).map_err(|_| wrong())
}

/// Runs until it is asked to stop.
///
/// # Errors
///
/// When the API server does not answer in time, does not serve the kinds, or refuses what the manager needs to begin.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = stop::token(arguments.lifeline)?;
    let client = arguments.connect.client().await?;
    let (registry, pulse) = (registry::of_controller()?, Pulse::default());
    let health = Health::serve(
        arguments.listen_health,
        registry.clone(),
        pulse.clone(),
        stop.clone(),
    )
    .await
    .with_context(|| format!("cannot listen on {}", arguments.listen_health))?;
    info!(address = %health.address, "health and metrics are served");
    let served = until_served(&client, &arguments, &health, &pulse);
    let Some(served) = stop.run_until_cancelled(served).await else {
        return Ok(());
    };
    served?;
    health.ready();
    manage(client, arguments, &registry, pulse, stop)
        .await
        .context("the manager has ended")
}

async fn manage(
    client: Client,
    arguments: Arguments,
    registry: &Registry,
    pulse: Pulse,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let rollout = rollout::Config {
        daemon_sets: arguments.agent_daemonset,
        drain_timeout: Duration::from_secs(arguments.agent_update_timeout),
        ready_timeout: Duration::from_secs(arguments.agent_ready_timeout),
    };
    let config = manager::Config {
        rollout: (!rollout.daemon_sets.is_empty()).then_some(rollout),
        namespace: arguments.namespace,
        pulse: pulse.clone(),
        disruption: manager::disruption::Limits {
            pipelines: arguments.disruption_pipelines,
            bytes: arguments.disruption_bytes,
            epoch_seconds: arguments.disruption_epoch,
        },
        ..manager::Config::new(client.clone(), Metrics::register(registry)?)
    };
    if !arguments.leader_elect {
        return Ok(manager::run(config, stop).await?);
    }
    let identity = arguments.identity.unwrap_or_else(own_name);
    let timing = leader::Timing::default();
    let candidate = leader::Candidate::new(&client, &config.namespace, identity, timing, registry, pulse)?;
    let lead = |leadership| {
        let config = manager::Config {
            leadership,
            ..config.clone()
        };
        manager::run(config, stop.clone())
    };
    Ok(candidate.run(&stop, lead).await?)
}

/// A name that no other process has.
fn own_name() -> String {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "controller".to_owned());
    let process = std::process::id();
    let nanoseconds = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.subsec_nanos());
    format!("{host}_{process}_{nanoseconds:x}")
}

/// Waits until the API server answers and serves the kinds, and says what it waits for.
async fn until_served(
    client: &Client,
    arguments: &Arguments,
    health: &Health,
    pulse: &Pulse,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(arguments.startup_timeout);
    let (mut pause, mut told) = (PAUSE.0, String::new());
    loop {
        pulse.beat();
        let attempt = tokio::time::timeout_at(deadline, begin(client, arguments.install_crds)).await;
        let why = match attempt {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer in time"),
        };
        let text = crds::with_causes(why.as_ref());
        health.waits_for(&text);
        anyhow::ensure!(
            Instant::now() + pause < deadline,
            why.context(format!("gave up after {} s", arguments.startup_timeout))
        );
        if text != told {
            warn!(why = text, "waits for the API server");
            told = text;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn begin(client: &Client, install: bool) -> anyhow::Result<()> {
    client
        .apiserver_version()
        .await
        .context("the API server does not answer")?;
    if install {
        definitions::install(client).await
    } else {
        definitions::check(client).await
    }
}
