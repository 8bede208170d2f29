//! Server-side apply: what a manager applies is what they manage, and what they no longer apply goes, unless somebody else manages it.

use jiff::Timestamp;
use serde_json::Value;

use super::compare::{Comparison, named_fields};
use super::conflict::{Conflict, fields};
use super::entries::{Entry, Manager, Managers, Operation};
use super::merge::{merge, remove};
use super::set::FieldSet;
use super::{Context, check, last_applied, strip, track};

/// Whose fields those are that were there before anybody's were recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Why something cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Others manage some of its fields.
    Conflicts(Vec<Conflict>),
    /// It does not fit the schema; the text says where.
    Unfit(String),
}

/// An object after an apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object, without its managers.
    pub object: Value,
    /// Its managers.
    pub managers: Managers,
}

/// Applies `config` to `live`, which `managers` manage (`None`: there is no such object yet). With `force`, fields that others manage are
/// taken from them.
///
/// # Errors
/// Conflicts, and configurations that do not fit the schema.
pub fn apply(
    context: &Context<'_>,
    live: Option<&Value>,
    managers: Managers,
    config: &Value,
    force: bool,
    now: Timestamp,
) -> Result<Applied, Refusal> {
    if let Some(why) = check::error(context.schema, config) {
        return Err(Refusal::Unfit(why));
    }
    let nothing = serde_json::json!({});
    let (live, managers) = match live {
        None => (&nothing, managers),
        Some(live) if managers.0.is_empty() => (live, before_first_apply(context, live, now)),
        Some(live) => (live, managers),
    };
    let mut applied = attempt(context, live, managers.clone(), config, force, now);
    let by_kubectl = context.manager.name == last_applied::KUBECTL;
    if let (Err(conflicts), true) = (&applied, by_kubectl)
        && let Some(allowed) = last_applied::own_fields(context, live)
    {
        let refused = fields(conflicts).difference(&allowed);
        applied = if refused.is_empty() {
            attempt(context, live, managers, config, true, now)
        } else {
            let is_refused = |conflict: &&Conflict| refused.has(&conflict.path);
            Err(conflicts.iter().filter(is_refused).cloned().collect())
        };
    }
    let mut applied = applied.map_err(Refusal::Conflicts)?;
    if by_kubectl {
        last_applied::bring_up_to_date(&mut applied.object, config);
    }
    Ok(applied)
}

fn before_first_apply(context: &Context<'_>, live: &Value, now: Timestamp) -> Managers {
    let manager = Manager {
        name: BEFORE_FIRST_APPLY.to_owned(),
        operation: Operation::Update,
        ..context.manager.clone()
    };
    track::write(
        context,
        &context.empty(live),
        live,
        Managers::default(),
        &manager,
        now,
    )
}

fn attempt(
    context: &Context<'_>,
    live: &Value,
    managers: Managers,
    config: &Value,
    force: bool,
    now: Timestamp,
) -> Result<Applied, Vec<Conflict>> {
    let mut managers = track::fitted(context, managers);
    let before = managers.take(&context.manager);
    let set = named_fields(context.schema, config).without_trees(&context.ignored);
    let merged = merge(context.schema, live, config);
    let object = match &before {
        Some(before) if !before.fields.clone().difference(&set).is_empty() => {
            prune(context, merged, &managers, &set, &before.fields)
        }
        _ => merged,
    };
    let comparison = Comparison::of(context.schema, live, &object).without(&context.ignored);
    settle_with_others(&mut managers, &comparison, force)?;
    let own = strip(set);
    if !own.is_empty() {
        let changed = object != *live;
        managers.0.push(Entry {
            manager: context.manager.clone(),
            fields: own,
            time: if changed {
                Some(now)
            } else {
                before.and_then(|before| before.time)
            },
        });
    }
    Ok(Applied { object, managers })
}

/// Takes the changed fields from all other managers, or says who has them.
fn settle_with_others(
    managers: &mut Managers,
    comparison: &Comparison,
    force: bool,
) -> Result<(), Vec<Conflict>> {
    if comparison.is_same() {
        return Ok(());
    }
    let set = comparison.set();
    let mut conflicts = Vec::new();
    for entry in &managers.0 {
        let paths = entry.fields.intersection(&set).paths();
        conflicts.extend(paths.into_iter().map(|path| Conflict {
            manager: entry.manager.clone(),
            path,
        }));
    }
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    for entry in &mut managers.0 {
        let fields = std::mem::take(&mut entry.fields);
        entry.fields = fields.difference(&set).difference(&comparison.removed);
    }
    managers.forget_empty();
    Ok(())
}

/// `merged` without what the manager applied before (`before`), does not apply any more (`now` is what they apply), and nobody else
/// manages.
fn prune(
    context: &Context<'_>,
    merged: Value,
    others: &Managers,
    now: &FieldSet,
    before: &FieldSet,
) -> Value {
    let schema = context.schema;
    let set_of = |value: Option<&Value>| match value {
        Some(value) => named_fields(schema, value).with_declared_fields(schema),
        None => FieldSet::default(),
    };
    let before = before.with_declared_fields(schema);
    let managed = others
        .0
        .iter()
        .fold(now.clone(), |all, entry| all.union(&entry.fields))
        .with_declared_fields(schema);
    let all = set_of(Some(&merged));
    // Without anything of before; then with what somebody manages; then with what was nobody's and only stood below.
    let without = remove(schema, &merged, &before);
    let kept = set_of(without.as_ref()).union(&managed);
    let with_owned = remove(schema, &merged, &all.clone().difference(&kept));
    let gone = all.difference(&set_of(with_owned.as_ref())).intersection(&before);
    remove(schema, &merged, &gone).unwrap_or(merged)
}
