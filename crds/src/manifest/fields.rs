//! Fields that a kind does not know: without an API server nobody else would tell of a slip of the pen.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

/// Refuses an object of our group whose kind is unknown, or whose spec has a field that the kind does not know.
/// Others' objects pass.
pub(super) fn check(object: &Value) -> Result<(), String> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    if text("apiVersion").split('/').next() != Some(crate::GROUP) {
        return Ok(());
    }
    let definitions = crate::definitions();
    let Some(definition) = definitions
        .iter()
        .find(|definition| definition.spec.names.kind == text("kind"))
    else {
        let kinds = definitions.iter().map(|known| known.spec.names.kind.as_str());
        return Err(format!(
            "kind: {:?} is unknown; {} has {}",
            text("kind"),
            crate::GROUP,
            kinds.collect::<Vec<_>>().join(", ")
        ));
    };
    let versions = definition.spec.versions.iter();
    let schemas = versions.filter_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let unknown = schemas
        .filter_map(|schema| schema.properties.as_ref()?.get("spec"))
        .find_map(|schema| unknown_field(&object["spec"], schema, "spec"));
    match unknown {
        None => Ok(()),
        Some(what) => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            Err(format!("{} {name}: {what}", text("kind")))
        }
    }
}

/// The first field that the schema does not know, and what it knows there.
fn unknown_field(value: &Value, schema: &JSONSchemaProps, path: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match (schema.properties.as_ref(), schema.additional_properties.as_ref()) {
                (Some(known), _) => match known.get(name) {
                    Some(schema) => unknown_field(value, schema, &path),
                    None => Some(format!(
                        "{path} is unknown; known are {}",
                        known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
                    )),
                },
                (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => unknown_field(value, schema, &path),
                _ => None,
            }
        }),
        Value::Array(items) => match schema.items.as_ref()? {
            JSONSchemaPropsOrArray::Schema(schema) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| unknown_field(item, schema, &format!("{path}[{index}]"))),
            JSONSchemaPropsOrArray::Schemas(_) => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(limits: &Value) -> Value {
        json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeNode",
            "metadata": { "name": "robot", "any": 1 }, "spec": { "limits": limits },
        })
    }

    #[test]
    fn a_slip_of_the_pen_is_told_with_what_is_known_there() {
        check(&node(&json!({ "memory": "1Gi" }))).unwrap();
        let told = check(&node(&json!({ "memry": "1Gi" }))).unwrap_err();
        assert!(
            told.starts_with("EdgeNode robot: spec.limits.memry is unknown; known are "),
            "{told}"
        );
        assert!(told.contains("memory"), "{told}");
    }

    #[test]
    fn fields_in_lists_are_looked_at() {
        let model = json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "Model", "metadata": { "name": "m" },
            "spec": { "variants": [{ "name": "q4", "url": "file:///m" }] },
        });
        let told = check(&model).unwrap_err();
        assert!(told.contains("spec.variants[0].url is unknown"), "{told}");
    }

    #[test]
    fn an_unknown_kind_of_ours_is_told_and_others_pass() {
        let mut object = node(&json!({}));
        object["kind"] = json!("EdgeNod");
        assert!(check(&object).unwrap_err().contains("EdgeNode, "));
        object["apiVersion"] = json!("example.com/v1");
        check(&object).unwrap();
    }
}
