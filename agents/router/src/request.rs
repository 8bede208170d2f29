//! From a request's bytes to values that are within their ranges. Pure: it asks nobody whether the model exists.
//!
//! Unknown fields are ignored, as OpenAI does. Known fields that this router cannot honour are refused unless their
//! value changes nothing ([`unsupported`]): an answer that silently ignores `tools` would be wrong.
//!
//! Extensions: `top_k` (0 or -1 is off) and `min_p`, by the names that vLLM and llama.cpp use.

mod fields;
mod messages;
mod unsupported;

use serde_json::Value;

use self::fields::Fields;
use crate::{
    backend::{Prompt, Sampling},
    refusal::Refusal,
};

/// Which of the two generating endpoints is asked; it decides the fields of the request and the shape of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
}

impl Endpoint {
    /// The field that holds what the model continues.
    pub(crate) fn prompt_param(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completions => "prompt",
        }
    }
}

/// A request that is well formed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    pub(crate) sampling: Sampling,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stop: Vec<String>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

/// OpenAI's default for `/v1/completions`; chats are bounded by the context only.
const COMPLETIONS_MAX_TOKENS_DEFAULT: u32 = 16;

/// OpenAI's bound.
const STOP_SEQUENCES_MAX: usize = 4;

/// Parses the body of a request to this endpoint.
pub(crate) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Parsed, Refusal> {
    let value: Value = serde_json::from_slice(body).map_err(Refusal::invalid_json)?;
    let Value::Object(object) = value else {
        return Err(Refusal::invalid_json("it must be an object"));
    };
    let fields = Fields(&object);
    let model = fields
        .string("model")?
        .ok_or_else(|| Refusal::missing("model", "You must provide a model."))?;
    unsupported::refuse(endpoint, &fields)?;
    let prompt = match endpoint {
        Endpoint::Chat => Prompt::Chat(messages::parse(&fields)?),
        Endpoint::Completions => Prompt::Text(plain_prompt(&fields)?),
    };
    let stream = fields.boolean("stream")?.unwrap_or(false);
    Ok(Parsed {
        model: model.to_owned(),
        prompt,
        sampling: sampling(&fields)?,
        max_tokens: max_tokens(endpoint, &fields)?,
        stop: stop(&fields)?,
        stream,
        include_usage: include_usage(&fields, stream)?,
    })
}

fn plain_prompt(fields: &Fields<'_>) -> Result<String, Refusal> {
    match fields.get("prompt") {
        None => Err(Refusal::missing("prompt", "You must provide a prompt.")),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(prompts)) => match prompts.as_slice() {
            [Value::String(text)] => Ok(text.clone()),
            [] => Err(Refusal::invalid_value("prompt", "'prompt' must hold one text.")),
            [Value::Number(_) | Value::Array(_), ..] => Err(Refusal::unsupported(
                "prompt",
                "'prompt' must be a text: token ids are not supported.",
            )),
            [Value::String(_), ..] => Err(Refusal::unsupported(
                "prompt",
                "'prompt' must hold one text: several prompts in one request are not supported.",
            )),
            [other, ..] => Err(Refusal::invalid_type("prompt[0]", "a string", other)),
        },
        Some(other) => Err(Refusal::invalid_type("prompt", "a string", other)),
    }
}

fn sampling(fields: &Fields<'_>) -> Result<Sampling, Refusal> {
    let default = Sampling::default();
    let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(default.top_p);
    if top_p == 0.0 {
        return Err(Refusal::invalid_value(
            "top_p",
            "'top_p' must be above 0; for greedy decoding set temperature to 0.",
        ));
    }
    Ok(Sampling {
        temperature: fields
            .number("temperature", 0.0..=2.0)?
            .unwrap_or(default.temperature),
        top_p,
        top_k: fields
            .integer("top_k", -1..=i64::from(u32::MAX))?
            .and_then(|top_k| u32::try_from(top_k).ok())
            .filter(|top_k| *top_k > 0),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(default.min_p),
        seed: fields
            .integer("seed", i64::MIN..=i64::MAX)?
            .map(i64::cast_unsigned),
    })
}

fn max_tokens(endpoint: Endpoint, fields: &Fields<'_>) -> Result<Option<u32>, Refusal> {
    let read = |name| -> Result<Option<u32>, Refusal> {
        let value = fields.integer(name, 1..=i64::from(u32::MAX))?;
        Ok(value.map(|value| u32::try_from(value).expect("the range is that of u32")))
    };
    let old_name = read("max_tokens")?;
    match endpoint {
        Endpoint::Completions => Ok(Some(old_name.unwrap_or(COMPLETIONS_MAX_TOKENS_DEFAULT))),
        Endpoint::Chat => match (old_name, read("max_completion_tokens")?) {
            (Some(old), Some(new)) if old != new => Err(Refusal::invalid_value(
                "max_tokens",
                "'max_tokens' is the old name of 'max_completion_tokens': set one of them, or both to the same value.",
            )),
            (old, new) => Ok(new.or(old)),
        },
    }
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>, Refusal> {
    let sequences = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(values)) => values
            .iter()
            .enumerate()
            .map(|(index, value)| match value {
                Value::String(text) => Ok(text.clone()),
                other => Err(Refusal::invalid_type(format!("stop[{index}]"), "a string", other)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => {
            return Err(Refusal::invalid_type(
                "stop",
                "a string or an array of strings",
                other,
            ));
        }
    };
    if sequences.len() > STOP_SEQUENCES_MAX {
        let message = format!(
            "'stop' may hold at most {STOP_SEQUENCES_MAX} sequences, not {}.",
            sequences.len()
        );
        return Err(Refusal::invalid_value("stop", message));
    }
    if sequences.iter().any(String::is_empty) {
        return Err(Refusal::invalid_value(
            "stop",
            "'stop' must not hold an empty sequence.",
        ));
    }
    Ok(sequences)
}

fn include_usage(fields: &Fields<'_>, stream: bool) -> Result<bool, Refusal> {
    match fields.get("stream_options") {
        None => Ok(false),
        Some(Value::Object(_)) if !stream => Err(Refusal::invalid_value(
            "stream_options",
            "'stream_options' is only allowed when 'stream' is true.",
        )),
        Some(Value::Object(options)) => match options.get("include_usage") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(include)) => Ok(*include),
            Some(other) => Err(Refusal::invalid_type(
                "stream_options.include_usage",
                "a boolean",
                other,
            )),
        },
        Some(other) => Err(Refusal::invalid_type("stream_options", "an object", other)),
    }
}

#[cfg(test)]
mod tests;
