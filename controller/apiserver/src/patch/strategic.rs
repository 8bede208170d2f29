//! Strategic merge patch, for built-in kinds only: a merge patch in which some lists merge too, and directives say what a merge
//! cannot.
//!
//! Which lists merge is written in Kubernetes' Go types; for the few kinds served here it is the table [`MERGING_LISTS`]. Other lists
//! are replaced. Directives: `$patch` (`replace`, `delete`, `merge`), `$retainKeys`, `$deleteFromPrimitiveList/F`,
//! `$setElementOrder/F`.

use serde_json::{Map, Value};

use super::Error;

/// How the elements of a list are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// By this field of each element.
    Field(&'static str),
    /// By their value.
    Value,
}

/// The lists that merge, by their path from the object's root.
const MERGING_LISTS: &[(&[&str], Identity)] = &[
    (&["metadata", "ownerReferences"], Identity::Field("uid")),
    (&["metadata", "finalizers"], Identity::Value),
    (&["secrets"], Identity::Field("name")),
    (&["imagePullSecrets"], Identity::Field("name")),
    (&["spec", "ports"], Identity::Field("port")),
    (&["status", "conditions"], Identity::Field("type")),
    (&["status", "addresses"], Identity::Field("type")),
];

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch, which has to be an object.
pub fn apply(document: &Value, patch: &Value) -> Result<Value, Error> {
    let (Value::Object(document), Value::Object(patch)) = (document, patch) else {
        return Err(Error::Malformed(
            "a strategic merge patch must be a JSON object".to_owned(),
        ));
    };
    let merged = merge_objects(document, patch, &mut Vec::new())?;
    Ok(Value::Object(merged))
}

type Object = Map<String, Value>;

fn merge_objects(current: &Object, patch: &Object, path: &mut Vec<String>) -> Result<Object, Error> {
    match directive(patch)? {
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Object::new()),
        _ => {}
    }
    let mut merged = current.clone();
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        let retained = retained
            .as_array()
            .ok_or_else(|| malformed(RETAIN_KEYS, "a list of field names"))?;
        merged.retain(|key, _| retained.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM_LIST) {
            let gone = value.as_array().ok_or_else(|| malformed(key, "a list"))?;
            if let Some(Value::Array(list)) = merged.get_mut(field) {
                list.retain(|element| !gone.contains(element));
            }
        } else if !key.starts_with('$') {
            path.push(key.clone());
            let result = merge_field(&mut merged, key, value, path);
            path.pop();
            result?;
        }
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix(ELEMENT_ORDER) {
            let order = order.as_array().ok_or_else(|| malformed(key, "a list"))?;
            path.push(field.to_owned());
            let identity = identity_at(path).unwrap_or(Identity::Value);
            path.pop();
            if let Some(Value::Array(list)) = merged.get_mut(field) {
                let place = |element: &Value| {
                    order
                        .iter()
                        .position(|other| identify(other, identity) == identify(element, identity))
                };
                // Elements that the order does not name keep their places behind those it names.
                list.sort_by_key(|element| place(element).unwrap_or(usize::MAX));
            }
        }
    }
    Ok(merged)
}

fn merge_field(merged: &mut Object, key: &str, value: &Value, path: &mut Vec<String>) -> Result<(), Error> {
    match (merged.get(key), value) {
        (_, Value::Null) => {
            merged.shift_remove(key);
        }
        (Some(Value::Object(current)), Value::Object(patch)) => {
            let delete = directive(patch)? == Some("delete");
            let result = merge_objects(current, patch, path)?;
            if delete {
                merged.shift_remove(key)
            } else {
                merged.insert(key.to_owned(), Value::Object(result))
            };
        }
        (_, Value::Object(patch)) => {
            if directive(patch)? != Some("delete") {
                let result = merge_objects(&Object::new(), patch, path)?;
                merged.insert(key.to_owned(), Value::Object(result));
            }
        }
        (current, Value::Array(patch)) => {
            let current = current
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let list = match identity_at(path) {
                Some(Identity::Value) => merge_sets(current, patch),
                Some(Identity::Field(field)) => merge_lists(current, patch, field, path)?,
                None => patch.clone(),
            };
            merged.insert(key.to_owned(), Value::Array(list));
        }
        (_, scalar) => {
            merged.insert(key.to_owned(), scalar.clone());
        }
    }
    Ok(())
}

fn merge_sets(current: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut merged = current.to_vec();
    for element in patch {
        if !merged.contains(element) {
            merged.push(element.clone());
        }
    }
    merged
}

