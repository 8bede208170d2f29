//! Validation of a value against a structural schema, without CEL, in the words of Kubernetes.
//!
//! A value that equals its stored counterpart is tolerated whatever the schema says now (ratcheting), so that a schema
//! can be tightened while old objects stay editable.

use serde_json::Value;

use super::path::Path;
use super::{Additional, Checks, Schema, ValueType, compare, formats, lists};
use crate::status::Cause;

pub(super) fn validate(schema: &Schema, value: &Value, old: Option<&Value>, path: &Path<'_>) -> Vec<Cause> {
    if old == Some(value) {
        return Vec::new();
    }
    if value.is_null() && schema.nullable {
        return Vec::new();
    }
    if let Some(cause) = type_mismatch(schema, value, path) {
        return vec![cause]; // Further checks of a value of the wrong type would only repeat it.
    }
    let mut causes = check_value(&schema.checks, value, path);
    causes.extend(check_branches(&schema.checks, value, path));
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let old_field = old.and_then(|old| old.get(name));
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => {
                        causes.extend(validate(property, field, old_field, &path.field(name)))
                    }
                    (None, Additional::Of(values)) => {
                        causes.extend(validate(values, field, old_field, &path.field(name)));
                    }
                    (None, Additional::None | Additional::Any) => {}
                }
            }
        }
        Value::Array(items) => {
            causes.extend(lists::duplicates(schema, items, path));
            let Some(item_schema) = &schema.items else {
                return causes;
            };
            for (index, item) in items.iter().enumerate() {
                let old_item = compare::old_item(schema, old, item);
                causes.extend(validate(item_schema, item, old_item, &path.index(index)));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    causes
}

fn type_mismatch(schema: &Schema, value: &Value, path: &Path<'_>) -> Option<Cause> {
    if schema.int_or_string {
        let fits = value.is_string() || is_whole(value);
        return (!fits).then(|| wrong_type(path, "integer,string", type_name(value)));
    }
    let wanted = schema.value_type?;
    let fits = match wanted {
        ValueType::Object => value.is_object(),
        ValueType::Array => value.is_array(),
        ValueType::String => value.is_string(),
        ValueType::Integer => is_whole(value),
        ValueType::Number => value.is_number(),
        ValueType::Boolean => value.is_boolean(),
    };
    (!fits).then(|| wrong_type(path, wanted.name(), type_name(value)))
}

/// Kubernetes shows the name of the found type where other errors show the value.
fn wrong_type(path: &Path<'_>, wanted: &str, found: &str) -> Cause {
    let field = path.to_string();
    let detail = format!("{field} in body must be of type {wanted}: \"{found}\"");
    Cause::type_invalid(field, format!("{found:?}"), &detail)
}

fn is_whole(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_value(checks: &Checks, value: &Value, path: &Path<'_>) -> Vec<Cause> {
    let mut causes = match value {
        Value::Number(number) => check_number(checks, number.as_f64().unwrap_or(f64::NAN), value, path),
        Value::String(text) => check_text(checks, text, path),
        Value::Array(items) => check_items(checks, items, path),
        Value::Object(fields) => check_fields(checks, fields, path),
        Value::Null | Value::Bool(_) => Vec::new(),
    };
    if let Some(allowed) = &checks.allowed
        && !allowed.iter().any(|one| same_scalar(one, value))
    {
        causes.push(not_supported(path, value, allowed));
    }
    causes
}

/// Equality where `1` and `1.0` are one number.
fn same_scalar(left: &Value, right: &Value) -> bool {
    left == right || (left.is_number() && left.as_f64() == right.as_f64())
}

fn not_supported(path: &Path<'_>, value: &Value, allowed: &[Value]) -> Cause {
    let known: Vec<String> = allowed.iter().map(plain_text).collect();
    Cause::not_supported(path.to_string(), value, &known)
}

fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn check_number(checks: &Checks, number: f64, value: &Value, path: &Path<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut refuse = |what: String| causes.push(in_body(path, value, &what));
    match (checks.minimum, checks.exclusive_minimum) {
        (Some(limit), false) if number < limit => {
            refuse(format!("should be greater than or equal to {limit}"))
        }
        (Some(limit), true) if number <= limit => refuse(format!("should be greater than {limit}")),
        _ => {}
    }
    match (checks.maximum, checks.exclusive_maximum) {
        (Some(limit), false) if number > limit => refuse(format!("should be less than or equal to {limit}")),
        (Some(limit), true) if number >= limit => refuse(format!("should be less than {limit}")),
        _ => {}
    }
    if let Some(factor) = checks.multiple_of.filter(|factor| *factor > 0.0) {
        // A quotient such as 0.3 / 0.1 is whole only up to rounding.
        let quotient = number / factor;
        if (quotient - quotient.round()).abs() > 1e-9 * quotient.abs().max(1.0) {
            refuse(format!("should be a multiple of {factor}"));
        }
    }
    if let Some(format) = checks
        .format
        .as_deref()
        .filter(|format| !formats::holds_integer(format, value))
    {
        let field = path.to_string();
        let detail = format!("{field} in body must be of type {format}: \"{value}\"");
        causes.push(Cause::type_invalid(field, value, &detail));
    }
    causes
}

fn check_text(checks: &Checks, text: &str, path: &Path<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let value = Value::from(text);
    let length = text.chars().count() as u64;
    if let Some(limit) = checks.max_length.filter(|limit| length > *limit) {
        causes.push(Cause::too_long(path.to_string(), limit as usize));
    }
    if let Some(limit) = checks.min_length.filter(|limit| length < *limit) {
        causes.push(in_body(
            path,
            &value,
            &format!("should be at least {limit} chars long"),
        ));
    }
    if let Some(pattern) = checks
        .pattern
        .as_ref()
        .filter(|pattern| !pattern.regex.is_match(text))
    {
        causes.push(in_body(
            path,
            &value,
            &format!("should match '{}'", pattern.source),
        ));
    }
    if let Some(format) = checks
        .format
        .as_deref()
        .filter(|format| !formats::holds_text(format, text))
    {
        let field = path.to_string();
        let detail = format!("{field} in body must be of type {format}: {value}");
        causes.push(Cause::type_invalid(field, &value, &detail));
    }
    causes
}

fn check_items(checks: &Checks, items: &[Value], path: &Path<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let value = Value::Array(items.to_vec());
    if let Some(limit) = checks.max_items.filter(|limit| items.len() as u64 > *limit) {
        causes.push(Cause::too_many(path.to_string(), items.len(), limit as usize));
    }
    if let Some(limit) = checks.min_items.filter(|limit| (items.len() as u64) < *limit) {
        causes.push(in_body(
            path,
            &value,
            &format!("should have at least {limit} items"),
        ));
    }
    if checks.unique_items
        && items
            .iter()
            .enumerate()
            .any(|(index, item)| items[..index].contains(item))
    {
        causes.push(in_body(path, &value, "shouldn't contain duplicates"));
    }
    causes
}

fn check_fields(checks: &Checks, fields: &serde_json::Map<String, Value>, path: &Path<'_>) -> Vec<Cause> {
    let absent = checks.required.iter().filter(|name| !fields.contains_key(*name));
    let mut causes: Vec<Cause> = absent
        .map(|name| Cause::required(path.field(name).to_string(), ""))
        .collect();
    if let Some(limit) = checks.max_properties.filter(|limit| fields.len() as u64 > *limit) {
        causes.push(Cause::too_many(path.to_string(), fields.len(), limit as usize));
    }
    if let Some(limit) = checks
        .min_properties
        .filter(|limit| (fields.len() as u64) < *limit)
    {
        let value = Value::Object(fields.clone());
        causes.push(in_body(
            path,
            &value,
            &format!("should have at least {limit} properties"),
        ));
    }
    causes
}

fn check_branches(checks: &Checks, value: &Value, path: &Path<'_>) -> Vec<Cause> {
    let branch = |schema: &Schema| validate(schema, value, None, path);
    let count_valid = |schemas: &[Schema]| schemas.iter().filter(|schema| branch(schema).is_empty()).count();
    let refuse = |what: String| Cause::invalid(path.to_string(), "\"\"", &format!("\"{path}\" {what}"));
    let mut causes: Vec<Cause> = checks.all_of.iter().flat_map(branch).collect();
    if !causes.is_empty() {
        causes.insert(0, refuse("must validate all the schemas (allOf)".to_owned()));
    }
    if !checks.any_of.is_empty() && count_valid(&checks.any_of) == 0 {
        causes.push(refuse("must validate at least one schema (anyOf)".to_owned()));
        causes.extend(
            checks
                .any_of
                .iter()
                .map(branch)
                .min_by_key(Vec::len)
                .unwrap_or_default(),
        );
    }
    if !checks.one_of.is_empty() {
        match count_valid(&checks.one_of) {
            1 => {}
            0 => {
                causes.push(refuse(
                    "must validate one and only one schema (oneOf). Found none valid".to_owned(),
                ));
                causes.extend(
                    checks
                        .one_of
                        .iter()
                        .map(branch)
                        .min_by_key(Vec::len)
                        .unwrap_or_default(),
                );
            }
            several => causes.push(refuse(format!(
                "must validate one and only one schema (oneOf). Found {several} valid alternatives"
            ))),
        }
    }
    if checks.not.as_ref().is_some_and(|not| branch(not).is_empty()) {
        causes.push(refuse("must not validate the schema (not)".to_owned()));
    }
    causes
}

fn in_body(path: &Path<'_>, value: &Value, what: &str) -> Cause {
    let field = path.to_string();
    let detail = format!("{field} in body {what}");
    Cause::invalid(field, value, &detail)
}
