//! The unit of work on a hop: a header that says whose it is and where it belongs, and a payload that this
//! room never looks into. The bytes on the wire, and their checks; pure.
//!
//! ```text
//! offset 0        4    5        6        8       12        16       24        32        40     48        56
//!        length   kind encoding reserved ceiling position  session  pipeline  revision  epoch  budget_ms payload…
//!        u32      u8   u8       u16      u32     u32       u64      u64       u64       u64    u32 + u32 spare
//! ```
//! Little endian; `length` counts everything behind itself. The version is the connection's ALPN
//! ([`crate::PROTOCOL`]), so that a frame need not repeat it.

use std::{fmt, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::encoding::Encoding;

/// Bytes of the length at the start of a frame.
pub(crate) const LENGTH_BYTES: usize = 4;
/// Bytes of a frame before its payload, its length included.
pub const HEADER_BYTES: usize = 56;

/// Names one session on all its hops. Made by the head of the session; random, so that two heads need not
/// agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

impl SessionId {
    /// A new session's name.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Names a pipeline in eight bytes: the start of the SHA-256 of its full name, which the opening of the
/// stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PipelineId(pub u64);

impl PipelineId {
    /// The name in short.
    pub fn of(name: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
        let (start, _) = digest
            .as_ref()
            .split_first_chunk()
            .expect("a SHA-256 has 32 bytes");
        Self(u64::from_le_bytes(*start))
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// What a frame is for. Decoding goes before prefill on a shared connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Rows of a prompt, one chunk of them.
    Prefill = 1,
    /// Rows of new tokens.
    Decode = 2,
    /// Tokens that were sampled, on their way to the head.
    Tokens = 3,
    /// Anything else that the two agents agreed on.
    Control = 4,
    /// A refusal; made by [`crate::Sender::refuse`], never handed out as a frame.
    Refusal = 5,
    /// Bytes without meaning that measure a link.
    Probe = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Prefill,
            Self::Decode,
            Self::Tokens,
            Self::Control,
            Self::Refusal,
            Self::Probe,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }

    /// The stream priority while frames of this kind are sent: QUIC sends higher ones first.
    pub(crate) fn priority(self) -> i32 {
        match self {
            Self::Probe => -1,
            Self::Prefill => 0,
            Self::Decode | Self::Tokens | Self::Control | Self::Refusal => 1,
        }
    }
}

/// Whose a frame is and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The session.
    pub session: SessionId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The revision of the pipeline by which the sender was wired.
    pub revision: u64,
    /// The epoch of the receiving stage's worker, as the sender last heard it: a restarted worker has
    /// another one.
    pub worker_epoch: u64,
    /// The position of the first row in the session.
    pub position: u32,
    /// How much time is left for this frame when it leaves the sender; `None` for no limit. Kept in
    /// milliseconds, at most 49 days.
    pub budget: Option<Duration>,
    /// What the frame is for.
    pub kind: Kind,
    /// How the payload's rows are written.
    pub encoding: Encoding,
}

/// A header and its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Whose it is and where it belongs.
    pub header: Header,
    /// What it carries.
    pub payload: Bytes,
}

/// Why bytes are not a frame. The stream cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The frame says that it is longer than this end accepts.
    #[error("frame of {got} bytes, at most {limit} are accepted")]
    TooLarge {
        /// Its length, bytes.
        got: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// The frame says that it is shorter than a header.
    #[error("frame of {0} bytes is shorter than its header")]
    TooShort(usize),
    /// No kind has this number.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// No encoding has this number.
    #[error("unknown encoding {0}")]
    UnknownEncoding(u8),
    /// Bits that this version leaves zero are set.
    #[error("reserved bits of the frame header are set")]
    Reserved,
}

impl Frame {
    /// Bytes on the wire.
    pub fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// The header as it is sent before the payload. `ceiling` is what the sender's congestion window
    /// allows, KiB per second (see [`crate::figures`]).
    pub(crate) fn encode_header(&self, ceiling: u32) -> Bytes {
        let Header {
            session,
            pipeline,
            revision,
            worker_epoch,
            position,
            budget,
            kind,
            encoding,
        } = self.header;
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES);
        bytes.put_u32_le((self.wire_bytes() - LENGTH_BYTES) as u32);
        bytes.put_u8(kind as u8);
        bytes.put_u8(encoding as u8);
        bytes.put_u16_le(0);
        bytes.put_u32_le(ceiling);
        bytes.put_u32_le(position);
        bytes.put_u64_le(session.0);
        bytes.put_u64_le(pipeline.0);
        bytes.put_u64_le(revision);
        bytes.put_u64_le(worker_epoch);
        // One is added, so that a budget of nothing is not read as no limit.
        let budget_ms = budget.map_or(0, |budget| {
            budget.as_millis().min(u128::from(u32::MAX) - 1) as u32 + 1
        });
        bytes.put_u32_le(budget_ms);
        bytes.put_u32_le(0);
        bytes.freeze()
    }
}

/// What the start of a frame in `buffer` tells: how long it is in all, and the sender's ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// Bytes of the whole frame on the wire.
    pub(crate) wire_bytes: usize,
    /// KiB per second that the sender's congestion window allowed.
    pub(crate) ceiling: u32,
}

