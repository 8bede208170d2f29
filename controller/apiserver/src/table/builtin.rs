//! The columns of built-in kinds, after those that Kubernetes prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells::count;
use super::column::Column;
use super::{duration, render};

/// AGE
pub fn age() -> Column {
    Column::computed("Age", "Time since the object was created.", render::age)
}

/// NAME STATUS AGE
pub fn namespace() -> Vec<Column> {
    let status = |object: &Value, _| object["status"]["phase"].as_str().unwrap_or("Active").into();
    vec![
        Column::computed("Status", "The status of the namespace.", status),
        age(),
    ]
}

/// NAME DATA AGE
pub fn config_map() -> Vec<Column> {
    let data = |object: &Value, _| json!(count(&object["data"]) + count(&object["binaryData"]));
    vec![Column::computed("Data", "Number of entries.", data), age()]
}

/// NAME TYPE DATA AGE
pub fn secret() -> Vec<Column> {
    let secret_type = |object: &Value, _| object["type"].clone();
    let data = |object: &Value, _| json!(count(&object["data"]));
    vec![
        Column::computed("Type", "What kind of data it holds.", secret_type),
        Column::computed("Data", "Number of entries.", data),
        age(),
    ]
}

/// NAME SECRETS AGE
pub fn service_account() -> Vec<Column> {
    let secrets = |object: &Value, _| json!(count(&object["secrets"]));
    vec![
        Column::computed("Secrets", "Number of secrets that it may use.", secrets),
        age(),
    ]
}

/// NAME HOLDER AGE
pub fn lease() -> Vec<Column> {
    let holder = |object: &Value, _| {
        object["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .into()
    };
    vec![Column::computed("Holder", "Who holds the lease.", holder), age()]
}

/// NAME CREATED AT
pub fn created_at() -> Vec<Column> {
    let created = |object: &Value, _| object["metadata"]["creationTimestamp"].clone();
    vec![Column::computed("Created At", "When it was created.", created).of_type("date")]
}

/// NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION
pub fn certificate_request() -> Vec<Column> {
    let signer = |object: &Value, _| text_or(&object["spec"]["signerName"], "");
    let requestor = |object: &Value, _| text_or(&object["spec"]["username"], "");
    let asked = |object: &Value, _| match object["spec"]["expirationSeconds"].as_i64() {
        Some(seconds) => duration::in_words(seconds).into(),
        None => Value::from("<none>"),
    };
    vec![
        age(),
        Column::computed("SignerName", "Who is asked to sign.", signer),
        Column::computed("Requestor", "Who asks.", requestor),
        Column::computed("RequestedDuration", "How long it should be good.", asked),
        Column::computed(
            "Condition",
            "What has become of it.",
            certificate_request_condition,
        ),
    ]
}

fn certificate_request_condition(request: &Value, _: Timestamp) -> Value {
    let conditions = request["status"]["conditions"].as_array();
    let has = |kind| {
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition["type"] == kind)
    };
    // A denial outweighs an approval.
    let mut words = vec![match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }];
    if has("Failed") {
        words.push("Failed");
    }
    if request["status"]["certificate"]
        .as_str()
        .is_some_and(|pem| !pem.is_empty())
    {
        words.push("Issued");
    }
    words.join(",").into()
}

/// NAME STATUS ROLES AGE VERSION, and addresses and system in wide output
pub fn node() -> Vec<Column> {
    fn info(node: &Value, field: &str, absent: &str) -> Value {
        match node["status"]["nodeInfo"][field].as_str() {
            Some(text) if !text.is_empty() => text.into(),
            _ => absent.into(),
        }
    }
    vec![
        Column::computed("Status", "Whether it is ready.", node_status),
        Column::computed("Roles", "Its roles, by labels.", node_roles),
        age(),
        Column::computed("Version", "Version of its agent.", |node, _| {
            info(node, "kubeletVersion", "")
        }),
        Column::computed("Internal-IP", "Address inside the cluster.", |node, _| {
            node_address(node, "InternalIP")
        })
        .wide(),
        Column::computed("External-IP", "Address outside of the cluster.", |node, _| {
            node_address(node, "ExternalIP")
        })
        .wide(),
        Column::computed("OS-Image", "Operating system.", |node, _| {
            info(node, "osImage", "<unknown>")
        })
        .wide(),
        Column::computed("Kernel-Version", "Version of its kernel.", |node, _| {
            info(node, "kernelVersion", "<unknown>")
        })
        .wide(),
        Column::computed("Container-Runtime", "What runs its containers.", |node, _| {
            info(node, "containerRuntimeVersion", "<unknown>")
        })
        .wide(),
    ]
}

