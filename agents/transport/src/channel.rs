//! One session on one hop: a stream of frames in each direction, ended, refused or cancelled by either side.
//!
//! *Back-pressure*: [`Sender::send`] waits while the peer does not read; what waits inside QUIC is bounded by
//! [`crate::Limits`]. *Deadlines*: every wait has one. *Cancellation*: dropping a half that is not at its
//! end resets it, and the peer sees [`Error::Cancelled`]; dropping both frees everything on both sides.
//!
//! Futures of [`Receiver::receive`] may be dropped and asked again. A dropped [`Sender::send`] may have sent
//! half a frame, so the half is broken from then on and is reset when it is dropped.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::BytesMut;
use quinn::{Connection, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::io::AsyncReadExt;

use crate::{
    close,
    frame::{self, Frame, Header, Kind, PipelineId, SessionId},
    meter::{FrameClock, LARGE_BYTES, Meter, ceiling_now},
    refusal::{Code, Refusal},
};

/// Why a frame was not sent or received. After any of these but [`Error::Frame`] while sending and
/// [`Error::Deadline`] while receiving, the half cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer gave up, or dropped its end.
    #[error("cancelled by the peer")]
    Cancelled,
    /// The peer says why it will not go on.
    #[error("refused by the peer")]
    Refused(#[source] Refusal),
    /// The peer reads no more; its receiver's next word says why.
    #[error("the peer reads no more frames of this session")]
    Stopped,
    /// The connection to the peer died.
    #[error("peer lost: {0}")]
    PeerLost(String),
    /// No progress within this time.
    #[error("no progress within {0:?}")]
    Deadline(Duration),
    /// The frame is too large, or the peer sent something that is no frame.
    #[error("frame refused")]
    Frame(#[from] frame::Error),
    /// The stream ended in the middle of a frame.
    #[error("stream ended in the middle of a frame")]
    Truncated,
    /// This half was used after an earlier failure, after [`Sender::finish`], or after a dropped send.
    #[error("this half of the channel is closed")]
    Closed,
}

impl Error {
    /// What to tell the next hop when this one failed: the code that fits best.
    pub fn code(&self) -> Code {
        match self {
            Self::Cancelled => Code::Cancelled,
            Self::Refused(refusal) => refusal.code,
            Self::PeerLost(_) => Code::PeerLost,
            Self::Deadline(_) => Code::Deadline,
            Self::Frame(frame::Error::TooLarge { .. }) => Code::TooLarge,
            Self::Frame(_) | Self::Truncated => Code::Malformed,
            Self::Stopped | Self::Closed => Code::Internal,
        }
    }
}

/// Both halves of a session's stream on one hop.
#[derive(Debug)]
pub struct Channel {
    /// Frames to the peer.
    pub sender: Sender,
    /// Frames from the peer.
    pub receiver: Receiver,
}

impl Channel {
    pub(crate) fn new(
        (stream_out, stream_in): (SendStream, RecvStream),
        already_read: BytesMut,
        connection: Connection,
        meter: Arc<Meter>,
        max_frame_bytes: usize,
    ) -> Self {
        let sender = Sender {
            stream: stream_out,
            connection: connection.clone(),
            meter: meter.clone(),
            max_frame_bytes,
            priority: Kind::Prefill.priority(),
            state: State::Open,
        };
        let receiver = Receiver {
            stream: stream_in,
            buffer: already_read,
            connection,
            meter,
            max_frame_bytes,
            open: true,
        };
        Self { sender, receiver }
    }

    /// The two halves, for two tasks.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// See [`Sender::send`].
    pub async fn send(&mut self, frame: Frame, within: Duration) -> Result<(), Error> {
        self.sender.send(frame, within).await
    }

    /// See [`Receiver::receive`].
    pub async fn receive(&mut self, within: Duration) -> Result<Option<Frame>, Error> {
        self.receiver.receive(within).await
    }

    /// Tells the peer why this end does not go on, and ends both directions.
    pub async fn refuse(self, refusal: Refusal, within: Duration) -> Result<(), Error> {
        let Self { sender, mut receiver } = self;
        receiver.stop(refusal.code);
        sender.refuse(refusal, within).await
    }
}

/// Sends frames to the peer.
#[derive(Debug)]
pub struct Sender {
    stream: SendStream,
    connection: Connection,
    meter: Arc<Meter>,
    max_frame_bytes: usize,
    priority: i32,
    state: State,
}

/// How a sending half is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Frames can be sent.
    Open,
    /// A frame is being written, or its writing was given up half-way: nothing can follow it.
    Writing,
    /// Ended as it should; what was sent goes on being delivered.
    Finished,
}

impl Sender {
    /// Sends a frame, waiting at most `within` for room. When it returns, QUIC has taken the frame over;
    /// it need not have arrived.
    pub async fn send(&mut self, frame: Frame, within: Duration) -> Result<(), Error> {
        let wire_bytes = frame.wire_bytes();
        if wire_bytes > self.max_frame_bytes {
            return Err(frame::Error::TooLarge {
                got: wire_bytes,
                limit: self.max_frame_bytes,
            }
            .into());
        }
        if self.state != State::Open {
            return Err(Error::Closed);
        }
        self.state = State::Writing;
        self.set_priority(frame.header.kind.priority());
        let ceiling = if wire_bytes >= LARGE_BYTES {
            ceiling_now(&self.connection)
        } else {
            0
        };
        let mut pieces = [frame.encode_header(ceiling), frame.payload];
        match tokio::time::timeout(within, self.stream.write_all_chunks(&mut pieces)).await {
            Ok(Ok(())) => self.state = State::Open,
            Ok(Err(error)) => return Err(write_error(error)),
            Err(_) => {
                self.reset(Code::Deadline);
                return Err(Error::Deadline(within));
            }
        }
        if wire_bytes >= LARGE_BYTES {
            let probe_bytes = if frame.header.kind == Kind::Probe {
                wire_bytes as u64
            } else {
                0
            };
            self.meter.large_frame_sent(probe_bytes);
        }
        Ok(())
    }

    /// Ends this direction: the peer receives all frames that were sent, and then `None`.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.state != State::Open {
            return Err(Error::Closed);
        }
        self.state = State::Finished;
        // Refused only if the peer has stopped reading in the meantime.
        self.stream.finish().map_err(|_| Error::Stopped)
    }

    /// Tells the peer why this end does not go on, and ends this direction.
    pub async fn refuse(mut self, refusal: Refusal, within: Duration) -> Result<(), Error> {
        let header = Header {
            session: SessionId(0),
            pipeline: PipelineId(0),
            revision: 0,
            worker_epoch: 0,
            position: 0,
            budget: None,
            kind: Kind::Refusal,
            encoding: crate::Encoding::Opaque,
        };
        self.send(
            Frame {
                header,
                payload: refusal.encode().into(),
            },
            within,
        )
        .await?;
        self.finish()
    }

    /// Completes when the peer reads no more (it cancelled, refused, or has everything) or is lost. For
    /// an end that is busy computing and would otherwise notice only at its next frame.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let stopped = self.stream.stopped();
        async move {
            let _why = stopped.await;
        }
    }

    fn set_priority(&mut self, priority: i32) {
        // A closed stream has no priority; the write that follows reports it.
        if self.priority != priority && self.stream.set_priority(priority).is_ok() {
            self.priority = priority;
        }
    }

    fn reset(&mut self, code: Code) {
        // Fails only if the stream is finished or reset already, which is what is wanted.
        let _already_closed = self.stream.reset(VarInt::from_u32(code.number()));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // A finished stream goes on delivering; anything else was given up. quinn would finish it, and the
        // peer would take half a session for a whole one.
        if self.state != State::Finished {
            self.reset(Code::Cancelled);
        }
    }
}

