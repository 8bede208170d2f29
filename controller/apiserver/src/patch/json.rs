//! JSON patch, RFC 6902, with the one exception that the Kubernetes server makes and its clients rely on: a `test` for null succeeds
//! on a path that does not exist.

use json_patch::{AddOperation, PatchOperation, TestOperation};
use serde_json::Value;

use super::Error;
use crate::go;
use crate::negotiation::MAX_BODY_BYTES;
use crate::objects;

/// Operations that a patch may have: upstream's limit, which bounds the work that one request can cause.
const MAX_OPERATIONS: usize = 10_000;

/// Applies the operations in their order; all or none.
pub fn apply(document: &Value, patch: &Value) -> Result<Value, Error> {
    let list = match patch {
        Value::Array(list) => list.as_slice(),
        Value::Null => &[],
        other => {
            let why = go::cannot_unmarshal(other, "[]handlers.jsonPatchOp");
            return Err(Error::Malformed(format!("error decoding patch: {why}")));
        }
    };
    // Upstream meets an operation that it does not know when it applies it, not when it reads it.
    let operations: Vec<PatchOperation> = list
        .iter()
        .map(|operation| serde_json::from_value(with_value(operation)))
        .collect::<Result<_, _>>()
        .map_err(|error: serde_json::Error| Error::Unprocessable(error.to_string()))?;
    if operations.len() > MAX_OPERATIONS {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        );
        return Err(Error::TooLarge(message));
    }
    let mut patched = document.clone();
    let mut copied = 0;
    for operation in operations {
        copied += check_growth(&operation, &patched)?;
        if copied > MAX_BODY_BYTES {
            let message = format!(
                "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_BODY_BYTES}"
            );
            return Err(Error::Unprocessable(message));
        }
        if let PatchOperation::Test(TestOperation {
            path,
            value: Value::Null,
        }) = &operation
            && patched.pointer(path.as_str()).is_none()
        {
            continue;
        }
        let operation = settled(operation, &patched);
        json_patch::patch(&mut patched, std::slice::from_ref(&operation))
            .map_err(|error| Error::Unprocessable(error.to_string()))?;
    }
    Ok(patched)
}

/// An operation that says no value means null, as in Go.
fn with_value(operation: &Value) -> Value {
    let mut operation = operation.clone();
    if let Value::Object(fields) = &mut operation
        && fields
            .get("op")
            .and_then(Value::as_str)
            .is_some_and(|op| matches!(op, "add" | "replace" | "test"))
    {
        fields.entry("value").or_insert(Value::Null);
    }
    operation
}

/// Upstream replaces, and copies, what an object does not have as if it were null.
fn settled(operation: PatchOperation, document: &Value) -> PatchOperation {
    let is_new_field = |path: &str| {
        let (above, name) = path.rsplit_once('/').unwrap_or_default();
        let fields = document.pointer(above).and_then(Value::as_object);
        let name = name.replace("~1", "/").replace("~0", "~");
        fields.is_some_and(|fields| !fields.contains_key(&name))
    };
    match operation {
        PatchOperation::Replace(replace) if is_new_field(replace.path.as_str()) => {
            PatchOperation::Add(AddOperation {
                path: replace.path,
                value: replace.value,
            })
        }
        PatchOperation::Copy(copy) if is_new_field(copy.from.as_str()) => PatchOperation::Add(AddOperation {
            path: copy.path,
            value: Value::Null,
        }),
        other => other,
    }
}

/// How many bytes an operation adds that the patch does not have itself. What it moves may not come to lie too deep: values are walked
/// by functions that call themselves.
fn check_growth(operation: &PatchOperation, document: &Value) -> Result<usize, Error> {
    let found = |from: &str| document.pointer(from).unwrap_or(&Value::Null);
    let (path, value, grows) = match operation {
        PatchOperation::Add(add) => (&add.path, &add.value, false),
        PatchOperation::Replace(replace) => (&replace.path, &replace.value, false),
        PatchOperation::Copy(copy) => (&copy.path, found(copy.from.as_str()), true),
        PatchOperation::Move(shift) => (&shift.path, found(shift.from.as_str()), false),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(0),
    };
    let steps = path.as_str().matches('/').count();
    if steps + objects::depth(value) > objects::DEPTH_MAX {
        let message = format!("at most {} levels may lie inside one another", objects::DEPTH_MAX);
        return Err(Error::Unprocessable(message));
    }
    // A value always serializes.
    Ok(if grows {
        serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
    } else {
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_finalizer_is_added_to_an_object_that_has_none() {
        let patch = json!([
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": ["edge.test/f"]},
        ]);
        let patched = apply(&json!({"metadata": {"name": "a"}}), &patch);
        assert_eq!(
            patched,
            Ok(json!({"metadata": {"name": "a", "finalizers": ["edge.test/f"]}}))
        );
    }

    #[test]
    fn a_failed_test_or_missing_path_changes_nothing_and_is_unprocessable() {
        for patch in [
            json!([{"op": "add", "path": "/b", "value": 1}, {"op": "test", "path": "/a", "value": 2}]),
            json!([{"op": "test", "path": "/a", "value": null}]),
            json!([{"op": "remove", "path": "/missing"}]),
            json!([{"op": "replace", "path": "/x/y", "value": 1}]),
        ] {
            assert!(
                matches!(apply(&json!({"a": 1}), &patch), Err(Error::Unprocessable(_))),
                "{patch}"
            );
        }
    }

    #[test]
    fn what_an_object_does_not_have_is_replaced_as_in_go() {
        let patch = json!([
            {"op": "replace", "path": "/b~1c", "value": 2},
            {"op": "add", "path": "/d"},
            {"op": "copy", "from": "/nothing", "path": "/e"},
        ]);
        assert_eq!(
            apply(&json!({"a": 1}), &patch),
            Ok(json!({"a": 1, "b/c": 2, "d": null, "e": null}))
        );
    }

    #[test]
    fn what_is_no_list_is_malformed_and_an_unknown_operation_unprocessable() {
        assert!(matches!(apply(&json!({}), &json!({})), Err(Error::Malformed(_))));
        for patch in [
            json!([{"op": "jump", "path": "/a"}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
        ] {
            assert!(
                matches!(apply(&json!({}), &patch), Err(Error::Unprocessable(_))),
                "{patch}"
            );
        }
    }

    #[test]
    fn moves_copies_and_list_positions_follow_the_rfc() {
        let patch = json!([
            {"op": "copy", "from": "/list/0", "path": "/first"},
            {"op": "move", "from": "/list/0", "path": "/list/-"},
            {"op": "add", "path": "/a~1b", "value": true},
        ]);
        let patched = apply(&json!({"list": [1, 2]}), &patch);
        assert_eq!(patched, Ok(json!({"list": [2, 1], "first": 1, "a/b": true})));
    }
}
