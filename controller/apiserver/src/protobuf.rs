//! Decoding of `application/vnd.kubernetes.protobuf` request bodies into JSON.
//!
//! kubectl and helm send the typed kinds so, with no fall-back; answers may always be JSON, so there is no encoder. The
//! messages are a table (`messages`) that is printed from Kubernetes' own types, read by one decoder (`wire`).

pub mod messages;
pub mod wire;

use serde_json::{Map, Value};

use self::messages::Messages;
pub use self::wire::Error;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The first bytes of every body.
const MAGIC: &[u8] = b"k8s\0";

/// Decodes a body into the JSON of its object, with `apiVersion` and `kind`.
///
/// # Errors
///
/// [`Error::UnknownKind`] when the kind has no decoder: a 415 whose text says so. All other errors are a 400.
pub fn decode(body: &[u8]) -> Result<Value, Error> {
    let unknown = body.strip_prefix(MAGIC).ok_or(Error::Magic)?;
    // The envelope: apiVersion (1) and kind (2) in a message of their own (1), and the object's bytes (2).
    let type_meta = wire::raw_field(unknown, 1)?;
    let (api_version, kind) = (wire::text_field(type_meta, 1)?, wire::text_field(type_meta, 2)?);
    let message = Messages::get()
        .of_kind(api_version, kind)
        .ok_or_else(|| Error::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })?;
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::from(api_version));
    object.insert("kind".to_owned(), Value::from(kind));
    object.extend(wire::decode(message, wire::raw_field(unknown, 2)?)?);
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Error, decode};

    #[test]
    fn bodies_that_kubectl_sent_are_decoded() {
        let cases: [(&[u8], serde_json::Value); 7] = [
            (
                b"k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12\x1b\n\x13\n\x03foo\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x00\x1a\x02\n\x00\x1a\x00\"\x00",
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "foo"}, "spec": {}, "status": {}}),
            ),
            (
                b"k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x1d\n\x13\n\x03cm1\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\n\x01a\x12\x01b\x1a\x00\"\x00",
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm1"}, "data": {"a": "b"}}),
            ),
            (
                b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret\x12\x1e\n\x12\n\x02s1\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\n\x01a\x12\x01b\x1a\x00\x1a\x00\"\x00",
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s1"}, "data": {"a": "Yg=="}}),
            ),
            (
                b"k8s\x00\n\x14\n\x02v1\x12\x0eServiceAccount\x12\x15\n\x13\n\x03sa1\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x1a\x00\"\x00",
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa1"}}),
            ),
            (
                b"k8s\x00\n(\n\x18authentication.k8s.io/v1\x12\x0cTokenRequest\x12\x1a\n\x10\n\x00\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x00\x1a\x04\n\x00\x12\x00\x1a\x00\"\x00",
                json!({
                    "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": {},
                    "status": {"token": ""},
                }),
            ),
            (
                b"k8s\x00\n2\n\x17authorization.k8s.io/v1\x12\x17SelfSubjectAccessReview\x12K\n\x10\n\x00\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12-\n+\n\x07default\x12\x06create\x1a\tedge.test\"\x00*\x07widgets2\x00:\x00\x1a\x08\x08\x00\x12\x00\x1a\x00\x20\x00",
                json!({
                    "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
                    "spec": {"resourceAttributes": {
                        "namespace": "default", "verb": "create", "group": "edge.test", "resource": "widgets",
                    }},
                    "status": {"allowed": false},
                }),
            ),
            (
                b"k8s\x00\n1\n\x17authorization.k8s.io/v1\x12\x16SelfSubjectRulesReview\x12#\n\x10\n\x00\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\t\n\x07default\x1a\x04\x18\x00\"\x00\x1a\x00\"\x00",
                json!({
                    "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "metadata": {},
                    "spec": {"namespace": "default"}, "status": {"incomplete": false},
                }),
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(decode(body).unwrap(), expected);
        }
    }

    #[test]
    fn a_kind_without_a_decoder_is_named() {
        let body = b"k8s\x00\n\x16\n\x0cedge.test/v1\x12\x06Widget\x12\x00\x1a\x00\"\x00";
        let error = decode(body).unwrap_err();
        assert!(matches!(error, Error::UnknownKind { .. }));
        assert_eq!(
            error.to_string(),
            "no protobuf decoder for edge.test/v1, Kind=Widget: send application/json or application/yaml"
        );
    }

    #[test]
    fn broken_bodies_are_refused_and_never_panic() {
        let whole = b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret\x12\x1e\n\x12\n\x02s1\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\n\x01a\x12\x01b\x1a\x00\x1a\x00\"\x00";
        for length in 0..whole.len() {
            drop(decode(&whole[..length]));
        }
        assert!(matches!(decode(b"{}"), Err(Error::Magic)));
        assert!(decode(b"k8s\x00\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").is_err());
    }
}
