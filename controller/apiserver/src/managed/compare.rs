//! What changed between two states of an object, field by field.

use std::collections::BTreeMap;

use serde_json::Value;

use super::path::Step;
use super::set::FieldSet;
use super::typed::{self, Shape, entries, entry_schema, is_hollow, item_step, items, same, shapes};
use crate::schema::Schema;

/// The fields in which two states of an object differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Fields that only the first has.
    pub removed: FieldSet,
    /// Fields that both have, with different values.
    pub modified: FieldSet,
    /// Fields that only the second has.
    pub added: FieldSet,
}

impl Comparison {
    /// Compares two states of an object.
    pub fn of(schema: &Schema, left: &Value, right: &Value) -> Self {
        let mut walk = Walk {
            path: Vec::new(),
            found: Self::default(),
        };
        walk.node(schema, Some(left), Some(right));
        walk.found
    }

    /// The same without what is below these fields.
    #[must_use]
    pub fn without(self, ignored: &FieldSet) -> Self {
        if ignored.is_empty() {
            return self;
        }
        Self {
            removed: self.removed.without_trees(ignored),
            modified: self.modified.without_trees(ignored),
            added: self.added.without_trees(ignored),
        }
    }

    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// What the second state sets: modified and added.
    pub fn set(&self) -> FieldSet {
        self.modified.clone().union(&self.added)
    }
}

struct Walk {
    path: Vec<Step>,
    found: Comparison,
}

impl Walk {
    fn node(&mut self, schema: &Schema, left: Option<&Value>, right: Option<&Value>) {
        let (of_left, of_right) = shapes(schema, left, right);
        let mut is_leaf = false;
        if !of_left.is_like(&of_right) {
            self.shaped(of_left, schema, left, right);
        }
        is_leaf |= self.shaped(of_right, schema, left, right);
        if !is_leaf {
            match (left, right) {
                (None, Some(_)) => self.found.added.insert(&self.path),
                (Some(_), None) => self.found.removed.insert(&self.path),
                _ => {}
            }
        }
    }

    /// Compares as `shape`; says whether it took the place for one field.
    fn shaped(
        &mut self,
        shape: Shape<'_>,
        schema: &Schema,
        left: Option<&Value>,
        right: Option<&Value>,
    ) -> bool {
        if shape.is_leaf() || is_hollow(left) && is_hollow(right) {
            self.leaf(left, right);
            return true;
        }
        match shape {
            Shape::Map => self.map(schema, left, right),
            Shape::List { keys, items } => self.list(keys, items, left, right),
            Shape::Leaf => {}
        }
        false
    }

    fn leaf(&mut self, left: Option<&Value>, right: Option<&Value>) {
        match (left, right) {
            (None, Some(_)) => self.found.added.insert(&self.path),
            (Some(_), None) => self.found.removed.insert(&self.path),
            (Some(left), Some(right)) if !same(left, right) => self.found.modified.insert(&self.path),
            _ => {}
        }
    }

    fn below(&mut self, step: Step, schema: &Schema, left: Option<&Value>, right: Option<&Value>) {
        self.path.push(step);
        self.node(schema, left, right);
        self.path.pop();
    }

    fn map(&mut self, schema: &Schema, left: Option<&Value>, right: Option<&Value>) {
        let (left, right) = (entries(left), entries(right));
        for (name, value) in left.into_iter().flatten() {
            let other = right.and_then(|right| right.get(name));
            if other != Some(value)
                && let Some(child) = entry_schema(schema, name)
            {
                self.below(Step::field(name), child, Some(value), other);
            }
        }
        for (name, value) in right.into_iter().flatten() {
            if left.is_none_or(|left| !left.contains_key(name))
                && let Some(child) = entry_schema(schema, name)
            {
                self.below(Step::field(name), child, None, Some(value));
            }
        }
    }

    fn list(&mut self, keys: &[String], schema: &Schema, left: Option<&Value>, right: Option<&Value>) {
        let (left, right) = (
            by_step(keys, schema, items(left)),
            by_step(keys, schema, items(right)),
        );
        let steps: Vec<&Step> = left
            .keys()
            .chain(right.keys().filter(|step| !left.contains_key(step)))
            .collect();
        for step in steps {
            let of_left = left.get(step).map_or(&[][..], Vec::as_slice);
            let of_right = right.get(step).map_or(&[][..], Vec::as_slice);
            self.item(step, schema, of_left, of_right);
        }
    }

    /// One item, which stands in each list once, or never, or several times: then it is one field.
    fn item(&mut self, step: &Step, schema: &Schema, left: &[&Value], right: &[&Value]) {
        let mut path = self.path.clone();
        path.push(step.clone());
        match (left, right) {
            ([left], [right]) if left == right => {}
            ([] | [_], [] | [_]) => {
                self.below(
                    step.clone(),
                    schema,
                    left.first().copied(),
                    right.first().copied(),
                );
            }
            ([_, _, ..], [_, _, ..]) => {
                let equal = left.len() == right.len()
                    && left.iter().zip(right).all(|(left, right)| same(left, right));
                if !equal {
                    self.found.modified.insert(&path);
                }
            }
            ([_, _, ..], _) => {
                if let Some(right) = right.first() {
                    self.below(step.clone(), schema, None, Some(right));
                }
                self.found.removed.insert(&path);
            }
            (_, _) => {
                if let Some(left) = left.first() {
                    self.below(step.clone(), schema, Some(left), None);
                }
                self.found.added.insert(&path);
            }
        }
    }
}

/// Items by their steps. Items that cannot be told apart are nobody's: stored objects have none.
fn by_step<'a>(keys: &[String], schema: &Schema, items: &'a [Value]) -> BTreeMap<Step, Vec<&'a Value>> {
    let mut found: BTreeMap<Step, Vec<&Value>> = BTreeMap::new();
    for item in items {
        if let Ok(step) = item_step(keys, schema, item) {
            found.entry(step).or_default().push(item);
        }
    }
    found
}

/// The fields that a configuration names: leaves, entries of maps and items of lists, but not the declared fields above them.
pub fn named_fields(schema: &Schema, config: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(schema, config, &mut Vec::new(), &mut set);
    set
}

fn collect(schema: &Schema, value: &Value, path: &mut Vec<Step>, set: &mut FieldSet) {
    match typed::shape(schema, value) {
        Shape::Leaf => set.insert(path),
        Shape::Map => {
            for (name, value) in entries(Some(value)).into_iter().flatten() {
                let Some(child) = entry_schema(schema, name) else {
                    continue;
                };
                path.push(Step::field(name));
                collect(child, value, path, set);
                let declared = schema.properties.contains_key(name);
                let hollow = value.is_null() || value.as_object().is_some_and(|fields| fields.is_empty());
                if hollow || !declared {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Shape::List { keys, items: schema } => {
            for (step, values) in by_step(keys, schema, items(Some(value))) {
                path.push(step);
                if let [only] = values.as_slice() {
                    collect(schema, only, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
    }
}