fn merge_lists(
    current: &[Value],
    patch: &[Value],
    field: &str,
    path: &mut Vec<String>,
) -> Result<Vec<Value>, Error> {
    if patch.iter().any(|element| {
        element
            .get(DIRECTIVE)
            .is_some_and(|directive| directive == "replace")
    }) {
        let kept = patch.iter().filter(|element| element.get(DIRECTIVE).is_none());
        return Ok(kept.cloned().collect());
    }
    let mut merged = current.to_vec();
    for element in patch {
        let patch = element
            .as_object()
            .ok_or_else(|| malformed(&path.join("."), "a list of objects"))?;
        let identity = patch.get(field).ok_or_else(|| {
            Error::Malformed(format!(
                "map: {element} does not contain declared merge key: {field}"
            ))
        })?;
        let place = merged.iter().position(|one| one.get(field) == Some(identity));
        match (place, directive(patch)? == Some("delete")) {
            (Some(place), true) => drop(merged.remove(place)),
            (None, true) => {}
            (Some(place), false) => {
                let current = merged[place].as_object().cloned().unwrap_or_default();
                merged[place] = Value::Object(merge_objects(&current, patch, path)?);
            }
            (None, false) => merged.push(Value::Object(merge_objects(&Object::new(), patch, path)?)),
        }
    }
    Ok(merged)
}

fn identity_at(path: &[String]) -> Option<Identity> {
    MERGING_LISTS
        .iter()
        .find(|(at, _)| *at == path)
        .map(|(_, identity)| *identity)
}

fn identify(element: &Value, identity: Identity) -> Option<&Value> {
    match identity {
        Identity::Field(field) => element.get(field),
        Identity::Value => Some(element),
    }
}

fn directive(patch: &Object) -> Result<Option<&str>, Error> {
    match patch.get(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(word)) if ["replace", "delete", "merge"].contains(&word.as_str()) => {
            Ok(Some(word))
        }
        Some(_) => Err(malformed(DIRECTIVE, "replace, delete or merge")),
    }
}

fn without_directives(patch: &Object) -> Object {
    patch
        .iter()
        .filter(|(key, _)| !key.starts_with('$'))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn malformed(field: &str, right: &str) -> Error {
    Error::Malformed(format!("{field} must be {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(document: Value, patch: Value, expected: Value) {
        assert_eq!(apply(&document, &patch), Ok(expected), "{document} with {patch}");
    }

    #[test]
    fn maps_merge_and_nulls_remove() {
        check(
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"data": {"a": null, "c": "3"}}),
            json!({"data": {"b": "2", "c": "3"}}),
        );
        check(
            json!({}),
            json!({"data": {"a": null, "c": "3"}}),
            json!({"data": {"c": "3"}}),
        );
    }

    #[test]
    fn listed_lists_merge_by_their_key_and_others_are_replaced() {
        check(
            json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}]}}),
            json!({"metadata": {"ownerReferences": [{"uid": "2"}, {"uid": "1", "kind": "K"}]}}),
            json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "a", "kind": "K"}, {"uid": "2"}]}}),
        );
        check(
            json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2"}]}}),
            json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "1"}]}}),
            json!({"metadata": {"ownerReferences": [{"uid": "2"}]}}),
        );
        check(
            json!({"metadata": {"finalizers": ["a"]}, "list": [1]}),
            json!({"metadata": {"finalizers": ["b", "a"]}, "list": [2]}),
            json!({"metadata": {"finalizers": ["a", "b"]}, "list": [2]}),
        );
    }

    #[test]
    fn directives_say_what_a_merge_cannot() {
        check(
            json!({"data": {"a": "1"}}),
            json!({"data": {"$patch": "replace", "b": "2"}}),
            json!({"data": {"b": "2"}}),
        );
        check(
            json!({"data": {"a": "1"}}),
            json!({"data": {"$patch": "delete"}}),
            json!({}),
        );
        check(
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"data": {"$retainKeys": ["b", "c"], "c": "3"}}),
            json!({"data": {"b": "2", "c": "3"}}),
        );
        check(
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"]}}),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
        );
        check(
            json!({"secrets": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/secrets": [{"name": "c"}, {"name": "a"}], "secrets": [{"name": "c"}]}),
            json!({"secrets": [{"name": "c"}, {"name": "a"}, {"name": "b"}]}),
        );
    }

    #[test]
    fn an_element_without_its_key_is_malformed() {
        let patched = apply(&json!({}), &json!({"secrets": [{"x": 1}]}));
        assert!(matches!(patched, Err(Error::Malformed(_))));
    }
}
