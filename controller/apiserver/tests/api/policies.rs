//! ValidatingAdmissionPolicy over HTTP.

use std::time::Instant;

use apiserver::auth::{MASTERS, UserInfo};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{Answer, Harness, SOON, WIDGETS};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "edge.test/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

impl Harness {
    /// Stores a policy about widgets with a binding.
    async fn hold_to(&self, mut spec: Value, mut binding: Value) {
        spec["matchConstraints"]["resourceRules"] = json!([{
            "operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": ["edge.test"], "apiVersions": ["*"], "resources": ["widgets"],
        }]);
        binding["policyName"] = "p".into();
        for (path, spec) in [(POLICIES, spec), (BINDINGS, binding)] {
            let made = self
                .send("POST", path, &json!({"metadata": {"name": "p"}, "spec": spec}))
                .await;
            assert_eq!(made.code, 201, "{}", made.body);
        }
    }

    /// Tries to make a widget until the answer satisfies: a policy counts once its event has been seen.
    async fn until(&self, body: &Value, satisfies: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + SOON;
        loop {
            let answer = self.send("POST", &format!("{WIDGETS}?dryRun=All"), body).await;
            if satisfies(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{} {}", answer.code, answer.body);
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_bound_policy_refuses_by_its_parameters() {
    let harness = Harness::new().await;
    let maps = "/api/v1/namespaces/other/configmaps";
    harness
        .send(
            "POST",
            maps,
            &json!({"metadata": {"name": "limits"}, "data": {"max": "3"}}),
        )
        .await;
    harness
        .hold_to(
            json!({
                "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "variables": [{"name": "max", "expression": "int(params.data.max)"}],
                "validations": [{
                    "expression": "object == null || object.spec.replicas <= variables.max",
                    "messageExpression": "'at most ' + string(variables.max)",
                }, {
                    "expression": "object != null || oldObject.metadata.name != 'kept'", "message": "it stays", "reason": "Forbidden",
                }],
            }),
            json!({
                "validationActions": ["Deny"],
                "paramRef": {"name": "limits", "namespace": "other", "parameterNotFoundAction": "Deny"},
            }),
        )
        .await;
    let refused = harness
        .until(&widget("a", json!({"replicas": 4})), |answer| answer.code != 201)
        .await;
    let why = "widgets.edge.test \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: at most 3";
    assert_eq!(
        (refused.code, &refused.body["reason"], &refused.body["message"]),
        (422, &json!("Invalid"), &json!(why))
    );
    harness.create("a", json!({"replicas": 3})).await;
    let merge = "application/merge-patch+json";
    let path = format!("{WIDGETS}/a");
    let patched = harness
        .send_as(merge, "PATCH", &path, &json!({"spec": {"replicas": 5}}))
        .await;
    assert_eq!(patched.code, 422, "{}", patched.body);
    assert_eq!(harness.send("DELETE", &path, &json!(null)).await.code, 200);
    harness.create("kept", json!({"replicas": 1})).await;
    let kept = harness
        .send("DELETE", &format!("{WIDGETS}/kept"), &json!(null))
        .await;
    assert_eq!(
        (kept.code, &kept.body["reason"]),
        (403, &json!("Forbidden")),
        "{}",
        kept.body
    );

    harness
        .send("DELETE", &format!("{maps}/limits"), &json!(null))
        .await;
    let without = harness
        .send("POST", WIDGETS, &widget("b", json!({"replicas": 1})))
        .await;
    assert!(
        without.body["message"]
            .as_str()
            .is_some_and(|message| message.contains("no params found for policy binding")),
        "{}",
        without.body
    );
    harness
        .send("DELETE", &format!("{BINDINGS}/p"), &json!(null))
        .await;
    harness
        .until(&widget("b", json!({"replicas": 9})), |answer| answer.code == 201)
        .await;
}

#[tokio::test]
async fn a_policy_may_only_warn_and_knows_who_asks() {
    let harness = Harness::new().await;
    harness
        .hold_to(
            json!({
                "matchConditions": [{"name": "agent", "expression": "request.userInfo.username == 'agent'"}],
                "validations": [{
                    "expression": "object.spec.node == request.userInfo.extra[?'edge.test/node'][0].orValue('')",
                    "message": "not your node",
                }],
            }),
            json!({"validationActions": ["Warn", "Audit"]}),
        )
        .await;
    let agent = UserInfo {
        extra: [("edge.test/node".to_owned(), vec!["n1".to_owned()])].into(),
        ..UserInfo::authenticated("agent", [MASTERS])
    };
    let router = harness.server.in_process_router(agent);
    let ask = |node: &str| {
        let body = widget("a", json!({"node": node})).to_string();
        let request = Request::post(format!("{WIDGETS}?dryRun=All"))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .expect("a request");
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await.expect("routers do not fail");
            let warnings: Vec<String> = response
                .headers()
                .get_all("warning")
                .iter()
                .filter_map(|one| one.to_str().ok().map(str::to_owned))
                .collect();
            let code = response.status().as_u16();
            response.into_body().collect().await.expect("a body");
            (code, warnings)
        }
    };
    let deadline = Instant::now() + SOON;
    let told = loop {
        let (code, warnings) = ask("n2").await;
        assert_eq!(code, 201);
        if !warnings.is_empty() {
            break warnings;
        }
        assert!(Instant::now() < deadline, "nobody warns");
        tokio::task::yield_now().await;
    };
    assert_eq!(
        told,
        ["299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': not your node\""]
    );
    assert_eq!(ask("n1").await, (201, vec![]));
    let by_others = harness
        .send(
            "POST",
            &format!("{WIDGETS}?dryRun=All"),
            &widget("a", json!({"node": "n2"})),
        )
        .await;
    assert!(by_others.warnings.is_empty(), "{:?}", by_others.warnings);
}

#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_is_not_stored() {
    let harness = Harness::new().await;
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{
            "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"],
        }]},
        "validations": [{"expression": "object.spec.x >"}],
    }});
    let refused = harness.send("POST", POLICIES, &policy).await;
    assert_eq!(refused.code, 422);
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.validations[0].expression");
    assert!(
        cause["message"]
            .as_str()
            .is_some_and(|message| message.contains("compilation failed")),
        "{cause}"
    );
}
