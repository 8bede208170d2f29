//! The roles and bindings that every server has, made where they are not there. What people changed of them stays.

use serde_json::{Value, json};

use super::GROUP;
use crate::ApiServer;
use crate::auth::MASTERS;
use crate::negotiation::Decoded;
use crate::parameters::WriteOptions;
use crate::status::Status;
use crate::verbs::{Call, create};

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// Resources of namespaces that `view` reads and `edit` writes, by group.
const PLAIN: [(&str, &[&str]); 5] = [
    (
        "",
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "pods",
            "pods/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
    (
        "networking.k8s.io",
        &["ingresses", "ingresses/status", "networkpolicies"],
    ),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
];

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

fn rules_for_view() -> Vec<Value> {
    let mut rules: Vec<Value> = PLAIN
        .iter()
        .map(|(group, resources)| rule(group, resources, &READ))
        .collect();
    rules.push(rule("", &["namespaces"], &READ));
    rules
}

fn rules_for_edit() -> Vec<Value> {
    let written = PLAIN.iter().map(|(group, resources)| {
        let whole = resources.iter().filter(|one| !one.ends_with("/status"));
        rule(group, &whole.copied().collect::<Vec<_>>(), &WRITE)
    });
    let mut rules: Vec<Value> = written.collect();
    rules.push(rule("", &["secrets"], &[&READ[..], &WRITE[..]].concat()));
    rules.push(rule("", &["serviceaccounts/token"], &["create"]));
    rules.push(rule("", &["serviceaccounts"], &["impersonate"]));
    rules.push(rule(
        "coordination.k8s.io",
        &["leases"],
        &[&READ[..], &WRITE[..]].concat(),
    ));
    rules
}

fn rules_for_admin() -> Vec<Value> {
    vec![
        rule(
            GROUP,
            &["rolebindings", "roles"],
            &[&READ[..], &WRITE[..]].concat(),
        ),
        rule(
            "authorization.k8s.io",
            &["localsubjectaccessreviews"],
            &["create"],
        ),
    ]
}

fn object(kind: &str, name: &str, labels: &[&str]) -> Value {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    });
    for label in labels {
        object["metadata"]["labels"][format!("rbac.authorization.k8s.io/{label}")] = "true".into();
    }
    object
}

fn role(name: &str, labels: &[&str], rules: Vec<Value>) -> Value {
    let mut role = object("ClusterRole", name, labels);
    role["rules"] = rules.into();
    role
}

/// A role whose rules are those of all roles with a label.
fn gathering(name: &str, labels: &[&str], label: &str) -> Value {
    let mut role = object("ClusterRole", name, labels);
    let label = format!("rbac.authorization.k8s.io/{label}");
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    role
}

fn roles() -> Vec<Value> {
    let urls = |urls: &[&str]| vec![json!({"verbs": ["get"], "nonResourceURLs": urls})];
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"];
    vec![
        role(
            "cluster-admin",
            &[],
            vec![all, json!({"verbs": ["*"], "nonResourceURLs": ["*"]})],
        ),
        role(
            "system:basic-user",
            &[],
            vec![
                rule(
                    "authorization.k8s.io",
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    &["create"],
                ),
                rule("authentication.k8s.io", &["selfsubjectreviews"], &["create"]),
            ],
        ),
        role(
            "system:discovery",
            &[],
            urls(&[&public[..], &discovery[..]].concat()),
        ),
        role("system:public-info-viewer", &[], urls(&public)),
        role(
            "system:node-bootstrapper",
            &[],
            vec![rule(
                "certificates.k8s.io",
                &["certificatesigningrequests"],
                &["create", "get", "list", "watch"],
            )],
        ),
        role(
            "system:aggregate-to-view",
            &["aggregate-to-view"],
            rules_for_view(),
        ),
        role(
            "system:aggregate-to-edit",
            &["aggregate-to-edit"],
            rules_for_edit(),
        ),
        role(
            "system:aggregate-to-admin",
            &["aggregate-to-admin"],
            rules_for_admin(),
        ),
        gathering("view", &["aggregate-to-edit"], "aggregate-to-view"),
        gathering("edit", &["aggregate-to-admin"], "aggregate-to-edit"),
        gathering("admin", &[], "aggregate-to-admin"),
    ]
}

fn bindings() -> Vec<Value> {
    let groups = [
        ("cluster-admin", &[MASTERS][..]),
        ("system:basic-user", &["system:authenticated"]),
        ("system:discovery", &["system:authenticated"]),
        (
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
    ];
    let binding = |(role, groups): (&str, &[&str])| {
        let mut binding = object("ClusterRoleBinding", role, &[]);
        binding["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": role});
        let subjects = groups
            .iter()
            .map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group}));
        binding["subjects"] = subjects.collect();
        binding
    };
    groups.map(binding).into()
}

/// Makes the roles and bindings that are not there, and reads the policy.
///
/// # Errors
/// When the store fails.
pub(crate) async fn make(server: &ApiServer) -> Result<(), Status> {
    for (plural, objects) in [("clusterroles", roles()), ("clusterrolebindings", bindings())] {
        let Some(resource) = server.kinds().find(GROUP, "v1", plural) else {
            continue;
        };
        let call = Call::internal(server, resource, "");
        for value in objects {
            let body = Decoded {
                value,
                duplicates: Vec::new(),
            };
            match create::create(&call, body, WriteOptions::default()).await {
                Ok(_) => {}
                Err(present) if present.reason == "AlreadyExists" => {}
                Err(status) => return Err(status),
            }
        }
    }
    super::follow::load(server).await.map(drop)
}
