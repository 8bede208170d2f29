//! In which form a body comes and an answer goes: media types, their limits, and the transformations `as=Table` and
//! `as=PartialObjectMetadata`.

pub mod strict;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use crate::go::{self, syntax};
use crate::kinds::Resource;
use crate::protobuf;
use crate::status::Status;

/// Bytes that a request body may have: upstream's limit.
pub const MAX_BODY_BYTES: usize = 3 << 20;

/// Fields that stand in a YAML document twice, and are told by their lines.
const DUPLICATES_MAX: usize = 16;

/// What bodies may be written in.
const READABLE: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
/// What answers are written in.
pub const WRITTEN: &[&str] = &["application/json"];

/// The shape in which the client wants objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Representation {
    /// As they are.
    Object,
    /// Only `apiVersion`, `kind` and `metadata`.
    Metadata,
    /// Rows for people.
    Table,
}

/// What kind of answer is negotiated: lists have a transformation of their own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One object, or a stream of single ones.
    Single,
    /// A list.
    List,
}

/// Chooses the representation of a resource from `Accept`; the first clause that can be served wins.
///
/// # Errors
/// 406 when none can.
pub fn representation(
    headers: &HeaderMap,
    shape: Shape,
    resource: &Resource,
) -> Result<Representation, Status> {
    accepted(headers, shape).map_err(|accept| refusal(&accept, shape, resource))
}

/// Chooses the representation from `Accept`.
///
/// # Errors
/// What is accepted, when nothing of it can be served.
pub fn accepted(headers: &HeaderMap, shape: Shape) -> Result<Representation, String> {
    let accept = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect::<Vec<_>>()
        .join(",");
    if accept.trim().is_empty() {
        return Ok(Representation::Object);
    }
    let found = accept.split(',').find_map(|clause| served(clause, shape));
    found.ok_or(accept)
}

/// Why nothing that is accepted can be served.
fn refusal(accept: &str, shape: Shape, resource: &Resource) -> Status {
    let (other, wanted, is) = match shape {
        Shape::Single => (Shape::List, "PartialObjectMetadataList", "not a list"),
        Shape::List => (Shape::Single, "PartialObjectMetadata", "a list"),
    };
    let of_other_shape = accept.split(',').any(|clause| served(clause, other).is_some());
    if of_other_shape {
        let list = if shape == Shape::List { "List" } else { "" };
        let go_type = if resource.is_custom() {
            format!("unstructured.Unstructured{list}")
        } else {
            format!("{}.{}{list}", resource.go_package(), resource.kind)
        };
        let why = format!("you requested {wanted}, but the requested object is {is} (*{go_type})");
        return Status::new(406, "NotAcceptable", why);
    }
    if resource.is_custom() {
        Status::not_acceptable(WRITTEN)
    } else {
        Status::not_representable(WRITTEN)
    }
}

fn served(clause: &str, shape: Shape) -> Option<Representation> {
    let mut parts = clause.split(';').map(str::trim);
    let media_type = parts.next()?;
    if !matches!(media_type, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let parameter = |name| {
        parameters
            .iter()
            .find(|(own, _)| *own == name)
            .map_or("", |(_, value)| *value)
    };
    let transformed = parameter("g") == "meta.k8s.io" && matches!(parameter("v"), "v1" | "v1beta1");
    match (parameter("as"), shape) {
        ("", _) => Some(Representation::Object),
        ("Table", _) if transformed => Some(Representation::Table),
        ("PartialObjectMetadata", Shape::Single) | ("PartialObjectMetadataList", Shape::List)
            if transformed =>
        {
            Some(Representation::Metadata)
        }
        _ => None,
    }
}

/// A body that has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Its content.
    pub value: Value,
    /// Fields that stood in it more than once, such as `duplicate field "spec.replicas"`; the last one counts.
    pub duplicates: Vec<String>,
}

/// Reads a whole body.
///
/// # Errors
/// 413 when it is larger than [`MAX_BODY_BYTES`].
pub async fn read(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::too_large(MAX_BODY_BYTES))
        }
        Err(error) => Err(Status::bad_request(format!(
            "the request's body could not be read: {error}"
        ))),
    }
}

