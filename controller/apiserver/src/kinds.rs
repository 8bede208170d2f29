//! What can be served: a [`Resource`] for each (group, version, plural), and [`Kinds`], the registry of them all.
//!
//! Built-in kinds and custom resources are the same struct and share every code path; `kinds/builtin` lists the first,
//! `kinds/definition` makes the second from a CustomResourceDefinition. Nothing here does I/O, reads a clock or knows
//! how objects are stored.

pub mod admission;
pub mod autoscalers;
pub mod builtin;
pub mod catalog;
pub mod definition;
pub mod events;
pub mod markers;

use std::sync::Arc;

use serde_json::Value;

pub use self::admission::{FieldValidation, Operation, Rejection};
pub use self::catalog::{Catalog, Kinds};
use crate::schema::Schema;
use crate::table::Column;

/// Verbs of a resource that is stored, in the order in which discovery lists them.
pub const STORED_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The same verbs in the order in which discovery lists them for custom resources.
pub const CUSTOM_VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// Verbs of a resource that only answers a question (an access review) and stores nothing.
pub const REVIEW_VERBS: &[&str] = &["create"];

/// One served (group, version, plural): everything that the verbs, discovery, tables and OpenAPI need to know of it.
#[derive(Debug, Clone)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version within the group, such as `v1alpha1`.
    pub version: String,
    /// Kind of one object, such as `ConfigMap`.
    pub kind: String,
    /// Kind of a list of them, such as `ConfigMapList`.
    pub list_kind: String,
    /// Lower-case plural, as it stands in paths.
    pub plural: String,
    /// Lower-case singular, as kubectl accepts it.
    pub singular: String,
    /// Short names, such as `cm`.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs that are served, in discovery's order.
    pub verbs: &'static [&'static str],
    /// What hangs below one object.
    pub subresources: Subresources,
    /// Fields that `fieldSelector` may name, besides `metadata.name` and `metadata.namespace`.
    pub selectable_fields: Vec<SelectableField>,
    /// Columns of `kubectl get`. NAME stands before them, unless they have it themselves. Empty means AGE only.
    pub columns: Vec<Column>,
    /// Schema for pruning, defaults and validation; `None` for kinds that are kept as they come.
    pub schema: Option<Arc<Schema>>,
    /// The definition's own `openAPIV3Schema`, for the OpenAPI documents of custom resources.
    pub published: Option<Arc<Value>>,
    /// Whether `application/strategic-merge-patch+json` is accepted (built-in kinds only).
    pub strategic: bool,
    /// Whether an update without `metadata.resourceVersion` is accepted and overwrites what is there.
    pub unconditional_update: bool,
    /// Whether an update of an absent object creates it.
    pub create_on_update: bool,
    /// Whether this version is served; a version that is only stored keeps its place in the registry.
    pub served: bool,
    /// Where objects of this resource are kept, and in which form.
    pub storage: Storage,
    /// Text of the `Warning` header for requests to a deprecated version.
    pub deprecation_warning: Option<String>,
    /// Text of the `Warning` header for writes of a kind that is stored and has none of its effects here.
    pub without_effect: Option<&'static str>,
    /// Who declared it.
    pub origin: Origin,
}

/// What hangs below one object.
#[derive(Debug, Clone, Default)]
pub struct Subresources {
    /// `/status`: then the main resource ignores `status`, and `/status` ignores all else.
    pub status: bool,
    /// `/scale`, with the paths of its figures.
    pub scale: Option<ScalePaths>,
    /// Subresources with a handler of their own, such as `serviceaccounts/token`.
    pub others: Vec<ExtraSubresource>,
}

/// Where the figures of `autoscaling/v1 Scale` are found in an object, as dotted JSON paths with a leading dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// Path of the wanted count, under `.spec`.
    pub spec_replicas: String,
    /// Path of the observed count, under `.status`.
    pub status_replicas: String,
    /// Path of the serialised label selector, under `.status` or `.spec`.
    pub label_selector: Option<String>,
}

/// A subresource that is neither status nor scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraSubresource {
    /// Name in the path, such as `token`.
    pub name: &'static str,
    /// Group of the kind that it takes and answers.
    pub group: &'static str,
    /// Version of that kind.
    pub version: &'static str,
    /// That kind, such as `TokenRequest`.
    pub kind: &'static str,
    /// Verbs that are served.
    pub verbs: &'static [&'static str],
}

/// A field that `fieldSelector` may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectableField {
    /// The label in a selector, such as `spec.nodeName`.
    pub label: String,
    /// The steps to the value.
    pub path: Vec<String>,
    /// The field that is compared when the value is absent; empty if none is.
    pub or_field: &'static str,
    /// What a selector compares with when the value is absent.
    pub absent: &'static str,
}

