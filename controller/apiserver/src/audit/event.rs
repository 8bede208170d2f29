//! An event of the audit log, `audit.k8s.io/v1 Event`. Pure.

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use crate::auth::{RequestAttributes, UserInfo};
use crate::negotiation;

/// What is known of a request.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) id: String,
    /// Path and query.
    pub(super) uri: String,
    pub(super) user_agent: String,
    /// Address of the client, if it is known.
    pub(super) source: Option<String>,
    pub(super) received: Timestamp,
    pub(super) attributes: RequestAttributes,
    /// Who spoke for the user, if somebody did.
    pub(super) impersonator: Option<UserInfo>,
}

/// What an event tells of objects.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) request: Option<Value>,
    pub(super) response: Option<Value>,
}

/// The line of an event.
pub(super) fn line(
    facts: &Facts,
    level: Level,
    stage: Stage,
    code: u16,
    objects: Objects,
    now: Timestamp,
) -> Bytes {
    let asked = &facts.attributes;
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level.name(), "auditID": facts.id,
        "stage": stage.name(), "requestURI": facts.uri, "verb": asked.verb,
        "user": user(facts.impersonator.as_ref().unwrap_or(&asked.user)),
        "sourceIPs": facts.source.iter().collect::<Vec<_>>(), "userAgent": facts.user_agent,
    });
    if facts.impersonator.is_some() {
        event["impersonatedUser"] = user(&asked.user);
    }
    if asked.resource_request {
        event["objectRef"] = object_reference(asked);
    }
    event["responseStatus"] = json!({"metadata": {}, "code": code});
    if let Some(object) = objects.request {
        event["requestObject"] = object;
    }
    if let Some(object) = objects.response {
        event["responseObject"] = object;
    }
    event["requestReceivedTimestamp"] = micro_time(facts.received).into();
    event["stageTimestamp"] = micro_time(now).into();
    let decision = if matches!(code, 401 | 403) {
        "forbid"
    } else {
        "allow"
    };
    event["annotations"] = json!({"authorization.k8s.io/decision": decision});
    let mut bytes = serde_json::to_vec(&event).expect("a value serializes");
    bytes.push(b'\n');
    bytes.into()
}

/// The object of a request's body; `None` when it is none.
pub(super) fn object(headers: &HeaderMap, body: &Bytes) -> Option<Value> {
    if body.is_empty() {
        return None;
    }
    let is_patch = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("patch"));
    if is_patch {
        let as_yaml = || negotiation::yaml(body).ok().map(|decoded| decoded.value);
        return serde_json::from_slice(body).ok().or_else(as_yaml);
    }
    negotiation::decode(headers, body, "")
        .ok()
        .map(|decoded| decoded.value)
}

fn user(user: &UserInfo) -> Value {
    let mut fields = Map::new();
    // Who it is, is not known of requests that are refused before anybody asks.
    if !user.name.is_empty() {
        fields.insert("username".to_owned(), user.name.clone().into());
    }
    if !user.uid.is_empty() {
        fields.insert("uid".to_owned(), user.uid.clone().into());
    }
    if !user.groups.is_empty() {
        fields.insert("groups".to_owned(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        fields.insert("extra".to_owned(), json!(user.extra));
    }
    fields.into()
}

fn object_reference(asked: &RequestAttributes) -> Value {
    let parts = [
        ("resource", &asked.resource),
        ("namespace", &asked.namespace),
        ("name", &asked.name),
        ("apiGroup", &asked.group),
        ("apiVersion", &asked.version),
        ("subresource", &asked.subresource),
    ];
    let given = parts.into_iter().filter(|(_, value)| !value.is_empty());
    given
        .map(|(name, value)| (name.to_owned(), Value::from(value.clone())))
        .collect::<Map<_, _>>()
        .into()
}

fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
