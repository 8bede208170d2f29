//! `edgeloom agent`: the agent of one node. What it does stands in the room `node`; here it is told where it listens, whose
//! links it plays, and who its engine's worker is: this executable again, under a hidden subcommand.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use crds::{EdgeLink, EdgeLinkSpec, manifest};
use kube::ResourceExt;
use node::{Conditions, Emulation};

use crate::{
    connect, join, registry,
    renewal::Renewal,
    steady_port::{self, Protocol},
    stop, traces,
};

/// `edgeloom agent`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The EdgeNode that this agent is.
    #[arg(long, env = "EDGELOOM_NODE")]
    node: String,
    #[command(flatten)]
    connect: connect::Arguments,
    /// A kubeconfig with a bootstrap token, as `edgeloom token` makes it. The agent asks with it for a certificate of its own, once, and
    /// keeps that in DIR/kubeconfig of --data, where it is renewed before it ends.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    bootstrap_kubeconfig: Option<PathBuf>,
    /// Where keys, weights and last orders are kept.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the router listens. Port 0 keeps the port of the last time, or takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen_http: SocketAddr,
    /// Where /livez, /readyz and /metrics are served. Without it: on the router's port, for whoever reaches that.
    #[arg(long, value_name = "ADDRESS")]
    listen_health: Option<SocketAddr>,
    /// Where peers connect over QUIC. Port 0 keeps the port of the last time, or takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen_quic: SocketAddr,
    /// Where clients reach the router, if not where it listens.
    #[arg(long, value_name = "HOST:PORT")]
    advertise_http: Option<String>,
    /// Where peers reach this agent, if not where it listens.
    #[arg(long, value_name = "HOST:PORT")]
    advertise_quic: Option<String>,
    /// Makes the EdgeNode, without limits, when nobody else has made it.
    #[arg(long)]
    register: bool,
    /// The Kubernetes Node that this machine is, for the EdgeNode that --register makes. In a pod: --node.
    #[arg(long, value_name = "NAME", env = "KUBERNETES_NODE_NAME")]
    kubernetes_node: Option<String>,
    /// The namespace in which the control plane is installed; the agent keeps its Lease there.
    #[arg(long, env = "POD_NAMESPACE", default_value = manager::SYSTEM_NAMESPACE)]
    namespace: String,
    /// EdgeLinks, as YAML, that are emulated below QUIC on a machine whose own network is faster.
    #[arg(long, value_name = "FILE")]
    emulate_links: Option<PathBuf>,
    /// This machine only plays the node: what the EdgeNode declares goes before what the machine would say of itself.
    #[arg(long)]
    emulated: bool,
    /// Held while speed is measured, so that agents on one machine measure one at a time.
    #[arg(long, value_name = "FILE")]
    benchmark_lock: Option<PathBuf>,
    /// How long running answers may take when the agent stops.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    drain: u64,
    #[command(flatten)]
    traces: traces::Arguments,
    /// Stops when standard input closes.
    #[arg(long, hide = true)]
    lifeline: bool,
}

/// Runs until it is asked to stop.
///
/// # Errors
///
/// When the agent cannot start.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = stop::token(arguments.lifeline)?;
    let _sent_until_the_end = traces::begin(&arguments.traces, &arguments.node)?;
    let registry = registry::of_agent(&arguments.node)?;
    let mut renewal = None;
    let client = match &arguments.bootstrap_kubeconfig {
        Some(bootstrap) => {
            let joining = join::kubeconfig(&arguments.node, &arguments.data, bootstrap);
            let Some(own) = stop.run_until_cancelled(joining).await else {
                return Ok(());
            };
            let (kept, client) = Renewal::begin(&arguments.node, &own?, bootstrap, &registry).await?;
            renewal = Some(tokio::spawn(kept.keep()));
            client
        }
        None => arguments.connect.client().await?,
    };
    let executable = std::env::current_exe().context("failed to find the edgeloom executable")?;
    let mut config = node::Config::new(&arguments.node, client, arguments.data.clone(), executable);
    config.worker_arguments = vec!["engine-worker".to_owned()];
    config.listen_http = steady(&arguments.data, "http-port", arguments.listen_http, Protocol::Tcp)?;
    config.listen_quic = steady(&arguments.data, "quic-port", arguments.listen_quic, Protocol::Udp)?;
    config.advertise_http = arguments.advertise_http;
    config.advertise_quic = arguments.advertise_quic;
    config.emulated = arguments.emulated;
    config.registry = registry;
    config.listen_health = arguments.listen_health;
    config.lease_namespace = arguments.namespace;
    config.register = arguments.register.then(|| crds::EdgeNodeSpec {
        kubernetes_node_name: arguments
            .kubernetes_node
            .or_else(|| connect::is_in_pod().then(|| arguments.node.clone())),
        ..crds::EdgeNodeSpec::default()
    });
    config.drain_timeout = Duration::from_secs(arguments.drain);
    if let Some(file) = &arguments.emulate_links {
        config.emulation = Some(emulation(&arguments.node, &read_links(file)?));
    }
    if let Some(lock) = arguments.benchmark_lock {
        config.benchmark_lock = lock;
    }
    let ended = node::run(config, stop).await;
    if let Some(renewal) = renewal {
        renewal.abort();
    }
    ended.with_context(|| format!("the agent of {} cannot run", arguments.node))
}

