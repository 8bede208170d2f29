//! What two agents agree on beyond transport's frames: what a stream is for, the terms of a session, and the small
//! messages on it. Postcard; changing a type here is a change of [`transport::PROTOCOL`].

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use transport::{Code, Encoding, Frame, Header, Kind, Opening, PipelineId, Refusal, SessionId};

/// What a stream is for; the body of its [`Opening`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// From an ingress to the head: one [`Ask`] in, [`Answer`]s out.
    Request,
    /// From a stage to the next: rows of hidden states in, one [`Welcome`] out.
    Rows(Terms),
    /// From the last stage to the head: [`Sampled`] tokens in, nothing out.
    Tokens,
}

/// What every stage behind the head is told when a session begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// The receiver's place in the pipeline; the head is 0.
    pub(crate) ordinal: u32,
    /// Rows of the prompt. The row that ends it, and each row after it, is sampled by the last stage.
    pub(crate) prompt_tokens: u32,
    /// Positions that the session may reach: prompt and answer.
    pub(crate) positions_max: u32,
    /// How tokens are chosen.
    pub(crate) sampling: engine::Sampling,
    /// How long the client still waits.
    pub(crate) time_left: Duration,
    /// The span of the stage before, while traces are on.
    pub(crate) traceparent: Option<String>,
}

/// The first word of a stage to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// The worker's epoch, which frames carry from then on.
    pub(crate) worker_epoch: u64,
}

/// A token that the last stage chose; the frame's position is the token's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sampled {
    /// The token.
    pub(crate) token: u32,
}

/// A request that an ingress passes to the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The client's request id, for logs.
    pub(crate) request_id: String,
    /// The router's span, while traces are on.
    pub(crate) traceparent: Option<String>,
    /// `namespace/name` of the LLMService.
    pub(crate) service: String,
    /// What to continue.
    pub(crate) prompt: router::Prompt,
    /// How to choose tokens.
    pub(crate) sampling: router::Sampling,
    /// The most tokens that the client wants.
    pub(crate) max_tokens: Option<u32>,
    /// The service's limits.
    pub(crate) limits: Limits,
    /// How long the client still waits.
    pub(crate) time_left: Duration,
}

/// A service's limits on one session, from its ingress rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Tokens that prompt and answer may have together.
    pub(crate) context_tokens: u32,
    /// The most tokens of an answer.
    pub(crate) output_tokens_max: u32,
}

/// What the head answers to an [`Ask`], until an event that ends the answer.
pub(crate) type Answer = Result<router::Event, router::Error>;

/// Where frames of one stream belong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) session: SessionId,
    pub(crate) pipeline: PipelineId,
    pub(crate) revision: u64,
}

impl Address {
    pub(crate) fn of(opening: &Opening) -> Self {
        Self {
            session: opening.session,
            pipeline: PipelineId::of(&opening.pipeline),
            revision: opening.revision,
        }
    }

    /// A frame with a small message.
    pub(crate) fn message(&self, kind: Kind, position: u32, message: &impl Serialize) -> Frame {
        Frame {
            header: self.header(kind, Encoding::Opaque, position, 0),
            payload: to_bytes(message).into(),
        }
    }

    /// A frame with rows.
    pub(crate) fn rows(
        &self,
        kind: Kind,
        encoding: Encoding,
        position: u32,
        worker_epoch: u64,
        payload: Bytes,
    ) -> Frame {
        Frame {
            header: self.header(kind, encoding, position, worker_epoch),
            payload,
        }
    }

    fn header(&self, kind: Kind, encoding: Encoding, position: u32, worker_epoch: u64) -> Header {
        Header {
            session: self.session,
            pipeline: self.pipeline,
            revision: self.revision,
            worker_epoch,
            position,
            budget: None,
            kind,
            encoding,
        }
    }
}

/// The message as it travels.
pub(crate) fn to_bytes(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message).expect("plain values always serialise into memory")
}

/// Reads a message.
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Refusal> {
    postcard::from_bytes(bytes)
        .map_err(|error| Refusal::new(Code::Malformed, format!("{what} is not understood: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_between_agents_comes_back_as_it_was() {
        let terms = Terms {
            ordinal: 2,
            prompt_tokens: 7,
            positions_max: 90,
            sampling: engine::Sampling::default(),
            time_left: Duration::from_millis(1234),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        };
        let purpose = Purpose::Rows(terms);
        assert_eq!(from_bytes::<Purpose>(&to_bytes(&purpose), "purpose"), Ok(purpose));
        let answer: Answer = Err(router::Error::DeadlineExceeded);
        assert_eq!(from_bytes::<Answer>(&to_bytes(&answer), "answer"), Ok(answer));
    }

    #[test]
    fn garbage_is_refused_as_malformed() {
        let refusal = from_bytes::<Purpose>(&[250, 1], "purpose").unwrap_err();
        assert_eq!(refusal.code, Code::Malformed);
    }
}
