//! From the JSON of an `openAPIV3Schema` to a [`Schema`].
//!
//! Parsing is lenient: what a definition may contain is judged by `schema/structural`, with the causes that people see.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::cel::Rule;
use super::{Additional, Checks, ListMerge, ListType, Pattern, Schema, ValueType, metadata};

impl Schema {
    /// The schema of a custom resource version: the definition's schema, with `apiVersion`, `kind` and `metadata` added
    /// at the root and in embedded resources. Without a schema, everything is preserved.
    pub fn of_custom_resource(definition_schema: Option<&Value>) -> Self {
        let mut root = definition_schema.map(Self::parse).unwrap_or_else(|| Self {
            value_type: Some(ValueType::Object),
            preserve_unknown_fields: true,
            ..Self::default()
        });
        root.add_object_fields();
        root
    }

    /// A schema as it stands.
    pub fn parse(raw: &Value) -> Self {
        Parser::default().node(raw)
    }

    /// A schema of a kind that is decoded into structs, where nulls mean "absent" and required fields are judged elsewhere. `resolve`
    /// says which nodes are references, and to what.
    pub(crate) fn parse_built_in(raw: &Value, resolve: &dyn Fn(&Value) -> Option<Arc<Self>>) -> Self {
        Parser {
            resolve: Some(resolve),
            built_in: true,
        }
        .node(raw)
    }
    /// Adds `apiVersion`, `kind` and `metadata`; what the schema itself says of `metadata.name` and
    /// `metadata.generateName` is kept.
    fn add_object_fields(&mut self) {
        let text = Arc::new(Self {
            value_type: Some(ValueType::String),
            ..Self::default()
        });
        self.properties.insert("apiVersion".to_owned(), text.clone());
        self.properties.insert("kind".to_owned(), text);
        let mut object_meta = metadata::object_meta().clone();
        if let Some(declared) = self.properties.get("metadata") {
            for name in ["name", "generateName"] {
                if let Some(property) = declared.properties.get(name) {
                    object_meta.properties.insert(name.to_owned(), property.clone());
                }
            }
            object_meta.checks.required.clone_from(&declared.checks.required);
        }
        self.properties
            .insert("metadata".to_owned(), Arc::new(object_meta));
    }
}

impl ValueType {
    /// Reads `type`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// The name as `type` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// Finds the schema that a reference is to.
type Resolve<'a> = &'a dyn Fn(&Value) -> Option<Arc<Schema>>;

/// How nodes are read.
#[derive(Default)]
struct Parser<'a> {
    resolve: Option<Resolve<'a>>,
    built_in: bool,
}

impl Parser<'_> {
    fn node(&self, raw: &Value) -> Schema {
        let flag = |name: &str| raw[name].as_bool().unwrap_or(false);
        let mut checks = parse_checks(raw);
        if self.built_in {
            checks.required.clear();
        }
        let mut schema = Schema {
            value_type: raw["type"].as_str().and_then(ValueType::parse),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve_unknown_fields: flag("x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag("x-kubernetes-embedded-resource"),
            null_is_absent: self.built_in,
            properties: self.properties(raw),
            additional: self.additional(&raw["additionalProperties"]),
            items: raw
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| self.child(items)),
            list_type: parse_list_type(raw),
            list_merge: parse_list_merge(raw),
            atomic_map: raw["x-kubernetes-map-type"] == "atomic",
            default: raw.get("default").cloned(),
            checks,
            rules: raw["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Rule::parse)
                .collect(),
            go_type: None,
        };
        if schema.embedded_resource {
            schema.add_object_fields();
        }
        schema
    }

    /// A node below another, with what the reference itself adds.
    fn child(&self, raw: &Value) -> Arc<Schema> {
        let Some(referred) = self.resolve.and_then(|resolve| resolve(raw)) else {
            return Arc::new(self.node(raw));
        };
        let atomic_map = raw["x-kubernetes-map-type"] == "atomic";
        if !atomic_map {
            return referred;
        }
        Arc::new(Schema {
            atomic_map,
            ..Schema::clone(&referred)
        })
    }

    fn properties(&self, raw: &Value) -> BTreeMap<String, Arc<Schema>> {
        let properties = raw["properties"].as_object().into_iter().flatten();
        properties
            .map(|(name, schema)| (name.clone(), self.child(schema)))
            .collect()
    }

    fn additional(&self, raw: &Value) -> Additional {
        match raw {
            Value::Bool(true) => Additional::Any,
            Value::Object(_) => Additional::Of(self.child(raw)),
            _ => Additional::None,
        }
    }
}

fn parse_list_merge(raw: &Value) -> ListMerge {
    let merges = raw["x-kubernetes-patch-strategy"]
        .as_str()
        .is_some_and(|strategy| strategy.split(',').any(|one| one == "merge"));
    match raw["x-kubernetes-patch-merge-key"].as_str() {
        _ if !merges => ListMerge::Replace,
        Some(key) => ListMerge::ByKey(key.to_owned()),
        None => ListMerge::Scalars,
    }
}

fn parse_list_type(raw: &Value) -> ListType {
    match raw["x-kubernetes-list-type"].as_str() {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(parse_strings(&raw["x-kubernetes-list-map-keys"])),
        _ => ListType::Atomic,
    }
}

fn parse_checks(raw: &Value) -> Checks {
    let branches = |name: &str| {
        raw[name]
            .as_array()
            .into_iter()
            .flatten()
            .map(Schema::parse)
            .collect()
    };
    let pattern = raw["pattern"].as_str().and_then(|source| {
        let regex = regex::Regex::new(source).ok()?;
        Some(Pattern {
            source: source.to_owned(),
            regex,
        })
    });
    Checks {
        format: raw["format"].as_str().map(str::to_owned),
        allowed: raw["enum"].as_array().cloned(),
        minimum: raw["minimum"].as_f64(),
        exclusive_minimum: raw["exclusiveMinimum"].as_bool().unwrap_or(false),
        maximum: raw["maximum"].as_f64(),
        exclusive_maximum: raw["exclusiveMaximum"].as_bool().unwrap_or(false),
        multiple_of: raw["multipleOf"].as_f64(),
        min_length: raw["minLength"].as_u64(),
        max_length: raw["maxLength"].as_u64(),
        pattern,
        min_items: raw["minItems"].as_u64(),
        max_items: raw["maxItems"].as_u64(),
        unique_items: raw["uniqueItems"].as_bool().unwrap_or(false),
        min_properties: raw["minProperties"].as_u64(),
        max_properties: raw["maxProperties"].as_u64(),
        required: parse_strings(&raw["required"]),
        all_of: branches("allOf"),
        any_of: branches("anyOf"),
        one_of: branches("oneOf"),
        not: raw.get("not").map(|not| Box::new(Schema::parse(not))),
    }
}

fn parse_strings(raw: &Value) -> Vec<String> {
    raw.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
