//! The front door of an agent: OpenAI-compatible HTTP over whatever can generate text.
//!
//! The router parses and validates requests, asks a [`Backend`] for events, and turns these into OpenAI's shapes,
//! whole or as server-sent events. It holds the promises that do not depend on a model: a stream ends with a finish
//! reason or an error, a client that goes away cancels its generation at once, stop sequences are never emitted,
//! every request has a deadline, and every wait has a bound.
//!
//! It knows no model, no tokenizer, no Kubernetes and no other agent: which service runs where, and whose key is
//! whose, is the backend's to say.
//!
//! ```text
//!   HTTP ─▶ routes ─▶ request (parse, validate) ─▶ Backend::generate ─▶ generation (stop, deadline, cancel)
//!                                                                          └─▶ response (JSON or SSE)
//! ```

pub mod backend;
mod config;
mod generation;
mod lease;
mod metrics;
mod record;
mod refusal;
mod request;
mod request_id;
mod response;
mod routes;
mod serve;
mod stop;

pub use backend::{
    AllowedServices, AuthError, Backend, Caller, Error, Event, EventStream, FinishReason, Message, Prompt,
    Readiness, Reason, Request, Role, Sampling, ServiceInfo, Usage,
};
pub use config::Config;
pub use routes::routes;
pub use serve::serve;
pub use stop::{Step, StopMatcher};
