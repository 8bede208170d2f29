//! The patch formats: pure functions from a document and a patch to the patched document.

pub mod json;
pub mod merge;
pub mod strategic;

use serde_json::Value;

use self::strategic::Strategies;

/// Why a patch could not be applied. Texts are upstream's where clients show them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch is not one: the request is bad.
    #[error("{0}")]
    Malformed(String),
    /// The patch is one, but does not fit the document (a failed `test`, a missing path): the request cannot be processed.
    #[error("the server rejected our request due to an error in our request")]
    Unprocessable(String),
    /// The patch has a directive that nobody knows: upstream takes that for its own fault.
    #[error("{0}")]
    Internal(String),
    /// The patch has more operations than are allowed.
    #[error("{0}")]
    TooLarge(String),
}

/// A patch in one of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json-patch+json`, RFC 6902.
    Json,
    /// `application/merge-patch+json`, RFC 7386.
    Merge,
    /// `application/strategic-merge-patch+json`, built-in kinds only.
    Strategic,
}

impl Format {
    /// The format of a media type (without parameters).
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }

    /// Applies the patch to the document; `strategies` says how a strategic patch merges lists.
    pub fn apply(self, document: &Value, patch: &Value, strategies: Strategies<'_>) -> Result<Value, Error> {
        match self {
            Self::Json => json::apply(document, patch),
            Self::Merge => merge::apply(document, patch),
            Self::Strategic => strategic::apply(document, patch, strategies),
        }
    }
}
