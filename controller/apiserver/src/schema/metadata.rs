//! `metadata` of every object: its schema, and the rules for labels, annotations, owners and finalizers.
//!
//! Not here: the object's own name and namespace, which the verbs judge, since only they know the path.

use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Map, Value, json};

use super::Schema;
use crate::status::Cause;

/// All annotations of an object together may have this many bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

static LABEL_VALUE: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"));
static QUALIFIED_NAME: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"));
static SUBDOMAIN: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"));
static LABEL: LazyLock<Regex> = LazyLock::new(|| compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"));

fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that the tests run")
}

/// The schema of `metadata`. Nulls in it mean "absent": Go clients write `creationTimestamp: null`.
pub fn object_meta() -> &'static Schema {
    static OBJECT_META: LazyLock<Schema> = LazyLock::new(|| {
        let text = || json!({"type": "string"});
        let texts = || json!({"type": "object", "additionalProperties": {"type": "string"}});
        let time = || json!({"type": "string", "format": "date-time"});
        let owner = json!({
            "type": "object",
            "properties": {
                "apiVersion": text(), "kind": text(), "name": text(), "uid": text(),
                "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
            },
            "x-kubernetes-map-type": "atomic",
        });
        let manager = json!({
            "type": "object",
            "properties": {
                "manager": text(), "operation": text(), "apiVersion": text(), "time": time(), "fieldsType": text(),
                "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}, "subresource": text(),
            },
        });
        let schema = json!({
            "type": "object",
            "properties": {
                "name": text(), "generateName": text(), "namespace": text(), "selfLink": text(), "uid": text(),
                "resourceVersion": text(), "generation": {"type": "integer"}, "creationTimestamp": time(),
                "deletionTimestamp": time(), "deletionGracePeriodSeconds": {"type": "integer"},
                "labels": texts(), "annotations": texts(),
                "ownerReferences": {
                    "type": "array", "items": owner,
                    "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
                    "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "uid",
                },
                "finalizers": {
                    "type": "array", "items": text(),
                    "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge",
                },
                "managedFields": {"type": "array", "items": manager},
            },
        });
        let mut schema = Schema::parse_built_in(&schema, &|_| None);
        schema.go_type = Some("v1.ObjectMeta".into());
        for (list, go_type) in [
            ("ownerReferences", "v1.OwnerReference"),
            ("managedFields", "v1.ManagedFieldsEntry"),
        ] {
            let items = schema.properties.get_mut(list).map(Arc::make_mut);
            if let Some(items) = items.and_then(|list| list.items.as_mut()) {
                Arc::make_mut(items).go_type = Some(go_type.into());
            }
        }
        schema
    });
    &OBJECT_META
}

/// Judges labels, annotations, owner references and finalizers of an object.
pub fn validate(object: &Value) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    if let Some(labels) = metadata["labels"].as_object() {
        causes.extend(labels.keys().flat_map(|key| key_causes("metadata.labels", key)));
        causes.extend(labels.values().filter_map(label_value_cause));
    }
    if let Some(annotations) = metadata["annotations"].as_object() {
        // Kubernetes compares the key in lower case: annotation prefixes may be written in any.
        causes.extend(
            annotations
                .keys()
                .flat_map(|key| key_causes("metadata.annotations", &key.to_lowercase())),
        );
        if bytes_of(annotations) > ANNOTATIONS_BYTES_MAX {
            causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS_BYTES_MAX));
        }
    }
    causes.extend(owner_causes(&metadata["ownerReferences"]));
    let finalizers = &metadata["finalizers"];
    for finalizer in finalizers.as_array().into_iter().flatten() {
        let name = finalizer.as_str().unwrap_or_default();
        causes.extend(key_causes("metadata.finalizers", name));
    }
    let has = |name: &str| {
        finalizers
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == name))
    };
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid("metadata.finalizers", finalizers, why));
    }
    causes
}

/// Drops empty maps and lists from `metadata`, where they mean the same as none.
pub fn drop_empty(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let is_empty = match metadata.get(field) {
            Some(Value::Object(entries)) => entries.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            _ => false,
        };
        if is_empty {
            metadata.shift_remove(field);
        }
    }
}

