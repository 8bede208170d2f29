//! Reads single fields of a JSON object, so that every complaint names the field and what would be right.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// The fields of a request. A field that is null counts as absent, as in OpenAI's API.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.get(name)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| Refusal::invalid_type(name, "a string", value))
            })
            .transpose()
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.get(name)
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| Refusal::invalid_type(name, "a boolean", value))
            })
            .transpose()
    }

    pub(super) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f32>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value
            .as_f64()
            .ok_or_else(|| Refusal::invalid_type(name, "a number", value))?;
        if range.contains(&number) {
            Ok(Some(number as f32))
        } else {
            Err(out_of_range(name, value, &range))
        }
    }

    pub(super) fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            Some(_) => Err(out_of_range(name, value, &range)),
            None if value.is_u64() => Err(out_of_range(name, value, &range)),
            None => Err(Refusal::invalid_type(name, "an integer", value)),
        }
    }
}

fn out_of_range<T: std::fmt::Display>(name: &str, found: &Value, range: &RangeInclusive<T>) -> Refusal {
    let message = format!(
        "Invalid '{name}': expected {} to {}, but got {found}.",
        range.start(),
        range.end()
    );
    Refusal::invalid_value(name, message)
}