/// Reads the start of a frame, once all of its header is there; refuses lengths that cannot be right as
/// soon as they are seen, before memory is set aside for them.
pub(crate) fn start(buffer: &[u8], limit: usize) -> Result<Option<Start>, Error> {
    let Some(length) = buffer.first_chunk() else {
        return Ok(None);
    };
    let wire_bytes = (u32::from_le_bytes(*length) as usize).saturating_add(LENGTH_BYTES);
    if wire_bytes < HEADER_BYTES {
        return Err(Error::TooShort(wire_bytes));
    }
    if wire_bytes > limit {
        return Err(Error::TooLarge {
            got: wire_bytes,
            limit,
        });
    }
    let ceiling = buffer
        .get(8..12)
        .and_then(|bytes| bytes.first_chunk())
        .map(|bytes| u32::from_le_bytes(*bytes));
    Ok(ceiling.map(|ceiling| Start { wire_bytes, ceiling }))
}

/// Takes one whole frame from the front of `buffer`, or nothing if it is not there yet. `limit` is the
/// longest frame that is accepted, header included, in bytes.
pub fn take(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, Error> {
    let Some(Start { wire_bytes, .. }) = start(buffer, limit)? else {
        return Ok(None);
    };
    if buffer.len() < wire_bytes {
        return Ok(None);
    }
    let mut bytes = buffer.split_to(wire_bytes).freeze();
    bytes.advance(LENGTH_BYTES);
    let kind_byte = bytes.get_u8();
    let encoding_byte = bytes.get_u8();
    let reserved = bytes.get_u16_le();
    let _ceiling = bytes.get_u32_le();
    let position = bytes.get_u32_le();
    let session = SessionId(bytes.get_u64_le());
    let pipeline = PipelineId(bytes.get_u64_le());
    let revision = bytes.get_u64_le();
    let worker_epoch = bytes.get_u64_le();
    let budget_ms = bytes.get_u32_le();
    let spare = bytes.get_u32_le();
    if reserved != 0 || spare != 0 {
        return Err(Error::Reserved);
    }
    let kind = Kind::from_byte(kind_byte).ok_or(Error::UnknownKind(kind_byte))?;
    let encoding = Encoding::from_byte(encoding_byte).ok_or(Error::UnknownEncoding(encoding_byte))?;
    let budget = budget_ms
        .checked_sub(1)
        .map(|ms| Duration::from_millis(u64::from(ms)));
    let header = Header {
        session,
        pipeline,
        revision,
        worker_epoch,
        position,
        budget,
        kind,
        encoding,
    };
    Ok(Some(Frame {
        header,
        payload: bytes,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let kind = prop::sample::select(vec![
            Kind::Prefill,
            Kind::Decode,
            Kind::Tokens,
            Kind::Control,
            Kind::Probe,
        ]);
        let encoding = prop::sample::select(vec![
            Encoding::Opaque,
            Encoding::F32,
            Encoding::F16,
            Encoding::Int8Outliers,
        ]);
        let budget = prop::option::of((0..u64::from(u32::MAX) - 1).prop_map(Duration::from_millis));
        let numbers = any::<(u64, u64, u64, u64, u32)>();
        (
            numbers,
            budget,
            kind,
            encoding,
            prop::collection::vec(any::<u8>(), 0..2000),
        )
            .prop_map(
                |((session, pipeline, revision, worker_epoch, position), budget, kind, encoding, payload)| {
                    Frame {
                        header: Header {
                            session: SessionId(session),
                            pipeline: PipelineId(pipeline),
                            revision,
                            worker_epoch,
                            position,
                            budget,
                            kind,
                            encoding,
                        },
                        payload: payload.into(),
                    }
                },
            )
    }

    fn on_the_wire(frame: &Frame) -> Vec<u8> {
        [frame.encode_header(7).as_ref(), frame.payload.as_ref()].concat()
    }

    proptest! {
        #[test]
        fn frames_come_back_as_they_were_however_the_bytes_arrive(
            frames in prop::collection::vec(any_frame(), 1..4),
            step in 1usize..300,
        ) {
            let wire: Vec<u8> = frames.iter().flat_map(on_the_wire).collect();
            prop_assert_eq!(wire.len(), frames.iter().map(Frame::wire_bytes).sum::<usize>());
            let mut buffer = BytesMut::new();
            let mut received = Vec::new();
            for piece in wire.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = take(&mut buffer, LIMIT).unwrap() {
                    received.push(frame);
                }
            }
            prop_assert_eq!(received, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), limit in 0usize..600) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = take(&mut buffer, limit) {
                prop_assert!(frame.wire_bytes() <= limit);
            }
        }

        #[test]
        fn a_damaged_frame_never_panics(frame in any_frame(), at in 0usize..HEADER_BYTES, byte in any::<u8>()) {
            let mut wire = on_the_wire(&frame);
            wire[at] = byte;
            let _outcome = take(&mut BytesMut::from(&wire[..]), LIMIT);
        }
    }

    #[test]
    fn an_oversize_length_is_refused_before_the_frame_has_arrived() {
        let error = take(&mut BytesMut::from(&[0xff, 0xff, 0xff, 0x7f][..]), LIMIT).unwrap_err();
        assert_eq!(
            error,
            Error::TooLarge {
                got: 0x8000_0003,
                limit: LIMIT
            }
        );
    }

    #[test]
    fn a_length_shorter_than_a_header_is_refused() {
        assert_eq!(
            take(&mut BytesMut::from(&[1, 0, 0, 0][..]), LIMIT),
            Err(Error::TooShort(5))
        );
    }

    #[test]
    fn a_pipeline_has_the_same_short_name_everywhere() {
        // The first eight bytes of SHA-256("abc"), ba7816bf 8f01cfea, read as little endian.
        assert_eq!(PipelineId::of("abc"), PipelineId(0xeacf_018f_bf16_78ba));
    }
}
