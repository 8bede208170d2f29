//! What is lost is said, and nothing is ever computed on a cache that is not the session's.

use std::process::Command;

use http::StatusCode;
use serde_json::json;

use crate::support::{Events, Plan, chat, eventually, json_of, no_sessions, nodes};

const PROMPT: &str = "What is the capital of France?";

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_revision_is_refused() {
    let [a, b] = nodes(["a", "b"]).await;
    let old = Plan::default();
    old.up(&[&a, &b], &[]).await;
    let before = a.chat(PROMPT, 8).await;
    let new = Plan {
        revision: 2,
        ..old.clone()
    };
    // Only the second stage has heard of the new revision.
    b.agent.apply(new.for_node(&b, &[&a, &b], &[]));
    eventually("the new revision is in force", || {
        let hops = b.agent.hops();
        hops.iter()
            .any(|hop| hop.revision == 2)
            .then_some(())
            .ok_or(format!("{hops:?}"))
    })
    .await;
    let (status, body) = json_of(a.post(chat(PROMPT, 8)).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.to_string().contains("stale revision"), "{body}");
    no_sessions(&[&a, &b]).await;

    a.agent.apply(new.for_node(&a, &[&a, &b], &[]));
    a.ready(2).await;
    assert_eq!(a.chat(PROMPT, 8).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_breaks_its_sessions_and_serves_again() {
    let [a, b] = nodes(["a", "b"]).await;
    Plan::default().up(&[&a, &b], &[]).await;
    let before = a.chat(PROMPT, 16).await;
    let epoch = b.worker.epoch().unwrap();

    let mut body = chat("Write a long story about a lighthouse.", 256);
    body["stream"] = json!(true);
    let mut events = Events::of(a.post(body).await);
    events.some_text().await;
    let process = b.worker.held_memory().unwrap().process.to_string();
    assert!(
        Command::new("kill")
            .args(["-9", &process])
            .status()
            .unwrap()
            .success()
    );
    let rest = events.rest().await;
    let last = rest.last().expect("the answer does not end without a word");
    assert!(last.contains("error"), "{last}");
    no_sessions(&[&a, &b]).await;

    eventually("the worker runs again", || match b.worker.epoch() {
        Ok(now) if now != epoch => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(a.chat(PROMPT, 16).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_lost_in_the_middle_of_an_answer_is_named_to_the_client() {
    let [a, b, c] = nodes(["a", "b", "c"]).await;
    Plan::default().up(&[&a, &b, &c], &[]).await;
    let mut body = chat("Write a long story about a lighthouse.", 256);
    body["stream"] = json!(true);
    let mut events = Events::of(a.post(body).await);
    events.some_text().await;
    b.agent.stop().await;
    let rest = events.rest().await;
    let last = rest.last().expect("the answer does not end without a word");
    assert!(last.contains("error") && last.contains("`b`"), "{last}");
    no_sessions(&[&a, &c]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_withdrawn_ends_its_sessions_and_frees_its_memory() {
    let [a, b] = nodes(["a", "b"]).await;
    let plan = Plan::default();
    plan.up(&[&a, &b], &[]).await;
    let before = a.chat(PROMPT, 8).await;
    let mut body = chat("Write a long story about a lighthouse.", 256);
    body["stream"] = json!(true);
    let mut events = Events::of(a.post(body).await);
    events.some_text().await;
    // Everything moves to one node: the other's stage goes as soon as its session has ended.
    let moved = Plan { revision: 2, ..plan };
    moved.up(&[&a], &[&b]).await;
    let rest = events.rest().await;
    assert!(rest.last().unwrap().contains("withdrawn"), "{rest:?}");
    no_sessions(&[&a, &b]).await;
    eventually("the memory is free", || {
        let held = b.worker.held_memory().map_err(|error| error.to_string())?;
        (held.reserved_bytes < 60 << 20)
            .then_some(())
            .ok_or(format!("{held:?}"))
    })
    .await;
    assert_eq!(a.chat(PROMPT, 8).await, before);
}
