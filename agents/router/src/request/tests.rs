//! What is accepted, what is refused, and which field a refusal names.

use serde_json::{Value, json};

use super::*;
use crate::backend::{Message, Role};

fn chat_with(extra: Value) -> Value {
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    merge(&mut body, extra);
    body
}

fn completion_with(extra: Value) -> Value {
    let mut body = json!({"model": "tiny", "prompt": "once"});
    merge(&mut body, extra);
    body
}

fn merge(body: &mut Value, extra: Value) {
    let Value::Object(extra) = extra else {
        panic!("the extra fields must be an object")
    };
    body.as_object_mut().unwrap().extend(extra);
}

fn accept(endpoint: Endpoint, body: &Value) -> Parsed {
    parse(endpoint, body.to_string().as_bytes()).unwrap_or_else(|refusal| panic!("{body} gave {refusal:?}"))
}

/// The refusal's `param` and `code`.
fn refuse(endpoint: Endpoint, body: &Value) -> (String, String) {
    match parse(endpoint, body.to_string().as_bytes()) {
        Ok(parsed) => panic!("{body} was accepted as {parsed:?}"),
        Err(refusal) => {
            let body: Value = serde_json::from_slice(&refusal.to_json()).unwrap();
            let text = |field: &str| body["error"][field].as_str().unwrap_or("").to_owned();
            let (param, message) = (text("param"), text("message"));
            assert!(
                message.contains(param.trim_end_matches("]")) || message.contains("model"),
                "{message}"
            );
            (param, text("code"))
        }
    }
}

fn refused_as(endpoint: Endpoint, body: &Value, param: &str, code: &str) {
    assert_eq!(
        refuse(endpoint, body),
        (param.to_owned(), code.to_owned()),
        "{body}"
    );
}

#[test]
fn a_plain_chat_gets_openais_defaults() {
    let parsed = accept(Endpoint::Chat, &chat_with(json!({})));
    assert_eq!(
        parsed,
        Parsed {
            model: "tiny".to_owned(),
            prompt: Prompt::Chat(vec![Message {
                role: Role::User,
                content: "hi".to_owned()
            }]),
            sampling: Sampling {
                temperature: 1.0,
                top_p: 1.0,
                top_k: None,
                min_p: 0.0,
                seed: None
            },
            max_tokens: None,
            stop: vec![],
            stream: false,
            include_usage: false,
        }
    );
}

#[test]
fn a_plain_completion_gets_sixteen_tokens() {
    let parsed = accept(Endpoint::Completions, &completion_with(json!({})));
    assert_eq!(
        (parsed.prompt, parsed.max_tokens),
        (Prompt::Text("once".to_owned()), Some(16))
    );
    let parsed = accept(
        Endpoint::Completions,
        &completion_with(json!({"prompt": ["twice"], "max_tokens": 3})),
    );
    assert_eq!(
        (parsed.prompt, parsed.max_tokens),
        (Prompt::Text("twice".to_owned()), Some(3))
    );
}

#[test]
fn every_parameter_reaches_its_place() {
    let parsed = accept(
        Endpoint::Chat,
        &chat_with(json!({
            "temperature": 0, "top_p": 0.5, "top_k": 40, "min_p": 0.05, "seed": -1, "max_completion_tokens": 7,
            "stop": ["a", "b"], "stream": true, "stream_options": {"include_usage": true}, "user": "anyone",
        })),
    );
    let expected = Sampling {
        temperature: 0.0,
        top_p: 0.5,
        top_k: Some(40),
        min_p: 0.05,
        seed: Some(u64::MAX),
    };
    assert_eq!(parsed.sampling, expected);
    assert_eq!(
        (parsed.max_tokens, parsed.stop),
        (Some(7), vec!["a".to_owned(), "b".to_owned()])
    );
    assert!(parsed.stream && parsed.include_usage);
}

#[test]
fn all_roles_and_text_parts_are_understood() {
    let parsed = accept(
        Endpoint::Chat,
        &json!({"model": "tiny", "messages": [
            {"role": "system", "content": "s"},
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": "a", "tool_calls": [], "refusal": null},
            {"role": "tool", "content": "t", "tool_call_id": "x"},
        ]}),
    );
    let Prompt::Chat(messages) = parsed.prompt else {
        panic!("a chat stays a chat")
    };
    let turns: Vec<_> = messages
        .iter()
        .map(|message| (message.role.as_str(), message.content.as_str()))
        .collect();
    let expected = [
        ("system", "s"),
        ("developer", "d"),
        ("user", "one\ntwo"),
        ("assistant", "a"),
        ("tool", "t"),
    ];
    assert_eq!(turns, expected);
}

