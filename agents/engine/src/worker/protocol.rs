//! What agent and worker say to each other: a message in postcard, and behind it hidden states as they are.
//!
//! ```text
//! u32 message length │ u32 tail length │ message │ tail        (little-endian)
//! ```
//!
//! Both ends are the same program, so the format has no version.

use std::{
    io::{self, ErrorKind, Read, Write},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Epoch;
use crate::{Batch, BatchOutput, Benchmark, Error, Input, LoadStage, Roles, StageId};

/// A longer message is a broken one: histories of 256 sessions of 8,192 tokens take 10 MB.
const MESSAGE_BYTES_MAX: u32 = 64 << 20;
/// 4,096 rows of 16,384 floats.
const TAIL_BYTES_MAX: u32 = 256 << 20;

/// From the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The first message: how to run. Answered by [`Reply::Done`].
    Begin {
        epoch: Epoch,
        threads: u32,
        compute_share_cores: Option<f64>,
        cache_dir: PathBuf,
    },
    /// Another share of the machine, from the next batch on. Answered by [`Reply::Done`].
    Share {
        threads: u32,
        compute_share_cores: Option<f64>,
    },
    /// Answered by any number of [`Reply::Progress`] and a [`Reply::Loaded`].
    Load(LoadStage),
    /// Answered by [`Reply::Done`].
    Unload(StageId),
    /// Answered by [`Reply::Output`].
    Execute(Batch),
    /// Answered by [`Reply::Done`].
    Truncate {
        epoch: Epoch,
        stage: StageId,
        slot: u32,
        keep_positions: u32,
    },
    /// Answered by [`Reply::Benchmark`].
    Benchmark {
        model_path: PathBuf,
        model_digest: String,
    },
}

/// From the worker. Any request may be answered by [`Reply::Failed`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Progress(f32),
    Loaded(Description),
    Output(BatchOutput),
    Benchmark(Benchmark),
    Failed(Error),
}

/// A stage that was loaded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(super) roles: Roles,
    pub(super) embedding_length: u32,
    pub(super) vocabulary: u32,
    pub(super) took: Duration,
}

/// A message whose hidden states travel behind it.
pub(super) trait Message: Serialize + DeserializeOwned {
    /// The hidden states in it.
    fn tail(&self) -> Bytes;
    /// Puts the hidden states back.
    fn attach(&mut self, tail: Bytes);
}

impl Message for Request {
    fn tail(&self) -> Bytes {
        match self {
            Self::Execute(Batch {
                input: Input::Hidden(hidden),
                ..
            }) => hidden.clone(),
            _ => Bytes::new(),
        }
    }

    fn attach(&mut self, tail: Bytes) {
        if let Self::Execute(Batch {
            input: Input::Hidden(hidden),
            ..
        }) = self
        {
            *hidden = tail;
        }
    }
}

impl Message for Reply {
    fn tail(&self) -> Bytes {
        match self {
            Self::Output(output) => output.hidden.clone(),
            _ => Bytes::new(),
        }
    }

    fn attach(&mut self, tail: Bytes) {
        if let Self::Output(output) = self {
            output.hidden = tail;
        }
    }
}

/// A message as it is sent, without its tail.
pub(super) fn encode(message: &impl Message, tail: &Bytes) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 8];
    frame = postcard::to_extend(message, frame)
        .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    let [message_bytes, tail_bytes] =
        [frame.len() - 8, tail.len()].map(|length| u32::try_from(length).unwrap_or(u32::MAX));
    check(message_bytes, tail_bytes)?;
    frame[..4].copy_from_slice(&message_bytes.to_le_bytes());
    frame[4..8].copy_from_slice(&tail_bytes.to_le_bytes());
    Ok(frame)
}

fn decode<M: Message>(message: &[u8], tail: Vec<u8>) -> io::Result<M> {
    let mut message: M =
        postcard::from_bytes(message).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    message.attach(tail.into());
    Ok(message)
}

fn lengths(head: [u8; 8]) -> io::Result<(usize, usize)> {
    let [message, tail] =
        [0, 4].map(|at| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes")));
    check(message, tail)?;
    Ok((message as usize, tail as usize))
}

fn check(message_bytes: u32, tail_bytes: u32) -> io::Result<()> {
    if message_bytes > MESSAGE_BYTES_MAX || tail_bytes > TAIL_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "message is too long"));
    }
    Ok(())
}

/// Sends a message (the worker's end).
pub(super) fn send(stream: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let tail = message.tail();
    stream.write_all(&encode(message, &tail)?)?;
    stream.write_all(&tail)
}

/// Waits for a message (the worker's end).
pub(super) fn receive<M: Message>(stream: &mut impl Read) -> io::Result<M> {
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let (message_bytes, tail_bytes) = lengths(head)?;
    let (mut message, mut tail) = (vec![0; message_bytes], vec![0; tail_bytes]);
    stream.read_exact(&mut message)?;
    stream.read_exact(&mut tail)?;
    decode(&message, tail)
}

/// Sends a message (the agent's end).
pub(super) async fn send_async(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
) -> io::Result<()> {
    let tail = message.tail();
    let frame = encode(message, &tail)?;
    stream.write_all(&frame).await?;
    stream.write_all(&tail).await
}

/// Waits for a message (the agent's end). Not safe to cancel: a message that was read in part is lost.
pub(super) async fn receive_async<M: Message>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    let (message_bytes, tail_bytes) = lengths(head)?;
    let (mut message, mut tail) = (vec![0; message_bytes], vec![0; tail_bytes]);
    stream.read_exact(&mut message).await?;
    stream.read_exact(&mut tail).await?;
    decode(&message, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_states_arrive_bit_for_bit() {
        let hidden = Bytes::from_static(&[1, 2, 3, 4, 0xff, 0xff, 0xff, 0x7f]);
        let mut stream = Vec::new();
        send(
            &mut stream,
            &Reply::Output(BatchOutput {
                hidden: hidden.clone(),
                ..BatchOutput::default()
            }),
        )
        .unwrap();
        send(&mut stream, &Reply::Done).unwrap();
        let mut stream = stream.as_slice();
        assert!(matches!(receive(&mut stream).unwrap(), Reply::Output(output) if output.hidden == hidden));
        assert!(matches!(receive(&mut stream).unwrap(), Reply::Done));
        assert!(stream.is_empty());
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_anything_is_allocated() {
        let error = receive::<Reply>(&mut [0xff_u8; 64].as_slice()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
