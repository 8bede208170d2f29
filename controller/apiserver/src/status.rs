//! The one error of the API: `meta/v1.Status`, with the reasons, codes and texts that clients key on.
//!
//! Every refusal of the server is a [`Status`]; whatever fails below (the store, a parser) is turned into one at the place where the
//! right words are known. Logging and metrics are not done here.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

/// The group and the plural name of a resource, printed as the API prints it: `leases.coordination.k8s.io`, `configmaps`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// API group; empty for the core group.
    pub group: String,
    /// Plural, lowercase name of the resource.
    pub resource: String,
}

/// The group and the kind of an object, printed as validation errors print it: `Widget.edge.test`, `ConfigMap`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind, in camel case.
    pub kind: String,
}

impl fmt::Display for GroupResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_qualified(formatter, &self.resource, &self.group)
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_qualified(formatter, &self.kind, &self.group)
    }
}

fn write_qualified(formatter: &mut fmt::Formatter<'_>, name: &str, group: &str) -> fmt::Result {
    if group.is_empty() {
        write!(formatter, "{name}")
    } else {
        write!(formatter, "{name}.{group}")
    }
}

/// One reason among several why a request was refused; in the API `details.causes[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// For people; for a field error without the field's name, e.g. `Required value: must be given`.
    pub message: String,
    /// Path of the field, such as `spec.items[1].name`; empty when the cause is about no field.
    pub field: String,
}

impl Cause {
    /// A cause with any reason.
    pub fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            field: field.into(),
        }
    }

    /// The field has to be given.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::with_detail("FieldValueRequired", field, "Required value".to_owned(), detail)
    }

    /// The field's value is wrong; `value` is printed as JSON, except that objects of CEL rules pass their kind as text.
    pub fn invalid(field: impl Into<String>, value: impl fmt::Display, detail: &str) -> Self {
        Self::with_detail(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}"),
            detail,
        )
    }

    /// The value is used twice where it must be unique.
    pub fn duplicate(field: impl Into<String>, value: impl fmt::Display) -> Self {
        Self::new("FieldValueDuplicate", field, format!("Duplicate value: {value}"))
    }

    /// The value is not one of those that are known.
    pub fn not_supported(field: impl Into<String>, value: impl fmt::Display, known: &[String]) -> Self {
        let known = known
            .iter()
            .map(|one| format!("{one:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("Unsupported value: {value}: supported values: {known}");
        Self::new("FieldValueNotSupported", field, message)
    }

    /// The field may not be given here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::with_detail("FieldValueForbidden", field, "Forbidden".to_owned(), detail)
    }

    /// The list or map has too many entries.
    pub fn too_many(field: impl Into<String>, number: usize, most: usize) -> Self {
        let message = format!("Too many: {number}: must have at most {most} items");
        Self::new("FieldValueTooMany", field, message)
    }

    /// The text is too long.
    pub fn too_long(field: impl Into<String>, most: usize) -> Self {
        Self::new(
            "FieldValueTooLong",
            field,
            format!("Too long: may not be more than {most} bytes"),
        )
    }

    /// The value has the wrong type.
    pub fn type_invalid(field: impl Into<String>, value: impl fmt::Display, detail: &str) -> Self {
        Self::with_detail(
            "FieldValueTypeInvalid",
            field,
            format!("Invalid value: {value}"),
            detail,
        )
    }

    fn with_detail(reason: &'static str, field: impl Into<String>, body: String, detail: &str) -> Self {
        let message = if detail.is_empty() {
            body
        } else {
            format!("{body}: {detail}")
        };
        Self::new(reason, field, message)
    }

    /// `field: message`, as it stands in the sentence of an invalid object.
    fn sentence(&self) -> String {
        if self.field.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.field, self.message)
        }
    }

    fn to_value(&self) -> Value {
        let mut cause = Map::new();
        if !self.reason.is_empty() {
            cause.insert("reason".into(), self.reason.into());
        }
        cause.insert("message".into(), self.message.clone().into());
        if !self.field.is_empty() {
            cause.insert("field".into(), self.field.clone().into());
        }
        Value::Object(cause)
    }
}

