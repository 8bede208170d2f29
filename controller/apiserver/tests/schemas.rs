//! Properties that hold for any schema and any value.

use apiserver::schema::Schema;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Any JSON value of the names that schemas below use.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3_i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-d]", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A schema with defaults that fit it.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (any::<bool>(), any::<bool>()).prop_map(|(nullable, has_default)| {
            let mut leaf = json!({"type": "integer", "nullable": nullable});
            if has_default {
                leaf["default"] = json!(1);
            }
            leaf
        }),
        Just(json!({"type": "string", "default": "b"})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"x-kubernetes-int-or-string": true})),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|items| json!({"type": "array", "items": items})),
            inner
                .clone()
                .prop_map(|values| json!({"type": "object", "additionalProperties": values})),
            (prop::collection::vec(("[a-c]", inner), 0..3), any::<bool>()).prop_map(
                |(fields, has_default)| {
                    let properties: Map<String, Value> = fields.into_iter().collect();
                    let mut object = json!({"type": "object", "properties": properties});
                    if has_default {
                        object["default"] = json!({});
                    }
                    object
                }
            ),
        ]
    })
}

proptest! {
    #[test]
    fn pruning_twice_is_pruning_once(raw in schema(), mut value in value()) {
        let schema = Schema::parse(&raw);
        schema.prune(&mut value);
        let once = value.clone();
        prop_assert!(schema.prune(&mut value).is_empty());
        prop_assert_eq!(value, once);
    }

    #[test]
    fn filling_defaults_twice_is_filling_them_once(raw in schema(), mut value in value()) {
        let schema = Schema::parse(&raw);
        schema.fill_defaults(&mut value);
        let once = value.clone();
        schema.fill_defaults(&mut value);
        prop_assert_eq!(value, once);
    }

    #[test]
    fn what_defaults_add_is_never_unknown(raw in schema(), mut value in value()) {
        let schema = Schema::parse(&raw);
        schema.prune(&mut value);
        schema.fill_defaults(&mut value);
        prop_assert!(schema.prune(&mut value).is_empty());
    }

    #[test]
    fn an_unchanged_value_is_always_tolerated(raw in schema(), value in value()) {
        prop_assert!(Schema::parse(&raw).validate(&value, Some(&value)).is_empty());
    }

    #[test]
    fn pruning_removes_and_never_adds_or_changes(raw in schema(), value in value()) {
        let mut pruned = value.clone();
        Schema::parse(&raw).prune(&mut pruned);
        prop_assert!(is_part_of(&pruned, &value));
    }
}

fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part
            .iter()
            .all(|(name, value)| whole.get(name).is_some_and(|whole| is_part_of(value, whole))),
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len()
                && part
                    .iter()
                    .zip(whole)
                    .all(|(part, whole)| is_part_of(part, whole))
        }
        (part, whole) => part == whole,
    }
}
