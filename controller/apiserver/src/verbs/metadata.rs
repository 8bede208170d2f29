//! The rules for `metadata` that belong to verbs and not to kinds: who sets which field, when the generation grows, what may be named
//! how.

use jiff::Timestamp;
use rand::Rng;
use serde_json::{Map, Value, json};

use super::Call;
use crate::go::{self, decoding};
use crate::kinds::Resource;
use crate::kinds::builtin::types;
use crate::objects;
use crate::schema::metadata::{is_dns_label, is_dns_subdomain, object_meta};
use crate::status::{Cause, GroupKind, Status};

/// Letters of a generated suffix: no vowels, so that no words arise, and none that look alike.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// A name has at most this many bytes.
const MAX_NAME: usize = 253;

/// `prefix` with a random suffix, cut so that it stays a name.
pub fn generated_name(prefix: &str, random: &mut impl Rng) -> String {
    let kept = prefix.chars().take(MAX_NAME - SUFFIX_LENGTH);
    let suffix =
        (0..SUFFIX_LENGTH).map(|_| char::from(SUFFIX_LETTERS[random.random_range(0..SUFFIX_LETTERS.len())]));
    kept.chain(suffix).collect()
}

/// What is wrong with a name, if anything. Names of roles may hold colons; namespaces are a single DNS label.
pub fn name_error(resource: &Resource, name: &str) -> Option<String> {
    let core = resource.group.is_empty();
    if resource.group == "rbac.authorization.k8s.io" {
        let wrong = name.is_empty() || name == "." || name == ".." || name.contains(['/', '%']);
        return wrong.then(|| "may not be '.' or '..', nor contain '/' or '%'".to_owned());
    }
    if core && matches!(resource.plural.as_str(), "namespaces" | "services") {
        if name.contains('.') {
            return Some("must not contain dots".to_owned());
        }
        let right = name.len() <= 63 && is_dns_label(name);
        return (!right).then(|| {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
             alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned()
        });
    }
    if name.len() > MAX_NAME {
        return Some(format!("must be no more than {MAX_NAME} bytes"));
    }
    // Those of a signer begin with its name, with colons for slashes.
    let is_bundle = resource.plural == "clustertrustbundles";
    let right = match name.split_once(':') {
        Some(_) if is_bundle => name.split(':').all(is_dns_subdomain),
        _ => is_dns_subdomain(name),
    };
    (!right).then(|| {
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
         alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .to_owned()
    })
}

/// Now, as metadata writes times: to the second, in UTC.
pub fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Checks that a body is an object of the call's kind and brings its type and place in order.
///
/// # Errors
/// 400 when it is something else, or belongs elsewhere.
pub fn check_body(call: &Call, object: &mut Value) -> Result<(), Status> {
    if object.is_null() && !call.resource.is_custom() {
        *object = Value::Object(Map::new());
    }
    let resource = &call.resource;
    let Value::Object(fields) = object else {
        return Err(Status::bad_request("the body of the request must be an object"));
    };
    let version = resource.api_version();
    let said = |field: &str| match fields.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    check_type(resource, &said("apiVersion"), &said("kind"), fields)?;
    put_first(fields, "kind", resource.kind.as_str());
    put_first(fields, "apiVersion", &version);
    if !matches!(
        fields.get("metadata"),
        None | Some(Value::Null | Value::Object(_))
    ) {
        return Err(Status::bad_request("metadata must be an object"));
    }
    let namespace = objects::namespace(object);
    if !namespace.is_empty() && namespace != call.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why));
    }
    let metadata = objects::metadata_mut(object);
    if resource.namespaced {
        metadata.insert("namespace".into(), call.namespace.clone().into());
    } else {
        metadata.shift_remove("namespace");
    }
    metadata.shift_remove("selfLink");
    Ok(())
}

