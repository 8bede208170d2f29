//! The real Helm, in both of its lines: the project's own chart, and waiting.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    program::Said,
    served::{SOON, Served},
};

/// A helm with a kubeconfig and folders of its own.
struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Helm {
    /// Helm of this major version, fetched at most once.
    async fn new(version: &str, served: &Served) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs/helm.sh");
        let output = Command::new(&script).arg(version).output().await.unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            program: PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()),
            kubeconfig: served.kubeconfig(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    async fn call(&self, line: &str) -> Said {
        let child = Command::new(&self.program)
            .args(line.split_whitespace())
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(SOON, child)
            .await
            .unwrap_or_else(|_| panic!("helm {line} does not end"))
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said {
            ok: output.status.success(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    async fn ok(&self, line: &str) -> String {
        let said = self.call(line).await;
        assert!(said.ok, "helm {line}:\n{}{}", said.out, said.err);
        said.out
    }
}

/// A chart of these templates.
fn chart(templates: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    let chart = "apiVersion: v2\nname: small\nversion: 0.1.0\n";
    std::fs::write(folder.path().join("Chart.yaml"), chart).unwrap();
    for (name, template) in templates {
        std::fs::write(folder.path().join("templates").join(name), template).unwrap();
    }
    folder
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/edge/deployments/loom-edgeloom-controller";

async fn replicas(served: &Served) -> Value {
    let (_, object) = served.ask("GET", DEPLOYMENT, Value::Null).await;
    object["spec"]["replicas"].clone()
}

/// Installs, upgrades, rolls back and uninstalls the project's own chart.
async fn live_through_a_release(version: &str) {
    let served = Served::new().await;
    let helm = Helm::new(version, &served).await;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/edgeloom");
    let chart = chart.display();
    helm.ok(&format!(
        "install loom {chart} --namespace edge --create-namespace"
    ))
    .await;
    assert_eq!(replicas(&served).await, 2);
    for path in [
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/models.edgeloom.dev",
        "/apis/apps/v1/namespaces/edge/daemonsets/loom-edgeloom-agent",
        "/apis/policy/v1/namespaces/edge/poddisruptionbudgets/loom-edgeloom-controller",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/loom-edgeloom-agent",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/loom-edgeloom-agent-stages",
    ] {
        let (code, body) = served.ask("GET", path, Value::Null).await;
        assert_eq!(code, 200, "{path}: {body}");
    }

    let upgrade = format!("upgrade loom {chart} --namespace edge --set controller.replicas=3");
    helm.ok(&format!("{upgrade} --dry-run=server")).await;
    assert_eq!(replicas(&served).await, 2, "a dry run changes nothing");
    helm.ok(&upgrade).await;
    assert_eq!(replicas(&served).await, 3);
    helm.ok("rollback loom 1 --namespace edge").await;
    assert_eq!(replicas(&served).await, 2);
    let history = helm.ok("history loom --namespace edge").await;
    assert!(history.contains("Rollback to 1"), "{history}");
    helm.ok("status loom --namespace edge").await;
    helm.ok("uninstall loom --namespace edge").await;
    assert_eq!(served.ask("GET", DEPLOYMENT, Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_4_lives_through_a_release_of_our_chart() {
    live_through_a_release("4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_3_lives_through_a_release_of_our_chart() {
    live_through_a_release("3").await;
}

/// `helm install --wait` returns once the workload's status says that it is rolled out, which the test says as its controller.
async fn waits(version: &str) {
    let served = Served::new().await;
    let helm = Helm::new(version, &served).await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    });
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}});
    let chart = chart(&[
        ("map.yaml", map.to_string()),
        ("web.yaml", deployment.to_string()),
    ]);
    let line = format!("install small {} --wait --timeout 50s", chart.path().display());
    let mut waiting = Box::pin(helm.ok(&line));
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    tokio::select! {
        said = &mut waiting => panic!("helm did not wait: {said}"),
        _ = served.until(path, |code, _| code == 200) => {}
    }
    let mut replica_set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web-1", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": deployment["spec"]["template"]},
    });
    let status = json!({"status": {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
        ],
    }});
    // Helm 3 looks at the newest ReplicaSet of the Deployment.
    let (_, owner) = served.ask("GET", path, Value::Null).await;
    replica_set["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["metadata"]["uid"], "controller": true,
    }]);
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let (code, body) = served.ask("POST", sets, replica_set).await;
    assert_eq!(code, 201, "{body}");
    let ready = json!({"status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1}});
    served.ask("PATCH", &format!("{sets}/web-1/status"), ready).await;
    let (code, body) = served.ask("PATCH", &format!("{path}/status"), status).await;
    assert_eq!(code, 200, "{body}");
    waiting.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_4_waits_for_workloads() {
    waits("4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_3_waits_for_workloads() {
    waits("3").await;
}
