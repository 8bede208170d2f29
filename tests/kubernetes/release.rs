//! The release of the chart that the suites install.

use serde_json::{Value, json};
use tests::up::repository;

use crate::cluster::{Cluster, names};

/// The release's name, and so of its objects.
pub(crate) const NAME: &str = "edgeloom";

/// The namespace that it is installed into.
pub(crate) const NAMESPACE: &str = "edgeloom-system";

/// The label of all that is the release's.
pub(crate) const OWN: &str = "app.kubernetes.io/instance=edgeloom";

/// What an agent's pod may use: enough to time the model, and not enough to hold all of it with the cells of its service. The
/// most layers that fit leave half a layer's room: where one node can hold a stage the others can, so that services can move.
pub(crate) const AGENT_MEMORY_MIB: i64 = 234;

/// How long Helm waits for the pods.
const TIMEOUT: &str = "600s";

impl Cluster {
    /// Installs the release, or brings it to these values on top of the suites' own, and waits until its pods are Ready.
    pub(crate) fn install(&self, values: &Value) {
        let chart = repository().join("charts/edgeloom").display().to_string();
        let own = self.values().to_string();
        let own = own.as_str();
        let more = values.to_string();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut arguments = vec![
            "upgrade",
            "--install",
            NAME,
            &chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
        ];
        arguments.extend(["--wait", "--timeout", TIMEOUT]);
        let files = [("own.json", own), ("more.json", more.as_str())].map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("values are written");
            path.display().to_string()
        });
        for file in &files {
            arguments.extend(["--values", file.as_str()]);
        }
        if let Err(complaint) = self.helm(&arguments) {
            panic!("{complaint}\n{}", self.story());
        }
    }

    fn values(&self) -> Value {
        let (repository, tag) = self
            .image
            .rsplit_once(':')
            .expect("EDGELOOM_IMAGE is repository:tag");
        let memory = format!("{AGENT_MEMORY_MIB}Mi");
        json!({
            "image": {"repository": repository, "tag": tag},
            "agent": {
                "resources": {
                    "requests": {"cpu": "100m", "memory": memory},
                    "limits": {"memory": memory},
                },
            },
        })
    }

    /// Runs the chart's own test.
    pub(crate) fn helm_test(&self) {
        let done = self.helm(&["test", NAME, "--namespace", NAMESPACE, "--timeout", TIMEOUT]);
        done.unwrap_or_else(|complaint| panic!("{complaint}\n{}", self.story()));
    }

    /// Goes back to a revision of the release, and waits until its pods are Ready.
    pub(crate) fn rollback(&self, revision: &str) {
        let arguments = ["rollback", NAME, revision, "--namespace", NAMESPACE];
        let done = self.helm(&[&arguments[..], &["--wait", "--timeout", TIMEOUT]].concat());
        done.unwrap_or_else(|complaint| panic!("{complaint}\n{}", self.story()));
    }

    /// Removes the release, if it is there, and waits until its pods are gone: Helm waits for what it has made, and others make
    /// pods.
    pub(crate) fn uninstall(&self) {
        let arguments = [
            "uninstall",
            NAME,
            "--namespace",
            NAMESPACE,
            "--wait",
            "--timeout",
            TIMEOUT,
        ];
        let done = self.helm(&[&arguments[..], &["--ignore-not-found"]].concat());
        done.unwrap_or_else(|complaint| panic!("{complaint}\n{}", self.story()));
        let pods = ["pods", "--namespace", NAMESPACE, "--selector", OWN];
        let waited = self.try_kubectl(&[&["wait", "--for=delete", "--timeout", TIMEOUT], &pods[..]].concat());
        let left = names(&self.list(&pods));
        assert!(left.is_empty(), "{left:?} stay: {waited}\n{}", self.story());
    }

    /// Removes the release with everything that `uninstall` keeps, as the chart's README says.
    pub(crate) fn purge(&self) {
        self.uninstall();
        let patient = ["--ignore-not-found", "--timeout", TIMEOUT];
        self.kubectl(
            &[
                &["delete", "crd", "--selector", "app.kubernetes.io/name=edgeloom"],
                &patient[..],
            ]
            .concat(),
        );
        self.kubectl(&[&["delete", "namespace", NAMESPACE], &patient[..]].concat());
    }

    /// The pods of a component, `controller` or `agent`.
    pub(crate) fn pods_of(&self, component: &str) -> Vec<Value> {
        let selector = format!("{OWN},app.kubernetes.io/component={component}");
        self.list(&["pods", "--namespace", NAMESPACE, "--selector", &selector])
    }

    /// What happened in the namespace: pods, events, the ends of their logs. For the message of a test that fails.
    pub(crate) fn story(&self) -> String {
        let pods = [
            "get",
            "pods,edgenodes,placements,stages",
            "--all-namespaces",
            "--output",
            "wide",
        ];
        let events = [
            "get",
            "events",
            "--namespace",
            NAMESPACE,
            "--sort-by",
            ".lastTimestamp",
        ];
        let part_of = "--selector=app.kubernetes.io/part-of=edgeloom";
        let logs = [
            "logs",
            "--namespace",
            NAMESPACE,
            part_of,
            "--all-containers",
            "--prefix",
            "--tail",
            "40",
        ];
        let service = ["describe", "llmservices,models", "--all-namespaces"];
        [&pods[..], &service[..], &events[..], &logs[..]]
            .iter()
            .map(|arguments| self.try_kubectl(arguments))
            .collect::<Vec<_>>()
            .join("\n")
    }
}
