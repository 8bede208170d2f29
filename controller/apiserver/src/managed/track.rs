//! Writes that are no applies: whoever changes a field manages it from then on, and nobody else does.

use jiff::Timestamp;
use serde_json::Value;

use super::compare::Comparison;
use super::entries::{Entry, Manager, Managers};
use super::{Context, strip};

/// The managers after a write that made `new` of `live` (`None` for a new object). `managers` are those that the object had, or those
/// that the client sent. An object that nobody manages stays so.
pub fn update(
    context: &Context<'_>,
    live: Option<&Value>,
    new: &Value,
    managers: Managers,
    now: Timestamp,
) -> Managers {
    match live {
        Some(_) if managers.0.is_empty() => managers,
        Some(live) => write(context, live, new, managers, &context.manager, now),
        None => write(context, &context.empty(new), new, managers, &context.manager, now),
    }
}

/// The managers after `manager` made `new` of `live`.
pub(super) fn write(
    context: &Context<'_>,
    live: &Value,
    new: &Value,
    managers: Managers,
    manager: &Manager,
    now: Timestamp,
) -> Managers {
    let comparison = Comparison::of(context.schema, live, new).without(&context.ignored);
    let mut managers = fitted(context, managers);
    let set = comparison.set();
    for entry in &mut managers.0 {
        let fields = std::mem::take(&mut entry.fields);
        entry.fields = fields.difference(&set).difference(&comparison.removed);
    }
    let own = strip(set);
    if !own.is_empty() {
        match managers.position(manager) {
            Some(place) => {
                let entry = &mut managers.0[place];
                entry.fields = std::mem::take(&mut entry.fields).union(&own);
                entry.time = Some(now);
            }
            None => managers.0.push(Entry {
                manager: manager.clone(),
                fields: own,
                time: Some(now),
            }),
        }
    }
    managers.forget_empty();
    managers.cap();
    managers
}

/// The managers under the schema as it is now.
pub(super) fn fitted(context: &Context<'_>, mut managers: Managers) -> Managers {
    for entry in &mut managers.0 {
        entry.fields = std::mem::take(&mut entry.fields).fitted_to(context.schema);
    }
    managers
}
