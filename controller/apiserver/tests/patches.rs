//! Patches of all formats against second, simple models: tables of what lies where, that share no code with ours.

use std::collections::{BTreeMap, BTreeSet};

use apiserver::patch::{Error, Format};
use apiserver::schema::ListMerge;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn name() -> impl Strategy<Value = String> {
    // A slash and a tilde have to be escaped in the paths of JSON patches.
    prop::sample::select(vec!["a", "b", "c/d", "e~f"]).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_i64..3).prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ]
}

/// Any document without nulls.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        scalar(),
        prop::collection::vec(scalar(), 0..3).prop_map(Value::Array)
    ];
    let nested = leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map(name(), inner, 0..3)
            .prop_map(|fields| Value::Object(Map::from_iter(fields)))
    });
    prop::collection::btree_map(name(), nested, 0..4).prop_map(|fields| Value::Object(Map::from_iter(fields)))
}

/// The merge patch that makes one document of another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return to.clone();
    };
    let mut patch = Map::new();
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    for (field, value) in new {
        match old.get(field) {
            Some(before) if before == value => {}
            // What is no object becomes one with all its fields.
            Some(before) => drop(patch.insert(field.clone(), difference(before, value))),
            None => drop(patch.insert(field.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}

const REPLACED: ListMerge = ListMerge::Replace;

fn whole_lists(_: &[String]) -> &'static ListMerge {
    &REPLACED
}

/// An operation of a JSON patch on a document of two levels.
#[derive(Debug, Clone)]
enum Operation {
    Add(String, String, i64),
    Replace(String, String, i64),
    Remove(String, String),
    Test(String, String, i64),
    Move(String, String, String),
    Copy(String, String, String),
}

fn operation() -> impl Strategy<Value = Operation> {
    let value = 0_i64..3;
    prop_oneof![
        (name(), name(), value.clone()).prop_map(|(a, b, v)| Operation::Add(a, b, v)),
        (name(), name(), value.clone()).prop_map(|(a, b, v)| Operation::Replace(a, b, v)),
        (name(), name()).prop_map(|(a, b)| Operation::Remove(a, b)),
        (name(), name(), value).prop_map(|(a, b, v)| Operation::Test(a, b, v)),
        (name(), name(), name()).prop_map(|(a, b, c)| Operation::Move(a, b, c)),
        (name(), name(), name()).prop_map(|(a, b, c)| Operation::Copy(a, b, c)),
    ]
}

type Table = BTreeMap<String, BTreeMap<String, Option<i64>>>;

impl Operation {
    fn to_json(&self) -> Value {
        let escaped = |text: &str| text.replace('~', "~0").replace('/', "~1");
        let path = |a: &str, b: &str| format!("/{}/{}", escaped(a), escaped(b));
        match self {
            Self::Add(a, b, v) => json!({"op": "add", "path": path(a, b), "value": v}),
            Self::Replace(a, b, v) => json!({"op": "replace", "path": path(a, b), "value": v}),
            Self::Remove(a, b) => json!({"op": "remove", "path": path(a, b)}),
            Self::Test(a, b, v) => json!({"op": "test", "path": path(a, b), "value": v}),
            Self::Move(a, b, to) => json!({"op": "move", "from": path(a, b), "path": path(a, to)}),
            Self::Copy(a, b, to) => json!({"op": "copy", "from": path(a, b), "path": path(a, to)}),
        }
    }

    /// What the operation does to a table; `None` when it does not fit.
    fn apply(&self, table: &mut Table) -> Option<()> {
        match self {
            Self::Add(a, b, v) => drop(table.get_mut(a)?.insert(b.clone(), Some(*v))),
            // As in Go: what is replaced, or copied, need not be there.
            Self::Replace(a, b, v) => drop(table.get_mut(a)?.insert(b.clone(), Some(*v))),
            Self::Remove(a, b) => drop(table.get_mut(a)?.remove(b)?),
            Self::Test(a, b, v) => {
                return (*table.get(a)?.get(b)? == Some(*v)).then_some(());
            }
            Self::Move(a, b, to) => {
                let value = table.get_mut(a)?.remove(b)?;
                table.get_mut(a)?.insert(to.clone(), value);
            }
            Self::Copy(a, b, to) => {
                let value = table.get(a)?.get(b).copied().flatten();
                table.get_mut(a)?.insert(to.clone(), value);
            }
        }
        Some(())
    }
}

/// What a strategic patch says of the item of a name.
#[derive(Debug, Clone)]
enum Item {
    Merge(BTreeMap<String, i64>),
    Delete,
}

const BY_NAME: &str = "name";

fn items_by_name(path: &[String]) -> &'static ListMerge {
    static KEYED: std::sync::LazyLock<ListMerge> =
        std::sync::LazyLock::new(|| ListMerge::ByKey(BY_NAME.to_owned()));
    static SCALARS: ListMerge = ListMerge::Scalars;
    match path {
        [one] if one == "items" => &KEYED,
        [one] if one == "tags" => &SCALARS,
        _ => &REPLACED,
    }
}

fn item(name: &str, fields: &BTreeMap<String, i64>) -> Value {
    let mut item = Map::from_iter(fields.iter().map(|(field, value)| (field.clone(), json!(value))));
    item.insert(BY_NAME.to_owned(), name.into());
    Value::Object(item)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_difference_makes_one_document_of_another(from in document(), to in document()) {
        let patch = difference(&from, &to);
        for format in [Format::Merge, Format::Strategic] {
            let patched = format.apply(&from, &patch, &whole_lists);
            prop_assert_eq!(patched.as_ref(), Ok(&to), "{:?} with {}", format, patch);
            // The same patch again changes nothing.
            prop_assert_eq!(format.apply(&to, &patch, &whole_lists), Ok(to.clone()));
        }
    }

    #[test]
    fn operations_of_a_json_patch_do_what_they_do_to_a_table(
        table in prop::collection::btree_map(name(), prop::collection::btree_map(name(), (0_i64..3).prop_map(Some), 0..3), 0..3),
        operations in prop::collection::vec(operation(), 0..6),
    ) {
        let patch: Value = operations.iter().map(Operation::to_json).collect();
        let patched = Format::Json.apply(&json!(table), &patch, &whole_lists);
        let mut expected = table.clone();
        let fits = operations.iter().all(|operation| operation.apply(&mut expected).is_some());
        if fits {
            prop_assert_eq!(patched, Ok(json!(expected)), "{}", patch);
        } else {
            prop_assert!(matches!(patched, Err(Error::Unprocessable(_))), "{} gives {:?}", patch, patched);
        }
    }

    #[test]
    fn items_of_a_strategic_patch_merge_by_their_names(
        live in prop::collection::btree_map(name(), prop::collection::btree_map("[x-z]", 0_i64..3, 0..3), 0..4),
        patch in prop::collection::btree_map(name(), prop_oneof![
            prop::collection::btree_map("[x-z]", 0_i64..3, 0..3).prop_map(Item::Merge),
            Just(Item::Delete),
        ], 0..4),
        tags in prop::collection::btree_set(0_i64..5, 0..4),
        more in prop::collection::btree_set(0_i64..5, 0..4),
    ) {
        let document = json!({
            "items": live.iter().map(|(name, fields)| item(name, fields)).collect::<Vec<_>>(), "tags": tags,
        });
        let listed = patch.iter().map(|(name, what)| match what {
            Item::Merge(fields) => item(name, fields),
            Item::Delete => json!({BY_NAME: name, "$patch": "delete"}),
        });
        let patch_document = json!({"items": listed.collect::<Vec<_>>(), "tags": more});
        let patched = Format::Strategic
            .apply(&document, &patch_document, &items_by_name)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;

        let mut expected = live.clone();
        for (name, what) in &patch {
            match what {
                Item::Merge(fields) => expected.entry(name.clone()).or_default().extend(fields.clone()),
                Item::Delete => drop(expected.remove(name)),
            }
        }
        let items = patched["items"].as_array().cloned().unwrap_or_default();
        let found: BTreeMap<String, Value> =
            items.iter().map(|item| (item[BY_NAME].as_str().unwrap().to_owned(), item.clone())).collect();
        prop_assert_eq!(found.len(), items.len(), "a name stands twice in {}", patched);
        let expected: BTreeMap<String, Value> =
            expected.iter().map(|(name, fields)| (name.clone(), item(name, fields))).collect();
        prop_assert_eq!(found, expected);
        let found: BTreeSet<i64> =
            patched["tags"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        prop_assert_eq!(found, tags.union(&more).copied().collect::<BTreeSet<i64>>());
    }
}
