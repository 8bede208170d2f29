//! OpenAPI v2 in protobuf: the messages of gnostic's `OpenAPIv2.proto`, in which kubectl reads the document. What has no field of its
//! own there, such as defaults and extensions, is text in YAML; JSON is.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

/// How clients ask for it.
pub const ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// How it is answered, as upstream does: media types have no at sign.
pub const ANSWERED: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The document of v2 as a message.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    message.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in members(&document["paths"]) {
        paths.named(2, path, &path_item(item));
    }
    message.message(8, &paths);
    message.message(9, &schemas(&document["definitions"]));
    message.bytes
}

/// A message that is being written. Empty values are left out, as protobuf has it.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn delimited(&mut self, tag: u32, bytes: &[u8]) {
        encode_key(tag, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(bytes.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(bytes);
    }

    fn message(&mut self, tag: u32, inner: &Self) {
        self.delimited(tag, &inner.bytes);
    }

    /// An entry of a map, which is a message of a name and a value.
    fn named(&mut self, tag: u32, name: &str, value: &Self) {
        let mut entry = Self::default();
        entry.delimited(1, name.as_bytes());
        entry.message(2, value);
        self.message(tag, &entry);
    }

    fn text(&mut self, tag: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.delimited(tag, text.as_bytes());
        }
    }

    fn texts(&mut self, tag: u32, values: &Value) {
        for text in items(values).filter_map(Value::as_str) {
            self.delimited(tag, text.as_bytes());
        }
    }

    fn flag(&mut self, tag: u32, value: &Value) {
        if *value == Value::Bool(true) {
            self.varint(tag, 1);
        }
    }

    fn count(&mut self, tag: u32, value: &Value) {
        if let Some(count) = value.as_u64().filter(|count| *count != 0) {
            self.varint(tag, count);
        }
    }

    fn varint(&mut self, tag: u32, value: u64) {
        encode_key(tag, WireType::Varint, &mut self.bytes);
        encode_varint(value, &mut self.bytes);
    }

    fn number(&mut self, tag: u32, value: &Value) {
        if let Some(number) = value.as_f64().filter(|number| *number != 0.0) {
            encode_key(tag, WireType::SixtyFourBit, &mut self.bytes);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Any value, as text.
    fn any(&mut self, tag: u32, value: &Value) {
        if !value.is_null() {
            self.message(tag, &as_text(value));
        }
    }

    fn extensions(&mut self, tag: u32, fields: &Value) {
        for (name, value) in members(fields).filter(|(name, _)| name.starts_with("x-")) {
            self.named(tag, name, &as_text(value));
        }
    }
}

fn as_text(value: &Value) -> Message {
    let mut any = Message::default();
    any.delimited(2, value.to_string().as_bytes());
    any
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn path_item(item: &Value) -> Message {
    const OPERATIONS: [(u32, &str); 7] = [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (6, "options"),
        (7, "head"),
        (8, "patch"),
    ];
    let mut message = Message::default();
    for (tag, method) in OPERATIONS {
        if item[method].is_object() {
            message.message(tag, &operation(&item[method]));
        }
    }
    items(&item["parameters"]).for_each(|one| message.message(9, &parameter(one)));
    message.extensions(10, item);
    message
}

fn operation(operation: &Value) -> Message {
    let mut message = Message::default();
    message.texts(1, &operation["tags"]);
    message.text(3, &operation["description"]);
    message.text(5, &operation["operationId"]);
    message.texts(6, &operation["produces"]);
    message.texts(7, &operation["consumes"]);
    items(&operation["parameters"]).for_each(|one| message.message(8, &parameter(one)));
    let mut responses = Message::default();
    for (code, answer) in members(&operation["responses"]) {
        responses.named(1, code, &response(answer));
    }
    message.message(9, &responses);
    message.texts(10, &operation["schemes"]);
    message.flag(11, &operation["deprecated"]);
    message.extensions(13, operation);
    message
}

fn response(answer: &Value) -> Message {
    let mut response = Message::default();
    response.text(1, &answer["description"]);
    if answer["schema"].is_object() {
        response.message(2, &wrapped(1, &schema(&answer["schema"])));
    }
    wrapped(1, &response)
}

fn wrapped(tag: u32, inner: &Message) -> Message {
    let mut message = Message::default();
    message.message(tag, inner);
    message
}

/// A parameter: in the body, or of one of the places that have each a message of their own.
fn parameter(parameter: &Value) -> Message {
    let mut message = Message::default();
    let place = parameter["in"].as_str().unwrap_or_default();
    if place == "body" {
        message.text(1, &parameter["description"]);
        message.text(2, &parameter["name"]);
        message.text(3, &parameter["in"]);
        message.flag(4, &parameter["required"]);
        message.message(5, &schema(&parameter["schema"]));
        return wrapped(1, &wrapped(1, &message));
    }
    // Those of queries may be empty, which takes a field, so what follows is one further.
    let (tag, further) = match place {
        "header" => (1, 0),
        "path" => (4, 0),
        _ => (3, 1),
    };
    message.flag(1, &parameter["required"]);
    message.text(2, &parameter["in"]);
    message.text(3, &parameter["description"]);
    message.text(4, &parameter["name"]);
    message.text(5 + further, &parameter["type"]);
    message.text(6 + further, &parameter["format"]);
    message.flag(19 + further, &parameter["uniqueItems"]);
    wrapped(1, &wrapped(2, &wrapped(tag, &message)))
}

fn schemas(all: &Value) -> Message {
    let mut message = Message::default();
    for (name, one) in members(all) {
        message.named(1, name, &schema(one));
    }
    message
}

fn schema(schema: &Value) -> Message {
    let mut message = Message::default();
    for (tag, keyword) in [
        (1, "$ref"),
        (2, "format"),
        (3, "title"),
        (4, "description"),
        (13, "pattern"),
    ] {
        message.text(tag, &schema[keyword]);
    }
    message.any(5, &schema["default"]);
    for (tag, keyword) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        message.number(tag, &schema[keyword]);
    }
    for (tag, keyword) in [
        (8, "exclusiveMaximum"),
        (10, "exclusiveMinimum"),
        (16, "uniqueItems"),
    ] {
        message.flag(tag, &schema[keyword]);
    }
    for (tag, keyword) in [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ] {
        message.count(tag, &schema[keyword]);
    }
    message.texts(19, &schema["required"]);
    items(&schema["enum"]).for_each(|one| message.any(20, one));
    nested(schema, &mut message);
    message.any(30, &schema["example"]);
    message.extensions(31, schema);
    message
}

/// What a schema has inside.
fn nested(outer: &Value, message: &mut Message) {
    match &outer["additionalProperties"] {
        Value::Bool(allowed) => {
            let mut item = Message::default();
            item.flag(2, &Value::Bool(*allowed));
            message.message(21, &item);
        }
        inner @ Value::Object(_) => message.message(21, &wrapped(1, &schema(inner))),
        _ => {}
    }
    if let Some(text) = outer["type"].as_str() {
        let mut of_type = Message::default();
        of_type.delimited(1, text.as_bytes());
        message.message(22, &of_type);
    }
    if outer["items"].is_object() {
        message.message(23, &wrapped(1, &schema(&outer["items"])));
    }
    if outer["properties"].is_object() {
        message.message(25, &schemas(&outer["properties"]));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protobuf::wire::{raw_field, text_field};

    /// The message at the end of a way of fields, of each the last.
    fn at<'a>(bytes: &'a [u8], way: &[u32]) -> &'a [u8] {
        way.iter()
            .fold(bytes, |bytes, tag| raw_field(bytes, *tag).expect("a message"))
    }

    #[test]
    fn a_document_has_its_fields_where_gnostic_looks_for_them() {
        let bytes = encode(&json!({
            "swagger": "2.0",
            "info": {"title": "t", "version": "v"},
            "paths": {"/a": {"patch": {
                "parameters": [{"name": "dryRun", "in": "query", "type": "string"}],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/A"}}},
                "x-kubernetes-group-version-kind": {"group": "g", "version": "v1", "kind": "A"},
            }}},
            "definitions": {"A": {"type": "object", "required": ["b"], "properties": {
                "b": {"type": "array", "items": {"type": "string"}, "maxItems": 300},
            }}},
        }));
        assert_eq!(text_field(&bytes, 1).expect("text"), "2.0");
        let path = at(&bytes, &[8, 2]);
        assert_eq!(text_field(path, 1).expect("text"), "/a");
        let patch = at(path, &[2, 8]);
        let query = at(patch, &[8, 1, 2, 3]);
        assert_eq!(
            (
                text_field(query, 4).expect("text"),
                text_field(query, 6).expect("text")
            ),
            ("dryRun", "string")
        );
        let answer = at(patch, &[9, 1, 2, 1]);
        assert_eq!(text_field(answer, 1).expect("text"), "OK");
        assert_eq!(
            text_field(at(answer, &[2, 1]), 1).expect("text"),
            "#/definitions/A"
        );
        let extension = at(patch, &[13]);
        assert_eq!(
            text_field(extension, 1).expect("text"),
            "x-kubernetes-group-version-kind"
        );
        let said: Value = serde_json::from_slice(at(extension, &[2, 2])).expect("JSON");
        assert_eq!(said["kind"], "A");
        let definition = at(&bytes, &[9, 1]);
        assert_eq!(text_field(definition, 1).expect("text"), "A");
        let body = at(definition, &[2]);
        assert_eq!(text_field(body, 19).expect("text"), "b");
        let property = at(body, &[25, 1, 2]);
        assert_eq!(text_field(at(property, &[22]), 1).expect("text"), "array");
        assert_eq!(text_field(at(property, &[23, 1, 22]), 1).expect("text"), "string");
        let three_hundred_items = [14 << 3, 0xac, 0x02];
        assert!(property.windows(3).any(|bytes| bytes == three_hundred_items));
    }
}
