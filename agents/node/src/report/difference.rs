//! The merge patch (RFC 7396) that turns one value into another. Pure.

use serde_json::{Map, Value};

/// What a merge patch must say so that `old` becomes `new`; nothing when they are equal. Lists are replaced whole, and
/// keys that are gone are said as null.
pub(super) fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for (key, value) in new {
                match old.get(key) {
                    Some(held) => {
                        if let Some(inner) = difference(held, value) {
                            patch.insert(key.clone(), inner);
                        }
                    }
                    None => {
                        patch.insert(key.clone(), value.clone());
                    }
                }
            }
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (old, new) => (old != new).then(|| new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_need_no_patch() {
        let value = json!({"a": {"b": [1, 2]}, "c": null});
        assert_eq!(difference(&value, &value), None);
    }

    #[test]
    fn only_what_differs_is_said_and_what_is_gone_is_null() {
        let old = json!({"phase": "Fetching", "fetchedBytes": 7, "loads": 1, "inner": {"x": 1, "y": 2}});
        let new = json!({"phase": "Ready", "loads": 1, "inner": {"x": 1, "y": 3}, "epoch": "5"});
        let patch = json!({"phase": "Ready", "fetchedBytes": null, "inner": {"y": 3}, "epoch": "5"});
        assert_eq!(difference(&old, &new), Some(patch));
    }

    #[test]
    fn lists_are_replaced_whole() {
        let patch = difference(&json!({"l": [1, 2]}), &json!({"l": [1, 3]}));
        assert_eq!(patch, Some(json!({"l": [1, 3]})));
    }
}