/// Warnings about finalizers without a domain, which may collide with those of Kubernetes itself.
pub fn finalizer_warnings(object: &Value) -> Vec<String> {
    bare_finalizers(object).map(|(_, name)| {
        format!(
            "metadata.finalizers: \"{name}\": prefer a domain-qualified finalizer name including a path (/) to avoid \
             accidental conflicts with other finalizer writers"
        )
    })
    .collect()
}

/// The same finalizers are refused in Kubernetes' own kinds.
pub fn finalizer_causes(object: &Value) -> Vec<Cause> {
    bare_finalizers(object)
        .map(|(index, name)| {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            Cause::invalid(format!("metadata.finalizers[{index}]"), Value::from(name), why)
        })
        .collect()
}

/// Finalizers without a domain that Kubernetes does not know, with their places.
fn bare_finalizers(object: &Value) -> impl Iterator<Item = (usize, &str)> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    finalizers
        .enumerate()
        .filter_map(|(index, name)| Some((index, name.as_str()?)))
        .filter(|(_, name)| !name.contains('/') && !STANDARD.contains(name))
}

/// Whether `name` is a DNS subdomain of at most 253 characters, as most objects' names must be.
pub fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && SUBDOMAIN.is_match(name)
}

/// Whether `name` is a DNS label of at most 63 characters, as names of namespaces must be.
pub fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && LABEL.is_match(name)
}

fn bytes_of(annotations: &Map<String, Value>) -> usize {
    annotations
        .iter()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

fn owner_causes(owners: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut controllers = Vec::new();
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        for name in ["apiVersion", "kind", "name", "uid"] {
            if owner[name].as_str().unwrap_or_default().is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{name}");
                causes.push(Cause::required(field, "must not be empty"));
            }
        }
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let version = text("apiVersion");
        if version.matches('/').count() > 1 {
            let field = format!("metadata.ownerReferences[{index}].apiVersion");
            causes.push(Cause::invalid(
                field,
                &owner["apiVersion"],
                "must be <group>/<version> or <version>",
            ));
        }
        if version == "v1" && text("kind") == "Event" {
            let field = format!("metadata.ownerReferences[{index}]");
            let why = "/v1, Kind=Event is disallowed from being an owner";
            causes.push(Cause::invalid(field, owner, why));
        }
        if owner["controller"] == true {
            controllers.push(format!("{}/{}", text("kind"), text("name")));
        }
    }
    if controllers.len() > 1 {
        let detail = "Only one reference can have Controller set to true. Found \"true\" in references for ";
        let detail = format!("{detail}{} and {}", controllers[0], controllers[1]);
        causes.push(Cause::invalid("metadata.ownerReferences", owners, &detail));
    }
    causes
}

/// What is wrong with the key of a label or an annotation, if anything.
pub(crate) fn key_causes(field: &str, key: &str) -> Vec<Cause> {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let value = Value::from(key);
    let invalid = |detail: &str| Cause::invalid(field, &value, detail);
    let mut causes = Vec::new();
    if prefix.is_some_and(|prefix| !is_dns_subdomain(prefix)) {
        causes.push(invalid(
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ));
    }
    if name.contains('/') {
        let detail = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                      alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                      '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
                      'example.com/MyName')";
        causes.push(invalid(detail));
        return causes;
    }
    if name.is_empty() {
        causes.push(invalid("name part must be non-empty"));
    } else if name.len() > 63 {
        causes.push(invalid("name part must be no more than 63 bytes"));
    }
    let detail = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                  alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                  '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    if !QUALIFIED_NAME.is_match(name) {
        causes.push(invalid(detail));
    }
    causes
}

/// What is wrong with the value of a label, if anything.
pub(crate) fn label_value_cause(value: &Value) -> Option<Cause> {
    let text = value.as_str()?;
    if text.len() > 63 {
        return Some(Cause::invalid(
            "metadata.labels",
            value,
            "must be no more than 63 bytes",
        ));
    }
    let detail = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                  must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
                  regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    (!LABEL_VALUE.is_match(text)).then(|| Cause::invalid("metadata.labels", value, detail))
}
