//! The columns of workloads and the other kinds that charts create, after those that Kubernetes prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::builtin::{age, count, created_at};
use super::column::Column;
use super::duration;

fn text(object: &Value, pointer: &str, absent: &str) -> Value {
    match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone().into(),
        Some(Value::Null) | None => absent.into(),
        Some(other) => other.to_string().into(),
    }
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// `ready/desired`
fn ready_of(object: &Value, desired: &str) -> Value {
    let ready = number(object, "/status/readyReplicas");
    format!("{ready}/{}", number(object, desired)).into()
}

fn integer(name: &str, description: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column::computed(name, description, cell).of_type("integer")
}

fn time_since(object: &Value, pointer: &str, now: Timestamp, absent: &str) -> Value {
    let time = object.pointer(pointer).and_then(Value::as_str);
    match time.and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(time) => duration::since(time, now).into(),
        None => absent.into(),
    }
}

/// NAME READY STATUS RESTARTS AGE
pub fn pod() -> Vec<Column> {
    vec![
        Column::computed("Ready", "Containers that are ready.", |pod, _| {
            let statuses = pod["status"]["containerStatuses"]
                .as_array()
                .into_iter()
                .flatten();
            let ready = statuses.filter(|status| status["ready"] == true).count();
            format!("{ready}/{}", count(&pod["spec"]["containers"])).into()
        }),
        Column::computed("Status", "The phase of the pod.", |pod, _| {
            text(pod, "/status/phase", "Pending")
        }),
        Column::computed(
            "Restarts",
            "How often its containers were started again.",
            |pod, _| {
                let statuses = pod["status"]["containerStatuses"]
                    .as_array()
                    .into_iter()
                    .flatten();
                let restarts: i64 = statuses.map(|status| number(status, "/restartCount")).sum();
                restarts.to_string().into()
            },
        ),
        age(),
    ]
}

/// NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS AGE
pub fn persistent_volume_claim() -> Vec<Column> {
    vec![
        Column::computed("Status", "The phase of the claim.", |claim, _| {
            text(claim, "/status/phase", "Pending")
        }),
        Column::computed("Volume", "The volume that it is bound to.", |claim, _| {
            text(claim, "/spec/volumeName", "")
        }),
        Column::computed("Capacity", "Size of that volume.", |claim, _| {
            text(claim, "/status/capacity/storage", "")
        }),
        Column::computed("Access Modes", "How it may be mounted.", |claim, _| {
            let modes = claim["status"]["accessModes"].as_array().into_iter().flatten();
            let modes: Vec<&str> = modes.filter_map(Value::as_str).collect();
            modes.join(",").into()
        }),
        Column::computed(
            "StorageClass",
            "Class of storage that it asks for.",
            |claim, _| text(claim, "/spec/storageClassName", ""),
        ),
        age(),
    ]
}

/// NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE
pub fn daemon_set() -> Vec<Column> {
    vec![
        integer("Desired", "Nodes that should run it.", |set, _| {
            number(set, "/status/desiredNumberScheduled").into()
        }),
        integer("Current", "Nodes that run it.", |set, _| {
            number(set, "/status/currentNumberScheduled").into()
        }),
        integer("Ready", "Nodes on which it is ready.", |set, _| {
            number(set, "/status/numberReady").into()
        }),
        integer("Up-to-date", "Nodes with its newest template.", |set, _| {
            number(set, "/status/updatedNumberScheduled").into()
        }),
        integer("Available", "Nodes on which it is available.", |set, _| {
            number(set, "/status/numberAvailable").into()
        }),
        Column::computed("Node Selector", "Nodes that it is for.", |set, _| {
            labels(&set["spec"]["template"]["spec"]["nodeSelector"])
        }),
        age(),
    ]
}

/// NAME READY UP-TO-DATE AVAILABLE AGE
pub fn deployment() -> Vec<Column> {
    vec![
        Column::computed("Ready", "Pods that are ready, of those wanted.", |one, _| {
            ready_of(one, "/spec/replicas")
        }),
        integer("Up-to-date", "Pods with its newest template.", |one, _| {
            number(one, "/status/updatedReplicas").into()
        }),
        integer("Available", "Pods that are available.", |one, _| {
            number(one, "/status/availableReplicas").into()
        }),
        age(),
    ]
}

/// NAME DESIRED CURRENT READY AGE
pub fn replica_set() -> Vec<Column> {
    vec![
        integer("Desired", "Pods that are wanted.", |set, _| {
            number(set, "/spec/replicas").into()
        }),
        integer("Current", "Pods that are there.", |set, _| {
            number(set, "/status/replicas").into()
        }),
        integer("Ready", "Pods that are ready.", |set, _| {
            number(set, "/status/readyReplicas").into()
        }),
        age(),
    ]
}

/// NAME READY AGE
pub fn stateful_set() -> Vec<Column> {
    let ready = |set: &Value, _| ready_of(set, "/spec/replicas");
    vec![
        Column::computed("Ready", "Pods that are ready, of those wanted.", ready),
        age(),
    ]
}

/// NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE
pub fn cron_job() -> Vec<Column> {
    vec![
        Column::computed("Schedule", "When it runs.", |job, _| {
            text(job, "/spec/schedule", "")
        }),
        Column::computed("Timezone", "In which zone that is meant.", |job, _| {
            text(job, "/spec/timeZone", "<none>")
        }),
        Column::computed("Suspend", "Whether it is suspended.", |job, _| {
            if job["spec"]["suspend"] == true {
                "True"
            } else {
                "False"
            }
            .into()
        }),
        integer("Active", "Jobs that run.", |job, _| {
            json!(count(&job["status"]["active"]))
        }),
        Column::computed("Last Schedule", "Time since it ran.", |job, now| {
            time_since(job, "/status/lastScheduleTime", now, "<none>")
        }),
        age(),
    ]
}

