//! Changing an object by a patch.

use bytes::Bytes;
use serde_json::Value;

use super::update::{Change, Method, Part, change_object};
use super::{Call, Written, metadata};
use crate::kinds::Resource;
use crate::negotiation;
use crate::objects;
use crate::parameters::WriteOptions;
use crate::patch::{Error, Format};
use crate::status::{Details, Status};

/// Patches of custom resources: their lists have no merge keys, so a strategic merge has no meaning.
const CUSTOM: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];
/// Patches of built-in kinds.
const BUILT_IN: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
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
        _ => Err(Status::unsupported_media_type(if call.resource.strategic {
            BUILT_IN
        } else {
            CUSTOM
        })),
    }
}

/// A patch that has been read.
#[derive(Debug, Clone)]
pub struct Patch {
    format: Format,
    value: Value,
    text: String,
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// 400 when it is no JSON.
    pub fn read(format: Format, bytes: &Bytes) -> Result<Self, Status> {
        let value = negotiation::json(bytes)?.value;
        Ok(Self {
            format,
            value,
            text: String::from_utf8_lossy(bytes).into_owned(),
        })
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
        method: Method::Patch(&patch.text),
    };
    change_object(call, name, change, |old| {
        let mut wanted = patch.apply(&call.resource, old)?;
        let found = objects::name(&wanted);
        if found != name {
            let why = format!("the name of the object ({found}) does not match the name on the URL ({name})");
            return Err(Status::bad_request(why));
        }
        metadata::check_body(call, &mut wanted)?;
        Ok(wanted)
    })
    .await
}
