//! What is refused, with which status, code and field.

use std::time::Duration;

use axum::body::Body;
use futures::{StreamExt, stream};
use http::StatusCode;
use router::{Config, Error};
use serde_json::{Value, json};

use crate::scripted::*;

fn code_of(error: &Value) -> (&str, &str, Option<&str>) {
    let error = &error["error"];
    assert!(error["message"].is_string(), "{error}");
    (
        error["type"].as_str().unwrap(),
        error["code"].as_str().unwrap_or(""),
        error["param"].as_str(),
    )
}

#[tokio::test]
async fn keys_are_asked_for_before_anything_is_read() {
    let fixture = fixture(&Scripted::events(hello()), Config::default());
    for path in ["/v1/chat/completions", "/v1/completions"] {
        for authorization in [
            None,
            Some("Bearer sk-wrong"),
            Some("Basic sk-alice"),
            Some("Bearer "),
        ] {
            let mut request = post(path, "{ not json");
            request.headers_mut().remove("authorization");
            if let Some(authorization) = authorization {
                request
                    .headers_mut()
                    .insert("authorization", authorization.parse().unwrap());
            }
            let (status, error) = fixture.send_for_json(request).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert_eq!(
                code_of(&error),
                ("invalid_request_error", "invalid_api_key", None)
            );
        }
    }
}

