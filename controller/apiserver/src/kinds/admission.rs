//! Admission of one object by its kind: prune, default, validate, in that order, as Kubernetes does.
//!
//! Not here: names, namespaces, resourceVersion and the other rules of the verbs, and who may write.

use serde_json::Value;

use super::{Resource, builtin};
use crate::go::decoding;
use crate::schema::metadata;
use crate::status::Cause;

/// What is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// An existing object; `status` has already been kept from the old one where it is a subresource.
    Update,
    /// `/status`: everything but `status` has already been kept from the old object.
    UpdateStatus,
}

/// What happens to fields that the schema does not know, from the query parameter `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Dropped without a word.
    Ignore,
    /// Dropped, with a warning for each.
    #[default]
    Warn,
    /// Refused.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; `None` when its value is not one of the three. An empty value is the default.
    pub fn parse(value: &str) -> Option<Self> {
        match value {
            "Ignore" => Some(Self::Ignore),
            "" | "Warn" => Some(Self::Warn),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// Why an object was not admitted.
#[derive(Debug, Clone, PartialEq)]
pub enum Rejection {
    /// Strict field validation met fields that the schema does not know. Each entry reads `unknown field "spec.zz"`.
    /// On create and update this is a 400, on merge and JSON patches a 422.
    UnknownFields(Vec<String>),
    /// A built-in kind's field holds a value of another type than the type it is decoded into: a 400, on patches a 422.
    Undecodable(String),
    /// The object breaks the rules of its kind: a 422 with these causes.
    Invalid(Vec<Cause>),
}

impl Resource {
    /// Prunes, defaults and validates `object` in place; `old` is the stored object on updates. Returns warnings for
    /// the `Warning` header.
    pub fn admit(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
        field_validation: FieldValidation,
    ) -> Result<Vec<String>, Rejection> {
        if !self.is_custom() {
            builtin::rules::normalise(self, operation, object, old);
        }
        metadata::drop_empty(object);
        let mut warnings = if self.refuses_bare_finalizers() {
            Vec::new()
        } else {
            metadata::finalizer_warnings(object)
        };
        if let Some(schema) = &self.schema {
            if !self.is_custom() {
                decoding::settle(schema, object);
            }
            let unknown: Vec<String> = schema
                .prune(object)
                .into_iter()
                .map(|path| format!("unknown field \"{path}\""))
                .collect();
            match field_validation {
                FieldValidation::Strict if !unknown.is_empty() => {
                    return Err(Rejection::UnknownFields(unknown));
                }
                FieldValidation::Warn => warnings.extend(unknown),
                FieldValidation::Strict | FieldValidation::Ignore => {}
            }
            schema.fill_defaults(object);
            if !self.is_custom()
                && let Some(why) = decoding::error(schema, &self.kind, object)
            {
                return Err(Rejection::Undecodable(why));
            }
            let causes = schema.validate(object, old);
            if !causes.is_empty() {
                return Err(Rejection::Invalid(causes));
            }
        }
        let mut causes = metadata::validate(object);
        if self.refuses_bare_finalizers() {
            causes.extend(metadata::finalizer_causes(object));
        }
        causes.extend(builtin::rules::validate(self, operation, object, old));
        if causes.is_empty() {
            Ok(warnings)
        } else {
            Err(Rejection::Invalid(causes))
        }
    }

    /// Whether finalizers need a domain: in kinds whose metadata upstream validates as that of the core group.
    fn refuses_bare_finalizers(&self) -> bool {
        let groups = ["", "apps", "autoscaling", "batch", "networking.k8s.io", "policy"];
        !self.is_custom() && groups.contains(&self.group.as_str())
    }

    /// Everything that strict decoding finds wrong with a body: fields that stand in it twice, and unknown ones, in upstream's order.
    pub fn strict_problems(&self, body: &Value, duplicates: &[String]) -> Vec<String> {
        let unknown = self.schema.as_ref().map(|schema| {
            let paths = schema.prune(&mut body.clone()).into_iter();
            paths.map(|path| format!("unknown field \"{path}\"")).collect()
        });
        let unknown: Vec<String> = unknown.unwrap_or_default();
        if self.is_custom() {
            [duplicates, &unknown].concat()
        } else {
            [&unknown, duplicates].concat()
        }
    }

    /// The text of a strict decoding error, for a 400: `Widget in version "v1" cannot be handled as a Widget: …`.
    /// `problems` are entries such as `unknown field "spec.zz"` or `duplicate field "spec.replicas"`.
    pub fn strict_decoding_message(&self, problems: &[String]) -> String {
        format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {problems}",
            kind = self.kind,
            version = self.version,
            problems = problems.join(", "),
        )
    }
}