impl SelectableField {
    /// A field whose label is its own dotted path; a leading dot is dropped.
    pub fn at(path: &str) -> Self {
        let label = path.trim_start_matches('.').to_owned();
        let path = label.split('.').map(str::to_owned).collect();
        Self {
            label,
            path,
            or_field: "",
            absent: "",
        }
    }
}

/// Where objects of a resource are kept, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Group of the stored form.
    pub group: String,
    /// Version of the stored form.
    pub version: String,
    /// Plural of the stored form: with the group it names the key prefix.
    pub plural: String,
    /// How the wire form and the stored form differ.
    pub form: Form,
}

/// How the wire form and the stored form of a resource differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Only `apiVersion` differs (conversion `None`).
    SameShape,
    /// `events.k8s.io/v1 Event` over the storage of the core `Event`: fields are renamed.
    EventsGroup,
    /// `autoscaling/v1` over the storage of `autoscaling/v2`: fields move.
    AutoscalerV1,
}

/// Who declared a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This server.
    BuiltIn,
    /// The CustomResourceDefinition of this name.
    Definition(String),
}

impl Resource {
    /// `plural.group`, or the plural alone in the core group: how messages and definitions name a resource.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `Kind.group`, or the kind alone in the core group: how "is invalid" messages name a resource.
    pub fn group_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.clone()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// What Go calls the package of the kind's internal type: messages name it.
    pub fn go_package(&self) -> &str {
        match self.group.split('.').next() {
            None | Some("") => "core",
            Some(first) => first,
        }
    }

    /// Whether a custom resource definition declared it.
    pub fn is_custom(&self) -> bool {
        matches!(self.origin, Origin::Definition(_))
    }

    /// Whether objects are stored (as opposed to reviews, which only answer).
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"get")
    }

    /// Whether a subresource other than status and scale is served.
    pub fn has_extra(&self, name: &str) -> bool {
        self.subresources.others.iter().any(|other| other.name == name)
    }

    /// Whether `verb` (`get`, `list`, `deletecollection`, …) is served.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The value that a field selector compares for `label`, in an object of the wire form; `None` when this resource
    /// does not know the label.
    pub fn field_value(&self, object: &Value, label: &str) -> Option<String> {
        if label == "metadata.name" || label == "metadata.namespace" {
            return Some(
                object["metadata"][&label["metadata.".len()..]]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
        let field = self.selectable_fields.iter().find(|field| field.label == label)?;
        let value = field
            .path
            .iter()
            .fold(object, |value, step| &value[step.as_str()]);
        let value = if matches!(value, Value::Null) || *value == "" {
            object.get(field.or_field).unwrap_or(value)
        } else {
            value
        };
        Some(match value {
            Value::Null => field.absent.to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// Turns an object of the wire form into the form that is stored.
    pub fn to_storage(&self, mut object: Value) -> Value {
        match self.storage.form {
            Form::SameShape => {}
            Form::EventsGroup => events::to_core(&mut object),
            Form::AutoscalerV1 => autoscalers::to_v2(&mut object),
        }
        set_api_version(
            &mut object,
            api_version(&self.storage.group, &self.storage.version),
        );
        object
    }

    /// Whether the stored form and the wire form differ in nothing but `apiVersion` and what the schema makes of them.
    pub fn keeps_shape(&self) -> bool {
        self.storage.form == Form::SameShape && !self.is_of_events()
    }

    /// Whether its objects lie where events of the core group do.
    fn is_of_events(&self) -> bool {
        self.storage.group.is_empty() && self.storage.plural == "events"
    }

    /// Turns a stored object into the wire form of this version: `apiVersion` is this version's, fields that its schema
    /// does not know are pruned, and defaults that were added to the schema since it was written are filled in.
    pub fn from_storage(&self, mut object: Value) -> Value {
        if self.is_of_events() {
            events::fill(&mut object);
        }
        match self.storage.form {
            Form::SameShape => {}
            Form::EventsGroup => events::from_core(&mut object),
            Form::AutoscalerV1 => autoscalers::from_v2(&mut object),
        }
        set_api_version(&mut object, self.api_version());
        if let (true, Some(schema)) = (self.is_custom(), &self.schema) {
            schema.prune(&mut object);
            schema.fill_defaults(&mut object);
        }
        object
    }
}

fn set_api_version(object: &mut Value, api_version: String) {
    if let Value::Object(fields) = object {
        fields.insert("apiVersion".to_owned(), Value::from(api_version));
    }
}

/// `group/version`, or the version alone in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}
