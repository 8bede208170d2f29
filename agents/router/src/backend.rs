//! What the router asks of whoever generates the text: one trait, and the values that cross it.
//!
//! The plain values ([`Prompt`], [`Sampling`], [`Event`], [`Error`]) derive serde in a form that also suits compact,
//! not self-describing formats, so that an agent may hand a request on to a peer as it is. [`Request`] itself is
//! bound to this process by its deadline and its cancellation token.

use std::{
    collections::BTreeSet,
    pin::Pin,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// What a generation yields, until [`Event::Finished`] or an error.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, Error>> + Send>>;

/// Whoever can answer for the services of this agent.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The services that this agent has a rule for, ready or not. Asked at each request, so it should be cheap.
    fn services(&self) -> Vec<ServiceInfo>;

    /// The service with exactly this name. Worth overriding where the services stand in a map.
    fn service(&self, name: &str) -> Option<ServiceInfo> {
        self.services().into_iter().find(|service| service.name == name)
    }

    /// Says who presents this key (the bearer token, without the word `Bearer`). The backend compares, so that it
    /// may know keyed hashes only, and so that it decides whether a caller without a key is welcome.
    fn authenticate(&self, presented_key: Option<&str>) -> Result<Caller, AuthError>;

    /// Opens a generation. The stream yields [`Event::Started`] once the prompt is tokenized and its memory
    /// admitted (before it is computed), then text, and ends with [`Event::Finished`] or with an error.
    ///
    /// What is refused before `Started` is answered with an HTTP status of its own; after it, the client already has
    /// its status and gets an error event. When [`Request::cancellation`] fires, or the stream is dropped, the
    /// backend frees what it holds for the request.
    async fn generate(&self, request: Request) -> Result<EventStream, Error>;

    /// Whether this agent should be sent requests at all; it is what `/readyz` says.
    fn ready(&self) -> Readiness;
}

/// A service as `/v1/models` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// What clients write in `model`.
    pub name: String,
    /// When it was made, in seconds since 1970-01-01T00:00:00Z.
    pub created: u64,
    /// The organisation that offers it.
    pub owned_by: String,
    /// The most tokens that prompt and answer may have together, where it is known.
    pub context_tokens: Option<u32>,
    /// What metrics and logs call it, so that their series join with those of other programs.
    pub label: String,
    /// What it promises; requests are counted by whether it was kept.
    pub objective: Objective,
}

/// What a service promises to each request; `None` promises nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// The longest time from the arrival of a request to its first token.
    pub time_to_first_token: Option<Duration>,
    /// The longest mean time between two tokens.
    pub time_per_output_token: Option<Duration>,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// A pseudonym, fit for logs.
    pub user: String,
    /// What this caller may use. The router treats any other service as if it did not exist.
    pub services: AllowedServices,
}

/// The services that a caller may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedServices {
    /// Every service of the agent.
    All,
    /// These only, by name.
    Only(BTreeSet<String>),
}

impl AllowedServices {
    /// Whether the service of this name is among them.
    #[must_use]
    pub fn contains(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(service),
        }
    }
}

/// Why a caller was not let in. The first two mean that the caller must change something, the last that it may retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There was no key, and one is needed.
    #[error("no API key was presented")]
    MissingKey,
    /// The key belongs to nobody, or not any more.
    #[error("the API key is not known here")]
    UnknownKey,
    /// The backend cannot tell yet, e.g. because it has not been told any keys.
    #[error("API keys cannot be checked yet: {reason}")]
    NotReady {
        /// What is missing, for the client to read.
        reason: String,
    },
}

/// One generation to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// The client's `X-Request-Id`, or one made for it: at most 128 visible ASCII characters.
    pub request_id: String,
    /// The span under which the backend's own belong; none while traces are off.
    pub traceparent: Option<String>,
    /// Who is asking; already allowed to use `service`.
    pub caller: Caller,
    /// A name from [`Backend::services`].
    pub service: String,
    /// What to continue.
    pub prompt: Prompt,
    /// How to choose each token.
    pub sampling: Sampling,
    /// The most tokens to generate, at least 1. `None` leaves it to the service's cap.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer, at most four, none empty. The router applies them to the text that the stream yields
    /// and cancels the generation at a match, so a backend may ignore them.
    pub stop: Vec<String>,
    /// When the client is told that it took too long; the token below fires then.
    pub deadline: Instant,
    /// Fires when nobody waits for the answer any more: the client went away, the deadline passed, a stop sequence
    /// matched, or the answer is complete.
    pub cancellation: CancellationToken,
}

