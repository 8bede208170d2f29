//! Every way to say no, in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.
//!
//! Where OpenAI has a code for something it is used, since client libraries turn statuses and codes into exceptions.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::backend::{AuthError, Error};

/// A request that is not answered, or a stream that breaks off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

const INVALID_REQUEST: &str = "invalid_request_error";
const SERVER_ERROR: &str = "server_error";

impl Refusal {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            code,
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    fn bad_request(code: Option<&'static str>, param: impl Into<String>, message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, code, message);
        Self {
            param: Some(param.into()),
            ..refusal
        }
    }

    pub(crate) fn invalid_json(reason: impl std::fmt::Display) -> Self {
        let message = format!("We could not parse the JSON body of your request: {reason}.");
        Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, None, message)
    }

    pub(crate) fn missing(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad_request(Some("missing_required_parameter"), param, message)
    }

    pub(crate) fn invalid_type(param: impl Into<String>, expected: &str, found: &serde_json::Value) -> Self {
        let param = param.into();
        let found = match found {
            serde_json::Value::Null => "null",
            serde_json::Value::Bool(_) => "a boolean",
            serde_json::Value::Number(_) => "a number",
            serde_json::Value::String(_) => "a string",
            serde_json::Value::Array(_) => "an array",
            serde_json::Value::Object(_) => "an object",
        };
        let message = format!("Invalid type for '{param}': expected {expected}, but got {found} instead.");
        Self::bad_request(Some("invalid_type"), param, message)
    }

    pub(crate) fn invalid_value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad_request(Some("invalid_value"), param, message)
    }

    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad_request(Some("unsupported_parameter"), param, message)
    }

    pub(crate) fn invalid_header(name: &str, message: impl Into<String>) -> Self {
        Self::bad_request(Some("invalid_header"), name, message)
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        let refusal = Self::new(
            StatusCode::NOT_FOUND,
            INVALID_REQUEST,
            Some("model_not_found"),
            message,
        );
        Self {
            param: Some("model".to_owned()),
            ..refusal
        }
    }

    pub(crate) fn unknown_url(method: &http::Method, path: &str) -> Self {
        let message = format!("Invalid URL ({method} {path})");
        Self::new(
            StatusCode::NOT_FOUND,
            INVALID_REQUEST,
            Some("unknown_url"),
            message,
        )
    }

    pub(crate) fn method_not_allowed(method: &http::Method, path: &str) -> Self {
        let message = format!(
            "Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
        );
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            INVALID_REQUEST,
            Some("method_not_supported"),
            message,
        )
    }

    pub(crate) fn no_embeddings() -> Self {
        let message = "Embeddings are not supported by the services of this agent; \
                       use /v1/chat/completions or /v1/completions.";
        // Not 501: client libraries retry what begins with 5.
        Self::new(
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            Some("not_supported"),
            message,
        )
    }

    pub(crate) fn body_too_large(limit_bytes: usize) -> Self {
        let message = format!("The request body is larger than {limit_bytes} bytes.");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            INVALID_REQUEST,
            Some("request_too_large"),
            message,
        )
    }

    pub(crate) fn body_too_slow(limit: Duration) -> Self {
        let message = format!(
            "The request body did not arrive within {} seconds.",
            limit.as_secs_f64()
        );
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            INVALID_REQUEST,
            Some("request_timeout"),
            message,
        )
    }

    pub(crate) fn body_broke_off() -> Self {
        let message = "The request body broke off before its end.";
        Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, None, message)
    }

    pub(crate) fn busy(reason: &str, retry_after: Duration) -> Self {
        let message = format!("The server is busy ({reason}); please try again later.");
        let refusal = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "requests",
            Some("rate_limit_exceeded"),
            message,
        );
        Self {
            retry_after: Some(retry_after),
            ..refusal
        }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            SERVER_ERROR,
            Some("service_unavailable"),
            message,
        )
    }

    pub(crate) fn deadline_exceeded() -> Self {
        let message = "The request's deadline passed before the answer was complete.";
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            SERVER_ERROR,
            Some("deadline_exceeded"),
            message,
        )
    }

    pub(crate) fn internal(request_id: &str) -> Self {
        let message =
            format!("The server had an error while processing your request (request {request_id}).");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            SERVER_ERROR,
            Some("internal_error"),
            message,
        )
    }

    /// What a client is told of a backend's error; reasons of defects are for the log only. `prompt_param` is the field
    /// that holds the prompt.
    pub(crate) fn of_backend(error: Error, request_id: &str, prompt_param: &str) -> Self {
        match error {
            Error::UnknownService { service } => Self::unknown_model(&service),
            Error::InvalidRequest { param, message } => Self::invalid_value(param, message),
            Error::ContextLength {
                prompt_tokens,
                max_tokens,
                context_tokens,
            } => Self::bad_request(
                Some("context_length_exceeded"),
                prompt_param,
                format!(
                    "This model's maximum context length is {context_tokens} tokens. However, you requested {} \
                     tokens ({prompt_tokens} in the prompt, {max_tokens} for the completion). Please shorten the \
                     prompt or the completion.",
                    u64::from(prompt_tokens) + u64::from(max_tokens),
                ),
            ),
            Error::Busy { reason, retry_after } => Self::busy(&reason, retry_after),
            Error::Unavailable { reason } | Error::Misdirected { reason } => {
                Self::unavailable(format!("The service is not available: {reason}."))
            }
            Error::Interrupted { reason } => {
                let message = format!("The generation was interrupted: {reason}.");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    SERVER_ERROR,
                    Some("generation_interrupted"),
                    message,
                )
            }
            Error::DeadlineExceeded => Self::deadline_exceeded(),
            Error::Cancelled | Error::Internal { .. } => Self::internal(request_id),
        }
    }

    pub(crate) fn of_authentication(error: &AuthError) -> Self {
        let message = match error {
            AuthError::MissingKey => {
                "You didn't provide an API key. Provide one in an Authorization header: `Authorization: Bearer KEY`."
            }
            AuthError::UnknownKey => "Incorrect API key provided.",
            AuthError::NotReady { reason } => {
                return Self::unavailable(format!("API keys cannot be checked yet: {reason}."));
            }
        };
        Self::new(
            StatusCode::UNAUTHORIZED,
            INVALID_REQUEST,
            Some("invalid_api_key"),
            message,
        )
    }

    /// The JSON text, for a response's body or for an event of a stream.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let envelope = Envelope {
            error: Details {
                message: &self.message,
                kind: self.kind,
                param: self.param.as_deref(),
                code: self.code,
            },
        };
        serde_json::to_vec(&envelope).expect("strings are always serializable")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after) = self.retry_after {
            // The header counts whole seconds; rounding down would invite a retry that comes too early.
            let seconds = retry_after.as_secs_f64().ceil() as u64;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
