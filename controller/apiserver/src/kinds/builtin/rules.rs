//! Rules of single built-in kinds that a schema cannot say, and the few fields that are rewritten before they are kept.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::{access, defaults, workloads};
use crate::kinds::{Operation, Resource};
use crate::signing;
use crate::status::Cause;

/// A ConfigMap's or Secret's data may have this many bytes together, as in Kubernetes: 1 MiB.
const DATA_BYTES_MAX: usize = 1024 * 1024;

/// Brings what a client wrote into the form that is kept.
pub(in crate::kinds) fn normalise(
    resource: &Resource,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
) {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Secret") => {
            fold_string_data(object);
            set_default(object, "type", json!("Opaque"));
        }
        ("", "Namespace") => {
            name_namespace_in_labels(object);
            if operation == Operation::Create {
                begin_namespace(object);
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            crate::kinds::definition::fill_defaults(object);
            if operation == Operation::Update {
                crate::kinds::definition::remember_stored_version(object);
            }
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => access::fill_defaults(object),
        _ => {}
    }
    if !resource.is_custom() {
        defaults::fill(resource, object);
        if resource.group == "apps" && resource.kind == "DaemonSet" {
            defaults::count_templates(object, old);
        }
        if operation == Operation::Create {
            defaults::begin(resource, object);
        }
    }
}

/// Adds what upstream writes into a new object as null.
pub(crate) fn complete(resource: &Resource, object: &mut Value) {
    if resource.group == "apiextensions.k8s.io"
        && resource.kind == "CustomResourceDefinition"
        && let Some(status) = object.get_mut("status").and_then(Value::as_object_mut)
    {
        status.entry("conditions").or_insert(Value::Null);
    }
}

/// What the schema of a built-in kind cannot say.
pub(in crate::kinds) fn validate(
    resource: &Resource,
    operation: Operation,
    object: &Value,
    old: Option<&Value>,
) -> Vec<Cause> {
    if resource.is_custom() {
        return Vec::new();
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "ConfigMap") => validate_config_map(object, old),
        ("", "Secret") => validate_secret(object, old),
        ("coordination.k8s.io", "Lease") => validate_lease(object),
        (signing::GROUP, signing::KIND) if operation == Operation::Create => signing::validate(object),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => access::validate_role(object),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            crate::admission::policy::validate(object)
        }
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet") => workloads::validate(object),
        ("", "Pod") => workloads::validate_pod(object),
        ("batch", "Job") => workloads::validate_job(&object["spec"], "spec"),
        ("batch", "CronJob") => workloads::validate_cron_job(object),
        ("apiregistration.k8s.io", _) if !object["spec"]["service"].is_null() => {
            let why = "requests are not passed on to other API servers here";
            vec![Cause::forbidden("spec.service", why)]
        }
        ("rbac.authorization.k8s.io", _) => access::validate_binding(object, old),
        ("apiextensions.k8s.io", "CustomResourceDefinition") if operation != Operation::UpdateStatus => {
            crate::kinds::definition::validate(object, old)
        }
        _ => Vec::new(),
    }
}

/// `stringData` is for writing only: its entries go into `data`, in base64, over what is there.
fn fold_string_data(secret: &mut Value) {
    let Some(Value::Object(texts)) = secret
        .as_object_mut()
        .and_then(|fields| fields.shift_remove("stringData"))
    else {
        return;
    };
    let Some(fields) = secret.as_object_mut() else {
        return;
    };
    let data = fields.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    let Some(data) = data.as_object_mut() else { return };
    for (key, text) in texts {
        let encoded = match text {
            Value::String(text) => Value::from(BASE64.encode(text)),
            other => other, // Left for the schema to refuse.
        };
        data.insert(key, encoded);
    }
}

/// Selectors of namespaces find each by this label.
fn name_namespace_in_labels(namespace: &mut Value) {
    let Some(metadata) = namespace.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(name) = metadata.get("name").and_then(Value::as_str).map(str::to_owned) else {
        return;
    };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert("kubernetes.io/metadata.name".to_owned(), Value::from(name));
    }
}

