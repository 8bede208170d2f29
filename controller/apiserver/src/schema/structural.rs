//! What an `openAPIV3Schema` may contain: Kubernetes' rules for structural schemas, with a clear cause for each breach.
//!
//! In short: every node has a type; `allOf`, `anyOf`, `oneOf` and `not` only constrain what is declared outside of them;
//! what cannot be pruned, defaulted or applied is refused; defaults, patterns and CEL rules must themselves be right.

use serde_json::{Map, Value, json};

use super::cel::Rule;
use super::{Schema, ValueType};
use crate::status::Cause;

/// Keywords of JSON Schema that structural schemas do without.
const UNSUPPORTED: [&str; 7] = [
    "$ref",
    "id",
    "definitions",
    "dependencies",
    "patternProperties",
    "additionalItems",
    "deprecated",
];

/// Keywords that describe a value's shape, and so may not stand inside `allOf`, `anyOf`, `oneOf` and `not`.
const SHAPE: [&str; 8] = [
    "description",
    "title",
    "default",
    "nullable",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
];

const BRANCHES: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// All causes for which the schema at `field` (such as `spec.versions[0].schema.openAPIV3Schema`) is not structural.
pub fn validate(schema: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    match schema["type"].as_str() {
        Some("object") => {}
        Some(other) => causes.push(Cause::invalid(
            format!("{field}.type"),
            json!(other),
            "must be object at the root",
        )),
        None => causes.push(Cause::required(
            format!("{field}.type"),
            "must not be empty at the root",
        )),
    }
    if schema["nullable"] == true {
        causes.push(Cause::forbidden(
            format!("{field}.nullable"),
            "nullable cannot be true at the root",
        ));
    }
    causes.extend(metadata_causes(
        &schema["properties"]["metadata"],
        &format!("{field}.properties[metadata]"),
    ));
    node_causes(schema, field, Position::Root, &mut causes);
    if causes.is_empty() {
        default_causes(&Schema::parse(schema), field, &mut causes);
    }
    causes
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Root,
    Field,
    Item,
    MapValue,
}

fn node_causes(node: &Value, field: &str, position: Position, causes: &mut Vec<Cause>) {
    let Some(keywords) = node.as_object() else {
        causes.push(Cause::invalid(field, node, "must be a schema"));
        return;
    };
    let set = |name: &str| node[name] == true;
    let int_or_string = set("x-kubernetes-int-or-string");
    let preserves = set("x-kubernetes-preserve-unknown-fields");
    match node["type"].as_str() {
        None if int_or_string || preserves || position == Position::Root => {}
        None => {
            let place = match position {
                Position::Item => "array items",
                Position::MapValue => "object values",
                Position::Root | Position::Field => "object fields",
            };
            causes.push(Cause::required(
                format!("{field}.type"),
                &format!("must not be empty for specified {place}"),
            ));
        }
        Some(_) if int_or_string => {
            let detail = "must be empty if x-kubernetes-int-or-string is true";
            causes.push(Cause::invalid(format!("{field}.type"), &node["type"], detail));
        }
        Some(name) if ValueType::parse(name).is_none() => {
            let known = ["array", "boolean", "integer", "number", "object", "string"].map(str::to_owned);
            causes.push(Cause::not_supported(
                format!("{field}.type"),
                &node["type"],
                &known,
            ));
        }
        Some(_) => {}
    }
    keyword_causes(keywords, field, causes);
    extension_causes(node, field, causes);
    rule_causes(node, field, causes);
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        if position == Position::Root && name == "metadata" {
            continue; // Judged on its own: it is a schema that the server completes.
        }
        node_causes(
            property,
            &format!("{field}.properties[{name}]"),
            Position::Field,
            causes,
        );
    }
    match node.get("items") {
        Some(Value::Array(_)) => {
            let detail = "items must be a schema object and not an array";
            causes.push(Cause::forbidden(format!("{field}.items"), detail));
        }
        Some(items) => node_causes(items, &format!("{field}.items"), Position::Item, causes),
        None if node["type"] == "array" => {
            causes.push(Cause::required(format!("{field}.items"), "must be specified"));
        }
        None => {}
    }
    if let Some(values) = node
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        node_causes(
            values,
            &format!("{field}.additionalProperties"),
            Position::MapValue,
            causes,
        );
    }
    for (branch, branch_field) in branches(node, field) {
        branch_causes(branch, node, &branch_field, int_or_string, causes);
    }
}

