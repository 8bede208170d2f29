//! The admission policies that hold an agent to its own node: their expressions, run as an API server runs them, against
//! requests that an agent makes and requests that it must not.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use kube_cel::{
    KubeCelExt as _,
    cel::{
        Context, Value as CelValue,
        objects::{Key, Map},
        parser::Parser,
    },
};
use serde_json::{Value, json};

use super::rendered;

const AGENT: &str = "system:serviceaccount:edgeloom-system:edgeloom-agent";

/// A request to write an object.
struct Request {
    user: &'static str,
    node: Option<&'static str>,
    resource: &'static str,
    operation: &'static str,
    object: Value,
    old: Value,
}

impl Request {
    /// The agent of node `a` changes an object.
    fn update(resource: &'static str, object: Value) -> Self {
        Self {
            user: AGENT,
            node: Some("a"),
            resource,
            operation: "UPDATE",
            old: object.clone(),
            object,
        }
    }

    /// The agent of node `a` makes an object.
    fn create(resource: &'static str, object: Value) -> Self {
        Self {
            operation: "CREATE",
            old: Value::Null,
            ..Self::update(resource, object)
        }
    }
}

/// What the policies say: nothing, or the message of the first that refuses.
fn verdict(request: &Request) -> Result<(), String> {
    static POLICIES: LazyLock<Vec<Value>> =
        LazyLock::new(|| rendered(&[]).of_kind("ValidatingAdmissionPolicy"));
    let policy = POLICIES.iter().find(|policy| {
        let rule = &policy["spec"]["matchConstraints"]["resourceRules"][0];
        let has = |field: &str, wanted: &str| {
            rule[field]
                .as_array()
                .is_some_and(|values| values.contains(&wanted.into()))
        };
        has("resources", request.resource) && has("operations", request.operation)
    });
    let policy = policy.unwrap_or_else(|| panic!("no policy looks at {}", request.resource));
    assert_eq!(policy["spec"]["failurePolicy"], "Fail");
    let extra = match request.node {
        Some(node) => json!({"authentication.kubernetes.io/node-name": [node]}),
        None => json!({}),
    };
    let mut context = Context::default().with_all();
    let mut add = |name: &str, value: &Value| context.add_variable(name, value).expect("plain data");
    add(
        "request",
        &json!({"operation": request.operation, "userInfo": {"username": request.user, "extra": extra}}),
    );
    add("object", &request.object);
    add("oldObject", &request.old);
    let spec = &policy["spec"];
    let ask = |context: &Context<'_>, expression: &Value| {
        let text = expression.as_str().expect("an expression");
        let parser = Parser::default().enable_optional_syntax(true);
        let parsed = parser
            .parse(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        CelValue::resolve(&parsed, context)
    };
    for condition in spec["matchConditions"].as_array().expect("conditions") {
        if ask(&context, &condition["expression"]) != Ok(CelValue::Bool(true)) {
            return Ok(());
        }
    }
    let mut known = HashMap::new();
    for variable in spec["variables"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name");
        // A variable that cannot be computed fails only where it is used.
        if let Ok(value) = ask(&context, &variable["expression"]) {
            known.insert(Key::String(Arc::new(name.to_owned())), value);
        }
        let map = Arc::new(known.clone());
        context.add_variable_from_value("variables", CelValue::Map(Map { map }));
    }
    for validation in spec["validations"].as_array().expect("validations") {
        if ask(&context, &validation["expression"]) != Ok(CelValue::Bool(true)) {
            return Err(validation["message"].as_str().expect("a message").to_owned());
        }
    }
    Ok(())
}

fn node(name: &str, kubernetes_node: Option<&str>) -> Value {
    let mut node = json!({"metadata": {"name": name}, "spec": {}});
    if let Some(kubernetes_node) = kubernetes_node {
        node["spec"]["kubernetesNodeName"] = kubernetes_node.into();
    }
    node
}

fn of_node(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeName": node}})
}

fn link(from: &str, to: &str, reports: Value) -> Value {
    json!({"metadata": {"name": "l"}, "spec": {"from": from, "to": to}, "status": {"reports": reports}})
}

