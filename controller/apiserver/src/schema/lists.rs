//! Uniqueness in lists of type `set` and `map`.

use serde_json::{Map, Value};

use super::path::Path;
use super::{ListType, Schema};
use crate::status::Cause;

/// One cause for each item that repeats an earlier one. Kinds that are decoded into structs tolerate it, as in Kubernetes.
pub(super) fn duplicates(schema: &Schema, items: &[Value], path: &Path<'_>) -> Vec<Cause> {
    if schema.null_is_absent {
        return Vec::new();
    }
    let identity: Box<dyn Fn(&Value) -> Value> = match &schema.list_type {
        ListType::Atomic => return Vec::new(),
        ListType::Set => Box::new(Value::clone),
        ListType::Map(keys) => Box::new(|item| key_of(schema, keys, item)),
    };
    let identities: Vec<Value> = items.iter().map(identity).collect();
    let mut seen = std::collections::HashSet::new();
    let mut reported = std::collections::HashSet::new();
    let mut causes = Vec::new();
    for (index, identity) in identities.iter().enumerate() {
        let text = canonical(identity);
        if !seen.insert(text.clone()) && reported.insert(text) {
            causes.push(Cause::duplicate(path.index(index).to_string(), identity));
        }
    }
    causes
}

fn key_of(schema: &Schema, keys: &[String], item: &Value) -> Value {
    let defaults = |key: &str| schema.items.as_ref()?.properties.get(key)?.default.clone();
    let mut names: Vec<&String> = keys.iter().collect();
    names.sort();
    let entry = names.into_iter().filter_map(|key| {
        let value = item.get(key).cloned().or_else(|| defaults(key))?;
        Some((key.clone(), value))
    });
    Value::Object(entry.collect::<Map<_, _>>())
}

/// Text that is equal for equal values, whatever the order of their fields.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut entries: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name:?}:{}", canonical(value)))
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}
