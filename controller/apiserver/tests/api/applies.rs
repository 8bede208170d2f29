//! Server-side apply and managers over HTTP.

use serde_json::{Value, json};

use crate::harness::{Answer, Harness, WIDGETS};

const APPLY: &str = "application/apply-patch+yaml";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "edge.test/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

impl Harness {
    async fn apply(&self, manager: &str, name: &str, spec: Value) -> Answer {
        let path = format!("{WIDGETS}/{name}?fieldManager={manager}");
        self.send_as(APPLY, "PATCH", &path, &widget(name, spec)).await
    }
}

/// (manager, operation, subresource) of each entry.
/// By name: the object has them in the order of their times, which only tell seconds.
fn managers(object: &Value) -> Vec<(&str, &str, &str)> {
    let entries = object["metadata"]["managedFields"].as_array();
    let text = |value: &'static str, entry| -> &str {
        let entry: &Value = entry;
        entry[value].as_str().unwrap_or_default()
    };
    let mut managers: Vec<_> = entries
        .into_iter()
        .flatten()
        .map(|entry| {
            (
                text("manager", entry),
                text("operation", entry),
                text("subresource", entry),
            )
        })
        .collect();
    managers.sort_unstable();
    managers
}

fn message(answer: &Answer) -> &str {
    answer.body["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_apply_makes_changes_and_leaves_alone() {
    let harness = Harness::new().await;
    let made = harness.apply("me", "a", json!({"replicas": 1})).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(
        made.body["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {"f:replicas": {}}})
    );
    let again = harness.apply("me", "a", json!({"replicas": 1})).await;
    assert_eq!(
        (again.code, &again.body),
        (200, &made.body),
        "what changes nothing is not written"
    );
    let changed = harness.apply("me", "a", json!({"replicas": 2})).await;
    assert_eq!(changed.code, 200);
    assert_eq!(changed.body["metadata"]["generation"], 2);
    let other = harness.apply("other", "a", json!({"replicas": 3})).await;
    assert_eq!(other.code, 409);
    assert_eq!(
        message(&other),
        "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas"
    );
    assert_eq!(
        other.body["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"me\"", "field": ".spec.replicas"}])
    );
    let path = format!("{WIDGETS}/a?fieldManager=other&force=true");
    let forced = harness
        .send_as(APPLY, "PATCH", &path, &widget("a", json!({"replicas": 3})))
        .await;
    assert_eq!(
        (forced.code, managers(&forced.body)),
        (200, vec![("other", "Apply", "")])
    );
    let gone = harness.apply("other", "a", json!({"node": "n"})).await;
    assert_eq!(gone.body["spec"], json!({"node": "n"}));
}

#[tokio::test]
async fn other_writes_are_recorded_by_manager_or_program() {
    let harness = Harness::new().await;
    let body = json!({"metadata": {"name": "m"}, "data": {"a": "1"}});
    let made = harness
        .send("POST", &format!("{MAPS}?fieldManager=maker"), &body)
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let entry = &made.body["metadata"]["managedFields"][0];
    assert_eq!(entry["fieldsV1"], json!({"f:data": {".": {}, "f:a": {}}}));
    assert_eq!(
        (
            &entry["manager"],
            &entry["operation"],
            &entry["apiVersion"],
            &entry["fieldsType"]
        ),
        (
            &json!("maker"),
            &json!("Update"),
            &json!("v1"),
            &json!("FieldsV1")
        )
    );
    let path = format!("{MAPS}/m");
    let merge = "application/merge-patch+json";
    let patched = harness
        .send_as(merge, "PATCH", &path, &json!({"data": {"a": "2", "b": "3"}}))
        .await;
    assert_eq!(
        managers(&patched.body),
        [("maker", "Update", ""), ("unknown", "Update", "")]
    );
    let owned = &patched.body["metadata"]["managedFields"];
    assert_eq!(owned[0]["fieldsV1"], json!({"f:data": {}}));
    assert_eq!(owned[1]["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));

    let mut whole = patched.body.clone();
    whole["data"]["a"] = "4".into();
    let put = harness
        .send("PUT", &format!("{path}?fieldManager=maker"), &whole)
        .await;
    // The latest comes last, when it came in another second.
    let entries = put.body["metadata"]["managedFields"].as_array();
    let makers = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] == "maker");
    let fields: Vec<_> = makers.map(|entry| &entry["fieldsV1"]).collect();
    assert_eq!(fields, [&json!({"f:data": {".": {}, "f:a": {}}})], "{}", put.body);
    let unchanged = harness
        .send("PUT", &format!("{path}?fieldManager=new"), &put.body)
        .await;
    assert_eq!(unchanged.body, put.body, "who changes nothing manages nothing");
    let cleared = harness
        .send_as(
            merge,
            "PATCH",
            &path,
            &json!({"metadata": {"managedFields": [{}]}}),
        )
        .await;
    assert_eq!(managers(&cleared.body), []);
    let untracked = harness
        .send_as(merge, "PATCH", &path, &json!({"data": {"c": "1"}}))
        .await;
    assert_eq!(managers(&untracked.body), [], "until the first apply");
}

