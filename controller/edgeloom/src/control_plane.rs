//! `edgeloom control-plane` (hidden): what `edgeloom up` runs as its control plane. The embedded API server, with the rule
//! of what an agent may touch, and the manager as its client, in one process.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use apiserver::{
    auth::bootstrap,
    serve::{self, Running, ServeConfig},
};
use k8s_openapi::{
    api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Client;
use manager::Metrics;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    approver, definitions,
    health::Health,
    node_authorizer::{self, NodeAuthorizer},
    registry,
    steady_port::{self, Protocol},
    stop,
    up::{Announcement, apply},
};

/// How long an agent's certificate is good for. `edgeloom up` issues a new one at each start.
const AGENT_CERTIFICATE: Duration = Duration::from_secs(365 * 24 * 3600);

/// `edgeloom control-plane`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Where the store and the keys are.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the API server listens.
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where health and metrics are served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen_health: SocketAddr,
    /// Where the administrator's kubeconfig is written.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Where it says that it answers.
    #[arg(long, value_name = "FILE")]
    announce: PathBuf,
    /// A node, and where its agent's kubeconfig is written. May be repeated.
    #[arg(long, value_name = "NODE=FILE", value_parser = node_and_file)]
    agent: Vec<(String, PathBuf)>,
    /// Stops when standard input closes.
    #[arg(long)]
    lifeline: bool,
}

fn node_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((node, file)) if !node.is_empty() && !file.is_empty() => Ok((node.to_owned(), file.into())),
        _ => Err("write NODE=FILE".to_owned()),
    }
}

/// Runs until it is asked to stop.
///
/// # Errors
///
/// When the server cannot start, or the manager cannot begin.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = stop::token(arguments.lifeline)?;
    // The server is stopped after its client, so that the manager's last writes are answered.
    let server_stop = CancellationToken::new();
    let running = start(&arguments, server_stop.clone()).await?;
    let served = serve_manager(&arguments, &running, stop).await;
    running.stop().await;
    served
}

async fn start(arguments: &Arguments, stop: CancellationToken) -> anyhow::Result<Running> {
    let memory = arguments.data.join("port");
    let mut config = ServeConfig::new(&arguments.data);
    config.listen = steady_port::choose(&memory, arguments.listen, Protocol::Tcp)
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    config.kubeconfig = Some(arguments.kubeconfig.clone());
    config.authorizers = vec![Arc::new(NodeAuthorizer)];
    let running = serve::start(config, stop)
        .await
        .context("the API server cannot start")?;
    info!(url = running.url, "the API server answers");
    Ok(running)
}

async fn serve_manager(
    arguments: &Arguments,
    running: &Running,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let client = Client::new(running.admin_router(), "default");
    definitions::install(&client).await?;
    apply::typed(&client, &may_join())
        .await
        .context("bootstrap tokens cannot be let in")?;
    let approver = tokio::spawn(approver::run(client.clone(), stop.clone()));
    for (node, kubeconfig) in &arguments.agent {
        let failed = || {
            format!(
                "cannot write the kubeconfig of {node} to {}",
                kubeconfig.display()
            )
        };
        if let Some(folder) = kubeconfig.parent() {
            std::fs::create_dir_all(folder).with_context(failed)?;
        }
        let user = node_authorizer::user_of(node);
        running
            .write_kubeconfig(kubeconfig, &user, node_authorizer::GROUP, AGENT_CERTIFICATE)
            .with_context(failed)?;
    }
    let registry = registry::of_controller()?;
    let config = manager::Config::new(client, Metrics::register(&registry)?);
    let pulse = config.pulse.clone();
    let health = Health::serve(arguments.listen_health, registry, pulse, stop.clone())
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen_health))?;
    let announcement = Announcement {
        url: running.url.clone(),
        kubeconfig: arguments.kubeconfig.clone(),
        health_url: format!("http://{}", health.address),
    };
    let path = &arguments.announce;
    announcement
        .publish(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    health.ready();
    let ended = manager::run(config, stop).await.context("the manager has ended");
    // It ends by the same token; a panic has been reported by then.
    let _ = approver.await;
    ended
}

/// Whoever shows a bootstrap token may ask for a certificate.
fn may_join() -> ClusterRoleBinding {
    let group = "rbac.authorization.k8s.io".to_owned();
    ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some("edgeloom:node-bootstrapper".to_owned()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: Some(group.clone()),
            kind: "ClusterRole".to_owned(),
            name: "system:node-bootstrapper".to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group: Some(group),
            kind: "Group".to_owned(),
            name: bootstrap::GROUP.to_owned(),
            namespace: None,
        }]),
    }
}
