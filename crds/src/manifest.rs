//! YAML in and out. The one module that knows the YAML library, so that it can be replaced.

mod fields;

use serde::{Serialize, de::DeserializeOwned};

/// The time of what has not happened yet.
pub const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("document {document}: {message}")]
pub struct Error {
    /// Which document of the stream, from 1.
    pub document: usize,
    /// What the parser says, with line and column.
    pub message: String,
}

/// Reads every document of a YAML stream as JSON; empty documents are skipped.
///
/// # Errors
///
/// When a document is not YAML, has a duplicate key, or has a key that JSON cannot hold; when an object of our group is of
/// no kind that there is, or its spec has a field that its kind does not know.
pub fn read(text: &str) -> Result<Vec<serde_json::Value>, Error> {
    use serde::Deserialize as _;
    let mut values = vec![];
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = serde_yaml::Value::deserialize(document)
            .and_then(serde_yaml::from_value::<serde_json::Value>)
            .map_err(|error| Error {
                document: index + 1,
                message: error.to_string(),
            })?;
        if !value.is_null() {
            fields::check(&value).map_err(|message| Error {
                document: index + 1,
                message,
            })?;
            values.push(value);
        }
    }
    Ok(values)
}

/// Reads one typed object from a JSON value, naming the field that is wrong.
///
/// # Errors
///
/// When a field is missing, or of another type.
pub fn parse<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| Error {
        document: 1,
        message: error.to_string(),
    })
}

/// Prints a value as one YAML document.
///
/// # Panics
///
/// Never for values of this crate: their keys are strings.
#[must_use]
pub fn print<T: Serialize>(value: &T) -> String {
    let text = serde_yaml::to_string(value).expect("keys of our kinds are strings");
    // Readers of YAML 1.1 take it for a time unless it is quoted.
    text.replace(&format!(": {EPOCH}\n"), &format!(": \"{EPOCH}\"\n"))
}