fn keyword_causes(keywords: &Map<String, Value>, field: &str, causes: &mut Vec<Cause>) {
    for name in UNSUPPORTED.iter().filter(|name| keywords.contains_key(**name)) {
        causes.push(Cause::forbidden(
            format!("{field}.{name}"),
            &format!("{name} is not supported"),
        ));
    }
    if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(Cause::forbidden(format!("{field}.uniqueItems"), detail));
    }
    if keywords.get("additionalProperties") == Some(&Value::Bool(false)) {
        let detail = "additionalProperties cannot be set to false";
        causes.push(Cause::forbidden(format!("{field}.additionalProperties"), detail));
    }
    let has_properties = keywords
        .get("properties")
        .and_then(Value::as_object)
        .is_some_and(|map| !map.is_empty());
    if has_properties && keywords.contains_key("additionalProperties") {
        let detail = "additionalProperties and properties are mutual exclusive";
        causes.push(Cause::forbidden(format!("{field}.additionalProperties"), detail));
    }
    if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str)
        && let Err(error) = regex::Regex::new(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        causes.push(Cause::invalid(
            format!("{field}.pattern"),
            json!(pattern),
            &detail,
        ));
    }
}

fn extension_causes(node: &Value, field: &str, causes: &mut Vec<Cause>) {
    let mut refuse = |name: &str, detail: &str| {
        causes.push(Cause::invalid(format!("{field}.{name}"), &node[name], detail));
    };
    let value_type = node["type"].as_str();
    if node["x-kubernetes-preserve-unknown-fields"] == false {
        refuse(
            "x-kubernetes-preserve-unknown-fields",
            "must be true or undefined",
        );
    }
    if node["x-kubernetes-preserve-unknown-fields"] == true && value_type.is_some_and(|name| name != "object")
    {
        refuse(
            "type",
            "must be object or empty if x-kubernetes-preserve-unknown-fields is true",
        );
    }
    if node["x-kubernetes-embedded-resource"] == true {
        if value_type != Some("object") {
            refuse("type", "must be object if x-kubernetes-embedded-resource is true");
        }
        let says_something = node["properties"]
            .as_object()
            .is_some_and(|properties| !properties.is_empty());
        if !says_something && node["x-kubernetes-preserve-unknown-fields"] != true {
            let detail =
                "must be set to true if x-kubernetes-embedded-resource is true and properties is empty";
            refuse("x-kubernetes-preserve-unknown-fields", detail);
        }
    }
    match node["x-kubernetes-map-type"].as_str() {
        None => {}
        Some("granular" | "atomic") if value_type == Some("object") => {}
        Some("granular" | "atomic") => refuse("type", "must be object if x-kubernetes-map-type is specified"),
        Some(_) => refuse("x-kubernetes-map-type", "must be one of \"atomic\", \"granular\""),
    }
    match node["x-kubernetes-list-type"].as_str() {
        None => {}
        Some("atomic" | "set" | "map") if value_type == Some("array") => {}
        Some("atomic" | "set" | "map") => {
            refuse("type", "must be array if x-kubernetes-list-type is specified")
        }
        Some(_) => refuse(
            "x-kubernetes-list-type",
            "must be one of \"atomic\", \"set\", \"map\"",
        ),
    }
    list_key_causes(node, field, causes);
}

