//! Why a peer would not go on with a session: the codes that travel in error frames, so that the other end
//! can tell a stale route from a full queue. What to do about it is decided by the agent.

use serde::{Deserialize, Serialize};

/// The longest message that is sent with a refusal; longer ones are cut.
const MAX_MESSAGE_BYTES: usize = 1024;

/// The reason of a refusal. On the wire it is known by its place in this list: new ones come at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// The frame names a revision of the pipeline that this agent does not hold.
    StaleRevision {
        /// The newest revision held here, 0 for none.
        held: u64,
        /// The revision that the frame named.
        got: u64,
    },
    /// The worker that held the session was restarted: its cache is empty.
    StaleEpoch {
        /// The epoch of the worker that runs now.
        held: u64,
        /// The epoch that the frame named.
        got: u64,
    },
    /// No hop of this pipeline is on this node.
    UnknownPipeline,
    /// This node holds no such session.
    UnknownSession,
    /// The count of positions differs: computing would give a wrong token.
    Position {
        /// The next position expected here.
        expected: u32,
        /// The position that the frame named.
        got: u32,
    },
    /// No room for another session or frame now; trying again later may succeed.
    Busy,
    /// The frame's time budget was used up.
    Deadline,
    /// The client or the head of the session gave up.
    Cancelled,
    /// The next peer in the pipeline is not reachable from here.
    PeerLost,
    /// A frame or opening was not understood.
    Malformed,
    /// A frame or opening was larger than this end accepts.
    TooLarge,
    /// A privacy rule of the service forbids this session here.
    Forbidden,
    /// Something failed that the other end cannot help.
    Internal,
    /// This revision of the pipeline takes no new sessions any more.
    Draining,
}

impl Code {
    /// The number that a reset of the stream carries in place of a whole refusal.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Cancelled => 1,
            Self::StaleRevision { .. } => 2,
            Self::StaleEpoch { .. } => 3,
            Self::UnknownPipeline => 4,
            Self::UnknownSession => 5,
            Self::Position { .. } => 6,
            Self::Busy => 7,
            Self::Deadline => 8,
            Self::PeerLost => 9,
            Self::Malformed => 10,
            Self::TooLarge => 11,
            Self::Forbidden => 12,
            Self::Internal => 13,
            Self::Draining => 14,
        }
    }

    /// Whether the same request may succeed later on the same hop without any change of plan.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Deadline | Self::PeerLost)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StaleRevision { held, got } => {
                write!(formatter, "stale revision: {held} is held, the frame says {got}")
            }
            Self::StaleEpoch { held, got } => {
                write!(formatter, "stale worker epoch: {held} runs, the frame says {got}")
            }
            Self::UnknownPipeline => formatter.write_str("unknown pipeline"),
            Self::UnknownSession => formatter.write_str("unknown session"),
            Self::Position { expected, got } => {
                write!(formatter, "position {expected} expected, the frame says {got}")
            }
            Self::Busy => formatter.write_str("busy"),
            Self::Deadline => formatter.write_str("deadline passed"),
            Self::Cancelled => formatter.write_str("cancelled"),
            Self::PeerLost => formatter.write_str("next peer lost"),
            Self::Malformed => formatter.write_str("malformed frame"),
            Self::TooLarge => formatter.write_str("frame too large"),
            Self::Forbidden => formatter.write_str("forbidden by the service's privacy"),
            Self::Internal => formatter.write_str("internal error"),
            Self::Draining => formatter.write_str("draining"),
        }
    }
}

/// A refusal as it travels: the code for programs, the message for people. Never put prompt text in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The reason.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
}

impl Refusal {
    /// A refusal with a message, which is cut at a kibibyte.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            let end = (0..=MAX_MESSAGE_BYTES)
                .rev()
                .find(|&end| message.is_char_boundary(end))
                .unwrap_or(0);
            message.truncate(end);
        }
        Self { code, message }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("an enum and a string always serialise into memory")
    }

    /// A refusal that cannot be read is still a refusal.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        postcard::from_bytes(bytes)
            .unwrap_or_else(|_| Self::new(Code::Malformed, "the peer refused with an unreadable reason"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_wire() {
        let refusal = Refusal::new(Code::Position { expected: 7, got: 9 }, "two rows were lost");
        assert_eq!(Refusal::decode(&refusal.encode()), refusal);
        assert_eq!(
            refusal.to_string(),
            "position 7 expected, the frame says 9: two rows were lost"
        );
    }

    #[test]
    fn an_unreadable_refusal_is_malformed_and_a_long_message_is_cut() {
        assert_eq!(Refusal::decode(&[200, 1, 2]).code, Code::Malformed);
        assert!(Refusal::new(Code::Busy, "é".repeat(4000)).message.len() <= MAX_MESSAGE_BYTES);
    }
}
