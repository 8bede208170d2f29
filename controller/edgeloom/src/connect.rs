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
        let chosen = match &self.kubeconfig {
            Some(file) => Some(file.as_path()),
            None if std::env::var_os("KUBECONFIG").is_none() && Path::new(OF_UP).exists() => {
                Some(Path::new(OF_UP))
            }
            None => None,
        };
        match chosen {
            Some(file) => client_of(file).await,
            None => {
                let config = Config::infer().await.context(
                    "found no API server: start one with `edgeloom up`, or name one with --kubeconfig FILE",
                )?;
                Client::try_from(config).context("the kubeconfig cannot be used")
            }
        }
    }
}

/// A client for the current context of a kubeconfig.
///
/// # Errors
///
/// When the file cannot be read, or what it says cannot be used.
pub(crate) async fn client_of(file: &Path) -> anyhow::Result<Client> {
    let failed = || format!("the kubeconfig {} cannot be used", file.display());
    let kubeconfig = Kubeconfig::read_from(file).with_context(failed)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(failed)?;
    Client::try_from(config).with_context(failed)
}
