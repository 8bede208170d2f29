//! What Go's decoder says of a value that does not fit the type that it is decoded into.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Number, Value};

use super::type_name;
use crate::schema::{Additional, Schema, ValueType};

/// The type of quantities, which are read by rules of their own.
const QUANTITY: &str = "resource.Quantity";

/// What a quantity looks like, as its parser says it.
const QUANTITY_PATTERN: &str = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";
static QUANTITY_REGEX: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(QUANTITY_PATTERN).expect("a constant pattern"));

/// What is said of the first value of `object`, a `kind`, that does not fit; `None` when all do.
pub fn error(schema: &Schema, kind: &str, object: &Value) -> Option<String> {
    Place { path: Vec::new() }.node(schema, kind, object)
}

/// Turns numbers into texts where quantities stand: the decoder takes both.
pub fn settle(schema: &Schema, value: &mut Value) {
    match value {
        Value::Number(number) if schema.go_type.as_deref() == Some(QUANTITY) => {
            *value = number.to_string().into()
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if let Some(child) = schema.child(name) {
                    settle(child, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| settle(schema, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Where the decoder is: the fields on the way there. Entries of maps and lists are no fields.
struct Place<'a> {
    path: Vec<&'a str>,
}

impl<'a> Place<'a> {
    /// Judges a value that stands in the struct `owner`.
    fn node(&mut self, schema: &'a Schema, owner: &'a str, value: &Value) -> Option<String> {
        if let Some(why) = self.mismatch(schema, owner, value) {
            return Some(why);
        }
        match value {
            Value::Object(fields) => fields.iter().find_map(|(name, value)| {
                match (schema.properties.get_key_value(name), &schema.additional) {
                    (Some((name, child)), _) => {
                        let owner = schema.go_type.as_deref().map_or(owner, plain_name);
                        self.path.push(name);
                        let found = self.node(child, owner, value);
                        self.path.pop();
                        found
                    }
                    (None, Additional::Of(values)) => self.node(values, owner, value),
                    (None, Additional::None | Additional::Any) => None,
                }
            }),
            Value::Array(items) => {
                let schema = schema.items.as_deref()?;
                items.iter().find_map(|item| self.node(schema, owner, item))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    fn mismatch(&self, schema: &Schema, owner: &str, value: &Value) -> Option<String> {
        if value.is_null() {
            return None;
        }
        if schema.int_or_string {
            return self.number_or_text(schema, owner, value);
        }
        match (schema.value_type?, value) {
            (ValueType::Object, Value::Object(_))
            | (ValueType::Array, Value::Array(_))
            | (ValueType::Boolean, Value::Bool(_))
            | (ValueType::Number, Value::Number(_)) => None,
            (ValueType::Integer, Value::Number(number)) if fits(schema, number) => None,
            (ValueType::Integer, Value::Number(number)) => {
                Some(self.unfit(owner, &format!("number {number}"), &go_type(schema)))
            }
            (ValueType::String, value) => self.text(schema, owner, value),
            (_, value) => Some(self.unfit(owner, type_name(value), &go_type(schema))),
        }
    }

    fn number_or_text(&self, schema: &Schema, owner: &str, value: &Value) -> Option<String> {
        match (schema.go_type.as_deref(), value) {
            (Some(QUANTITY), Value::String(text)) if QUANTITY_REGEX.is_match(text) => None,
            (Some(QUANTITY), Value::Number(_)) => None,
            (Some(QUANTITY), _) => Some(format!(
                "quantities must match the regular expression '{QUANTITY_PATTERN}'"
            )),
            (_, Value::Number(number)) if !number.is_f64() => None,
            (_, Value::String(_)) => None,
            (_, value) => Some(self.unfit(owner, type_name(value), "int32")),
        }
    }

    fn text(&self, schema: &Schema, owner: &str, value: &Value) -> Option<String> {
        match (schema.checks.format.as_deref(), value) {
            (Some("byte"), Value::String(text)) => base64_error(text),
            (Some("byte"), _) => Some(self.unfit(owner, type_name(value), "[]uint8")),
            (Some("date-time"), Value::String(text)) => time_error(text),
            (_, Value::String(_)) => None,
            _ => Some(self.unfit(owner, type_name(value), "string")),
        }
    }

    fn unfit(&self, owner: &str, found: &str, wanted: &str) -> String {
        let path = self.path.join(".");
        format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}")
    }
}

/// Whether a whole number fits its type.
fn fits(schema: &Schema, number: &Number) -> bool {
    match schema.checks.format.as_deref() {
        Some("int32") => number
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        _ => number.is_i64(),
    }
}

/// The name of a type without its package.
fn plain_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The Go type of a node, such as `[]v1.Container` or `map[string]string`.
fn go_type(schema: &Schema) -> String {
    if let Some(name) = &schema.go_type {
        return name.to_string();
    }
    match schema.value_type {
        Some(ValueType::Boolean) => "bool".to_owned(),
        Some(ValueType::Integer) => schema.checks.format.clone().unwrap_or_else(|| "int64".to_owned()),
        Some(ValueType::Number) => "float64".to_owned(),
        Some(ValueType::String) => "string".to_owned(),
        Some(ValueType::Array) => {
            let of = schema
                .items
                .as_deref()
                .map_or_else(|| "interface {}".to_owned(), go_type);
            format!("[]{of}")
        }
        Some(ValueType::Object) | None => match &schema.additional {
            Additional::Of(values) => format!("map[string]{}", go_type(values)),
            Additional::None | Additional::Any => "map[string]interface {}".to_owned(),
        },
    }
}

fn base64_error(text: &str) -> Option<String> {
    use base64::Engine;
    if base64::engine::general_purpose::STANDARD
        .decode(text.replace(['\n', '\r'], ""))
        .is_ok()
    {
        return None;
    }
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte);
    let place = text.bytes().position(|byte| !valid(&byte)).unwrap_or(text.len());
    Some(format!("illegal base64 data at input byte {place}"))
}

fn time_error(text: &str) -> Option<String> {
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    if text.is_empty() || text.parse::<jiff::Timestamp>().is_ok() {
        return None;
    }
    // The first part of the layout that the text does not have.
    let (mut rest, mut missing) = (text, "Z07:00");
    for part in ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"] {
        let is_number = part.starts_with(|first: char| first.is_ascii_digit());
        let there = rest.get(..part.len()).is_some_and(|found| {
            if is_number {
                found.bytes().all(|byte| byte.is_ascii_digit())
            } else {
                found == part
            }
        });
        if !there {
            missing = part;
            break;
        }
        rest = &rest[part.len()..];
    }
    Some(format!(
        "parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {missing:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::builtin::types;
    use serde_json::json;

    /// What kube-apiserver 1.37 answers to the same objects.
    #[test]
    fn errors_are_those_of_go() {
        let schema = types::schema_of("apps/v1", "Deployment").expect("a built-in kind");
        let container = |fields: Value| json!({"spec": {"template": {"spec": {"containers": [fields]}}}});
        let json_error = |text: &str| format!("json: cannot unmarshal {text}");
        for (object, expected) in [
            (
                json!({"spec": {"replicas": "a"}}),
                json_error("string into Go struct field DeploymentSpec.spec.replicas of type int32"),
            ),
            (
                json!({"spec": {"replicas": 1.5}}),
                json_error("number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
            ),
            (
                json!({"spec": {"replicas": 99_999_999_999_i64}}),
                json_error(
                    "number 99999999999 into Go struct field DeploymentSpec.spec.replicas of type int32",
                ),
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                json_error(
                    "object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
                ),
            ),
            (
                container(json!("x")),
                json_error(
                    "string into Go struct field PodSpec.spec.template.spec.containers of type v1.Container",
                ),
            ),
            (
                container(json!({"image": 1})),
                json_error(
                    "number into Go struct field Container.spec.template.spec.containers.image of type string",
                ),
            ),
            (
                container(json!({"command": [1]})),
                json_error(
                    "number into Go struct field Container.spec.template.spec.containers.command of type string",
                ),
            ),
            (
                json!({"metadata": {"labels": []}}),
                json_error("array into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                json_error("number into Go struct field ObjectMeta.metadata.labels of type string"),
            ),
            (
                json!({"metadata": {"ownerReferences": ["x"]}}),
                json_error(
                    "string into Go struct field ObjectMeta.metadata.ownerReferences of type v1.OwnerReference",
                ),
            ),
            (
                json!({"metadata": "x"}),
                json_error("string into Go struct field Deployment.metadata of type v1.ObjectMeta"),
            ),
            (
                json!({"spec": []}),
                json_error("array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
            ),
            (
                json!({"spec": {"paused": "x"}}),
                json_error("string into Go struct field DeploymentSpec.spec.paused of type bool"),
            ),
            (
                json!({"metadata": {"creationTimestamp": "x"}}),
                r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#.to_owned(),
            ),
            (
                container(json!({"resources": {"limits": {"cpu": "x"}}})),
                format!("quantities must match the regular expression '{QUANTITY_PATTERN}'"),
            ),
        ] {
            assert_eq!(error(&schema, "Deployment", &object), Some(expected), "{object}");
        }
        let fits = container(
            json!({"resources": {"limits": {"cpu": 1}}, "livenessProbe": {"httpGet": {"port": "http"}}}),
        );
        assert_eq!(error(&schema, "Deployment", &fits), None);
        let mut settled = fits.clone();
        settle(&schema, &mut settled);
        let limits = "/spec/template/spec/containers/0/resources/limits/cpu";
        assert_eq!(settled.pointer(limits), Some(&json!("1")));
    }
}
