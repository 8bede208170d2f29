//! Answers of kube-apiserver 1.37 to the requests of `tests/conformance/cases.py`, word by word.

use serde_json::{Value, json};

use crate::harness::{Harness, WIDGETS};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const DEFAULT: &str = "/api/v1/namespaces/default";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn with_map() -> Harness {
    let harness = Harness::new().await;
    let map = json!({"metadata": {"name": "one"}, "data": {"a": "1"}});
    assert_eq!(harness.send("POST", MAPS, &map).await.code, 201);
    harness
}

/// Sends texts, and checks code and message.
async fn check(harness: &Harness, cases: &[(&str, &str, &str, &str, u16, &str)]) {
    for (method, path, media_type, body, code, message) in cases {
        let answer = harness
            .send_text(media_type, method, path, (*body).to_owned())
            .await;
        assert_eq!(
            (answer.code, answer.body["message"].as_str().unwrap_or_default()),
            (*code, *message),
            "{method} {path} {media_type} {body}"
        );
    }
}

#[tokio::test]
async fn bodies_that_are_no_objects_are_told_in_gos_words() {
    let harness = with_map().await;
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
    let no_kind = "couldn't get version/kind; json parse error: ";
    let type_meta = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    for (body, why) in [
        ("{", format!("{no_kind}unexpected end of JSON input ({{)")),
        ("", format!("{no_kind}unexpected end of JSON input (<empty>)")),
        (
            "nope",
            format!("{no_kind}invalid character 'o' in literal null (expecting 'u') (6e6f7065)"),
        ),
        (
            "[]",
            format!("{no_kind}json: cannot unmarshal array into Go value of type {type_meta} (5b5d)"),
        ),
    ] {
        let message = format!("{unrecognized}{why}");
        check(&harness, &[("POST", MAPS, JSON, body, 400, &message)]).await;
    }
    let no_widget = "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse error: \
                     unexpected end of JSON input (5b31)";
    check(&harness, &[("POST", WIDGETS, JSON, "[1", 400, no_widget)]).await;
}

