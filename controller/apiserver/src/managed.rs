//! Who manages which fields of an object: `metadata.managedFields`, and server-side apply, which rests on it.
//!
//! Pure functions over JSON values, schemas and sets of fields:
//!
//! | file | is |
//! | --- | --- |
//! | `path`, `set` | the steps to a field, and sets of fields in the form `fieldsV1` |
//! | `typed`, `check` | what is one field under a schema and what is many; whether a configuration fits |
//! | `compare`, `merge` | which fields differ; merging a configuration in, taking fields out |
//! | `entries`, `conflict` | the managers of an object, and what is said when they disagree |
//! | `track`, `apply` | who manages what after a write, or an apply |
//! | `last_applied` | the way from kubectl's client-side apply |
//!
//! The rules are those of Kubernetes. One thing is simpler: all versions of a kind have the same fields here (there are no conversion
//! webhooks), so entries that were made through another version are compared as they are.

pub mod apply;
pub mod check;
pub mod compare;
pub mod conflict;
pub mod entries;
mod last_applied;
pub mod merge;
pub mod path;
pub mod set;
pub mod track;
mod typed;

use std::sync::LazyLock;

use serde_json::{Map, Value};

use self::entries::{Manager, Managers};
use self::set::FieldSet;
use crate::objects;
use crate::schema::Schema;

/// Fields that nobody manages: they identify the object, or are the server's.
static NOBODYS: LazyLock<FieldSet> = LazyLock::new(|| {
    let of_metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let mut paths: Vec<Vec<&str>> = vec![vec!["apiVersion"], vec!["kind"], vec!["metadata"]];
    paths.extend(of_metadata.iter().map(|field| vec!["metadata", *field]));
    paths.iter().map(Vec::as_slice).collect()
});

/// Parts of built-in kinds that are there whether anybody writes them or not: in Kubernetes they are structs, which cannot be absent,
/// or lists that are null.
const STRUCTS: [&[&str]; 26] = [
    &["metadata"],
    &["spec"],
    &["status"],
    &["spec", "strategy"],
    &["spec", "updateStrategy"],
    &["spec", "template"],
    &["spec", "template", "metadata"],
    &["spec", "template", "spec"],
    &["spec", "containers"],
    &["spec", "template", "spec", "containers"],
    &["spec", "jobTemplate"],
    &["spec", "jobTemplate", "metadata"],
    &["spec", "jobTemplate", "spec"],
    &["spec", "jobTemplate", "spec", "template"],
    &["spec", "jobTemplate", "spec", "template", "metadata"],
    &["spec", "jobTemplate", "spec", "template", "spec"],
    &["spec", "jobTemplate", "spec", "template", "spec", "containers"],
    &["spec", "podSelector"],
    &["spec", "resources"],
    &["spec", "scaleTargetRef"],
    &["status", "acceptedNames"],
    &["status", "conditions"],
    &["status", "loadBalancer"],
    &["spec", "names"],
    &["involvedObject"],
    &["source"],
];

/// Under which rules somebody writes.
#[derive(Debug)]
pub struct Context<'a> {
    /// The schema of the object.
    pub schema: &'a Schema,
    /// Who writes.
    pub manager: Manager,
    /// Fields that this write cannot set, such as the status of an object that has it as a subresource.
    pub ignored: FieldSet,
    /// Whether the kind is one of Kubernetes' own.
    pub built_in: bool,
}

impl Context<'_> {
    /// The object before anybody wrote it.
    fn empty(&self, object: &Value) -> Value {
        let mut empty = Value::Object(Map::new());
        if !self.built_in {
            return empty;
        }
        for path in STRUCTS {
            let found = path.iter().try_fold(object, |value, step| value.get(step));
            let blank = match found {
                Some(Value::Object(_)) => Value::Object(Map::new()),
                Some(Value::Array(_)) => Value::Null,
                _ => continue,
            };
            let mut place = &mut empty;
            for step in path {
                place = &mut place[*step];
            }
            *place = blank;
        }
        empty
    }
}

/// The schema of objects of which nothing is known.
pub fn untyped() -> &'static Schema {
    &typed::UNTYPED
}

/// The set without the fields that nobody manages.
fn strip(set: FieldSet) -> FieldSet {
    set.difference(&NOBODYS)
}

/// Takes `metadata.managedFields` out of an object.
pub fn take(object: &mut Value) -> Value {
    let fields = object.get_mut("metadata").and_then(Value::as_object_mut);
    fields
        .and_then(|metadata| metadata.shift_remove("managedFields"))
        .unwrap_or_default()
}

/// Puts the managers into an object that has none.
pub fn put(object: &mut Value, managers: &Managers) {
    if let Some(value) = managers.to_value() {
        objects::metadata_mut(object).insert("managedFields".into(), value);
    }
}

/// The managers that a write starts from: those that the client sent, unless they are unusable or none; then those of the live object.
/// A list with a single empty entry asks for there to be none.
pub fn of_request(sent: &Value, live: Option<&Value>) -> Managers {
    if let Value::Array(entries) = sent
        && let [Value::Object(only)] = entries.as_slice()
        && only.is_empty()
    {
        return Managers::default();
    }
    match Managers::of_value(sent) {
        Some(managers) if !managers.0.is_empty() => managers,
        _ => live.map(of_object).unwrap_or_default(),
    }
}

/// The managers of a stored object; none if they are unreadable.
pub fn of_object(object: &Value) -> Managers {
    objects::metadata(object)
        .get("managedFields")
        .and_then(Managers::of_value)
        .unwrap_or_default()
}

/// Leaves an object as it was if a write changed nothing but times in `managedFields`: that is no change.
pub fn forget_new_times(object: &mut Value, old: &Value) {
    let list = |object: &Value| objects::metadata(object).get("managedFields").cloned();
    let (Some(Value::Array(new)), Some(Value::Array(before))) = (list(object), list(old)) else {
        return;
    };
    let equal_but_for_time = |(new, before): (&Value, &Value)| {
        let (Some(new), Some(before)) = (new.as_object(), before.as_object()) else {
            return false;
        };
        let fields = |entry: &Map<String, Value>| entry.keys().filter(|name| *name != "time").count();
        fields(new) == fields(before)
            && new
                .iter()
                .all(|(name, value)| name == "time" || before.get(name) == Some(value))
    };
    if new.len() != before.len() || !new.iter().zip(&before).all(equal_but_for_time) {
        return;
    }
    let kept = std::mem::replace(
        &mut objects::metadata_mut(object)["managedFields"],
        Value::Array(before),
    );
    if object != old {
        objects::metadata_mut(object).insert("managedFields".into(), kept);
    }
}
