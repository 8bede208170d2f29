//! Whether the chart grants anything that nobody needs: what the API server says that controller and agents may do, against
//! what they did in the life of a release.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    asking::Router,
    audit::Audit,
    cluster::{Cluster, Home, names},
    release::{NAME, NAMESPACE},
    weights,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_right_that_the_chart_grants_is_used_in_the_life_of_a_release() {
    let Some(home) = Home::of_this_test("the audit log is read") else {
        return;
    };
    let cluster = Cluster::of_this_test();
    cluster.purge();
    let audit = Audit::begin(&home);
    live(&cluster).await;
    for component in ["controller", "agent"] {
        let granted = granted(&cluster, component);
        assert!(!granted.is_empty(), "the API server knows the {component}");
        let idle = || {
            let used = used(&audit, component);
            let idle: Vec<_> = granted
                .iter()
                .filter(|right| !used.iter().any(|use_| right.covers(use_)))
                .collect();
            idle.into_iter().cloned().collect::<Vec<_>>()
        };
        // What is told late is waited for; what is never told is a right too many.
        let mut last = idle();
        for _ in 0..120 {
            if last.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            last = idle();
        }
        assert!(
            last.is_empty(),
            "the {component} was granted, and did not need: {last:#?}"
        );
        eprintln!("the {component} has {} rights, and used each", granted.len());
    }
}

/// Everything that happens to a release, so that its programs do everything that they ever do.
async fn live(cluster: &Cluster) {
    cluster.serving().await;
    let ends = names(&cluster.list(&["edgenodes"]));
    cluster.apply(&user_and_link(&ends[0], &ends[1]));
    Router::reach(cluster)
        .await
        .ask("Say hello.", 8)
        .await
        .expect("the service answers");
    let told = || {
        let user = cluster.get(&["edgeuser", "somebody", "--namespace", weights::NAMESPACE])?;
        let link = cluster.get(&["edgelink", "between"])?;
        (user["status"].is_object() && link["status"]["reports"].is_object()).then_some(())
    };
    cluster.until("what is said of a user and a link", told).await;
    let placements = || cluster.list(&["placements", "--namespace", weights::NAMESPACE]);
    let before = placements();
    let node = before[0]["spec"]["pipelines"][0]["stages"][0]["node"].as_str();
    let node = node.expect("a stage is on a node");
    // The service moves, so that a Placement is over. The same Event a second time is counted in the first.
    for _ in 0..2 {
        for (command, schedulable) in [("cordon", "False"), ("uncordon", "True")] {
            cluster.kubectl(&[command, node]);
            let condition = format!("--for=condition=Schedulable={schedulable}");
            cluster.kubectl(&["wait", "edgenode", node, &condition, "--timeout=300s"]);
            let moved = || (!names(&placements()).contains(&names(&before)[0])).then_some(());
            cluster.until("another Placement", moved).await;
        }
    }
    cluster.wait_for_service().await;
    let service = ["llmservice", weights::SERVICE, "--namespace", weights::NAMESPACE];
    cluster.kubectl(&[&["delete"], &service[..]].concat());
    let gone = || {
        cluster
            .list(&["placements,stages", "--all-namespaces"])
            .is_empty()
            .then_some(())
    };
    cluster.until("the end of placements and stages", gone).await;

    cluster.install(&json!({"log": {"level": "debug"}}));
    // A node that leaves for good, and a control plane that was restored from a backup.
    let agent = pod_on(cluster, &ends[2]);
    cluster.kubectl(&["delete", "edgenode", &ends[2]]);
    let forgotten = || cluster.get(&["routetable", &ends[2]]).is_none().then_some(());
    cluster.until("the end of its RouteTable", forgotten).await;
    cluster.kubectl(&["delete", "pod", &agent, "--namespace", NAMESPACE]);
    let secret = ["secret", "edgeloom-control-plane", "--namespace", NAMESPACE];
    let restored = [
        "--type=json",
        r#"--patch=[{"op": "remove", "path": "/data/incarnation"}]"#,
    ];
    cluster.kubectl(&[&["patch"], &secret[..], &restored].concat());
    for pod in names(&cluster.pods_of("controller")) {
        cluster.kubectl(&["delete", "pod", &pod, "--namespace", NAMESPACE]);
    }
    cluster.serving().await;
}

