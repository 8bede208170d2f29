//! `edgeloom apiserver`: the API server alone, generic, knowing no kind of ours. For trying things, and for other programs
//! that need a Kubernetes API without a cluster. Below it, what is done with a store as a whole.

mod backup;
mod operation;
mod place;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use apiserver::serve::{Running, ServeConfig, Storage, start};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Serves the Kubernetes API, until Ctrl-C.
///
/// Certificate requests (`kubernetes.io/kube-apiserver-client`) are signed when somebody has approved them: `kubectl get csr`, then
/// `kubectl certificate approve NAME`. A control plane approves those of agents by itself.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

/// What is done with a store as a whole.
#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    Backup(backup::BackupArguments),
    Restore(backup::RestoreArguments),
    Migrate(backup::MigrateArguments),
}

/// Serving.
#[derive(Debug, Clone, clap::Args)]
struct Serve {
    /// Address to listen on; port 0 takes a free one, which is printed and stands in the kubeconfig
    #[arg(long, default_value = "127.0.0.1:6443", env = "EDGELOOM_LISTEN")]
    listen: SocketAddr,
    /// Directory that everything is kept in; made if it is not there
    #[arg(long, value_name = "DIR", env = "EDGELOOM_DATA", required = true)]
    data: Option<PathBuf>,
    /// Where the administrator's kubeconfig is written (mode 0600) [default: DIR/kubeconfig]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A further hostname or address under which clients reach the server; may be given several times
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// Where objects are kept: in the data directory (`embedded`), in `memory`, or in etcd://HOST:PORT[,HOST:PORT…], which
    /// several servers may share
    #[arg(long, value_name = "PLACE", default_value = "embedded")]
    storage: String,
    #[command(flatten)]
    etcd: place::Etcd,
    #[command(flatten)]
    operation: operation::Operation,
}

impl Serve {
    fn storage(&self) -> anyhow::Result<Storage> {
        match self.storage.as_str() {
            "embedded" => Ok(Storage::DataDirectory),
            "memory" => Ok(Storage::Memory),
            other => match self.etcd.config(other)? {
                Some(config) => Ok(Storage::Etcd(config)),
                None => anyhow::bail!(
                    "--storage {other} is unknown: embedded, memory or etcd://HOST:PORT[,HOST:PORT…]"
                ),
            },
        }
    }
}

/// Runs the subcommand, or serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// When the server cannot start, for instance because another one has the directory or the port, or the subcommand fails.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Some(Command::Backup(arguments)) => backup::back_up(arguments).await,
        Some(Command::Restore(arguments)) => backup::restore(arguments).await,
        Some(Command::Migrate(arguments)) => backup::migrate(arguments).await,
        None => serve(args.serve).await,
    }
}

async fn serve(arguments: Serve) -> anyhow::Result<()> {
    let storage = arguments.storage()?;
    let Serve {
        listen,
        data,
        kubeconfig,
        names,
        operation,
        ..
    } = arguments;
    let data = data.context("--data DIR is missing: the directory that everything is kept in")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("failed to listen for Ctrl-C")?;
    let mut terminated = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let kubeconfig = kubeconfig.unwrap_or_else(|| data.join("kubeconfig"));
    let mut config = ServeConfig {
        listen,
        kubeconfig: Some(kubeconfig.clone()),
        names,
        storage,
        ..ServeConfig::new(data.clone())
    };
    operation.configure(&mut config)?;
    let running = start(config, CancellationToken::new())
        .await
        .context("failed to start the API server")?;
    tell(&running, &data, &kubeconfig).context("failed to print where the server is")?;
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// Tells a person where the server is and what to do next.
fn tell(running: &Running, data: &Path, kubeconfig: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "API server   {}", running.url)?;
    writeln!(out, "data         {}", data.display())?;
    writeln!(out, "kubeconfig   {}", kubeconfig.display())?;
    writeln!(out)?;
    writeln!(
        out,
        "try          kubectl --kubeconfig {} get namespaces",
        kubeconfig.display()
    )?;
    out.flush()
}
