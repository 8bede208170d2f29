//! OpenAPI v2, for clients of old and generators: one document of everything, made from those of v3.
//!
//! It says less than v3 does: alternatives are left out, and what may be null, or keeps fields that nobody described, has no
//! type, as upstream publishes it.

use serde_json::{Map, Value, json};

use super::components::{self, name_of};
use super::group_version_document;
use crate::kinds::builtin::types::REFERENCE_PREFIX;
use crate::kinds::{Catalog, Resource};

/// Where definitions refer to one another.
const DEFINITIONS: &str = "#/definitions/";
/// Keywords that v2 does not have.
const ALTERNATIVES: [&str; 4] = ["allOf", "anyOf", "oneOf", "not"];

/// The document of the whole catalog.
pub fn document(catalog: &Catalog) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for (group, versions) in catalog.groups() {
        for version in versions {
            let mut of_version = group_version_document(catalog, group, version);
            if let Value::Object(items) = of_version["paths"].take() {
                paths.extend(items.into_iter().map(|(path, item)| (path, path_item(item))));
            }
            if let Value::Object(schemas) = of_version["components"]["schemas"].take() {
                definitions.extend(schemas.into_iter().map(|(name, one)| (name, schema(one))));
            }
        }
    }
    for resource in catalog.all().filter(|resource| resource.is_custom()) {
        definitions.insert(name_of(resource), schema(of_custom_resource(resource)));
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes-compatible API", "version": "unversioned"},
        "paths": paths,
        "definitions": definitions,
    })
}

/// A definition's schema; below a root that keeps unknown fields clients would refuse what is not described, so nothing is.
fn of_custom_resource(resource: &Resource) -> Value {
    let keeps_all = resource
        .published
        .as_deref()
        .is_none_or(|schema| schema["x-kubernetes-preserve-unknown-fields"] == true);
    let mut schema = components::of_custom_resource(resource);
    if keeps_all && let Value::Object(fields) = &mut schema {
        fields.retain(|key, _| matches!(key.as_str(), "type" | "x-kubernetes-group-version-kind"));
    }
    schema
}

/// A schema without what v2 cannot say.
fn schema(mut schema: Value) -> Value {
    let Some(fields) = schema.as_object_mut() else {
        return schema;
    };
    if let Some(name) = referred(fields) {
        let reference = Value::from(format!("{DEFINITIONS}{name}"));
        fields.retain(|key, _| key == "description" || key == "default");
        fields.insert("$ref".to_owned(), reference);
        return schema;
    }
    fields.retain(|key, _| !ALTERNATIVES.contains(&key.as_str()));
    let nullable = fields.shift_remove("nullable") == Some(Value::Bool(true));
    let keeps_all = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if nullable || keeps_all {
        for keyword in ["items", "properties"] {
            fields.shift_remove(keyword);
        }
    }
    let of_type = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    if nullable || (keeps_all && of_type == "object") || (of_type == "array" && !fields.contains_key("items"))
    {
        fields.shift_remove("type");
    }
    forget_nullable_requirements(fields);
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for property in properties.values_mut() {
            *property = self::schema(property.take());
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(nested) = fields.get_mut(keyword) {
            *nested = self::schema(nested.take());
        }
    }
    schema
}

/// What may be null is not required.
fn forget_nullable_requirements(fields: &mut Map<String, Value>) {
    let Some(Value::Array(mut required)) = fields.shift_remove("required") else {
        return;
    };
    let properties = fields.get("properties");
    required.retain(|name| {
        let property = properties.and_then(|all| all.get(name.as_str()?));
        property.is_none_or(|property| property["nullable"] != true)
    });
    if !required.is_empty() {
        fields.insert("required".to_owned(), required.into());
    }
}

/// The component that a node of v3 stands for.
fn referred(fields: &Map<String, Value>) -> Option<String> {
    let of = |value: &Value| {
        let reference = value["$ref"].as_str()?;
        reference.strip_prefix(REFERENCE_PREFIX).map(str::to_owned)
    };
    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
        return reference.strip_prefix(REFERENCE_PREFIX).map(str::to_owned);
    }
    match fields.get("allOf")?.as_array()?.as_slice() {
        [only] => of(only),
        _ => None,
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(members) = item else { return item };
    let converted = members.into_iter().map(|(key, value)| {
        let value = if key == "parameters" {
            parameters(value)
        } else {
            operation(value)
        };
        (key, value)
    });
    Value::Object(converted.collect())
}

/// Parameters of v3 say their type in a schema, those of v2 themselves.
fn parameters(mut all: Value) -> Value {
    for parameter in all.as_array_mut().into_iter().flatten() {
        let Some(fields) = parameter.as_object_mut() else {
            continue;
        };
        if let Some(Value::Object(schema)) = fields.shift_remove("schema") {
            fields.extend(schema);
        }
    }
    all
}

fn operation(mut operation: Value) -> Value {
    let mut all = parameters(operation["parameters"].take());
    if let Some(body) = operation
        .as_object_mut()
        .and_then(|fields| fields.shift_remove("requestBody"))
    {
        let contents: Vec<(&String, &Value)> = body["content"].as_object().into_iter().flatten().collect();
        operation["consumes"] = contents
            .iter()
            .map(|(media_type, _)| *media_type)
            .cloned()
            .collect();
        if let (Some((_, content)), Some(list)) = (contents.first(), all.as_array_mut()) {
            list.push(json!({
                "name": "body", "in": "body", "required": body["required"] == true,
                "schema": schema(content["schema"].clone()),
            }));
        }
    } else {
        operation["consumes"] = json!(["*/*"]);
    }
    operation["produces"] = json!(["application/json"]);
    operation["schemes"] = json!(["https"]);
    operation["parameters"] = all;
    for response in operation["responses"].as_object_mut().into_iter().flatten() {
        let answer = response.1["content"]["application/json"]["schema"].take();
        if let Some(fields) = response.1.as_object_mut() {
            fields.shift_remove("content");
            if !answer.is_null() {
                fields.insert("schema".to_owned(), schema(answer));
            }
        }
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_null_or_keeps_all_has_no_type() {
        let converted = schema(json!({
            "type": "object", "required": ["a", "b"],
            "properties": {
                "a": {"type": "string", "nullable": true},
                "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"c": {"type": "string"}}},
                "d": {"type": "array", "items": {"anyOf": [{"type": "string"}]}},
                "e": {"description": "metadata", "allOf": [{"$ref": "#/components/schemas/Meta"}]},
            },
        }));
        assert_eq!(
            converted,
            json!({
                "type": "object", "required": ["b"],
                "properties": {
                    "a": {},
                    "b": {"x-kubernetes-preserve-unknown-fields": true},
                    "d": {"type": "array", "items": {}},
                    "e": {"description": "metadata", "$ref": "#/definitions/Meta"},
                },
            })
        );
    }

    #[test]
    fn an_operation_has_its_body_among_its_parameters() {
        let converted = operation(json!({
            "parameters": [{"name": "dryRun", "in": "query", "schema": {"type": "string"}}],
            "requestBody": {"required": true, "content": {"*/*": {"schema": {"$ref": "#/components/schemas/W"}}}},
            "responses": {"200": {"description": "OK", "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/W"}},
            }}},
        }));
        assert_eq!(
            converted["parameters"],
            json!([
                {"name": "dryRun", "in": "query", "type": "string"},
                {"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/W"}},
            ])
        );
        assert_eq!(converted["responses"]["200"]["schema"]["$ref"], "#/definitions/W");
        assert_eq!(converted["consumes"], json!(["*/*"]));
    }
}