#[test]
fn values_that_ask_for_nothing_and_unknown_fields_are_accepted() {
    accept(
        Endpoint::Chat,
        &chat_with(json!({
            "n": 1, "presence_penalty": 0.0, "frequency_penalty": 0, "logit_bias": {}, "logprobs": false,
            "top_logprobs": 0, "tools": [], "tool_choice": "none", "response_format": {"type": "text"},
            "modalities": ["text"], "temperature": null, "stop": null, "top_k": -1, "metadata": {"a": "b"},
            "never_heard_of": [1, 2],
        })),
    );
    accept(
        Endpoint::Completions,
        &completion_with(json!({"best_of": 1, "echo": false, "suffix": "", "logprobs": null})),
    );
}

#[test]
fn what_would_not_be_done_is_refused() {
    for (param, value) in [
        ("n", json!(2)),
        ("presence_penalty", json!(0.5)),
        ("frequency_penalty", json!(-1)),
        ("logit_bias", json!({"50256": -100})),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("tools", json!([{"type": "function"}])),
        ("tool_choice", json!("required")),
        ("response_format", json!({"type": "json_object"})),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "alloy"})),
    ] {
        refused_as(
            Endpoint::Chat,
            &chat_with(json!({param: value})),
            param,
            "unsupported_parameter",
        );
    }
    for (param, value) in [
        ("logprobs", json!(0)),
        ("best_of", json!(2)),
        ("echo", json!(true)),
        ("suffix", json!("end")),
        ("prompt", json!([1, 2])),
        ("prompt", json!(["a", "b"])),
    ] {
        refused_as(
            Endpoint::Completions,
            &completion_with(json!({param: value})),
            param,
            "unsupported_parameter",
        );
    }
}

#[test]
fn values_out_of_their_ranges_are_refused() {
    for (param, value) in [
        ("temperature", json!(2.1)),
        ("temperature", json!(-0.1)),
        ("top_p", json!(0)),
        ("top_p", json!(1.5)),
        ("top_k", json!(-2)),
        ("min_p", json!(2)),
        ("max_tokens", json!(0)),
        ("max_completion_tokens", json!(4_294_967_296_u64)),
        ("seed", json!(u64::MAX)),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stop", json!("")),
        ("stream_options", json!({"include_usage": true})),
        ("messages", json!([])),
    ] {
        refused_as(
            Endpoint::Chat,
            &chat_with(json!({param: value})),
            param,
            "invalid_value",
        );
    }
    let contradiction = chat_with(json!({"max_tokens": 1, "max_completion_tokens": 2}));
    refused_as(Endpoint::Chat, &contradiction, "max_tokens", "invalid_value");
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    for (param, value) in [
        ("model", json!(1)),
        ("temperature", json!("hot")),
        ("max_tokens", json!(1.5)),
        ("seed", json!("x")),
        ("stop", json!(7)),
        ("stream", json!("yes")),
        ("messages", json!("hi")),
    ] {
        refused_as(
            Endpoint::Chat,
            &chat_with(json!({param: value})),
            param,
            "invalid_type",
        );
    }
    refused_as(
        Endpoint::Chat,
        &chat_with(json!({"stop": ["a", 1]})),
        "stop[1]",
        "invalid_type",
    );
}

#[test]
fn a_refused_message_is_named_by_its_place() {
    let messages =
        |message: Value| chat_with(json!({"messages": [{"role": "user", "content": "hi"}, message]}));
    for (message, param, code) in [
        (json!("hi"), "messages[1]", "invalid_type"),
        (
            json!({"content": "hi"}),
            "messages[1].role",
            "missing_required_parameter",
        ),
        (
            json!({"role": "robot", "content": "hi"}),
            "messages[1].role",
            "invalid_value",
        ),
        (
            json!({"role": "user"}),
            "messages[1].content",
            "missing_required_parameter",
        ),
        (
            json!({"role": "user", "content": 5}),
            "messages[1].content",
            "invalid_type",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
            "messages[1].content[0].type",
            "unsupported_parameter",
        ),
        (
            json!({"role": "user", "content": [{"type": "text"}]}),
            "messages[1].content[0].text",
            "missing_required_parameter",
        ),
        (
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "x"}]}),
            "messages[1].tool_calls",
            "unsupported_parameter",
        ),
    ] {
        refused_as(Endpoint::Chat, &messages(message), param, code);
    }
}

#[test]
fn what_is_missing_is_named() {
    refused_as(
        Endpoint::Chat,
        &json!({"messages": []}),
        "model",
        "missing_required_parameter",
    );
    refused_as(
        Endpoint::Chat,
        &json!({"model": "tiny"}),
        "messages",
        "missing_required_parameter",
    );
    refused_as(
        Endpoint::Completions,
        &json!({"model": "tiny"}),
        "prompt",
        "missing_required_parameter",
    );
}

#[test]
fn what_is_no_json_object_is_refused_without_a_field() {
    for body in ["", "{", "[1]", "\"model\"", "{\"model\": \"tiny\",}"] {
        let refusal = parse(Endpoint::Chat, body.as_bytes()).unwrap_err();
        let shape: Value = serde_json::from_slice(&refusal.to_json()).unwrap();
        assert_eq!(shape["error"]["type"], "invalid_request_error");
        assert_eq!(shape["error"]["param"], Value::Null);
    }
}
