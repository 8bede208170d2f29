//! `allOf`, `anyOf`, `oneOf` and `not`: they only constrain what is declared outside of them.

use serde_json::Value;

use super::keyword_causes;
use super::rules::rule_causes;
use crate::status::Cause;

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

/// A node inside `allOf`, `anyOf`, `oneOf` or `not`; `outside` is the node that it constrains.
pub(super) fn branch_causes(
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
pub(super) fn branches<'node>(node: &'node Value, field: &str) -> Vec<(&'node Value, String)> {
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
