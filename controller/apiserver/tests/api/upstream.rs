//! What upstream's conformance suite asks for beyond the verbs: each of these fails one of its specs when it is missing.

use std::sync::Arc;
use std::time::Instant;

use apiserver::Options;
use apiserver::store::Memory;
use serde_json::{Value, json};

use crate::harness::{Answer, Harness, SOON, WIDGETS};

const DEFAULT: &str = "/api/v1/namespaces/default";
const SPACE: &str = "/api/v1/namespaces/space";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

async fn with_certificate(certificate: &str) -> Harness {
    let options = Options {
        root_certificate: Some(certificate.to_owned()),
        ..Options::default()
    };
    Harness::with(Arc::new(Memory::new()), options).await
}

/// Asks again until the answer is as wanted.
async fn until(harness: &Harness, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = harness.send("GET", path, &Value::Null).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path} stays {}", answer.body);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_namespace_has_an_account_and_the_servers_certificate() {
    let harness = with_certificate("PEM").await;
    harness
        .send(
            "POST",
            "/api/v1/namespaces",
            &json!({"metadata": {"name": "space"}}),
        )
        .await;
    let account = format!("{SPACE}/serviceaccounts/default");
    let map = format!("{SPACE}/configmaps/kube-root-ca.crt");
    for path in [&account, &map, &format!("{DEFAULT}/configmaps/kube-root-ca.crt")] {
        until(&harness, path, |answer| answer.code == 200).await;
    }
    // What is deleted comes back, and what was changed is put right.
    for path in [&account, &map] {
        let uid = harness.send("GET", path, &Value::Null).await.body["metadata"]["uid"].clone();
        harness.send("DELETE", path, &Value::Null).await;
        until(&harness, path, |answer| {
            answer.code == 200 && answer.body["metadata"]["uid"] != uid
        })
        .await;
    }
    let patch = json!({"data": {"ca.crt": "another"}});
    harness
        .send_as("application/merge-patch+json", "PATCH", &map, &patch)
        .await;
    until(&harness, &map, |answer| answer.body["data"]["ca.crt"] == "PEM").await;
}

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod
}

#[tokio::test]
async fn a_pod_gets_the_token_of_its_account_unless_one_of_them_opts_out() {
    let harness = Harness::new().await;
    let quiet = json!({"metadata": {"name": "quiet"}, "automountServiceAccountToken": false});
    harness
        .send("POST", &format!("{DEFAULT}/serviceaccounts"), &quiet)
        .await;
    let pods = format!("{DEFAULT}/pods");
    let cases = [
        ("plain", json!({}), true),
        ("out", json!({"automountServiceAccountToken": false}), false),
        ("account-out", json!({"serviceAccountName": "quiet"}), false),
        (
            "back-in",
            json!({"serviceAccountName": "quiet", "automountServiceAccountToken": true}),
            true,
        ),
    ];
    for (name, spec, mounted) in cases {
        let made = harness.send("POST", &pods, &pod(name, spec)).await;
        assert_eq!(made.code, 201, "{}", made.body);
        let mounts = &made.body["spec"]["containers"][0]["volumeMounts"];
        let path = "/var/run/secrets/kubernetes.io/serviceaccount";
        let has = mounts
            .as_array()
            .is_some_and(|all| all.iter().any(|mount| mount["mountPath"] == path));
        assert_eq!(has, mounted, "{name}: {}", made.body);
    }
    let nobody = harness
        .send("POST", &pods, &pod("x", json!({"serviceAccountName": "nobody"})))
        .await;
    assert_eq!(nobody.code, 403);
    let why = "error looking up service account default/nobody: serviceaccount \"nobody\" not found";
    assert_eq!(nobody.body["message"], format!("pods \"x\" is forbidden: {why}"));
}

/// A PKCS #10 request for the common name `r`: PEM, in base64.
const REQUEST: &str = "\
    LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIR01HNENBUUF3RERFS01BZ0dBMVVFQXd3QmNqQlpNQk1HQnlx\
    R1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCRWEyNU4xeFFad1NBeWViajZHejZWTW14MUxZUFlYelZGQ3R0T3h3dDNDNUdhY2ZO\
    Mm5DRVdMdDV6ZmRnY3pzCldRMHRScUUrRitlN2N0T25JSlFGVkNDZ0FEQUtCZ2dxaGtqT1BRUURBZ05JQURCRkFpRUFoVjVGMGIy\
    ZDYxcFUKWk1BRWdHRFhGa0h2YkxMaFRRaTBFK1BrMGw4c3lOb0NJQzJvdEZUWnZvbjluQnJzNGsya2VFWDlodDIrUjBlMwoxeStt\
    MGdXUU1MV1IKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

