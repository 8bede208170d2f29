//! What is said when somebody applies fields that others manage.

use super::entries::{Manager, Operation};
use super::path::{Step, printed};
use super::set::FieldSet;
use crate::status::{Cause, Details, Status};

/// A field that is applied and that somebody else manages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who manages it.
    pub manager: Manager,
    /// The field.
    pub path: Vec<Step>,
}

/// The set of the conflicts' fields.
pub(super) fn fields(conflicts: &[Conflict]) -> FieldSet {
    let mut set = FieldSet::default();
    conflicts.iter().for_each(|conflict| set.insert(&conflict.path));
    set
}

/// The refusal: 409 with a cause for each field.
pub fn refusal(conflicts: &[Conflict]) -> Status {
    let cause = |conflict: &Conflict| {
        let message = format!("conflict with {}", name(&conflict.manager));
        Cause::new("FieldManagerConflict", printed(&conflict.path), message)
    };
    Status::new(409, "Conflict", message(conflicts)).with_details(Details {
        causes: conflicts.iter().map(cause).collect(),
        ..Details::default()
    })
}

fn message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        let manager = name(&only.manager);
        return format!(
            "Apply failed with 1 conflict: conflict with {manager}: {}",
            printed(&only.path)
        );
    }
    let mut managers: Vec<String> = conflicts.iter().map(|conflict| name(&conflict.manager)).collect();
    managers.sort();
    managers.dedup();
    let mut lines = Vec::new();
    for manager in managers {
        lines.push(format!("conflicts with {manager}:"));
        let own = conflicts
            .iter()
            .filter(|conflict| name(&conflict.manager) == manager);
        lines.extend(own.map(|conflict| format!("- {}", printed(&conflict.path))));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}

/// A manager as messages name them.
fn name(manager: &Manager) -> String {
    let mut name = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        name += &format!(" with subresource {:?}", manager.subresource);
    }
    if manager.operation == Operation::Update {
        name += &format!(" using {}", manager.api_version);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn conflict(name: &str, operation: Operation, subresource: &str, field: &str) -> Conflict {
        Conflict {
            manager: Manager {
                name: name.to_owned(),
                operation,
                api_version: "apps/v1".to_owned(),
                subresource: subresource.to_owned(),
            },
            path: vec![Step::field("spec"), Step::field(field)],
        }
    }

    #[test]
    fn the_texts_are_those_of_kubernetes() {
        let one = refusal(&[conflict("me", Operation::Apply, "", "replicas")]);
        assert_eq!(
            one.message,
            "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas"
        );
        assert_eq!(
            one.to_value()["details"]["causes"],
            json!([{"reason": "FieldManagerConflict", "message": "conflict with \"me\"", "field": ".spec.replicas"}])
        );
        let many = refusal(&[
            conflict("me", Operation::Apply, "", "replicas"),
            conflict("hpa", Operation::Update, "scale", "replicas"),
            conflict("me", Operation::Apply, "", "paused"),
        ]);
        assert_eq!(
            many.message,
            "Apply failed with 3 conflicts: conflicts with \"hpa\" with subresource \"scale\" using apps/v1:\n- .spec.replicas\n\
             conflicts with \"me\":\n- .spec.replicas\n- .spec.paused"
        );
    }
}
