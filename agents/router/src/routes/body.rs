//! Reads a request's body within its limits.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::refusal::Refusal;

/// How much of a body that is too large is read and thrown away, as a multiple of the limit. A client that is still
/// sending when the connection closes sees a reset instead of the answer that says why.
const DISCARDED_TIMES_LIMIT: usize = 4;

pub(super) async fn read(body: Body, limit_bytes: usize, timeout: Duration) -> Result<Bytes, Refusal> {
    tokio::time::timeout(timeout, read_all(body, limit_bytes))
        .await
        .unwrap_or_else(|_elapsed| Err(Refusal::body_too_slow(timeout)))
}

async fn read_all(body: Body, limit_bytes: usize) -> Result<Bytes, Refusal> {
    let mut pieces = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut num_bytes = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_broken| Refusal::body_broke_off())?;
        num_bytes += piece.len();
        if num_bytes <= limit_bytes {
            whole.extend_from_slice(&piece);
        } else if num_bytes > limit_bytes.saturating_mul(1 + DISCARDED_TIMES_LIMIT) {
            break;
        }
    }
    if num_bytes > limit_bytes {
        Err(Refusal::body_too_large(limit_bytes))
    } else {
        Ok(whole.freeze())
    }
}
