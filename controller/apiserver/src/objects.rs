//! Reading and writing the metadata of an object that is a JSON value. Missing and wrongly typed fields read as empty; that metadata
//! has the right types is checked where bodies come in ([`crate::verbs::metadata`]).

use serde_json::{Map, Value};

/// What a missing object reads as.
static NOTHING: Value = Value::Null;

/// A text of the metadata, such as `name` or `uid`; empty when absent.
pub fn metadata_text<'a>(object: &'a Value, field: &str) -> &'a str {
    metadata(object)
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The metadata; null when absent.
pub fn metadata(object: &Value) -> &Value {
    object.get("metadata").unwrap_or(&NOTHING)
}

/// The metadata, made if it is absent or no object.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    as_map(
        as_map(object)
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new())),
    )
}

/// The object's fields; a value that is no object becomes one.
fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made an object")
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    metadata_text(object, "name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    metadata_text(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    metadata_text(object, "uid")
}

/// `metadata.resourceVersion` as it stands.
pub fn resource_version(object: &Value) -> &str {
    metadata_text(object, "resourceVersion")
}

/// Sets `metadata.resourceVersion` from a revision.
pub fn set_resource_version(object: &mut Value, revision: u64) {
    metadata_mut(object).insert("resourceVersion".into(), revision.to_string().into());
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    let list = metadata(object).get("finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Sets `metadata.finalizers`; none means that the field goes.
pub fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    let metadata = metadata_mut(object);
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
}

/// Whether deletion has been asked for and waits for finalizers.
pub fn is_terminating(object: &Value) -> bool {
    metadata(object)
        .get("deletionTimestamp")
        .is_some_and(|time| !time.is_null())
}

/// `metadata.generation`; 0 when the kind counts none.
pub fn generation(object: &Value) -> i64 {
    metadata(object)
        .get("generation")
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// A label's value.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    metadata(object).get("labels")?.get(key)?.as_str()
}

/// How deeply an object may be nested. JSON is read to 128 levels, here and by most clients; lists and `managedFields` add a few.
pub const DEPTH_MAX: usize = 100;

/// Objects and lists inside one another, the value itself counted.
pub fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    1 + below.unwrap_or(0)
}
