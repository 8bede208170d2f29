//! What a well-formed request is answered.

use http::StatusCode;
use router::{Config, Prompt, Role};
use serde_json::{Value, json};

use crate::scripted::*;

#[tokio::test]
async fn a_chat_is_answered_whole() {
    let backend = Scripted::events(hello());
    let fixture = fixture(&backend, Config::default());
    let (status, mut answer) = fixture
        .send_for_json(chat_request(json!({"max_tokens": 9, "stop": "###"})))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    answer["id"] = Value::Null;
    answer["created"] = Value::Null;
    assert_eq!(
        answer,
        json!({
            "id": null, "object": "chat.completion", "created": null, "model": "tiny",
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "Hello world", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
        })
    );
    let request = backend.last_request();
    let Prompt::Chat(messages) = request.prompt else {
        panic!("a chat arrives as a chat")
    };
    assert_eq!(
        (messages[0].role, messages[0].content.as_str()),
        (Role::User, "hi")
    );
    assert_eq!(
        (request.max_tokens, request.stop, request.caller.user.as_str()),
        (Some(9), vec!["###".to_owned()], "somebody")
    );
}

#[tokio::test]
async fn a_completion_is_answered_whole_and_in_events() {
    let backend = Scripted::events(hello());
    let fixture = fixture(&backend, Config::default());
    let body = json!({"model": "tiny", "prompt": "once"});
    let (_, answer) = fixture
        .send_for_json(post("/v1/completions", &body.to_string()))
        .await;
    assert_eq!(
        (&answer["object"], &answer["choices"][0]["text"]),
        (&json!("text_completion"), &json!("Hello world"))
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["choices"][0].get("message"), None);

    let body = json!({"model": "tiny", "prompt": "once", "stream": true});
    let (_, data) = fixture
        .send_for_events(post("/v1/completions", &body.to_string()))
        .await;
    let (done, chunks) = data.split_last().unwrap();
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|chunk| serde_json::from_str(chunk).unwrap())
        .collect();
    let texts: Vec<&str> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        (texts, done.as_str()),
        (vec!["Hel", "lo", " world", ""], "[DONE]")
    );
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion"));
}

#[tokio::test]
async fn models_are_listed_for_those_who_may_use_them() {
    let fixture = fixture(&Scripted::events(hello()), Config::default());
    let (_, list) = fixture.send_for_json(get("/v1/models")).await;
    assert_eq!(
        list["data"][0],
        json!({"id": "tiny", "object": "model", "created": 1_700_000_000, "owned_by": "edgeloom", "max_model_len": 2048})
    );
    assert_eq!(
        (&list["object"], list["data"].as_array().unwrap().len()),
        (&json!("list"), 2)
    );

    let (status, model) = fixture.send_for_json(get("/v1/models/demo/large")).await;
    assert_eq!((status, &model["id"]), (StatusCode::OK, &json!("demo/large")));
    let (_, model) = fixture.send_for_json(get("/v1/models/demo%2Flarge")).await;
    assert_eq!(model["id"], "demo/large");

    let of_bob = |path: &str| {
        let mut request = get(path);
        request
            .headers_mut()
            .insert("authorization", "bearer sk-bob".parse().unwrap());
        request
    };
    let (_, list) = fixture.send_for_json(of_bob("/v1/models")).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    let (status, error) = fixture.send_for_json(of_bob("/v1/models/demo/large")).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("model_not_found"))
    );
}

#[tokio::test]
async fn probes_need_no_key_and_say_why() {
    let backend = Scripted::events(hello());
    let fixture = fixture(&backend, Config::default());
    let anonymous = |path: &str| http::Request::get(path).body(axum::body::Body::empty()).unwrap();
    assert_eq!(fixture.send(anonymous("/healthz")).await.status(), StatusCode::OK);
    assert_eq!(fixture.send(anonymous("/readyz")).await.status(), StatusCode::OK);
    backend.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    let (status, body) = fixture.send_for_json(anonymous("/readyz")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        body["reasons"],
        json!([{"name": "NoRouteTable", "message": "no RouteTable has arrived yet"}])
    );
}

#[tokio::test]
async fn the_request_id_is_echoed_or_made() {
    let backend = Scripted::events(hello());
    let fixture = fixture(&backend, Config::default());
    let mut request = chat_request(json!({}));
    request
        .headers_mut()
        .insert("x-request-id", "mine-7".parse().unwrap());
    assert_eq!(fixture.send(request).await.headers()["x-request-id"], "mine-7");
    assert_eq!(backend.last_request().request_id, "mine-7");

    let mut request = get("/nowhere");
    request
        .headers_mut()
        .insert("x-request-id", "two words".parse().unwrap());
    let made = fixture.send(request).await.headers()["x-request-id"].clone();
    assert!(made.to_str().unwrap().starts_with("req-"));
}

#[tokio::test]
async fn metrics_count_outcomes_and_tokens_by_known_service_only() {
    let fixture = fixture(&Scripted::events(hello()), Config::default());
    fixture.send_for_json(chat_request(json!({}))).await;
    for name in ["made-up-1", "made-up-2"] {
        fixture.send_for_json(chat_request(json!({"model": name}))).await;
    }
    let shown = text_of(fixture.send(get("/metrics")).await).await;
    for line in [
        r#"edgeloom_requests_total{code="200",service="default/tiny"} 1"#,
        r#"edgeloom_requests_total{code="404",service="unknown"} 2"#,
        r#"edgeloom_prompt_tokens_total{service="default/tiny"} 5"#,
        r#"edgeloom_completion_tokens_total{service="default/tiny"} 4"#,
        r#"edgeloom_time_to_first_token_seconds_count{service="default/tiny"} 1"#,
        r#"edgeloom_time_per_output_token_seconds_count{service="default/tiny"} 1"#,
        r#"edgeloom_request_duration_seconds_count{service="unknown"} 2"#,
        "edgeloom_requests_in_flight 0",
        r#"edgeloom_stream_errors_total{service="default/tiny"} 0"#,
        r#"edgeloom_slo_requests_total{met="true",objective="availability",service="default/tiny"} 1"#,
        r#"edgeloom_slo_requests_total{met="true",objective="time_to_first_token",service="default/tiny"} 1"#,
        // The scripted service promises the impossible here.
        r#"edgeloom_slo_requests_total{met="false",objective="time_per_output_token",service="default/tiny"} 1"#,
    ] {
        assert!(
            shown.lines().any(|found| found == line),
            "{line} is missing in\n{shown}"
        );
    }
    assert!(!shown.contains("made-up"));
}

#[test]
fn one_registry_takes_one_router() {
    let backend = Scripted::events(hello());
    let first = fixture(&backend, Config::default());
    assert!(router::routes(backend, Config::default(), &first.registry).is_err());
}
