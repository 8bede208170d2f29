//! What the API server refuses: nothing that controller and agents ask, and an agent what is not its own.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{
    asking::Router,
    audit::{self, Audit},
    cluster::{Cluster, Home, names},
    release::{NAME, NAMESPACE},
};

#[tokio::test(flavor = "multi_thread")]
async fn controller_and_agents_are_refused_nothing_that_they_ask() {
    let Some(home) = Home::of_this_test("the audit log is read") else {
        return;
    };
    let cluster = Cluster::of_this_test();
    // While a release is removed its rights go before its pods: what was refused then is not meant.
    let audit = Audit::begin(&home);
    cluster.serving().await;
    let answer = Router::reach(&cluster).await.ask("Say hello.", 8).await;
    answer.expect("the service answers");

    for component in ["controller", "agent"] {
        let requests = audit.requests_of(component);
        assert!(!requests.is_empty(), "the log knows the {component}");
        let refused: Vec<_> = requests
            .iter()
            .filter(|event| event["responseStatus"]["code"] == 403)
            .map(audit::line)
            .collect();
        assert!(refused.is_empty(), "refused: {refused:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_token_is_good_for_its_own_node_only() {
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    let pods = cluster.pods_of("agent");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    // The other one has a Stage.
    let stages = cluster.list(&["stages"]);
    let has_stage = |pod: &&Value| {
        stages
            .iter()
            .any(|stage| stage["spec"]["nodeName"] == pod["spec"]["nodeName"])
    };
    let second = pods.iter().find(has_stage).expect("stages are somewhere");
    let first = pods.iter().find(|pod| *pod != second);
    let first = first.expect("there are two nodes");
    let (own, other) = (
        text(&first["spec"]["nodeName"]),
        text(&second["spec"]["nodeName"]),
    );
    let agent = Agent::of_pod(&cluster, &text(&first["metadata"]["name"]));

    for (kind, path, patch) in of_node(&cluster, &own) {
        let said = agent.patch(&path, &patch);
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        assert_eq!(answer["kind"], kind, "of its own node: {said}");
    }
    let of_others = of_node(&cluster, &other);
    let kinds: Vec<_> = of_others.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, ["EdgeNode", "RouteTable", "Lease", "Stage"]);
    for (kind, path, patch) in of_others {
        let said = agent.patch(&path, &patch);
        assert!(
            said.contains("its own node only"),
            "the {kind} of another: {said}"
        );
    }

    for refused in [
        &["get", "secrets", "--all-namespaces"][..],
        &["get", "pods", "--all-namespaces"],
        &["delete", "stages", "--all"],
        &["delete", "edgenode", &own],
        &["create", "namespace", "of-an-agent"],
    ] {
        let said = agent.ask(&cluster, refused);
        assert!(said.contains("Forbidden"), "{refused:?}: {said}");
    }
}

/// What the agent of a node writes: the kind, where, and a patch.
fn of_node(cluster: &Cluster, node: &str) -> Vec<(&'static str, String, String)> {
    const OURS: &str = "/apis/edgeloom.dev/v1alpha1";
    let status = json!({"status": {"conditions": []}}).to_string();
    let lease = json!({"spec": {"holderIdentity": "somebody"}}).to_string();
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let mut own = vec![
        (
            "EdgeNode",
            format!("{OURS}/edgenodes/{node}/status"),
            status.clone(),
        ),
        (
            "RouteTable",
            format!("{OURS}/routetables/{node}/status"),
            status.clone(),
        ),
        ("Lease", format!("{leases}/{node}"), lease),
    ];
    let stages = cluster.list(&["stages", "--field-selector", &format!("spec.nodeName={node}")]);
    let stages = names(&stages).into_iter().take(1);
    own.extend(stages.map(|stage| ("Stage", format!("{OURS}/stages/{stage}/status"), status.clone())));
    own
}

/// Somebody who holds the token of an agent's pod.
struct Agent {
    _folder: tempfile::TempDir,
    kubeconfig: PathBuf,
    server: String,
    token: String,
}

impl Agent {
    fn of_pod(cluster: &Cluster, pod: &str) -> Self {
        let account = format!("{NAME}-agent");
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod];
        let create = ["create", "token", &account, "--namespace", NAMESPACE];
        let token = cluster.kubectl(&[&create[..], &bound].concat());
        let view = cluster.kubectl(&["config", "view", "--raw", "--minify", "--output", "json"]);
        let mut config: Value = serde_json::from_str(&view).expect("kubectl prints JSON");
        config["users"][0]["user"] = json!({ "token": token.trim() });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(&kubeconfig, config.to_string()).expect("it is written");
        let server = config["clusters"][0]["cluster"]["server"].as_str();
        Self {
            _folder: folder,
            kubeconfig,
            server: server.expect("a cluster has a server").to_owned(),
            token: token.trim().to_owned(),
        }
    }

    /// Patches as an agent does, without reading first, and without effect; gives the server's answer.
    fn patch(&self, path: &str, patch: &str) -> String {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--insecure",
                "--max-time",
                "60",
                "--request",
                "PATCH",
            ])
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .args(["--header", "Content-Type: application/merge-patch+json"])
            .args(["--data", patch, &format!("{}{path}?dryRun=All", self.server)])
            .output();
        String::from_utf8_lossy(&output.expect("curl runs").stdout).into_owned()
    }

    fn ask(&self, cluster: &Cluster, arguments: &[&str]) -> String {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
        cluster.try_kubectl(&[&[kubeconfig.as_str()], arguments].concat())
    }
}
