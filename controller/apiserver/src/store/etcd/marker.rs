//! The one key that tells what lies in etcd below our prefix: its format, the offset of its revisions, and whether a restore is
//! under way.

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::messages::{Compare, Operation, PutRequest, RangeRequest, TxnRequest};
use super::{Keys, Result, medium};
use crate::store::Revision;

/// Version of what is kept. Another version is refused, not guessed at.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    format: u32,
    /// Added to etcd's revisions.
    pub(super) offset: Revision,
    /// A restore has begun and not ended: what is there is not whole.
    #[serde(default)]
    pub(super) restoring: bool,
}

impl Marker {
    pub(super) fn new(offset: Revision, restoring: bool) -> Self {
        Self {
            format: FORMAT,
            offset,
            restoring,
        }
    }

    /// Reads the marker, or makes one where none is; with the revision of etcd at which it was written.
    pub(super) async fn open(client: &Client, keys: &Keys) -> Result<(Self, i64)> {
        if let Some(marker) = Self::read(client, keys).await? {
            return Ok(marker);
        }
        let compare = Compare::last_write(&keys.marker(), 0);
        client
            .txn(&TxnRequest {
                compare: vec![compare],
                success: vec![Self::new(0, false).put(keys)?.into()],
                failure: Vec::new(),
            })
            .await?;
        // Another replica may have been first: what is there counts.
        Self::read(client, keys)
            .await?
            .ok_or_else(|| medium("read from etcd", "the key that tells its format vanished"))
    }

    /// The marker that is there, as [`Marker::open`] gives it.
    pub(super) async fn read(client: &Client, keys: &Keys) -> Result<Option<(Self, i64)>> {
        let request = RangeRequest {
            key: keys.marker(),
            ..RangeRequest::default()
        };
        let Some(found) = client.range(request).await?.kvs.pop() else {
            return Ok(None);
        };
        let unreadable = |why: String| {
            medium(
                "read from etcd",
                format!("{}: {why}", String::from_utf8_lossy(&found.key)),
            )
        };
        let marker: Self =
            serde_json::from_slice(&found.value).map_err(|error| unreadable(error.to_string()))?;
        if marker.format == FORMAT {
            Ok(Some((marker, found.mod_revision)))
        } else {
            Err(unreadable(format!(
                "it has format {}, this program reads {FORMAT}",
                marker.format
            )))
        }
    }

    /// The operation that writes it.
    pub(super) fn put(&self, keys: &Keys) -> Result<Operation> {
        let value = serde_json::to_vec(self).map_err(|error| medium("write to etcd", error))?;
        Ok(Operation::Put(PutRequest {
            key: keys.marker(),
            value,
        }))
    }
}
