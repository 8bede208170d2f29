//! How Go's standard library says things: clients and people know the API by these words.
//!
//! | file | is |
//! | --- | --- |
//! | `syntax` | what is wrong with a text that is no JSON |
//! | `decoding` | what is wrong with a value that does not fit the type it is decoded into |

pub mod decoding;
pub mod syntax;

use serde_json::Value;

/// Bytes of a body that an error quotes.
const SUMMARY_BYTES: usize = 30;

/// What a JSON value is called in errors of decoders.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value of the wrong type, where a value of the Go type `wanted` was to be read.
pub fn cannot_unmarshal(value: &Value, wanted: &str) -> String {
    format!(
        "json: cannot unmarshal {} into Go value of type {wanted}",
        type_name(value)
    )
}

/// A value as `%v` prints it: `map[a:1 b:[x y]]`, fields in order.
pub fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", printed(value)))
                .collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

/// The beginning of a body, as an error quotes it: objects as they are, anything else in hexadecimal digits.
pub fn summary(body: &[u8]) -> String {
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let (kept, rest) = body.split_at(body.len().min(SUMMARY_BYTES));
    let mut text = if kept.starts_with(b"{") {
        String::from_utf8_lossy(kept).into_owned()
    } else {
        kept.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    if !rest.is_empty() {
        text.push_str(" ...");
    }
    text
}

/// An object as Go prints a map in JSON: fields in order, at every level.
#[must_use]
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields = fields.into_iter();
            fields
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_and_bodies_are_quoted_as_go_quotes_them() {
        assert_eq!(
            printed(&json!({"b": [1, "x", null], "a": {}})),
            "map[a:map[] b:[1 x <nil>]]"
        );
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"[1"), "5b31");
        assert_eq!(
            summary(b"{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\"}"),
            "{\"kind\":\"ConfigMap\",\"apiVersio ..."
        );
        let sorted = sorted(&json!({"b": {"d": 1, "c": 2}, "a": 3})).to_string();
        assert_eq!(sorted, r#"{"a":3,"b":{"c":2,"d":1}}"#);
    }
}