#[tokio::test]
async fn status_has_managers_of_its_own() {
    let harness = Harness::new().await;
    let config = json!({
        "apiVersion": "edge.test/v1", "kind": "Widget", "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {"replicas": 1}, "status": {"replicas": 1},
    });
    let path = format!("{WIDGETS}/a");
    let made = harness
        .send_as(APPLY, "PATCH", &format!("{path}?fieldManager=me"), &config)
        .await;
    assert_eq!(made.body.get("status"), None);
    assert_eq!(
        made.body["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": {"f:replicas": {}}})
    );
    let status_path = format!("{path}/status?fieldManager=me");
    let told = harness.send_as(APPLY, "PATCH", &status_path, &config).await;
    assert_eq!(
        (told.code, &told.body["status"]),
        (200, &json!({"replicas": 1})),
        "{}",
        told.body
    );
    assert_eq!(
        managers(&told.body),
        [("me", "Apply", ""), ("me", "Apply", "status")]
    );
    assert_eq!(
        told.body["metadata"]["managedFields"][1]["fieldsV1"],
        json!({"f:status": {"f:replicas": {}}})
    );
    let absent = harness
        .send_as(
            APPLY,
            "PATCH",
            &format!("{WIDGETS}/zz/status?fieldManager=me"),
            &widget("zz", json!({})),
        )
        .await;
    assert_eq!(absent.code, 404);
}

