//! Keeps the compiled policies what the stored ones say.

use serde_json::Value;

use super::GROUP;
use super::policy::Policy;
use crate::ApiServer;
use crate::status::Status;
use crate::storage;
use crate::store::{self, Range};

/// Reads the policies, then follows their changes; is to be called again when it ends.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(server: &ApiServer) -> Result<(), Status> {
    loop {
        let revision = load(server).await?;
        let prefix = format!("/registry/{GROUP}/validatingadmissionpolic");
        let watch = server.store().watch(&prefix, revision).await;
        let mut watch = watch.map_err(storage::refusal)?;
        match watch.next().await {
            Ok(_) | Err(store::Error::Compacted { .. }) => {}
            Err(error) => return Err(storage::refusal(error)),
        }
    }
}

/// Reads the policies once; says at which revision.
///
/// # Errors
/// When the store fails.
pub(crate) async fn load(server: &ApiServer) -> Result<u64, Status> {
    let (policies, revision) = read(server, "validatingadmissionpolicies").await?;
    let (bindings, later) = read(server, "validatingadmissionpolicybindings").await?;
    let bound = policies.iter().filter_map(|policy| Policy::of(policy, &bindings));
    server.policies().set(bound.collect());
    Ok(revision.min(later))
}

async fn read(server: &ApiServer, plural: &str) -> Result<(Vec<Value>, u64), Status> {
    let found = server.kinds().find(GROUP, "v1", plural);
    let resource = found.ok_or_else(|| Status::internal(format!("this server does not serve {plural}")))?;
    let page = server
        .store()
        .list(&storage::prefix(&resource, ""), Range::default())
        .await
        .map_err(storage::refusal)?;
    let objects = page.entries.iter().map(|entry| storage::decode(&resource, entry));
    Ok((objects.collect::<Result<_, _>>()?, page.revision))
}
