//! What is lost is said, and nothing is ever computed on a cache that is not the session's.

use std::process::Command;

use crds::route_table::{HopPhase, HopStatus};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Events, Node, Plan, chat, eventually, json_of, no_sessions, nodes};

const PROMPT: &str = "What is the capital of France?";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_meets_another_revision_is_sent_again_by_the_next_table() {
    let [a, b] = nodes(["a", "b"]).await;
    let (new, before) = second_stage_is_ahead(&a, &b).await;
    // The head has admitted it by the old one.
    let again = Events::of(a.post(streamed(PROMPT, 8)).await);
    a.agent.apply(new.for_node(&a, &[&a, &b], &[]));
    assert_eq!(again.text().await, before);
    no_sessions(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_revision_refuses_and_without_a_newer_table_the_client_is_told() {
    let [a, b] = nodes(["a", "b"]).await;
    let (new, before) = second_stage_is_ahead(&a, &b).await;
    let (status, body) = json_of(a.post(chat(PROMPT, 8)).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.to_string().contains("stale revision"), "{body}");
    no_sessions(&[&a, &b]).await;

    a.agent.apply(new.for_node(&a, &[&a, &b], &[]));
    a.ready(2).await;
    assert_eq!(a.chat(PROMPT, 8).await, before);
}

/// A node that hears late of a move goes on as the head of a pipeline that drains elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_drains_ends_its_sessions_in_peace_and_takes_no_more() {
    let [a, b] = nodes(["a", "b"]).await;
    let plan = Plan::default();
    plan.up(&[&a, &b], &[]).await;
    let whole = Events::of(a.post(streamed(PROMPT, 64)).await).text().await;
    let mut first = Events::of(a.post(streamed(PROMPT, 64)).await);
    let begun = first.some_text().await;

    let draining = Plan {
        admits: false,
        ..plan.clone()
    };
    b.agent.apply(draining.for_node(&b, &[&a, &b], &[]));
    hop_of(&b, |hop| hop.phase != HopPhase::Ready).await;
    let second = Events::of(a.post(streamed(PROMPT, 64)).await);
    eventually("the draining stage takes no more", || {
        (b.refused() > 0.0)
            .then_some(())
            .ok_or("nothing was refused".to_owned())
    })
    .await;

    let next = Plan { revision: 2, ..plan };
    for node in [&a, &b] {
        let mut both = next.for_node(node, &[&a, &b], &[]);
        let old = draining
            .for_node(node, &[&a, &b], &[])
            .routes
            .expect("it has a table");
        let routes = both.routes.as_mut().expect("it has a table");
        routes.spec.hops.extend(old.spec.hops);
        node.agent.apply(both);
    }
    assert_eq!(second.text().await, whole);
    assert_eq!(begun + &first.text().await, whole);
    hop_of(&b, |hop| hop.revision == 1 && hop.phase == HopPhase::Drained).await;
    no_sessions(&[&a, &b]).await;
}

/// A pipeline over both nodes, of whose next revision only the second has heard. Gives that, and what was answered before.
async fn second_stage_is_ahead(a: &Node, b: &Node) -> (Plan, String) {
    let old = Plan::default();
    old.up(&[a, b], &[]).await;
    let before = a.chat(PROMPT, 8).await;
    let new = Plan { revision: 2, ..old };
    b.agent.apply(new.for_node(b, &[a, b], &[]));
    hop_of(b, |hop| hop.revision == 2).await;
    (new, before)
}

async fn hop_of(node: &Node, is_meant: fn(&HopStatus) -> bool) {
    eventually("the hop is as it was told", || {
        let hops = node.agent.hops();
        let found = hops.iter().any(is_meant);
        found.then_some(()).ok_or(format!("{hops:?}"))
    })
    .await;
}

fn streamed(prompt: &str, max_tokens: u32) -> Value {
    let mut body = chat(prompt, max_tokens);
    body["stream"] = json!(true);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_breaks_its_sessions_and_serves_again() {
    let [a, b] = nodes(["a", "b"]).await;
    Plan::default().up(&[&a, &b], &[]).await;
    let before = a.chat(PROMPT, 16).await;
    let epoch = b.worker.epoch().unwrap();

    let body = streamed("Write a long story about a lighthouse.", 256);
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
    let [a, b, c, d] = nodes(["a", "b", "c", "d"]).await;
    Plan::default().up(&[&a, &b, &c, &d], &[]).await;
    let body = streamed("Write a long story about a lighthouse.", 256);
    let mut events = Events::of(a.post(body).await);
    events.some_text().await;
    c.agent.stop().await;
    let rest = events.rest().await;
    let last = rest.last().expect("the answer does not end without a word");
    // Not the last stage, which only hangs up.
    assert!(last.contains("error") && last.contains("`c`"), "{last}");
    no_sessions(&[&a, &b, &d]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_withdrawn_ends_its_sessions_and_frees_its_memory() {
    let [a, b] = nodes(["a", "b"]).await;
    let plan = Plan::default();
    plan.up(&[&a, &b], &[]).await;
    let before = a.chat(PROMPT, 8).await;
    let body = streamed("Write a long story about a lighthouse.", 256);
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
