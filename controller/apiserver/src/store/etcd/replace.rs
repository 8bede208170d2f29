//! Replacing everything that lies in etcd below our prefix, as a restore does. Servers that run notice: they refuse writes meanwhile,
//! and read everything anew afterwards.

use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::follow::newest;
use super::messages::{DeleteRangeRequest, Operation, RequestOp, TxnRequest};
use super::{Config, Keys, Marker, Result, compact, put};
use crate::store::Revision;

/// Entries in one transaction, of which etcd allows 128, and bytes, of which it allows 1.5 MiB.
const ENTRIES_PER_TRANSACTION: usize = 100;
const BYTES_PER_TRANSACTION: usize = 1 << 20;

/// Puts these entries in the place of all that is there, at revisions after `beyond` and after all that were ever told; gives back the
/// newest. `progress` is told how many entries have been written.
///
/// # Errors
/// When etcd fails. What is there is then not whole, servers refuse it, and the call has to be repeated.
pub async fn replace(
    config: &Config,
    entries: &[(Arc<str>, Bytes)],
    beyond: Revision,
    mut progress: impl FnMut(usize),
) -> Result<Revision> {
    let client = Client::new(config)?;
    let keys = Keys::new(&config.prefix);
    let (before, at) = Marker::open(&client, &keys).await?;
    keys.adopt(before.offset, at);
    let current = newest(&client, &keys).await?;
    // Whatever is written from now on has a revision of etcd after this one.
    let offset = before.offset + (beyond.max(current) - current);

    let (key, range_end) = keys.range();
    let clear = Operation::DeleteRange(DeleteRangeRequest { key, range_end });
    write(
        &client,
        vec![Marker::new(offset, true).put(&keys)?.into(), clear.into()],
    )
    .await?;
    let (mut batch, mut bytes): (Vec<RequestOp>, usize) = (Vec::new(), 0);
    for (number, (key, value)) in entries.iter().enumerate() {
        let weight = key.len() + value.len();
        if batch.len() == ENTRIES_PER_TRANSACTION
            || (!batch.is_empty() && bytes + weight > BYTES_PER_TRANSACTION)
        {
            write(&client, std::mem::take(&mut batch)).await?;
            bytes = 0;
            progress(number);
        }
        batch.push(put(&keys.theirs(key), value.to_vec()).into());
        bytes += weight;
    }
    write(&client, batch).await?;
    write(&client, vec![Marker::new(offset, false).put(&keys)?.into()]).await?;
    keys.adopt(offset, at);
    let revision = newest(&client, &keys).await?;
    // Nobody may read, as history, how the entries came there one by one.
    compact(&client, &keys, revision).await?;
    progress(entries.len());
    Ok(revision)
}

async fn write(client: &Client, operations: Vec<RequestOp>) -> Result<()> {
    if operations.is_empty() {
        return Ok(());
    }
    let request = TxnRequest {
        success: operations,
        ..TxnRequest::default()
    };
    client.txn(&request).await.map(drop)
}
