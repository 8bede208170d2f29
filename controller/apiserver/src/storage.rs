//! How objects lie in the store: their keys, and their bytes, which are JSON in the stored form without `resourceVersion`; that is the
//! revision of the entry.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kinds::Resource;
use crate::objects;
use crate::status::{Cause, GroupKind, Status};
use crate::store::{self, Entry};

/// Bytes that a stored object may have: etcd's limit for a request, so that objects can move there.
pub const MAX_OBJECT_BYTES: usize = 3 << 19;

/// The prefix of all objects of a resource, or of those in one namespace; an empty namespace stands for all.
pub fn prefix(resource: &Resource, namespace: &str) -> String {
    let group = if resource.storage.group.is_empty() {
        "core"
    } else {
        &resource.storage.group
    };
    let plural = &resource.storage.plural;
    if namespace.is_empty() {
        format!("/registry/{group}/{plural}/")
    } else {
        format!("/registry/{group}/{plural}/{namespace}/")
    }
}

/// The key of an object. The namespace is empty for cluster-scoped resources.
pub fn key(resource: &Resource, namespace: &str, name: &str) -> Arc<str> {
    format!("{}{name}", prefix(resource, namespace)).into()
}

/// The object of an entry in the wire form.
///
/// # Errors
/// 500 when the bytes are no JSON, which means that something else wrote them.
pub fn decode(resource: &Resource, entry: &Entry) -> Result<Value, Status> {
    decode_at(resource, &entry.key, &entry.value, entry.revision)
}

/// The object of these bytes in the wire form, with this revision as its `resourceVersion`.
///
/// # Errors
/// As [`decode`].
pub fn decode_at(resource: &Resource, key: &str, bytes: &Bytes, revision: u64) -> Result<Value, Status> {
    let stored = serde_json::from_slice(bytes)
        .map_err(|error| Status::internal(format!("stored object {key} is unreadable: {error}")))?;
    let mut object = resource.from_storage(stored);
    objects::set_resource_version(&mut object, revision);
    Ok(object)
}

/// Of a stored object, its name, namespace and labels, which no schema and no version changes; `None` when they cannot be read.
pub fn head(bytes: &Bytes) -> Option<Value> {
    #[derive(Deserialize)]
    struct Head {
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Metadata {
        name: Value,
        namespace: Value,
        labels: Value,
    }
    let Head { metadata } = serde_json::from_slice(bytes).ok()?;
    let Metadata {
        name,
        namespace,
        labels,
    } = metadata;
    Some(json!({"metadata": {"name": name, "namespace": namespace, "labels": labels}}))
}

/// The bytes of an object in the wire form.
///
/// # Errors
/// 413 when it is too large, 422 when it is nested too deeply to be read again.
pub fn encode(resource: &Resource, object: &Value) -> Result<Bytes, Status> {
    if objects::depth(object) > objects::DEPTH_MAX {
        let kind = GroupKind {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
        };
        let why = format!(
            "is nested too deeply: at most {} levels are kept",
            objects::DEPTH_MAX
        );
        let cause = Cause::invalid("", "null", &why);
        return Err(Status::invalid(&kind, objects::name(object), vec![cause]));
    }
    let mut stored = resource.to_storage(object.clone());
    objects::metadata_mut(&mut stored).shift_remove("resourceVersion");
    let bytes = serde_json::to_vec(&stored).map_err(Status::internal)?;
    if bytes.len() > MAX_OBJECT_BYTES {
        Err(Status::too_large(MAX_OBJECT_BYTES))
    } else {
        Ok(bytes.into())
    }
}

/// What a failure of the store means to a client. A failed precondition has to be dealt with where it is understood.
pub fn refusal(error: store::Error) -> Status {
    match error {
        store::Error::Compacted { asked, oldest } => Status::too_old(asked, oldest),
        store::Error::Future { asked, current } => Status::too_large_resource_version(asked, current),
        store::Error::Uncertain { .. } => Status::timeout(error, 1),
        store::Error::Closed => Status::unavailable("the server is shutting down"),
        store::Error::Precondition { .. } | store::Error::Medium { .. } => Status::internal(error),
    }
}