/// The media type of a body, without parameters; empty when none is named.
pub fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Decodes the body of a request for a `kind` in one of the readable media types; without one it is taken for JSON.
///
/// # Errors
/// 415 for other media types; 400 for a body that is not what its type says.
pub fn decode(headers: &HeaderMap, bytes: &Bytes, kind: &str) -> Result<Decoded, Status> {
    let unrecognized = |why: String| unrecognized(bytes, kind, &why);
    let object = |decoded: Decoded| match decoded.value {
        Value::Object(_) | Value::Null => Ok(decoded),
        other => Err(unrecognized(no_kind(&go::cannot_unmarshal(&other, TYPE_META)))),
    };
    match media_type(headers).to_ascii_lowercase().as_str() {
        "" | "application/json" => json(bytes)
            .map_err(|why| unrecognized(no_kind(&why)))
            .and_then(object),
        "application/yaml" => yaml(bytes).map_err(unrecognized).and_then(object),
        protobuf::MEDIA_TYPE => match protobuf::decode(bytes) {
            Ok(value) => Ok(Decoded {
                value,
                duplicates: Vec::new(),
            }),
            Err(error @ protobuf::Error::UnknownKind { .. }) => {
                Err(Status::new(415, "UnsupportedMediaType", error.to_string()))
            }
            Err(error) => Err(Status::bad_request(error.to_string())),
        },
        _ => Err(Status::unsupported_media_type(READABLE)),
    }
}

/// Checks what a decoded body says of its type. A custom resource says both its version and its kind, as upstream has it; other bodies
/// may leave them to the path.
///
/// # Errors
/// 400.
pub fn check_type(value: &Value, bytes: &Bytes, kind: &str, is_custom: bool) -> Result<(), Status> {
    let refused = |why: String| Err(unrecognized(bytes, kind, &why));
    for field in ["apiVersion", "kind"] {
        let said = value.get(field).unwrap_or(&Value::Null);
        if !matches!(said, Value::Null | Value::String(_)) {
            let found = go::type_name(said);
            let why = format!("json: cannot unmarshal {found} into Go struct field .{field} of type string");
            return refused(no_kind(&why));
        }
    }
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let version = text("apiVersion");
    if version.matches('/').count() > 1 {
        return refused(format!("unexpected GroupVersion string: {version}"));
    }
    if is_custom && text("kind").is_empty() {
        let body = if bytes.starts_with(b"{") || value.is_null() {
            String::from_utf8_lossy(bytes).into_owned()
        } else {
            value.to_string()
        };
        return refused(format!("Object 'Kind' is missing in '{body}'"));
    }
    Ok(())
}

fn unrecognized(bytes: &Bytes, kind: &str, why: &str) -> Status {
    let summary = go::summary(bytes);
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
    ))
}

/// What Go looks for first in a body.
const TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

fn no_kind(why: &str) -> String {
    format!("couldn't get version/kind; json parse error: {why}")
}

/// Decodes JSON.
///
/// # Errors
/// What is wrong with it, in Go's words.
pub fn json(bytes: &Bytes) -> Result<Decoded, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let decoded = strict::read(&mut deserializer).and_then(|decoded| deserializer.end().map(|()| decoded));
    decoded.map_err(|error| syntax::error(bytes).unwrap_or_else(|| error.to_string()))
}

/// Decodes YAML, of which JSON is the usual case, and quicker. Fields that stand in it twice are told by their lines, as upstream's
/// decoder of YAML does: `line 9: key "foo" already set in map`.
///
/// # Errors
/// What is wrong with it.
pub fn yaml_or_json(bytes: &Bytes) -> Result<Decoded, String> {
    let as_json = (bytes.first() == Some(&b'{')).then(|| json(bytes).ok()).flatten();
    let mut decoded = match as_json {
        Some(decoded) => decoded,
        None => yaml(bytes).map_err(|why| format!("error converting YAML to JSON: {why}"))?,
    };
    if !decoded.duplicates.is_empty() {
        decoded.duplicates = lines_of_duplicates(bytes);
    }
    Ok(decoded)
}

