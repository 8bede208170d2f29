//! Puts objects into the API server: creates what is missing, and merges what is written into what is there. What stands
//! already is not changed.

use std::fmt::Debug;

use anyhow::Context as _;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{GroupVersionKind, TypeMeta},
    discovery::{self, Scope},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::manifests::Manifest;

/// Applies a cluster-wide object of ours.
///
/// # Errors
///
/// When the API server refuses.
pub(crate) async fn typed<K>(client: &Client, object: &K) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let value = serde_json::to_value(object).context("an object is JSON")?;
    write(&Api::all(client.clone()), &object.name_any(), object, &value)
        .await
        .with_context(|| format!("{} {} is refused", K::kind(&()), object.name_any()))
}

/// Applies an object of any kind that the server knows.
///
/// # Errors
///
/// When the server does not know the kind, or refuses the object.
pub(crate) async fn manifest(client: &Client, manifest: &Manifest) -> anyhow::Result<()> {
    let what = || {
        format!(
            "{}: {} {} is refused",
            manifest.path.display(),
            manifest.kind(),
            manifest.name()
        )
    };
    let object: DynamicObject = serde_json::from_value(manifest.object.clone()).with_context(what)?;
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap_or(&TypeMeta::default()))
        .with_context(what)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind)
        .await
        .context("the API server does not know its kind")
        .with_context(what)?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(
            client.clone(),
            manifest.namespace().unwrap_or("default"),
            &resource,
        ),
    };
    write(&api, manifest.name(), &object, &manifest.object)
        .await
        .with_context(what)
}

async fn write<K>(api: &Api<K>, name: &str, object: &K, value: &Value) -> Result<(), kube::Error>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    if api.get_opt(name).await?.is_none() {
        match api.create(&PostParams::default(), object).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            created => return created.map(drop),
        }
    }
    api.patch(name, &PatchParams::default(), &Patch::Merge(value))
        .await
        .map(drop)
}
