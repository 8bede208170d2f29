//! What Kubernetes fills in where a workload says nothing: the values of `pkg/apis/*/v1/defaults.go`.

use serde_json::{Map, Value, json};

use crate::kinds::Resource;
use crate::objects;

/// Fills in the defaults of a built-in kind.
pub(super) fn fill(resource: &Resource, object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    if resource.kind == "PriorityClass" {
        set(fields, "preemptionPolicy", json!("PreemptLowerPriority"));
    }
    if resource.kind == "StorageClass" {
        set(fields, "reclaimPolicy", json!("Delete"));
        set(fields, "volumeBindingMode", json!("Immediate"));
    }
    let Some(Value::Object(spec)) = fields.get_mut("spec") else {
        return;
    };
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod(spec),
        ("", "PodTemplate") => {}
        ("", "ReplicationController") => {
            set(spec, "replicas", json!(1));
            if let Some(labels) = labels {
                set(spec, "selector", labels);
            }
            template(spec);
        }
        ("", "Service") => service(spec),
        ("apps", "Deployment") => deployment(spec),
        ("apps", "DaemonSet") => {
            set(spec, "revisionHistoryLimit", json!(10));
            rolling(spec, "updateStrategy", &[("maxUnavailable", 1), ("maxSurge", 0)]);
            template(spec);
        }
        ("apps", "StatefulSet") => {
            set(spec, "replicas", json!(1));
            set(spec, "revisionHistoryLimit", json!(10));
            set(spec, "podManagementPolicy", json!("OrderedReady"));
            rolling(spec, "updateStrategy", &[("partition", 0), ("maxUnavailable", 1)]);
            let retained = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
            set(spec, "persistentVolumeClaimRetentionPolicy", retained);
            template(spec);
        }
        ("apps", "ReplicaSet") => {
            set(spec, "replicas", json!(1));
            template(spec);
        }
        ("batch", "Job") => job(spec),
        ("batch", "CronJob") => cron_job(spec),
        ("networking.k8s.io", "NetworkPolicy") => {
            let has_egress = spec.contains_key("egress");
            let types = if has_egress {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            };
            set(spec, "policyTypes", types);
        }
        _ => {}
    }
}

/// The status that a new object shows before anybody told one: Go has no way to leave some figures out.
pub(super) fn begin(resource: &Resource, object: &mut Value) {
    let status = match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => json!({"phase": "Pending", "qosClass": service_class(&object["spec"])}),
        ("", "PersistentVolumeClaim" | "PersistentVolume") => json!({"phase": "Pending"}),
        ("", "Service") | ("networking.k8s.io", "Ingress") => json!({"loadBalancer": {}}),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => json!({"replicas": 0}),
        ("apps", "Deployment")
        | ("batch", "CronJob" | "Job")
        | ("", "ResourceQuota")
        | ("certificates.k8s.io", "PodCertificateRequest")
        | ("storagemigration.k8s.io", "StorageVersionMigration") => json!({}),
        ("apps", "StatefulSet") => json!({"replicas": 0, "availableReplicas": 0}),
        ("apps", "DaemonSet") => json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        }),
        ("policy", "PodDisruptionBudget") => {
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let versions = object["spec"]["versions"].as_array().into_iter().flatten();
            let stored = versions.filter(|version| version["storage"] == true);
            let stored: Vec<&Value> = stored.map(|version| &version["name"]).collect();
            json!({"acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored})
        }
        _ => return,
    };
    if let Some(fields) = object.as_object_mut() {
        fields.entry("status").or_insert(status);
    }
}

/// Counts the templates that a DaemonSet has had, as its annotation.
pub(super) fn count_templates(set: &mut Value, old: Option<&Value>) {
    const COUNT: &str = "deprecated.daemonset.template.generation";
    let count_of = |set: &Value| {
        set["metadata"]["annotations"][COUNT]
            .as_str()?
            .parse::<i64>()
            .ok()
    };
    let count = match old {
        None => count_of(set).filter(|count| *count > 0).unwrap_or(1),
        Some(old) => {
            let before = count_of(old).unwrap_or(1);
            before + i64::from(old["spec"]["template"] != set["spec"]["template"])
        }
    };
    let metadata = objects::metadata_mut(set);
    let annotations = metadata.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = json!({});
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(COUNT.to_owned(), count.to_string().into());
    }
}

