//! A set of fields: the content of one entry of `metadata.managedFields`.
//!
//! A field may be in the set itself (a member), or only on the way to one. The algebra treats the two apart: taking a field away does not
//! take away what lies below it, unless that is what [`FieldSet::without_trees`] is for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::Step;
use super::typed;
use crate::schema::Schema;

/// A set of paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<Step, Node>,
}

/// What the set holds at one step. Never empty: it is a member or has something below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Puts a path into the set. The empty path is in no set.
    pub fn insert(&mut self, path: &[Step]) {
        let Some((last, above)) = path.split_last() else {
            return;
        };
        let mut place = self;
        for step in above {
            place = &mut place.nodes.entry(step.clone()).or_default().below;
        }
        place.nodes.entry(last.clone()).or_default().member = true;
    }

    /// Whether the path is in the set.
    pub fn has(&self, path: &[Step]) -> bool {
        match path {
            [] => false,
            [last] => self.nodes.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.nodes.get(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    /// Whether the single step is in the set.
    pub fn has_step(&self, step: &Step) -> bool {
        self.nodes.get(step).is_some_and(|node| node.member)
    }

    /// What the set holds below a step.
    pub fn below(&self, step: &Step) -> Option<&Self> {
        self.nodes
            .get(step)
            .map(|node| &node.below)
            .filter(|below| !below.is_empty())
    }

    /// Every path in the set; a field before those below it, and all members of a level before anything deeper, as in
    /// Kubernetes' lists of conflicts.
    pub fn paths(&self) -> Vec<Vec<Step>> {
        let mut paths = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut Vec<Step>, paths: &mut Vec<Vec<Step>>) {
        for (step, _) in self.nodes.iter().filter(|(_, node)| node.member) {
            let mut path = prefix.clone();
            path.push(step.clone());
            paths.push(path);
        }
        for (step, node) in &self.nodes {
            prefix.push(step.clone());
            node.below.collect_paths(prefix, paths);
            prefix.pop();
        }
    }

    /// What is in this set or the other.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (step, theirs) in &other.nodes {
            match self.nodes.get_mut(step) {
                Some(own) => {
                    own.member |= theirs.member;
                    own.below = std::mem::take(&mut own.below).union(&theirs.below);
                }
                None => {
                    self.nodes.insert(step.clone(), theirs.clone());
                }
            }
        }
        self
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let shared = self.nodes.iter().filter_map(|(step, own)| {
            let theirs = other.nodes.get(step)?;
            let node = Node {
                member: own.member && theirs.member,
                below: own.below.intersection(&theirs.below),
            };
            (!node.is_empty()).then(|| (step.clone(), node))
        });
        Self {
            nodes: shared.collect(),
        }
    }

    /// What is in this set but not in the other.
    #[must_use]
    pub fn difference(mut self, other: &Self) -> Self {
        self.take_away(other, false);
        self
    }

    /// What is in this set and neither in the other nor anywhere below one of its members.
    #[must_use]
    pub fn without_trees(mut self, other: &Self) -> Self {
        self.take_away(other, true);
        self
    }

    fn take_away(&mut self, other: &Self, with_trees: bool) {
        if other.is_empty() {
            return;
        }
        self.nodes.retain(|step, own| {
            let Some(theirs) = other.nodes.get(step) else {
                return true;
            };
            if theirs.member {
                if with_trees {
                    return false;
                }
                own.member = false;
            }
            own.below.take_away(&theirs.below, with_trees);
            !own.is_empty()
        });
    }

    /// The set in which every declared field of an object that has something below it is a member, too: what removing everything
    /// below such a field should leave is nothing, where a map's or a list's own place is somebody's to keep.
    #[must_use]
    pub fn with_declared_fields(&self, schema: &Schema) -> Self {
        let nodes = self.nodes.iter().map(|(step, node)| {
            let declared = matches!(step, Step::Field(name) if schema.properties.contains_key(name.as_str()));
            let below = match typed::schema_at(schema, step) {
                Some(child) => node.below.with_declared_fields(child),
                None => node.below.clone(),
            };
            let member = node.member || declared && !node.below.is_empty();
            (step.clone(), Node { member, below })
        });
        Self {
            nodes: nodes.collect(),
        }
    }

    /// The set for a schema in which what used to be merged may be replaced as a whole now: fields below such a place give way to it.
    #[must_use]
    pub fn fitted_to(self, schema: &Schema) -> Self {
        let nodes = self.nodes.into_iter().map(|(step, mut node)| {
            if let Some(child) = typed::schema_at(schema, &step)
                && !node.below.is_empty()
            {
                if typed::is_declared_atomic(child) {
                    node = Node {
                        member: true,
                        below: Self::default(),
                    };
                } else {
                    node.below = node.below.fitted_to(child);
                }
            }
            (step, node)
        });
        Self {
            nodes: nodes.collect(),
        }
    }

    /// The set as `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut fields = Map::new();
        for (step, node) in &self.nodes {
            let mut below = node.below.to_value();
            if let (true, false, Value::Object(inner)) = (node.member, node.below.is_empty(), &mut below) {
                inner.shift_insert(0, ".".to_owned(), Value::Object(Map::new()));
            }
            fields.insert(step.encoded(), below);
        }
        Value::Object(fields)
    }

    /// The set of a `fieldsV1`; `None` when it is none. Steps of a kind that is not known are left out, as Kubernetes does.
    pub fn of_value(value: &Value) -> Option<Self> {
        let mut nodes = BTreeMap::new();
        for (name, below) in value.as_object()? {
            if name == "." {
                continue;
            }
            let Some(step) = Step::decoded(name) else {
                if name.get(1..2) == Some(":") && !matches!(name.get(..1), Some("f" | "k" | "v" | "i")) {
                    continue;
                }
                return None;
            };
            let inner = below.as_object()?;
            let node = Node {
                member: inner.is_empty() || inner.contains_key("."),
                below: Self::of_value(below)?,
            };
            if !node.is_empty() {
                nodes.insert(step, node);
            }
        }
        Some(Self { nodes })
    }
}

