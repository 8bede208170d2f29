//! The messages that clients send, read from a table that is printed from Kubernetes' own types (`messages.txt`, Apache-2.0): numbers
//! on the wire, names in JSON, and what Go's JSON leaves out.
//!
//! | line | says |
//! | --- | --- |
//! | `kind VERSION KIND MESSAGE` | which message is the body of a kind; `*` stands for any version |
//! | `message NAME` | that the lines below are its fields, in the order of JSON |
//! | `  NAME NUMBER SHAPE [kept]` | a field; `-` for a name puts the fields of its message in its place; `kept` means that Go writes it even when it is empty |

use std::collections::HashMap;
use std::sync::LazyLock;

/// The printed table.
const TABLE: &str = include_str!("messages.txt");

/// A message: its fields.
#[derive(Debug, Default)]
pub struct Message {
    /// In the order in which JSON shows them.
    pub fields: Vec<Field>,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its name in JSON; `None` for a message whose fields stand in its place.
    pub name: Option<&'static str>,
    /// Its number on the wire.
    pub number: u32,
    /// What it holds.
    pub shape: Shape,
    /// Whether it is shown when it is empty, because Go has a pointer or no `omitempty` there.
    pub kept: bool,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A boolean.
    Bool,
    /// A signed integer.
    Int,
    /// A floating point number of 64 bits.
    Number,
    /// `meta/v1 Time`: seconds in JSON.
    Time,
    /// `meta/v1 MicroTime`: microseconds in JSON.
    MicroTime,
    /// `Quantity`: a message with one string.
    Quantity,
    /// `IntOrString`.
    IntOrText,
    /// `FieldsV1`, `RawExtension` and `JSON`: a message whose only field is JSON text.
    RawJson,
    /// `ExtraValue`: a message with a list of strings.
    Texts,
    /// `JSONSchemaPropsOrArray`.
    SchemaOrSchemas,
    /// `JSONSchemaPropsOrBool`.
    SchemaOrBool,
    /// `JSONSchemaPropsOrStringArray`.
    SchemaOrTexts,
    /// A message inside, by its place in the table.
    Message(usize),
    /// A list of these.
    List(Box<Self>),
    /// A map from strings to these.
    Map(Box<Self>),
}

/// All messages, and those that are bodies of kinds.
#[derive(Debug, Default)]
pub struct Messages {
    messages: Vec<Message>,
    places: HashMap<&'static str, usize>,
    kinds: HashMap<(&'static str, &'static str), usize>,
}

impl Messages {
    /// The messages of the printed table.
    pub fn get() -> &'static Self {
        static ALL: LazyLock<Messages> =
            LazyLock::new(|| Messages::parse(TABLE).expect("the printed table is well-formed"));
        &ALL
    }

    /// The message of a kind.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Message> {
        let exact = self.kinds.get(&(api_version, kind));
        let place = exact.or_else(|| self.kinds.get(&("*", kind)))?;
        Some(self.at(*place))
    }

    /// The message at a place of the table.
    pub fn at(&self, place: usize) -> &Message {
        &self.messages[place]
    }

    /// The message of `JSONSchemaProps`, which some shapes need without naming it.
    pub fn schema(&self) -> &Message {
        self.at(self.places["apiextensions.v1.JSONSchemaProps"])
    }

    /// Reads a table; `None` if it is not well-formed.
    fn parse(table: &'static str) -> Option<Self> {
        let mut all = Self::default();
        let mut current = None;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let field = line.strip_prefix("  ");
            let words: Vec<&'static str> = field.unwrap_or(line).split(' ').collect();
            match (field.is_some(), words.as_slice()) {
                (false, ["kind", version, kind, message]) => {
                    let place = all.place(message);
                    all.kinds.insert((version, kind), place);
                }
                (false, ["message", name]) => current = Some(all.place(name)),
                (true, [name, number, shape, rest @ ..]) => {
                    let field = Field {
                        name: Some(*name).filter(|name| *name != "-"),
                        number: number.parse().ok()?,
                        shape: all.shape(shape),
                        kept: matches!(rest, ["kept"]),
                    };
                    all.messages[current?].fields.push(field);
                }
                _ => return None,
            }
        }
        Some(all)
    }

    /// The place of a message, which may be described further down.
    fn place(&mut self, name: &'static str) -> usize {
        let next = self.messages.len();
        let place = *self.places.entry(name).or_insert(next);
        if place == next {
            self.messages.push(Message::default());
        }
        place
    }

    fn shape(&mut self, word: &'static str) -> Shape {
        if let Some(item) = word.strip_prefix("[]") {
            return Shape::List(Box::new(self.shape(item)));
        }
        if let Some(value) = word.strip_prefix("{}") {
            return Shape::Map(Box::new(self.shape(value)));
        }
        match word {
            "text" => Shape::Text,
            "bytes" => Shape::Bytes,
            "bool" => Shape::Bool,
            "int" => Shape::Int,
            "number" => Shape::Number,
            "time" => Shape::Time,
            "microTime" => Shape::MicroTime,
            "quantity" => Shape::Quantity,
            "intOrText" => Shape::IntOrText,
            "json" => Shape::RawJson,
            "texts" => Shape::Texts,
            "schemaOrSchemas" => Shape::SchemaOrSchemas,
            "schemaOrBool" => Shape::SchemaOrBool,
            "schemaOrTexts" => Shape::SchemaOrTexts,
            message => Shape::Message(self.place(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_named_is_described() {
        let all = Messages::get();
        // A few messages of Kubernetes have no fields at all.
        let empty: Vec<&str> = all
            .places
            .iter()
            .filter(|(_, place)| all.at(**place).fields.is_empty())
            .map(|(name, _)| *name)
            .collect();
        for name in &empty {
            assert!(
                TABLE.contains(&format!("message {name}\n")),
                "{name} is not described"
            );
        }
        assert!(all.of_kind("apps/v1", "Deployment").is_some());
        assert!(all.of_kind("edge.test/v1", "DeleteOptions").is_some());
        assert!(all.of_kind("edge.test/v1", "Widget").is_none());
    }
}