/// Receives frames from the peer.
#[derive(Debug)]
pub struct Receiver {
    stream: RecvStream,
    /// Bytes that were read and are not a whole frame yet; at most one frame and one read.
    buffer: BytesMut,
    connection: Connection,
    meter: Arc<Meter>,
    max_frame_bytes: usize,
    open: bool,
}

/// How much is read at once while the length of a frame is not known. Decoding frames fit into one read.
const READ_BYTES: usize = 16 * 1024;

impl Receiver {
    /// The next frame, waiting at most `within` for all of it; `None` when the peer has finished. After
    /// [`Error::Deadline`] it may be asked again: what has arrived is kept.
    pub async fn receive(&mut self, within: Duration) -> Result<Option<Frame>, Error> {
        if !self.open {
            return Err(Error::Closed);
        }
        let Ok(outcome) = tokio::time::timeout(within, self.next()).await else {
            return Err(Error::Deadline(within));
        };
        match &outcome {
            Ok(Some(_)) => {}
            Ok(None) => self.open = false,
            Err(error) => self.stop(error.code()),
        }
        outcome
    }

    async fn next(&mut self) -> Result<Option<Frame>, Error> {
        let mut clock = None;
        loop {
            if let Some(frame) = frame::take(&mut self.buffer, self.max_frame_bytes)? {
                if let Some(timing) = clock.and_then(|clock: FrameClock| clock.stop(&self.connection)) {
                    self.meter.timed(timing);
                }
                return match frame.header.kind {
                    Kind::Refusal => Err(Error::Refused(Refusal::decode(&frame.payload))),
                    _ => Ok(Some(frame)),
                };
            }
            let start = frame::start(&self.buffer, self.max_frame_bytes)?;
            let missing = start.map_or(READ_BYTES, |start| start.wire_bytes - self.buffer.len());
            if let Some(start) = start.filter(|_| clock.is_none() && missing >= LARGE_BYTES) {
                let probe = self.buffer.get(frame::LENGTH_BYTES) == Some(&(Kind::Probe as u8));
                clock = Some(FrameClock::start(&self.connection, start.ceiling, probe));
            }
            self.buffer.reserve(missing);
            if self.stream.read_buf(&mut self.buffer).await.map_err(read_error)? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(Error::Truncated)
                };
            }
        }
    }

    /// Reads no more, and tells the peer so.
    fn stop(&mut self, code: Code) {
        // Fails only if the stream has ended already.
        let _already_ended = self.stream.stop(VarInt::from_u32(code.number()));
        self.open = false;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.open {
            self.stop(Code::Cancelled);
        }
    }
}

fn write_error(error: WriteError) -> Error {
    match error {
        WriteError::Stopped(code) if code == VarInt::from_u32(Code::Cancelled.number()) => Error::Cancelled,
        WriteError::Stopped(_) => Error::Stopped,
        WriteError::ConnectionLost(error) => Error::PeerLost(close::reason(&error)),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => Error::Closed,
    }
}

fn read_error(error: std::io::Error) -> Error {
    match error
        .get_ref()
        .and_then(|source| source.downcast_ref::<ReadError>())
    {
        Some(ReadError::Reset(code)) if *code == VarInt::from_u32(Code::Deadline.number()) => Error::Refused(
            Refusal::new(Code::Deadline, "the peer could not send a frame in time"),
        ),
        Some(ReadError::Reset(_)) => Error::Cancelled,
        Some(ReadError::ConnectionLost(error)) => Error::PeerLost(close::reason(error)),
        _ => Error::Closed,
    }
}
