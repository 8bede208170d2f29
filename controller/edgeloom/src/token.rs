//! `edgeloom token`: a bootstrap token, and the kubeconfig with which an agent joins by it.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use apiserver::auth::kubeconfig;
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use kube::{Api, Client, api::PostParams};
use rand::Rng as _;
use serde_json::json;

use crate::{approver, connect, join, output};

/// Letters of tokens, as Kubernetes has them.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// `edgeloom token`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The only node whose agent may join with it, even in the place of an agent that was there before. Without it: any node for
    /// which no agent has spoken yet.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Hours after which the token lets nobody in any more.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    hours: u32,
    /// Where agents reach the API server, if not where this command does.
    #[arg(long, value_name = "https://HOST:PORT")]
    server: Option<String>,
    /// Where the kubeconfig is written (mode 0600). Without it: standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connect: connect::Arguments,
}

/// Makes the token.
///
/// # Errors
///
/// When the server refuses, or the file cannot be written.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.connect.config().await?;
    let server = match arguments.server {
        Some(server) => {
            ensure!(
                server.starts_with("https://"),
                "--server {server:?} must begin with https://, such as https://192.0.2.7:6443"
            );
            server
        }
        None => join::url(&config),
    };
    let authority = join::authority_pem(&config)?;
    let lifetime = Duration::from_secs(u64::from(arguments.hours) * 3600);
    let client = Client::try_from(config).context("the kubeconfig cannot be used")?;
    let token = make(&client, arguments.node.as_deref(), Timestamp::now() + lifetime).await?;
    let text = kubeconfig::text_with_token(&server, &authority, &token);
    match arguments.output {
        Some(path) => Ok(kubeconfig::write(&path, &text)?),
        None => Ok(output::print(&text)?),
    }
}

async fn make(client: &Client, node: Option<&str>, expiration: Timestamp) -> anyhow::Result<String> {
    let (id, secret) = (random(6), random(16));
    let mut object = json!({
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": approver::TOKEN_NAMESPACE},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
            "expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "description": "lets agents join; made by edgeloom token",
        },
    });
    if let Some(node) = node {
        object["metadata"]["annotations"] = json!({approver::NODE_ANNOTATION: node});
    }
    let object: Secret = serde_json::from_value(object).context("a token is a Secret")?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), approver::TOKEN_NAMESPACE);
    secrets
        .create(&PostParams::default(), &object)
        .await
        .context("the API server refuses the token")?;
    Ok(format!("{id}.{secret}"))
}

fn random(length: usize) -> String {
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect()
}
