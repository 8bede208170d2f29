//! How a value is taken apart under a schema: what is one field to its manager, and what is many.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::path::{Scalar, Step};
use crate::schema::{ListType, Schema, ValueType};

/// The schema of what has none: objects are maps, lists are replaced as a whole.
pub(super) static UNTYPED: LazyLock<Schema> = LazyLock::new(|| Schema {
    preserve_unknown_fields: true,
    ..Schema::default()
});

/// What a place is to those who manage it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'a> {
    /// One field, replaced as a whole.
    Leaf,
    /// A field for each entry.
    Map,
    /// A field for each item, told apart by keys or, if there are none, by value.
    List {
        /// The names of the key fields.
        keys: &'a [String],
        /// The schema of items.
        items: &'a Schema,
    },
}

impl Shape<'_> {
    /// Whether both are of one kind.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether it is one field.
    pub(super) fn is_leaf(&self) -> bool {
        matches!(self, Self::Leaf)
    }
}

/// The shape of a place where `left` and `right` stand, of which at least one is there. Where the schema leaves the type open the
/// values decide, and two different shapes come back if they disagree.
pub(super) fn shapes<'a>(
    schema: &'a Schema,
    left: Option<&Value>,
    right: Option<&Value>,
) -> (Shape<'a>, Shape<'a>) {
    let of = |value: Option<&Value>| {
        value
            .filter(|value| !value.is_null())
            .map(|value| shape(schema, value))
    };
    match (of(left), of(right)) {
        (Some(left), Some(right)) => (left, right),
        (Some(only), None) | (None, Some(only)) => (only, only),
        (None, None) => {
            let shape = shape(schema, &Value::Null);
            (shape, shape)
        }
    }
}

/// The shape of a place where `value` stands.
pub(super) fn shape<'a>(schema: &'a Schema, value: &Value) -> Shape<'a> {
    let is_map = if is_untyped(schema) {
        value.is_object()
    } else {
        matches!(schema.value_type, Some(ValueType::Object) | None)
    };
    if is_map {
        return if schema.atomic_map {
            Shape::Leaf
        } else {
            Shape::Map
        };
    }
    if schema.value_type != Some(ValueType::Array) {
        return Shape::Leaf;
    }
    let items = schema.items.as_deref().unwrap_or(&UNTYPED);
    match &schema.list_type {
        ListType::Atomic => Shape::Leaf,
        ListType::Set => Shape::List { keys: &[], items },
        ListType::Map(keys) => Shape::List { keys, items },
    }
}

/// Whether the schema leaves the type of the value open.
fn is_untyped(schema: &Schema) -> bool {
    schema.value_type.is_none() && schema.properties.is_empty()
}

/// Whether the schema itself says that this list or object is replaced as a whole.
pub(super) fn is_declared_atomic(schema: &Schema) -> bool {
    schema.atomic_map || schema.value_type == Some(ValueType::Array) && schema.list_type == ListType::Atomic
}

/// The schema of an entry; `None` when the schema knows no such field.
pub(super) fn entry_schema<'a>(schema: &'a Schema, name: &str) -> Option<&'a Schema> {
    match schema.child(name) {
        Some(child) => Some(child),
        None if schema.keeps_unknown() || is_untyped(schema) => Some(&UNTYPED),
        None => None,
    }
}

/// The schema at one step of a path.
pub(super) fn schema_at<'a>(schema: &'a Schema, step: &Step) -> Option<&'a Schema> {
    match step {
        Step::Field(name) => entry_schema(schema, name),
        Step::Key(_) | Step::Value(_) | Step::Index(_) => schema.items.as_deref(),
    }
}

/// The entries of a map; nothing for anything else.
pub(super) fn entries(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// The items of a list; none for anything else.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether there is nothing in it that could be a field of its own.
pub(super) fn is_hollow(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

/// The step to an item of a list that is told apart by keys, or by value if there are none.
///
/// # Errors
/// Kubernetes' text for an item that cannot be told apart.
pub(super) fn item_step(keys: &[String], schema: &Schema, item: &Value) -> Result<Step, String> {
    if keys.is_empty() {
        return match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            scalar => Ok(Step::Value(Scalar(scalar.clone()))),
        };
    }
    let fields = match item {
        Value::Object(fields) => fields,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let default = |key: &str| schema.properties.get(key)?.default.clone();
    let found: Vec<(String, Value)> = keys
        .iter()
        .filter_map(|key| Some((key.clone(), fields.get(key).cloned().or_else(|| default(key))?)))
        .collect();
    if found.is_empty() {
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.iter()
                .map(|key| format!("{key:?}"))
                .collect::<Vec<_>>()
                .join(" ")
        ));
    }
    Ok(Step::key(found))
}

/// Whether two values are the same to those who manage them: numbers by value, objects in any order.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => Scalar(left.clone()) == Scalar(right.clone()),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}
