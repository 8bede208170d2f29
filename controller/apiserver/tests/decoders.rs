//! Whatever arrives is decoded or refused: no decoder panics, takes memory without bound, or disagrees with a second opinion.

use std::collections::BTreeMap;

use apiserver::go::syntax;
use apiserver::kinds::{Resource, builtin};
use apiserver::negotiation;
use apiserver::patch::{Error, Format};
use apiserver::schema::{ListMerge, Schema};
use apiserver::selector::Selector;
use apiserver::{objects, protobuf};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Messages that Go has written.
const MESSAGES: [&[u8]; 5] = [
    include_bytes!("protobuf/apps.v1.Deployment.pb"),
    include_bytes!("protobuf/autoscaling.v2.HorizontalPodAutoscaler.pb"),
    include_bytes!("protobuf/core.v1.Secret.pb"),
    include_bytes!("protobuf/networking.k8s.io.v1.Ingress.pb"),
    include_bytes!("protobuf/rbac.authorization.k8s.io.v1.ClusterRole.pb"),
];

fn config_maps() -> Resource {
    let mut all = builtin::resources().into_iter();
    all.find(|one| one.kind == "ConfigMap").expect("it is built in")
}

/// Any JSON value.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-c$/~.]{1,4}", inner, 0..4)
                .prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

/// Bytes with some of them replaced, removed or doubled.
fn damaged(bytes: &[u8], wounds: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, how, byte) in wounds {
        let place = place % bytes.len().max(1);
        match how % 3 {
            0 if place < bytes.len() => bytes[place] = *byte,
            1 if place < bytes.len() => drop(bytes.remove(place)),
            _ => bytes.insert(place, *byte),
        }
    }
    bytes
}

fn wounds() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..6)
}

/// Texts of the letters that matter to YAML and JSON.
fn lines() -> impl Strategy<Value = String> {
    "[-a-c0-9:{}\\[\\],&*!|>'\"%@~# \n\t?]{0,60}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn json_reads_back_and_is_refused_when_the_other_scanner_refuses_it(value in value(), wounds in wounds()) {
        let text = value.to_string();
        let read = negotiation::json(&Bytes::from(text.clone())).expect("it is JSON");
        prop_assert_eq!(&read.value, &serde_json::from_str::<Value>(&text).expect("it is JSON"));
        prop_assert_eq!(syntax::error(text.as_bytes()), None);
        let damaged = damaged(text.as_bytes(), &wounds);
        match (negotiation::json(&Bytes::from(damaged.clone())), syntax::error(&damaged)) {
            (Ok(_), Some(why)) => prop_assert!(false, "{why}: {}", String::from_utf8_lossy(&damaged)),
            (Err(said), Some(why)) => prop_assert_eq!(said, why),
            _ => {}
        }
    }

    #[test]
    fn yaml_is_read_or_refused(text in lines()) {
        let bytes = Bytes::from(text);
        if let Ok(read) = negotiation::yaml(&bytes) {
            let again = negotiation::yaml(&Bytes::from(read.value.to_string())).expect("JSON is YAML");
            prop_assert_eq!(again.value, read.value);
        }
        let _ = negotiation::yaml_or_json(&bytes);
    }

    #[test]
    fn protobuf_is_read_or_refused(which in 0..MESSAGES.len(), wounds in wounds(), noise in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = protobuf::decode(&damaged(MESSAGES[which], &wounds));
        let mut begun = MESSAGES[which][..MESSAGES[which].len() / 2].to_vec();
        begun.extend(noise);
        let _ = protobuf::decode(&begun);
    }

    #[test]
    fn patches_are_applied_or_refused(document in value(), patch in value(), operations in operations()) {
        let by_name = ListMerge::ByKey("a".to_owned());
        for format in [Format::Json, Format::Merge, Format::Strategic] {
            let _ = format.apply(&document, &patch, &|_| &by_name);
        }
        if let Ok(patched) = Format::Json.apply(&document, &operations, &|_| &by_name) {
            prop_assert!(objects::depth(&patched) <= objects::DEPTH_MAX);
        }
    }

    #[test]
    fn selectors_are_read_or_refused(text in "[a-c!=<>(),/. ]{0,24}|.{0,24}", fields in "[a-c=!\\\\,. ]{0,16}") {
        let _ = Selector::parse(&text, &fields, &config_maps());
    }

    #[test]
    fn selectors_select_what_their_requirements_say(requirements in prop::collection::vec(requirement(), 0..4), labels in labels()) {
        let text: Vec<String> = requirements.iter().map(Requirement::text).collect();
        let selector = Selector::parse(&text.join(","), "", &config_maps()).expect("it is a selector");
        let object = json!({"metadata": {"labels": labels}});
        let expected = requirements.iter().all(|one| one.holds(&labels));
        prop_assert_eq!(selector.matches(&config_maps(), &object), expected, "{} of {:?}", text.join(","), labels);
    }

    #[test]
    fn rules_are_compiled_or_refused_and_evaluated_or_failed(rule in expression(), value in value()) {
        let schema = Schema::parse(&json!({
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": [{"rule": rule, "messageExpression": rule}],
        }));
        let _ = schema.rules[0].compile_error();
        let _ = schema.validate(&json!({"a": value}), Some(&json!({"a": 1})));
    }
}

