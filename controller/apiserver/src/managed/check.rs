//! Whether what is applied fits the schema: only then can it be said which fields it names.

use std::collections::BTreeSet;

use serde_json::Value;

use super::path::Step;
use super::typed::{Shape, entry_schema, item_step, shape};
use crate::go::printed;
use crate::schema::{Schema, ValueType};

/// What is wrong with a configuration, in Kubernetes' words; `None` when nothing is.
pub fn error(schema: &Schema, config: &Value) -> Option<String> {
    let mut errors = Vec::new();
    node(schema, config, &mut String::new(), &mut errors);
    match errors.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(format!("errors:\n  {}", several.join("\n  "))),
    }
}

fn complain(path: &str, what: &str, errors: &mut Vec<String>) {
    errors.push(if path.is_empty() {
        what.to_owned()
    } else {
        format!("{path}: {what}")
    });
}

fn node(schema: &Schema, value: &Value, path: &mut String, errors: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    if let Some(expected) = type_error(schema, value) {
        complain(path, &expected, errors);
        return;
    }
    match (shape(schema, value), value) {
        (_, Value::Object(fields)) => {
            for (name, value) in fields {
                let length = path.len();
                path.push_str(&Step::field(name).to_string());
                match entry_schema(schema, name) {
                    Some(child) => node(child, value, path, errors),
                    None => complain(path, "field not declared in schema", errors),
                }
                path.truncate(length);
            }
        }
        (shape, Value::Array(items)) => list(shape, schema, items, path, errors),
        _ => {}
    }
}

fn list(shape: Shape<'_>, schema: &Schema, items: &[Value], path: &mut String, errors: &mut Vec<String>) {
    let Some(item_schema) = schema.items.as_deref() else {
        return; // Anything may stand in a list that has no schema.
    };
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let step = match shape {
            Shape::List { keys, items } => match item_step(keys, items, item) {
                Ok(step) => {
                    if !seen.insert(step.clone()) {
                        complain(path, &format!("duplicate entries for key {step}"), errors);
                    }
                    step
                }
                Err(why) => {
                    complain(path, &format!("element {index}: {why}"), errors);
                    continue;
                }
            },
            _ => Step::Index(index as u64),
        };
        let length = path.len();
        path.push_str(&step.to_string());
        node(item_schema, item, path, errors);
        path.truncate(length);
    }
}

/// Kubernetes' words for a value of the wrong type; `None` when it has the right one.
fn type_error(schema: &Schema, value: &Value) -> Option<String> {
    Some(match (schema.value_type?, value) {
        (ValueType::Object, Value::Object(_))
        | (ValueType::Array, Value::Array(_))
        | (ValueType::String, Value::String(_))
        | (ValueType::Integer | ValueType::Number, Value::Number(_))
        | (ValueType::Boolean, Value::Bool(_)) => return None,
        (ValueType::Object, other) => format!("expected map, got &{{{}}}", printed(other)),
        (ValueType::Array, other) => format!("expected list, got &{{{}}}", printed(other)),
        (ValueType::String, other) => {
            format!("expected string, got &value.valueUnstructured{{Value:{other}}}")
        }
        (ValueType::Integer | ValueType::Number, other) => {
            format!("expected numeric (int or float), got {}", type_name(other))
        }
        (ValueType::Boolean, other) => format!("expected boolean, got &{{{}}}", printed(other)),
    })
}

/// What Kubernetes calls the type of a value in these messages.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_is_told_with_its_path() {
        let schema = Schema::parse(&json!({
            "type": "object",
            "properties": {
                "spec": {"type": "object", "properties": {
                    "replicas": {"type": "integer"},
                    "name": {"type": "string"},
                    "ports": {
                        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                        "items": {"type": "object", "properties": {"port": {"type": "integer"}}},
                    },
                    "anything": {"x-kubernetes-preserve-unknown-fields": true},
                }},
            },
        }));
        for (config, expected) in [
            (
                json!({"spec": {"replicas": 1, "anything": {"x": [1, {"y": null}]}}}),
                None,
            ),
            (
                json!({"spec": {"qq": 1}}),
                Some(".spec.qq: field not declared in schema"),
            ),
            (
                json!({"spec": {"replicas": "1"}}),
                Some(".spec.replicas: expected numeric (int or float), got string"),
            ),
            (
                json!({"spec": {"name": 1}}),
                Some(".spec.name: expected string, got &value.valueUnstructured{Value:1}"),
            ),
            (json!({"spec": "x"}), Some(".spec: expected map, got &{x}")),
            (
                json!({"spec": {"ports": {"port": 1}}}),
                Some(".spec.ports: expected list, got &{map[port:1]}"),
            ),
            (
                json!({"spec": {"ports": [{"port": 1}, {"port": 1}]}}),
                Some(".spec.ports: duplicate entries for key [port=1]"),
            ),
            (
                json!({"spec": {"ports": [{}]}}),
                Some(
                    ".spec.ports: element 0: associative list with keys has an element that omits all key fields [\"port\"] \
                     (and doesn't have default values for any key fields)",
                ),
            ),
            (
                json!({"spec": {"replicas": "1"}, "x": 1}),
                Some(
                    "errors:\n  .spec.replicas: expected numeric (int or float), got string\n  .x: field not declared in schema",
                ),
            ),
        ] {
            assert_eq!(error(&schema, &config).as_deref(), expected, "{config}");
        }
    }
}
