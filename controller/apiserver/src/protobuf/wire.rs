//! One decoder for all messages: the wire format of protobuf, read by a table of fields.
//!
//! Go writes every field that is not a pointer, even when it is empty; such values are left out here, as Go's JSON leaves
//! them out (`omitempty`).

use base64::Engine;
use jiff::Timestamp;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::{Map, Value};

/// Messages inside messages; Kubernetes' own need fewer than ten.
const DEPTH_MAX: usize = 32;

/// A message: its fields.
#[derive(Debug)]
pub struct Message {
    /// In the order in which JSON shows them.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in JSON.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Whether it may be there more than once.
    pub repeated: bool,
    /// Whether it is a pointer in Go: then an empty value is a value.
    pub pointer: bool,
}

/// What a field holds.
#[derive(Debug)]
pub enum Shape {
    /// A string.
    Text,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A boolean.
    Bool,
    /// A signed integer.
    Int,
    /// `meta/v1 Time`: seconds in JSON.
    Time,
    /// `meta/v1 MicroTime`: microseconds in JSON.
    MicroTime,
    /// A message inside.
    Message(&'static Message),
    /// A map from strings to strings.
    TextMap,
    /// A map from strings to bytes.
    BytesMap,
    /// A map from strings to a message with a list of strings `items` (`ExtraValue`).
    TextsMap,
    /// `FieldsV1`: a message whose only field is JSON text.
    RawJson,
    /// Not shown: read by [`raw_field`].
    Skipped,
}

/// Why a body cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body does not begin as protobuf bodies of Kubernetes do.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// The kind has no decoder.
    #[error("no protobuf decoder for {api_version}, Kind={kind}: send application/json or application/yaml")]
    UnknownKind {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// The bytes are no message.
    #[error("malformed protobuf message: {0}")]
    Malformed(String),
}

fn malformed(what: &str) -> Error {
    Error::Malformed(what.to_owned())
}

/// Decodes a message into a JSON object. Fields that the table does not have are skipped.
pub fn decode(message: &Message, bytes: &[u8]) -> Result<Value, Error> {
    decode_message(message, bytes, 0)
}

/// The bytes of a length-delimited field, read without a table; empty when it is absent.
pub fn raw_field(bytes: &[u8], number: u32) -> Result<&[u8], Error> {
    let mut found: &[u8] = &[];
    for_each_field(bytes, |tag, item| {
        if let (true, Item::Bytes(bytes)) = (tag == number, item) {
            found = bytes;
        }
        Ok(())
    })?;
    Ok(found)
}

/// One field as it stands on the wire.
#[derive(Clone, Copy)]
enum Item<'body> {
    Varint(u64),
    Bytes(&'body [u8]),
}

fn for_each_field<'body>(
    mut rest: &'body [u8],
    mut visit: impl FnMut(u32, Item<'body>) -> Result<(), Error>,
) -> Result<(), Error> {
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(|error| Error::Malformed(error.to_string()))?;
        let varint =
            |rest: &mut &'body [u8]| decode_varint(rest).map_err(|error| Error::Malformed(error.to_string()));
        match wire_type {
            WireType::Varint => {
                let number = varint(&mut rest)?;
                visit(tag, Item::Varint(number))?;
            }
            WireType::LengthDelimited => {
                let length =
                    usize::try_from(varint(&mut rest)?).map_err(|_| malformed("a length is too large"))?;
                let (item, after) = rest
                    .split_at_checked(length)
                    .ok_or_else(|| malformed("it ends too early"))?;
                rest = after;
                visit(tag, Item::Bytes(item))?;
            }
            WireType::SixtyFourBit | WireType::ThirtyTwoBit => {
                let length = if wire_type == WireType::SixtyFourBit { 8 } else { 4 };
                rest = rest.get(length..).ok_or_else(|| malformed("it ends too early"))?;
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Err(malformed("groups are not used by Kubernetes"));
            }
        }
    }
    Ok(())
}

fn decode_message(message: &Message, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    if depth > DEPTH_MAX {
        return Err(malformed("messages are nested too deeply"));
    }
    let mut found: Vec<Option<Value>> = vec![None; message.fields.len()];
    for_each_field(bytes, |tag, item| {
        let Some(index) = message.fields.iter().position(|field| field.number == tag) else {
            return Ok(());
        };
        let field = &message.fields[index];
        add(field, &mut found[index], item, depth)
    })?;
    let mut object = Map::new();
    for (field, value) in message.fields.iter().zip(found) {
        if let Some(value) = value.filter(|value| field.pointer || !is_empty(field, value)) {
            object.insert(field.name.to_owned(), value);
        }
    }
    Ok(Value::Object(object))
}

