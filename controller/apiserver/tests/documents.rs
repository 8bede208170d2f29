//! Tables, discovery and OpenAPI of built-in kinds and of a custom resource, over the routers that serve them.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::sync::Arc;

use apiserver::kinds::{Kinds, definition};
use apiserver::table::{IncludeObject, partial_metadata_list, table};
use apiserver::{discovery, openapi};
use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn kinds() -> Arc<Kinds> {
    let mut definition = json!({
        "metadata": {"name": "widgets.edge.test"},
        "spec": {
            "group": "edge.test", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "additionalPrinterColumns": [
                    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {
                    "type": "object", "description": "A widget.",
                    "properties": {
                        "spec": {"type": "object", "description": "What is wanted.", "properties": {
                            "replicas": {"type": "integer", "description": "How many."},
                            "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                                         "x-kubernetes-preserve-unknown-fields": true},
                        }},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    },
                }},
            }],
        },
    });
    definition::fill_defaults(&mut definition);
    assert_eq!(definition::validate(&definition, None), vec![]);
    let kinds = Kinds::new();
    kinds.serve_definition("widgets.edge.test", definition::resources(&definition));
    Arc::new(kinds)
}

async fn get(path: &str, headers: &[(header::HeaderName, &str)]) -> Response<Body> {
    let kinds = kinds();
    let router = discovery::routes(kinds.clone()).merge(openapi::routes(kinds));
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| {
        request.header(name, *value)
    });
    router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

async fn text_of(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json_of(response: Response<Body>) -> Value {
    assert_eq!(response.status(), StatusCode::OK);
    serde_json::from_str(&text_of(response).await).unwrap()
}

#[test]
fn a_table_of_custom_resources_has_their_printer_columns() {
    let widgets = kinds().find("edge.test", "v1", "widgets").unwrap();
    let objects = [
        json!({
            "metadata": {"name": "a", "creationTimestamp": "2026-11-23T11:55:00Z"}, "spec": {"replicas": 3},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]},
        }),
        json!({"metadata": {"name": "b", "creationTimestamp": "2026-11-21T11:55:00Z"}, "spec": {"replicas": "three"}}),
    ];
    let metadata = json!({"resourceVersion": "7", "continue": "next", "name": "not of a list"});
    let printed = table(
        &widgets,
        &objects,
        &metadata,
        IncludeObject::Metadata,
        true,
        now(),
    );
    assert_eq!(printed["kind"], "Table");
    assert_eq!(
        printed["metadata"],
        json!({"resourceVersion": "7", "continue": "next"})
    );
    let headings: Vec<&Value> = printed["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| &column["name"])
        .collect();
    assert_eq!(json!(headings), json!(["Name", "Ready", "Replicas", "Age"]));
    assert_eq!(printed["columnDefinitions"][2]["priority"], 1);
    assert_eq!(printed["rows"][0]["cells"], json!(["a", "True", 3, "5m"]));
    assert_eq!(printed["rows"][1]["cells"], json!(["b", null, null, "2d"]));
    assert_eq!(printed["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert!(printed["rows"][0]["object"].get("spec").is_none());

    let whole = table(&widgets, &objects, &metadata, IncludeObject::Object, false, now());
    assert_eq!(whole["columnDefinitions"], Value::Null);
    assert_eq!(whole["rows"][0]["object"], objects[0]);
    let none = table(&widgets, &objects, &metadata, IncludeObject::None, true, now());
    assert_eq!(none["rows"][0]["object"], Value::Null);
}

#[test]
fn built_in_kinds_print_the_columns_that_people_know() {
    let created = "2026-11-23T11:59:30Z";
    let cases = [
        (
            "",
            "namespaces",
            json!({"status": {"phase": "Active"}}),
            json!(["n", "Active", "30s"]),
        ),
        (
            "",
            "configmaps",
            json!({"data": {"a": "b"}, "binaryData": {"c": "YQ=="}}),
            json!(["n", 2, "30s"]),
        ),
        (
            "",
            "secrets",
            json!({"type": "Opaque", "data": {"a": "YQ=="}}),
            json!(["n", "Opaque", 1, "30s"]),
        ),
        (
            "coordination.k8s.io",
            "leases",
            json!({"spec": {"holderIdentity": "me"}}),
            json!(["n", "me", "30s"]),
        ),
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            json!({}),
            json!(["n", "2026-11-23T11:59:30Z"]),
        ),
        (
            "",
            "events",
            json!({
                "involvedObject": {"kind": "Widget", "name": "w"}, "reason": "Made", "message": "made it\n",
                "type": "Normal", "lastTimestamp": "2026-11-23T11:58:30Z", "source": {"component": "maker"},
            }),
            json!(["90s", "Normal", "Made", "widget/w", "maker", "made it", "n"]),
        ),
    ];
    for (group, plural, mut object, cells) in cases {
        let resource = kinds().find(group, "v1", plural).unwrap();
        object["metadata"] = json!({"name": "n", "creationTimestamp": created});
        let printed = table(
            &resource,
            &[object],
            &json!({}),
            IncludeObject::Metadata,
            true,
            now(),
        );
        assert_eq!(printed["rows"][0]["cells"], cells, "{plural}");
        let headings = printed["columnDefinitions"].as_array().unwrap().len();
        assert_eq!(headings, cells.as_array().unwrap().len(), "{plural}");
    }
}

#[test]
fn a_list_can_be_reduced_to_metadata() {
    let list =
        json!({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "a"}, "spec": {}}]});
    assert_eq!(
        partial_metadata_list(&list),
        json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "9"},
            "items": [{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}}],
        })
    );
}

