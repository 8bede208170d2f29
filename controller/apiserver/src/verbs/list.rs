//! Listing a collection: selected, page by page, all pages at one revision.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Call;
use crate::go::{self, syntax};
use crate::kinds::Resource;
use crate::parameters::{At, ListOptions};
use crate::selector::Selector;
use crate::status::Status;
use crate::storage;
use crate::store::{self, Entry, Range};

/// Entries read from the store at once when selectors may drop most of them.
const SCAN: usize = 1000;

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed<T = Value> {
    /// The objects, in the order of their keys.
    pub items: Vec<T>,
    /// The revision at which all pages are read.
    pub revision: u64,
    /// Token for the next page, if there is one.
    pub continue_token: Option<String>,
    /// How many objects follow; unknown with selectors.
    pub remaining: Option<usize>,
}

/// Where the next page begins; clients carry it as opaque text.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Continuation {
    #[serde(rename = "v")]
    version: String,
    /// Revision of the first page; -1 for whatever is current (an expired list that goes on inconsistently).
    rv: i64,
    /// The last key given, without the resource's prefix.
    start: String,
}

/// The fields of a token, and the types that Go decodes them into.
type Field = (&'static str, fn(&Value) -> bool, &'static str);
const FIELDS: [Field; 3] = [
    ("v", Value::is_string, "string"),
    ("rv", Value::is_i64, "int64"),
    ("start", Value::is_string, "string"),
];

const CONTINUATION_VERSION: &str = "meta.k8s.io/v1";
const INCONSISTENT: i64 = -1;

impl Continuation {
    fn new(rv: i64, start: &str) -> Self {
        Self {
            version: CONTINUATION_VERSION.to_owned(),
            rv,
            start: start.to_owned(),
        }
    }

    fn to_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("three plain fields serialize"))
    }

    fn read(token: &str) -> Result<Self, Status> {
        let invalid = |why: &str| {
            Status::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(token.trim_end_matches('='))
            .map_err(|error| invalid(&base64_error(&error)))?;
        let read: Value = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(&syntax::error(&bytes).unwrap_or_else(|| error.to_string())))?;
        if !read.is_object() {
            return Err(invalid(&go::cannot_unmarshal(&read, "storage.continueToken")));
        }
        for (field, is_right, wanted) in FIELDS {
            if let Some(value) = read
                .get(field)
                .filter(|value| !value.is_null() && !is_right(value))
            {
                let found = match value {
                    Value::Number(number) => format!("number {number}"),
                    other => go::type_name(other).to_owned(),
                };
                let why = format!(
                    "json: cannot unmarshal {found} into Go struct field continueToken.{field} of type {wanted}"
                );
                return Err(invalid(&why));
            }
        }
        let mut read: Self = serde_json::from_value(read).map_err(|error| invalid(&error.to_string()))?;
        let version = &read.version;
        if version != CONTINUATION_VERSION {
            return Err(invalid(&format!(
                "server does not recognize this encoded version {version}"
            )));
        }
        if read.rv == 0 {
            let why = format!("incorrect encoded start resourceVersion (version {version})");
            return Err(invalid(&why));
        }
        if read.start.is_empty() {
            return Err(invalid(&format!("encoded start key empty (version {version})")));
        }
        let start = read.start.strip_prefix('/').unwrap_or(&read.start);
        if start.split('/').any(|step| matches!(step, "" | "." | "..")) {
            return Err(invalid(&read.start));
        }
        read.start = start.to_owned();
        Ok(read)
    }
}

/// Lists what is selected; `only_name` restricts to one name beyond the selectors.
///
/// # Errors
/// As [`entries`].
pub async fn list(call: &Call, options: &ListOptions, only_name: Option<&str>) -> Result<Listed, Status> {
    entries(call, options, only_name).await?.decoded(&call.resource)
}

/// Lists what is selected, as it is stored.
///
/// # Errors
/// 400 for selectors and tokens that cannot be read, 410 for a version no longer kept, 504 for one from the future.
pub async fn entries(
    call: &Call,
    options: &ListOptions,
    only_name: Option<&str>,
) -> Result<Listed<Entry>, Status> {
    let mut selector = Selector::parse(&options.label_selector, &options.field_selector, &call.resource)?;
    let counts_remaining = selector.is_empty();
    if let Some(name) = only_name {
        selector = selector.and_name(name);
    }
    let prefix = storage::prefix(&call.resource, &call.namespace);
    let (mut at, mut after) = start(call, options, &prefix).await?;
    let mut items = Vec::new();
    loop {
        let wanted = options.limit.map(|limit| limit - items.len());
        let scanned = if selector.is_empty() {
            wanted
        } else {
            wanted.map(|wanted| wanted.max(SCAN))
        };
        let range = Range {
            at,
            after: after.as_deref(),
            limit: scanned,
        };
        let page = call
            .server
            .store()
            .list(&prefix, range)
            .await
            .map_err(|error| expired(error, options, &prefix, after.as_deref()))?;
        at = Some(page.revision);
        let (mut remaining, mut left_over) = (page.remaining, page.entries.len());
        for entry in page.entries {
            if wanted.is_some_and(|wanted| wanted == 0) || options.limit == Some(items.len()) {
                break;
            }
            left_over -= 1;
            after = Some(entry.key.to_string());
            if selects(call, &selector, &entry)? {
                items.push(entry);
            }
        }
        remaining += left_over;
        let full = options.limit == Some(items.len());
        if full || remaining == 0 {
            let more = (remaining > 0).then_some(after).flatten();
            let continue_token = more.map(|key| token(page.revision, &prefix, &key));
            let remaining = (counts_remaining && continue_token.is_some()).then_some(remaining);
            return Ok(Listed {
                items,
                revision: page.revision,
                continue_token,
                remaining,
            });
        }
    }
}

