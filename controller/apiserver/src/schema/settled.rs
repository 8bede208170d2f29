//! Whether an object's bytes are what its schema makes of them, told while they are read, without values of them.
//!
//! This is [`prune`](super::prune) and [`defaults`](super::defaults) as a question: both have to leave the object as it is.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Schema;

/// Whether pruning and defaults would change nothing. False also for what is no JSON.
pub(super) fn is_settled(schema: &Schema, bytes: &[u8]) -> bool {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Node(schema).deserialize(&mut reader).is_ok() && reader.end().is_ok()
}

/// What a value is as far as its parent has to know.
#[derive(PartialEq, Eq)]
enum Is {
    Null,
    Something,
}

/// Reads a value; an error means that it is not settled.
struct Node<'a>(&'a Schema);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Is;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Is, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Is;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value that the schema leaves as it is")
    }

    fn visit_unit<E>(self) -> Result<Is, E> {
        Ok(Is::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Is, E> {
        Ok(Is::Something)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Is, E> {
        Ok(Is::Something)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Is, E> {
        Ok(Is::Something)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Is, E> {
        Ok(Is::Something)
    }

    fn visit_str<E>(self, _: &str) -> Result<Is, E> {
        Ok(Is::Something)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Is, A::Error> {
        match &self.0.items {
            None => while items.next_element::<IgnoredAny>()?.is_some() {},
            Some(schema) => {
                while let Some(item) = items.next_element_seed(Node(schema))? {
                    if item == Is::Null && schema.null_gives_way_to_default() {
                        return Err(A::Error::custom("an item takes its default"));
                    }
                }
            }
        }
        Ok(Is::Something)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Is, A::Error> {
        let schema = self.0;
        let mut with_default = 0;
        while let Some(name) = fields.next_key_seed(Name(schema))? {
            let value = match name {
                Known::Nothing if !schema.keeps_unknown() => {
                    return Err(A::Error::custom("a field is unknown"));
                }
                Known::Nothing => match fields.next_value::<Option<IgnoredAny>>()? {
                    Some(_) => Is::Something,
                    None => Is::Null,
                },
                Known::Declared(child) | Known::Entry(child) => fields.next_value_seed(Node(child))?,
            };
            if let Known::Declared(child) = name
                && child.default.is_some()
            {
                with_default += 1;
            }
            let gives_way = match name {
                Known::Nothing => false,
                Known::Declared(child) | Known::Entry(child) => !child.nullable,
            };
            if value == Is::Null && (schema.null_is_absent || gives_way) {
                return Err(A::Error::custom("a null does not stay"));
            }
        }
        let defaults = schema.properties.values().filter(|child| child.default.is_some());
        if defaults.count() > with_default {
            return Err(A::Error::custom("a field takes its default"));
        }
        Ok(Is::Something)
    }
}

/// What a schema says of a field.
#[derive(Clone, Copy)]
enum Known<'a> {
    Nothing,
    Declared(&'a Schema),
    /// It is an entry of a map.
    Entry(&'a Schema),
}

/// Reads a field's name.
struct Name<'a>(&'a Schema);

impl<'de, 'a> DeserializeSeed<'de> for Name<'a> {
    type Value = Known<'a>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Known<'a>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Known<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Known<'a>, E> {
        Ok(match (self.0.properties.get(name), self.0.child(name)) {
            (Some(declared), _) => Known::Declared(declared),
            (None, Some(entry)) => Known::Entry(entry),
            (None, None) => Known::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// One of everything that pruning and defaults look at.
    fn schema() -> Schema {
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let defaulted = json!({"type": "integer", "default": 1});
        let nested = json!({"type": "object", "properties": {"a": defaulted, "b": {"type": "string", "nullable": true, "default": "x"}}});
        let with_default = json!({"type": "string", "default": "d"});
        Schema::of_custom_resource(Some(&json!({"type": "object", "properties": {
            "a": nested, "b": any, "c": {"type": "array", "items": nested},
            "d": {"type": "object", "additionalProperties": with_default},
            "e": {"type": "array", "items": with_default}, "f": {"type": "object", "additionalProperties": true},
            "g": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "nullable": true}}},
        }})))
    }

    /// Whether pruning and defaults leave it as it is: the answer that [`is_settled`] has to give.
    fn stays(schema: &Schema, object: &Value) -> bool {
        let mut after = object.clone();
        schema.prune(&mut after);
        schema.fill_defaults(&mut after);
        after == *object
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            Just(json!(true)),
            Just(json!(-7)),
            Just(json!(1.5)),
            Just(json!("x\"")),
        ];
        leaf.prop_recursive(4, 48, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-g]", inner.clone(), 0..5)
                    .prop_map(|fields| fields.into_iter().collect()),
                prop::collection::btree_map("(metadata|labels|name|finalizers|a|\u{e9})", inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_pruning_and_defaults(object in value(), settle in any::<bool>()) {
            let schema = schema();
            let mut object = object;
            if settle {
                // Else hardly any would be.
                schema.prune(&mut object);
                schema.fill_defaults(&mut object);
            }
            let bytes = serde_json::to_vec(&object).expect("JSON");
            prop_assert_eq!(is_settled(&schema, &bytes), stays(&schema, &object), "{}", object);
        }
    }

    #[test]
    fn what_is_no_json_is_not_settled() {
        for text in ["", "{", "{}}", r#"{"b":{"x":tru}}"#] {
            assert!(!is_settled(&schema(), text.as_bytes()), "{text}");
        }
        assert!(is_settled(&Schema::of_custom_resource(None), b"{}"));
    }
}