/// Where a YAML document says again what it has said.
fn lines_of_duplicates(bytes: &Bytes) -> Vec<String> {
    let read = |passed_over| strict::read_passing(serde_yaml::Deserializer::from_slice(bytes), passed_over);
    (0..DUPLICATES_MAX)
        .map_while(|passed_over| read(passed_over).err())
        .map(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let key = error.to_string();
            let key = key.split('`').nth(1).unwrap_or_default();
            format!("line {line}: key \"{key}\" already set in map")
        })
        .collect()
}

/// Decodes YAML. The only place that knows the YAML library.
///
/// # Errors
/// What is wrong with it.
pub fn yaml(bytes: &Bytes) -> Result<Decoded, String> {
    if opened(bytes) > OPENED_MAX {
        return Err("yaml: exceeded max depth".to_owned());
    }
    strict::read(serde_yaml::Deserializer::from_slice(bytes)).map_err(|error| format!("yaml: {error}"))
}

/// Brackets that a YAML document may leave open at once. Its library takes longer for each of them than for the last; what is nested more
/// than 128 deep it refuses, but only when it has seen everything.
const OPENED_MAX: usize = 4096;

/// The most brackets that are open at once, whatever stands in quotes.
fn opened(bytes: &[u8]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in bytes {
        match byte {
            b'{' | b'[' => open += 1,
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_maps() -> Resource {
        let mut all = crate::kinds::builtin::resources().into_iter();
        all.find(|one| one.kind == "ConfigMap").expect("it is built in")
    }

    fn chosen(accept: &str, shape: Shape) -> Result<Representation, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("a header"));
        representation(&headers, shape, &config_maps()).map_err(|status| status.code)
    }

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(chosen(table, Shape::List), Ok(Representation::Table));
        assert_eq!(
            chosen(
                "application/vnd.kubernetes.protobuf,application/json",
                Shape::List
            ),
            Ok(Representation::Object)
        );
        assert_eq!(
            chosen("application/json, */*", Shape::Single),
            Ok(Representation::Object)
        );
        let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(chosen(metadata, Shape::Single), Ok(Representation::Metadata));
        assert_eq!(chosen(metadata, Shape::List), Err(406));
        assert_eq!(chosen("text/plain", Shape::Single), Err(406));
        assert_eq!(
            representation(&HeaderMap::new(), Shape::List, &config_maps()),
            Ok(Representation::Object)
        );
    }

    #[test]
    fn fields_that_stand_twice_are_reported_in_json_and_yaml() {
        let json =
            json(&Bytes::from(r#"{"spec":{"a":1,"a":2},"list":[{"x":1,"x":2}]}"#)).expect("it is JSON");
        assert_eq!(
            json.duplicates,
            [r#"duplicate field "spec.a""#, r#"duplicate field "list[0].x""#]
        );
        assert_eq!(json.value["spec"]["a"], 2);
        let yaml = yaml(&Bytes::from("spec:\n  a: 1\n  a: 2\n")).expect("it is YAML");
        assert_eq!(yaml.duplicates, [r#"duplicate field "spec.a""#]);
    }

    #[test]
    fn fields_that_stand_twice_in_an_apply_are_told_by_their_lines() {
        let body = Bytes::from("spec:\n  a: 1\n  b: 2\n  a: 3\n  c: {d: 1, d: 2}\n");
        let decoded = yaml_or_json(&body).expect("it is YAML");
        assert_eq!(
            decoded.duplicates,
            [
                r#"line 4: key "a" already set in map"#,
                r#"line 5: key "d" already set in map"#
            ]
        );
        let json = yaml_or_json(&Bytes::from(r#"{"a":1,"a":2}"#)).expect("it is JSON");
        assert_eq!(json.duplicates, [r#"line 1: key "a" already set in map"#]);
    }

    #[test]
    fn what_follows_after_the_document_is_refused() {
        let why = |text: &'static str| json(&Bytes::from(text)).expect_err("it is no JSON");
        assert_eq!(why("{} {}"), "invalid character '{' after top-level value");
        assert_eq!(why(""), "unexpected end of JSON input");
    }
}