/// The entries that a watch begins with, and their revision.
pub(super) async fn snapshot(
    call: &Call,
    prefix: &str,
    selector: &Selector,
) -> Result<(Vec<Entry>, u64), Status> {
    let page = call
        .server
        .store()
        .list(prefix, Range::default())
        .await
        .map_err(storage::refusal)?;
    let mut selected = Vec::new();
    for entry in page.entries {
        if selects(call, selector, &entry)? {
            selected.push(entry);
        }
    }
    Ok((selected, page.revision))
}

fn selects(call: &Call, selector: &Selector, entry: &Entry) -> Result<bool, Status> {
    if selector.is_empty() {
        return Ok(true);
    }
    let resource = &call.resource;
    if selector.reads_only_metadata()
        && let Some(head) = storage::head(&entry.value)
    {
        return Ok(selector.matches(resource, &head));
    }
    Ok(selector.matches(resource, &storage::decode(resource, entry)?))
}

fn token(revision: u64, prefix: &str, key: &str) -> String {
    let rv = i64::try_from(revision).expect("a server does not write 2^63 times");
    Continuation::new(rv, key.strip_prefix(prefix).unwrap_or(key)).to_token()
}

fn base64_error(error: &base64::DecodeError) -> String {
    match error {
        base64::DecodeError::InvalidByte(place, _) | base64::DecodeError::InvalidLastSymbol(place, _) => {
            format!("illegal base64 data at input byte {place}")
        }
        other => other.to_string(),
    }
}

/// The revision to read at, and the key to start after.
async fn start(
    call: &Call,
    options: &ListOptions,
    prefix: &str,
) -> Result<(Option<u64>, Option<String>), Status> {
    if !options.continue_token.is_empty() {
        if !matches!(options.at, At::Newest | At::Any) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let continuation = Continuation::read(&options.continue_token)?;
        let after = format!("{prefix}{}", continuation.start);
        return Ok((u64::try_from(continuation.rv).ok(), Some(after)));
    }
    match options.at {
        At::Newest | At::Any => Ok((None, None)),
        At::Exactly(revision) => Ok((Some(revision), None)),
        At::NotOlderThan(asked) => {
            let current = call.server.store().revision().await.map_err(storage::refusal)?;
            if asked > current {
                Err(Status::too_large_resource_version(asked, current))
            } else {
                Ok((None, None))
            }
        }
    }
}

/// 410 in upstream's words; with a token that goes on at the present state if pages had been given already.
fn expired(error: store::Error, options: &ListOptions, prefix: &str, after: Option<&str>) -> Status {
    if !matches!(error, store::Error::Compacted { .. }) {
        return storage::refusal(error);
    }
    let (Some(after), false) = (after, options.continue_token.is_empty()) else {
        return Status::expired("The resourceVersion for the provided list is too old.");
    };
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue \
         parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided \
         token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was \
         returned and now may show up in the list.",
    );
    let start = after.strip_prefix(prefix).unwrap_or(after);
    status.continue_token = Some(Continuation::new(INCONSISTENT, start).to_token().into());
    status
}

impl Listed<Entry> {
    /// The same with objects in the wire form.
    ///
    /// # Errors
    /// As [`storage::decode`].
    pub fn decoded(self, resource: &Resource) -> Result<Listed, Status> {
        let Self {
            items,
            revision,
            continue_token,
            remaining,
        } = self;
        let items = items.iter().map(|entry| storage::decode(resource, entry));
        Ok(Listed {
            items: items.collect::<Result<_, _>>()?,
            revision,
            continue_token,
            remaining,
        })
    }
}

impl<T> Listed<T> {
    /// The list's own metadata.
    pub fn metadata(&self) -> Map<String, Value> {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".into(), token.clone().into());
        }
        if let Some(remaining) = self.remaining {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_rubbish_is_refused() {
        let continuation = Continuation::new(7, "default/a");
        assert_eq!(Continuation::read(&continuation.to_token()), Ok(continuation));
        for rubbish in ["x", "e30", "%%"] {
            assert_eq!(
                Continuation::read(rubbish).map_err(|status| status.code),
                Err(400),
                "{rubbish}"
            );
        }
    }
}