/// How a pod's containers share a machine: by what they ask for and what they may use at most.
fn service_class(spec: &Value) -> &'static str {
    let containers = || spec["containers"].as_array().into_iter().flatten();
    let of = |one: &Value, field: &str| one["resources"][field].as_object().cloned().unwrap_or_default();
    if containers().all(|one| of(one, "requests").is_empty() && of(one, "limits").is_empty()) {
        return "BestEffort";
    }
    let guaranteed = containers().all(|one| {
        let (requests, limits) = (of(one, "requests"), of(one, "limits"));
        let has_both = ["cpu", "memory"].iter().all(|name| limits.contains_key(*name));
        has_both
            && requests
                .iter()
                .all(|(name, value)| limits.get(name) == Some(value))
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// Sets a field unless it is there. An empty text is no value.
fn set(fields: &mut Map<String, Value>, name: &str, value: Value) {
    match fields.get_mut(name) {
        Some(there) if !there.is_null() && *there != "" => {}
        Some(absent) => *absent = value,
        None => drop(fields.insert(name.to_owned(), value)),
    }
}

fn items<'a>(
    fields: &'a mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = fields.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn object<'a>(fields: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    fields.get_mut(name)?.as_object_mut()
}

/// A strategy that rolls, with its figures, unless it says that it does something else.
fn rolling(spec: &mut Map<String, Value>, name: &str, figures: &[(&str, i64)]) {
    set(spec, name, json!({}));
    let Some(strategy) = object(spec, name) else {
        return;
    };
    set(strategy, "type", json!("RollingUpdate"));
    if strategy.get("type") != Some(&json!("RollingUpdate")) {
        return;
    }
    set(strategy, "rollingUpdate", json!({}));
    if let Some(update) = object(strategy, "rollingUpdate") {
        for (figure, value) in figures {
            set(update, figure, json!(value));
        }
    }
}

fn deployment(spec: &mut Map<String, Value>) {
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    rolling(spec, "strategy", &[]);
    if let Some(update) = object(spec, "strategy").and_then(|strategy| object(strategy, "rollingUpdate")) {
        set(update, "maxUnavailable", json!("25%"));
        set(update, "maxSurge", json!("25%"));
    }
    template(spec);
}

fn job(spec: &mut Map<String, Value>) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        set(spec, "completions", json!(1));
    }
    set(spec, "parallelism", json!(1));
    set(spec, "backoffLimit", json!(6));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    set(spec, "manualSelector", json!(false));
    let replacement = if spec.contains_key("podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    set(spec, "podReplacementPolicy", json!(replacement));
    template(spec);
}

fn cron_job(spec: &mut Map<String, Value>) {
    set(spec, "concurrencyPolicy", json!("Allow"));
    set(spec, "suspend", json!(false));
    set(spec, "successfulJobsHistoryLimit", json!(3));
    set(spec, "failedJobsHistoryLimit", json!(1));
    // A job's own defaults are filled in when it is made; those of its pods here already.
    if let Some(template) = object(spec, "jobTemplate") {
        template.entry("metadata").or_insert_with(|| json!({}));
    }
    if let Some(job) = object(spec, "jobTemplate").and_then(|job| object(job, "spec")) {
        template(job);
    }
}

fn service(spec: &mut Map<String, Value>) {
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "type", json!("ClusterIP"));
    for port in items(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        set(port, "targetPort", number);
    }
    let of_type = spec.get("type").and_then(Value::as_str).unwrap_or_default();
    if of_type != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if matches!(
        spec.get("type").and_then(Value::as_str),
        Some("NodePort" | "LoadBalancer")
    ) {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
}

/// The pods of a workload.
fn template(spec: &mut Map<String, Value>) {
    if let Some(pod_spec) = object(spec, "template").and_then(|template| object(template, "spec")) {
        pod_template(pod_spec);
    }
}

/// A pod of its own: what only matters once it runs.
fn pod(spec: &mut Map<String, Value>) {
    pod_template(spec);
    set(spec, "enableServiceLinks", json!(true));
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            request_limits(container);
        }
    }
}

/// What a container may use at most, it asks for, unless it says how much.
fn request_limits(container: &mut Map<String, Value>) {
    let Some(resources) = object(container, "resources") else {
        return;
    };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else {
        return;
    };
    set(resources, "requests", json!({}));
    if let Some(requests) = object(resources, "requests") {
        for (name, limit) in limits {
            set(requests, &name, limit);
        }
    }
}

fn pod_template(spec: &mut Map<String, Value>) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    // The older name of the same field.
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        set(spec, "serviceAccount", account);
    } else if let Some(account) = spec.get("serviceAccount").cloned() {
        set(spec, "serviceAccountName", account);
    }
    for list in ["initContainers", "containers"] {
        for one in items(spec, list) {
            container(one);
        }
    }
    for one in items(spec, "volumes") {
        volume(one);
    }
}

fn container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    let policy = if latest { "Always" } else { "IfNotPresent" };
    if !image.is_empty() {
        set(container, "imagePullPolicy", json!(policy));
    }
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    set(container, "resources", json!({}));
    for port in items(container, "ports") {
        set(port, "protocol", json!("TCP"));
    }
    for variable in items(container, "env") {
        if let Some(field) = object(variable, "valueFrom").and_then(|from| object(from, "fieldRef")) {
            set(field, "apiVersion", json!("v1"));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = object(container, name) {
            set(probe, "timeoutSeconds", json!(1));
            set(probe, "periodSeconds", json!(10));
            set(probe, "successThreshold", json!(1));
            set(probe, "failureThreshold", json!(3));
            handler(probe);
        }
    }
    if let Some(lifecycle) = object(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(hook) = object(lifecycle, name) {
                handler(hook);
            }
        }
    }
}

fn handler(handler: &mut Map<String, Value>) {
    if let Some(get) = object(handler, "httpGet") {
        set(get, "path", json!("/"));
        set(get, "scheme", json!("HTTP"));
    }
    if let Some(call) = object(handler, "grpc") {
        set(call, "service", json!(""));
    }
}

fn volume(volume: &mut Map<String, Value>) {
    const SOURCES_WITH_MODE: [&str; 4] = ["secret", "configMap", "downwardAPI", "projected"];
    if volume.len() == 1 {
        set(volume, "emptyDir", json!({}));
    }
    for name in SOURCES_WITH_MODE {
        if let Some(source) = object(volume, name) {
            set(source, "defaultMode", json!(0o644));
        }
    }
    if let Some(path) = object(volume, "hostPath") {
        path.entry("type").or_insert(json!(""));
    }
    for source in object(volume, "projected")
        .into_iter()
        .flat_map(|all| items(all, "sources"))
    {
        if let Some(token) = object(source, "serviceAccountToken") {
            set(token, "expirationSeconds", json!(3600));
        }
    }
    let fields = object(volume, "downwardAPI")
        .into_iter()
        .flat_map(|all| items(all, "items"));
    for item in fields {
        if let Some(field) = object(item, "fieldRef") {
            set(field, "apiVersion", json!("v1"));
        }
    }
}
