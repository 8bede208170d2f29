//! `edgeloom controller`: the manager against any Kubernetes API, such as a cluster's own.

use std::net::SocketAddr;

use anyhow::Context as _;

use crate::{connect, definitions, health::Health, registry, stop};

/// `edgeloom controller`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connect: connect::Arguments,
    /// Installs the definitions of Edgeloom's kinds that are missing or differ.
    #[arg(long)]
    install_crds: bool,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen_health: SocketAddr,
    /// Stops when standard input closes.
    #[arg(long, hide = true)]
    lifeline: bool,
}

/// Runs until it is asked to stop.
///
/// # Errors
///
/// When the API server cannot be reached, or refuses what the manager needs to begin.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = stop::token(arguments.lifeline)?;
    let client = arguments.connect.client().await?;
    client
        .apiserver_version()
        .await
        .context("the API server does not answer")?;
    if arguments.install_crds {
        definitions::install(&client).await?;
    } else {
        definitions::check(&client).await?;
    }
    let registry = registry::of_controller()?;
    let health = Health::serve(arguments.listen_health, registry.clone(), stop.clone())
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen_health))?;
    tracing::info!(address = %health.address, "health and metrics are served");
    health.ready();
    manager::run(client, &registry, stop)
        .await
        .context("the manager has ended")
}
