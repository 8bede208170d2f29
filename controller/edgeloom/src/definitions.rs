//! Makes an API server know Edgeloom's kinds.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::PostParams,
    runtime::{conditions, wait::await_condition},
};
use tracing::info;

/// Time that a server may take to serve a new kind.
const ESTABLISH_DEADLINE: Duration = Duration::from_secs(60);

/// Creates the definitions that are missing, updates those that differ, and waits until all are served. A definition that
/// stands as it should is not written.
///
/// # Errors
///
/// When the server refuses, or does not serve a kind in time.
pub(crate) async fn install(client: &Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in crds::definitions() {
        let name = definition.name_any();
        write(&api, definition)
            .await
            .with_context(|| format!("failed to install the definition {name}"))?;
    }
    for definition in crds::definitions() {
        let name = definition.name_any();
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISH_DEADLINE, established)
            .await
            .with_context(|| format!("{name} is not served after {} s", ESTABLISH_DEADLINE.as_secs()))??;
    }
    Ok(())
}

/// Makes sure that all kinds are served. Asks what every client may ask, so no permission is needed.
///
/// # Errors
///
/// When one is not, with what to do about it.
pub(crate) async fn check(client: &Client) -> anyhow::Result<()> {
    let version = format!("{}/{}", crds::GROUP, crds::VERSION);
    let served = match client.list_api_group_resources(&version).await {
        Ok(list) => list.resources,
        // The answer to a group that nobody serves is no Status, so it has a code and no reason.
        Err(kube::Error::Api(status)) if status.code == 404 => vec![],
        Err(error) => return Err(error).context("failed to ask for the kinds that are served"),
    };
    for definition in crds::definitions() {
        let plural = &definition.spec.names.plural;
        anyhow::ensure!(
            served.iter().any(|resource| resource.name == *plural),
            "the API server does not know {}; install the definitions with --install-crds, or with the Helm chart",
            definition.name_any()
        );
    }
    Ok(())
}

async fn write(
    api: &Api<CustomResourceDefinition>,
    mut definition: CustomResourceDefinition,
) -> Result<(), kube::Error> {
    let name = definition.name_any();
    loop {
        let written = match api.get_opt(&name).await? {
            Some(standing) if standing.spec == definition.spec => return Ok(()),
            Some(standing) => {
                definition.metadata.resource_version = standing.metadata.resource_version;
                api.replace(&name, &PostParams::default(), &definition).await
            }
            None => api.create(&PostParams::default(), &definition).await,
        };
        match written {
            Ok(_) => {
                info!(name, "definition installed");
                return Ok(());
            }
            // Somebody else installs it at the same time: look again.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                definition.metadata.resource_version = None;
            }
            Err(error) => return Err(error),
        }
    }
}