/// Operations of a JSON patch on paths that are often there.
fn operations() -> impl Strategy<Value = Value> {
    let path = || "(/[a-c]|/[0-3]|/-){0,3}";
    let operation = (
        prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "jump"]),
        path(),
        path(),
        value(),
    );
    let operation = operation
        .prop_map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}));
    prop::collection::vec(operation, 0..6).prop_map(Value::Array)
}

/// Expressions that are often well-formed.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "self",
        "self.a",
        "oldSelf",
        "1",
        "-1",
        "1.5",
        "'x'",
        "true",
        "null",
        "[1, 2]",
        "{'a': 1}",
        "size(self.a)",
        "9223372036854775807",
        "x",
    ]);
    let leaf = leaf.prop_map(str::to_owned);
    let nested = leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "<", "&&", "||", "in"]),
                inner.clone()
            )
                .prop_map(|(left, sign, right)| format!("({left} {sign} {right})")),
            (inner.clone(), inner.clone()).prop_map(|(list, test)| format!("{list}.all(x, {test})")),
            (inner.clone(), inner.clone()).prop_map(|(list, test)| format!("{list}.map(x, {test})")),
            (inner.clone(), inner.clone()).prop_map(|(list, place)| format!("{list}[{place}]")),
            inner.clone().prop_map(|of| format!("!{of}")),
            inner.prop_map(|of| format!("string({of}).matches('(a|b)*')")),
        ]
    });
    prop_oneof![4 => nested, 1 => "[a-c0-9().\\[\\]{}'\"!&|?:+ ]{0,30}"]
}

#[derive(Debug, Clone)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Above(String, i64),
}

impl Requirement {
    fn text(&self) -> String {
        match self {
            Self::Exists(key) => key.clone(),
            Self::Absent(key) => format!("! {key}"),
            Self::In(key, values) => format!("{key} in ({})", values.join(" ,")),
            Self::NotIn(key, values) => format!("{key} notin({})", values.join(",")),
            Self::Above(key, limit) => format!("{key} > {limit}"),
        }
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Exists(key) => labels.contains_key(key),
            Self::Absent(key) => !labels.contains_key(key),
            Self::In(key, values) => labels.get(key).is_some_and(|label| values.contains(label)),
            Self::NotIn(key, values) => !labels.get(key).is_some_and(|label| values.contains(label)),
            Self::Above(key, limit) => labels
                .get(key)
                .is_some_and(|label| label.parse::<i64>().is_ok_and(|label| label > *limit)),
        }
    }
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "in", "notin", "example.com/c"]).prop_map(str::to_owned)
}