fn list_key_causes(node: &Value, field: &str, causes: &mut Vec<Cause>) {
    let keys_field = format!("{field}.x-kubernetes-list-map-keys");
    let keys = node["x-kubernetes-list-map-keys"].as_array();
    let is_map = node["x-kubernetes-list-type"] == "map";
    match keys {
        None if is_map => causes.push(Cause::required(
            &keys_field,
            "must not be empty if x-kubernetes-list-type is map",
        )),
        Some(_) if !is_map => {
            let detail = "must not be specified unless x-kubernetes-list-type is map";
            causes.push(Cause::forbidden(&keys_field, detail));
        }
        _ => {}
    }
    let items = &node["items"];
    if is_map && items["type"] != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(Cause::invalid(
            format!("{field}.items.type"),
            &items["type"],
            detail,
        ));
        return;
    }
    let required = items["required"].as_array().cloned().unwrap_or_default();
    for (index, key) in keys.into_iter().flatten().enumerate().filter(|_| is_map) {
        let name = key.as_str().unwrap_or_default();
        let property = &items["properties"][name];
        let key_field = format!("{keys_field}[{index}]");
        if property.is_null() {
            let detail = "entries must all be names of item properties";
            causes.push(Cause::invalid(key_field, key, detail));
        } else if matches!(property["type"].as_str(), Some("object" | "array")) {
            let detail = "entries must refer to item properties of scalar type";
            causes.push(Cause::invalid(key_field, key, detail));
        } else if !required.contains(key) && property.get("default").is_none() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                          property";
            causes.push(Cause::required(
                format!("{field}.items.properties[{name}].default"),
                detail,
            ));
        }
    }
}

fn rule_causes(node: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (index, raw) in node["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("{field}.x-kubernetes-validations[{index}]");
        let expression = raw["rule"].as_str().unwrap_or_default();
        if expression.trim().is_empty() {
            causes.push(Cause::required(format!("{field}.rule"), "rule is not specified"));
            continue;
        }
        if let Some(error) = Rule::parse(raw).compile_error() {
            let (name, detail) = match error.strip_prefix("messageExpression ") {
                Some(detail) => ("messageExpression", detail),
                None => ("rule", error),
            };
            causes.push(Cause::invalid(format!("{field}.{name}"), &raw[name], detail));
        }
        if let Some(message) = raw["message"].as_str() {
            if message.trim().is_empty() {
                let detail = "message must be non-empty if specified";
                causes.push(Cause::invalid(
                    format!("{field}.message"),
                    &raw["message"],
                    detail,
                ));
            } else if message.contains('\n') {
                let detail = "message must not contain line breaks";
                causes.push(Cause::invalid(
                    format!("{field}.message"),
                    &raw["message"],
                    detail,
                ));
            }
        } else if expression.trim().contains('\n') && raw.get("messageExpression").is_none() {
            let detail = "message must be specified if rule contains line breaks";
            causes.push(Cause::required(format!("{field}.message"), detail));
        }
        const REASONS: [&str; 4] = [
            "FieldValueRequired",
            "FieldValueInvalid",
            "FieldValueForbidden",
            "FieldValueDuplicate",
        ];
        if let Some(reason) = raw["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
            causes.push(Cause::not_supported(
                format!("{field}.reason"),
                json!(reason),
                &REASONS.map(str::to_owned),
            ));
        }
    }
}

