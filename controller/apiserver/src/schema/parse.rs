//! From the JSON of an `openAPIV3Schema` to a [`Schema`].
//!
//! Parsing is lenient: what a definition may contain is judged by `schema/structural`, with the causes that people see.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::cel::Rule;
use super::{Additional, Checks, ListType, Pattern, Schema, ValueType, metadata};

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
        let flag = |name: &str| raw[name].as_bool().unwrap_or(false);
        let mut schema = Self {
            value_type: raw["type"].as_str().and_then(ValueType::parse),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve_unknown_fields: flag("x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag("x-kubernetes-embedded-resource"),
            null_is_absent: false,
            properties: parse_properties(raw),
            additional: parse_additional(&raw["additionalProperties"]),
            items: raw
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| Arc::new(Self::parse(items))),
            list_type: parse_list_type(raw),
            atomic_map: raw["x-kubernetes-map-type"] == "atomic",
            default: raw.get("default").cloned(),
            checks: parse_checks(raw),
            rules: raw["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Rule::parse)
                .collect(),
        };
        if schema.embedded_resource {
            schema.add_object_fields();
        }
        schema
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

    /// Marks the whole tree: nulls mean "absent".
    pub(crate) fn with_nulls_absent(mut self) -> Self {
        let mark = |child: &Arc<Self>| Arc::new(Self::clone(child).with_nulls_absent());
        self.null_is_absent = true;
        self.properties = self
            .properties
            .iter()
            .map(|(name, child)| (name.clone(), mark(child)))
            .collect();
        self.items = self.items.as_ref().map(mark);
        if let Additional::Of(values) = &self.additional {
            self.additional = Additional::Of(mark(values));
        }
        self
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

fn parse_properties(raw: &Value) -> BTreeMap<String, Arc<Schema>> {
    let properties = raw["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, schema)| (name.clone(), Arc::new(Schema::parse(schema))))
        .collect()
}

fn parse_additional(raw: &Value) -> Additional {
    match raw {
        Value::Bool(true) => Additional::Any,
        Value::Object(_) => Additional::Of(Arc::new(Schema::parse(raw))),
        _ => Additional::None,
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
