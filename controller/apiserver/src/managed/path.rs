//! The steps of a path to a field, as `metadata.managedFields` names them, and their two printed forms.
//!
//! | step | in `fieldsV1` | in messages |
//! | --- | --- | --- |
//! | a field or a map's key | `f:name` | `.name` |
//! | an item of a list of type `map` | `k:{"name":"a"}` | `[name="a"]` |
//! | an item of a list of type `set` | `v:"a"` | `[="a"]` |
//! | an item by its place | `i:0` | `[0]` |

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of an object, or a key of a map.
    Field(String),
    /// An item of a list of type `map`: its key fields in the order of their names.
    Key(Vec<(String, Scalar)>),
    /// An item of a list of type `set`.
    Value(Scalar),
    /// An item by its place.
    Index(u64),
}

/// A value that identifies an item. Numbers of equal value are equal, however they are written.
#[derive(Debug, Clone)]
pub struct Scalar(pub Value);

impl Scalar {
    fn rank(&self) -> u8 {
        match self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => left
                    .as_f64()
                    .unwrap_or_default()
                    .total_cmp(&right.as_f64().unwrap_or_default()),
            },
            (Value::String(left), Value::String(right)) => left.cmp(right),
            (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
            (left, right) => self
                .rank()
                .cmp(&other.rank())
                .then_with(|| left.to_string().cmp(&right.to_string())),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

impl Step {
    /// A field.
    pub fn field(name: impl Into<String>) -> Self {
        Self::Field(name.into())
    }

    /// The name in `fieldsV1`.
    pub fn encoded(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(fields) => {
                let key: Map<String, Value> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.0.clone()))
                    .collect();
                format!("k:{}", Value::Object(key))
            }
            Self::Value(value) => format!("v:{}", value.0),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// The step of a name in `fieldsV1`; `None` when it is none.
    pub fn decoded(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_at_checked(2)?;
        match kind {
            "f:" => Some(Self::field(rest)),
            "k:" => {
                let key: Map<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Self::key(key))
            }
            "v:" => serde_json::from_str(rest)
                .ok()
                .map(|value| Self::Value(Scalar(value))),
            "i:" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    /// The step to the item with these key fields.
    pub fn key(fields: impl IntoIterator<Item = (String, Value)>) -> Self {
        let mut fields: Vec<(String, Scalar)> = fields
            .into_iter()
            .map(|(name, value)| (name, Scalar(value)))
            .collect();
        fields.sort();
        Self::Key(fields)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(formatter, ".{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.0))
                    .collect();
                write!(formatter, "[{}]", fields.join(","))
            }
            Self::Value(value) => write!(formatter, "[={}]", value.0),
            Self::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

/// A path as messages print it, such as `.spec.ports[port=80,protocol="TCP"].name`.
pub fn printed(path: &[Step]) -> String {
    path.iter().map(Step::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_are_written_as_kubernetes_writes_them() {
        let key = Step::key([("protocol".into(), json!("TCP")), ("port".into(), json!(80))]);
        for (step, encoded, printed) in [
            (Step::field("a.b/c"), "f:a.b/c", ".a.b/c"),
            (
                key,
                r#"k:{"port":80,"protocol":"TCP"}"#,
                r#"[port=80,protocol="TCP"]"#,
            ),
            (Step::Value(Scalar(json!("x"))), r#"v:"x""#, r#"[="x"]"#),
            (Step::Index(3), "i:3", "[3]"),
        ] {
            assert_eq!(step.encoded(), encoded);
            assert_eq!(Step::decoded(encoded).as_ref(), Some(&step));
            assert_eq!(step.to_string(), printed);
        }
        for nonsense in ["", "f", "x:a", "k:1", "i:a", "v:{"] {
            assert_eq!(Step::decoded(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn numbers_of_one_value_are_one_key() {
        assert_eq!(Scalar(json!(1)), Scalar(json!(1.0)));
        assert!(Scalar(json!(2)) < Scalar(json!("1")));
    }
}
