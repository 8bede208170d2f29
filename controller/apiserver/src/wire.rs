//! Stored objects as bytes of answers, without values of them where that is possible.
//!
//! What is stored was pruned and filled in when it was written. As long as the schema that is served leaves it as it is, its bytes go
//! into answers unchanged, but for `apiVersion` and `resourceVersion`. Whether that is so is read from the bytes each time: nothing has
//! to be remembered of who wrote them, when, and under which schema.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::kinds::Resource;
use crate::status::Status;
use crate::storage;
use crate::store::Entry;

/// Where an object goes: an item of a list of a built-in kind says neither `apiVersion` nor `kind`, as upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// By itself.
    Alone,
    /// Into a list.
    List,
}

/// Appends the wire form of a stored object, which is what [`storage::decode`] reads.
///
/// # Errors
/// As [`storage::decode`].
pub fn append(out: &mut Vec<u8>, resource: &Resource, entry: &Entry, place: Place) -> Result<(), Status> {
    let untyped = place == Place::List && !resource.is_custom();
    if let Some(fields) = unchanged(resource, &entry.value) {
        append_fields(out, resource, fields, entry.revision, untyped);
        return Ok(());
    }
    let mut object = storage::decode(resource, entry)?;
    if untyped && let Some(fields) = object.as_object_mut() {
        fields.shift_remove("apiVersion");
        fields.shift_remove("kind");
    }
    serde_json::to_writer(out, &object).map_err(Status::internal)
}

/// Fields by their names, each with the bytes of its value.
type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

/// The fields of a stored object of which the wire form shows all as they are, but for the versions.
fn unchanged<'a>(resource: &Resource, bytes: &'a [u8]) -> Option<Fields<'a>> {
    if !resource.keeps_shape() {
        return None;
    }
    if let (true, Some(schema)) = (resource.is_custom(), &resource.schema)
        && !schema.leaves_as_it_is(bytes)
    {
        return None;
    }
    let fields: Fields<'a> = serde_json::from_slice(bytes).ok()?;
    let metadata = fields.get("metadata")?.get();
    let within = metadata.strip_prefix('{')?.strip_suffix('}')?;
    let usual = fields.contains_key("apiVersion") && !within.trim().is_empty();
    // Another program may have written these: a watch's lines end where a line ends.
    let strange = metadata.contains("\"resourceVersion\"") || bytes.contains(&b'\n');
    (usual && !strange).then_some(fields)
}

fn append_fields(out: &mut Vec<u8>, resource: &Resource, fields: Fields<'_>, revision: u64, untyped: bool) {
    let mut separator = "{";
    for (name, value) in fields {
        if untyped && matches!(name, "apiVersion" | "kind") {
            continue;
        }
        // Names and versions need no escapes: the first are borrowed from JSON, the others have none.
        let bytes = match name {
            "apiVersion" => format!("\"{}\"", resource.api_version()).into(),
            "metadata" => with_revision(value.get(), revision).into(),
            _ => Cow::Borrowed(value.get()),
        };
        for part in [separator, "\"", name, "\":", &bytes] {
            out.extend_from_slice(part.as_bytes());
        }
        separator = ",";
    }
    out.push(b'}');
}

