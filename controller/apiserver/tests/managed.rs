//! Server-side apply against a second, simple model: an object is a table of paths and values, a manager a set of paths.

use std::collections::{BTreeMap, BTreeSet};

use apiserver::managed::apply::{Refusal, apply};
use apiserver::managed::entries::{Manager, Managers, Operation};
use apiserver::managed::path::{Step, printed};
use apiserver::managed::{Context, track};
use apiserver::schema::Schema;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Fields, a map, a list of objects by name and a set: each holds something of the name `base` that nobody ever touches.
fn schema() -> Schema {
    let text = json!({"type": "string"});
    Schema::parse(&json!({
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"base": text, "a": text, "b": text}},
            "map": {"type": "object", "additionalProperties": text},
            "items": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": text, "x": text, "y": text}},
            },
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
        },
    }))
}

/// What somebody writes: everything is optional.
#[derive(Debug, Clone, Default)]
struct Content {
    spec: BTreeMap<&'static str, u8>,
    map: BTreeMap<&'static str, u8>,
    items: BTreeMap<&'static str, BTreeMap<&'static str, u8>>,
    set: BTreeSet<&'static str>,
}

impl Content {
    fn object(&self) -> Value {
        let fields = |fields: &BTreeMap<&str, u8>| -> Map<String, Value> {
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_string().into()))
                .collect()
        };
        let items: Vec<Value> = self
            .items
            .iter()
            .map(|(name, content)| {
                let mut item = fields(content);
                item.insert("name".into(), (*name).into());
                Value::Object(item)
            })
            .collect();
        let mut object = json!({});
        for (name, part) in [
            ("spec", Value::Object(fields(&self.spec))),
            ("map", Value::Object(fields(&self.map))),
            ("items", items.into()),
            ("set", self.set.iter().copied().collect()),
        ] {
            if part != json!({}) && part != json!([]) {
                object[name] = part;
            }
        }
        object
    }

    fn with_base(mut self) -> Self {
        self.spec.insert("base", 0);
        self.map.insert("base", 0);
        self.items.insert("base", BTreeMap::new());
        self.set.insert("base");
        self
    }
}

/// An object as a table: leaves with their values, items of lists with none.
type Table = BTreeMap<String, Option<String>>;

fn table(object: &Value) -> Table {
    let mut table = Table::new();
    for part in ["spec", "map"] {
        for (name, value) in object[part].as_object().into_iter().flatten() {
            table.insert(format!(".{part}.{name}"), value.as_str().map(str::to_owned));
        }
    }
    for item in object["items"].as_array().into_iter().flatten() {
        let place = format!(".items[name={}]", item["name"]);
        table.insert(place.clone(), None);
        for (name, value) in item.as_object().into_iter().flatten() {
            table.insert(format!("{place}.{name}"), value.as_str().map(str::to_owned));
        }
    }
    for value in object["set"].as_array().into_iter().flatten() {
        table.insert(format!(".set[={value}]"), None);
    }
    table
}

