//! CustomResourceDefinitions: their defaults, what makes one valid, the resources that they declare, and the conditions
//! that say how far their serving has come.
//!
//! The order that clients count on: validate and store the definition; [`accept`] its names; serve [`resources`] from
//! `Kinds`, so that routes, discovery and OpenAPI know them; only then write the status of [`establish`].

pub mod checks;
pub mod conditions;

use std::sync::Arc;

use serde_json::{Value, json};

pub use self::checks::validate;
pub use self::conditions::{accept, establish};
use super::catalog::version_priority;
use super::{CUSTOM_VERBS, Form, Origin, Resource, ScalePaths, SelectableField, Storage, Subresources};
use crate::schema::Schema;
use crate::table::{Column, column::Source};

/// The finalizer that keeps a definition until its objects are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what a definition leaves out: names derived from the kind, conversion `None`.
pub fn fill_defaults(definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !kind.is_empty() {
            names
                .entry("singular")
                .or_insert_with(|| Value::from(kind.to_lowercase()));
            names
                .entry("listKind")
                .or_insert_with(|| Value::from(format!("{kind}List")));
        }
    }
    spec.entry("conversion")
        .or_insert_with(|| json!({"strategy": "None"}));
}

/// Remembers that objects may be kept in the storage version from now on.
pub fn remember_stored_version(definition: &mut Value) {
    let stored = conditions::stored_versions(&definition["spec"], &definition["status"]);
    if let Some(status) = definition.get_mut("status").and_then(Value::as_object_mut) {
        status.insert("storedVersions".to_owned(), json!(stored));
    }
}

/// The resources that a valid definition declares, one for each version. Versions that are not served are there too,
/// marked so.
pub fn resources(definition: &Value) -> Vec<Resource> {
    let spec = &definition["spec"];
    let storage_version = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|version| version["storage"] == true)
        .map_or("", |version| text(&version["name"]));
    let versions = spec["versions"].as_array().into_iter().flatten();
    versions
        .map(|version| resource(definition, version, storage_version))
        .collect()
}

fn resource(definition: &Value, version: &Value, storage_version: &str) -> Resource {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let kind = text(&names["kind"]);
    let or = |value: &Value, fallback: String| match text(value) {
        "" => fallback,
        given => given.to_owned(),
    };
    let published = version["schema"].get("openAPIV3Schema");
    let mut schema = Schema::of_custom_resource(published);
    schema.preserve_unknown_fields |= spec["preserveUnknownFields"] == true;
    Resource {
        group: text(&spec["group"]).to_owned(),
        version: text(&version["name"]).to_owned(),
        kind: kind.to_owned(),
        list_kind: or(&names["listKind"], format!("{kind}List")),
        plural: text(&names["plural"]).to_owned(),
        singular: or(&names["singular"], kind.to_lowercase()),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        verbs: CUSTOM_VERBS,
        subresources: subresources(version),
        selectable_fields: version["selectableFields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|field| SelectableField::at(text(&field["jsonPath"])))
            .collect(),
        columns: columns(version),
        schema: Some(Arc::new(schema)),
        published: published.cloned().map(Arc::new),
        strategic: false,
        unconditional_update: false,
        create_on_update: false,
        served: version["served"] == true,
        storage: Storage {
            group: text(&spec["group"]).to_owned(),
            version: storage_version.to_owned(),
            plural: text(&names["plural"]).to_owned(),
            form: Form::SameShape,
        },
        deprecation_warning: deprecation_warning(definition, version),
        without_effect: None,
        origin: Origin::Definition(text(&definition["metadata"]["name"]).to_owned()),
    }
}

fn subresources(version: &Value) -> Subresources {
    let declared = &version["subresources"];
    let scale = declared
        .get("scale")
        .filter(|scale| scale.is_object())
        .map(|scale| ScalePaths {
            spec_replicas: text(&scale["specReplicasPath"]).to_owned(),
            status_replicas: text(&scale["statusReplicasPath"]).to_owned(),
            label_selector: scale["labelSelectorPath"]
                .as_str()
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
        });
    Subresources {
        status: declared.get("status").is_some_and(Value::is_object),
        scale,
        others: Vec::new(),
    }
}

fn columns(version: &Value) -> Vec<Column> {
    let declared = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten();
    declared
        .map(|column| Column {
            name: text(&column["name"]).to_owned(),
            value_type: text(&column["type"]).to_owned(),
            format: text(&column["format"]).to_owned(),
            description: match text(&column["description"]) {
                "" => {
                    "Custom resource definition column (in JSONPath format): ".to_owned()
                        + text(&column["jsonPath"])
                }
                given => given.to_owned(),
            },
            priority: column["priority"].as_i64().unwrap_or(0),
            source: Source::path(text(&column["jsonPath"])),
        })
        .collect()
}

fn deprecation_warning(definition: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    Some(match text(&version["deprecationWarning"]) {
        "" => {
            let spec = &definition["spec"];
            let (group, kind) = (text(&spec["group"]), text(&spec["names"]["kind"]));
            let name = text(&version["name"]);
            let mut warning = format!("{group}/{name} {kind} is deprecated");
            if let Some(newer) = successor(spec, name) {
                warning.push_str(&format!("; use {group}/{newer} {kind}"));
            }
            warning
        }
        given => given.to_owned(),
    })
}

/// The highest version that is served, not deprecated, and ranks above another.
fn successor<'a>(spec: &'a Value, version: &str) -> Option<&'a str> {
    let versions = spec["versions"].as_array().into_iter().flatten();
    versions
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .map(|other| text(&other["name"]))
        .filter(|other| version_priority(other) > version_priority(version))
        .max_by_key(|other| version_priority(other))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|value| text(value).to_owned())
        .collect()
}
