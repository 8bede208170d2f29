//! The CustomResourceDefinitions as they are shipped: not drifted, structural, bounded, documented.

use std::{fs, path::Path};

use kube::CustomResourceExt as _;
use serde_json::Value;

fn schema_of(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn all() -> Vec<Value> {
    crds::definitions()
        .iter()
        .map(|definition| serde_json::to_value(definition).expect("a definition is plain data"))
        .collect()
}

/// Calls `look` with each node of a schema and its path.
fn walk(path: &str, schema: &Value, look: &mut dyn FnMut(&str, &Value)) {
    look(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), child, look);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&format!("{path}{suffix}"), &schema[key], look);
        }
    }
}

#[test]
fn the_chart_ships_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/edgeloom/files/crds");
    let definitions = crds::definitions();
    for definition in &definitions {
        let file = folder.join(format!("{}.yaml", definition.spec.names.plural));
        let shipped = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            shipped == crds::manifest::print(definition),
            "{} has drifted from the types: run `make generate`",
            file.display()
        );
    }
    assert_eq!(
        fs::read_dir(folder).unwrap().count(),
        definitions.len(),
        "a CRD file that no kind stands for"
    );
}

#[test]
fn every_list_has_a_type_and_a_bound() {
    for definition in all() {
        walk(
            definition["spec"]["names"]["kind"].as_str().unwrap(),
            schema_of(&definition),
            &mut |path, node| {
                if node["type"] == "array" {
                    assert!(node["maxItems"].is_u64(), "{path} has no maxItems");
                    assert!(
                        node["x-kubernetes-list-type"].is_string(),
                        "{path} has no list type"
                    );
                }
            },
        );
    }
}

#[test]
fn map_lists_have_keys_that_are_required_or_defaulted() {
    for definition in all() {
        walk(
            definition["spec"]["names"]["kind"].as_str().unwrap(),
            schema_of(&definition),
            &mut |path, node| {
                for key in node["x-kubernetes-list-map-keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                {
                    let items = &node["items"];
                    let required = items["required"]
                        .as_array()
                        .is_some_and(|names| names.contains(key));
                    let property = &items["properties"][key.as_str().unwrap()];
                    assert!(property.is_object(), "{path}: key {key} is no property");
                    assert!(
                        required || !property["default"].is_null(),
                        "{path}: key {key} may be absent"
                    );
                }
            },
        );
    }
}

#[test]
fn schemas_are_structural() {
    const ONLY_OUTSIDE_LOGIC: [&str; 4] = ["properties", "default", "description", "additionalProperties"];
    for definition in all() {
        walk(
            definition["spec"]["names"]["kind"].as_str().unwrap(),
            schema_of(&definition),
            &mut |path, node| {
                let free = node["x-kubernetes-int-or-string"] == true
                    || node["x-kubernetes-preserve-unknown-fields"] == true;
                assert!(free || node["type"].is_string(), "{path} has no type: {node}");
                for logic in ["anyOf", "oneOf", "allOf"] {
                    for branch in node[logic].as_array().into_iter().flatten() {
                        for keyword in ONLY_OUTSIDE_LOGIC {
                            assert!(branch[keyword].is_null(), "{path}: {keyword} inside {logic}");
                        }
                        assert!(
                            branch["type"].is_null() || free,
                            "{path}: type inside {logic}: {branch}"
                        );
                    }
                }
                assert!(node["$ref"].is_null(), "{path} is a reference");
                if let Some(format) = node["format"].as_str() {
                    let known = ["int32", "int64", "date-time"].contains(&format);
                    assert!(
                        known,
                        "{path}: format {format} is unknown to Kubernetes, which would warn"
                    );
                }
            },
        );
    }
}

#[test]
fn every_kind_is_found_by_category_and_a_short_name_of_its_own() {
    let mut short_names = std::collections::BTreeSet::new();
    for definition in crds::definitions() {
        let names = definition.spec.names;
        assert_eq!(
            names.categories,
            Some(vec!["edgeloom".to_owned()]),
            "{}",
            names.kind
        );
        for short in names.short_names.expect("a short name") {
            assert!(short_names.insert(short.clone()), "{short} is taken twice");
        }
    }
}

#[test]
fn every_kind_has_a_status_of_its_own() {
    for definition in all() {
        let version = &definition["spec"]["versions"][0];
        assert!(
            version["subresources"]["status"].is_object(),
            "{}",
            definition["metadata"]["name"]
        );
    }
}

#[test]
fn defaults_of_the_types_and_of_the_schema_agree() {
    let minimal = serde_json::json!({ "models": [{ "name": "m" }] });
    let spec: crds::LLMServiceSpec = serde_json::from_value(minimal).unwrap();
    let written = serde_json::to_value(spec).unwrap();
    let definition = serde_json::to_value(crds::LLMService::crd()).unwrap();
    let schema = &schema_of(&definition)["properties"]["spec"]["properties"];
    for (name, property) in schema.as_object().unwrap() {
        if !property["default"].is_null() {
            assert_eq!(property["default"], written[name], "spec.{name}");
        }
    }
}