/// The model.
#[derive(Debug, Clone, Default)]
struct Model {
    table: Table,
    owners: BTreeMap<(&'static str, Operation), BTreeSet<String>>,
}

impl Model {
    /// Applies; gives back the conflicts.
    fn apply(&mut self, name: &'static str, config: &Table, force: bool) -> BTreeSet<String> {
        let own = (name, Operation::Apply);
        let others_own = |owners: &BTreeMap<_, BTreeSet<String>>, path: &String| {
            owners
                .iter()
                .any(|(owner, paths)| *owner != own && paths.contains(path))
        };
        let changed: BTreeSet<String> = config
            .iter()
            .filter(|(path, value)| self.table.get(*path) != Some(*value))
            .map(|(path, _)| path.clone())
            .collect();
        let conflicts: BTreeSet<String> = changed
            .iter()
            .filter(|path| others_own(&self.owners, path))
            .cloned()
            .collect();
        if !force && !conflicts.is_empty() {
            return conflicts;
        }
        let before = self.owners.get(&own).cloned().unwrap_or_default();
        let gone: Vec<String> = before
            .into_iter()
            .filter(|path| !config.contains_key(path) && !others_own(&self.owners, path))
            .collect();
        self.table.extend(config.clone());
        let all: BTreeSet<String> = self.table.keys().cloned().collect();
        let is_below = |path: &str, gone: &str| {
            path.strip_prefix(gone)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.table
            .retain(|path, _| !gone.iter().any(|gone| is_below(path, gone)));
        for paths in self.owners.values_mut() {
            paths.retain(|path| !changed.contains(path));
            paths.retain(|path| self.table.contains_key(path) || !all.contains(path));
        }
        self.owners.insert(own, config.keys().cloned().collect());
        BTreeSet::new()
    }

    /// Puts a whole object in its place.
    fn put(&mut self, name: &'static str, new: Table) {
        let old = std::mem::replace(&mut self.table, new);
        let changed: BTreeSet<String> = self
            .table
            .iter()
            .filter(|(path, value)| old.get(*path) != Some(*value))
            .map(|(path, _)| path.clone())
            .collect();
        for paths in self.owners.values_mut() {
            paths.retain(|path| self.table.contains_key(path) && !changed.contains(path));
        }
        self.owners
            .entry((name, Operation::Update))
            .or_default()
            .extend(changed);
    }

    fn owners(&self) -> BTreeMap<(String, Operation), BTreeSet<String>> {
        let owners = self.owners.iter().filter(|(_, paths)| !paths.is_empty());
        owners
            .map(|((name, operation), paths)| (((*name).to_owned(), *operation), paths.clone()))
            .collect()
    }
}

/// Who owns what, without the places of whole lists and maps, of which the model knows nothing.
fn owners(managers: &Managers) -> BTreeMap<(String, Operation), BTreeSet<String>> {
    let mut owners = BTreeMap::new();
    for entry in &managers.0 {
        let paths: BTreeSet<String> = entry
            .fields
            .paths()
            .iter()
            .filter(|path| path.len() > 1)
            .map(|path| printed(path))
            .collect();
        if !paths.is_empty() {
            owners.insert((entry.manager.name.clone(), entry.manager.operation), paths);
        }
    }
    owners
}

fn context<'a>(schema: &'a Schema, name: &str, operation: Operation) -> Context<'a> {
    Context {
        schema,
        manager: Manager {
            name: name.to_owned(),
            operation,
            api_version: "edge.test/v1".to_owned(),
            subresource: String::new(),
        },
        ignored: Default::default(),
        built_in: false,
    }
}

#[derive(Debug, Clone)]
enum Act {
    Apply {
        who: &'static str,
        content: Content,
        force: bool,
    },
    Put {
        who: &'static str,
        content: Content,
    },
}

fn content() -> impl Strategy<Value = Content> {
    let name = || prop_oneof![Just("a"), Just("b")];
    let fields = || proptest::collection::btree_map(name(), 0_u8..2, 0..3);
    let parts = prop_oneof![Just("x"), Just("y")];
    let item = proptest::collection::btree_map(parts, 0_u8..2, 0..3);
    (
        fields(),
        fields(),
        proptest::collection::btree_map(name(), item, 0..3),
        proptest::collection::btree_set(name(), 0..3),
    )
        .prop_map(|(spec, map, items, set)| Content {
            spec,
            map,
            items,
            set,
        })
}