#[tokio::test]
async fn bad_requests_name_the_field() {
    let backend = Scripted::events(hello());
    let fixture = fixture(&backend, Config::default());
    let (status, error) = fixture
        .send_for_json(chat_request(json!({"temperature": 9})))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(
        code_of(&error),
        ("invalid_request_error", "invalid_value", Some("temperature"))
    );
    let (status, error) = fixture.send_for_json(post("/v1/chat/completions", "{")).await;
    assert_eq!(
        (status, code_of(&error)),
        (StatusCode::BAD_REQUEST, ("invalid_request_error", "", None))
    );
    assert!(backend.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn models_that_do_not_exist_or_are_not_allowed_look_the_same() {
    let fixture = fixture(&Scripted::events(hello()), Config::default());
    let (status, error) = fixture
        .send_for_json(chat_request(json!({"model": "huge"})))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(
        code_of(&error),
        ("invalid_request_error", "model_not_found", Some("model"))
    );
    let mut request = chat_request(json!({"model": "demo/large"}));
    request
        .headers_mut()
        .insert("authorization", "Bearer sk-bob".parse().unwrap());
    let (status, error) = fixture.send_for_json(request).await;
    assert_eq!(
        (status, code_of(&error).1),
        (StatusCode::NOT_FOUND, "model_not_found")
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_get_the_same_shape() {
    let fixture = fixture(&Scripted::events(hello()), Config::default());
    let (status, error) = fixture.send_for_json(post("/v1/nonsense", "{}")).await;
    assert_eq!(
        (status, code_of(&error).1),
        (StatusCode::NOT_FOUND, "unknown_url")
    );
    let response = fixture.send(get("/v1/chat/completions")).await;
    assert_eq!(
        (response.status(), &response.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    let error: Value = serde_json::from_str(&text_of(response).await).unwrap();
    assert_eq!(code_of(&error).1, "method_not_supported");
    let (status, error) = fixture.send_for_json(post("/v1/embeddings", "{}")).await;
    assert_eq!(
        (status, code_of(&error).1),
        (StatusCode::BAD_REQUEST, "not_supported")
    );
}

#[tokio::test]
async fn errors_of_the_backend_become_openais() {
    let reason = || "node b is gone".to_owned();
    let length = Error::ContextLength {
        prompt_tokens: 3000,
        max_tokens: 1,
        context_tokens: 2048,
    };
    let busy = Error::Busy {
        reason: "no cells left".to_owned(),
        retry_after: Duration::from_millis(1500),
    };
    let invalid = Error::InvalidRequest {
        param: "messages".to_owned(),
        message: "roles must alternate".to_owned(),
    };
    for (error, status, code, param) in [
        (length, 400, "context_length_exceeded", Some("messages")),
        (invalid, 400, "invalid_value", Some("messages")),
        (
            Error::UnknownService {
                service: "tiny".to_owned(),
            },
            404,
            "model_not_found",
            Some("model"),
        ),
        (busy, 429, "rate_limit_exceeded", None),
        (
            Error::Unavailable { reason: reason() },
            503,
            "service_unavailable",
            None,
        ),
        (
            Error::Misdirected { reason: reason() },
            503,
            "service_unavailable",
            None,
        ),
        (
            Error::Interrupted { reason: reason() },
            503,
            "generation_interrupted",
            None,
        ),
        (Error::DeadlineExceeded, 504, "deadline_exceeded", None),
        (Error::Cancelled, 500, "internal_error", None),
        (Error::Internal { reason: reason() }, 500, "internal_error", None),
    ] {
        let on_opening = {
            let error = error.clone();
            Scripted::opening(move |_| Err(error.clone()))
        };
        for backend in [on_opening, Scripted::events(vec![Err(error.clone())])] {
            let fixture = fixture(&backend, Config::default());
            for stream in [false, true] {
                let response = fixture.send(chat_request(json!({"stream": stream}))).await;
                assert_eq!(response.status().as_u16(), status, "{error:?}, stream: {stream}");
                let retry_after = response
                    .headers()
                    .get("retry-after")
                    .map(|value| value.to_str().unwrap().to_owned());
                assert_eq!(retry_after, (status == 429).then(|| "2".to_owned()));
                let body: Value = serde_json::from_str(&text_of(response).await).unwrap();
                assert_eq!((code_of(&body).1, code_of(&body).2), (code, param));
                let tells = body["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("node b is gone");
                assert_eq!(tells, status == 503, "{body}");
            }
        }
    }
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused() {
    let config = Config {
        body_bytes_max: 1000,
        ..Config::default()
    };
    let fixture = fixture(&Scripted::events(hello()), config);
    let body =
        json!({"model": "tiny", "messages": [{"role": "user", "content": "x".repeat(1000)}]}).to_string();
    let (status, error) = fixture.send_for_json(post("/v1/chat/completions", &body)).await;
    assert_eq!(
        (status, code_of(&error).1),
        (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large")
    );
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let config = Config {
        body_timeout: Duration::from_millis(20),
        ..Config::default()
    };
    let fixture = fixture(&Scripted::events(hello()), config);
    let never = Body::from_stream(stream::pending::<Result<&'static [u8], std::io::Error>>());
    let (parts, _) = chat_request(json!({})).into_parts();
    let (status, error) = fixture
        .send_for_json(http::Request::from_parts(parts, never))
        .await;
    assert_eq!(
        (status, code_of(&error).1),
        (StatusCode::REQUEST_TIMEOUT, "request_timeout")
    );
}

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back() {
    let backend = Scripted::hanging_after(vec![started()]);
    let fixture = fixture(
        &backend,
        Config {
            concurrent_requests_max: 1,
            ..Config::default()
        },
    );
    let running = fixture.send(chat_request(json!({"stream": true}))).await;
    let response = fixture.send(chat_request(json!({}))).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    drop(running);
    let next = fixture.send(chat_request(json!({"stream": true}))).await;
    assert_eq!(next.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_deadline_of_the_header_holds_and_cancels() {
    let backend = Scripted::opening(|_| Ok(stream::pending().boxed()));
    let fixture = fixture(&backend, Config::default());
    let mut request = chat_request(json!({}));
    request
        .headers_mut()
        .insert("x-request-timeout", "0.05".parse().unwrap());
    let (status, error) = fixture.send_for_json(request).await;
    assert_eq!(
        (status, code_of(&error).1),
        (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded")
    );
    assert!(backend.last_request().cancellation.is_cancelled());
}

#[tokio::test]
async fn a_deadline_that_makes_no_sense_is_refused() {
    let fixture = fixture(&Scripted::events(hello()), Config::default());
    for value in ["soon", "0", "-1", "nan", "inf", "7200"] {
        let mut request = chat_request(json!({}));
        request
            .headers_mut()
            .insert("x-request-timeout", value.parse().unwrap());
        let (status, error) = fixture.send_for_json(request).await;
        assert_eq!(
            (status, code_of(&error).2),
            (StatusCode::BAD_REQUEST, Some("X-Request-Timeout")),
            "{value}"
        );
    }
}
