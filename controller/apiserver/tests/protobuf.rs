//! Bodies in protobuf against the JSON of the same objects, both written by Kubernetes' own encoders (`protobuf/README.md`).

use std::fs;
use std::path::Path;

use apiserver::protobuf::decode;
use serde_json::Value;

/// Where upstream's objects lie.
fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protobuf"))
}

#[test]
fn every_field_of_upstreams_objects_is_decoded() {
    let mut compared = 0;
    for file in fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        let decoded = decode(&fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let expected: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        assert_same(&decoded, &expected, &path.file_stem().unwrap().to_string_lossy());
        compared += 1;
    }
    assert!(compared >= 5, "only {compared} objects were found");
}

/// Compares field by field, so that a difference is told by its place.
fn assert_same(decoded: &Value, expected: &Value, place: &str) {
    match (decoded, expected) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names = |fields: &serde_json::Map<String, Value>| {
                fields
                    .keys()
                    .cloned()
                    .collect::<std::collections::BTreeSet<String>>()
            };
            assert_eq!(names(ours), names(theirs), "fields of {place}");
            for (name, value) in theirs {
                assert_same(&ours[name], value, &format!("{place}.{name}"));
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "items of {place}");
            for (index, (one, other)) in ours.iter().zip(theirs).enumerate() {
                assert_same(one, other, &format!("{place}[{index}]"));
            }
        }
        (one, other) => assert_eq!(one, other, "{place}"),
    }
}