fn act() -> impl Strategy<Value = Act> {
    let who = || prop_oneof![Just("alice"), Just("bob")];
    prop_oneof![
        3 => (who(), content(), any::<bool>()).prop_map(|(who, content, force)| Act::Apply { who, content, force }),
        1 => (who(), content()).prop_map(|(who, content)| Act::Put { who, content: content.with_base() }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_there_and_who_owns_it_is_as_in_the_model(acts in proptest::collection::vec(act(), 1..12)) {
        let schema = schema();
        let mut object = Content::default().with_base().object();
        let base = context(&schema, "base", Operation::Update);
        let mut managers = track::update(&base, None, &object, Managers::default(), Timestamp::UNIX_EPOCH);
        let mut model = Model::default();
        model.put("base", table(&object));
        for act in acts {
            match &act {
                Act::Put { who, content } => {
                    let new = content.object();
                    let context = context(&schema, who, Operation::Update);
                    managers = track::update(&context, Some(&object), &new, managers, Timestamp::UNIX_EPOCH);
                    object = new;
                    model.put(who, table(&object));
                }
                Act::Apply { who, content, force } => {
                    let config = content.object();
                    let context = context(&schema, who, Operation::Apply);
                    let applied = apply(&context, Some(&object), managers.clone(), &config, *force, Timestamp::UNIX_EPOCH);
                    let expected = model.apply(who, &table(&config), *force);
                    match applied {
                        Ok(applied) => {
                            prop_assert!(expected.is_empty(), "{act:?} conflicts over {expected:?}");
                            object = applied.object;
                            managers = applied.managers;
                        }
                        Err(Refusal::Conflicts(conflicts)) => {
                            let found: BTreeSet<String> =
                                conflicts.iter().map(|conflict| printed(&conflict.path)).collect();
                            prop_assert_eq!(found, expected);
                        }
                        Err(Refusal::Unfit(why)) => prop_assert!(false, "{act:?} does not fit: {why}"),
                    }
                }
            }
            prop_assert_eq!(table(&object), model.table.clone(), "after {:?}", act);
            prop_assert_eq!(owners(&managers), model.owners(), "after {:?}", act);
            let again = Managers::of_value(&managers.to_value().unwrap_or_default()).expect("it is what was written");
            prop_assert_eq!(owners(&again), owners(&managers));
        }
    }
}

fn applied(
    schema: &Schema,
    who: &str,
    live: Option<(&Value, Managers)>,
    config: Value,
    force: bool,
) -> Result<(Value, Managers), Refusal> {
    let context = context(schema, who, Operation::Apply);
    let (live, managers) = live.map_or((None, Managers::default()), |(live, managers)| {
        (Some(live), managers)
    });
    apply(&context, live, managers, &config, force, Timestamp::UNIX_EPOCH)
        .map(|applied| (applied.object, applied.managers))
}

fn fields(managers: &Managers, who: &str) -> Value {
    let entry = managers.0.iter().find(|entry| entry.manager.name == who);
    entry.map_or(Value::Null, |entry| entry.fields.to_value())
}

/// A deployment-like kind: a keyed list with two keys, an atomic list and an atomic map.
fn workload() -> Schema {
    Schema::parse(&json!({
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {
                "replicas": {"type": "integer"},
                "selector": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
                "args": {"type": "array", "items": {"type": "string"}},
                "ports": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                    "items": {"type": "object", "properties": {
                        "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"},
                    }},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }},
        },
    }))
}

#[test]
fn a_config_names_leaves_items_and_whole_atoms() {
    let config = json!({"spec": {
        "replicas": 1, "selector": {"a": "b"}, "args": ["x", "y"], "ports": [{"port": 80, "name": "http"}],
        "free": {"deep": {"list": [1], "empty": {}}},
    }});
    let (object, managers) =
        applied(&workload(), "me", None, config.clone(), false).expect("nobody else is there");
    assert_eq!(object, config);
    assert_eq!(
        fields(&managers, "me"),
        json!({"f:spec": {
            "f:args": {},
            "f:free": {"f:deep": {".": {}, "f:empty": {}, "f:list": {}}},
            "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}}},
            "f:replicas": {},
            "f:selector": {},
        }})
    );
}

