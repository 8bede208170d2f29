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

/// Where `kubectl apply` keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

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
    let value = as_kubectl_applies(&manifest.object);
    let object: DynamicObject = serde_json::from_value(value.clone()).with_context(what)?;
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
    write(&api, manifest.name(), &object, &value)
        .await
        .with_context(what)
}

/// The object with what `kubectl apply` leaves on what it applies, so that a later one finds what it is to compare with. Not on
/// Secrets: they stand in no annotation.
fn as_kubectl_applies(object: &Value) -> Value {
    let mut object = object.clone();
    if object["kind"] != "Secret" {
        let applied = format!("{object}\n");
        object["metadata"]["annotations"][LAST_APPLIED] = applied.into();
    }
    object
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_applied_stands_on_the_object_but_not_on_a_secret() {
        let model = json!({ "kind": "Model", "metadata": { "name": "m", "annotations": { "a": "b" } } });
        let applied = as_kubectl_applies(&model);
        let annotations = &applied["metadata"]["annotations"];
        assert_eq!(annotations["a"], "b");
        let kept = annotations[LAST_APPLIED].as_str().expect("an annotation");
        assert_eq!(serde_json::from_str::<Value>(kept).expect("JSON"), model);
        let secret = json!({ "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "key": "k" } });
        assert_eq!(as_kubectl_applies(&secret), secret);
    }
}
