//! `edgeloom up`: a control plane and agents on this machine, each a process of its own, under one supervisor.
//!
//! ```text
//! manifests ──▶ fleet =   nodes, links, shares of this machine
//!                 │
//!                 ▼
//! folder ~ ──▶ supervise ~ ──▶ control-plane, agents      board: who runs, with which pid ──▶ up.json
//!                 │
//!                 ▼
//! apply ~ (nodes, links, models, users) ──▶ progress ~ (until models are timed)
//!   ──▶ apply ~ (services) ──▶ progress ~ (until all is ready) ──▶ summary =
//! ```

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use kube::{Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::{connect, logging, output, stop, traces};

mod announcement;
pub(crate) mod apply;
mod board;
mod console;
pub mod fleet;
mod folder;
mod manifests;
mod progress;
mod summary;
mod supervise;
mod targets;

pub(crate) use announcement::Announcement;
use board::Board;
use console::Console;
use fleet::{Fleet, Machine};
use folder::Folder;
use manifests::{Manifest, Manifests};
use progress::{Observation, Wanted};
pub(crate) use summary::base_url;
use supervise::{Program, Supervisor};

/// Time that the control plane gets to answer after its start. It opens a store and makes certificates; seconds suffice.
const CONTROL_PLANE_DEADLINE: Duration = Duration::from_secs(120);

/// Deaths of the control plane, before it ever answered, after which it is given up.
const CONTROL_PLANE_ATTEMPTS: u32 = 3;

/// The name of the control plane among the supervisor's programs.
const CONTROL_PLANE: &str = "control-plane";

/// What the names of agents begin with there, so that no node's name means something else.
const AGENT: &str = "agent-";

/// `edgeloom up`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Starts this many agents with equal shares of the machine.
    #[arg(long, value_name = "N", conflicts_with = "nodes", value_parser = clap::value_parser!(u16).range(1..=64))]
    agents: Option<u16>,
    /// Starts an agent for each EdgeNode in this file or folder, held to its limits, power and links. Without this and
    /// --agents: the EdgeNodes among the manifests of --filename, or else one agent.
    #[arg(long, value_name = "PATH")]
    nodes: Option<PathBuf>,
    /// Applies this manifest, or this folder of manifests, once the control plane answers. May be repeated.
    #[arg(short, long, value_name = "PATH")]
    filename: Vec<PathBuf>,
    /// Where everything is kept. What was there before goes on.
    #[arg(long, value_name = "DIR", default_value = ".edgeloom", env = "EDGELOOM_DATA")]
    data: PathBuf,
    /// Where the API server listens. Port 0 keeps the port of the last time, or takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    /// Where the administrator's kubeconfig is written. DATA/kubeconfig when not given.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Leaves a process that has died dead.
    #[arg(long)]
    no_restart: bool,
    #[command(flatten)]
    traces: traces::Arguments,
}

/// Runs until it is asked to stop, and leaves no process behind.
///
/// # Errors
///
/// When the arguments or manifests are wrong, before anything is started; or when the control plane does not start.
pub(crate) async fn run(arguments: &Arguments, log_format: logging::Format) -> anyhow::Result<ExitCode> {
    let (fleet, manifests) = read(arguments)?;
    let folder = Arc::new(Folder::take(&arguments.data)?);
    let stop = stop::token(false)?;
    let console = Console::new();
    let board = Board::new(&folder, arguments.kubeconfig.as_deref());
    let supervisor = Supervisor::new(board.clone(), console.clone(), !arguments.no_restart)?;
    let system = System {
        folder,
        fleet,
        manifests,
        board,
        console,
        log_format,
        listen: arguments.listen,
        traces: arguments.traces.clone(),
    };
    let brought_up = tokio::select! {
        brought_up = system.bring_up(&supervisor, &stop) => brought_up,
        () = stop.cancelled() => Ok(()),
    };
    if brought_up.is_ok() {
        stop.cancelled().await;
        system.console.say("stopping");
    }
    supervisor.stop().await;
    brought_up.map(|()| ExitCode::SUCCESS)
}

