//! The model that the suites serve: behind a web server in the cluster, as a company would offer its own.

use std::time::Instant;

use serde_json::json;

use crate::{
    asking::Router,
    cluster::{Cluster, PATIENCE},
};

/// The namespace of the web server, of the Model and of the service.
pub(crate) const NAMESPACE: &str = "serving";

/// The LLMService, and what clients call it.
pub(crate) const SERVICE: &str = "assistant";

/// The file in the image, and its hash.
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

impl Cluster {
    /// Offers the weights in the cluster; gives their URL. The address is the service's own, since a cluster for tests may have no
    /// name service.
    pub(crate) async fn offer_weights(&self) -> String {
        self.apply(&web_server(&self.weights_image));
        let rollout = [
            "rollout",
            "status",
            "deployment/weights",
            "--namespace",
            NAMESPACE,
        ];
        self.kubectl(&[&rollout[..], &["--timeout", "300s"]].concat());
        let service = self
            .get(&["service", "weights", "--namespace", NAMESPACE])
            .expect("it was applied");
        let address = service["spec"]["clusterIP"]
            .as_str()
            .expect("a service has an address");
        format!("http://{address}/{FILE}")
    }

    /// Applies a Model of these weights and a service of it that anyone may ask.
    pub(crate) fn serve(&self, url: &str) {
        let model = json!({
            "apiVersion": "edgeloom.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "smollm2-135m", "namespace": NAMESPACE},
            "spec": {"variants": [{"name": "q4-1", "uri": url, "sha256": SHA256}]},
        });
        let service = json!({
            "apiVersion": "edgeloom.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {
                "models": [{"name": "smollm2-135m"}],
                "access": "Anonymous",
                // On three nodes a pipeline of all three could leave none of them without a pause.
                "modes": ["Split"],
                "contextTokens": 3072,
                "outputTokensMax": 256,
                "concurrency": 2,
            },
        });
        self.apply(&format!("{model}\n---\n{service}"));
    }

    /// Sees to it that the release runs and the service answers.
    pub(crate) async fn serving(&self) {
        let url = self.offer_weights().await;
        self.install(&json!({}));
        self.serve(&url);
        // What a former release has said of the service may stand until a controller leads.
        let begin = Instant::now();
        loop {
            self.wait_for_service().await;
            match Router::reach(self).await.ask("Hello.", 1).await {
                Ok(_) => return,
                Err(why) => assert!(begin.elapsed() < PATIENCE, "{why}\n{}", self.story()),
            }
        }
    }

    /// Waits until the service is Ready.
    pub(crate) async fn wait_for_service(&self) {
        self.until("a service that is Ready", || {
            let service = self.get(&["llmservice", SERVICE, "--namespace", NAMESPACE])?;
            let conditions = service["status"]["conditions"].as_array()?;
            conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
                .then_some(())
        })
        .await;
    }
}

/// A Deployment under the restricted pod security standard, on two nodes so that one may be lost, and its Service.
fn web_server(image: &str) -> String {
    let labels = json!({"app": "weights"});
    let apart = json!({
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"},
            ],
        },
    });
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    let container = json!({
        "name": "serve",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        },
    });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "weights", "namespace": NAMESPACE},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "affinity": apart,
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "weights", "namespace": NAMESPACE},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    });
    format!("{namespace}\n---\n{deployment}\n---\n{service}")
}
