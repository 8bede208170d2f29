//! How far the serving of a definition has come: `status` with NamesAccepted and Established.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{text, texts};
use crate::kinds::{Catalog, Origin, Resource};

/// The status of a definition whose names were compared with what is served. The names that are free are accepted; the
/// definition may be served when NamesAccepted is true ([`names_accepted`]).
pub fn accept(definition: &Value, catalog: &Catalog, now: Timestamp) -> Value {
    let spec = &definition["spec"];
    let name = text(&definition["metadata"]["name"]);
    let conflict = names_conflict(spec, name, catalog);
    let mut status = definition["status"].as_object().cloned().unwrap_or_default();
    if conflict.is_none() {
        status.insert("acceptedNames".to_owned(), spec["names"].clone());
    } else if !status.contains_key("acceptedNames") {
        status.insert("acceptedNames".to_owned(), json!({"kind": "", "plural": ""}));
    }
    let stored = stored_versions(spec, &Value::Object(status.clone()));
    status.insert("storedVersions".to_owned(), json!(stored));
    let condition = match &conflict {
        None => (
            "NamesAccepted",
            "True",
            "NoConflicts",
            "no conflicts found".to_owned(),
        ),
        Some((reason, message)) => ("NamesAccepted", "False", *reason, message.clone()),
    };
    set_condition(&mut status, condition, now);
    let is_established = condition_is_true(&Value::Object(status.clone()), "Established");
    if !is_established {
        let (reason, message) = match conflict {
            None => ("Installing", "the initial names have been accepted"),
            Some(_) => ("NotAccepted", "not all names are accepted"),
        };
        set_condition(
            &mut status,
            ("Established", "False", reason, message.to_owned()),
            now,
        );
    }
    Value::Object(status)
}

/// The status of a definition that is now served everywhere: routes, discovery and OpenAPI.
pub fn establish(status: &Value, now: Timestamp) -> Value {
    let mut status = status.as_object().cloned().unwrap_or_default();
    let message = "the initial names have been accepted".to_owned();
    set_condition(
        &mut status,
        ("Established", "True", "InitialNamesAccepted", message),
        now,
    );
    Value::Object(status)
}

/// The status of a definition that is to be deleted, before anybody has begun with its objects.
pub fn await_termination(status: &Value, now: Timestamp) -> Value {
    let mut status = status.as_object().cloned().unwrap_or_default();
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(
        &mut status,
        (
            "Terminating",
            "True",
            "InstanceDeletionPending",
            message.to_owned(),
        ),
        now,
    );
    Value::Object(status)
}

/// The status of a definition that is being deleted: it stays until its objects are gone.
pub fn terminate(status: &Value, now: Timestamp) -> Value {
    let mut status = status.as_object().cloned().unwrap_or_default();
    let message = "CustomResource deletion is in progress".to_owned();
    set_condition(
        &mut status,
        ("Terminating", "True", "InstanceDeletionInProgress", message),
        now,
    );
    Value::Object(status)
}

/// Whether a status says that the names are accepted.
pub fn names_accepted(status: &Value) -> bool {
    condition_is_true(status, "NamesAccepted")
}

/// Whether a status says that the definition is served.
pub fn is_established(status: &Value) -> bool {
    condition_is_true(status, "Established")
}

fn condition_is_true(status: &Value, name: &str) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|one| one["type"] == name && one["status"] == "True")
}

/// Which of the definition's names another resource of the group already has.
fn names_conflict(spec: &Value, name: &str, catalog: &Catalog) -> Option<(&'static str, String)> {
    let group = text(&spec["group"]);
    let own = Origin::Definition(name.to_owned());
    let others: Vec<&Resource> = catalog
        .all()
        .map(AsRef::as_ref)
        .filter(|other| other.group == group && other.origin != own)
        .collect();
    let names = &spec["names"];
    let mut words: Vec<(String, &'static str)> = vec![
        (text(&names["plural"]).to_owned(), "PluralConflict"),
        (text(&names["singular"]).to_owned(), "SingularConflict"),
    ];
    words.extend(
        texts(&names["shortNames"])
            .into_iter()
            .map(|short| (short, "ShortNamesConflict")),
    );
    let taken_word = |word: &str| {
        others.iter().any(|other| {
            other.plural == word
                || other.singular == word
                || other.short_names.iter().any(|short| short == word)
        })
    };
    let taken_kind = |kind: &str| {
        others
            .iter()
            .any(|other| other.kind == kind || other.list_kind == kind)
    };
    words
        .into_iter()
        .find(|(word, _)| !word.is_empty() && taken_word(word))
        .map(|(word, reason)| (reason, format!("\"{word}\" is already in use")))
        .or_else(|| {
            [("kind", "KindConflict"), ("listKind", "ListKindConflict")]
                .into_iter()
                .find_map(|(field, reason)| {
                    let kind = text(&names[field]);
                    taken_kind(kind).then(|| (reason, format!("\"{kind}\" is already in use")))
                })
        })
}

/// The versions in which objects may be kept: those of before, and the present one.
pub(super) fn stored_versions(spec: &Value, status: &Value) -> Vec<String> {
    let mut stored = texts(&status["storedVersions"]);
    for version in spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
    {
        let name = text(&version["name"]).to_owned();
        if !stored.contains(&name) {
            stored.push(name);
        }
    }
    stored
}

type Condition<'words> = (&'words str, &'words str, &'words str, String);

/// Sets a condition; its time of transition changes only when its status does.
fn set_condition(
    status: &mut Map<String, Value>,
    (name, value, reason, message): Condition<'_>,
    now: Timestamp,
) {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    let since = conditions
        .iter()
        .find(|one| one["type"] == name && one["status"] == value)
        .and_then(|one| one["lastTransitionTime"].as_str().map(str::to_owned))
        .unwrap_or(now);
    let next = json!({
        "lastTransitionTime": since, "message": message, "reason": reason, "status": value, "type": name,
    });
    match conditions.iter_mut().find(|one| one["type"] == name) {
        Some(present) => *present = next,
        None => conditions.push(next),
    }
}
