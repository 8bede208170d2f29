//! One decoder for all messages: the wire format of protobuf, read by a table of fields.
//!
//! Go writes every field that is not a pointer, even when it is empty; such values are left out here where Go's JSON leaves
//! them out (`omitempty`).

use base64::Engine;
use jiff::Timestamp;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::{Map, Number, Value};

use super::messages::{Field, Message, Messages, Shape};

/// Messages inside messages: schemas in definitions are nested most deeply.
const DEPTH_MAX: usize = 64;

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

/// Decodes a message into the fields of a JSON object. Fields that the table does not have are skipped.
pub fn decode(message: &Message, bytes: &[u8]) -> Result<Map<String, Value>, Error> {
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

/// A string field, read without a table; empty when it is absent.
pub fn text_field(bytes: &[u8], number: u32) -> Result<&str, Error> {
    text(raw_field(bytes, number)?)
}

/// One field as it stands on the wire.
#[derive(Clone, Copy)]
enum Item<'body> {
    Varint(u64),
    Fixed64(u64),
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
                visit(tag, Item::Bytes(cut(&mut rest, length)?))?;
            }
            WireType::SixtyFourBit => {
                let bytes = cut(&mut rest, 8)?.try_into().expect("eight bytes were cut");
                visit(tag, Item::Fixed64(u64::from_le_bytes(bytes)))?;
            }
            // Kubernetes has no field of this type.
            WireType::ThirtyTwoBit => drop(cut(&mut rest, 4)?),
            WireType::StartGroup | WireType::EndGroup => {
                return Err(malformed("groups are not used by Kubernetes"));
            }
        }
    }
    Ok(())
}

fn cut<'body>(rest: &mut &'body [u8], length: usize) -> Result<&'body [u8], Error> {
    let (item, after) = rest
        .split_at_checked(length)
        .ok_or_else(|| malformed("it ends too early"))?;
    *rest = after;
    Ok(item)
}

fn decode_message(message: &Message, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Error> {
    if depth > DEPTH_MAX {
        return Err(malformed("messages are nested too deeply"));
    }
    let mut found: Vec<Option<Value>> = vec![None; message.fields.len()];
    for_each_field(bytes, |tag, item| {
        let Some(index) = message.fields.iter().position(|field| field.number == tag) else {
            return Ok(());
        };
        add(&message.fields[index].shape, &mut found[index], item, depth)
    })?;
    let mut object = Map::new();
    for (field, value) in message.fields.iter().zip(found) {
        match (field.name, value) {
            (_, None) => {}
            (Some(name), Some(value)) if field.kept || !is_empty(field, &value) => {
                object.insert(name.to_owned(), value);
            }
            (None, Some(Value::Object(inside))) => object.extend(inside),
            _ => {}
        }
    }
    Ok(object)
}

/// Adds what stands on the wire to what has been found of the field so far.
fn add(shape: &Shape, slot: &mut Option<Value>, item: Item<'_>, depth: usize) -> Result<(), Error> {
    match shape {
        Shape::List(of) => {
            let value = decode_item(of, item, depth)?.unwrap_or(Value::Null);
            match slot {
                Some(Value::Array(items)) => items.push(value),
                slot => *slot = Some(Value::Array(vec![value])),
            }
        }
        Shape::Map(of) => {
            let Item::Bytes(bytes) = item else {
                return Err(malformed("an entry of a map is no message"));
            };
            let (key, value) = map_entry(of, bytes, depth)?;
            match slot {
                Some(Value::Object(entries)) => drop(entries.insert(key, value)),
                slot => *slot = Some(Value::Object(Map::from_iter([(key, value)]))),
            }
        }
        single => {
            if let Some(value) = decode_item(single, item, depth)? {
                *slot = Some(value);
            }
        }
    }
    Ok(())
}

/// One value; `None` for the zero time, which is left out.
fn decode_item(shape: &Shape, item: Item<'_>, depth: usize) -> Result<Option<Value>, Error> {
    let value = match (shape, item) {
        (Shape::Bool, Item::Varint(number)) => Value::from(number != 0),
        // Negative numbers are written as their two's complement.
        (Shape::Int, Item::Varint(number)) => Value::from(number as i64),
        (Shape::Number, Item::Fixed64(bits)) => number(f64::from_bits(bits))?,
        (Shape::Text, Item::Bytes(bytes)) => Value::from(text(bytes)?),
        (Shape::Bytes, Item::Bytes(bytes)) => Value::from(base64(bytes)),
        (Shape::Time, Item::Bytes(bytes)) => {
            return Ok(time(bytes)?.map(|time| Value::from(time.strftime("%FT%TZ").to_string())));
        }
        (Shape::MicroTime, Item::Bytes(bytes)) => {
            return Ok(time(bytes)?.map(|time| Value::from(time.strftime("%FT%T.%6fZ").to_string())));
        }
        (Shape::Quantity, Item::Bytes(bytes)) => Value::from(text_field(bytes, 1)?),
        (Shape::IntOrText, Item::Bytes(bytes)) => int_or_text(bytes)?,
        (Shape::RawJson, Item::Bytes(bytes)) => raw_json(bytes)?,
        (Shape::Texts, Item::Bytes(bytes)) => texts(bytes, 1)?,
        (Shape::SchemaOrSchemas | Shape::SchemaOrBool | Shape::SchemaOrTexts, Item::Bytes(bytes)) => {
            schema_or(shape, bytes, depth + 1)?
        }
        (Shape::Message(place), Item::Bytes(bytes)) => {
            Value::Object(decode_message(Messages::get().at(*place), bytes, depth + 1)?)
        }
        _ => return Err(malformed("a field has another type than it should")),
    };
    Ok(Some(value))
}

/// What Go's JSON leaves out of fields that are no pointers. Messages inside are kept, as there.
fn is_empty(field: &Field, value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty() && matches!(field.shape, Shape::Map(_)),
        Value::Null => true,
    }
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a string is not UTF-8"))
}

