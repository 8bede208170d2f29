//! One column of a table: how it is described, and how its cell is found in an object.

use jiff::Timestamp;
use serde_json::Value;

/// A column after NAME.
#[derive(Debug, Clone)]
pub struct Column {
    /// Heading; kubectl prints it in upper case.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub value_type: String,
    /// Format of the value, such as `int32`; may be empty.
    pub format: String,
    /// For `kubectl get -o wide --help` and other programs.
    pub description: String,
    /// 0 is always shown, more only in wide output.
    pub priority: i64,
    /// Where the cell comes from.
    pub source: Source,
}

/// Where a cell comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A JSON path of `additionalPrinterColumns`.
    Path(String),
    /// A function of the object and the time, for built-in kinds.
    Computed(fn(&Value, Timestamp) -> Value),
}
