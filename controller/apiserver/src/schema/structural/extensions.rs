//! The extensions `x-kubernetes-*` other than rules: where each may stand, and with what.

use serde_json::Value;

use crate::status::Cause;

pub(super) fn extension_causes(node: &Value, field: &str, causes: &mut Vec<Cause>) {
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
