//! Watches, by kube's watcher and line by line.

use std::sync::Arc;

use apiserver::auth::UserInfo;
use apiserver::store::{Memory, Store};
use axum::body::{Body, BodyDataStream};
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{Harness, SOON, WIDGETS, resource, widget};

/// The lines of a watch.
struct Lines {
    stream: BodyDataStream,
    rest: Vec<u8>,
}

impl Lines {
    async fn of(harness: &Harness, query: &str) -> Self {
        let request = http::Request::get(format!("{WIDGETS}?watch=true&{query}"))
            .body(Body::empty())
            .expect("a request");
        let response = harness
            .server
            .in_process_router(UserInfo::loopback())
            .oneshot(request)
            .await
            .expect("routers do not fail");
        assert_eq!(response.status(), 200);
        Self {
            stream: response.into_body().into_data_stream(),
            rest: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a line of JSON"));
            }
            let more = tokio::time::timeout(SOON, self.stream.next())
                .await
                .expect("a line comes soon")?;
            self.rest.extend(more.expect("a body"));
        }
    }

    /// The next line as `TYPE name`, without bookmarks.
    async fn event(&mut self) -> String {
        loop {
            let line = self.next().await.expect("the watch goes on");
            if line["type"] != "BOOKMARK" {
                return format!(
                    "{} {}",
                    line["type"].as_str().expect("a type"),
                    line["object"]["metadata"]["name"].as_str().unwrap_or("-")
                );
            }
        }
    }
}

#[tokio::test]
async fn the_present_comes_first_and_then_every_change_once() {
    let harness = Harness::new().await;
    harness.create("a", json!({})).await;
    let mut lines = Lines::of(&harness, "").await;
    assert_eq!(lines.event().await, "ADDED a");
    harness.create("b", json!({})).await;
    assert_eq!(lines.event().await, "ADDED b");
    harness
        .send_as(
            "application/merge-patch+json",
            "PATCH",
            &format!("{WIDGETS}/a"),
            &json!({"spec": {"x": 1}}),
        )
        .await;
    assert_eq!(lines.event().await, "MODIFIED a");
    harness
        .send("DELETE", &format!("{WIDGETS}/a"), &json!(null))
        .await;
    let deleted = lines.next().await.expect("the watch goes on");
    assert_eq!(
        (&deleted["type"], &deleted["object"]["spec"]["x"]),
        (&json!("DELETED"), &json!(1))
    );
    let revision = harness
        .server
        .store()
        .revision()
        .await
        .expect("a revision")
        .to_string();
    assert_eq!(
        deleted["object"]["metadata"]["resourceVersion"], revision,
        "it carries the deletion's version"
    );
}