/// The engine's worker process; it is started by an agent, never by a person.
pub(crate) fn engine_worker() -> ExitCode {
    node::worker_main()
}

fn steady(data: &Path, memory: &str, wanted: SocketAddr, protocol: Protocol) -> anyhow::Result<SocketAddr> {
    steady_port::choose(&data.join(memory), wanted, protocol)
        .with_context(|| format!("cannot listen on {wanted}"))
}

fn read_links(path: &Path) -> anyhow::Result<Vec<EdgeLink>> {
    let failed = || format!("cannot read EdgeLinks from {}", path.display());
    let text = std::fs::read_to_string(path).with_context(failed)?;
    let documents = manifest::read(&text).with_context(failed)?;
    documents
        .into_iter()
        .map(|document| manifest::parse(document).with_context(failed))
        .collect()
}

/// What this node's socket does to the packets that it sends: each end plays the direction away from it.
fn emulation(node: &str, links: &[EdgeLink]) -> Emulation {
    let mut by_node = BTreeMap::new();
    for link in links {
        let EdgeLinkSpec { from, to, .. } = &link.spec;
        let peer = match (from == node, to == node) {
            (true, _) => to,
            (_, true) => from,
            (false, false) => continue,
        };
        by_node.insert(peer.clone(), conditions(&link.spec, from == node));
    }
    let seed = links
        .iter()
        .map(ResourceExt::name_any)
        .chain([node.to_owned()])
        .flat_map(String::into_bytes);
    // Any number does that is the same at each start and another one at each node.
    let seed = seed.fold(0_u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    Emulation {
        seed,
        by_node,
        ..Emulation::default()
    }
}

fn conditions(link: &EdgeLinkSpec, forward: bool) -> Conditions {
    let reverse = link.reverse_rate_bits_per_second.as_ref().filter(|_| !forward);
    let bits_per_second = reverse.unwrap_or(&link.rate_bits_per_second).value();
    let micros = |micros: i32| Duration::from_micros(u64::from(micros.unsigned_abs()));
    let rate = (bits_per_second.unsigned_abs() / 8).max(1);
    Conditions {
        jitter: micros(link.jitter_microseconds),
        loss: f64::from(link.loss_parts_per_million) / 1e6,
        ..Conditions::new(rate, micros(link.latency_microseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> EdgeLink {
        let spec = manifest::parse(manifest::read(text).unwrap().remove(0)).unwrap();
        EdgeLink::new("link", spec)
    }

    #[test]
    fn each_end_plays_the_direction_away_from_it() {
        let link = link(
            "{from: a, to: b, rateBitsPerSecond: 80M, reverseRateBitsPerSecond: 8M, latencyMicroseconds: 5000, \
             jitterMicroseconds: 100, lossPartsPerMillion: 1000}",
        );
        let away_from = |node: &str, peer: &str| emulation(node, std::slice::from_ref(&link)).by_node[peer];
        let (forth, back) = (away_from("a", "b"), away_from("b", "a"));
        assert_eq!((forth.rate, back.rate), (Some(10_000_000), Some(1_000_000)));
        for conditions in [forth, back] {
            assert_eq!(conditions.delay, Duration::from_millis(5));
            assert_eq!(conditions.jitter, Duration::from_micros(100));
            assert!((conditions.loss - 0.001).abs() < 1e-12);
        }
        assert_eq!(emulation("c", &[link]).by_node.len(), 0);
    }

    #[test]
    fn a_link_without_a_reverse_rate_is_as_fast_both_ways() {
        let link = link("{from: a, to: b, rateBitsPerSecond: 8M}");
        assert_eq!(emulation("b", &[link]).by_node["a"].rate, Some(1_000_000));
    }
}
