//! Admission of custom resources and definitions, against the words that a real kube-apiserver answers with.

use apiserver::kinds::definition;
use apiserver::kinds::{Catalog, FieldValidation, Kinds, Operation, Rejection, Resource};
use serde_json::{Value, json};

fn widget_definition(spec_schema: Value) -> Value {
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.edge.test"},
        "spec": {
            "group": "edge.test",
            "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"]},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec_schema}}},
            }],
        },
    });
    definition::fill_defaults(&mut definition);
    definition
}

fn widgets(spec_schema: Value) -> Resource {
    let definition = widget_definition(spec_schema);
    assert_eq!(
        definition::validate(&definition, None),
        vec![],
        "the definition of the test is valid"
    );
    definition::resources(&definition).remove(0)
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "edge.test/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec})
}

fn admit(resource: &Resource, spec: Value, old: Option<Value>) -> Result<Value, Vec<String>> {
    let mut object = widget(spec);
    let old = old.map(widget);
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    match resource.admit(operation, &mut object, old.as_ref(), FieldValidation::Ignore) {
        Ok(_) => Ok(object["spec"].take()),
        Err(Rejection::Invalid(causes)) => Err(causes
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()),
        Err(Rejection::UnknownFields(fields)) => Err(fields),
        Err(Rejection::Undecodable(why)) => Err(vec![why]),
    }
}

#[test]
fn wrong_types_are_told_in_the_words_of_kubernetes() {
    let resource = widgets(json!({"type": "object", "properties": {"replicas": {"type": "integer"}}}));
    let words =
        "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"";
    assert_eq!(
        admit(&resource, json!({"replicas": "three"}), None),
        Err(vec![words.to_owned()])
    );
}

#[test]
fn limits_are_told_in_the_words_of_kubernetes() {
    let resource = widgets(json!({
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "string", "enum": ["small", "large"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4},
            "list": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
            "port": {"x-kubernetes-int-or-string": true},
        },
    }));
    let cases = [
        (json!({}), "spec.size: Required value"),
        (
            json!({"size": "huge"}),
            "spec.size: Unsupported value: \"huge\": supported values: \"small\", \"large\"",
        ),
        (
            json!({"size": "small", "count": 0}),
            "spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1",
        ),
        (
            json!({"size": "small", "name": "A1"}),
            "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
        ),
        (
            json!({"size": "small", "name": "abcde"}),
            "spec.name: Too long: may not be more than 4 bytes",
        ),
        (
            json!({"size": "small", "list": ["a", "b"]}),
            "spec.list: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"size": "small", "port": true}),
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
        ),
        (json!({"size": null}), "spec.size: Required value"),
    ];
    for (spec, words) in cases {
        assert_eq!(
            admit(&resource, spec.clone(), None),
            Err(vec![words.to_owned()]),
            "{spec}"
        );
    }
    assert!(admit(&resource, json!({"size": "small", "port": "http"}), None).is_ok());
    assert!(admit(&resource, json!({"size": "small", "port": 80}), None).is_ok());
}

#[test]
fn items_of_maps_and_sets_are_unique() {
    let resource = widgets(json!({
        "type": "object",
        "properties": {
            "items": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            },
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        },
    }));
    assert_eq!(
        admit(
            &resource,
            json!({"items": [{"name": "q"}, {"name": "q"}], "tags": ["a", "b", "a"]}),
            None
        ),
        Err(vec![
            "spec.items[1]: Duplicate value: {\"name\":\"q\"}".to_owned(),
            "spec.tags[2]: Duplicate value: \"a\"".to_owned(),
        ])
    );
}