#[test]
fn the_same_value_is_owned_together_and_goes_with_its_last_owner() {
    let schema = workload();
    let config = json!({"spec": {"replicas": 3, "args": ["x"]}});
    let (one, managers) = applied(&schema, "one", None, config.clone(), false).expect("it is new");
    let (both, managers) =
        applied(&schema, "two", Some((&one, managers)), config, false).expect("it is the same");
    assert_eq!(both, one);
    let without = json!({"spec": {"replicas": 3}});
    let (still, managers) =
        applied(&schema, "one", Some((&both, managers)), without.clone(), false).expect("no conflict");
    assert_eq!(still["spec"]["args"], json!(["x"]), "the other still owns it");
    let (gone, managers) =
        applied(&schema, "two", Some((&still, managers)), without, false).expect("no conflict");
    assert_eq!(gone, json!({"spec": {"replicas": 3}}));
    let refused = applied(
        &schema,
        "two",
        Some((&gone, managers.clone())),
        json!({"spec": {"replicas": 4}}),
        false,
    );
    let Err(Refusal::Conflicts(conflicts)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(printed(&conflicts[0].path), ".spec.replicas");
    let (forced, managers) = applied(
        &schema,
        "two",
        Some((&gone, managers)),
        json!({"spec": {"replicas": 4}}),
        true,
    )
    .expect("forced");
    assert_eq!(forced["spec"]["replicas"], 4);
    assert_eq!(
        fields(&managers, "one"),
        Value::Null,
        "who owns nothing is forgotten"
    );
}

#[test]
fn items_keep_the_order_of_the_config_among_those_of_others() {
    let schema = workload();
    let ports = |numbers: &[u16]| -> Value { numbers.iter().map(|port| json!({"port": port})).collect() };
    for (live, config, expected) in [
        (&[1, 2, 3][..], &[3, 1][..], &[2, 3, 1][..]),
        (&[1, 2], &[9, 2], &[1, 9, 2]),
        (&[1, 7, 2, 8, 3], &[2, 7], &[1, 2, 8, 3, 7]),
        (&[], &[5, 4], &[5, 4]),
    ] {
        let base = json!({"spec": {"ports": ports(live)}});
        let context = context(&schema, "base", Operation::Update);
        let managers = track::update(&context, None, &base, Managers::default(), Timestamp::UNIX_EPOCH);
        let config = json!({"spec": {"ports": ports(config)}});
        let (merged, _) =
            applied(&schema, "me", Some((&base, managers)), config, false).expect("no conflict");
        assert_eq!(merged["spec"]["ports"], ports(expected), "{live:?}");
    }
}

#[test]
fn an_object_that_nobody_manages_is_taken_over_from_before() {
    let schema = workload();
    let live = json!({"spec": {"replicas": 1, "args": ["x"]}});
    let refused = applied(
        &schema,
        "me",
        Some((&live, Managers::default())),
        json!({"spec": {"replicas": 2}}),
        false,
    );
    let Err(Refusal::Conflicts(conflicts)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(conflicts[0].manager.name, "before-first-apply");
    let same = json!({"spec": {"replicas": 1}});
    let (_, managers) =
        applied(&schema, "me", Some((&live, Managers::default())), same, false).expect("the same value");
    assert_eq!(
        fields(&managers, "before-first-apply"),
        json!({"f:spec": {".": {}, "f:args": {}, "f:replicas": {}}})
    );
}

#[test]
fn kubectl_takes_over_what_its_annotation_says_it_applied() {
    let mut schema = workload();
    let text = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let metadata = Schema::parse(&json!({"type": "object", "properties": {"annotations": text}}));
    schema.properties.insert("metadata".into(), metadata.into());
    for name in ["apiVersion", "kind"] {
        schema
            .properties
            .insert(name.into(), Schema::parse(&json!({"type": "string"})).into());
    }
    let last = json!({"apiVersion": "edge.test/v1", "kind": "W", "spec": {"replicas": 1}}).to_string();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let live =
        json!({"metadata": {"annotations": {annotation: last}}, "spec": {"replicas": 1, "args": ["x"]}});
    let by_hand = context(&schema, "kubectl-client-side-apply", Operation::Update);
    let managers = track::update(&by_hand, None, &live, Managers::default(), Timestamp::UNIX_EPOCH);

    let config = json!({"apiVersion": "edge.test/v1", "kind": "W", "spec": {"replicas": 2}});
    let other = applied(
        &schema,
        "other",
        Some((&live, managers.clone())),
        config.clone(),
        false,
    );
    assert!(matches!(other, Err(Refusal::Conflicts(_))), "only kubectl may");
    let (object, managers) =
        applied(&schema, "kubectl", Some((&live, managers)), config, false).expect("it was its own");
    assert_eq!(object["spec"]["replicas"], 2);
    assert_eq!(
        object["metadata"]["annotations"][annotation],
        "{\"apiVersion\":\"edge.test/v1\",\"kind\":\"W\",\"spec\":{\"replicas\":2}}\n"
    );
    let more = json!({"apiVersion": "edge.test/v1", "kind": "W", "spec": {"replicas": 2, "args": ["y"]}});
    let refused = applied(&schema, "kubectl", Some((&object, managers)), more, false);
    let Err(Refusal::Conflicts(conflicts)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].path, [Step::field("spec"), Step::field("args")]);
}

#[test]
fn fields_below_what_became_atomic_are_gathered_into_it() {
    let granular = schema();
    let live = json!({"map": {"a": "1", "b": "2"}});
    let (live, managers) = applied(&granular, "me", None, live, false).expect("it is new");
    let atomic = Schema::parse(&json!({
        "type": "object",
        "properties": {"map": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"}},
    }));
    let (object, managers) = applied(
        &atomic,
        "me",
        Some((&live, managers)),
        json!({"map": {"a": "1"}}),
        false,
    )
    .expect("no conflict");
    assert_eq!(object, json!({"map": {"a": "1"}}));
    assert_eq!(fields(&managers, "me"), json!({"f:map": {}}));
}