/// The bytes of a metadata that has fields, and one more.
fn with_revision(metadata: &str, revision: u64) -> String {
    let open = metadata.strip_suffix('}').unwrap_or(metadata);
    format!("{open},\"resourceVersion\":\"{revision}\"}}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::{Kinds, definition};

    /// A kind with a stored and another version.
    fn custom(version: &str) -> Resource {
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}}}});
        let version_of = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
        let definition = json!({"metadata": {"name": "gadgets.edge.test"}, "spec": {
            "group": "edge.test", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [version_of("v1", true), version_of("v2", false)]}});
        let mut all = definition::resources(&definition).into_iter();
        all.find(|one| one.version == version).expect("it is declared")
    }

    fn built_in(group: &str, version: &str, plural: &str) -> Arc<Resource> {
        Kinds::new().find(group, version, plural).expect("it is built in")
    }

    /// What is appended for these bytes, and whether they were taken as they are. It is what `storage::decode` reads.
    fn appended(resource: &Resource, stored: &str) -> (Value, bool) {
        let entry = Entry {
            key: "/registry/x".into(),
            value: stored.to_owned().into(),
            revision: 7,
        };
        let (mut alone, mut listed) = (Vec::new(), Vec::new());
        append(&mut alone, resource, &entry, Place::Alone).expect("it is readable");
        append(&mut listed, resource, &entry, Place::List).expect("it is readable");
        assert!(
            !alone.contains(&b'\n') && !listed.contains(&b'\n'),
            "lines of a watch"
        );
        let mut object: Value = serde_json::from_slice(&alone).expect("JSON");
        assert_eq!(object, storage::decode(resource, &entry).expect("it is readable"));
        assert_eq!(object["metadata"]["resourceVersion"], "7");
        let unchanged = unchanged(resource, &entry.value).is_some();
        let alone = object.clone();
        if !resource.is_custom() {
            let fields = object.as_object_mut().expect("an object");
            fields.shift_remove("apiVersion");
            fields.shift_remove("kind");
        }
        let listed: Value = serde_json::from_slice(&listed).expect("JSON");
        assert_eq!(listed, object);
        (alone, unchanged)
    }

    #[test]
    fn what_the_schema_leaves_as_it_is_is_not_made_anew() {
        let stored =
            r#"{"apiVersion":"edge.test/v1","kind":"Gadget","metadata":{"name":"a\"b"},"spec":{"a":1.0}}"#;
        let (object, unchanged) = appended(&custom("v1"), stored);
        assert!(unchanged && object["metadata"]["name"] == "a\"b");
        let (object, unchanged) = appended(&custom("v2"), stored);
        assert!(unchanged && object["apiVersion"] == "edge.test/v2");
        let map = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"x":"\n\u0000"}}"#;
        assert!(appended(&built_in("", "v1", "configmaps"), map).1);
    }

    #[test]
    fn what_it_changes_is() {
        let gadget = |rest: &str| {
            let stored =
                format!(r#"{{"apiVersion":"edge.test/v1","kind":"Gadget","metadata":{{"name":"a"}}{rest}}}"#);
            let (object, unchanged) = appended(&custom("v1"), &stored);
            assert!(!unchanged, "{stored}");
            object
        };
        assert_eq!(gadget(r#","spec":{}"#)["spec"], json!({"a": 1}));
        assert_eq!(gadget(r#","spec":{"a":2,"b":3}"#)["spec"], json!({"a": 2}));
        assert_eq!(gadget(r#","status":{}"#).get("status"), None);
    }

    #[test]
    fn what_differs_in_more_than_the_version_or_is_written_by_others_is_too() {
        let event = r#"{"kind":"Event","apiVersion":"v1","metadata":{"name":"a"},"message":"m"}"#;
        assert!(!appended(&built_in("", "v1", "events"), event).1);
        let (object, unchanged) = appended(&built_in("events.k8s.io", "v1", "events"), event);
        assert!(!unchanged && object["note"] == "m");
        let maps = built_in("", "v1", "configmaps");
        for strange in [
            "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\n\"metadata\":{\"name\":\"a\"}}",
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"3"}}"#,
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{ }}"#,
            r#"{"kind":"ConfigMap","metadata":{"name":"a"}}"#,
            r#"{"kind":"ConfigMap","apiVersion":"v1"}"#,
        ] {
            assert!(!appended(&maps, strange).1, "{strange}");
        }
    }

    #[test]
    fn what_is_unreadable_is_refused() {
        let entry = Entry {
            key: "/registry/x".into(),
            value: "{\"metadata\":{\"name\":\"a\"".into(),
            revision: 7,
        };
        for resource in [custom("v1"), (*built_in("", "v1", "configmaps")).clone()] {
            let refused = append(&mut Vec::new(), &resource, &entry, Place::Alone);
            assert_eq!(refused.map_err(|status| status.code), Err(500));
        }
    }
}