/// NAME STATUS COMPLETIONS DURATION AGE
pub fn job() -> Vec<Column> {
    vec![
        Column::computed("Status", "How far it is.", |job, _| {
            let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
            let mut ended = conditions.filter(|one| {
                one["status"] == "True" && (one["type"] == "Complete" || one["type"] == "Failed")
            });
            ended.next().map_or("Running".into(), |one| one["type"].clone())
        }),
        Column::computed(
            "Completions",
            "Pods that succeeded, of those wanted.",
            |job, _| {
                let wanted = job
                    .pointer("/spec/completions")
                    .and_then(Value::as_i64)
                    .unwrap_or(1);
                format!("{}/{wanted}", number(job, "/status/succeeded")).into()
            },
        ),
        Column::computed("Duration", "How long it has run.", |job, now| {
            time_since(job, "/status/startTime", now, "")
        }),
        age(),
    ]
}

/// NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE
pub fn pod_disruption_budget() -> Vec<Column> {
    vec![
        Column::computed("Min Available", "Pods that must stay.", |one, _| {
            text(one, "/spec/minAvailable", "N/A")
        }),
        Column::computed("Max Unavailable", "Pods that may be missing.", |one, _| {
            text(one, "/spec/maxUnavailable", "N/A")
        }),
        integer("Allowed Disruptions", "Pods that may go now.", |one, _| {
            number(one, "/status/disruptionsAllowed").into()
        }),
        age(),
    ]
}

/// NAME VALUE GLOBAL-DEFAULT AGE
pub fn priority_class() -> Vec<Column> {
    vec![
        integer("Value", "The priority.", |class, _| {
            number(class, "/value").into()
        }),
        Column::computed(
            "Global-Default",
            "Whether pods without a class have it.",
            |class, _| (class["globalDefault"] == true).into(),
        )
        .of_type("boolean"),
        age(),
    ]
}

/// NAME CLASS HOSTS ADDRESS PORTS AGE
pub fn ingress() -> Vec<Column> {
    vec![
        Column::computed("Class", "The class that serves it.", |ingress, _| {
            text(ingress, "/spec/ingressClassName", "<none>")
        }),
        Column::computed("Hosts", "Hosts that it is for.", |ingress, _| {
            let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
            let hosts: Vec<&str> = rules.filter_map(|rule| rule["host"].as_str()).collect();
            if hosts.is_empty() {
                "*".into()
            } else {
                hosts.join(",").into()
            }
        }),
        Column::computed("Address", "Where it is served.", |ingress, _| {
            text(ingress, "/status/loadBalancer/ingress/0/ip", "")
        }),
        Column::computed("Ports", "Ports that it is served at.", |ingress, _| {
            if count(&ingress["spec"]["tls"]) > 0 {
                "80, 443"
            } else {
                "80"
            }
            .into()
        }),
        age(),
    ]
}

/// NAME POD-SELECTOR AGE
pub fn network_policy() -> Vec<Column> {
    let selector = |policy: &Value, _| labels(&policy["spec"]["podSelector"]["matchLabels"]);
    vec![
        Column::computed("Pod-Selector", "Pods that it is for.", selector),
        age(),
    ]
}

/// NAME CREATED AT
pub fn role() -> Vec<Column> {
    created_at()
}

/// NAME ROLE AGE
pub fn role_binding() -> Vec<Column> {
    let role = |binding: &Value, _| {
        let of = |field: &str| binding["roleRef"][field].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", of("kind"), of("name")).into()
    };
    vec![Column::computed("Role", "The role that is granted.", role), age()]
}

/// NAME WEBHOOKS AGE
pub fn webhooks() -> Vec<Column> {
    let webhooks = |one: &Value, _| json!(count(&one["webhooks"]));
    vec![integer("Webhooks", "How many are called.", webhooks), age()]
}

/// NAME VALIDATIONS PARAMKIND AGE
pub fn validating_admission_policy() -> Vec<Column> {
    vec![
        integer("Validations", "How many rules it has.", |policy, _| {
            json!(count(&policy["spec"]["validations"]))
        }),
        Column::computed("ParamKind", "Kind of its parameters.", |policy, _| {
            let kind = &policy["spec"]["paramKind"];
            match (kind["apiVersion"].as_str(), kind["kind"].as_str()) {
                (Some(version), Some(kind)) => format!("{version}/{kind}").into(),
                _ => "<unset>".into(),
            }
        }),
        age(),
    ]
}

/// NAME POLICYNAME PARAMREF AGE
pub fn validating_admission_policy_binding() -> Vec<Column> {
    vec![
        Column::computed("PolicyName", "The policy that it binds.", |binding, _| {
            text(binding, "/spec/policyName", "")
        }),
        Column::computed("ParamRef", "Its parameters.", |binding, _| {
            let parameters = &binding["spec"]["paramRef"];
            match (parameters["namespace"].as_str(), parameters["name"].as_str()) {
                (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
                (None, Some(name)) => name.into(),
                _ => "<unset>".into(),
            }
        }),
        age(),
    ]
}

/// Labels as `a=b,c=d`.
fn labels(value: &Value) -> Value {
    let labels: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if labels.is_empty() {
        "<none>".into()
    } else {
        labels.join(",").into()
    }
}
