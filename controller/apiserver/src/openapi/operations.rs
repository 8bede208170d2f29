//! Paths and operations of a resource.

use serde_json::{Map, Value, json};

use super::components::{SCALE, list_name_of, name_of, reference};
use crate::kinds::Resource;

/// The paths of a resource with their operations.
pub fn paths(resource: &Resource) -> Map<String, Value> {
    let root = if resource.group.is_empty() {
        "/api"
    } else {
        "/apis"
    };
    let root = format!("{root}/{}", resource.api_version());
    let mut paths = Map::new();
    let collection = if resource.namespaced {
        if resource.has_verb("list") {
            let all = path_item(resource, &[], vec![list_operation(resource)]);
            paths.insert(format!("{root}/{}", resource.plural), all);
        }
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let scope: &[&str] = if resource.namespaced { &["namespace"] } else { &[] };
    let named: Vec<&str> = std::iter::once("name").chain(scope.iter().copied()).collect();
    let own = name_of(resource);

    let mut on_collection = Vec::new();
    if resource.has_verb("list") {
        on_collection.push(list_operation(resource));
    }
    if resource.has_verb("create") {
        on_collection.push(("post", write_operation(resource, "post", &own)));
    }
    if resource.has_verb("deletecollection") {
        on_collection.push(("delete", delete_operation(resource, "deletecollection")));
    }
    paths.insert(collection.clone(), path_item(resource, scope, on_collection));
    if !resource.is_stored() {
        return paths;
    }

    let mut on_object = read_and_write(resource, &own);
    on_object.push(("delete", delete_operation(resource, "delete")));
    paths.insert(
        format!("{collection}/{{name}}"),
        path_item(resource, &named, on_object),
    );
    if resource.subresources.status {
        let operations = read_and_write(resource, &own);
        paths.insert(
            format!("{collection}/{{name}}/status"),
            path_item(resource, &named, operations),
        );
    }
    if resource.subresources.scale.is_some() {
        let mut operations = read_and_write(resource, SCALE);
        for (_, operation) in &mut operations {
            operation["x-kubernetes-group-version-kind"] =
                json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        }
        paths.insert(
            format!("{collection}/{{name}}/scale"),
            path_item(resource, &named, operations),
        );
    }
    paths
}

type Operation = (&'static str, Value);

fn path_item(resource: &Resource, parameters: &[&str], operations: Vec<Operation>) -> Value {
    let mut item: Map<String, Value> = operations
        .into_iter()
        .map(|(method, operation)| (method.to_owned(), operation))
        .collect();
    let described = |name: &&str| {
        let description = match *name {
            "name" => format!("name of the {}", resource.kind),
            _ => "object name and auth scope, such as for teams and projects".to_owned(),
        };
        json!({
            "name": name, "in": "path", "required": true, "description": description,
            "schema": {"type": "string", "uniqueItems": true},
        })
    };
    if !parameters.is_empty() {
        item.insert(
            "parameters".to_owned(),
            Value::Array(parameters.iter().map(described).collect()),
        );
    }
    Value::Object(item)
}

fn read_and_write(resource: &Resource, component: &str) -> Vec<Operation> {
    let mut operations = vec![("get", operation(resource, "get", component, &[], None))];
    operations.push(("put", write_operation(resource, "put", component)));
    operations.push(("patch", patch_operation(resource, component)));
    operations
}

fn list_operation(resource: &Resource) -> Operation {
    const PARAMETERS: [(&str, &str); 8] = [
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    (
        "get",
        operation(resource, "list", &list_name_of(resource), &PARAMETERS, None),
    )
}

const WRITE_PARAMETERS: [(&str, &str); 3] = [
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];

fn write_operation(resource: &Resource, action: &str, component: &str) -> Value {
    let body = json!({"required": true, "content": {"*/*": {"schema": reference(component)}}});
    operation(resource, action, component, &WRITE_PARAMETERS, Some(body))
}

fn patch_operation(resource: &Resource, component: &str) -> Value {
    let mut media_types = vec![
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    ];
    if resource.strategic {
        media_types.push("application/strategic-merge-patch+json");
    }
    let content: Map<String, Value> = media_types
        .into_iter()
        .map(|media_type| (media_type.to_owned(), json!({"schema": {"type": "object"}})))
        .collect();
    let mut parameters = WRITE_PARAMETERS.to_vec();
    parameters.push(("force", "boolean"));
    operation(
        resource,
        "patch",
        component,
        &parameters,
        Some(json!({"required": true, "content": content})),
    )
}

fn delete_operation(resource: &Resource, action: &str) -> Value {
    const PARAMETERS: [(&str, &str); 3] = [
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("propagationPolicy", "string"),
    ];
    let options = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
    let body = json!({"content": {"*/*": {"schema": reference(options)}}});
    operation(
        resource,
        action,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
        &PARAMETERS,
        Some(body),
    )
}

fn operation(
    resource: &Resource,
    action: &str,
    answer: &str,
    parameters: &[(&str, &str)],
    body: Option<Value>,
) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|(name, value_type)| json!({"name": name, "in": "query", "schema": {"type": value_type}}))
        .collect();
    let mut operation = json!({
        "description": format!("{action} {}", resource.kind),
        "parameters": parameters,
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": reference(answer)}}},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group, "version": resource.version, "kind": resource.kind,
        },
    });
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    operation
}
