//! What an agent is told when it starts. Whoever parses flags fills this in.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crds::EdgeNodeSpec;
use kube::Client;
use prometheus::Registry;

/// Everything that an agent is told at its start. What may change later comes through the control plane.
#[derive(Clone)]
pub struct Config {
    /// The EdgeNode that this agent is.
    pub node_name: String,
    /// The control plane.
    pub client: Client,
    /// The agent's folder: its key, what it was last told, weights, stage files, benchmarks.
    pub data_dir: PathBuf,
    /// Where the router listens.
    pub listen_http: SocketAddr,
    /// Where probes and scrapers are answered. `None`: on the router's port, beside users' requests.
    pub listen_health: Option<SocketAddr>,
    /// Where peers are listened to, over QUIC.
    pub listen_quic: SocketAddr,
    /// `address:port` at which clients reach the router; the address that is listened at when absent.
    pub advertise_http: Option<String>,
    /// `address:port` at which peers reach this agent; the address that is listened at when absent.
    pub advertise_quic: Option<String>,
    /// The program that runs [`crate::worker_main`]; usually the running binary itself.
    pub worker_program: PathBuf,
    /// Its arguments (a hidden subcommand).
    pub worker_arguments: Vec<String>,
    /// Links that are slower than the machine's network, by the peer's node; none uses the network as it is.
    pub emulation: Option<transport::Emulation>,
    /// Whether this machine only plays the node: what the EdgeNode declares then goes before what is measured.
    pub emulated: bool,
    /// The specification with which this agent makes its own EdgeNode when there is none; without one it waits until
    /// somebody has made it.
    pub register: Option<EdgeNodeSpec>,
    /// Where the agent's Lease lives.
    pub lease_namespace: String,
    /// Whether models are timed on this node. The solver places nothing on a node that has no figures.
    pub benchmark: bool,
    /// A file that is locked while a model is timed, so that agents of one machine do so one at a time.
    pub benchmark_lock: PathBuf,
    /// How long running answers may take when the agent stops.
    pub drain_timeout: Duration,
    /// Where metrics are registered; the router shows all of it.
    pub registry: Registry,
    /// The router's limits.
    pub router: router::Config,
}

impl Config {
    /// A configuration with defaults: loopback addresses, ports of the system's choice, no emulation.
    #[must_use]
    pub fn new(node_name: impl Into<String>, client: Client, data_dir: PathBuf, worker: PathBuf) -> Self {
        Self {
            node_name: node_name.into(),
            client,
            listen_http: SocketAddr::from(([127, 0, 0, 1], 0)),
            listen_health: None,
            listen_quic: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise_http: None,
            advertise_quic: None,
            worker_program: worker,
            worker_arguments: vec![],
            emulation: None,
            emulated: false,
            register: None,
            lease_namespace: "edgeloom-system".to_owned(),
            benchmark: true,
            // Agents of one machine are told of one that they share; a pod may write to its own folder only.
            benchmark_lock: data_dir.join("benchmark.lock"),
            data_dir,
            drain_timeout: Duration::from_secs(20),
            registry: Registry::new(),
            router: router::Config::default(),
        }
    }
}