/// Checks that the metadata of a body can be decoded; its values decide what comes next.
///
/// # Errors
/// 400, in Go's words.
pub fn check_metadata(resource: &Resource, object: &Value) -> Result<(), Status> {
    let Some(metadata) = object.get("metadata").filter(|metadata| !metadata.is_null()) else {
        return Ok(());
    };
    let why = if !resource.is_custom() {
        let schema = resource.schema.as_deref();
        let alone = json!({ "metadata": metadata });
        schema.and_then(|schema| decoding::error(schema, &resource.kind, &alone))
    } else if metadata.is_object() {
        decoding::error(object_meta(), "ObjectMeta", metadata)
    } else {
        let found = go::type_name(metadata);
        Some(format!(
            "json: cannot unmarshal {found} into Go value of type v1.ObjectMeta"
        ))
    };
    let Some(why) = why else { return Ok(()) };
    let (kind, version) = (&resource.kind, &resource.version);
    Err(Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
    )))
}

/// Checks that a body is about the object that the path names.
///
/// # Errors
/// 400 when it is not.
pub fn check_name(object: &Value, name: &str) -> Result<(), Status> {
    match objects::name(object) {
        found if found == name => Ok(()),
        "" => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        found => Err(Status::bad_request(format!(
            "the name of the object ({found}) does not match the name on the URL ({name})"
        ))),
    }
}

/// Upstream's name for its register of kinds, which its messages mention.
pub(super) const SCHEME: &str = "pkg/runtime/scheme.go:111";

/// Checks the type that a body gives itself; what it leaves out is taken to be right.
fn check_type(
    resource: &Resource,
    api_version: &str,
    kind: &str,
    fields: &Map<String, Value>,
) -> Result<(), Status> {
    let expected = resource.api_version();
    let api_version = if api_version.is_empty() && !resource.is_custom() {
        &expected
    } else {
        api_version
    };
    let kind = if kind.is_empty() { &resource.kind } else { kind };
    if api_version == expected && kind == resource.kind {
        return Ok(());
    }
    if resource.is_custom() {
        return Err(other_custom_type(resource, api_version, kind, fields));
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let why = other_type(resource, api_version, kind);
    Err(Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {}: {why}",
        resource.kind
    )))
}

/// Why an object of another type cannot be one of this built-in kind.
fn other_type(resource: &Resource, api_version: &str, kind: &str) -> String {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    if types::component_name(api_version, kind).is_some() {
        let (package, own) = (resource.go_package(), &resource.kind);
        format!("converting ({version}.{kind}) to ({package}.{own}): unknown conversion")
    } else {
        format!("no kind {kind:?} is registered for version {api_version:?} in scheme {SCHEME:?}")
    }
}

/// Why a patched object of a built-in kind is none any more, if a patch changed its type.
pub fn foreign_type(resource: &Resource, object: &Value) -> Option<String> {
    let said = |field: &str| object.get(field).and_then(Value::as_str);
    let api_version = said("apiVersion").unwrap_or_default();
    let kind = said("kind").unwrap_or_default();
    let is_foreign = (!api_version.is_empty() && api_version != resource.api_version())
        || (!kind.is_empty() && kind != resource.kind);
    (is_foreign && !resource.is_custom()).then(|| other_type(resource, api_version, kind))
}

fn other_custom_type(
    resource: &Resource,
    api_version: &str,
    kind: &str,
    fields: &Map<String, Value>,
) -> Status {
    let expected = resource.api_version();
    if api_version != expected {
        return Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        ));
    }
    let cause = Cause::invalid("kind", Value::from(kind), &format!("must be {}", resource.kind));
    let found = GroupKind {
        group: resource.group.clone(),
        kind: kind.to_owned(),
    };
    let name = fields.get("metadata").and_then(|metadata| metadata.get("name"));
    Status::invalid(
        &found,
        name.and_then(Value::as_str).unwrap_or_default(),
        vec![cause],
    )
}

fn put_first(fields: &mut Map<String, Value>, field: &str, text: &str) {
    fields.shift_remove(field);
    fields.shift_insert(0, field.to_owned(), text.into());
}

/// Fills in what the server decides about a new object, whose name is settled.
pub fn begin(resource: &Resource, object: &mut Value, uid: String, now: Timestamp) {
    if resource.subresources.status
        && let Value::Object(fields) = object
    {
        fields.shift_remove("status");
    }
    let counts_generations = counts_generations(resource);
    let metadata = objects::metadata_mut(object);
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.shift_remove(field);
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), timestamp(now).into());
    if counts_generations {
        metadata.insert("generation".into(), 1.into());
    }
}