#[tokio::test]
async fn a_certificate_request_names_who_asks_and_is_approved_apart() {
    let harness = Harness::new().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let body = json!({
        "metadata": {"name": "r"},
        "spec": {"request": REQUEST, "signerName": "edge.test/signer", "usages": ["client auth"], "username": "mallory"},
    });
    let made = harness.send("POST", requests, &body).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["spec"]["username"], "system:apiserver");
    let merge = "application/merge-patch+json";
    let condition = json!([{"type": "Approved", "status": "True", "reason": "Test"}]);
    let patch = json!({
        "metadata": {"annotations": {"by": "test"}}, "spec": {"signerName": "other"},
        "status": {"conditions": condition, "certificate": "QQ=="},
    });
    let approved = harness
        .send_as(merge, "PATCH", &format!("{requests}/r/approval"), &patch)
        .await;
    assert_eq!(approved.code, 200, "{}", approved.body);
    assert_eq!(approved.body["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(approved.body["status"].get("certificate"), None);
    assert_eq!(approved.body["spec"]["signerName"], "edge.test/signer");
    assert_eq!(approved.body["metadata"]["annotations"]["by"], "test");
}

#[tokio::test]
async fn the_status_of_a_built_in_kind_takes_annotations_along() {
    let harness = Harness::new().await;
    let merge = "application/merge-patch+json";
    let patch = json!({
        "metadata": {"annotations": {"a": "1"}, "labels": {"l": "1"}},
        "status": {"conditions": [{"type": "T", "status": "True"}]},
    });
    let namespace = format!("{DEFAULT}/status");
    let patched = harness.send_as(merge, "PATCH", &namespace, &patch).await;
    assert_eq!(patched.code, 200, "{}", patched.body);
    assert_eq!(patched.body["metadata"]["annotations"]["a"], "1");

    // A custom resource's metadata is not touched.
    harness.create("w", json!({})).await;
    let patched = harness
        .send_as(merge, "PATCH", &format!("{WIDGETS}/w/status"), &patch)
        .await;
    assert_eq!(patched.code, 200, "{}", patched.body);
    assert_eq!(patched.body["metadata"].get("annotations"), None);
}

#[tokio::test]
async fn strict_decoding_tells_unknown_and_doubled_fields_together() {
    let harness = Harness::new().await;
    let body = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},
        "spec":{"unknownField":1,"replicas":1,"replicas":2,"selector":{},"template":{}}}"#;
    let path = "/apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict";
    let refused = harness
        .send_text("application/json", "POST", path, body.to_owned())
        .await;
    assert_eq!(refused.code, 400);
    let why = r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#;
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.ends_with(why), "{message}");
}

#[tokio::test]
async fn reviews_are_no_tables() {
    let harness = Harness::new().await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let body = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let refused = harness.post_accepting(path, &body, TABLE).await;
    assert_eq!(refused.code, 406, "{}", refused.body);
    assert_eq!(harness.send("POST", path, &body).await.code, 201);
}

#[tokio::test]
async fn an_event_without_a_source_is_found_by_its_controller() {
    let harness = Harness::new().await;
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"namespace": "default"}, "eventTime": "2026-11-23T00:00:00.000000Z",
        "action": "Do", "reason": "Test", "type": "Normal", "note": "n",
        "reportingController": "tester", "reportingInstance": "i",
    });
    let made = harness
        .send("POST", "/apis/events.k8s.io/v1/namespaces/default/events", &event)
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let of = |source: &str| format!("{DEFAULT}/events?fieldSelector=source%3D{source}");
    let found = harness.send("GET", &of("tester"), &Value::Null).await;
    assert_eq!(found.body["items"][0]["metadata"]["name"], "e");
    let found = harness.send("GET", &of("nobody"), &Value::Null).await;
    assert_eq!(found.body["items"], json!([]));
}

#[tokio::test]
async fn discovery_knows_paths_with_a_slash_at_the_end() {
    let harness = Harness::new().await;
    for path in ["/apis/edge.test/", "/apis/edge.test/v1/", "/api/v1/"] {
        assert_eq!(harness.send("GET", path, &Value::Null).await.code, 200, "{path}");
    }
}

#[tokio::test]
async fn openapi_v2_has_the_schema_of_custom_resources() {
    let harness = Harness::new().await;
    let document = harness.send("GET", "/openapi/v2", &Value::Null).await;
    assert_eq!(document.code, 200);
    let widget = &document.body["definitions"]["test.edge.v1.Widget"];
    let metadata = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert_eq!(widget["properties"]["metadata"]["$ref"], metadata);
    assert!(document.body["paths"][WIDGETS.replace("/default/", "/{namespace}/")]["post"].is_object());
    // kubectl asks for another form.
    let binary = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let document = harness.get_accepting("/openapi/v2", binary).await;
    let text = document.body.as_str().unwrap_or_default();
    assert_eq!(document.code, 200);
    assert!(
        text.contains("test.edge.v1.Widget"),
        "the message has the kind's name"
    );
    assert_eq!(harness.get_accepting("/openapi/v2", "text/html").await.code, 406);
}

#[tokio::test]
async fn an_autoscaler_is_the_same_object_in_both_versions() {
    let harness = Harness::new().await;
    let of =
        |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let body = json!({
        "metadata": {"name": "a"},
        "spec": {
            "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "targetCPUUtilizationPercentage": 60,
        },
    });
    let made = harness.send("POST", &of("v1"), &body).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let seen = harness
        .send("GET", &format!("{}/a", of("v2")), &Value::Null)
        .await
        .body;
    assert_eq!(seen["apiVersion"], "autoscaling/v2");
    assert_eq!(
        seen["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        60
    );
}

#[tokio::test]
async fn what_has_no_effect_here_says_so() {
    let harness = Harness::new().await;
    let schema = json!({"metadata": {"name": "f"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}});
    let path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    let made = harness.send("POST", path, &schema).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert!(made.warnings[0].contains("has no effect"), "{:?}", made.warnings);
    let service = json!({
        "metadata": {"name": "v1.other.test"},
        "spec": {
            "group": "other.test", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
            "service": {"name": "s", "namespace": "default"},
        },
    });
    let refused = harness
        .send("POST", "/apis/apiregistration.k8s.io/v1/apiservices", &service)
        .await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    assert_eq!(refused.body["details"]["causes"][0]["field"], "spec.service");
}
