//! Parameters of OpenAI's API that this router does not honour. Each is refused unless its value asks for nothing,
//! since client libraries like to send their defaults.

use serde_json::Value;

use super::{Endpoint, fields::Fields};
use crate::refusal::Refusal;

struct Unsupported {
    param: &'static str,
    asks_for_nothing: fn(&Value) -> bool,
    what_would_be_right: &'static str,
}

const BOTH: &[Unsupported] = &[
    Unsupported {
        param: "n",
        asks_for_nothing: |value| value.as_f64() == Some(1.0),
        what_would_be_right: "must be 1: one request gets one answer",
    },
    Unsupported {
        param: "presence_penalty",
        asks_for_nothing: is_zero,
        what_would_be_right: "must be 0",
    },
    Unsupported {
        param: "frequency_penalty",
        asks_for_nothing: is_zero,
        what_would_be_right: "must be 0",
    },
    Unsupported {
        param: "logit_bias",
        asks_for_nothing: is_empty,
        what_would_be_right: "must be empty or absent",
    },
];

const CHAT: &[Unsupported] = &[
    Unsupported {
        param: "logprobs",
        asks_for_nothing: |value| value == &Value::Bool(false),
        what_would_be_right: "must be false or absent",
    },
    Unsupported {
        param: "top_logprobs",
        asks_for_nothing: is_zero,
        what_would_be_right: "must be 0 or absent",
    },
    Unsupported {
        param: "tools",
        asks_for_nothing: is_empty,
        what_would_be_right: "must be empty or absent",
    },
    Unsupported {
        param: "functions",
        asks_for_nothing: is_empty,
        what_would_be_right: "must be empty or absent",
    },
    Unsupported {
        param: "tool_choice",
        asks_for_nothing: leaves_tools_alone,
        what_would_be_right: "must be 'none', 'auto' or absent",
    },
    Unsupported {
        param: "function_call",
        asks_for_nothing: leaves_tools_alone,
        what_would_be_right: "must be 'none', 'auto' or absent",
    },
    Unsupported {
        param: "response_format",
        asks_for_nothing: |value| value.get("type").and_then(Value::as_str) == Some("text"),
        what_would_be_right: "must be {\"type\": \"text\"} or absent",
    },
    Unsupported {
        param: "modalities",
        asks_for_nothing: |value| {
            value
                .as_array()
                .is_some_and(|kinds| kinds.iter().all(|kind| kind == "text"))
        },
        what_would_be_right: "must be [\"text\"] or absent",
    },
    Unsupported {
        param: "audio",
        asks_for_nothing: |_| false,
        what_would_be_right: "must be absent",
    },
    Unsupported {
        param: "web_search_options",
        asks_for_nothing: |_| false,
        what_would_be_right: "must be absent",
    },
];

const COMPLETIONS: &[Unsupported] = &[
    Unsupported {
        param: "logprobs",
        asks_for_nothing: |_| false,
        what_would_be_right: "must be absent",
    },
    Unsupported {
        param: "best_of",
        asks_for_nothing: |value| value.as_f64() == Some(1.0),
        what_would_be_right: "must be 1 or absent",
    },
    Unsupported {
        param: "echo",
        asks_for_nothing: |value| value == &Value::Bool(false),
        what_would_be_right: "must be false or absent",
    },
    Unsupported {
        param: "suffix",
        asks_for_nothing: |value| value.as_str() == Some(""),
        what_would_be_right: "must be empty or absent",
    },
];

/// Refuses the first parameter that asks for something that would not be done.
pub(super) fn refuse(endpoint: Endpoint, fields: &Fields<'_>) -> Result<(), Refusal> {
    let own = match endpoint {
        Endpoint::Chat => CHAT,
        Endpoint::Completions => COMPLETIONS,
    };
    for Unsupported {
        param,
        asks_for_nothing,
        what_would_be_right,
    } in BOTH.iter().chain(own)
    {
        if fields.get(param).is_some_and(|value| !asks_for_nothing(value)) {
            let message = format!("'{param}' is not supported by this server: it {what_would_be_right}.");
            return Err(Refusal::unsupported(*param, message));
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn leaves_tools_alone(value: &Value) -> bool {
    matches!(value.as_str(), Some("none" | "auto"))
}
