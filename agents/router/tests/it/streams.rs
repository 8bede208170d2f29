//! Streams: their events, their ends, and what their clients' going away does.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures::{FutureExt, StreamExt, stream};
use http::StatusCode;
use router::{Config, Error, Event};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::scripted::*;

fn streaming(extra: Value) -> http::Request<axum::body::Body> {
    let mut fields = json!({"stream": true});
    fields
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    chat_request(fields)
}

#[tokio::test]
async fn a_chat_streams_role_texts_reason_usage_and_done() {
    let fixture = fixture(&Scripted::events(hello()), Config::default());
    let response = fixture
        .send(streaming(json!({"stream_options": {"include_usage": true}})))
        .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let data = data_of(&text_of(response).await);
    let (done, chunks) = data.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|chunk| serde_json::from_str(chunk).unwrap())
        .collect();
    let choices: Vec<_> = chunks.iter().map(|chunk| chunk["choices"].clone()).collect();
    let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
    let expected = [
        choice(json!({"role": "assistant", "content": ""}), Value::Null),
        choice(json!({"content": "Hel"}), Value::Null),
        choice(json!({"content": "lo"}), Value::Null),
        choice(json!({"content": " world"}), Value::Null),
        choice(json!({}), json!("stop")),
        json!([]),
    ];
    assert_eq!(choices, expected);
    let usages: Vec<_> = chunks.iter().map(|chunk| chunk["usage"].clone()).collect();
    let total = json!({"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9});
    assert_eq!(
        usages,
        [
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            total
        ]
    );
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk")
    );
}

#[tokio::test]
async fn a_stream_without_the_option_has_no_usage_field() {
    let fixture = fixture(&Scripted::events(hello()), Config::default());
    let (_, data) = fixture.send_for_events(streaming(json!({}))).await;
    assert!(data.iter().all(|data| !data.contains("usage")), "{data:?}");
}

#[tokio::test]
async fn a_stop_sequence_is_cut_and_cancels_the_backend() {
    let events = vec![started(), text("one, t"), text("wo, th"), text("ree")];
    let backend = Scripted::hanging_after(events);
    let fixture = fixture(&backend, Config::default());
    let (_, data) = fixture
        .send_for_events(streaming(json!({"stop": [", two"]})))
        .await;
    assert_eq!(
        (shown(&data).as_str(), data.last().unwrap().as_str()),
        ("one", "[DONE]")
    );
    assert!(data[data.len() - 2].contains(r#""finish_reason":"stop""#));
    assert!(backend.last_request().cancellation.is_cancelled());

    let (_, answer) = fixture
        .send_for_json(chat_request(json!({"stop": ", two"})))
        .await;
    assert_eq!(answer["choices"][0]["message"]["content"], "one");
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
    );
}

#[tokio::test]
async fn text_that_only_looked_like_a_stop_sequence_is_shown_at_the_end() {
    let fixture = fixture(
        &Scripted::events(vec![started(), text("a #"), finished(1)]),
        Config::default(),
    );
    let (_, data) = fixture.send_for_events(streaming(json!({"stop": "##"}))).await;
    assert_eq!(shown(&data), "a #");
}

#[tokio::test]
async fn an_error_in_the_middle_is_an_event_and_the_last() {
    let lost = Error::Interrupted {
        reason: "node b is gone".to_owned(),
    };
    let fixture = fixture(
        &Scripted::events(vec![started(), text("Hel"), Err(lost), text("lo")]),
        Config::default(),
    );
    let (status, data) = fixture.send_for_events(streaming(json!({}))).await;
    assert_eq!((status, shown(&data).as_str()), (StatusCode::OK, "Hel"));
    let error: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "generation_interrupted");
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("node b is gone")
    );
    let metrics = fixture.metrics();
    for line in [
        r#"edgeloom_requests_total{code="503",service="default/tiny"} 1"#,
        r#"edgeloom_stream_errors_total{service="default/tiny"} 1"#,
        r#"edgeloom_slo_requests_total{met="false",objective="availability",service="default/tiny"} 1"#,
        r#"edgeloom_slo_requests_total{met="true",objective="time_to_first_token",service="default/tiny"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn an_end_without_a_reason_becomes_an_error() {
    for events in [vec![started(), text("Hel")], vec![started()], vec![]] {
        let fixture = fixture(&Scripted::events(events.clone()), Config::default());
        let response = fixture.send(streaming(json!({}))).await;
        let all = text_of(response).await;
        assert!(
            all.contains("generation_interrupted") && !all.contains("[DONE]"),
            "{events:?} gave {all}"
        );
        let (status, error) = fixture.send_for_json(chat_request(json!({}))).await;
        assert_eq!(
            (status.as_u16(), &error["error"]["code"]),
            (503, &json!("generation_interrupted"))
        );
    }
}