/// A node inside `allOf`, `anyOf`, `oneOf` or `not`; `outside` is the node that it constrains.
fn branch_causes(
    branch: &Value,
    outside: &Value,
    field: &str,
    in_int_or_string: bool,
    causes: &mut Vec<Cause>,
) {
    let Some(keywords) = branch.as_object() else {
        return;
    };
    for name in SHAPE.iter().filter(|name| keywords.contains_key(**name)) {
        causes.push(Cause::forbidden(
            format!("{field}.{name}"),
            "must be empty to be structural",
        ));
    }
    // `anyOf: [{type: integer}, {type: string}]` is how int-or-string is written for other readers.
    let names_its_types = in_int_or_string && matches!(branch["type"].as_str(), Some("integer" | "string"));
    if keywords.contains_key("type") && !names_its_types {
        causes.push(Cause::forbidden(
            format!("{field}.type"),
            "must be empty to be structural",
        ));
    }
    keyword_causes(keywords, field, causes);
    rule_causes(branch, field, causes);
    for (name, property) in branch["properties"].as_object().into_iter().flatten() {
        let property_field = format!("{field}.properties[{name}]");
        match outside["properties"].get(name) {
            Some(declared) => branch_causes(property, declared, &property_field, false, causes),
            None => {
                let detail = format!("because it is defined in {property_field}");
                causes.push(Cause::required(
                    format!("{}.properties[{name}]", trunk(field)),
                    &detail,
                ));
            }
        }
    }
    if let Some(items) = branch.get("items") {
        branch_causes(items, &outside["items"], &format!("{field}.items"), false, causes);
    }
    for (inner, inner_field) in branches(branch, field) {
        branch_causes(inner, outside, &inner_field, in_int_or_string, causes);
    }
}

/// The nodes inside `allOf`, `anyOf`, `oneOf` and `not` of a node, with their fields.
fn branches<'node>(node: &'node Value, field: &str) -> Vec<(&'node Value, String)> {
    let mut found: Vec<(&Value, String)> = Vec::new();
    for name in BRANCHES {
        for (index, branch) in node[name].as_array().into_iter().flatten().enumerate() {
            found.push((branch, format!("{field}.{name}[{index}]")));
        }
    }
    if let Some(not) = node.get("not") {
        found.push((not, format!("{field}.not")));
    }
    found
}

/// The part of a field before its first branch: where a property has to be declared.
fn trunk(field: &str) -> &str {
    let cut = [".allOf[", ".anyOf[", ".oneOf[", ".not"]
        .iter()
        .filter_map(|mark| field.find(mark))
        .min();
    &field[..cut.unwrap_or(field.len())]
}

/// The server completes `metadata`; a schema may only restrict the object's name.
fn metadata_causes(metadata: &Value, field: &str) -> Vec<Cause> {
    let Some(keywords) = metadata.as_object() else {
        return Vec::new();
    };
    let only_names = metadata["properties"].as_object().is_none_or(|properties| {
        properties
            .keys()
            .all(|name| name == "name" || name == "generateName")
    });
    let only_shape = keywords
        .keys()
        .all(|name| matches!(name.as_str(), "type" | "description" | "properties"));
    if only_names && only_shape {
        return Vec::new();
    }
    let detail =
        "must not specify anything other than name and generateName, but metadata is implicitly specified";
    vec![Cause::forbidden(field, detail)]
}

/// Defaults must be what the schema takes, and complete in what they say.
fn default_causes(schema: &Schema, field: &str, causes: &mut Vec<Cause>) {
    if let Some(default) = &schema.default {
        let field = format!("{field}.default");
        let mut pruned = default.clone();
        if !schema.prune(&mut pruned).is_empty() {
            causes.push(Cause::invalid(&field, default, "must not have unknown fields"));
        }
        schema.fill_defaults(&mut pruned);
        causes.extend(schema.validate(&pruned, None).into_iter().map(|cause| {
            let field = if cause.field.is_empty() {
                field.clone()
            } else {
                format!("{field}.{}", cause.field)
            };
            Cause { field, ..cause }
        }));
    }
    for (name, property) in &schema.properties {
        default_causes(property, &format!("{field}.properties[{name}]"), causes);
    }
    if let Some(items) = &schema.items {
        default_causes(items, &format!("{field}.items"), causes);
    }
    if let super::Additional::Of(values) = &schema.additional {
        default_causes(values, &format!("{field}.additionalProperties"), causes);
    }
}