#[tokio::test]
async fn a_watch_resumes_after_the_version_it_names() {
    let harness = Harness::new().await;
    let first = harness.create("a", json!({})).await;
    harness.create("b", json!({})).await;
    let version = first["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut lines = Lines::of(&harness, &format!("resourceVersion={version}")).await;
    assert_eq!(lines.event().await, "ADDED b");
}

#[tokio::test]
async fn what_starts_or_stops_to_match_is_added_or_deleted() {
    let harness = Harness::new().await;
    harness.create("a", json!({"node": "n1"})).await;
    let mut lines = Lines::of(&harness, "fieldSelector=spec.node%3Dn1").await;
    assert_eq!(lines.event().await, "ADDED a");
    let patch = async |node: &str| {
        let path = format!("{WIDGETS}/a");
        harness
            .send_as(
                "application/merge-patch+json",
                "PATCH",
                &path,
                &json!({"spec": {"node": node}}),
            )
            .await
            .body
    };
    let moved = patch("n2").await;
    let gone = lines.next().await.expect("the watch goes on");
    assert_eq!(
        (&gone["type"], &gone["object"]["spec"]["node"]),
        (&json!("DELETED"), &json!("n1")),
        "the last state that matched"
    );
    assert_eq!(
        gone["object"]["metadata"]["resourceVersion"],
        moved["metadata"]["resourceVersion"]
    );
    patch("n3").await;
    patch("n1").await;
    assert_eq!(
        lines.event().await,
        "ADDED a",
        "a change between two states that do not match is not told"
    );
}

#[tokio::test]
async fn a_version_no_longer_kept_is_an_error_event_and_then_the_end() {
    let store = Arc::new(Memory::new());
    let harness = Harness::over(store.clone()).await;
    harness.create("a", json!({})).await;
    harness.create("b", json!({})).await;
    let current = store.revision().await.expect("a revision");
    store.compact(current).await.expect("compaction works");
    let mut lines = Lines::of(&harness, "resourceVersion=1").await;
    let error = lines.next().await.expect("an error");
    assert_eq!(
        (
            &error["type"],
            &error["object"]["code"],
            &error["object"]["reason"]
        ),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert_eq!(
        error["object"]["message"],
        format!("too old resource version: 1 ({current})")
    );
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn a_streaming_list_marks_its_end_and_bookmarks_come_when_asked_for() {
    let harness = Harness::new().await;
    harness.create("a", json!({})).await;
    let streaming = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=3";
    let mut lines = Lines::of(&harness, &format!("{streaming}&allowWatchBookmarks=true")).await;
    assert_eq!(lines.next().await.expect("the present")["type"], "ADDED");
    let mark = lines.next().await.expect("the mark");
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(
        mark["object"]["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    assert_eq!(mark["object"]["kind"], "Widget");
    let revision = harness
        .server
        .store()
        .revision()
        .await
        .expect("a revision")
        .to_string();
    assert_eq!(mark["object"]["metadata"]["resourceVersion"], revision);

    let mut lines = Lines::of(&harness, &format!("{streaming}&allowWatchBookmarks=false")).await;
    assert_eq!(lines.next().await.expect("the present")["type"], "ADDED");
    assert_eq!(
        lines.next().await,
        None,
        "no bookmark, and the end when the time is over"
    );
}

#[tokio::test]
async fn a_bookmark_comes_early() {
    let harness = Harness::new().await;
    let mut lines = Lines::of(&harness, "allowWatchBookmarks=true").await;
    assert_eq!(lines.next().await.expect("a bookmark")["type"], "BOOKMARK");
}

#[tokio::test]
async fn kubes_watcher_and_reflector_see_everything_in_both_modes() {
    let harness = Harness::new().await;
    let api = harness.widgets("default");
    api.create(&PostParams::default(), &widget("a", json!({})))
        .await
        .expect("it is new");
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let (reader, writer) = {
            let writer = reflector::store::Writer::new(resource());
            (writer.as_reader(), writer)
        };
        let stream = reflector::reflector(writer, watcher(api.clone(), config)).applied_objects();
        let mut stream = std::pin::pin!(stream);
        let mut next = async || {
            let next = tokio::time::timeout(SOON, stream.try_next())
                .await
                .expect("an event comes soon");
            next.expect("no error").expect("no end").name_any()
        };
        assert_eq!(next().await, "a");
        let patch = json!({"metadata": {"labels": {"seen": uuid::Uuid::new_v4().to_string()}}});
        api.patch("a", &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("it exists");
        assert_eq!(next().await, "a");
        assert_eq!(reader.state().len(), 1);
        assert!(reader.state()[0].labels().contains_key("seen"));
    }
}

#[tokio::test]
async fn a_shutdown_ends_watches() {
    let harness = Harness::new().await;
    let mut lines = Lines::of(&harness, "").await;
    harness.server.shut_down();
    assert_eq!(lines.next().await, None);
    assert_eq!(harness.send("GET", "/readyz", &json!(null)).await.code, 500);
    assert_eq!(harness.send("GET", "/livez", &json!(null)).await.body, "ok");
}
