//! Schemas of the built-in kinds, from Kubernetes' own types in `k8s-openapi`: for validation here, and as they stand for
//! the OpenAPI documents.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::kinds::strategic;
use crate::schema::{Schema, metadata};

/// Where components of an OpenAPI document refer to one another.
pub const REFERENCE_PREFIX: &str = "#/components/schemas/";

/// The component of every object's `metadata`.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The component of every list's `metadata`.
pub const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Components whose type says `object` where any JSON value is meant.
const ANY_JSON: [&str; 4] = [
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
];

/// The components of all built-in kinds, and their names by (apiVersion, kind).
struct Types {
    components: BTreeMap<String, Value>,
    names: BTreeMap<(&'static str, &'static str), String>,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    use k8s_openapi::api::{authentication, authorization, coordination, core, events};
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
    use k8s_openapi::apimachinery::pkg::apis::meta;

    let mut generator = SchemaGenerator::new(SchemaSettings::openapi3());
    let mut names = BTreeMap::new();
    macro_rules! served {
        ($($type:ty),* $(,)?) => {$(
            generator.subschema_for::<$type>();
            let key = (
                <$type as k8s_openapi::Resource>::API_VERSION,
                <$type as k8s_openapi::Resource>::KIND,
            );
            names.insert(key, <$type as k8s_openapi::schemars::JsonSchema>::schema_name().into_owned());
        )*};
    }
    served!(
        core::v1::Namespace,
        core::v1::ConfigMap,
        core::v1::Secret,
        core::v1::ServiceAccount,
        core::v1::Event,
        core::v1::Node,
        core::v1::Service,
        events::v1::Event,
        coordination::v1::Lease,
        apiextensions::v1::CustomResourceDefinition,
        authentication::v1::TokenRequest,
        authentication::v1::TokenReview,
        authentication::v1::SelfSubjectReview,
        authorization::v1::SelfSubjectAccessReview,
        authorization::v1::SelfSubjectRulesReview,
        authorization::v1::SubjectAccessReview,
        authorization::v1::LocalSubjectAccessReview,
        k8s_openapi::api::autoscaling::v1::Scale,
    );
    generator.subschema_for::<meta::v1::ObjectMeta>();
    generator.subschema_for::<meta::v1::ListMeta>();
    generator.subschema_for::<meta::v1::Status>();
    generator.subschema_for::<meta::v1::DeleteOptions>();
    let mut components: BTreeMap<String, Value> = generator.take_definitions(true).into_iter().collect();
    for (name, component) in &mut components {
        tidy(name, component);
        strategic::publish(name, component);
    }
    for ((api_version, kind), name) in &names {
        if let Some(component) = components.get_mut(name) {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            component["x-kubernetes-group-version-kind"] =
                json!([{"group": group, "kind": kind, "version": version}]);
        }
    }
    Types { components, names }
});

/// All components that built-in kinds need, by name, as an OpenAPI v3 document has them.
pub fn components() -> &'static BTreeMap<String, Value> {
    &TYPES.components
}

/// The component's name for a built-in kind.
pub fn component_name(api_version: &str, kind: &str) -> Option<&'static str> {
    TYPES
        .names
        .iter()
        .find(|(key, _)| **key == (api_version, kind))
        .map(|(_, name)| name.as_str())
}

/// The schema of a built-in kind for pruning and validation.
pub fn schema_of(api_version: &str, kind: &str) -> Option<Schema> {
    let mut raw = inline(component_name(api_version, kind)?, &mut Vec::new());
    // Types that are decoded into structs have every field; "required" is said by `rules` where it matters.
    forget_required(&mut raw);
    let mut schema = Schema::parse(&raw).with_nulls_absent();
    schema
        .properties
        .insert("metadata".to_owned(), Arc::new(metadata::object_meta().clone()));
    Some(schema)
}

/// Kubernetes publishes `JSON` without a type, and `metadata` is never required of a client.
fn tidy(name: &str, component: &mut Value) {
    let Value::Object(fields) = component else { return };
    if ANY_JSON.contains(&name) {
        fields.retain(|key, _| key == "description");
    }
    if let Some(Value::Array(required)) = fields.get_mut("required") {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            fields.shift_remove("required");
        }
    }
}

/// A component with its references replaced by what they refer to. A component that contains itself is cut there: below
/// that, anything is kept.
fn inline(name: &str, above: &mut Vec<String>) -> Value {
    let anything = || json!({"x-kubernetes-preserve-unknown-fields": true});
    if ANY_JSON.contains(&name) || above.iter().any(|one| one == name) {
        return anything();
    }
    let Some(component) = components().get(name) else {
        return anything();
    };
    above.push(name.to_owned());
    let mut inlined = component.clone();
    inline_references(&mut inlined, above);
    above.pop();
    let Value::Object(fields) = &mut inlined else {
        return inlined;
    };
    let is_free_form = fields.get("type").is_some_and(|kind| kind == "object")
        && !fields.contains_key("properties")
        && !fields.contains_key("additionalProperties");
    if is_free_form {
        fields.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            Value::Bool(true),
        );
    }
    inlined
}

fn inline_references(value: &mut Value, above: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = referred(fields) {
                *value = inline(&name, above);
                return;
            }
            for field in fields.values_mut() {
                inline_references(field, above);
            }
        }
        Value::Array(items) => {
            for item in items {
                inline_references(item, above);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The component that a node refers to: `{"$ref": …}` or `{"allOf": [{"$ref": …}], "description": …}`.
fn referred(fields: &Map<String, Value>) -> Option<String> {
    let direct = |fields: &Map<String, Value>| {
        fields
            .get("$ref")?
            .as_str()?
            .strip_prefix(REFERENCE_PREFIX)
            .map(str::to_owned)
    };
    direct(fields).or_else(|| match fields.get("allOf")?.as_array()?.as_slice() {
        [Value::Object(only)] => direct(only),
        _ => None,
    })
}

fn forget_required(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| !(name == "required" && value.is_array()));
            fields.values_mut().for_each(forget_required);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_required),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