#[tokio::test]
async fn a_backend_that_breaks_its_contract_is_an_internal_error() {
    for events in [vec![text("x")], vec![finished(1)], vec![started(), started()]] {
        let fixture = fixture(&Scripted::events(events), Config::default());
        let (status, error) = fixture.send_for_json(chat_request(json!({}))).await;
        assert_eq!(
            (status.as_u16(), &error["error"]["code"]),
            (500, &json!("internal_error"))
        );
    }
}

#[tokio::test]
async fn tokens_that_complete_no_character_are_counted_and_not_shown() {
    let events = vec![
        started(),
        text(""),
        text("é"),
        Ok(Event::Text {
            piece: "!".to_owned(),
            tokens: 3,
        }),
    ];
    let backend = Scripted::hanging_after(events);
    let fixture = fixture(&backend, Config::default());
    let (_, data) = fixture
        .send_for_events(streaming(
            json!({"stop": "!", "stream_options": {"include_usage": true}}),
        ))
        .await;
    assert_eq!(shown(&data), "é");
    assert!(
        data[data.len() - 2].contains(r#""completion_tokens":5"#),
        "{data:?}"
    );
}

#[tokio::test]
async fn a_long_opening_and_a_long_prefill_are_bridged_by_comments() {
    let (admit, admitted) = watch::channel(false);
    let (compute, computed) = watch::channel(false);
    let backend = Scripted::new(move |_| {
        let (admitted, computed) = (admitted.clone(), computed.clone());
        Box::pin(async move {
            happened(admitted).await;
            let prefill = stream::once(happened(computed).map(|()| text("Hello")));
            Ok(stream::iter([started()])
                .chain(prefill)
                .chain(stream::iter([finished(1)]))
                .boxed())
        })
    });
    let config = Config {
        keep_alive_interval: Duration::from_millis(10),
        ..Config::default()
    };
    let fixture = fixture(&backend, config);
    let mut body = fixture
        .send(streaming(json!({})))
        .await
        .into_body()
        .into_data_stream();
    for go_on in [admit, compute] {
        for _ in 0..2 {
            assert_eq!(body.next().await.unwrap().unwrap(), ": keep-alive\n\n");
        }
        go_on.send(true).unwrap();
    }
    let rest: Vec<u8> = body
        .flat_map(|bytes| stream::iter(bytes.unwrap()))
        .collect()
        .await;
    assert_eq!(shown(&data_of(&String::from_utf8(rest).unwrap())), "Hello");
}

async fn happened(mut flag: watch::Receiver<bool>) {
    flag.wait_for(|happened| *happened).await.unwrap();
}

#[tokio::test]
async fn a_deadline_in_the_middle_is_an_error_event() {
    let backend = Scripted::hanging_after(vec![started(), text("Hel")]);
    let fixture = fixture(&backend, Config::default());
    let mut request = streaming(json!({}));
    request
        .headers_mut()
        .insert("x-request-timeout", "1".parse().unwrap());
    let (_, data) = fixture.send_for_events(request).await;
    assert!(data.last().unwrap().contains("deadline_exceeded"), "{data:?}");
    assert!(
        fixture
            .metrics()
            .contains(r#"edgeloom_requests_total{code="504",service="default/tiny"} 1"#)
    );
}

#[tokio::test]
async fn the_deadline_frees_the_place_of_a_client_that_does_not_read() {
    let backend = Scripted::hanging_after(vec![started(), text("Hel")]);
    let fixture = fixture(
        &backend,
        Config {
            concurrent_requests_max: 1,
            ..Config::default()
        },
    );
    let mut request = streaming(json!({}));
    request
        .headers_mut()
        .insert("x-request-timeout", "0.2".parse().unwrap());
    let unread = fixture.send(request).await;
    backend.last_request().cancellation.cancelled().await;
    let next = fixture.send(streaming(json!({}))).await;
    assert_eq!(next.status(), StatusCode::OK);
    drop(unread);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_at_once() {
    let backend = Scripted::hanging_after(vec![started(), text("Hel")]);
    let fixture = fixture(&backend, Config::default());
    let mut body: BodyDataStream = fixture
        .send(streaming(json!({})))
        .await
        .into_body()
        .into_data_stream();
    body.next().await.unwrap().unwrap();
    let cancellation = backend.last_request().cancellation;
    assert!(!cancellation.is_cancelled());
    drop(body);
    assert!(cancellation.is_cancelled());
    assert!(
        fixture
            .metrics()
            .contains(r#"edgeloom_requests_total{code="499",service="default/tiny"} 1"#)
    );
}
