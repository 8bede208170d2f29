//! What an `openAPIV3Schema` may contain: Kubernetes' rules for structural schemas, with a clear cause for each breach.
//!
//! In short: every node has a type; `allOf`, `anyOf`, `oneOf` and `not` only constrain what is declared outside of them;
//! what cannot be pruned, defaulted or applied is refused; defaults, patterns and CEL rules must themselves be right.

mod branches;
mod extensions;
mod rules;

use serde_json::{Map, Value, json};

use self::branches::{branch_causes, branches};
use self::extensions::extension_causes;
use self::rules::rule_causes;
use super::cel::budget;
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

/// All causes for which the schema at `field` (such as `spec.versions[0].schema.openAPIV3Schema`) is not structural.
pub fn validate(schema: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    node_causes(schema, field, Position::Root, &mut causes);
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
    if causes.is_empty() {
        let schema = Schema::parse(schema);
        default_causes(&schema, field, &mut causes);
        causes.extend(budget::causes(&schema, field));
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