/// A new namespace is active, and will not go before it is empty.
fn begin_namespace(namespace: &mut Value) {
    let Some(fields) = namespace.as_object_mut() else {
        return;
    };
    fields.insert("spec".to_owned(), json!({"finalizers": ["kubernetes"]}));
    fields.insert("status".to_owned(), json!({"phase": "Active"}));
}

fn set_default(object: &mut Value, field: &str, value: Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    let entry = fields.entry(field).or_insert(Value::Null);
    if entry.is_null() || *entry == "" {
        *entry = value;
    }
}

fn validate_config_map(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = immutable_causes(object, old, &["data", "binaryData"]);
    let mut bytes = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            causes.extend(data_key_causes(field, key));
            if field == "data" && object["binaryData"].get(key).is_some() {
                let detail = "duplicate of key present in binaryData";
                causes.push(Cause::invalid(format!("data[{key}]"), json!(key), detail));
            }
            let text = value.as_str().unwrap_or_default();
            bytes += if field == "data" {
                text.len()
            } else {
                decoded_bytes(text)
            };
        }
    }
    if bytes > DATA_BYTES_MAX {
        causes.push(Cause::too_long("", DATA_BYTES_MAX));
    }
    causes
}

fn validate_secret(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = immutable_causes(object, old, &["data"]);
    if let Some(old) = old
        && old["type"] != object["type"]
    {
        causes.push(Cause::invalid("type", &object["type"], "field is immutable"));
    }
    let mut bytes = 0;
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        causes.extend(data_key_causes("data", key));
        bytes += value.as_str().map_or(0, decoded_bytes);
    }
    if bytes > DATA_BYTES_MAX {
        causes.push(Cause::too_long("data", DATA_BYTES_MAX));
    }
    let needed: &[&str] = match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    let absent = needed.iter().filter(|key| object["data"].get(**key).is_none());
    causes.extend(absent.map(|key| Cause::required(format!("data[{key}]"), "")));
    causes
}

fn validate_lease(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    if spec["leaseDurationSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds <= 0)
    {
        let detail = "must be greater than 0";
        causes.push(Cause::invalid(
            "spec.leaseDurationSeconds",
            &spec["leaseDurationSeconds"],
            detail,
        ));
    }
    if spec["leaseTransitions"].as_i64().is_some_and(|count| count < 0) {
        let detail = "must be greater than or equal to 0";
        causes.push(Cause::invalid(
            "spec.leaseTransitions",
            &spec["leaseTransitions"],
            detail,
        ));
    }
    causes
}

fn immutable_causes(object: &Value, old: Option<&Value>, fields: &[&str]) -> Vec<Cause> {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return Vec::new();
    };
    let mut causes = Vec::new();
    if object["immutable"] != true {
        causes.push(Cause::forbidden(
            "immutable",
            "field is immutable when `immutable` is set",
        ));
    }
    for field in fields.iter().filter(|field| object[**field] != old[**field]) {
        causes.push(Cause::forbidden(
            *field,
            "field is immutable when `immutable` is set",
        ));
    }
    causes
}

/// How many bytes a text in base64 stands for.
fn decoded_bytes(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

fn data_key_causes(field: &str, key: &str) -> Vec<Cause> {
    let mut wrong = Vec::new();
    if key.len() > 253 {
        wrong.push("must be no more than 253 bytes");
    }
    let is_right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.is_empty() || !key.chars().all(is_right) {
        wrong.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
             'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        );
    }
    match key {
        "." => wrong.push("must not be '.'"),
        ".." => wrong.push("must not be '..'"),
        _ if key.starts_with("..") => wrong.push("must not start with '..'"),
        _ => {}
    }
    let place = format!("{field}[{key}]");
    let causes = wrong.into_iter();
    causes
        .map(|why| Cause::invalid(place.clone(), json!(key), why))
        .collect()
}