fn add(field: &Field, slot: &mut Option<Value>, item: Item<'_>, depth: usize) -> Result<(), Error> {
    let Some(value) = decode_item(&field.shape, item, depth)? else {
        return Ok(());
    };
    match (&field.shape, slot) {
        (Shape::TextMap | Shape::BytesMap | Shape::TextsMap, Some(Value::Object(entries))) => {
            if let Value::Object(entry) = value {
                entries.extend(entry);
            }
        }
        (_, Some(Value::Array(items))) if field.repeated => items.push(value),
        (_, slot) if field.repeated => *slot = Some(Value::Array(vec![value])),
        (_, slot) => *slot = Some(value),
    }
    Ok(())
}

fn decode_item(shape: &Shape, item: Item<'_>, depth: usize) -> Result<Option<Value>, Error> {
    Ok(match (shape, item) {
        (Shape::Bool, Item::Varint(number)) => Some(Value::from(number != 0)),
        // Negative numbers are written as their two's complement.
        (Shape::Int, Item::Varint(number)) => Some(Value::from(number as i64)),
        (Shape::Text, Item::Bytes(bytes)) => Some(Value::from(text(bytes)?)),
        (Shape::Bytes, Item::Bytes(bytes)) => Some(Value::from(base64(bytes))),
        (Shape::Time, Item::Bytes(bytes)) => {
            time(bytes)?.map(|time| Value::from(time.strftime("%FT%TZ").to_string()))
        }
        (Shape::MicroTime, Item::Bytes(bytes)) => {
            time(bytes)?.map(|time| Value::from(time.strftime("%FT%T.%6fZ").to_string()))
        }
        (Shape::Message(message), Item::Bytes(bytes)) => Some(decode_message(message, bytes, depth + 1)?),
        (Shape::TextMap, Item::Bytes(bytes)) => {
            Some(map_entry(bytes, |value| Ok(Value::from(text(value)?)))?)
        }
        (Shape::BytesMap, Item::Bytes(bytes)) => {
            Some(map_entry(bytes, |value| Ok(Value::from(base64(value))))?)
        }
        (Shape::TextsMap, Item::Bytes(bytes)) => Some(map_entry(bytes, texts)?),
        (Shape::RawJson, Item::Bytes(bytes)) => {
            let json = raw_field(bytes, 1)?;
            Some(
                serde_json::from_slice(json)
                    .map_err(|error| Error::Malformed(format!("fieldsV1: {error}")))?,
            )
        }
        (Shape::Skipped, _) => None,
        _ => return Err(malformed("a field has another type than it should")),
    })
}

/// What Go's JSON leaves out of fields that are no pointers. Messages inside are kept, as there.
fn is_empty(field: &Field, value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty() && !matches!(field.shape, Shape::Message(_)),
        Value::Null => true,
    }
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a string is not UTF-8"))
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn texts(bytes: &[u8]) -> Result<Value, Error> {
    let mut items = Vec::new();
    for_each_field(bytes, |tag, item| {
        if let (1, Item::Bytes(bytes)) = (tag, item) {
            items.push(Value::from(text(bytes)?));
        }
        Ok(())
    })?;
    Ok(Value::Array(items))
}

/// A map is a list of messages with a key (1) and a value (2), either of which may be absent when it is empty.
fn map_entry(bytes: &[u8], value_of: impl Fn(&[u8]) -> Result<Value, Error>) -> Result<Value, Error> {
    let (key, value) = (raw_field(bytes, 1)?, raw_field(bytes, 2)?);
    let mut entry = Map::new();
    entry.insert(text(key)?.to_owned(), value_of(value)?);
    Ok(Value::Object(entry))
}

/// A time is a message of seconds (1) and nanoseconds (2); without seconds it is the zero time, which is left out.
fn time(bytes: &[u8]) -> Result<Option<Timestamp>, Error> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for_each_field(bytes, |tag, item| {
        match (tag, item) {
            (1, Item::Varint(number)) => seconds = number as i64,
            (2, Item::Varint(number)) => nanos = number as i32,
            _ => {}
        }
        Ok(())
    })?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Timestamp::new(seconds, nanos)
        .map(Some)
        .map_err(|error| Error::Malformed(format!("a time: {error}")))
}