fn pod_on(cluster: &Cluster, node: &str) -> String {
    let pods = cluster.pods_of("agent").into_iter();
    let pods: Vec<_> = pods.filter(|pod| pod["spec"]["nodeName"] == *node).collect();
    names(&pods).pop().expect("each node has an agent")
}

fn user_and_link(from: &str, to: &str) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": weights::NAMESPACE},
        "stringData": {"key": "a-key-of-much-randomness-3f9c81d7"},
    });
    let user = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeUser",
        "metadata": {"name": "somebody", "namespace": weights::NAMESPACE},
        "spec": {"apiKeySecret": {"name": "key", "key": "key"}},
    });
    let link = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeLink", "metadata": {"name": "between"},
        "spec": {"from": from, "to": to, "rateBitsPerSecond": "1G"},
    });
    format!("{secret}\n---\n{user}\n---\n{link}")
}

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    /// With its subresource, such as `stages/status`.
    resource: String,
    verb: String,
    /// The only object that is meant, if one is.
    name: Option<String>,
}

impl Right {
    fn covers(&self, use_: &Self) -> bool {
        let same = (&self.group, &self.resource, &self.verb) == (&use_.group, &use_.resource, &use_.verb);
        same && (self.name.is_none() || self.name == use_.name)
    }
}

/// What the API server lets a component do in the release's namespace, and does not let every account do.
fn granted(cluster: &Cluster, component: &str) -> BTreeSet<Right> {
    let everybody = rules_of(cluster, "default");
    let own = rules_of(cluster, &format!("{NAME}-{component}"));
    own.difference(&everybody).cloned().collect()
}

fn rules_of(cluster: &Cluster, account: &str) -> BTreeSet<Right> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": NAMESPACE},
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("review.json");
    std::fs::write(&file, review.to_string()).expect("it is written");
    let file = file.display().to_string();
    let as_account = format!("--as=system:serviceaccount:{NAMESPACE}:{account}");
    let create = ["create", "--validate=false", &as_account, "--filename", &file];
    let said = cluster.kubectl(&[&create[..], &["--output", "json"]].concat());
    let review: Value = serde_json::from_str(&said).expect("kubectl prints JSON");
    let rules = review["status"]["resourceRules"]
        .as_array()
        .expect("there are rules");
    rules.iter().flat_map(rights_of).collect()
}

fn rights_of(rule: &Value) -> Vec<Right> {
    let texts = |field: &str| -> Vec<String> {
        let texts = rule[field].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let named = texts("resourceNames").into_iter().map(Some);
    let objects: Vec<_> = if rule["resourceNames"].is_null() {
        vec![None]
    } else {
        named.collect()
    };
    let mut rights = vec![];
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for verb in texts("verbs") {
                rights.extend(objects.iter().map(|name| Right {
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    rights
}

/// What the API server was asked by a component, and allowed.
fn used(audit: &Audit, component: &str) -> BTreeSet<Right> {
    let requests = audit.requests_of(component).into_iter();
    let allowed = requests.filter(|event| event["annotations"]["authorization.k8s.io/decision"] == "allow");
    allowed
        .map(|event| {
            let text = |field: &str| event["objectRef"][field].as_str().map(str::to_owned);
            let resource = text("resource").unwrap_or_default();
            Right {
                group: text("apiGroup").unwrap_or_default(),
                resource: text("subresource").map_or(resource.clone(), |sub| format!("{resource}/{sub}")),
                verb: event["verb"].as_str().unwrap_or_default().to_owned(),
                name: text("name"),
            }
        })
        .collect()
}