#[test]
fn unknown_fields_are_pruned_warned_about_or_refused() {
    let resource = widgets(json!({"type": "object", "properties": {
        "kept": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    }}));
    let written = widget(json!({"zz": 1, "kept": {"any": {"thing": true}}, "list": [{"a": 1, "b": 2}]}));
    let mut object = written.clone();
    let warnings = resource
        .admit(Operation::Create, &mut object, None, FieldValidation::Warn)
        .unwrap();
    assert_eq!(
        warnings,
        ["unknown field \"spec.list[0].b\"", "unknown field \"spec.zz\""]
    );
    assert_eq!(
        object["spec"],
        json!({"kept": {"any": {"thing": true}}, "list": [{"a": 1}]})
    );

    let mut object = written.clone();
    let silent = resource
        .admit(Operation::Create, &mut object, None, FieldValidation::Ignore)
        .unwrap();
    assert!(silent.is_empty());

    let mut object = written;
    let refused = resource
        .admit(Operation::Create, &mut object, None, FieldValidation::Strict)
        .unwrap_err();
    let Rejection::UnknownFields(fields) = refused else {
        panic!("refused for another reason: {refused:?}")
    };
    assert_eq!(
        resource.strict_decoding_message(&fields[1..]),
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.zz\""
    );
}

#[test]
fn unknown_fields_of_metadata_are_unknown_too_and_nulls_in_it_are_absent() {
    let resource = widgets(json!({"type": "object"}));
    let mut object = widget(json!({}));
    object["metadata"]["creationTimestamp"] = Value::Null;
    object["metadata"]["colour"] = json!("red");
    let warnings = resource
        .admit(Operation::Create, &mut object, None, FieldValidation::Warn)
        .unwrap();
    assert_eq!(warnings, ["unknown field \"metadata.colour\""]);
    assert_eq!(object["metadata"], json!({"name": "a"}));
}

#[test]
fn defaults_replace_absence_and_nulls_that_are_no_values() {
    let resource = widgets(json!({
        "type": "object",
        "properties": {
            "replicas": {"type": "integer", "default": 1},
            "nullable": {"type": "integer", "nullable": true, "default": 2},
            "nested": {
                "type": "object", "default": {},
                "properties": {"mode": {"type": "string", "default": "fast"}},
            },
            "list": {
                "type": "array",
                "items": {"type": "object", "properties": {"weight": {"type": "integer", "default": 10}}},
            },
        },
    }));
    assert_eq!(
        admit(
            &resource,
            json!({"replicas": null, "nullable": null, "list": [{}, {"weight": 3}]}),
            None
        )
        .unwrap(),
        json!({
            "replicas": 1, "nullable": null, "list": [{"weight": 10}, {"weight": 3}], "nested": {"mode": "fast"},
        })
    );
}

#[test]
fn cel_rules_speak_with_their_messages_reasons_and_paths() {
    let resource = widgets(json!({
        "type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "too many", "fieldPath": ".min"},
            {"rule": "!has(self.name) || self.name != 'root'", "messageExpression": "'not ' + self.name",
             "reason": "FieldValueForbidden"},
            {"rule": "self.max < 100"},
        ],
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"}},
    }));
    assert_eq!(
        admit(&resource, json!({"min": 200, "max": 150, "name": "root"}), None),
        Err(vec![
            "spec.min: Invalid value: too many".to_owned(),
            "spec: Forbidden: not root".to_owned(),
            "spec: Invalid value: failed rule: self.max < 100".to_owned(),
        ])
    );
    assert!(admit(&resource, json!({"min": 1, "max": 2}), None).is_ok());
}