/// What a refusal is about; in the API `details`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object; empty when unknown.
    pub name: String,
    /// API group.
    pub group: String,
    /// Plural of the resource, or the kind when the object is invalid: upstream does the same.
    pub kind: String,
    /// Identifier of the object; empty when unknown.
    pub uid: String,
    /// Single causes.
    pub causes: Vec<Cause>,
    /// After how many seconds the same request may succeed; 0 when waiting does not help.
    pub retry_after_seconds: u32,
}

/// A refusal, in the shape that every Kubernetes client understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, such as `NotFound`; clients decide by it. Empty where upstream has none.
    pub reason: &'static str,
    /// Sentence for people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// Token with which an expired list may be continued inconsistently; in the API `metadata.continue`.
    pub continue_token: Option<Box<str>>,
}

impl std::error::Error for Status {}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Status {
    /// A refusal without details. Prefer the constructors below, one for each reason.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    /// 404: no object of that name.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")).about(resource, name)
    }

    /// 404: no such resource or path below a known group.
    pub fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details(Details::default())
    }

    /// 409: an object of that name is there already.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{resource} \"{name}\" already exists"),
        )
        .about(resource, name)
    }

    /// 409: the object is not in the state that the request supposes.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// 409: the request was computed from an older version of the object.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 422: the object is not valid, for each of the causes.
    pub fn invalid(kind: &GroupKind, name: &str, causes: Vec<Cause>) -> Self {
        let mut sentences: Vec<String> = Vec::with_capacity(causes.len());
        for cause in &causes {
            let sentence = cause.sentence();
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
        let why = match sentences.as_slice() {
            [only] => only.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let details = Details {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            ..Details::default()
        };
        Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {why}")).with_details(details)
    }

    /// 422: the query parameters of a request are not valid; `kind` is `ListOptions`, `PatchOptions` and the like.
    pub fn invalid_options(kind: &str, causes: Vec<Cause>) -> Self {
        Self::invalid(
            &GroupKind {
                group: "meta.k8s.io".into(),
                kind: kind.into(),
            },
            "",
            causes,
        )
    }

    /// 400: the request itself is not understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: nobody knows who asks.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: known, but not allowed. `name` may be empty.
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let quoted = if name.is_empty() {
            String::new()
        } else {
            format!(" \"{name}\"")
        };
        Self::new(
            403,
            "Forbidden",
            format!("{resource}{quoted} is forbidden: {why}"),
        )
        .about(resource, name)
    }

    /// 403 on a path that is no resource.
    pub fn forbidden_path(path: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("forbidden: {why}")).with_details(Details {
            name: path.to_owned(),
            ..Details::default()
        })
    }

    /// 405: the path exists, the method on it does not.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(Details::default())
    }

    /// 406: the client accepts nothing that can be said.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!(
            "only the following media types are accepted: {}",
            accepted.join(", ")
        );
        Self::new(406, "NotAcceptable", message)
    }

    /// 406 for a built-in kind, which upstream refuses in other words.
    pub fn not_representable(available: &[&str]) -> Self {
        let message = format!(
            "406: Not Acceptable\n\nAvailable representations: {}",
            available.join(", ")
        );
        Self::new(406, "NotAcceptable", message).with_details(Details::default())
    }

    /// 415: the body is in a format that is not read here.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let accepted = accepted.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a patch of a built-in kind, which upstream refuses in other words.
    pub fn unsupported_patch_type() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").with_details(Details::default())
    }

    /// 410: the resource version lies before what the history keeps.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410 of a watch from a version that the history no longer keeps.
    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 413: the request's body is larger than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 504: not done within the time allowed.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}")).retry_after(retry_after_seconds)
    }

    /// 504: a resource version from the future was asked for.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let mut status = Self::timeout(
            format!("Too large resource version: {asked}, current: {current}"),
            1,
        );
        let cause = Cause::new("ResourceVersionTooLarge", "", "Too large resource version");
        status.details.get_or_insert_default().causes.push(cause);
        status
    }

    /// 429: come again after so many seconds.
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        Self::new(
            429,
            "TooManyRequests",
            "the server has received too many requests, please try again later",
        )
        .retry_after(retry_after_seconds)
    }

    /// 503: not now, for instance while the server starts or stops.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message).retry_after(1)
    }

    /// 500: not the client's fault.
    pub fn internal(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        let details = Details {
            causes: vec![Cause::new("", "", why.clone())],
            ..Details::default()
        };
        Self::new(500, "InternalError", format!("Internal error occurred: {why}")).with_details(details)
    }

    /// Replaces the details.
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// Says after how many seconds a new try makes sense; also sent as `Retry-After`.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    fn about(self, resource: &GroupResource, name: &str) -> Self {
        self.with_details(Details {
            name: name.to_owned(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        })
    }

    /// The object as it is sent.
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".into(), token.to_string().into());
        }
        let mut status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure"});
        status["message"] = self.message.clone().into();
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        status["code"] = self.code.into();
        status
    }

    /// The answer to a deletion that is done: `Status` with `status: Success`.
    pub fn success(resource: &GroupResource, name: &str, uid: &str) -> Value {
        let details = Details {
            name: name.to_owned(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            uid: uid.to_owned(),
            ..Details::default()
        };
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details.to_value()})
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let Self {
            name,
            group,
            kind,
            uid,
            causes,
            retry_after_seconds,
        } = self;
        let mut details = Map::new();
        for (field, text) in [("name", name), ("group", group), ("kind", kind), ("uid", uid)] {
            if !text.is_empty() {
                details.insert(field.into(), text.clone().into());
            }
        }
        if !causes.is_empty() {
            details.insert("causes".into(), causes.iter().map(Cause::to_value).collect());
        }
        if *retry_after_seconds > 0 {
            details.insert("retryAfterSeconds".into(), (*retry_after_seconds).into());
        }
        Value::Object(details)
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, axum::Json(self.to_value())).into_response();
        if let Some(seconds) = self
            .details
            .map(|details| details.retry_after_seconds)
            .filter(|seconds| *seconds > 0)
        {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases() -> GroupResource {
        GroupResource {
            group: "coordination.k8s.io".into(),
            resource: "leases".into(),
        }
    }

    #[test]
    fn texts_are_those_of_upstream() {
        assert_eq!(
            Status::not_found(&leases(), "l1").message,
            r#"leases.coordination.k8s.io "l1" not found"#
        );
        assert_eq!(
            Status::modified(&leases(), "l1").message,
            "Operation cannot be fulfilled on leases.coordination.k8s.io \"l1\": the object has been modified; please apply your \
             changes to the latest version and try again"
        );
        assert_eq!(Status::too_old(1, 4).message, "too old resource version: 1 (4)");
        assert_eq!(
            Status::too_large_resource_version(9, 4).message,
            "Timeout: Too large resource version: 9, current: 4"
        );
    }

    #[test]
    fn an_invalid_object_names_its_kind_and_every_cause_once() {
        let kind = GroupKind {
            group: "edge.test".into(),
            kind: "Widget".into(),
        };
        let cause = Cause::duplicate("spec.items[1]", r#"{"name":"q"}"#);
        let one = Status::invalid(&kind, "a", vec![cause.clone()]);
        assert_eq!(
            one.message,
            r#"Widget.edge.test "a" is invalid: spec.items[1]: Duplicate value: {"name":"q"}"#
        );
        let two = Status::invalid(&kind, "a", vec![cause.clone(), Cause::required("spec.x", "")]);
        assert!(
            two.message
                .ends_with(r#"[spec.items[1]: Duplicate value: {"name":"q"}, spec.x: Required value]"#)
        );
        assert_eq!(
            two.to_value()["details"]["causes"][1]["reason"],
            "FieldValueRequired"
        );
        assert_eq!(two.to_value()["details"]["kind"], "Widget");
    }

    #[test]
    fn waiting_is_told_in_body_and_header() {
        let response = Status::too_many_requests(3).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3");
    }
}