/// Built-in kinds that count generations upstream: nearly all with a controller behind them, and hardly any of the core group.
fn counts_generations(resource: &Resource) -> bool {
    if resource.is_custom() {
        return true;
    }
    match resource.group.as_str() {
        "" => matches!(
            resource.kind.as_str(),
            "Pod" | "PodTemplate" | "ReplicationController"
        ),
        "apps" => resource.kind != "ControllerRevision",
        "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "autoscaling"
        | "batch"
        | "discovery.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "networking.k8s.io"
        | "policy"
        | "scheduling.k8s.io" => true,
        _ => false,
    }
}

/// Carries over from the old object what an update cannot change.
pub fn carry_over(new: &mut Value, old: &Value) {
    const FIXED: &[&str] = &[
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    let before = objects::metadata(old);
    let metadata = objects::metadata_mut(new);
    for field in FIXED {
        match before.get(field) {
            Some(value) => drop(metadata.insert((*field).to_owned(), value.clone())),
            None => drop(metadata.shift_remove(*field)),
        }
    }
    metadata.shift_remove("managedFields");
    metadata.shift_remove("selfLink");
}

/// What is wrong with a deletion that an update asks for, if it does: only DELETE begins one.
pub fn deletion_error(new: &Value, old: &Value) -> Option<Cause> {
    let asked = &new["metadata"]["deletionTimestamp"];
    let begins = !asked.is_null() && !objects::is_terminating(old);
    begins.then(|| Cause::invalid("metadata.deletionTimestamp", asked, "field is immutable"))
}

/// What is wrong with the change of finalizers, if anything: none may be added once deletion has begun.
pub fn finalizers_error(new: &Value, old: &Value) -> Option<Cause> {
    if !objects::is_terminating(old) {
        return None;
    }
    let before = objects::finalizers(old);
    let added: Vec<String> = objects::finalizers(new)
        .into_iter()
        .filter(|one| !before.contains(one))
        .map(|one| format!("{one:?}"))
        .collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    (!added.is_empty()).then(|| Cause::forbidden("metadata.finalizers", &why))
}

/// Counts the generation up if the update changed what the user wants: anything but metadata, and but the status where that is a
/// subresource.
pub fn count_generation(resource: &Resource, new: &mut Value, old: &Value) {
    if counts_generations(resource) && !equal_intent(resource, new, old) {
        next_generation(new, old);
    }
}

/// Counts the generation up if the object has one.
pub fn next_generation(new: &mut Value, old: &Value) {
    let generation = objects::generation(old);
    if generation > 0 {
        objects::metadata_mut(new).insert("generation".into(), (generation + 1).into());
    }
}

fn equal_intent(resource: &Resource, new: &Value, old: &Value) -> bool {
    let (Value::Object(new), Value::Object(old)) = (new, old) else {
        return false;
    };
    let counts = |key: &str| key != "metadata" && !(key == "status" && resource.subresources.status);
    let of = |fields: &Map<String, Value>| fields.iter().filter(|(key, _)| counts(key)).count();
    of(new) == of(old)
        && new
            .iter()
            .filter(|(key, _)| counts(key))
            .all(|(key, value)| old.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use serde_json::json;

    #[test]
    fn a_generated_name_keeps_its_prefix_and_stays_a_name() {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let name = generated_name("web-", &mut random);
        assert!(
            name.starts_with("web-") && name.len() == 9 && is_dns_subdomain(&name),
            "{name}"
        );
        assert_eq!(generated_name(&"x".repeat(300), &mut random).len(), MAX_NAME);
    }

    #[test]
    fn finalizers_may_only_go_once_deletion_has_begun() {
        let old =
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a", "b"]}});
        let fewer = json!({"metadata": {"finalizers": ["b"]}});
        assert_eq!(finalizers_error(&fewer, &old), None);
        let more = json!({"metadata": {"finalizers": ["a", "c"]}});
        let cause = finalizers_error(&more, &old).expect("c is new");
        assert_eq!(
            cause.message,
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c\"}"
        );
        assert_eq!(finalizers_error(&more, &json!({})), None);
    }
}
