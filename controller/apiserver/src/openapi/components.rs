//! Component schemas: those of built-in kinds as Kubernetes publishes them, those of custom resources from their
//! definitions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::kinds::builtin::types::{self, LIST_META, OBJECT_META, REFERENCE_PREFIX};
use crate::kinds::{Catalog, Resource};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// All components that the document of a group and version refers to.
pub fn of_group_version(catalog: &Catalog, group: &str, version: &str) -> BTreeMap<String, Value> {
    let mut components = BTreeMap::new();
    for name in [OBJECT_META, LIST_META, STATUS, DELETE_OPTIONS] {
        add_with_references(name, &mut components);
    }
    for resource in catalog.in_version(group, version) {
        let name = name_of(resource);
        if resource.is_custom() {
            components.insert(name.clone(), of_custom_resource(resource));
        } else {
            add_with_references(&name, &mut components);
        }
        if resource.subresources.scale.is_some() {
            add_with_references(SCALE, &mut components);
        }
        components.insert(list_name_of(resource), of_list(resource));
    }
    components
}

/// The component of `autoscaling/v1 Scale`.
pub const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// The name of a kind's component: the group reversed, the version and the kind.
pub fn name_of(resource: &Resource) -> String {
    if let Some(name) = types::component_name(&resource.api_version(), &resource.kind) {
        return name.to_owned();
    }
    format!(
        "{}.{}.{}",
        reversed(&resource.group),
        resource.version,
        resource.kind
    )
}

/// The name of the component of a kind's list.
pub fn list_name_of(resource: &Resource) -> String {
    let name = name_of(resource);
    let kind_starts = name.len() - resource.kind.len();
    format!("{}{}", &name[..kind_starts], resource.list_kind)
}

/// A reference to a component.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("{REFERENCE_PREFIX}{name}")})
}

fn reversed(group: &str) -> String {
    group.rsplit('.').collect::<Vec<_>>().join(".")
}

/// Adds a built-in component and all that it refers to.
fn add_with_references(name: &str, components: &mut BTreeMap<String, Value>) {
    if components.contains_key(name) {
        return;
    }
    let Some(component) = types::components().get(name) else {
        return;
    };
    components.insert(name.to_owned(), component.clone());
    for_each_reference(component, &mut |referred| {
        add_with_references(referred, components)
    });
}

fn for_each_reference(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
                visit(name.trim_start_matches(REFERENCE_PREFIX));
            }
            fields.values().for_each(|field| for_each_reference(field, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| for_each_reference(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The component of a custom resource's kind, from its definition.
pub fn of_custom_resource(resource: &Resource) -> Value {
    let published = resource.published.as_deref();
    let mut schema = match published {
        // Below a root that keeps unknown fields, nothing that is said of fields could be relied upon.
        Some(schema) if schema["x-kubernetes-preserve-unknown-fields"] != true => complete(schema),
        Some(_) | None => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    add_object_fields(&mut schema);
    schema["x-kubernetes-group-version-kind"] = group_version_kinds(resource, &resource.kind);
    schema
}

/// A definition's schema with `apiVersion`, `kind` and `metadata` added to embedded resources.
fn complete(schema: &Value) -> Value {
    let Value::Object(fields) = schema else {
        return schema.clone();
    };
    let mut completed = Map::new();
    for (keyword, value) in fields {
        let value = match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => properties
                .iter()
                .map(|(name, property)| (name.clone(), complete(property)))
                .collect(),
            ("items" | "additionalProperties", nested) => complete(nested),
            (_, other) => other.clone(),
        };
        completed.insert(keyword.clone(), value);
    }
    let mut completed = Value::Object(completed);
    if schema["x-kubernetes-embedded-resource"] == true {
        add_object_fields(&mut completed);
    }
    completed
}

fn add_object_fields(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let declared = match fields.shift_remove("properties") {
        Some(Value::Object(declared)) => declared,
        _ => Map::new(),
    };
    let mut properties = object_fields(OBJECT_META, "Standard object's metadata.");
    properties.extend(declared.into_iter().filter(|(name, _)| name != "metadata"));
    fields.insert("properties".to_owned(), Value::Object(properties));
}

fn object_fields(metadata: &str, description: &str) -> Map<String, Value> {
    let mut properties = Map::new();
    // Described as in every type of Kubernetes: any of them will do.
    let described = types::component_name("v1", "ConfigMap").and_then(|name| types::components().get(name));
    for field in ["apiVersion", "kind"] {
        let description = described.and_then(|one| one["properties"].get(field));
        let text = description.cloned().unwrap_or_else(|| json!({"type": "string"}));
        properties.insert(field.to_owned(), text);
    }
    properties.insert(
        "metadata".to_owned(),
        json!({"description": description, "allOf": [reference(metadata)]}),
    );
    properties
}

fn of_list(resource: &Resource) -> Value {
    let mut properties = object_fields(LIST_META, "Standard list metadata.");
    let description = format!("List of {}.", resource.plural);
    let items = json!({"allOf": [reference(&name_of(resource))]});
    properties.insert(
        "items".to_owned(),
        json!({"description": description, "type": "array", "items": items}),
    );
    json!({
        "description": format!("{} is a list of {}.", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": properties,
        "x-kubernetes-group-version-kind": group_version_kinds(resource, &resource.list_kind),
    })
}

fn group_version_kinds(resource: &Resource, kind: &str) -> Value {
    json!([{"group": resource.group, "kind": kind, "version": resource.version}])
}
