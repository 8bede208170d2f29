//! What must hold of manifests, whatever made them. Nothing here knows the chart.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::helm::Release;

/// Kinds that belong to no namespace.
const CLUSTER_SCOPED: [&str; 5] = [
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// The labels that every object carries.
const LABELS: [&str; 5] = [
    "helm.sh/chart",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
];

/// The objects of a release.
pub(super) struct Manifests {
    documents: Vec<Value>,
    namespace: String,
}

type Labels = BTreeMap<String, String>;

impl Manifests {
    pub(super) fn new(documents: Vec<Value>, release: &Release<'_>) -> Self {
        Self {
            documents,
            namespace: release.namespace.to_owned(),
        }
    }

    pub(super) fn of_kind(&self, kind: &str) -> Vec<Value> {
        let of_kind = self.documents.iter().filter(|document| document["kind"] == kind);
        of_kind.cloned().collect()
    }

    /// Everything that runs pods, with the pods' labels and specification.
    fn pods(&self) -> Vec<(&Value, Labels, &Value)> {
        let pods = self
            .documents
            .iter()
            .filter_map(|document| match text(&document["kind"]) {
                "Pod" => Some((
                    document,
                    labels(&document["metadata"]["labels"]),
                    &document["spec"],
                )),
                "Deployment" | "DaemonSet" => {
                    let template = &document["spec"]["template"];
                    Some((
                        document,
                        labels(&template["metadata"]["labels"]),
                        &template["spec"],
                    ))
                }
                _ => None,
            });
        pods.collect()
    }

    /// All containers, those that run first included.
    pub(super) fn containers(&self) -> Vec<&Value> {
        let specs = self.pods().into_iter().map(|(_, _, spec)| spec);
        specs.flat_map(containers).collect()
    }

    /// What is wrong.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        self.judge_names(&mut faults);
        self.judge_workloads(&mut faults);
        self.judge_services(&mut faults);
        self.judge_selectors(&mut faults);
        self.judge_references(&mut faults);
        faults
    }

    fn judge_names(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for document in &self.documents {
            let (kind, metadata) = (text(&document["kind"]), &document["metadata"]);
            let name = text(&metadata["name"]);
            let of = format!("{kind} {name}");
            if !seen.insert(of.clone()) {
                faults.push(format!("{of} is there twice"));
            }
            if name.is_empty() || (name.len() > 63 && kind != "CustomResourceDefinition") {
                faults.push(format!("{of}: a name of 1 to 63 letters is wanted"));
            }
            let namespace = metadata["namespace"].as_str();
            let wanted = (!CLUSTER_SCOPED.contains(&kind)).then_some(self.namespace.as_str());
            if namespace != wanted {
                faults.push(format!("{of} is in namespace {namespace:?} and not {wanted:?}"));
            }
            let labels = labels(&metadata["labels"]);
            for label in LABELS.iter().filter(|label| !labels.contains_key(**label)) {
                faults.push(format!("{of} has no label {label}"));
            }
            if document["apiVersion"].as_str().is_none() {
                faults.push(format!("{of} has no apiVersion"));
            }
        }
    }

    fn judge_workloads(&self, faults: &mut Vec<String>) {
        for (workload, labels, spec) in self.pods() {
            let of = text(&workload["metadata"]["name"]);
            if workload["kind"] != "Pod" {
                // Found by its own workload, and by no other of the kind.
                let owners = self.pods().into_iter().filter(|(other, ..)| {
                    other["kind"] == workload["kind"] && selects(&other["spec"]["selector"], &labels)
                });
                if owners.count() != 1 {
                    faults.push(format!("{of}: its pods are not its own alone"));
                }
            }
            let volumes: BTreeSet<_> = each(&spec["volumes"])
                .map(|volume| text(&volume["name"]))
                .collect();
            for container in containers(spec) {
                let of = format!("{of}/{}", text(&container["name"]));
                for mount in
                    each(&container["volumeMounts"]).filter(|mount| !volumes.contains(text(&mount["name"])))
                {
                    faults.push(format!("{of} mounts {mount}, which is no volume"));
                }
                let ports: BTreeSet<_> = each(&container["ports"])
                    .map(|port| text(&port["name"]))
                    .collect();
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    let port = &container[probe]["httpGet"]["port"];
                    if port.is_string() && !ports.contains(text(port)) {
                        faults.push(format!("{of}: {probe} asks port {port}, which is not there"));
                    }
                }
                let variables: BTreeSet<_> = each(&container["env"])
                    .map(|variable| text(&variable["name"]))
                    .collect();
                if variables.len() != each(&container["env"]).count() {
                    faults.push(format!("{of} sets a variable twice"));
                }
                for used in each(&container["args"]).filter_map(|argument| variable(text(argument))) {
                    let of_service = spec["enableServiceLinks"] == true && self.names_service(used);
                    if !variables.contains(used) && !of_service {
                        faults.push(format!("{of} uses $({used}), which is not in its environment"));
                    }
                }
                for (kind, resource) in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")] {
                    if container["resources"][kind][resource].is_null() {
                        faults.push(format!("{of} has no resources.{kind}.{resource}"));
                    }
                }
            }
        }
    }

    /// Whether a variable is one that the kubelet makes of a Service: NAME_PORT.
    fn names_service(&self, variable: &str) -> bool {
        self.of_kind("Service").iter().any(|service| {
            let name = text(&service["metadata"]["name"])
                .to_uppercase()
                .replace('-', "_");
            variable == format!("{name}_PORT") && service["spec"]["clusterIP"] != "None"
        })
    }

    fn judge_services(&self, faults: &mut Vec<String>) {
        for service in self.of_kind("Service") {
            let of = text(&service["metadata"]["name"]).to_owned();
            let found = self.selected(&service["spec"]["selector"]);
            for port in each(&service["spec"]["ports"]) {
                let target = &port["targetPort"];
                let all_have = found.iter().all(|spec| {
                    let mut ports = containers(spec)
                        .into_iter()
                        .flat_map(|container| each(&container["ports"]));
                    ports.any(|port| port["name"] == *target)
                });
                if found.is_empty() || !all_have {
                    faults.push(format!("Service {of}: no pod has its port {target}"));
                }
            }
        }
        for (kind, backends) in [
            ("Ingress", "/spec/rules/0/http/paths/0/backend/service"),
            ("HTTPRoute", "/spec/rules/0/backendRefs/0"),
        ] {
            for route in self.of_kind(kind) {
                let backend = route.pointer(backends).cloned().unwrap_or_default();
                let port = if kind == "Ingress" {
                    &backend["port"]["name"]
                } else {
                    &backend["port"]
                };
                let is_there = self.of_kind("Service").iter().any(|service| {
                    let mut ports = each(&service["spec"]["ports"]);
                    service["metadata"]["name"] == backend["name"]
                        && ports.any(|known| known["name"] == *port || known["port"] == *port)
                });
                if !is_there {
                    faults.push(format!("{kind}: its backend {backend} is not there"));
                }
            }
        }
    }

    fn judge_selectors(&self, faults: &mut Vec<String>) {
        for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
            for document in self.of_kind(kind) {
                let spec = &document["spec"];
                let selector = if kind == "NetworkPolicy" {
                    &spec["podSelector"]
                } else {
                    &spec["selector"]
                };
                if self.selected(&selector["matchLabels"]).is_empty() {
                    faults.push(format!("{kind} {} finds no pod", document["metadata"]["name"]));
                }
                for rule in each(&spec["ingress"]) {
                    let found = self.selected(&selector["matchLabels"]);
                    for port in each(&rule["ports"]) {
                        let mut ports = found
                            .iter()
                            .flat_map(|spec| containers(spec))
                            .flat_map(|container| each(&container["ports"]));
                        let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
                        if !ports
                            .any(|known| known["name"] == port["port"] && protocol(known) == protocol(port))
                        {
                            faults.push(format!("NetworkPolicy: no pod has port {port}"));
                        }
                    }
                }
            }
        }
        for monitor in self.of_kind("ServiceMonitor") {
            let found = self.of_kind("Service").into_iter().filter(|service| {
                selects(
                    &monitor["spec"]["selector"],
                    &labels(&service["metadata"]["labels"]),
                )
            });
            let found: Vec<_> = found.collect();
            let endpoint = &monitor["spec"]["endpoints"][0];
            // Prometheus would rename our own labels to `exported_…`, and no rule would find them.
            if endpoint["honorLabels"] != true {
                faults.push("the ServiceMonitor does not honour labels".to_owned());
            }
            let port = &endpoint["port"];
            let all_have = found
                .iter()
                .all(|service| each(&service["spec"]["ports"]).any(|known| known["name"] == *port));
            if found.len() != 2 || !all_have {
                faults.push(format!("the ServiceMonitor finds {} Services", found.len()));
            }
        }
    }

    fn judge_references(&self, faults: &mut Vec<String>) {
        let is_there = |kind: &str, name: &Value| {
            self.of_kind(kind)
                .iter()
                .any(|known| known["metadata"]["name"] == *name)
        };
        let mut accounts = BTreeSet::new();
        for (workload, _, spec) in self.pods() {
            if spec["automountServiceAccountToken"] != false {
                accounts.insert(text(&spec["serviceAccountName"]).to_owned());
            }
            for volume in each(&spec["volumes"]) {
                for (kind, name) in [
                    ("ConfigMap", &volume["configMap"]["name"]),
                    ("Secret", &volume["secret"]["secretName"]),
                ] {
                    if !name.is_null() && !is_there(kind, name) {
                        faults.push(format!(
                            "{}: {kind} {name} is not there",
                            workload["metadata"]["name"]
                        ));
                    }
                }
            }
        }
        // Either the release makes all accounts, or they were there before.
        let made = self.of_kind("ServiceAccount");
        for account in &accounts {
            if account.is_empty()
                || !made.is_empty() && !is_there("ServiceAccount", &Value::from(account.as_str()))
            {
                faults.push(format!("ServiceAccount {account:?} is not there"));
            }
        }
        for kind in ["RoleBinding", "ClusterRoleBinding"] {
            for binding in self.of_kind(kind) {
                let (role, subject) = (&binding["roleRef"], &binding["subjects"][0]);
                if !is_there(text(&role["kind"]), &role["name"]) {
                    faults.push(format!("{kind}: {role} is not there"));
                }
                if !accounts.contains(text(&subject["name"])) || subject["namespace"] != *self.namespace {
                    faults.push(format!("{kind}: no pod runs as {subject}"));
                }
            }
        }
        for binding in self.of_kind("ValidatingAdmissionPolicyBinding") {
            if !is_there("ValidatingAdmissionPolicy", &binding["spec"]["policyName"]) {
                faults.push(format!(
                    "the policy {} is not there",
                    binding["spec"]["policyName"]
                ));
            }
        }
    }

    /// The pods with all of these labels.
    fn selected(&self, wanted: &Value) -> Vec<&Value> {
        let wanted = labels(wanted);
        let pods = self.pods().into_iter();
        pods.filter(|(_, labels, _)| matches(&wanted, labels))
            .map(|(_, _, spec)| spec)
            .collect()
    }

    /// What does not meet the pod security standard `restricted`, and what of a hardened container is missing.
    pub(super) fn unrestricted(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (_, _, spec) in self.pods() {
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                if spec[host] == true {
                    found.insert(format!("pod: {host}"));
                }
            }
            for volume in each(&spec["volumes"]) {
                let kinds = volume
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(kind, _)| kind.as_str());
                let allowed = [
                    "name",
                    "configMap",
                    "emptyDir",
                    "projected",
                    "secret",
                    "persistentVolumeClaim",
                ];
                for kind in kinds.filter(|kind| !allowed.contains(kind)) {
                    found.insert(format!("volume {}: {kind}", text(&volume["name"])));
                }
            }
            for container in containers(spec) {
                let name = text(&container["name"]);
                let faults = container_faults(&spec["securityContext"], container);
                found.extend(
                    faults
                        .into_iter()
                        .map(|fault| format!("container {name}: {fault}")),
                );
            }
        }
        found
    }
}

