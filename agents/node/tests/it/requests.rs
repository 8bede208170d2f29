//! What clients are told when their request is at fault.

use http::StatusCode;
use serde_json::json;

use crate::support::{Events, Node, Plan, chat, json_of, no_sessions, nodes};

async fn whole_model() -> std::sync::Arc<Node> {
    let [a] = nodes(["a"]).await;
    Plan::default().up(&[&a], &[]).await;
    a
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_fault_get_the_documented_error_and_hold_nothing() {
    let a = whole_model().await;
    let code = |body: &serde_json::Value| body["error"]["code"].as_str().unwrap_or_default().to_owned();

    let (status, body) = json_of(a.post_as(chat("Hi", 4), Some("wrong")).await).await;
    assert_eq!(
        (status, code(&body)),
        (StatusCode::UNAUTHORIZED, "invalid_api_key".to_owned())
    );
    let (status, _) = json_of(a.post_as(chat("Hi", 4), None).await).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    let mut unknown = chat("Hi", 4);
    unknown["model"] = json!("other");
    let (status, body) = json_of(a.post(unknown).await).await;
    assert_eq!(
        (status, code(&body)),
        (StatusCode::NOT_FOUND, "model_not_found".to_owned())
    );

    let (status, body) = json_of(a.post(chat(&"word ".repeat(600), 4)).await).await;
    let expected = (StatusCode::BAD_REQUEST, "context_length_exceeded".to_owned());
    assert_eq!((status, code(&body)), expected);
    let (status, body) = json_of(a.post(chat(&"word ".repeat(400), 200)).await).await;
    assert_eq!((status, code(&body)), expected);
    no_sessions(&[&a]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_frees_its_cells_on_every_stage() {
    let [a, b, c] = nodes(["a", "b", "c"]).await;
    Plan::default().up(&[&a, &b, &c], &[]).await;
    let mut body = chat("Write a long story about a lighthouse.", 256);
    body["stream"] = json!(true);
    let mut events = Events::of(a.post(body).await);
    events.some_text().await;
    assert_eq!([&a, &b, &c].map(|node| node.agent.sessions()), [1, 1, 1]);
    drop(events);
    no_sessions(&[&a, &b, &c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_more_than_there_are_seats_is_told_to_come_back() {
    let [a] = nodes(["a"]).await;
    let plan = Plan {
        sessions: 1,
        ..Plan::default()
    };
    plan.up(&[&a], &[]).await;
    let mut body = chat("Write a long story about a lighthouse.", 256);
    body["stream"] = json!(true);
    let mut events = Events::of(a.post(body).await);
    events.some_text().await;
    let refused = a.post(chat("Hi", 4)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    drop(events);
    // The seat is free within the time that a request waits for one, so this needs no pause.
    a.chat("Hi", 4).await;
}
