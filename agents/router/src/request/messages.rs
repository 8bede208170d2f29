//! The turns of a chat.
//!
//! `name`, `refusal` and `tool_call_id` are ignored: no chat template that we run is given them.

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::{
    backend::{Message, Role},
    refusal::Refusal,
};

const ROLES: [Role; 5] = [
    Role::System,
    Role::Developer,
    Role::User,
    Role::Assistant,
    Role::Tool,
];

pub(super) fn parse(fields: &Fields<'_>) -> Result<Vec<Message>, Refusal> {
    let messages = match fields.get("messages") {
        None => return Err(Refusal::missing("messages", "You must provide messages.")),
        Some(Value::Array(messages)) => messages,
        Some(other) => return Err(Refusal::invalid_type("messages", "an array of objects", other)),
    };
    if messages.is_empty() {
        return Err(Refusal::invalid_value(
            "messages",
            "'messages' must hold at least one message.",
        ));
    }
    messages
        .iter()
        .enumerate()
        .map(|(index, value)| message(&format!("messages[{index}]"), value))
        .collect()
}

fn message(path: &str, value: &Value) -> Result<Message, Refusal> {
    let Value::Object(object) = value else {
        return Err(Refusal::invalid_type(path, "an object", value));
    };
    let role = role(path, object)?;
    for field in ["tool_calls", "function_call", "audio"] {
        let harmless = object
            .get(field)
            .is_none_or(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty));
        if !harmless {
            let param = format!("{path}.{field}");
            let message = format!("'{param}' is not supported: say the same in 'content'.");
            return Err(Refusal::unsupported(param, message));
        }
    }
    Ok(Message {
        role,
        content: content(&format!("{path}.content"), object.get("content"))?,
    })
}

fn role(path: &str, object: &Map<String, Value>) -> Result<Role, Refusal> {
    let param = format!("{path}.role");
    let name = match object.get("role") {
        None | Some(Value::Null) => {
            return Err(Refusal::missing(
                param.clone(),
                format!("You must provide '{param}'."),
            ));
        }
        Some(Value::String(name)) => name,
        Some(other) => return Err(Refusal::invalid_type(param, "a string", other)),
    };
    ROLES
        .into_iter()
        .find(|role| role.as_str() == name)
        .ok_or_else(|| {
            let known = ROLES.map(|role| format!("'{}'", role.as_str())).join(", ");
            Refusal::invalid_value(
                param.clone(),
                format!("Invalid '{param}': expected one of {known}, but got '{name}'."),
            )
        })
}

fn content(path: &str, value: Option<&Value>) -> Result<String, Refusal> {
    match value {
        None | Some(Value::Null) => Err(Refusal::missing(path, format!("You must provide '{path}'."))),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts
                .iter()
                .enumerate()
                .map(|(index, part)| text_part(&format!("{path}[{index}]"), part))
                .collect::<Result<_, _>>()?;
            Ok(texts.join("\n"))
        }
        Some(other) => Err(Refusal::invalid_type(
            path,
            "a string or an array of text parts",
            other,
        )),
    }
}

fn text_part<'a>(path: &str, part: &'a Value) -> Result<&'a str, Refusal> {
    let Value::Object(object) = part else {
        return Err(Refusal::invalid_type(path, "an object", part));
    };
    let param = format!("{path}.type");
    match object.get("type") {
        None => {
            return Err(Refusal::missing(
                param.clone(),
                format!("You must provide '{param}'."),
            ));
        }
        Some(Value::String(kind)) if kind == "text" => {}
        Some(Value::String(kind)) => {
            let message = format!("Content of type '{kind}' is not supported; '{param}' must be 'text'.");
            return Err(Refusal::unsupported(param, message));
        }
        Some(other) => return Err(Refusal::invalid_type(param, "a string", other)),
    }
    let param = format!("{path}.text");
    match object.get("text") {
        Some(Value::String(text)) => Ok(text),
        None => Err(Refusal::missing(
            param.clone(),
            format!("You must provide '{param}'."),
        )),
        Some(other) => Err(Refusal::invalid_type(param, "a string", other)),
    }
}
