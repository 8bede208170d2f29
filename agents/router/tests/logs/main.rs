//! What the log says of a request, and what it must not. A process of its own: tracing remembers for the whole process
//! whether anybody listens to a line, and other tests run where nobody does.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

#[path = "../it/scripted.rs"]
#[allow(dead_code, reason = "the other suite uses all of it")]
mod scripted;

use std::{fs, sync::Arc};

use router::{Config, Error};
use serde_json::json;

use scripted::*;

#[tokio::test]
async fn a_request_is_one_line_without_prompt_answer_or_key() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let defect = Err(Error::Internal {
        reason: "a bug".to_owned(),
    });
    for events in [hello(), vec![started(), text("Hello"), defect]] {
        let fixture = fixture(&Scripted::events(events), Config::default());
        let messages = json!([{"role": "user", "content": "my secret question"}]);
        fixture
            .send(chat_request(json!({"messages": messages, "stop": ["my stop"]})))
            .await;
        fixture
            .send(chat_request(json!({"model": "my invented model"})))
            .await;
    }
    drop(guard);
    let written = fs::read_to_string(&log).unwrap();
    let done: Vec<&str> = written
        .lines()
        .filter(|line| line.contains("request done"))
        .collect();
    assert_eq!(done.len(), 4, "{written}");
    for field in [
        "user=\"somebody\"",
        "service=\"default/tiny\"",
        "status=200",
        "prompt_tokens=5",
        "completion_tokens=4",
    ] {
        assert!(done[0].contains(field), "{field} is missing in {}", done[0]);
    }
    assert!(written.contains("a bug"), "{written}");
    for secret in ["my ", "Hel", "world", "sk-alice"] {
        assert!(!written.contains(secret), "{secret} stands in {written}");
    }
}