fn label() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["1", "2", "x", "in"]).prop_map(str::to_owned)
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(key(), label(), 0..4)
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let values = || prop::collection::vec(label(), 1..3);
    prop_oneof![
        key().prop_map(Requirement::Exists),
        key().prop_map(Requirement::Absent),
        (key(), values()).prop_map(|(key, values)| Requirement::In(key, values)),
        (key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        (key(), 0_i64..3).prop_map(|(key, limit)| Requirement::Above(key, limit)),
    ]
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    // Anchors that stand for ten of the one before.
    let mut bomb = "a0: &a0 x\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            before.trim_end_matches(", ")
        ));
    }
    assert!(negotiation::yaml(&Bytes::from(bomb)).is_err());
    for open in ["[", "{a: ", "- "] {
        let deep = open.repeat(100_000);
        assert!(negotiation::yaml(&Bytes::from(deep)).is_err(), "{open}");
    }
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(100_000);
        assert!(negotiation::json(&Bytes::from(deep)).is_err(), "{open}");
    }
    for open in ["(", "[", "!", "-", "size(", "a ? b : ", "1 + ", "a."] {
        let rule = format!("{}1", open.repeat(20_000));
        let schema = Schema::parse(&json!({"x-kubernetes-validations": [{"rule": rule}]}));
        assert!(schema.rules[0].compile_error().is_some(), "{open}");
    }
}

/// The longest chains that are read fit on the stack of a thread.
#[test]
fn rules_that_are_as_deep_as_allowed_are_evaluated() {
    for rule in [
        format!("0{} >= 0", " + 1".repeat(490)),
        format!("'a'{} == 'a'", ".trim()".repeat(240)),
        format!("'a'{} == 'a'", ".replace('a', 'a')".repeat(240)),
        format!("[[1]]{} == 1", "[0]".repeat(2)),
    ] {
        let schema = Schema::parse(&json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]}));
        assert_eq!(schema.rules[0].compile_error(), None, "{rule}");
        assert_eq!(schema.validate(&json!({}), None), [], "{rule}");
    }
}

#[test]
fn patches_that_copy_themselves_are_refused() {
    let replaced = ListMerge::Replace;
    let apply = |operations: Vec<Value>| {
        Format::Json.apply(
            &json!({"a": {"text": "x".repeat(1000)}}),
            &Value::Array(operations),
            &|_| &replaced,
        )
    };
    // Each copy doubles what there is.
    let doubling: Vec<Value> = (0..40)
        .map(|step| json!({"op": "copy", "from": "/a", "path": format!("/a/copy{step}")}))
        .collect();
    assert!(matches!(apply(doubling), Err(Error::Unprocessable(_))));
    // Each addition lies deeper than the last.
    let deeper: Vec<Value> = (1..5000)
        .map(|step| json!({"op": "add", "path": format!("/a{}", "/b".repeat(step)), "value": {}}))
        .collect();
    assert!(matches!(apply(deeper), Err(Error::Unprocessable(_))));
    let moved = vec![
        json!({"op": "add", "path": "/c", "value": nested(60)}),
        json!({"op": "move", "from": "/c", "path": "/a/b"}),
        json!({"op": "copy", "from": "/a", "path": format!("/a/b{}", "/a".repeat(60))}),
    ];
    assert!(matches!(apply(moved), Err(Error::Unprocessable(_))));
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({}), |inner, _| json!({"a": inner}))
}

/// Messages inside messages, as deep as a body has room for.
#[test]
fn messages_inside_one_another_end() {
    let mut schema = Vec::new();
    for _ in 0..2000 {
        // `not`, field 28 of JSONSchemaProps.
        let mut outer = vec![0xe2, 0x01];
        let mut length = schema.len();
        while length >= 0x80 {
            outer.push((length as u8 & 0x7f) | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(&schema);
        schema = outer;
    }
    let field = |number: u8, content: &[u8]| {
        let mut field = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            field.push((length as u8 & 0x7f) | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend(content);
        field
    };
    // spec.versions[].schema.openAPIV3Schema
    let version = field(4, &field(1, &schema));
    let definition = field(2, &field(7, &version));
    let kind = [
        field(1, b"apiextensions.k8s.io/v1"),
        field(2, b"CustomResourceDefinition"),
    ]
    .concat();
    let body = [b"k8s\0".to_vec(), field(1, &kind), field(2, &definition)].concat();
    let refused = protobuf::decode(&body).expect_err("it is too deep");
    assert!(refused.to_string().contains("nested too deeply"), "{refused}");
}
