//! Merging what is applied into what is there, and taking fields out of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::Step;
use super::set::FieldSet;
use super::typed::{Shape, entries, entry_schema, is_hollow, item_step, items, shape, shapes};
use crate::schema::Schema;

/// `config` merged over `live`: maps and lists with keys entry by entry, all else replaced. `config` has been checked
/// ([`super::check`]); items of lists stand in its order, those of others where they stood among them.
pub fn merge(schema: &Schema, live: &Value, config: &Value) -> Value {
    node(schema, Some(live), Some(config)).unwrap_or(Value::Null)
}

fn node(schema: &Schema, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let whole = || config.or(live).cloned();
    let (Some(live), Some(config)) = (live, config) else {
        return whole();
    };
    let (of_live, of_config) = shapes(schema, Some(live), Some(config));
    if of_config.is_leaf() || !of_live.is_like(&of_config) {
        return whole();
    }
    if is_hollow(Some(live)) && is_hollow(Some(config)) {
        return whole();
    }
    match of_config {
        Shape::Leaf => whole(),
        Shape::Map => Some(map(schema, entries(Some(live)), entries(Some(config)))),
        Shape::List { keys, items: schema } => {
            Some(list(keys, schema, items(Some(live)), items(Some(config))))
        }
    }
}

fn map(schema: &Schema, live: Option<&Map<String, Value>>, config: Option<&Map<String, Value>>) -> Value {
    let mut merged = live.cloned().unwrap_or_default();
    for (name, value) in config.into_iter().flatten() {
        let before = merged.get(name);
        let value = match entry_schema(schema, name) {
            Some(child) => node(child, before, Some(value)),
            None => Some(value.clone()),
        };
        if let Some(value) = value {
            merged.insert(name.clone(), value);
        }
    }
    Value::Object(merged)
}

/// Items of both lists. Those of `config` keep their order; an item that only `live` has stays where it stood between shared ones.
fn list(keys: &[String], schema: &Schema, live: &[Value], config: &[Value]) -> Value {
    let steps = |items: &[Value]| -> Vec<Option<Step>> {
        items
            .iter()
            .map(|item| item_step(keys, schema, item).ok())
            .collect()
    };
    let (live_steps, config_steps) = (steps(live), steps(config));
    let mut live_by_step: BTreeMap<&Step, Option<&Value>> = BTreeMap::new();
    for (step, item) in live_steps.iter().zip(live) {
        if let Some(step) = step {
            // An item that stands there twice is not merged with: it is replaced.
            live_by_step
                .entry(step)
                .and_modify(|found| *found = None)
                .or_insert(Some(item));
        }
    }
    let applied: BTreeSet<&Step> = config_steps.iter().flatten().collect();
    let is_applied = |step: &Option<Step>| step.as_ref().is_some_and(|step| applied.contains(step));
    let shared: Vec<&Step> = config_steps
        .iter()
        .flatten()
        .filter(|step| live_by_step.contains_key(step))
        .collect();
    let mut shared = shared.into_iter().peekable();
    let mut done: BTreeSet<&Step> = BTreeSet::new();
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut next = 0;
    for (step, item) in config_steps.iter().zip(config) {
        while next < live.len() && live_steps[next] != *step {
            let is_next_shared = live_steps[next].as_ref() == shared.peek().copied();
            if !is_applied(&live_steps[next]) {
                merged.push(live[next].clone());
            } else if is_next_shared && !live_steps[next].as_ref().is_some_and(|step| done.contains(step)) {
                break; // Its turn comes; what is applied before it goes first.
            }
            next += 1;
        }
        if next < live.len() && live_steps[next] == *step {
            next += 1;
        }
        if step.as_ref() == shared.peek().copied() {
            shared.next();
        }
        done.extend(step);
        let before = step
            .as_ref()
            .and_then(|step| live_by_step.get(step).copied().flatten());
        merged.extend(node(schema, before, Some(item)));
    }
    let rest = live.iter().zip(&live_steps).skip(next);
    merged.extend(
        rest.filter(|(_, step)| !is_applied(step))
            .map(|(item, _)| item.clone()),
    );
    Value::Array(merged)
}

/// `value` without the fields of `removed`; what lies below a removed field goes with it. Maps and lists that become empty by it go, too.
pub fn remove(schema: &Schema, value: &Value, removed: &FieldSet) -> Option<Value> {
    if removed.is_empty() || is_hollow(Some(value)) {
        return Some(value.clone());
    }
    match shape(schema, value) {
        Shape::Leaf => Some(value.clone()),
        Shape::Map => {
            let mut kept = Map::new();
            for (name, value) in entries(Some(value)).into_iter().flatten() {
                let step = Step::field(name);
                if !removed.has_step(&step) {
                    let value = match (removed.below(&step), entry_schema(schema, name)) {
                        (Some(below), Some(child)) => remove(child, value, below),
                        _ => Some(value.clone()),
                    };
                    kept.extend(value.map(|value| (name.clone(), value)));
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Shape::List { keys, items: schema } => {
            let mut kept = Vec::new();
            for item in items(Some(value)) {
                match item_step(keys, schema, item) {
                    Ok(step) if removed.has_step(&step) => {}
                    Ok(step) => match removed.below(&step) {
                        Some(below) => kept.extend(remove(schema, item, below)),
                        None => kept.push(item.clone()),
                    },
                    Err(_) => kept.push(item.clone()),
                }
            }
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
    }
}
