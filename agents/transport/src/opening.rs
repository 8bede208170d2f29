//! What the first bytes of a stream say it is for.

use serde::{Deserialize, Serialize};

use crate::{control::Hello, frame::SessionId};

/// The beginning of a session on one hop. It is sent with the stream's first packet and waits for no
/// answer; a refusal comes back as the channel's first word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The pipeline's full name.
    pub pipeline: String,
    /// The revision by which the sender is wired.
    pub revision: u64,
    /// The epoch of the receiving stage's worker that the sender expects, 0 if it has not heard one yet.
    pub worker_epoch: u64,
    /// The session's name on all hops.
    pub session: SessionId,
    /// What the two agents agreed on: sampling parameters, width of rows, limits. At most
    /// [`crate::Limits::max_opening_bytes`], together with the rest of the opening.
    pub body: Vec<u8>,
}

/// The first message on each stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Preamble {
    /// The stream of pings and reports; the first on a connection, opened by who dialled.
    Control(Hello),
    /// A session's stream.
    Session(Opening),
    /// A stream with one frame without meaning, to be timed.
    Probe,
}
