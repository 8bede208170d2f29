//! The shapes of OpenAI's answers: whole objects, and the chunks of a stream.

mod events;

use serde::Serialize;

pub(crate) use self::events::stream;
use crate::{
    backend::{FinishReason, ServiceInfo, Usage},
    request::Endpoint,
};

/// What all parts of one answer have in common.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) endpoint: Endpoint,
    pub(crate) id: String,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) created: u64,
    pub(crate) model: String,
    /// Whether a stream carries usage: then every chunk has the field, and a last one has its value.
    pub(crate) include_usage: bool,
}

#[derive(Serialize)]
struct Object<'a, C> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice<C>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageObject>>,
}

#[derive(Serialize)]
struct Choice<C> {
    index: u32,
    #[serde(flatten)]
    content: C,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Content<'a> {
    Message(Message<'a>),
    Delta(Delta<'a>),
    Text(&'a str),
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
struct UsageObject {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u64,
}

impl From<Usage> for UsageObject {
    fn from(
        Usage {
            prompt_tokens,
            completion_tokens,
        }: Usage,
    ) -> Self {
        let total_tokens = u64::from(prompt_tokens) + u64::from(completion_tokens);
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens,
        }
    }
}

impl Answer {
    /// The answer to a request that does not stream.
    pub(crate) fn whole(&self, text: &str, reason: FinishReason, usage: Usage) -> Vec<u8> {
        let (object, content) = match self.endpoint {
            Endpoint::Chat => (
                "chat.completion",
                Content::Message(Message {
                    role: "assistant",
                    content: text,
                    refusal: None,
                }),
            ),
            Endpoint::Completions => ("text_completion", Content::Text(text)),
        };
        self.object(object, &[choice(content, Some(reason))], Some(Some(usage.into())))
    }

    /// The chunk that comes before all text, where the endpoint has one.
    fn opening_chunk(&self) -> Option<Vec<u8>> {
        match self.endpoint {
            Endpoint::Chat => {
                let delta = Delta {
                    role: Some("assistant"),
                    content: Some(""),
                };
                Some(self.chunk(&[choice(Content::Delta(delta), None)], None))
            }
            Endpoint::Completions => None,
        }
    }

    fn text_chunk(&self, text: &str) -> Vec<u8> {
        let content = match self.endpoint {
            Endpoint::Chat => Content::Delta(Delta {
                role: None,
                content: Some(text),
            }),
            Endpoint::Completions => Content::Text(text),
        };
        self.chunk(&[choice(content, None)], None)
    }

    fn finish_chunk(&self, reason: FinishReason) -> Vec<u8> {
        let content = match self.endpoint {
            Endpoint::Chat => Content::Delta(Delta::default()),
            Endpoint::Completions => Content::Text(""),
        };
        self.chunk(&[choice(content, Some(reason))], None)
    }

    fn usage_chunk(&self, usage: Usage) -> Option<Vec<u8>> {
        self.include_usage.then(|| self.chunk(&[], Some(usage)))
    }

    fn chunk(&self, choices: &[Choice<Content<'_>>], usage: Option<Usage>) -> Vec<u8> {
        let object = match self.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            Endpoint::Completions => "text_completion",
        };
        self.object(
            object,
            choices,
            self.include_usage.then(|| usage.map(UsageObject::from)),
        )
    }

    fn object(
        &self,
        object: &'static str,
        choices: &[Choice<Content<'_>>],
        usage: Option<Option<UsageObject>>,
    ) -> Vec<u8> {
        let object = Object {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            choices,
            usage,
        };
        serde_json::to_vec(&object).expect("strings and numbers are always serializable")
    }
}

fn choice(content: Content<'_>, reason: Option<FinishReason>) -> Choice<Content<'_>> {
    Choice {
        index: 0,
        content,
        logprobs: None,
        finish_reason: reason.map(FinishReason::as_str),
    }
}

/// A service, as `/v1/models` shows it.
#[derive(Serialize)]
pub(crate) struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
    /// An extension, by the name that vLLM uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_model_len: Option<u32>,
}

impl From<ServiceInfo> for Model {
    fn from(
        ServiceInfo {
            name,
            created,
            owned_by,
            context_tokens,
            label: _,
            objective: _,
        }: ServiceInfo,
    ) -> Self {
        Self {
            id: name,
            object: "model",
            created,
            owned_by,
            max_model_len: context_tokens,
        }
    }
}

/// The list of `/v1/models`.
#[derive(Serialize)]
pub(crate) struct Models {
    object: &'static str,
    data: Vec<Model>,
}

impl Models {
    pub(crate) fn new(services: impl IntoIterator<Item = ServiceInfo>) -> Self {
        Self {
            object: "list",
            data: services.into_iter().map(Model::from).collect(),
        }
    }
}
