//! The `/scale` subresource: `autoscaling/v1 Scale`, read from and written through the paths that the definition names.

use serde_json::{Map, Value, json};

use super::patch::Patch;
use super::update::{Change, Method, Part, change_object};
use super::{Call, Written};
use crate::kinds::ScalePaths;
use crate::negotiation::Decoded;
use crate::objects;
use crate::parameters::WriteOptions;
use crate::status::{Cause, GroupKind, Status};

/// The paths of the resource's scale.
///
/// # Errors
/// 404 when it has none.
pub fn paths(call: &Call) -> Result<&ScalePaths, Status> {
    call.resource
        .subresources
        .scale
        .as_ref()
        .ok_or_else(Status::no_such_resource)
}

/// The scale of an object that has to say how many it wants, as those of definitions have to.
///
/// # Errors
/// 500 when it does not.
pub fn read(object: &Value, paths: &ScalePaths, custom: bool) -> Result<Value, Status> {
    if custom && at(object, &paths.spec_replicas).is_none() {
        let path = &paths.spec_replicas;
        return Err(Status::internal(format!(
            "the spec replicas field {path:?} does not exist"
        )));
    }
    Ok(of(object, paths))
}

/// The scale of an object.
pub fn of(object: &Value, paths: &ScalePaths) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = objects::metadata(object).get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let number = |path: &str| at(object, path).and_then(Value::as_i64);
    let mut spec = Map::new();
    if let Some(replicas) = number(&paths.spec_replicas) {
        spec.insert("replicas".into(), replicas.into());
    }
    let mut status = json!({"replicas": number(&paths.status_replicas).unwrap_or(0)});
    if let Some(selector) = paths.label_selector.as_ref().and_then(|path| at(object, path)) {
        status["selector"] = printed_selector(selector);
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// A label selector as a text; one that is a text already stays as it is.
fn printed_selector(selector: &Value) -> Value {
    if !selector.is_object() {
        return selector.clone();
    }
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut terms: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        terms.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.sort();
    terms.join(",").into()
}

/// Sets the scale of an object from the body's `spec.replicas`.
///
/// # Errors
/// As an update; 422 when the number is none.
pub async fn update(
    call: &Call,
    name: &str,
    body: Decoded,
    options: WriteOptions,
) -> Result<Written, Status> {
    let change = Change {
        part: Part::Scale,
        options,
        method: Method::Put,
    };
    let wanted = body.value;
    apply(call, name, change, move |_| Ok(wanted.clone())).await
}

/// Patches the scale of an object.
///
/// # Errors
/// As a patch; 422 when the number is none.
pub async fn patch(call: &Call, name: &str, patch: &Patch, options: WriteOptions) -> Result<Written, Status> {
    // The scale's patch changes the object through a function, so there is no patch text whose fields could be unknown.
    let change = Change {
        part: Part::Scale,
        options,
        method: Method::Patch(None),
    };
    apply(call, name, change, |scale| patch.apply(&call.resource, scale)).await
}

async fn apply(
    call: &Call,
    name: &str,
    change: Change<'_>,
    wanted_scale: impl Fn(&Value) -> Result<Value, Status> + Send + Sync,
) -> Result<Written, Status> {
    let paths = paths(call)?;
    let mut written = change_object(call, name, change, |old| {
        let scale = wanted_scale(&of(old, paths))?;
        let found = objects::name(&scale);
        if found != name {
            let why = format!("the name of the object ({found}) does not match the name on the URL ({name})");
            return Err(Status::bad_request(why));
        }
        let mut object = old.clone();
        let replicas = replicas(&scale, name)?;
        set(&mut object, &paths.spec_replicas, replicas.into());
        match objects::resource_version(&scale) {
            // A scale without a version supposes nothing: the object's own is what was read.
            "" | "0" => {}
            version => {
                drop(objects::metadata_mut(&mut object).insert("resourceVersion".into(), version.into()))
            }
        }
        Ok(object)
    })
    .await?;
    written.object = of(&written.object, paths);
    Ok(written)
}

pub(super) fn replicas(scale: &Value, name: &str) -> Result<i64, Status> {
    let found = scale.pointer("/spec/replicas").unwrap_or(&Value::Null);
    let cause = match found.as_i64() {
        Some(replicas) if (0..=i64::from(i32::MAX)).contains(&replicas) => return Ok(replicas),
        _ if found.is_null() => return Ok(0),
        _ => Cause::invalid(
            "spec.replicas",
            found,
            "must be a whole number, greater than or equal to 0",
        ),
    };
    let kind = GroupKind {
        group: "autoscaling".into(),
        kind: "Scale".into(),
    };
    Err(Status::invalid(&kind, name, vec![cause]))
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.').split('.')
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path).try_fold(object, |value, step| value.get(step))
}

pub(super) fn set(object: &mut Value, path: &str, value: Value) {
    let place = steps(path).fold(object, |place, step| {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        &mut place[step]
    });
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_read_and_written_through_the_paths() {
        let paths = ScalePaths {
            spec_replicas: ".spec.replicas.max".into(),
            status_replicas: ".status.replicas".into(),
            label_selector: Some(".status.selector".into()),
        };
        let mut object = json!({"metadata": {"name": "a", "labels": {}}, "spec": {"replicas": {"max": 3}}, "status": {"selector": "x=y"}});
        let scale = of(&object, &paths);
        assert_eq!(scale["spec"], json!({"replicas": 3}));
        assert_eq!(scale["status"], json!({"replicas": 0, "selector": "x=y"}));
        assert_eq!(scale["metadata"], json!({"name": "a"}));
        set(&mut object, &paths.spec_replicas, 5.into());
        assert_eq!(object["spec"], json!({"replicas": {"max": 5}}));
    }
}
