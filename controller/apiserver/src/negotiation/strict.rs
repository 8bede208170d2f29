//! Deserializing into a JSON value while noticing fields that stand in an object more than once, which `serde_json::Value` silently
//! drops. Works for any serde format.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Decoded;

/// Reads a document.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decoded, D::Error> {
    read_passing(deserializer, usize::MAX)
}

/// Reads a document, and fails at a field that stands in it again, once so many of them have been passed over. The error names the
/// field in backticks, and knows its place.
pub fn read_passing<'de, D: Deserializer<'de>>(
    deserializer: D,
    passed_over: usize,
) -> Result<Decoded, D::Error> {
    let (duplicates, passes) = (RefCell::new(Vec::new()), Cell::new(passed_over));
    let value = Node {
        path: String::new(),
        duplicates: &duplicates,
        passes: &passes,
    }
    .deserialize(deserializer)?;
    Ok(Decoded {
        value,
        duplicates: duplicates.into_inner(),
    })
}

/// A place in the document, to be deserialized.
struct Node<'a> {
    path: String,
    duplicates: &'a RefCell<Vec<String>>,
    /// How many more duplicates are passed over.
    passes: &'a Cell<usize>,
}

/// The key of an entry, which may be in the map already.
struct Key<'a> {
    map: &'a Map<String, Value>,
    passes: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if self.map.contains_key(key) {
            let left = self.passes.get().checked_sub(1);
            self.passes
                .set(left.ok_or_else(|| E::custom(format!("`{key}` again")))?);
        }
        Ok(key.to_owned())
    }
}

impl Node<'_> {
    fn below(&self, path: String) -> Self {
        Self {
            path,
            duplicates: self.duplicates,
            passes: self.passes,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) =
            sequence.next_element_seed(self.below(format!("{}[{}]", self.path, list.len())))?
        {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Key {
            map: &map,
            passes: self.passes,
        })? {
            let path = if self.path.is_empty() {
                key.clone()
            } else {
                format!("{}.{key}", self.path)
            };
            if map.contains_key(&key) {
                self.duplicates
                    .borrow_mut()
                    .push(format!("duplicate field \"{path}\""));
            }
            let value = entries.next_value_seed(self.below(path))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