#[tokio::test]
async fn discovery_is_aggregated_for_those_who_ask() {
    let response = get("/apis", &[(header::ACCEPT, AGGREGATED)]).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(response.headers()[header::VARY], "Accept");
    let etag = response.headers()[header::ETAG].to_str().unwrap().to_owned();
    let list = json_of(response).await;
    let groups: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["metadata"]["name"])
        .collect();
    assert_eq!(
        json!(groups),
        json!([
            "admissionregistration.k8s.io",
            "apiextensions.k8s.io",
            "apiregistration.k8s.io",
            "apps",
            "authentication.k8s.io",
            "authorization.k8s.io",
            "autoscaling",
            "batch",
            "certificates.k8s.io",
            "coordination.k8s.io",
            "discovery.k8s.io",
            "edge.test",
            "events.k8s.io",
            "flowcontrol.apiserver.k8s.io",
            "networking.k8s.io",
            "node.k8s.io",
            "policy",
            "rbac.authorization.k8s.io",
            "scheduling.k8s.io",
            "storage.k8s.io",
            "storagemigration.k8s.io"
        ])
    );
    let widgets = &list["items"][11]["versions"][0]["resources"][0];
    assert_eq!(widgets["resource"], "widgets");
    assert_eq!(
        widgets["responseKind"],
        json!({"group": "edge.test", "version": "v1", "kind": "Widget"})
    );
    assert_eq!(widgets["scope"], "Namespaced");
    assert_eq!(widgets["shortNames"], json!(["wd"]));
    let subresources = widgets["subresources"].as_array().unwrap();
    assert_eq!(subresources[0]["subresource"], "status");
    assert_eq!(
        subresources[1]["responseKind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );

    let unchanged = get(
        "/apis",
        &[(header::ACCEPT, AGGREGATED), (header::IF_NONE_MATCH, &etag)],
    )
    .await;
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);

    let core = json_of(get("/api", &[(header::ACCEPT, AGGREGATED)]).await).await;
    assert!(core["items"][0]["metadata"].get("name").is_none());
}

#[tokio::test]
async fn older_clients_find_each_group_and_version() {
    assert_eq!(json_of(get("/api", &[]).await).await["versions"], json!(["v1"]));
    let groups = json_of(get("/apis", &[]).await).await;
    assert_eq!(
        groups["groups"][11]["preferredVersion"],
        json!({"groupVersion": "edge.test/v1", "version": "v1"})
    );
    assert_eq!(
        json_of(get("/apis/edge.test", &[]).await).await["kind"],
        "APIGroup"
    );
    let resources = json_of(get("/apis/edge.test/v1", &[]).await).await;
    assert_eq!(resources["groupVersion"], "edge.test/v1");
    let names: Vec<&Value> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(
        json!(names),
        json!(["widgets", "widgets/status", "widgets/scale"])
    );
    assert_eq!(resources["resources"][2]["group"], "autoscaling");
    let core = json_of(get("/api/v1", &[]).await).await;
    assert!(
        core["resources"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "serviceaccounts/token")
    );

    let missing = get("/apis/nobody.test", &[]).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert!(
        missing.headers()[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    assert_eq!(text_of(missing).await, "404 page not found\n");
}

#[tokio::test]
async fn openapi_documents_are_named_by_their_content() {
    let index = json_of(get("/openapi/v3", &[]).await).await;
    let url = index["paths"]["apis/edge.test/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(index["paths"].get("api/v1").is_some());
    let response = get(&url, &[]).await;
    assert_eq!(response.headers()[header::CACHE_CONTROL], "public, immutable");
    let document = json_of(response).await;
    let patch = &document["paths"]["/apis/edge.test/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "edge.test", "version": "v1", "kind": "Widget"})
    );
    let parameters: Vec<&Value> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(
        json!(parameters),
        json!(["dryRun", "fieldManager", "fieldValidation", "force"])
    );
    assert!(
        patch["requestBody"]["content"]
            .get("application/strategic-merge-patch+json")
            .is_none()
    );

    let widget = &document["components"]["schemas"]["test.edge.v1.Widget"];
    assert_eq!(
        widget["x-kubernetes-group-version-kind"],
        json!([{"group": "edge.test", "kind": "Widget", "version": "v1"}])
    );
    assert_eq!(
        widget["properties"]["spec"]["properties"]["replicas"]["description"],
        "How many."
    );
    let template = &widget["properties"]["spec"]["properties"]["template"];
    assert!(
        template["properties"]["metadata"]["allOf"][0]["$ref"]
            .as_str()
            .unwrap()
            .ends_with("v1.ObjectMeta")
    );

    let stale = get("/openapi/v3/apis/edge.test/v1?hash=ABC123", &[]).await;
    assert_eq!(stale.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(stale.headers()[header::LOCATION], url.as_str());
    assert_eq!(
        get("/openapi/v3/apis/nobody.test/v1", &[]).await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn every_reference_of_a_document_is_answered_in_it() {
    let index = json_of(get("/openapi/v3", &[]).await).await;
    for (path, entry) in index["paths"].as_object().unwrap() {
        let document = json_of(get(entry["serverRelativeURL"].as_str().unwrap(), &[]).await).await;
        let mut references = Vec::new();
        collect_references(&document, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{path} does not have {name}"
            );
        }
    }
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields
                .values()
                .for_each(|field| collect_references(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
