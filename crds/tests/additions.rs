//! Kinds change by addition only: what was ever there stays, with its type, and nothing becomes required of objects that
//! were written before.
//!
//! What was there stands in `additions.txt`, a line for each field. `UPDATE_FIELDS=1 cargo test -p crds --test additions` adds
//! what is new, once the rules hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
};

use serde_json::Value;

/// What is known of a field.
#[derive(Clone, Debug, PartialEq)]
struct Field {
    kind: String,
    required: bool,
    default: String,
    values: BTreeSet<String>,
}

impl Field {
    fn print(&self, path: &str) -> String {
        let Self {
            kind,
            required,
            default,
            values,
        } = self;
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let required = if *required { "required" } else { "optional" };
        format!("{path}\t{kind}\t{required}\t{default}\t{}", values.join("|"))
    }

    fn parse(line: &str) -> (String, Self) {
        let mut columns = line.split('\t').map(str::to_owned);
        let mut column = || columns.next().expect("five columns");
        let path = column();
        let field = Self {
            kind: column(),
            required: column() == "required",
            default: column(),
            values: column()
                .split('|')
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        (path, field)
    }
}

/// Every field below a schema.
fn walk(path: &str, schema: &Value, required: bool, fields: &mut BTreeMap<String, Field>) {
    let text = |name: &str| schema[name].as_str().unwrap_or_default();
    let kind = match (text("type"), text("format")) {
        ("", _) => "any".to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, format) => format!("{kind} {format}"),
    };
    let values = schema["enum"].as_array().into_iter().flatten();
    let field = Field {
        kind,
        required,
        default: schema.get("default").map(Value::to_string).unwrap_or_default(),
        values: values.map(Value::to_string).collect(),
    };
    fields.insert(path.to_owned(), field);
    let demanded: BTreeSet<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(
            &format!("{path}.{name}"),
            child,
            demanded.contains(name.as_str()),
            fields,
        );
    }
    for (name, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(child) = schema.get(name).filter(|child| child.is_object()) {
            walk(&format!("{path}{suffix}"), child, false, fields);
        }
    }
}

fn present() -> BTreeMap<String, Field> {
    let mut fields = BTreeMap::new();
    for definition in crds::definitions() {
        for version in &definition.spec.versions {
            let root = format!("{}/{}", definition.spec.names.plural, version.name);
            let schema = serde_json::to_value(&version.schema).expect("a schema is JSON");
            walk(&root, &schema["openAPIV3Schema"], false, &mut fields);
        }
    }
    fields
}

/// What the change from `before` to `after` breaks.
fn broken(before: &BTreeMap<String, Field>, after: &BTreeMap<String, Field>) -> Vec<String> {
    let mut found = vec![];
    for (path, old) in before {
        let Some(new) = after.get(path) else {
            found.push(format!("{path} is gone"));
            continue;
        };
        if new.kind != old.kind {
            found.push(format!("{path} was {} and is {}", old.kind, new.kind));
        }
        if new.required && !old.required {
            found.push(format!("{path} was optional and is required"));
        }
        if new.default != old.default {
            found.push(format!(
                "{path} had the default {:?} and has {:?}",
                old.default, new.default
            ));
        }
        if !new.values.is_superset(&old.values) || (old.values.is_empty() && !new.values.is_empty()) {
            found.push(format!("{path} takes fewer values"));
        }
    }
    for (path, new) in after.iter().filter(|(path, _)| !before.contains_key(*path)) {
        let parent = path.rfind('.').map_or("", |end| &path[..end]);
        if new.required && before.contains_key(parent) {
            found.push(format!(
                "{path} is new, and required where {parent} was there before"
            ));
        }
    }
    found
}

#[test]
fn what_was_there_stays_and_nothing_new_is_required() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/additions.txt");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let (before, after) = (text.lines().map(Field::parse).collect(), present());
    assert_eq!(broken(&before, &after), [""; 0]);
    if env::var_os("UPDATE_FIELDS").is_some() {
        let lines = after.iter().map(|(path, field)| field.print(path) + "\n");
        fs::write(&file, lines.collect::<String>()).expect("the list is written");
        return;
    }
    let unknown: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert_eq!(
        unknown,
        [""; 0],
        "new fields: UPDATE_FIELDS=1 adds them to {}",
        file.display()
    );
}

#[test]
fn what_breaks_older_objects_or_clients_is_found() {
    let field = |kind: &str, required, values: &[&str]| Field {
        kind: kind.to_owned(),
        required,
        default: String::new(),
        values: values.iter().map(ToString::to_string).collect(),
    };
    let kinds = |fields: &[(&str, Field)]| -> BTreeMap<String, Field> {
        let fields = fields.iter().cloned();
        fields.map(|(path, field)| (path.to_owned(), field)).collect()
    };
    let before = kinds(&[
        ("a", field("object", false, &[])),
        ("a.b", field("string", false, &["x", "y"])),
    ]);
    let with = |b: Field, more: &[(&str, Field)]| {
        let mut after = kinds(more);
        after.extend(kinds(&[("a", field("object", false, &[])), ("a.b", b)]));
        broken(&before, &after)
    };
    let same = || field("string", false, &["x", "y"]);
    assert_eq!(with(same(), &[("a.c", field("string", false, &[]))]), [""; 0]);
    assert_eq!(with(field("string", false, &["x", "y", "z"]), &[]), [""; 0]);
    let new = [
        ("a.c", field("object", false, &[])),
        ("a.c.d", field("string", true, &[])),
    ];
    assert_eq!(
        with(same(), &new),
        [""; 0],
        "required of what nobody could write before"
    );
    assert_eq!(with(field("integer", false, &["x", "y"]), &[]).len(), 1);
    assert_eq!(with(field("string", true, &["x", "y"]), &[]).len(), 1);
    assert_eq!(with(field("string", false, &["x"]), &[]).len(), 1);
    assert_eq!(with(same(), &[("a.c", field("string", true, &[]))]).len(), 1);
    assert_eq!(
        broken(&before, &kinds(&[("a", field("object", false, &[]))])).len(),
        1
    );
}
