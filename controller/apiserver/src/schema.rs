//! Structural schemas: the parsed form of `openAPIV3Schema`, and what is done with it: pruning, defaults, validation.
//!
//! One [`Schema`] tree serves custom resources and built-in kinds. It is pure over JSON values and knows nothing of
//! requests; the order (prune, default, validate) is kept by `kinds::admission`.

pub mod cel;
pub mod compare;
pub mod defaults;
pub mod formats;
pub mod lists;
pub mod metadata;
pub mod parse;
pub mod path;
pub mod prune;
pub mod settled;
pub mod structural;
pub mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use self::cel::Rule;
use self::path::Path;
use crate::status::Cause;

/// A node of a structural schema. The root of a kind's schema carries `apiVersion`, `kind` and `metadata` too.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// `type`; `None` for int-or-string nodes and for nodes that preserve whatever comes.
    pub value_type: Option<ValueType>,
    /// `nullable`: null is a value, and stays.
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`: fields without a schema stay.
    pub preserve_unknown_fields: bool,
    /// `x-kubernetes-embedded-resource`: a whole object with `apiVersion`, `kind` and `metadata`.
    pub embedded_resource: bool,
    /// Nulls anywhere below mean "absent", as in kinds that are decoded into structs.
    pub null_is_absent: bool,
    /// Fields by name.
    pub properties: BTreeMap<String, Arc<Self>>,
    /// Values of a map.
    pub additional: Additional,
    /// Items of a list.
    pub items: Option<Arc<Self>>,
    /// How items of a list are told apart.
    pub list_type: ListType,
    /// How a strategic merge patch merges a list.
    pub list_merge: ListMerge,
    /// Whether a map or object is replaced as a whole by server-side apply (`x-kubernetes-map-type: atomic`).
    pub atomic_map: bool,
    /// `default`
    pub default: Option<Value>,
    /// Limits on the value, without CEL.
    pub checks: Checks,
    /// `x-kubernetes-validations`
    pub rules: Vec<Rule>,
    /// The type that Kubernetes decodes a built-in kind's node into, such as `v1.PodSpec`; `None` where it has no name.
    pub go_type: Option<Arc<str>>,
}

/// `type` of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
    /// A JSON string.
    String,
    /// A number without a fraction.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// `additionalProperties`
#[derive(Debug, Clone, Default)]
pub enum Additional {
    /// Absent: fields that are not in `properties` are unknown.
    #[default]
    None,
    /// `true`: any value.
    Any,
    /// Values follow a schema.
    Of(Arc<Schema>),
}

/// `x-kubernetes-list-type`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    /// One value, replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by these fields.
    Map(Vec<String>),
}

/// `x-kubernetes-patch-strategy` of a list, with `x-kubernetes-patch-merge-key`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListMerge {
    /// The list is replaced as a whole.
    #[default]
    Replace,
    /// Items are objects, told apart by this field.
    ByKey(String),
    /// Items are scalars; new ones are added.
    Scalars,
}

/// Limits on one value, without CEL.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// `format`, as written; unknown formats check nothing.
    pub format: Option<String>,
    /// `enum`
    pub allowed: Option<Vec<Value>>,
    /// `minimum`
    pub minimum: Option<f64>,
    /// `exclusiveMinimum`
    pub exclusive_minimum: bool,
    /// `maximum`
    pub maximum: Option<f64>,
    /// `exclusiveMaximum`
    pub exclusive_maximum: bool,
    /// `multipleOf`
    pub multiple_of: Option<f64>,
    /// `minLength`, in characters
    pub min_length: Option<u64>,
    /// `maxLength`, in characters
    pub max_length: Option<u64>,
    /// `pattern`
    pub pattern: Option<Pattern>,
    /// `minItems`
    pub min_items: Option<u64>,
    /// `maxItems`
    pub max_items: Option<u64>,
    /// `uniqueItems`
    pub unique_items: bool,
    /// `minProperties`
    pub min_properties: Option<u64>,
    /// `maxProperties`
    pub max_properties: Option<u64>,
    /// `required`
    pub required: Vec<String>,
    /// `allOf`
    pub all_of: Vec<Schema>,
    /// `anyOf`
    pub any_of: Vec<Schema>,
    /// `oneOf`
    pub one_of: Vec<Schema>,
    /// `not`
    pub not: Option<Box<Schema>>,
}

/// A regular expression with its source.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As written in the schema.
    pub source: String,
    /// Compiled; anchored only where the source says so.
    pub regex: regex::Regex,
}

/// Whether CEL rules are not to be evaluated beside a cause: they count on types, sizes and fields being right.
fn blocks_rules(cause: &Cause) -> bool {
    matches!(
        cause.reason,
        "FieldValueTypeInvalid"
            | "FieldValueRequired"
            | "FieldValueTooLong"
            | "FieldValueTooMany"
            | "FieldValueNotSupported"
    )
}

impl Schema {
    /// Removes fields that the schema does not know, in place, and returns their paths in order, such as `spec.zz`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(self, object)
    }

    /// Fills in defaults for absent fields, in place. Doing it twice changes nothing more.
    pub fn fill_defaults(&self, object: &mut Value) {
        defaults::fill(self, object);
    }

    /// Whether pruning and defaults leave the object of these bytes as it is. False for what is no JSON, too.
    pub fn leaves_as_it_is(&self, bytes: &[u8]) -> bool {
        settled::is_settled(self, bytes)
    }

    /// All causes for which `object` is invalid. With `old`, values that were already stored as they are now are
    /// tolerated (ratcheting), and CEL rules may compare.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = validate::validate(self, object, old, &Path::root());
        if !causes.iter().any(blocks_rules) {
            causes.extend(cel::validate(self, object, old));
        } else if self.has_rules() {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                       complete validation";
            causes.push(Cause::invalid("<nil>", Value::Null, why));
        }
        causes
    }

    /// Whether CEL rules stand at this node or below it.
    fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(|property| property.has_rules())
            || self.items.as_ref().is_some_and(|items| items.has_rules())
            || matches!(&self.additional, Additional::Of(values) if values.has_rules())
    }

    /// The schema of a field, whether declared or a map's value.
    pub fn child(&self, name: &str) -> Option<&Self> {
        match (self.properties.get(name), &self.additional) {
            (Some(property), _) => Some(property),
            (None, Additional::Of(value)) => Some(value),
            (None, Additional::None | Additional::Any) => None,
        }
    }

    /// Whether a field without a schema may stay.
    pub fn keeps_unknown(&self) -> bool {
        self.preserve_unknown_fields || matches!(self.additional, Additional::Any)
    }

    /// Whether values are texts, and not bytes in base64.
    fn is_text(&self) -> bool {
        self.value_type == Some(ValueType::String) && self.checks.format.as_deref() != Some("byte")
    }

    /// Whether null at this node is neither a value nor an error but to be replaced by the default.
    pub(crate) fn null_gives_way_to_default(&self) -> bool {
        self.default.is_some() && !self.nullable
    }
}