/// Everything that is asked for, checked before anything is started.
fn read(arguments: &Arguments) -> anyhow::Result<(Fleet, Manifests)> {
    let machine = Machine::here().context("the system does not say what the machine has")?;
    let mut manifests = Manifests::read(&arguments.filename)?;
    let of_nodes = Manifests::read(arguments.nodes.as_slice())?;
    let (mut nodes, mut links) = of_nodes.fleet()?;
    if let Some(path) = &arguments.nodes
        && nodes.is_empty()
    {
        anyhow::bail!("{} has no EdgeNode; --nodes wants at least one", path.display());
    }
    let (also_nodes, also_links) = manifests.fleet()?;
    if arguments.agents.is_some() && !also_nodes.is_empty() {
        anyhow::bail!(
            "--agents makes EdgeNodes of its own, but --filename has {} too; leave out --agents to get agents for those",
            also_nodes
                .iter()
                .map(kube::ResourceExt::name_any)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    nodes.extend(also_nodes);
    links.extend(also_links);
    manifests.extend(of_nodes);
    let fleet = match (arguments.agents, nodes.is_empty()) {
        (Some(count), _) => Fleet::equal_shares(count, links, machine)?,
        (None, true) => Fleet::equal_shares(1, links, machine)?,
        (None, false) => Fleet::declared(nodes, links, machine)?,
    };
    Ok((fleet, manifests))
}

struct System {
    folder: Arc<Folder>,
    fleet: Fleet,
    manifests: Manifests,
    board: Board,
    console: Console,
    log_format: logging::Format,
    listen: SocketAddr,
    traces: traces::Arguments,
}

impl System {
    /// Starts everything, and returns when all that was applied is ready and the summary is printed.
    async fn bring_up(&self, supervisor: &Supervisor, stop: &CancellationToken) -> anyhow::Result<()> {
        self.console
            .say(&format!("data and logs: {}", self.folder.root().display()));
        let announced = self.start_control_plane(supervisor).await?;
        self.console.say(&format!("API server: {}", announced.url));
        let client = connect::client_of(&announced.kubeconfig, None).await?;
        self.apply_fleet(&client).await?;
        self.apply_manifests(&client, |manifest| !manifest.is_service())
            .await?;
        let wanted = Wanted {
            nodes: self.fleet.nodes.iter().map(kube::ResourceExt::name_any).collect(),
            services: self.manifests.services(),
            before: observe(&client).await?.before(),
        };
        for node in &wanted.nodes {
            supervisor.start(self.agent(node)?);
        }
        self.board.follow_nodes(client.clone(), stop.clone());
        progress::until_timed(&client, &wanted, &self.console).await;
        self.apply_manifests(&client, Manifest::is_service).await?;
        progress::until_ready(&client, &wanted, &self.console).await;
        let (seen, kubeconfig) = (observe(&client).await?, self.board.kubeconfig());
        output::print(&summary::text(
            &seen,
            &wanted.services,
            &announced.url,
            &kubeconfig,
            &self.folder.targets(),
        ))?;
        self.board.ready();
        Ok(())
    }

    async fn start_control_plane(&self, supervisor: &Supervisor) -> anyhow::Result<Announcement> {
        let announcement = self.folder.announcement();
        Announcement::withdraw(&announcement)?;
        supervisor.start(self.control_plane());
        let answered = async {
            loop {
                if let Some(announced) = Announcement::read(&announcement) {
                    return Ok(announced);
                }
                let program = self.board.program(CONTROL_PLANE);
                if program.deaths >= CONTROL_PLANE_ATTEMPTS || (program.deaths > 0 && !supervisor.restarts())
                {
                    let log = self.folder.log(CONTROL_PLANE);
                    anyhow::bail!(
                        "the control plane does not start; the end of its log {} says:\n{}",
                        log.display(),
                        folder::tail(&log, 10)
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let announced = tokio::time::timeout(CONTROL_PLANE_DEADLINE, answered)
            .await
            .with_context(|| {
                format!(
                    "the control plane did not answer; see {}",
                    self.folder.log(CONTROL_PLANE).display()
                )
            })??;
        self.board.announced(&announced);
        Ok(announced)
    }

    /// Nodes and links come first: agents look for their EdgeNode when they start.
    async fn apply_fleet(&self, client: &Client) -> anyhow::Result<()> {
        for node in &self.fleet.nodes {
            apply::typed(client, node).await?;
        }
        for link in &self.fleet.links {
            apply::typed(client, link).await?;
        }
        Ok(())
    }

    async fn apply_manifests(&self, client: &Client, wanted: fn(&Manifest) -> bool) -> anyhow::Result<()> {
        for manifest in self.manifests.beside_fleet().filter(|manifest| wanted(manifest)) {
            apply::manifest(client, manifest).await?;
        }
        Ok(())
    }

    fn control_plane(&self) -> Program {
        let folder = &self.folder;
        let mut program = Program::new(CONTROL_PLANE, "control-plane", folder.log(CONTROL_PLANE))
            .option("--log-format", self.log_format.as_argument())
            .option("--data", folder.control_plane())
            .option("--listen", self.listen.to_string())
            .option("--kubeconfig", self.board.kubeconfig())
            .option("--announce", folder.announcement());
        for node in &self.fleet.nodes {
            let name = node.name_any();
            let kubeconfig = folder.agent_kubeconfig(&name);
            program = program.option("--agent", format!("{name}={}", kubeconfig.display()));
        }
        program
    }

    fn agent(&self, node: &str) -> anyhow::Result<Program> {
        let folder = &self.folder;
        let links = folder.agent(node).join("links.yaml");
        write_links(&links, &self.fleet.links_of(node))?;
        let name = format!("{AGENT}{node}");
        let mut program = Program::new(&name, "agent", folder.log(&name))
            .option("--log-format", self.log_format.as_argument())
            .option("--node", node)
            .option("--kubeconfig", folder.agent_kubeconfig(node))
            .option("--data", folder.agent(node))
            .option("--listen-http", "127.0.0.1:0")
            .option("--listen-quic", "127.0.0.1:0")
            .option("--emulate-links", links)
            .option("--benchmark-lock", folder.benchmark_lock())
            .flag("--emulated");
        if let Some(collector) = &self.traces.otlp_endpoint {
            program = program.option("--otlp-endpoint", collector);
        }
        Ok(program)
    }
}

async fn observe(client: &Client) -> anyhow::Result<Observation> {
    Observation::take(client)
        .await
        .context("failed to read how things stand")
}

fn write_links(path: &Path, links: &[crds::EdgeLink]) -> anyhow::Result<()> {
    let documents: String = links
        .iter()
        .map(|link| format!("---\n{}", crds::manifest::print(link)))
        .collect();
    let failed = || format!("failed to write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    std::fs::write(path, documents).with_context(failed)
}
