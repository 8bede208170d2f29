//! Defaults: an absent field takes its schema's `default`; so does a null where null is not a value. Without a default such a null is
//! taken away.

use serde_json::Value;

use super::Schema;

pub(super) fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let member = schema.child(name);
                !value.is_null() || member.is_none_or(|member| member.nullable || member.default.is_some())
            });
            for (name, child) in &schema.properties {
                let Some(default) = &child.default else { continue };
                let absent = match fields.get(name) {
                    None => true,
                    Some(Value::Null) => child.null_gives_way_to_default(),
                    Some(_) => false,
                };
                if absent {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(member) = schema.child(name) {
                    fill_member(member, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(item_schema) = &schema.items else { return };
            for item in items {
                fill_member(item_schema, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill_member(schema: &Schema, value: &mut Value) {
    if let (Value::Null, Some(default), false) = (&value, &schema.default, schema.nullable) {
        *value = default.clone();
    }
    fill(schema, value);
}