/// LAST SEEN TYPE REASON OBJECT MESSAGE, and more in wide output, of a core event
pub fn core_event() -> Vec<Column> {
    let involved = |object: &Value, _| reference(&object["involvedObject"]);
    let message = |object: &Value, _| object["message"].as_str().unwrap_or_default().trim().into();
    let source = |object: &Value, _| {
        let named = text_or(&object["source"]["component"], "");
        if named == "" {
            text_or(&object["reportingComponent"], "")
        } else {
            named
        }
    };
    event_columns(involved, message, source, |object, now| {
        last_seen(object, &object["lastTimestamp"], &object["firstTimestamp"], now)
    })
}

/// The same, of an event of `events.k8s.io`
pub fn events_group_event() -> Vec<Column> {
    let regarding = |object: &Value, _| reference(&object["regarding"]);
    let note = |object: &Value, _| object["note"].as_str().unwrap_or_default().trim().into();
    let controller = |object: &Value, _| text_or(&object["reportingController"], "");
    event_columns(regarding, note, controller, |object, now| {
        last_seen(
            object,
            &object["deprecatedLastTimestamp"],
            &object["deprecatedFirstTimestamp"],
            now,
        )
    })
}

type Cell = fn(&Value, Timestamp) -> Value;

fn event_columns(object: Cell, message: Cell, source: Cell, last_seen: Cell) -> Vec<Column> {
    let event_type = |object: &Value, _| object["type"].clone();
    let reason = |object: &Value, _| object["reason"].clone();
    let event_name = |object: &Value, _| object["metadata"]["name"].clone();
    vec![
        Column::computed("Last Seen", "Time since it was last observed.", last_seen),
        Column::computed("Type", "Normal or Warning.", event_type),
        Column::computed("Reason", "Why it was recorded.", reason),
        Column::computed("Object", "What it is about.", object),
        Column::computed("Source", "Who recorded it.", source).wide(),
        Column::computed("Message", "What happened.", message),
        Column::computed("Name", "Name of the event.", event_name).wide(),
    ]
}

/// An event is as old as the last of its occurrences that was recorded.
fn last_seen(event: &Value, last: &Value, first: &Value, now: Timestamp) -> Value {
    let times = [
        &event["series"]["lastObservedTime"],
        last,
        first,
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    let seen = times
        .into_iter()
        .find_map(|time| time.as_str()?.parse::<Timestamp>().ok());
    Value::from(seen.map_or_else(|| "<unknown>".to_owned(), |seen| duration::since(seen, now)))
}

fn reference(involved: &Value) -> Value {
    let kind = involved["kind"].as_str().unwrap_or_default().to_lowercase();
    Value::from(format!(
        "{kind}/{}",
        involved["name"].as_str().unwrap_or_default()
    ))
}

fn node_status(node: &Value, _: Timestamp) -> Value {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions
        .into_iter()
        .find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| condition["status"] == "True") {
        Some(true) => "Ready".to_owned(),
        Some(false) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    status.into()
}

fn node_roles(node: &Value, _: Timestamp) -> Value {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    if roles.is_empty() {
        "<none>".into()
    } else {
        roles.join(",").into()
    }
}

fn node_address(node: &Value, kind: &str) -> Value {
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let found = addresses.into_iter().find(|address| address["type"] == kind);
    found.map_or_else(|| "<none>".into(), |address| address["address"].clone())
}

fn text_or(value: &Value, fallback: &str) -> Value {
    value.as_str().unwrap_or(fallback).into()
}
