//! Objects and lists as a client wants to see them: whole, metadata only, or as a table.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Resource;
use crate::negotiation::Representation;
use crate::objects;
use crate::status::Status;
use crate::store::Entry;
use crate::table::{self, IncludeObject};
use crate::verbs::list::Listed;
use crate::wire::{self, Place};

/// Bytes by which an object of a list may be longer than it is stored: its version, and a comma.
const ROOM_PER_OBJECT: usize = 48;

/// What a client wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The shape of answers.
    pub representation: Representation,
    /// What the rows of a table carry.
    pub include: IncludeObject,
}

impl View {
    /// Objects as they are.
    pub const WHOLE: Self = Self {
        representation: Representation::Object,
        include: IncludeObject::Metadata,
    };

    /// One object. `first` is false for all but the first of a watch, whose tables need no columns again.
    pub fn object(&self, resource: &Resource, object: Value, first: bool) -> Value {
        match self.representation {
            Representation::Object => object,
            Representation::Metadata => table::partial_metadata(&object),
            Representation::Table => {
                let metadata = json!({"resourceVersion": objects::resource_version(&object)});
                table::table(
                    resource,
                    std::slice::from_ref(&object),
                    &metadata,
                    self.include,
                    first,
                    Timestamp::now(),
                )
            }
        }
    }

    /// The bytes of a list of stored objects.
    ///
    /// # Errors
    /// 500 when an object is unreadable.
    pub fn list_of_entries(&self, resource: &Resource, listed: Listed<Entry>) -> Result<Vec<u8>, Status> {
        if self.representation != Representation::Object {
            let list = self.list(resource, listed.decoded(resource)?);
            return serde_json::to_vec(&list).map_err(Status::internal);
        }
        let (api_version, kind) = (resource.api_version(), &resource.list_kind);
        let list = json!({"apiVersion": api_version, "kind": kind, "metadata": self.list_metadata(resource, &listed)});
        let mut bytes = serde_json::to_vec(&list).map_err(Status::internal)?;
        let stored: usize = listed.items.iter().map(|entry| entry.value.len()).sum();
        bytes.reserve(stored + ROOM_PER_OBJECT * listed.items.len());
        bytes.pop();
        bytes.extend_from_slice(b",\"items\":");
        let mut separator = b'[';
        for entry in &listed.items {
            bytes.push(separator);
            wire::append(&mut bytes, resource, entry, Place::List)?;
            separator = b',';
        }
        bytes.extend_from_slice(if listed.items.is_empty() { b"[]}" } else { b"]}" });
        Ok(bytes)
    }

    fn list_metadata<T>(&self, resource: &Resource, listed: &Listed<T>) -> Value {
        let mut metadata = Value::Object(listed.metadata());
        if resource.is_custom()
            && self.representation == Representation::Object
            && metadata.get("continue").is_none()
        {
            // As upstream, whose lists of custom resources always have it.
            metadata["continue"] = "".into();
        }
        metadata
    }

    /// A list.
    pub fn list(&self, resource: &Resource, listed: Listed) -> Value {
        let metadata = self.list_metadata(resource, &listed);
        if self.representation == Representation::Table {
            return table::table(
                resource,
                &listed.items,
                &metadata,
                self.include,
                true,
                Timestamp::now(),
            );
        }
        let (api_version, kind) = (resource.api_version(), &resource.list_kind);
        let mut items = listed.items;
        if !resource.is_custom() && self.representation == Representation::Object {
            // As upstream: the list's own kind says it for all.
            for fields in items.iter_mut().filter_map(Value::as_object_mut) {
                fields.shift_remove("apiVersion");
                fields.shift_remove("kind");
            }
        }
        let mut list = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        // Moved: the macro would copy them.
        list["items"] = Value::Array(items);
        if self.representation == Representation::Metadata {
            table::partial_metadata_list(&list)
        } else {
            list
        }
    }

    /// The object of a bookmark, which says only how far the watch has come.
    pub fn bookmark(&self, resource: &Resource, revision: u64, ends_initial_events: bool) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, api_version) = match self.representation {
            Representation::Object => (resource.kind.as_str(), resource.api_version()),
            Representation::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            Representation::Table => ("Table", "meta.k8s.io/v1".to_owned()),
        };
        let mut bookmark = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        if self.representation == Representation::Table {
            bookmark["columnDefinitions"] = Value::Null;
            bookmark["rows"] = json!([]);
        }
        bookmark
    }
}