/// What the model continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// A conversation, to be laid out by the model's chat template. Never empty.
    Chat(Vec<Message>),
    /// Plain text, continued as it stands.
    Text(String),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Whose turn it was.
    pub role: Role,
    /// What was said. Several text parts arrive joined by line feeds.
    pub content: String,
}

/// Whose turn it was. Templates that know no `developer` take it for `system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, by the name that newer clients give them.
    Developer,
    /// The person, or program, that asks.
    User,
    /// The model.
    Assistant,
    /// What a tool answered.
    Tool,
}

impl Role {
    /// The name that OpenAI's API and most chat templates use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// How each token is chosen. All fields are within their ranges when a backend sees them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 (greedy) to 2.
    pub temperature: f32,
    /// Keep the most probable tokens that together reach this probability: above 0, to 1 (off).
    pub top_p: f32,
    /// Keep this many of the most probable tokens; `None` keeps all.
    pub top_k: Option<u32>,
    /// Drop tokens less probable than this share of the most probable one: 0 (off) to 1.
    pub min_p: f32,
    /// The same seed, prompt and batch shapes give the same tokens; `None` lets the backend choose.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    /// What OpenAI's API does when a request names none of them.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: None,
            min_p: 0.0,
            seed: None,
        }
    }
}

/// What happens in a generation, in this order: one `Started`, any number of `Text`, one `Finished`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The prompt is tokenized and admitted; it is about to be computed.
    Started {
        /// Tokens of the prompt, with what the chat template added.
        prompt_tokens: u32,
    },
    /// Some more text.
    Text {
        /// Whole characters. Empty while a token leaves a character incomplete.
        piece: String,
        /// How many tokens were generated since the event before.
        tokens: u32,
    },
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it took, counted by the backend.
        usage: Usage,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model said that it was done, or a stop sequence matched.
    Stop,
    /// As many tokens as were asked for, or as the context holds.
    Length,
}

impl FinishReason {
    /// The name in OpenAI's API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Tokens that a request took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, with what the chat template added.
    pub prompt_tokens: u32,
    /// Tokens generated, with the one that ended the answer if there was one.
    pub completion_tokens: u32,
}

/// Why a generation was refused or broke off. The documentation of each variant names the HTTP status that it becomes.
///
/// `Busy`, `Unavailable`, `Interrupted` and `Misdirected` are worth a retry as they are, the others are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// The service went away between the look-up and now: 404.
    #[error("the service `{service}` does not exist")]
    UnknownService {
        /// Its name.
        service: String,
    },
    /// The model cannot take this request: 400.
    #[error("{message}")]
    InvalidRequest {
        /// The field of the request, e.g. `messages`.
        param: String,
        /// What is wrong and what would be right, as a sentence for the client.
        message: String,
    },
    /// Prompt and answer do not fit the context: 400.
    #[error(
        "this service's context holds {context_tokens} tokens; the prompt has {prompt_tokens}, \
         and {max_tokens} more were asked for"
    )]
    ContextLength {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens asked for, at least 1.
        max_tokens: u32,
        /// Tokens that the service holds for one session.
        context_tokens: u32,
    },
    /// No room now: 429 with `Retry-After`.
    #[error("the service is busy: {reason}")]
    Busy {
        /// What is used up, for the client to read.
        reason: String,
        /// When a retry may succeed.
        retry_after: Duration,
    },
    /// No live pipeline for the service: 503.
    #[error("the service is not available: {reason}")]
    Unavailable {
        /// Why, for the client to read.
        reason: String,
    },
    /// The pipeline was lost while it was generating: 503, nearly always within a stream.
    #[error("the generation was interrupted: {reason}")]
    Interrupted {
        /// Why, for the client to read.
        reason: String,
    },
    /// The backend noticed first that the deadline passed: 504.
    #[error("the request's deadline passed")]
    DeadlineExceeded,
    /// The backend gave up because the token fired. The client sees it only if the router did not cancel: 500.
    #[error("the generation was cancelled")]
    Cancelled,
    /// A defect: 500. The reason is logged; the client is given the request id only.
    #[error("internal error: {reason}")]
    Internal {
        /// What broke, without any text of the prompt.
        reason: String,
    },
    /// The pipeline takes no new requests any more, and has answered nothing: worth sending again by newer routes. A
    /// client that is told of it at all is told 503.
    #[error("the service is not available: {reason}")]
    Misdirected {
        /// Why, for the client to read.
        reason: String,
    },
}

/// Whether an agent should be sent requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No, for all of these reasons.
    NotReady(Vec<Reason>),
}

/// One thing that keeps an agent from being ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// A stable name in CamelCase, e.g. `NoRouteTable`.
    pub name: String,
    /// A sentence for people.
    pub message: String,
}
