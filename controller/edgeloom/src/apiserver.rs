//! `edgeloom apiserver`: the API server alone, generic, knowing no kind of ours. For trying things, and for other programs
//! that need a Kubernetes API without a cluster.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use apiserver::serve::{Running, ServeConfig, start};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Serves the Kubernetes API over a data directory, until Ctrl-C.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 takes a free one, which is printed and stands in the kubeconfig
    #[arg(long, default_value = "127.0.0.1:6443", env = "EDGELOOM_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Directory that everything is kept in; made if it is not there
    #[arg(long, value_name = "DIR", env = "EDGELOOM_DATA")]
    pub(crate) data: PathBuf,
    /// Where the administrator's kubeconfig is written (mode 0600) [default: DIR/kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A further hostname or address under which clients reach the server; may be given several times
    #[arg(long = "name", value_name = "HOST")]
    pub(crate) names: Vec<String>,
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// When the server cannot start, for instance because another one has the directory or the port.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args {
        listen,
        data,
        kubeconfig,
        names,
    } = args;
    let mut interrupted = signal(SignalKind::interrupt()).context("failed to listen for Ctrl-C")?;
    let mut terminated = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let kubeconfig = kubeconfig.unwrap_or_else(|| data.join("kubeconfig"));
    let config = ServeConfig {
        listen,
        kubeconfig: Some(kubeconfig.clone()),
        names,
        ..ServeConfig::new(data.clone())
    };
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
