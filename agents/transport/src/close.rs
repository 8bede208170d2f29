//! Why connections end: the codes that we send, and sentences for what quinn reports.

use quinn::{ConnectionError, TransportErrorCode, VarInt};

use crate::PROTOCOL;

/// The agent stops.
pub(crate) const SHUTDOWN: VarInt = VarInt::from_u32(0);
/// The peer was taken from the table, or has another key there now.
pub(crate) const REMOVED: VarInt = VarInt::from_u32(1);
/// There is a newer or preferred connection between the same two agents.
pub(crate) const DUPLICATE: VarInt = VarInt::from_u32(2);
/// The peer did not begin as the protocol says.
pub(crate) const CONFUSED: VarInt = VarInt::from_u32(3);

/// TLS alerts as they reach us inside QUIC's error codes (RFC 9001, section 4.8; RFC 8446, section 6).
const NO_APPLICATION_PROTOCOL: u8 = 120;
const ACCESS_DENIED: u8 = 49;

/// The end of a connection in words that a person can act on.
pub(crate) fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "the peer fell silent".to_owned(),
        ConnectionError::Reset => "the peer was restarted".to_owned(),
        ConnectionError::LocallyClosed => "closed by this agent".to_owned(),
        ConnectionError::ApplicationClosed(close) => match close.error_code {
            SHUTDOWN => "the peer was stopped".to_owned(),
            REMOVED => "the peer has taken this node from its table".to_owned(),
            DUPLICATE => "there is another connection to the same peer".to_owned(),
            CONFUSED => "the peer did not understand this agent".to_owned(),
            code => format!("closed by the peer with code {code}"),
        },
        ConnectionError::TransportError(error) => {
            let why = "the peer showed another key than the one in the table of peers";
            alert(error.code, why).unwrap_or_else(|| error.to_string())
        }
        ConnectionError::ConnectionClosed(close) => {
            let why = "the peer does not have this agent's key in its table of peers";
            alert(close.error_code, why).unwrap_or_else(|| close.to_string())
        }
        other => other.to_string(),
    }
}

/// As [`reason`], for who dialled this agent and was not let in: any key of the table would have been good.
pub(crate) fn reason_not_welcome(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TransportError(error) if error.code == TransportErrorCode::crypto(ACCESS_DENIED) => {
            "its key is not in this agent's table of peers; a new peer's comes with the next RouteTable"
                .to_owned()
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(ACCESS_DENIED) =>
        {
            "it expected another agent at this address".to_owned()
        }
        other => reason(other),
    }
}

/// The TLS alerts that a person can do something about; the meaning of a denied access depends on the side.
fn alert(code: TransportErrorCode, access_denied: &str) -> Option<String> {
    match code {
        code if code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) => {
            Some(format!("the peer speaks another frame version than {PROTOCOL}"))
        }
        code if code == TransportErrorCode::crypto(ACCESS_DENIED) => Some(access_denied.to_owned()),
        _ => None,
    }
}
