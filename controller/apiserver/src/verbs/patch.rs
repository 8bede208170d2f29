//! Changing an object by a patch.

use bytes::Bytes;
use serde_json::Value;

use super::update::{Change, Method, Part, change_object};
use super::{Call, Written, metadata};
use crate::go;
use crate::kinds::{FieldValidation, Resource};
use crate::negotiation::{self, Decoded};
use crate::parameters::WriteOptions;
use crate::patch::{Error, Format};
use crate::status::{Cause, Details, GroupKind, Status};

/// Patches of custom resources: their lists have no merge keys, so a strategic merge has no meaning.
const CUSTOM: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// The media type of server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";

/// The patch format of a media type for this resource.
///
/// # Errors
/// 415 for media types that it does not take.
pub fn format(call: &Call, media_type: &str) -> Result<Format, Status> {
    match Format::of(media_type) {
        Some(format) if format != Format::Strategic || call.resource.strategic => Ok(format),
        _ if call.resource.strategic => Err(Status::unsupported_patch_type()),
        _ => Err(Status::unsupported_media_type(CUSTOM)),
    }
}

/// A patch that has been read.
#[derive(Debug, Clone)]
pub struct Patch {
    format: Format,
    value: Value,
    /// Fields that stand in it more than once, such as `duplicate field "data.a"`.
    duplicates: Vec<String>,
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// 400 when it is no JSON.
    pub fn read(format: Format, bytes: &Bytes) -> Result<Self, Status> {
        match negotiation::json(bytes) {
            Ok(Decoded { value, duplicates }) => Ok(Self {
                format,
                value,
                duplicates,
            }),
            Err(why) => {
                tracing::debug!(why, "a patch is no JSON");
                Err(Status::bad_request("invalid JSON patch"))
            }
        }
    }

    /// The patched document.
    ///
    /// # Errors
    /// 400 for what is no patch, 422 for one that does not fit the document.
    pub fn apply(&self, resource: &Resource, document: &Value) -> Result<Value, Status> {
        self.format
            .apply(document, &self.value, &|path| resource.list_merge(path))
            .map_err(|error| match error {
                Error::Malformed(why) => Status::bad_request(why),
                Error::Internal(why) => Status::new(500, "", why),
                Error::TooLarge(why) => Status::new(
                    413,
                    "RequestEntityTooLarge",
                    format!("Request entity too large: {why}"),
                ),
                Error::Unprocessable(why) => {
                    tracing::debug!(why, "a patch does not fit its object");
                    Status::new(
                        422,
                        "Invalid",
                        "the server rejected our request due to an error in our request",
                    )
                    .with_details(Details::default())
                }
            })
    }
}

impl Patch {
    /// The refusal of an object that the patch makes of `document`.
    pub(super) fn refused(&self, resource: &Resource, document: &Value, why: &str) -> Status {
        let cause = Cause::invalid("patch", Value::from(self.quoted(resource, document)), why);
        Status::invalid(&GroupKind::default(), "", vec![cause])
    }

    /// Doubled fields of the object in the patch; operations of a JSON patch are none.
    fn duplicates(&self) -> &[String] {
        match self.format {
            Format::Json => &[],
            Format::Merge | Format::Strategic => &self.duplicates,
        }
    }

    /// What a refusal quotes of the patch: the object that it makes of `document`, or a strategic patch itself.
    pub(super) fn quoted(&self, resource: &Resource, document: &Value) -> String {
        if self.format == Format::Strategic {
            return go::printed(&self.value);
        }
        match self.apply(resource, document) {
            Ok(patched) if resource.is_custom() => go::sorted(&patched).to_string(),
            Ok(patched) => in_order_of_structs(patched).to_string(),
            Err(_) => self.value.to_string(),
        }
    }
}

/// A patched object of a built-in kind as upstream prints it: its own fields by name, those of `metadata` as its struct has them.
fn in_order_of_structs(patched: Value) -> Value {
    const OF_METADATA: [&str; 15] = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    let Value::Object(fields) = patched else {
        return patched;
    };
    let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (_, metadata) in fields.iter_mut().filter(|(name, _)| name == "metadata") {
        if let Value::Object(entries) = metadata {
            let mut entries: Vec<(String, Value)> = std::mem::take(entries).into_iter().collect();
            let place = |name: &str| OF_METADATA.iter().position(|one| *one == name);
            entries.sort_by_key(|(name, _)| place(name).unwrap_or(OF_METADATA.len()));
            *metadata = entries.into_iter().collect();
        }
    }
    fields.into_iter().collect()
}

/// Patches an object, or a part of it.
///
/// # Errors
/// 400, 404, 409, 422 and others, as upstream has them.
pub async fn patch(
    call: &Call,
    name: &str,
    part: Part,
    patch: &Patch,
    options: WriteOptions,
) -> Result<Written, Status> {
    let change = Change {
        part,
        options,
        method: Method::Patch(Some(patch)),
    };
    let written = change_object(call, name, change, |old| {
        let mut wanted = patch.apply(&call.resource, old)?;
        if options.field_validation == FieldValidation::Strict && !patch.duplicates().is_empty() {
            let why = format!("strict decoding error: {}", patch.duplicates().join(", "));
            return Err(patch.refused(&call.resource, old, &why));
        }
        if let Some(why) = metadata::foreign_type(&call.resource, &wanted) {
            return Err(patch.refused(&call.resource, old, &why));
        }
        metadata::check_name(&wanted, name)?;
        metadata::check_body(call, &mut wanted)?;
        Ok(wanted)
    })
    .await?;
    let mut warnings = match options.field_validation {
        FieldValidation::Warn => patch.duplicates().to_vec(),
        FieldValidation::Strict | FieldValidation::Ignore => Vec::new(),
    };
    warnings.extend(written.warnings);
    Ok(Written { warnings, ..written })
}
