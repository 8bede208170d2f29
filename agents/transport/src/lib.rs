//! Frames between agents: QUIC with mutual TLS 1.3 and pinned keys, one stream per session and hop.
//!
//! ```text
//!  identity ─┐                        ┌─▶ channel (one stream: frames out, frames in)
//!  peers ────┼─▶ tls ─▶ endpoint ─────┤
//!  emulation ┘   (dials, accepts,     ├─▶ control (hello, pings, reports of rates)
//!                 notices losses)     └─▶ probe (a small, budgeted burst on an idle link)
//!                                                   │
//!                     encoding (pure)      meter ◀──┘  (round trip, loss, delivered rate)
//! ```
//!
//! This room moves bytes and measures links. It knows who a peer is (its key), which session, pipeline,
//! revision and position a frame belongs to, and how a row of numbers is squeezed for the wire; it does not
//! know what the numbers mean, never decides where a frame goes next, and compares no revisions: that is
//! the agent's business. Parameter blocks travel on a connection of their own, which is not made here.

pub mod channel;
mod close;
mod control;
mod dial;
pub mod emulation;
pub mod encoding;
pub mod endpoint;
pub mod figures;
pub mod frame;
pub mod identity;
mod links;
mod meter;
mod opening;
pub mod peers;
mod probe;
pub mod refusal;
mod serve;
mod tls;
mod wire;

pub use channel::{Channel, Receiver, Sender};
pub use emulation::{Conditions, Emulation};
pub use encoding::Encoding;
pub use endpoint::{Accepted, Config, Endpoint, Limits, Probing};
pub use figures::{LinkFigures, RateFigures, RateKind, RoundTrip};
pub use frame::{Frame, Header, Kind, PipelineId, SessionId};
pub use identity::{Identity, PublicKey};
pub use opening::Opening;
pub use peers::{Event, Peer, PeerState};
pub use refusal::{Code, Refusal};

/// The name of the frame format, negotiated by ALPN: a peer that speaks another one is refused before any
/// frame is exchanged. Changing a byte of [`frame`], [`Opening`] or the control messages changes this name.
pub const PROTOCOL: &str = "edgeloom/2";
