//! Small messages on a stream: postcard behind a length of four bytes. Used for openings and on the
//! control stream; frames have their own format.

use std::{io, time::Duration};

use bytes::{Buf, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::AsyncReadExt;

/// Why no message came or went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("message of {got} bytes, at most {limit} are accepted")]
    TooLarge { got: usize, limit: usize },
    #[error("message is not understood")]
    Malformed(#[source] postcard::Error),
    #[error("stream ended in the middle of a message")]
    Truncated,
    #[error("stream cannot be read")]
    Read(#[source] io::Error),
    #[error("stream cannot be written")]
    Write(#[source] quinn::WriteError),
    #[error("no progress within {0:?}")]
    Deadline(Duration),
    #[error("the first stream does not begin with a hello")]
    NoHello,
}

/// The message with its length, ready to be written.
pub(crate) fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes = postcard::to_extend(message, bytes).expect("plain values always serialise into memory");
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Writes one message.
pub(crate) async fn write(
    stream: &mut quinn::SendStream,
    message: &impl Serialize,
    within: Duration,
) -> Result<(), Error> {
    match tokio::time::timeout(within, stream.write_all(&encode(message))).await {
        Ok(written) => written.map_err(Error::Write),
        Err(_) => Err(Error::Deadline(within)),
    }
}

/// Reads messages off a stream. Dropping the future of [`Self::next`] loses nothing.
pub(crate) struct Reader {
    pub(crate) stream: quinn::RecvStream,
    /// Bytes that have arrived and are not taken yet.
    pub(crate) buffer: BytesMut,
}

impl Reader {
    pub(crate) fn new(stream: quinn::RecvStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next message of at most `limit` bytes; `None` at the stream's end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self, limit: usize) -> Result<Option<T>, Error> {
        loop {
            if let Some(message) = take(&mut self.buffer, limit)? {
                return Ok(Some(message));
            }
            self.buffer.reserve(1024);
            if self
                .stream
                .read_buf(&mut self.buffer)
                .await
                .map_err(Error::Read)?
                == 0
            {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(Error::Truncated)
                };
            }
        }
    }

    /// As [`Self::next`], for a message that must come, and soon.
    pub(crate) async fn expect<T: DeserializeOwned>(
        &mut self,
        limit: usize,
        within: Duration,
    ) -> Result<T, Error> {
        match tokio::time::timeout(within, self.next(limit)).await {
            Ok(message) => message?.ok_or(Error::Truncated),
            Err(_) => Err(Error::Deadline(within)),
        }
    }
}

/// Takes a whole message from the front of `buffer`, or nothing if it is not there yet.
fn take<T: DeserializeOwned>(buffer: &mut BytesMut, limit: usize) -> Result<Option<T>, Error> {
    let Some(length) = buffer.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > limit {
        return Err(Error::TooLarge { got: length, limit });
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    postcard::from_bytes(&buffer.split_to(length))
        .map(Some)
        .map_err(Error::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        frame::SessionId,
        opening::{Opening, Preamble},
    };

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _outcome = take::<Preamble>(&mut BytesMut::from(&bytes[..]), 4096);
        }

        #[test]
        fn an_opening_comes_back_as_it_was(
            pipeline in ".{0,80}", revision: u64, worker_epoch: u64, session: u64,
            body in prop::collection::vec(any::<u8>(), 0..500),
        ) {
            let opening = Opening { pipeline, revision, worker_epoch, session: SessionId(session), body };
            let mut wire = BytesMut::from(&encode(&Preamble::Session(opening.clone()))[..]);
            let back = take::<Preamble>(&mut wire, 4096).unwrap();
            prop_assert_eq!(back, Some(Preamble::Session(opening)));
            prop_assert!(wire.is_empty());
        }
    }

    #[test]
    fn an_oversize_message_is_refused_at_its_length() {
        let error = take::<Preamble>(&mut BytesMut::from(&[0, 0, 1, 0][..]), 4096).unwrap_err();
        assert!(matches!(
            error,
            Error::TooLarge {
                got: 65536,
                limit: 4096
            }
        ));
    }
}
