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
//!
//! | path | answers |
//! | --- | --- |
//! | `POST /v1/chat/completions`, `POST /v1/completions` | a generation, whole or streamed |
//! | `GET /v1/models`, `GET /v1/models/NAME` | the services that the caller may use |
//! | `POST /v1/embeddings` | a refusal that says so |
//! | `GET /livez`, `GET /healthz`, `GET /readyz`, `GET /metrics` | probes and scrapers, without a key |
//!
//! Headers beyond OpenAI's: `X-Request-Timeout` (seconds until the deadline), `X-Request-Id` (echoed, or made), and while
//! traces are on `traceparent` (W3C Trace Context) and in the answer `X-Trace-Id`. A refusal
//! has OpenAI's shape and codes. Once a stream has its 200, what goes wrong is a last event `data: {"error": …}`,
//! with no `[DONE]` after it.

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
mod slo;
mod stop;
pub mod trace;

pub use backend::{
    AllowedServices, AuthError, Backend, Caller, Error, Event, EventStream, FinishReason, Message, Objective,
    Prompt, Readiness, Reason, Request, Role, Sampling, ServiceInfo, Usage,
};
pub use config::Config;
pub use routes::{Vitals, health_routes, routes};
pub use serve::serve;
pub use stop::{Step, StopMatcher};