impl<'a> FromIterator<&'a [&'a str]> for FieldSet {
    /// A set of paths of plain fields.
    fn from_iter<I: IntoIterator<Item = &'a [&'a str]>>(paths: I) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<Step> = path.iter().map(|name| Step::field(*name)).collect();
            set.insert(&path);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn set(value: Value) -> FieldSet {
        FieldSet::of_value(&value).expect("it is a set")
    }

    #[test]
    fn a_set_is_read_and_written_as_kubernetes_has_it() {
        let value = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}}}}});
        let read = set(value.clone());
        assert!(read.has(&[Step::field("metadata"), Step::field("labels")]));
        assert!(!read.has(&[Step::field("metadata")]));
        assert_eq!(read.to_value(), value);
        assert_eq!(set(json!({"f:a": {".": {}}})).to_value(), json!({"f:a": {}}));
        assert_eq!(FieldSet::of_value(&json!({"f:a": 1})), None);
    }

    #[test]
    fn taking_a_field_away_leaves_what_is_below_unless_trees_are_taken() {
        let all = set(json!({"f:a": {".": {}, "f:b": {}}}));
        let a = set(json!({"f:a": {}}));
        assert_eq!(all.clone().difference(&a).to_value(), json!({"f:a": {"f:b": {}}}));
        assert!(all.without_trees(&a).is_empty());
    }

    /// The model: a set of printed paths.
    fn model(set: &FieldSet) -> BTreeSet<Vec<Step>> {
        set.paths().into_iter().collect()
    }

    fn any_set() -> impl Strategy<Value = FieldSet> {
        let step = prop_oneof!["[ab]".prop_map(Step::field), (0_u64..2).prop_map(Step::Index)];
        let path = proptest::collection::vec(step, 1..4);
        proptest::collection::vec(path, 0..8).prop_map(|paths| {
            let mut set = FieldSet::default();
            paths.iter().for_each(|path| set.insert(path));
            set
        })
    }

    proptest! {
        #[test]
        fn the_algebra_is_that_of_sets_of_paths(left in any_set(), right in any_set()) {
            let (a, b) = (model(&left), model(&right));
            prop_assert_eq!(model(&left.clone().union(&right)), a.union(&b).cloned().collect());
            prop_assert_eq!(model(&left.intersection(&right)), a.intersection(&b).cloned().collect());
            prop_assert_eq!(model(&left.clone().difference(&right)), a.difference(&b).cloned().collect());
            let kept = a.iter().filter(|path| !b.iter().any(|other| path.starts_with(other))).cloned().collect();
            prop_assert_eq!(model(&left.clone().without_trees(&right)), kept);
            prop_assert!(a.iter().all(|path| left.has(path)));
            prop_assert_eq!(FieldSet::of_value(&left.to_value()), Some(left));
        }
    }
}
