//! Strategic merge patch, for built-in kinds only: a merge patch in which some lists merge too, and directives say what a merge
//! cannot.
//!
//! Which lists merge is data of a kind ([`ListMerge`]). Directives: `$patch` (`replace`, `delete`, `merge`), `$retainKeys`,
//! `$deleteFromPrimitiveList/F`, `$setElementOrder/F`.

use serde_json::{Map, Value};

use super::Error;
use crate::go;
use crate::schema::ListMerge;

/// How the list at a path such as `metadata`, `finalizers` is merged.
pub type Strategies<'a> = &'a dyn Fn(&[String]) -> &'a ListMerge;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch, which has to be an object.
pub fn apply(document: &Value, patch: &Value, strategies: Strategies<'_>) -> Result<Value, Error> {
    let (document, patch) = match (document, patch) {
        (Value::Object(document), Value::Object(patch)) => (document, patch),
        (document, Value::Null) => return Ok(document.clone()),
        (_, other) => {
            return Err(Error::Malformed(go::cannot_unmarshal(
                other,
                "map[string]interface {}",
            )));
        }
    };
    let merged = merge_objects(
        document,
        patch,
        &mut Place {
            strategies,
            path: Vec::new(),
        },
    )?;
    Ok(Value::Object(merged))
}

type Object = Map<String, Value>;

/// Where in the object a merge is.
struct Place<'a> {
    strategies: Strategies<'a>,
    path: Vec<String>,
}

impl<'a> Place<'a> {
    fn below<T>(&mut self, field: &str, merge: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(field.to_owned());
        let result = merge(self);
        self.path.pop();
        result
    }

    fn strategy(&self) -> &'a ListMerge {
        (self.strategies)(&self.path)
    }
}

fn merge_objects(current: &Object, patch: &Object, place: &mut Place<'_>) -> Result<Object, Error> {
    match directive(patch)? {
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Object::new()),
        _ => {}
    }
    let mut merged = current.clone();
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        let retained = retained
            .as_array()
            .ok_or_else(|| Error::Malformed("invalid patch format of retainKeys".to_owned()))?;
        merged.retain(|key, _| retained.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM_LIST) {
            let gone = value.as_array().ok_or_else(|| malformed(key, "a list"))?;
            if let Some(Value::Array(list)) = merged.get_mut(field) {
                list.retain(|element| !gone.contains(element));
            }
        } else if !key.starts_with('$') {
            place.below(key, |place| merge_field(&mut merged, key, value, place))?;
        }
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix(ELEMENT_ORDER) {
            let order = order.as_array().ok_or_else(|| malformed(key, "a list"))?;
            let strategy = place.below(field, |place| place.strategy());
            if let Some(Value::Array(list)) = merged.get_mut(field) {
                set_order(list, order, strategy);
            }
        }
    }
    Ok(merged)
}

/// Sorts a list as `order` has it; elements that it does not name keep their order behind those it names.
fn set_order(list: &mut [Value], order: &[Value], strategy: &ListMerge) {
    fn identify<'a>(element: &'a Value, strategy: &ListMerge) -> Option<&'a Value> {
        match strategy {
            ListMerge::ByKey(field) => element.get(field),
            ListMerge::Scalars | ListMerge::Replace => Some(element),
        }
    }
    list.sort_by_key(|element| {
        let named = order
            .iter()
            .position(|other| identify(other, strategy) == identify(element, strategy));
        named.unwrap_or(usize::MAX)
    });
}

fn merge_field(merged: &mut Object, key: &str, value: &Value, place: &mut Place<'_>) -> Result<(), Error> {
    match (merged.get(key), value) {
        (_, Value::Null) => {
            merged.shift_remove(key);
        }
        (Some(Value::Object(current)), Value::Object(patch)) => {
            let delete = directive(patch)? == Some("delete");
            let result = merge_objects(current, patch, place)?;
            if delete {
                merged.shift_remove(key)
            } else {
                merged.insert(key.to_owned(), Value::Object(result))
            };
        }
        (_, Value::Object(patch)) => {
            if directive(patch)? != Some("delete") {
                let result = merge_objects(&Object::new(), patch, place)?;
                merged.insert(key.to_owned(), Value::Object(result));
            }
        }
        (current, Value::Array(patch)) => {
            let current = current
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let list = match place.strategy() {
                ListMerge::Scalars => merge_sets(current, patch),
                ListMerge::ByKey(field) => merge_lists(current, patch, field, place)?,
                ListMerge::Replace => patch.clone(),
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
    place: &mut Place<'_>,
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
            .ok_or_else(|| malformed(&place.path.join("."), "a list of objects"))?;
        let identity = patch.get(field).ok_or_else(|| {
            Error::Malformed(format!(
                "map: {element} does not contain declared merge key: {field}"
            ))
        })?;
        let found = merged.iter().position(|one| one.get(field) == Some(identity));
        match (found, directive(patch)? == Some("delete")) {
            (Some(found), true) => drop(merged.remove(found)),
            (None, true) => {}
            (Some(found), false) => {
                let current = merged[found].as_object().cloned().unwrap_or_default();
                merged[found] = Value::Object(merge_objects(&current, patch, place)?);
            }
            (None, false) => merged.push(Value::Object(merge_objects(&Object::new(), patch, place)?)),
        }
    }
    Ok(merged)
}

fn directive(patch: &Object) -> Result<Option<&str>, Error> {
    match patch.get(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(word)) if ["replace", "delete", "merge"].contains(&word.as_str()) => {
            Ok(Some(word))
        }
        Some(other) => {
            let word = match other {
                Value::String(word) => word.clone(),
                other => other.to_string(),
            };
            let map = go::printed(&Value::Object(patch.clone()));
            Err(Error::Internal(format!(
                "unknown patch type: {word} in map: {map}"
            )))
        }
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
    use std::sync::LazyLock;

    use super::*;
    use serde_json::json;

    static BY_UID: LazyLock<ListMerge> = LazyLock::new(|| ListMerge::ByKey("uid".to_owned()));
    static BY_NAME: LazyLock<ListMerge> = LazyLock::new(|| ListMerge::ByKey("name".to_owned()));

    fn of_service_account(path: &[String]) -> &'static ListMerge {
        match path.join(".").as_str() {
            "metadata.ownerReferences" => &BY_UID,
            "metadata.finalizers" => &ListMerge::Scalars,
            "secrets" => &BY_NAME,
            _ => &ListMerge::Replace,
        }
    }

    fn check(document: Value, patch: Value, expected: Value) {
        assert_eq!(
            apply(&document, &patch, &of_service_account),
            Ok(expected),
            "{document} with {patch}"
        );
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
        let patched = apply(&json!({}), &json!({"secrets": [{"x": 1}]}), &of_service_account);
        assert!(matches!(patched, Err(Error::Malformed(_))));
    }
}
