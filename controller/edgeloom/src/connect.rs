//! A client for whatever API server the user means.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Which API server is meant.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub(crate) struct Arguments {
    /// The kubeconfig. Without it: the KUBECONFIG variable, ./.edgeloom/kubeconfig of a running `edgeloom up`,
    /// ~/.kube/config, or the pod's own service account, whichever is there first.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; its current one when absent.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// Where `edgeloom up` writes its kubeconfig when it is told nothing else.
const OF_UP: &str = ".edgeloom/kubeconfig";

impl Arguments {
    /// A client, which has not spoken to the server yet.
    ///
    /// # Errors
    ///
    /// When there is no kubeconfig, or it cannot be used.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let config = self.config().await?;
        Client::try_from(config).context("the kubeconfig cannot be used")
    }

    /// What is known of the server.
    ///
    /// # Errors
    ///
    /// When there is no kubeconfig, or it cannot be read.
    pub(crate) async fn config(&self) -> anyhow::Result<Config> {
        let chosen = match &self.kubeconfig {
            Some(file) => Some(file.as_path()),
            None if std::env::var_os("KUBECONFIG").is_none() && Path::new(OF_UP).exists() => {
                Some(Path::new(OF_UP))
            }
            None => None,
        };
        match (chosen, &self.context) {
            (Some(file), context) => config_of(file, context.as_deref()).await,
            (None, Some(context)) => {
                let kubeconfig =
                    Kubeconfig::read().context("--context needs a kubeconfig, and none can be read")?;
                of_context(kubeconfig, Some(context))
                    .await
                    .with_context(|| format!("the context {context} cannot be used"))
            }
            (None, None) => Config::infer().await.context(
                "found no API server: start one with `edgeloom up`, or name one with --kubeconfig FILE",
            ),
        }
    }
}

/// Whether this process runs in a pod of a Kubernetes cluster.
pub(crate) fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// A client for a context of a kubeconfig, the current one when none is named.
///
/// # Errors
///
/// When the file cannot be read, or what it says cannot be used.
pub(crate) async fn client_of(file: &Path, context: Option<&str>) -> anyhow::Result<Client> {
    let config = config_of(file, context).await?;
    Client::try_from(config).with_context(|| format!("the kubeconfig {} cannot be used", file.display()))
}

/// What a context of a kubeconfig says, the current one when none is named.
///
/// # Errors
///
/// When the file cannot be read.
pub(crate) async fn config_of(file: &Path, context: Option<&str>) -> anyhow::Result<Config> {
    let failed = || format!("the kubeconfig {} cannot be used", file.display());
    let kubeconfig = Kubeconfig::read_from(file).with_context(failed)?;
    of_context(kubeconfig, context).await.with_context(failed)
}

async fn of_context(kubeconfig: Kubeconfig, context: Option<&str>) -> anyhow::Result<Config> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    Ok(Config::from_custom_kubeconfig(kubeconfig, &options).await?)
}