#[tokio::test]
async fn scale_shares_the_count_with_the_object() {
    let harness = Harness::new().await;
    harness
        .apply("me", "a", json!({"replicas": 1, "node": "n"}))
        .await;
    let path = format!("{WIDGETS}/a/scale");
    let merge = "application/merge-patch+json";
    let scaled = harness
        .send_as(
            merge,
            "PATCH",
            &format!("{path}?fieldManager=hand"),
            &json!({"spec": {"replicas": 5}}),
        )
        .await;
    assert_eq!(scaled.code, 200, "{}", scaled.body);
    // As kube-apiserver 1.37, which keeps no record of who scales a custom resource.
    let again = harness
        .apply("me", "a", json!({"replicas": 1, "node": "n"}))
        .await;
    assert_eq!((again.code, &again.body["spec"]["replicas"]), (200, &json!(1)));
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 7}});
    let conflict = harness
        .send_as(APPLY, "PATCH", &format!("{path}?fieldManager=auto"), &scale)
        .await;
    assert_eq!(conflict.code, 409);
    let applied = harness
        .send_as(
            APPLY,
            "PATCH",
            &format!("{path}?fieldManager=auto&force=true"),
            &scale,
        )
        .await;
    assert_eq!(
        (applied.code, &applied.body["spec"]["replicas"]),
        (200, &json!(7)),
        "{}",
        applied.body
    );
    let object = harness.send("GET", &format!("{WIDGETS}/a"), &json!(null)).await;
    assert_eq!(
        managers(&object.body),
        [("auto", "Apply", "scale"), ("me", "Apply", "")]
    );
    let wrong = json!({"apiVersion": "edge.test/v1", "kind": "Widget", "metadata": {"name": "a"}});
    let wrong = harness
        .send_as(APPLY, "PATCH", &format!("{path}?fieldManager=auto"), &wrong)
        .await;
    assert_eq!(message(&wrong), "invalid object type: edge.test/v1, Kind=Widget");
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_in_upstreams_words() {
    let harness = Harness::new().await;
    let path = format!("{MAPS}/m");
    let map = |more: Value| {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
        apiserver::patch::merge::merge(&mut map, &more);
        map
    };
    for (query, body, code, expected) in [
        (
            "",
            map(json!({})),
            422,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ),
        (
            "?fieldManager=me",
            map(json!({"metadata": {"managedFields": []}})),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "?fieldManager=me",
            map(json!({"metadata": {"uid": "u"}})),
            409,
            "Operation cannot be fulfilled on configmaps \"m\": uid mismatch: the provided object specified uid u, and no existing \
             object was found",
        ),
        (
            "?fieldManager=me",
            map(json!({"metadata": {"name": "other"}})),
            400,
            "the name of the object (other) does not match the name on the URL (m)",
        ),
        (
            "?fieldManager=me",
            map(json!({"metadata": {"name": null}})),
            400,
            "the name of the object (m based on URL) was undeterminable: name must be provided",
        ),
        (
            "?fieldManager=me",
            map(json!({"kind": "Secret"})),
            400,
            "invalid object type: /v1, Kind=Secret",
        ),
        (
            "?fieldManager=me",
            map(json!({"metadata": {"namespace": "default"}, "qq": 1})),
            500,
            "failed to create typed patch object (default/m; /v1, Kind=ConfigMap): .qq: field not declared in schema",
        ),
        (
            "?fieldManager=me",
            map(json!({"metadata": {"namespace": "other"}})),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let answer = harness
            .send_as(APPLY, "PATCH", &format!("{path}{query}"), &body)
            .await;
        assert_eq!((answer.code, message(&answer)), (code, expected), "{body}");
    }
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  a: '1'\n  a: '2'\n";
    let strict = format!("{path}?fieldManager=me&fieldValidation=Strict");
    let refused = harness.send_text(APPLY, "PATCH", &strict, twice.to_owned()).await;
    assert_eq!(
        (refused.code, message(&refused)),
        (
            400,
            "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  line 6: key \"a\" already set in map"
        )
    );
    let dry = format!("{path}?fieldManager=me&dryRun=All");
    let dry = harness.send_text(APPLY, "PATCH", &dry, twice.to_owned()).await;
    assert_eq!((dry.code, dry.warnings.len()), (201, 1), "{}", dry.body);
    assert_eq!(
        harness.send("GET", &path, &json!(null)).await.code,
        404,
        "a dry run writes nothing"
    );
}

#[tokio::test]
async fn built_in_lists_are_merged_as_their_types_say() {
    let harness = Harness::new().await;
    let path = "/api/v1/namespaces/default/services/s";
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}});
    let apply = |who: &'static str, ports: Value| {
        let harness = &harness;
        let body = service(ports);
        async move {
            harness
                .send_as(APPLY, "PATCH", &format!("{path}?fieldManager={who}"), &body)
                .await
        }
    };
    let one = apply("one", json!([{"name": "http", "port": 80}])).await;
    assert_eq!(one.code, 201, "{}", one.body);
    let two = apply("two", json!([{"name": "dns", "port": 53, "protocol": "UDP"}])).await;
    assert_eq!(two.code, 200, "{}", two.body);
    let ports = |object: &Value| -> Vec<i64> {
        let ports = object["spec"]["ports"].as_array().into_iter().flatten();
        ports.filter_map(|port| port["port"].as_i64()).collect()
    };
    assert_eq!(ports(&two.body), [80, 53]);
    let conflict = apply("two", json!([{"name": "web", "port": 80}])).await;
    assert_eq!(
        message(&conflict),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.ports[port=80,protocol=\"TCP\"].name"
    );
    let less = apply("two", json!([])).await;
    assert_eq!(ports(&less.body), [80], "{}", less.body);
}