#[test]
fn an_agent_writes_what_is_of_its_node() {
    let report = json!({"a": {"roundTripMicroseconds": 1}, "b": {"roundTripMicroseconds": 2}});
    let bare = json!({"metadata": {"name": "l"}, "spec": {"from": "b", "to": "a"}});
    let allowed = [
        Request::create("edgenodes", node("a", None)),
        Request::create("edgenodes", node("a", Some("a"))),
        Request::update("edgenodes/status", node("a", Some("a"))),
        Request::update("stages/status", of_node("s-1", "a")),
        Request::update("routetables/status", of_node("a", "a")),
        Request::create("leases", json!({"metadata": {"name": "a"}})),
        Request::update("leases", json!({"metadata": {"name": "a"}})),
        Request {
            old: link("a", "b", json!({"b": {"roundTripMicroseconds": 2}})),
            ..Request::update("edgelinks/status", link("a", "b", report.clone()))
        },
        Request {
            old: link("a", "b", report),
            ..Request::update(
                "edgelinks/status",
                link(
                    "a",
                    "b",
                    json!({"a": {"roundTripMicroseconds": 9}, "b": {"roundTripMicroseconds": 2}}),
                ),
            )
        },
        Request {
            old: bare,
            ..Request::update("edgelinks/status", link("b", "a", json!({"a": {}})))
        },
    ];
    for request in allowed {
        assert_eq!(
            verdict(&request),
            Ok(()),
            "{} {}",
            request.resource,
            request.object
        );
    }
}

#[test]
fn an_agent_does_not_write_what_is_of_another_node() {
    let report = |microseconds: u32| json!({"a": {"roundTripMicroseconds": 1}, "b": {"roundTripMicroseconds": microseconds}});
    let refused = [
        (
            Request::create("edgenodes", node("b", None)),
            "EdgeNode of its own node",
        ),
        (
            Request::create("edgenodes", node("a", Some("b"))),
            "its own Kubernetes Node",
        ),
        (
            Request::update("edgenodes/status", node("b", None)),
            "EdgeNode of its own node",
        ),
        (
            Request::update("edgenodes", node("b", None)),
            "EdgeNode of its own node",
        ),
        (
            Request::update("stages/status", of_node("s-1", "b")),
            "Stages of its own node",
        ),
        (
            Request::update("routetables/status", of_node("b", "b")),
            "RouteTable of its own node",
        ),
        (
            Request::update("routetables/status", of_node("b", "a")),
            "RouteTable of its own node",
        ),
        (
            Request::create("leases", json!({"metadata": {"name": "b"}})),
            "Lease of its own node",
        ),
        (
            Request::update("leases", json!({"metadata": {"name": "edgeloom-controller"}})),
            "Lease of its own node",
        ),
        (
            Request::update("edgelinks/status", link("b", "c", json!({}))),
            "end at its own node",
        ),
        (
            Request {
                old: link("a", "b", report(2)),
                ..Request::update("edgelinks/status", link("a", "b", report(3)))
            },
            "its own entry",
        ),
        (
            Request {
                old: link("a", "b", report(2)),
                ..Request::update("edgelinks/status", link("a", "b", json!({"a": {}})))
            },
            "its own entry",
        ),
        (
            Request {
                old: link("a", "b", json!({})),
                ..Request::update("edgelinks/status", link("a", "b", json!({"c": {}})))
            },
            "its own entry",
        ),
        (
            Request {
                old: link("a", "b", report(2)),
                ..Request::update("edgelinks/status", {
                    let mut link = link("a", "b", report(2));
                    link["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
                    link
                })
            },
            "the conditions of an EdgeLink",
        ),
    ];
    for (request, words) in refused {
        let message = verdict(&request).expect_err(request.resource);
        assert!(
            message.contains(words),
            "{} {}: {message}",
            request.resource,
            request.object
        );
    }
}

#[test]
fn a_token_without_a_node_writes_nothing_and_others_are_not_looked_at() {
    let stranger = || Request {
        node: None,
        ..Request::update("stages/status", of_node("s-1", ""))
    };
    assert!(
        verdict(&stranger())
            .expect_err("refused")
            .contains("must name its node")
    );
    let elsewhere = "system:serviceaccount:other:edgeloom-agent";
    for user in [
        "kubernetes-admin",
        "system:serviceaccount:edgeloom-system:edgeloom-controller",
        elsewhere,
    ] {
        assert_eq!(verdict(&Request { user, ..stranger() }), Ok(()), "{user}");
    }
}