#[tokio::test]
async fn bodies_of_another_kind_or_type_are_told_in_gos_words() {
    let harness = with_map().await;
    check(
        &harness,
        &[
            (
                "POST", MAPS, JSON, r#"{"kind":"Secret","metadata":{"name":"x"}}"#, 400,
                "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
            ),
            (
                "POST", DEPLOYMENTS, JSON, r#"{"apiVersion":"apps/v1beta9","kind":"Deployment","metadata":{"name":"x"}}"#, 400,
                "Deployment in version \"v1beta9\" cannot be handled as a Deployment: no kind \"Deployment\" is registered for version \
                 \"apps/v1beta9\" in scheme \"pkg/runtime/scheme.go:111\"",
            ),
            (
                "POST", WIDGETS, JSON, r#"{"apiVersion":"edge.test/v1","kind":"Other","metadata":{"name":"x"}}"#, 422,
                "Other.edge.test \"x\" is invalid: kind: Invalid value: \"Other\": must be Widget",
            ),
            (
                "POST", MAPS, JSON, r#"{"metadata":{"name":"x"},"data":["a"]}"#, 400,
                "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal array into Go struct field \
                 ConfigMap.data of type map[string]string",
            ),
            (
                "POST", MAPS, JSON, r#"{"metadata":{"name":"x"},"data":{"a":1}}"#, 400,
                "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field \
                 ConfigMap.data of type string",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn patches_that_are_none_are_told_in_gos_words() {
    let harness = with_map().await;
    let one = format!("{MAPS}/one");
    let one = one.as_str();
    check(
        &harness,
        &[
            ("PATCH", one, MERGE, "{", 400, "invalid JSON patch"),
            (
                "PATCH", one, MERGE, "[]", 400,
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            ("PATCH", one, MERGE, "null", 400, "Invalid JSON Patch"),
            (
                "PATCH", one, JSON_PATCH, r#"{"op":"add"}"#, 400,
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            (
                "PATCH", one, STRATEGIC, "[]", 400,
                "json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            (
                "PATCH", one, STRATEGIC, r#"{"data":{"$patch":"explode"}}"#, 500,
                "unknown patch type: explode in map: map[$patch:explode]",
            ),
            ("PATCH", one, STRATEGIC, r#"{"data":{"$retainKeys":1}}"#, 400, "invalid patch format of retainKeys"),
            ("PATCH", one, JSON, "{}", 415, "415: Unsupported Media Type"),
            ("PATCH", "/api/v1/namespaces/default/configmaps/two?fieldManager=m", APPLY, "", 400, "invalid object type: /, Kind="),
        ],
    )
    .await;
    assert_eq!(
        harness.send_as(STRATEGIC, "PATCH", one, &Value::Null).await.code,
        400
    );
    assert_eq!(
        harness
            .send_text(STRATEGIC, "PATCH", one, "null".into())
            .await
            .code,
        200
    );
}

#[tokio::test]
async fn an_unknown_field_in_a_patch_quotes_the_patched_object() {
    let harness = with_map().await;
    let path = format!("{MAPS}/one?fieldValidation=Strict");
    let refused = harness.send_as(MERGE, "PATCH", &path, &json!({"zz": 1})).await;
    assert_eq!(refused.code, 422);
    let message = refused.body["message"].as_str().unwrap_or_default();
    let begin = r#" "" is invalid: patch: Invalid value: "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"1\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"one\",\"namespace\":\"default\",\"uid\":"#;
    assert!(message.starts_with(begin), "{message}");
    assert!(
        message.ends_with(r#",\"zz\":1}": strict decoding error: unknown field "zz""#),
        "{message}"
    );
}

#[tokio::test]
async fn a_conflict_is_told_before_a_field_that_stands_twice() {
    let harness = Harness::new().await;
    let path = |manager: &str| format!("{MAPS}/applied?fieldManager={manager}&fieldValidation=Strict");
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: '1'}\n";
    let made = harness.send_text(APPLY, "PATCH", &path("one"), body.into()).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let doubled = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata:\n  a: p\n  a: q\n";
    let conflict = harness
        .send_text(APPLY, "PATCH", &path("two"), doubled.into())
        .await;
    assert_eq!(
        (conflict.code, &conflict.body["reason"]),
        (409, &json!("Conflict"))
    );
    let refused = harness
        .send_text(APPLY, "PATCH", &path("one"), doubled.into())
        .await;
    assert_eq!(refused.code, 400);
    let kept = harness
        .send("GET", &format!("{MAPS}/applied"), &Value::Null)
        .await;
    assert_eq!(kept.body["data"], json!({"a": "1"}));
}

#[tokio::test]
async fn queries_are_refused_in_upstreams_words() {
    let harness = with_map().await;
    let one = format!("{MAPS}/one");
    for (path, code, message) in [
        (
            format!("{MAPS}?labelSelector=a%20b%20c"),
            400,
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        (
            format!("{MAPS}?continue=nonsense"),
            400,
            "invalid continue token: continue key is not valid: invalid character '\\u009e' looking for beginning of value",
        ),
        (
            format!("{MAPS}?continue=e30"),
            400,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version ",
        ),
        (
            format!("{MAPS}?limit=many"),
            400,
            "strconv.ParseInt: parsing \"many\": invalid syntax",
        ),
        (
            format!("{MAPS}?watch=true&resourceVersionMatch=Exact&timeoutSeconds=1"),
            422,
            "ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch \
             unless sendInitialEvents is provided, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \
             \"NotOlderThan\"]",
        ),
        (
            format!("{one}/nothing"),
            404,
            "the server could not find the requested resource",
        ),
        (
            format!("{WIDGETS}/w/nothing"),
            404,
            "widgets.edge.test \"w\" not found",
        ),
    ] {
        let answer = harness.send("GET", &path, &Value::Null).await;
        assert_eq!(
            (answer.code, answer.body["message"].as_str()),
            (code, Some(message)),
            "{path}"
        );
    }
    assert_eq!(
        harness
            .send("GET", &format!("{MAPS}?limit=-1"), &Value::Null)
            .await
            .code,
        200
    );
}

#[tokio::test]
async fn representations_are_refused_in_upstreams_words() {
    let harness = with_map().await;
    let one = format!("{MAPS}/one");
    let half = format!("{one}?includeObject=Half");
    let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let list = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (path, accept, code, message) in [
        (
            one.as_str(),
            "application/xml",
            406,
            "406: Not Acceptable\n\nAvailable representations: application/json",
        ),
        (
            one.as_str(),
            list,
            406,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
        (
            MAPS,
            metadata,
            406,
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            WIDGETS,
            metadata,
            406,
            "you requested PartialObjectMetadata, but the requested object is a list (*unstructured.UnstructuredList)",
        ),
        (
            half.as_str(),
            table,
            400,
            "Unable to convert to Table as requested: includeObject: Invalid value: \"Half\": must be 'Metadata', 'Object', 'None', or \
             empty",
        ),
    ] {
        let answer = harness.get_accepting(path, accept).await;
        assert_eq!(
            (answer.code, answer.body["message"].as_str()),
            (code, Some(message)),
            "{path} {accept}"
        );
    }
    assert_eq!(harness.get_accepting(&half, JSON).await.code, 200);
    let rows = harness.get_accepting(MAPS, table).await;
    assert_eq!(rows.body["columnDefinitions"][1]["type"], "string");
    let widgets = harness.send("GET", WIDGETS, &Value::Null).await;
    assert_eq!(widgets.body["metadata"]["continue"], "");
}

#[tokio::test]
async fn deletions_are_refused_in_upstreams_words() {
    let harness = with_map().await;
    let one = format!("{MAPS}/one");
    let unknown = format!("{one}?propagationPolicy=Some");
    for (path, body, message) in [
        (
            unknown.as_str(),
            Value::Null,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Some\": supported values: \
             \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        ),
        (
            one.as_str(),
            json!({"orphanDependents": true, "propagationPolicy": "Orphan"}),
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and \
             deletionPropagation cannot be both set",
        ),
    ] {
        let refused = harness.send("DELETE", path, &body).await;
        assert_eq!(
            (refused.code, refused.body["message"].as_str()),
            (422, Some(message))
        );
    }
    let other = json!({"preconditions": {"uid": "other"}});
    let refused = harness.send("DELETE", &one, &other).await;
    assert_eq!(refused.body["details"]["kind"], "ConfigMap");
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.edge.test";
    let going = harness.send("DELETE", definition, &Value::Null).await.body;
    assert_eq!(going["metadata"]["generation"], 1);
    assert_eq!(going["metadata"].get("deletionGracePeriodSeconds"), None);
    let conditions = going["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let pending = |one: &Value| one["type"] == "Terminating" && one["reason"] == "InstanceDeletionPending";
    assert!(conditions.iter().any(pending), "{going}");
}

#[tokio::test]
async fn reviews_are_objects_with_managers() {
    let harness = Harness::new().await;
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let nothing = harness.send("POST", reviews, &json!({"spec": {}})).await;
    let message = ".authorization.k8s.io \"\" is invalid: spec: Invalid value: null: exactly one of nonResourceAttributes or \
                   resourceAttributes must be specified";
    assert_eq!(
        (nothing.code, nothing.body["message"].as_str()),
        (422, Some(message))
    );
    let asked = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let answer = harness.send("POST", reviews, &asked).await.body;
    let fields = json!({"f:spec": {"f:nonResourceAttributes": {".": {}, "f:path": {}, "f:verb": {}}}});
    assert_eq!(answer["metadata"]["managedFields"][0]["fieldsV1"], fields);
}

#[tokio::test]
async fn parts_that_are_always_there_are_nobodys() {
    let harness = Harness::new().await;
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let selector = json!({"matchLabels": {"a": "b"}});
    let spec = json!({"selector": selector, "template": template});
    let fields = |body: &Value, path: &str| {
        let set = &body["metadata"]["managedFields"][0]["fieldsV1"];
        set.pointer(path).cloned().unwrap_or_else(|| panic!("{set}"))
    };
    let body = json!({"metadata": {"name": "d"}, "spec": spec});
    let made = harness.send("POST", DEPLOYMENTS, &body).await.body;
    let containers = fields(&made, "/f:spec/f:template/f:spec/f:containers");
    assert_eq!(containers.get("."), None);
    assert!(containers.get("k:{\"name\":\"c\"}").is_some(), "{containers}");

    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    let made = harness.send("POST", sets, &body).await.body;
    let count = "deprecated.daemonset.template.generation";
    assert_eq!(made["metadata"]["annotations"][count], "1");
    let patch = json!({"spec": {"template": {"spec": {"dnsPolicy": "Default"}}}});
    let changed = harness
        .send_as(MERGE, "PATCH", &format!("{sets}/d"), &patch)
        .await
        .body;
    assert_eq!(changed["metadata"]["annotations"][count], "2");
    let scaled = harness
        .send_as(
            MERGE,
            "PATCH",
            &format!("{sets}/d"),
            &json!({"spec": {"minReadySeconds": 3}}),
        )
        .await
        .body;
    assert_eq!(scaled["metadata"]["annotations"][count], "2");
}

#[tokio::test]
async fn a_pod_has_the_priority_of_its_class_and_tolerates_lost_nodes() {
    let harness = Harness::new().await;
    let class = json!({"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"});
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    assert_eq!(harness.send("POST", classes, &class).await.code, 201);
    let pods = format!("{DEFAULT}/pods?dryRun=All");
    let pod = |more: &Value| {
        let mut spec =
            json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 1}}}]});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        json!({"metadata": {"name": "p"}, "spec": spec})
    };
    for (more, priority, policy) in [
        (json!({}), 0, "PreemptLowerPriority"),
        (json!({"priorityClassName": "high"}), 7, "Never"),
        (
            json!({"priorityClassName": "system-node-critical"}),
            2_000_001_000,
            "PreemptLowerPriority",
        ),
    ] {
        let made = harness.send("POST", &pods, &pod(&more)).await;
        assert_eq!(made.code, 201, "{}", made.body);
        assert_eq!(made.body["spec"]["priority"], priority);
        assert_eq!(made.body["spec"]["preemptionPolicy"], policy);
        assert_eq!(made.body["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            made.body["spec"]["containers"][0]["resources"]["requests"]["cpu"],
            "1"
        );
    }
    for (more, why) in [
        (
            json!({"priorityClassName": "none"}),
            "no PriorityClass with name none was found",
        ),
        (
            json!({"priority": 3}),
            "the integer value of priority (3) must not be provided in pod spec; priority admission controller computed 0 from the \
             given PriorityClass name",
        ),
    ] {
        let refused = harness.send("POST", &pods, &pod(&more)).await;
        let message = format!("pods \"p\" is forbidden: {why}");
        assert_eq!(
            (refused.code, refused.body["message"].as_str()),
            (403, Some(message.as_str()))
        );
    }
    let patient = json!({"tolerations": [{"operator": "Exists"}]});
    let made = harness.send("POST", &pods, &pod(&patient)).await;
    assert_eq!(made.body["spec"]["tolerations"], json!([{"operator": "Exists"}]));
}
