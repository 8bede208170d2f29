//! How a session ends badly: the engine's and the transport's errors as refusals, which travel from the stage that
//! failed to the head, and refusals as what the client is told.

use std::time::Duration;

use engine::Error as EngineError;
use transport::{Code, Refusal, channel};

/// What a client is told to wait when all seats are taken.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the engine's error means to the rest of the pipeline. `place` names the stage for people.
pub(crate) fn of_engine(error: &EngineError, place: &str) -> Refusal {
    let code = match error {
        EngineError::Epoch { expected, current } => Code::StaleEpoch {
            held: *current,
            got: *expected,
        },
        EngineError::Position { expected, got, .. } => Code::Position {
            expected: *expected,
            got: *got,
        },
        EngineError::DeadlineInQueue { .. } => Code::Deadline,
        EngineError::Busy { .. } => Code::Busy,
        EngineError::ContextFull { .. } => Code::TooLarge,
        _ => Code::Internal,
    };
    Refusal::new(code, format!("{place}: {error}"))
}

/// What an error of the channel to or from `node` means to the rest of the pipeline.
pub(crate) fn of_channel(error: channel::Error, node: &str) -> Refusal {
    match error {
        channel::Error::Refused(refusal) => refusal,
        channel::Error::PeerLost(reason) => {
            Refusal::new(Code::PeerLost, format!("node `{node}` was lost: {reason}"))
        }
        other => Refusal::new(other.code(), format!("node `{node}`: {other}")),
    }
}

/// What an error while opening a channel means.
pub(crate) fn of_opening(error: &transport::endpoint::Error) -> Refusal {
    use transport::endpoint::Error;
    let code = match error {
        Error::UnknownPeer(_) | Error::NotConnected { .. } => Code::PeerLost,
        Error::OpeningTooLarge { .. } => Code::TooLarge,
        _ => Code::Internal,
    };
    Refusal::new(code, error.to_string())
}

/// What the ingress is told while no text of the answer has left the head.
pub(crate) fn before_text(refusal: Refusal) -> router::Error {
    match refusal.code {
        Code::StaleRevision { .. } | Code::UnknownPipeline | Code::Draining => router::Error::Misdirected {
            reason: refusal.to_string(),
        },
        _ => to_client(refusal),
    }
}

/// What the client is told.
pub(crate) fn to_client(refusal: Refusal) -> router::Error {
    let reason = refusal.to_string();
    match refusal.code {
        Code::Busy => router::Error::Busy {
            reason: refusal.message,
            retry_after: RETRY_AFTER,
        },
        Code::Deadline => router::Error::DeadlineExceeded,
        Code::Malformed | Code::TooLarge | Code::Forbidden => router::Error::Internal { reason },
        Code::StaleRevision { .. }
        | Code::StaleEpoch { .. }
        | Code::UnknownPipeline
        | Code::Draining
        | Code::UnknownSession
        | Code::Position { .. }
        | Code::Cancelled
        | Code::PeerLost
        | Code::Internal => router::Error::Interrupted { reason },
    }
}