#[test]
fn cel_rules_see_quantities_times_and_escaped_names() {
    let resource = widgets(json!({
        "type": "object",
        "properties": {
            "memory": {"x-kubernetes-int-or-string": true},
            "since": {"type": "string", "format": "date-time"},
            "grace": {"type": "string", "format": "duration"},
            "namespace": {"type": "string"},
            "my_field": {"type": "integer"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "ratio": {"type": "number"},
        },
        "x-kubernetes-validations": [
            {"rule": "!has(self.memory) || quantity(string(self.memory)).isGreaterThan(quantity('1Gi'))", "message": "memory"},
            {"rule": "!has(self.since) || self.since < timestamp('2026-01-01T00:00:00Z')", "message": "since"},
            {"rule": "!has(self.grace) || self.grace <= duration('1h')", "message": "grace"},
            {"rule": "!has(self.__namespace__) || self.__namespace__ == 'here'", "message": "namespace"},
            {"rule": "!has(self.my_field) || self.my_field > 0", "message": "my_field"},
            {"rule": "!has(self.labels) || self.labels.all(k, k.startsWith('edge-'))", "message": "labels"},
            {"rule": "!has(self.ratio) || self.ratio <= 1.0", "message": "ratio"},
        ],
    }));
    let right = json!({
        "memory": "2Gi", "since": "2025-01-01T00:00:00Z", "grace": "30m", "namespace": "here", "my_field": 1,
        "labels": {"edge-a": "x"}, "ratio": 1,
    });
    assert_eq!(admit(&resource, right.clone(), None), Ok(right));
    for (wrong, word) in [
        (json!({"memory": "1Mi"}), "memory"),
        (json!({"since": "2027-01-01T00:00:00Z"}), "since"),
        (json!({"grace": "2h"}), "grace"),
        (json!({"namespace": "there"}), "namespace"),
        (json!({"my_field": 0}), "my_field"),
        (json!({"labels": {"x": "x"}}), "labels"),
        (json!({"ratio": 2}), "ratio"),
    ] {
        assert_eq!(
            admit(&resource, wrong, None),
            Err(vec![format!("spec: Invalid value: {word}")])
        );
    }
}

#[test]
fn transition_rules_compare_items_by_their_keys() {
    let resource = widgets(json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "name is immutable"},
            ]},
            "parts": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {
                    "type": "object", "required": ["id"],
                    "properties": {"id": {"type": "string"}, "size": {"type": "integer"}},
                    "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "parts only grow"}],
                },
            },
        },
    }));
    let old = json!({"name": "a", "parts": [{"id": "x", "size": 5}, {"id": "y", "size": 1}]});
    assert!(
        admit(&resource, json!({"name": "b"}), None).is_ok(),
        "creation has nothing to compare with"
    );
    assert_eq!(
        admit(&resource, json!({"name": "b"}), Some(old.clone())),
        Err(vec!["spec.name: Invalid value: name is immutable".to_owned()])
    );
    let reordered = json!({"name": "a", "parts": [{"id": "y", "size": 2}, {"id": "x", "size": 5}]});
    assert!(admit(&resource, reordered, Some(old.clone())).is_ok());
    assert_eq!(
        admit(
            &resource,
            json!({"name": "a", "parts": [{"id": "z", "size": 0}, {"id": "x", "size": 4}]}),
            Some(old)
        ),
        Err(vec!["spec.parts[1]: Invalid value: parts only grow".to_owned()])
    );
}

#[test]
fn optional_old_self_runs_on_creation_too() {
    let resource = widgets(json!({
        "type": "object",
        "properties": {"size": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "oldSelf.hasValue() ? self >= oldSelf.value() : self == 1", "optionalOldSelf": true,
             "message": "starts at 1 and grows"},
        ]}},
    }));
    let refused = Err(vec!["spec.size: Invalid value: starts at 1 and grows".to_owned()]);
    assert!(admit(&resource, json!({"size": 1}), None).is_ok());
    assert_eq!(admit(&resource, json!({"size": 2}), None), refused);
    assert!(admit(&resource, json!({"size": 3}), Some(json!({"size": 2}))).is_ok());
    assert_eq!(
        admit(&resource, json!({"size": 1}), Some(json!({"size": 2}))),
        refused
    );
}

#[test]
fn what_was_stored_before_a_schema_was_tightened_stays_editable() {
    let resource = widgets(json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 2},
            "count": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 10"}]},
            "other": {"type": "string"},
        },
    }));
    let old = json!({"name": "long", "count": 11, "other": "a"});
    assert!(
        admit(
            &resource,
            json!({"name": "long", "count": 11, "other": "b"}),
            Some(old.clone())
        )
        .is_ok()
    );
    assert!(
        admit(
            &resource,
            json!({"name": "longer", "count": 11}),
            Some(old.clone())
        )
        .is_err()
    );
    assert!(admit(&resource, json!({"name": "long", "count": 12}), Some(old)).is_err());
}

