//! The way from client-side to server-side apply: `kubectl` may take over, without a conflict, what its own annotation says it applied.

use serde_json::{Map, Value};

use super::compare::{Comparison, named_fields};
use super::set::FieldSet;
use super::{Context, check};
use crate::objects;

/// The manager whose annotation this is.
pub(super) const KUBECTL: &str = "kubectl";
/// Where client-side apply keeps what was applied.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The fields that the annotation names and that still are as it says; `None` without a usable annotation.
pub(super) fn own_fields(context: &Context<'_>, live: &Value) -> Option<FieldSet> {
    let text = annotation(live)?;
    let last: Value = serde_json::from_str(text).ok()?;
    let same_version = last["apiVersion"] == context.manager.api_version.as_str();
    if !same_version || check::error(context.schema, &last).is_some() {
        return None;
    }
    let comparison = Comparison::of(context.schema, &last, live);
    Some(
        named_fields(context.schema, &last)
            .difference(&comparison.set())
            .difference(&comparison.removed),
    )
}

/// Writes what has been applied into the annotation, if the object has one.
pub(super) fn bring_up_to_date(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(Value::Object(annotations)) = config.pointer_mut("/metadata/annotations") {
        annotations.shift_remove(ANNOTATION);
        if annotations.is_empty() {
            objects::metadata_mut(&mut config).shift_remove("annotations");
        }
    }
    let text = format!("{}\n", sorted(&config));
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.insert(ANNOTATION.to_owned(), text.into());
    }
}

fn annotation(object: &Value) -> Option<&str> {
    let text = objects::metadata(object)
        .get("annotations")?
        .get(ANNOTATION)?
        .as_str()?;
    (!text.is_empty()).then_some(text)
}

/// The value with the fields of each object in the order of their names.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields: Map<String, Value> = fields
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect();
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        scalar => scalar.clone(),
    }
}
