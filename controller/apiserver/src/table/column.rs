//! One column of a table: how it is described, and how its cell is found in an object.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::duration;
use super::jsonpath::JsonPath;

/// A column after NAME.
#[derive(Debug, Clone)]
pub struct Column {
    /// Heading; kubectl prints it in upper case.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub value_type: String,
    /// Format of the value, such as `int32`; may be empty.
    pub format: String,
    /// What the column says, for programs.
    pub description: String,
    /// 0 is always shown, more only in wide output.
    pub priority: i64,
    /// Where the cell comes from.
    pub source: Source,
}

/// Where a cell comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A JSON path of `additionalPrinterColumns`; `None` when it does not parse, which admission refuses.
    Path(Option<Arc<JsonPath>>),
    /// A function of the object and the time, for built-in kinds.
    Computed(fn(&Value, Timestamp) -> Value),
}

impl Source {
    /// The value at a JSON path.
    pub fn path(path: &str) -> Self {
        Self::Path(JsonPath::parse(path).ok().map(Arc::new))
    }
}

impl Column {
    /// A column of a built-in kind that is always shown.
    pub fn computed(name: &str, description: &str, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Self {
            name: name.to_owned(),
            value_type: "string".to_owned(),
            format: String::new(),
            description: description.to_owned(),
            priority: 0,
            source: Source::Computed(cell),
        }
    }

    /// The same column, shown in wide output only.
    pub fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// The same column with another type.
    pub fn of_type(mut self, value_type: &str) -> Self {
        self.value_type = value_type.to_owned();
        self
    }

    /// The cell of an object; null when the object has no such value.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match &self.source {
            Source::Computed(cell) => cell(object, now),
            Source::Path(None) => Value::Null,
            Source::Path(Some(path)) => match path.first(object) {
                Some(value) => typed_cell(&self.value_type, value, now),
                None => Value::Null,
            },
        }
    }

    /// The entry of `columnDefinitions`.
    pub fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.value_type, "format": self.format,
            "description": self.description, "priority": self.priority,
        })
    }
}

/// A value of a custom resource as a cell of a column of some type; null when it does not fit the type.
fn typed_cell(value_type: &str, value: &Value, now: Timestamp) -> Value {
    match (value_type, value) {
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(number)) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|number| number as i64))
            .into(),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => Value::from(other.to_string()),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(time) => Value::from(duration::since(time, now)),
            Err(_) => Value::from("<invalid>"),
        },
        _ => Value::Null,
    }
}
