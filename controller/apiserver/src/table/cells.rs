//! What cells of built-in kinds are made of: values at a place of an object, in the forms in which Kubernetes prints them.

use jiff::Timestamp;
use serde_json::Value;

use super::column::Column;
use super::duration;

/// A column of whole numbers.
pub(super) fn integer(name: &str, description: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column::computed(name, description, cell).of_type("integer")
}

/// A column of truths.
pub(super) fn boolean(name: &str, description: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column::computed(name, description, cell).of_type("boolean")
}

/// The text at a place, or this if nothing is there.
pub(super) fn text(object: &Value, pointer: &str, absent: &str) -> Value {
    match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone().into(),
        Some(Value::Null) | None => absent.into(),
        Some(other) => other.to_string().into(),
    }
}

/// The text at a place, or this if nothing or an empty text is there.
pub(super) fn text_or(object: &Value, pointer: &str, empty: &str) -> Value {
    match text(object, pointer, empty) {
        Value::String(text) if text.is_empty() => empty.into(),
        other => other,
    }
}

/// The number at a place; zero if there is none.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The truth at a place, or this if nothing is there.
pub(super) fn truth(object: &Value, pointer: &str, absent: bool) -> Value {
    object
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or(absent)
        .into()
}

/// The items of the list at a place.
pub(super) fn items<'object>(
    object: &'object Value,
    pointer: &str,
) -> impl Iterator<Item = &'object Value> + use<'object> {
    let list = object.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// How many items or entries there are.
pub(super) fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Texts with a comma between them, or this if there are none.
pub(super) fn joined<'text>(texts: impl IntoIterator<Item = &'text str>, absent: &str) -> Value {
    let texts: Vec<&str> = texts.into_iter().collect();
    if texts.is_empty() {
        absent.into()
    } else {
        texts.join(",").into()
    }
}

/// The first three texts, and how many more there are.
pub(super) fn first_three(texts: &[String], absent: &str) -> Value {
    if texts.is_empty() {
        return absent.into();
    }
    let told = texts
        .iter()
        .take(3)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(",");
    match texts.len().saturating_sub(3) {
        0 => told.into(),
        more => format!("{told} + {more} more...").into(),
    }
}

/// The time since a time at a place.
pub(super) fn time_since(object: &Value, pointer: &str, now: Timestamp, absent: &str) -> Value {
    match time(object, pointer) {
        Some(time) => duration::since(time, now).into(),
        None => absent.into(),
    }
}

/// The time at a place.
pub(super) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object.pointer(pointer)?.as_str()?.parse().ok()
}

/// Whether a condition of this type has this status.
pub(super) fn has_condition(object: &Value, kind: &str, status: &str) -> bool {
    items(object, "/status/conditions").any(|one| one["type"] == kind && one["status"] == status)
}

/// Whether the object is being deleted.
pub(super) fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Labels as `a=b,c=d`.
pub(super) fn labels(value: &Value) -> Value {
    let labels: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    joined(labels.iter().map(String::as_str), "<none>")
}

/// A label selector as it is written in a query.
pub(super) fn selector(value: &Value) -> Value {
    let equal = value["matchLabels"].as_object().into_iter().flatten();
    let equal = equal.map(|(key, value)| {
        (
            key.clone(),
            format!("{key}={}", value.as_str().unwrap_or_default()),
        )
    });
    let mut all: Vec<(String, String)> = equal.collect();
    for one in items(value, "/matchExpressions") {
        let key = one["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = items(one, "/values").filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let told = match one["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        };
        all.push((key.to_owned(), told));
    }
    all.sort();
    joined(all.iter().map(|(_, told)| told.as_str()), "<none>")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_read_as_in_a_query() {
        let selector_of = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"},
        ]});
        assert_eq!(selector(&selector_of), "a in (x,y),b=1,!c");
        assert_eq!(selector(&Value::Null), "<none>");
    }

    #[test]
    fn of_many_three_are_told() {
        let texts = |count: usize| (0..count).map(|one| one.to_string()).collect::<Vec<_>>();
        assert_eq!(first_three(&texts(0), "<none>"), "<none>");
        assert_eq!(first_three(&texts(3), "<none>"), "0,1,2");
        assert_eq!(first_three(&texts(5), "<none>"), "0,1,2 + 2 more...");
    }
}
