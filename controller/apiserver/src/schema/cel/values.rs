//! From JSON to CEL values, typed by the schema and named as Kubernetes names fields in CEL.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Program, Value as CelValue};
use serde_json::Value;

use super::super::{Additional, Schema, ValueType};

/// Converts `value`; what the schema does not describe is converted by its JSON type.
pub(super) fn to_cel(functions: &Context<'static>, schema: &Schema, value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(bool) => CelValue::Bool(*bool),
        Value::Number(number) => match (schema.value_type, number.as_i64(), number.as_u64()) {
            (Some(ValueType::Number), ..) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
            (_, Some(integer), _) => CelValue::Int(integer),
            (_, None, Some(integer)) => CelValue::UInt(integer),
            // An integer may be written 3.0, and whole numbers of that size convert exactly.
            (Some(ValueType::Integer), None, None) => {
                CelValue::Int(number.as_f64().unwrap_or_default() as i64)
            }
            (_, None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => text_to_cel(functions, schema, text),
        Value::Array(items) => {
            let item_schema = schema.items.as_deref().unwrap_or(&UNTYPED);
            CelValue::List(Arc::new(
                items
                    .iter()
                    .map(|item| to_cel(functions, item_schema, item))
                    .collect(),
            ))
        }
        Value::Object(fields) => {
            let is_map = !matches!(schema.additional, Additional::None);
            let entries = fields.iter().map(|(name, field)| {
                let converted = to_cel(functions, schema.child(name).unwrap_or(&UNTYPED), field);
                // Keys of a map are data; only names of fields are escaped.
                let name = if is_map { name.clone() } else { escape(name) };
                (Key::String(Arc::new(name)), converted)
            });
            CelValue::Map(Map {
                map: Arc::new(entries.collect::<HashMap<_, _>>()),
            })
        }
    }
}

static UNTYPED: LazyLock<Schema> = LazyLock::new(Schema::default);

/// Texts with some formats become values of their own; a text that does not parse stays a text.
fn text_to_cel(functions: &Context<'static>, schema: &Schema, text: &str) -> CelValue {
    static TIMESTAMP: LazyLock<Program> =
        LazyLock::new(|| Program::compile("timestamp(text)").expect("a constant expression compiles"));
    static DURATION: LazyLock<Program> =
        LazyLock::new(|| Program::compile("duration(text)").expect("a constant expression compiles"));
    let plain = || CelValue::String(Arc::new(text.to_owned()));
    let by = |program: &Program| {
        let mut scope = functions.new_inner_scope();
        scope.add_variable_from_value("text", plain());
        program.execute(&scope).unwrap_or_else(|_| plain())
    };
    match schema.checks.format.as_deref() {
        _ if schema.int_or_string => plain(),
        Some("date-time") => by(&TIMESTAMP),
        Some("duration") => by(&DURATION),
        Some("byte") => match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(bytes) => CelValue::Bytes(Arc::new(bytes)),
            Err(_) => plain(),
        },
        _ => plain(),
    }
}

/// The name of a field in CEL: reserved words and characters that are not letters are spelled out.
pub fn escape(name: &str) -> String {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_are_escaped_as_kubernetes_escapes_them() {
        let cases = [
            ("namespace", "__namespace__"),
            ("foo-bar", "foo__dash__bar"),
            ("a.b", "a__dot__b"),
            ("x/y", "x__slash__y"),
            ("my_field", "my_field"),
            ("my__field", "my__underscores__field"),
            ("replicas", "replicas"),
        ];
        for (name, escaped) in cases {
            assert_eq!(escape(name), escaped);
        }
    }
}