#[test]
fn a_definition_must_be_structural() {
    let cases = [
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "spec.validation.openAPIV3Schema.properties[spec].properties[a].type: Required value: must not be \
             empty for specified object fields",
        ),
        (
            json!({"type": "array", "items": {}}),
            "spec.validation.openAPIV3Schema.properties[spec].items.type: Required value: must not be empty \
             for specified array items",
        ),
        (
            json!({"type": "object", "anyOf": [{"type": "object"}]}),
            "spec.validation.openAPIV3Schema.properties[spec].anyOf[0].type: Forbidden: must be empty to be \
             structural",
        ),
        (
            json!({"type": "object", "oneOf": [{"properties": {"b": {"minimum": 1}}}]}),
            "spec.validation.openAPIV3Schema.properties[spec].properties[b]: Required value: because it is \
             defined in spec.validation.openAPIV3Schema.properties[spec].oneOf[0].properties[b]",
        ),
        (
            json!({"type": "string", "pattern": "["}),
            "spec.validation.openAPIV3Schema.properties[spec].pattern: Invalid value: \"[\": must be a valid \
             regular expression, but isn't",
        ),
        (
            json!({"type": "integer", "default": "one"}),
            "spec.validation.openAPIV3Schema.properties[spec].default: Invalid value: \"string\"",
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "self. >"}]}),
            "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: \
             \"self. >\": compilation failed",
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}},
                   "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}),
            "spec.validation.openAPIV3Schema.properties[spec].items.properties[a].default: Required value: this \
             property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
    ];
    for (schema, words) in cases {
        let causes = definition::validate(&widget_definition(schema.clone()), None);
        let texts: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        assert!(
            texts.iter().any(|text| text.starts_with(words)),
            "{schema}\nanswers {texts:#?}\nwanted {words}"
        );
    }
}

#[test]
fn a_definition_needs_one_storage_version_and_the_right_name() {
    let mut definition = widget_definition(json!({"type": "object"}));
    definition["metadata"]["name"] = json!("gadgets.edge.test");
    definition["spec"]["versions"][0]["storage"] = json!(false);
    let causes = definition::validate(&definition, None);
    let texts: Vec<String> = causes
        .iter()
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    assert_eq!(
        texts,
        [
            "metadata.name: Invalid value: \"gadgets.edge.test\": must be spec.names.plural+\".\"+spec.group",
            "spec.versions: Invalid value: [\"v1\"]: must have exactly one version marked as storage version",
            "status.storedVersions: Invalid value: null: must have at least one stored version",
        ]
    );
}

#[test]
fn a_definition_is_accepted_then_established_and_its_names_are_its_own() {
    let kinds = Kinds::new();
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    let definition = widget_definition(json!({"type": "object"}));
    let status = definition::accept(&definition, &kinds.catalog(), now);
    assert_eq!(status["acceptedNames"]["plural"], "widgets");
    assert_eq!(status["storedVersions"], json!(["v1"]));
    assert!(definition::conditions::names_accepted(&status));
    assert!(!definition::conditions::is_established(&status));

    kinds.serve_definition("widgets.edge.test", definition::resources(&definition));
    assert!(kinds.find("edge.test", "v1", "widgets").is_some());
    let status = definition::establish(&status, now);
    assert!(definition::conditions::is_established(&status));
    assert_eq!(
        definition::establish(&status, "2027-01-01T00:00:00Z".parse().unwrap()),
        status,
        "nothing changed"
    );

    let mut rival = widget_definition(json!({"type": "object"}));
    rival["metadata"]["name"] = json!("gadgets.edge.test");
    rival["spec"]["names"] = json!({"kind": "Gadget", "plural": "gadgets", "shortNames": ["wd"]});
    let status = definition::accept(&rival, &kinds.catalog(), now);
    assert!(!definition::conditions::names_accepted(&status));
    assert_eq!(status["conditions"][0]["reason"], "ShortNamesConflict");

    kinds.remove_definition("widgets.edge.test");
    assert!(kinds.find("edge.test", "v1", "widgets").is_none());
}

