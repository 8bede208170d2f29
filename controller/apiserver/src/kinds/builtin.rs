//! The kinds that every server serves.

use serde_json::Value;

use super::{Operation, Resource};
use crate::status::Cause;

/// All built-in resources.
pub fn resources() -> Vec<Resource> {
    Vec::new()
}

/// Brings what a client wrote into the form that is kept, before pruning.
pub(super) fn normalise(_resource: &Resource, _object: &mut Value) {}

/// Rules of single built-in kinds.
pub(super) fn validate(_: &Resource, _: Operation, _: &Value, _: Option<&Value>) -> Vec<Cause> {
    Vec::new()
}
