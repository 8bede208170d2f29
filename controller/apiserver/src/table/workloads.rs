//! The columns of workloads, after those that Kubernetes prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::builtin::age;
use super::cells::{
    boolean, count, has_condition, integer, is_terminating, items, joined, labels, number, selector, text,
    text_or, time, time_since,
};
use super::column::Column;
use super::duration;

/// Where the pods of most workloads are described.
const TEMPLATE: &str = "/spec/template/spec/containers";
/// Where those of a CronJob are.
const JOB_TEMPLATE: &str = "/spec/jobTemplate/spec/template/spec/containers";

/// CONTAINERS IMAGES, in wide output
fn containers() -> [Column; 2] {
    [
        Column::computed("Containers", "Names of its containers.", |one, _| {
            named(one, TEMPLATE, "name")
        })
        .wide(),
        Column::computed("Images", "Images of its containers.", |one, _| {
            named(one, TEMPLATE, "image")
        })
        .wide(),
    ]
}

fn named(object: &Value, pointer: &str, field: &str) -> Value {
    joined(
        items(object, pointer).map(|container| container[field].as_str().unwrap_or_default()),
        "",
    )
}

/// SELECTOR, in wide output
fn selected() -> Column {
    Column::computed("Selector", "Labels of its pods.", |one, _| {
        selector(&one["spec"]["selector"])
    })
    .wide()
}

/// `ready/desired`
fn ready_of(object: &Value, desired: &str) -> Value {
    let ready = number(object, "/status/readyReplicas");
    format!("{ready}/{}", number(object, desired)).into()
}

/// NAME READY STATUS RESTARTS AGE, and where it runs in wide output
pub fn pod() -> Vec<Column> {
    vec![
        Column::computed("Ready", "Containers that are ready.", |pod, _| {
            let ready = items(pod, "/status/containerStatuses").filter(|status| status["ready"] == true);
            format!("{}/{}", ready.count(), count(&pod["spec"]["containers"])).into()
        }),
        Column::computed("Status", "What it is doing.", pod_status),
        Column::computed(
            "Restarts",
            "How often its containers were started again.",
            |pod, _| {
                let restarts: i64 = items(pod, "/status/containerStatuses")
                    .map(|status| number(status, "/restartCount"))
                    .sum();
                restarts.to_string().into()
            },
        ),
        age(),
        Column::computed("IP", "Its address.", |pod, _| {
            text_or(pod, "/status/podIP", "<none>")
        })
        .wide(),
        Column::computed("Node", "The node that runs it.", |pod, _| {
            text_or(pod, "/spec/nodeName", "<none>")
        })
        .wide(),
        Column::computed("Nominated Node", "The node that it may take.", |pod, _| {
            text_or(pod, "/status/nominatedNodeName", "<none>")
        })
        .wide(),
        Column::computed("Readiness Gates", "Conditions that it waits for.", |pod, _| {
            let gates: Vec<&str> = items(pod, "/spec/readinessGates")
                .filter_map(|gate| gate["conditionType"].as_str())
                .collect();
            if gates.is_empty() {
                return "<none>".into();
            }
            let met = gates
                .iter()
                .filter(|gate| has_condition(pod, gate, "True"))
                .count();
            format!("{met}/{}", gates.len()).into()
        })
        .wide(),
    ]
}

/// The reason of its own, that of a container that does not run, or the phase.
fn pod_status(pod: &Value, _: Timestamp) -> Value {
    if is_terminating(pod) && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return "Terminating".into();
    }
    if has_condition(pod, "PodScheduled", "False")
        && items(pod, "/status/conditions").any(|one| one["reason"] == "SchedulingGated")
    {
        return "SchedulingGated".into();
    }
    let of_containers = items(pod, "/status/containerStatuses").find_map(|status| {
        let reason = |state: &str| status["state"][state]["reason"].as_str();
        reason("waiting")
            .or_else(|| reason("terminated"))
            .filter(|reason| !reason.is_empty())
    });
    match of_containers {
        Some(reason) => reason.into(),
        None => text_or(
            pod,
            "/status/reason",
            text(pod, "/status/phase", "").as_str().unwrap_or_default(),
        ),
    }
}

/// NAME CONTAINERS IMAGES POD LABELS
pub fn pod_template() -> Vec<Column> {
    vec![
        Column::computed("Containers", "Names of its containers.", |one, _| {
            named(one, "/template/spec/containers", "name")
        }),
        Column::computed("Images", "Images of its containers.", |one, _| {
            named(one, "/template/spec/containers", "image")
        }),
        Column::computed("Pod Labels", "Labels of its pods.", |one, _| {
            labels(&one["template"]["metadata"]["labels"])
        }),
    ]
}

/// NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE, and its pods in wide output
pub fn daemon_set() -> Vec<Column> {
    let mut columns = vec![
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
    ];
    columns.extend(containers());
    columns.push(selected());
    columns
}

/// NAME READY UP-TO-DATE AVAILABLE AGE, and its pods in wide output
pub fn deployment() -> Vec<Column> {
    let mut columns = vec![
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
    ];
    columns.extend(containers());
    columns.push(selected());
    columns
}

/// NAME DESIRED CURRENT READY AGE, and its pods in wide output
pub fn replica_set() -> Vec<Column> {
    let mut columns = replicas();
    columns.extend(containers());
    columns.push(selected());
    columns
}

/// The same, of which the selector is a map of labels
pub fn replication_controller() -> Vec<Column> {
    let mut columns = replicas();
    columns.extend(containers());
    columns.push(
        Column::computed("Selector", "Labels of its pods.", |one, _| {
            labels(&one["spec"]["selector"])
        })
        .wide(),
    );
    columns
}

fn replicas() -> Vec<Column> {
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

/// NAME READY AGE, and its pods in wide output
pub fn stateful_set() -> Vec<Column> {
    let ready = |set: &Value, _| ready_of(set, "/spec/replicas");
    let mut columns = vec![
        Column::computed("Ready", "Pods that are ready, of those wanted.", ready),
        age(),
    ];
    columns.extend(containers());
    columns
}

/// NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE, and its pods in wide output
pub fn cron_job() -> Vec<Column> {
    vec![
        Column::computed("Schedule", "When it runs.", |job, _| {
            text(job, "/spec/schedule", "")
        }),
        Column::computed("Timezone", "In which zone that is meant.", |job, _| {
            text(job, "/spec/timeZone", "<none>")
        }),
        boolean("Suspend", "Whether it is suspended.", |job, _| {
            match job["spec"]["suspend"].as_bool() {
                Some(true) => "True",
                Some(false) => "False",
                None => "<unset>",
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
        Column::computed("Containers", "Names of its containers.", |one, _| {
            named(one, JOB_TEMPLATE, "name")
        })
        .wide(),
        Column::computed("Images", "Images of its containers.", |one, _| {
            named(one, JOB_TEMPLATE, "image")
        })
        .wide(),
        Column::computed("Selector", "Labels of its pods.", |one, _| {
            selector(&one["spec"]["jobTemplate"]["spec"]["selector"])
        })
        .wide(),
    ]
}

/// NAME STATUS COMPLETIONS DURATION AGE, and its pods in wide output
pub fn job() -> Vec<Column> {
    let mut columns = vec![
        Column::computed("Status", "How far it is.", job_status),
        Column::computed(
            "Completions",
            "Pods that succeeded, of those wanted.",
            completions,
        ),
        Column::computed("Duration", "How long it has run.", |job, now| {
            let Some(start) = time(job, "/status/startTime") else {
                return "".into();
            };
            let end = time(job, "/status/completionTime").unwrap_or(now);
            duration::since(start, end).into()
        }),
        age(),
    ];
    columns.extend(containers());
    columns.push(selected());
    columns
}

fn job_status(job: &Value, _: Timestamp) -> Value {
    let ended = ["Complete", "Failed"];
    let on_its_way = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
    let is = |kind: &&str| has_condition(job, kind, "True");
    if let Some(kind) = ended.into_iter().find(is) {
        return kind.into();
    }
    if is_terminating(job) {
        return "Terminating".into();
    }
    on_its_way.into_iter().find(is).unwrap_or("Running").into()
}

fn completions(job: &Value, _: Timestamp) -> Value {
    let succeeded = number(job, "/status/succeeded");
    let parallelism = number(job, "/spec/parallelism");
    match job.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
    .into()
}

/// NAME CONTROLLER REVISION AGE
pub fn controller_revision() -> Vec<Column> {
    vec![
        Column::computed("Controller", "Whose revision it is.", |one, _| {
            let mut owners = items(one, "/metadata/ownerReferences");
            let Some(owner) = owners.find(|owner| owner["controller"] == true) else {
                return "<none>".into();
            };
            let of = |field: &str| owner[field].as_str().unwrap_or_default();
            let kind = of("kind").to_lowercase();
            match of("apiVersion").split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", of("name")),
                None => format!("{kind}/{}", of("name")),
            }
            .into()
        }),
        Column::computed("Revision", "Its number.", |one, _| one["revision"].clone()),
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