fn number(number: f64) -> Result<Value, Error> {
    // Go's JSON writes whole numbers without a point.
    let whole = number as i64;
    if whole as f64 == number && whole.unsigned_abs() < 1 << 53 {
        return Ok(Value::from(whole));
    }
    let number = Number::from_f64(number).ok_or_else(|| malformed("a number is not finite"))?;
    Ok(Value::Number(number))
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn raw_json(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(raw_field(bytes, 1)?)
        .map_err(|error| Error::Malformed(format!("raw JSON: {error}")))
}

fn texts(bytes: &[u8], number: u32) -> Result<Value, Error> {
    let mut items = Vec::new();
    for_each_field(bytes, |tag, item| {
        if let (true, Item::Bytes(bytes)) = (tag == number, item) {
            items.push(Value::from(text(bytes)?));
        }
        Ok(())
    })?;
    Ok(Value::Array(items))
}

/// A type (1), which is 1 for a string, a number (2) and a string (3).
fn int_or_text(bytes: &[u8]) -> Result<Value, Error> {
    let (mut is_text, mut number, mut words) = (false, 0_i64, "");
    for_each_field(bytes, |tag, item| {
        match (tag, item) {
            (1, Item::Varint(kind)) => is_text = kind == 1,
            (2, Item::Varint(value)) => number = value as i64,
            (3, Item::Bytes(bytes)) => words = text(bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_text { words.into() } else { number.into() })
}

/// A schema, or what may stand in its place: a list of schemas, a boolean, a list of strings.
fn schema_or(shape: &Shape, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let schema_at = if *shape == Shape::SchemaOrBool { 2 } else { 1 };
    let (mut schema, mut schemas, mut allows) = (None, Vec::new(), false);
    for_each_field(bytes, |tag, item| {
        match item {
            Item::Bytes(bytes) if tag == schema_at => {
                schema = Some(decode_message(Messages::get().schema(), bytes, depth)?);
            }
            Item::Bytes(bytes) if *shape == Shape::SchemaOrSchemas => {
                schemas.push(Value::Object(decode_message(
                    Messages::get().schema(),
                    bytes,
                    depth,
                )?));
            }
            Item::Varint(number) => allows = number != 0,
            Item::Bytes(_) | Item::Fixed64(_) => {}
        }
        Ok(())
    })?;
    Ok(match (schema, shape) {
        (Some(schema), _) => Value::Object(schema),
        (None, Shape::SchemaOrBool) => Value::from(allows),
        (None, Shape::SchemaOrTexts) => texts(bytes, 2)?,
        (None, _) => Value::Array(schemas),
    })
}

/// A map is a list of messages with a key (1) and a value (2), either of which may be absent when it is empty.
fn map_entry(of: &Shape, bytes: &[u8], depth: usize) -> Result<(String, Value), Error> {
    let key = text_field(bytes, 1)?.to_owned();
    let mut value = None;
    for_each_field(bytes, |tag, item| {
        if tag == 2 {
            value = decode_item(of, item, depth + 1)?;
        }
        Ok(())
    })?;
    let empty = match of {
        Shape::Bool | Shape::Int => Item::Varint(0),
        _ => Item::Bytes(&[]),
    };
    let value = match value {
        Some(value) => value,
        None => decode_item(of, empty, depth + 1)?.unwrap_or(Value::Null),
    };
    Ok((key, value))
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