fn container_faults(of_pod: &Value, container: &Value) -> Vec<String> {
    let own = &container["securityContext"];
    let in_force = |field: &str| {
        if own[field].is_null() {
            &of_pod[field]
        } else {
            &own[field]
        }
    };
    let mut faults = vec![];
    if in_force("runAsNonRoot") != true || in_force("runAsUser").as_u64().is_none_or(|user| user == 0) {
        faults.push("runs as root".to_owned());
    }
    if in_force("seccompProfile")["type"] != "RuntimeDefault" {
        faults.push("no seccomp profile".to_owned());
    }
    if own["allowPrivilegeEscalation"] != false || own["privileged"] == true {
        faults.push("may gain privileges".to_owned());
    }
    if own["readOnlyRootFilesystem"] != true {
        faults.push("writes its root file system".to_owned());
    }
    if own["capabilities"]["drop"] != serde_json::json!(["ALL"]) {
        faults.push("keeps capabilities".to_owned());
    }
    faults.extend(each(&own["capabilities"]["add"]).map(|added| format!("capability {}", text(added))));
    if each(&container["ports"]).any(|port| !port["hostPort"].is_null()) {
        faults.push("host port".to_owned());
    }
    faults
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn containers(spec: &Value) -> Vec<&Value> {
    each(&spec["initContainers"])
        .chain(each(&spec["containers"]))
        .collect()
}

fn labels(value: &Value) -> Labels {
    let entries = value.as_object().into_iter().flatten();
    entries
        .map(|(name, value)| (name.clone(), text(value).to_owned()))
        .collect()
}

fn selects(selector: &Value, labels_of_it: &Labels) -> bool {
    matches(&labels(&selector["matchLabels"]), labels_of_it)
}

/// Nothing is wanted by mistake only: an empty selector matches nothing here.
fn matches(wanted: &Labels, labels: &Labels) -> bool {
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The variable that an argument uses, as in `$(POD_IP):8080`.
fn variable(argument: &str) -> Option<&str> {
    Some(argument.split_once("$(")?.1.split_once(')')?.0)
}