#[test]
fn versions_without_a_schema_change_are_one_storage() {
    let mut definition =
        widget_definition(json!({"type": "object", "properties": {"a": {"type": "integer"}}}));
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    second["deprecated"] = json!(true);
    definition["spec"]["versions"]
        .as_array_mut()
        .unwrap()
        .push(second);
    let resources = definition::resources(&definition);
    let stored =
        resources[1].to_storage(json!({"apiVersion": "edge.test/v2", "kind": "Widget", "spec": {"a": 1}}));
    assert_eq!(stored["apiVersion"], "edge.test/v1");
    assert_eq!(resources[1].from_storage(stored)["apiVersion"], "edge.test/v2");
    assert_eq!(
        resources[1].deprecation_warning.as_deref(),
        Some("edge.test/v2 Widget is deprecated")
    );
    let catalog = Catalog::default();
    assert_eq!(catalog.all().count(), 0);
}

fn builtin(group: &str, version: &str, plural: &str) -> std::sync::Arc<Resource> {
    Kinds::new()
        .find(group, version, plural)
        .expect("a built-in resource")
}

#[test]
fn string_data_of_a_secret_goes_into_data_and_its_type_is_kept() {
    let secrets = builtin("", "v1", "secrets");
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "creationTimestamp": null},
        "data": {"a": "YQ=="}, "stringData": {"b": "b"},
    });
    secrets
        .admit(Operation::Create, &mut secret, None, FieldValidation::Strict)
        .unwrap();
    assert_eq!(secret["data"], json!({"a": "YQ==", "b": "Yg=="}));
    assert_eq!(secret["type"], "Opaque");
    assert!(secret.get("stringData").is_none());

    let mut changed = secret.clone();
    changed["type"] = json!("edge.test/other");
    let refused = secrets
        .admit(
            Operation::Update,
            &mut changed,
            Some(&secret),
            FieldValidation::Strict,
        )
        .unwrap_err();
    let Rejection::Invalid(causes) = refused else {
        panic!("refused for another reason")
    };
    assert_eq!(
        causes[0].message,
        "Invalid value: \"edge.test/other\": field is immutable"
    );
}

#[test]
fn the_definition_of_definitions_takes_any_schema_and_refuses_a_misspelt_field() {
    let definitions = builtin("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    let mut definition =
        widget_definition(json!({"type": "object", "properties": {"a": {"type": "integer"}}}));
    let schema = definition["spec"]["versions"][0]["schema"].clone();
    definitions
        .admit(Operation::Create, &mut definition, None, FieldValidation::Strict)
        .unwrap();
    assert_eq!(definition["spec"]["versions"][0]["schema"], schema);
    definition["spec"]["scoop"] = json!("Cluster");
    let refused = definitions
        .admit(Operation::Create, &mut definition, None, FieldValidation::Strict)
        .unwrap_err();
    assert_eq!(
        refused,
        Rejection::UnknownFields(vec!["unknown field \"spec.scoop\"".to_owned()])
    );
}

#[test]
fn labels_and_finalizers_follow_their_rules() {
    let leases = builtin("coordination.k8s.io", "v1", "leases");
    let mut object = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "c", "labels": {"a": "not ok!"}, "finalizers": ["bare"]},
    });
    let refused = leases
        .admit(Operation::Create, &mut object, None, FieldValidation::Warn)
        .unwrap_err();
    let Rejection::Invalid(causes) = refused else {
        panic!("refused for another reason")
    };
    assert!(
        causes[0]
            .message
            .starts_with("Invalid value: \"not ok!\": a valid label must be an empty string")
    );
    object["metadata"]["labels"]["a"] = json!("ok");
    let warnings = leases
        .admit(Operation::Create, &mut object, None, FieldValidation::Warn)
        .unwrap();
    assert!(
        warnings[0].starts_with("metadata.finalizers: \"bare\": prefer a domain-qualified finalizer name")
    );
}

#[test]
fn a_new_namespace_is_active_and_stays_until_it_is_empty() {
    let namespaces = builtin("", "v1", "namespaces");
    let mut namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "edge", "labels": null}, "spec": {}, "status": {},
    });
    namespaces
        .admit(Operation::Create, &mut namespace, None, FieldValidation::Strict)
        .unwrap();
    assert_eq!(
        namespace["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "edge"})
    );
    assert_eq!(namespace["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(namespace["status"], json!({"phase": "Active"}));
}
