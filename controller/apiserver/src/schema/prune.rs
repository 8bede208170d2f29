//! Pruning: fields that a structural schema does not know are removed.

use serde_json::Value;

use super::{Additional, Schema};

pub(super) fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_value(schema, object, &mut String::new(), &mut unknown);
    unknown.sort();
    unknown
}

fn prune_value(schema: &Schema, value: &mut Value, path: &mut String, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if schema.null_is_absent {
                let texts = matches!(&schema.additional, Additional::Of(entry) if entry.is_text());
                for (name, value) in fields.iter_mut() {
                    if texts && value.is_null() && !schema.properties.contains_key(name) {
                        // Go decodes it into an empty text.
                        *value = Value::from("");
                    }
                }
                fields.retain(|_, value| !value.is_null());
            }
            fields.retain(|name, value| {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                let keep = match schema.child(name) {
                    Some(child) => {
                        prune_value(child, value, path, unknown);
                        true
                    }
                    None if schema.keeps_unknown() => true,
                    None => {
                        unknown.push(path.clone());
                        false
                    }
                };
                path.truncate(length);
                keep
            });
        }
        Value::Array(items) => {
            let Some(item_schema) = &schema.items else { return };
            for (index, item) in items.iter_mut().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                prune_value(item_schema, item, path, unknown);
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
