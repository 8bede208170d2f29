//! The load: custom resources of 1.2 kB, written and read by a number of clients at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use crate::connection::{Connection, Target};

const GROUP: &str = "bench.edgeloom.dev";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const COLLECTION: &str = "/apis/bench.edgeloom.dev/v1/namespaces/bench/gadgets";
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between the events of a fan-out, longer than most of them take to arrive.
const EVENT_PAUSE: Duration = Duration::from_millis(40);

/// What became of a number of events.
pub(crate) struct Spread {
    pub(crate) median: Duration,
    /// The 99th of a hundred.
    pub(crate) high: Duration,
}

/// Makes the namespace and the definition, and waits until it is served.
pub(crate) async fn prepare(target: &Target) -> Result<()> {
    let mut connection = target.connect().await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
    connection
        .ask(Method::POST, "/api/v1/namespaces", JSON, namespace.to_string())
        .await
        .context("the server has to be fresh")?;
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer", "minimum": 0},
            "model": {"type": "string", "maxLength": 100},
            "settings": {"type": "object", "additionalProperties": {"type": "string"}},
            "stages": {"type": "array", "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "node": {"type": "string"}, "layers": {"type": "integer"}}}}}},
        "status": {"type": "object", "properties": {
            "phase": {"type": "string"}, "observedGeneration": {"type": "integer"}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gadgets.{GROUP}")},
        "spec": {"group": GROUP, "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    connection
        .ask(Method::POST, definitions, JSON, definition.to_string())
        .await?;
    let served = async {
        while connection
            .ask(Method::GET, COLLECTION, JSON, String::new())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
            connection = target.connect().await?;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, served)
        .await
        .context("the definition is never served")?
}

/// An object of 1.2 kB as it is stored.
fn gadget(name: &str) -> Value {
    let settings: serde_json::Map<String, Value> = (0..12)
        .map(|number| {
            (
                format!("setting-{number:02}"),
                format!("value {number} of some length").into(),
            )
        })
        .collect();
    let stages: Vec<Value> = (0..4)
        .map(|number| json!({"name": format!("stage-{number}"), "node": format!("edge-{number}"), "layers": 8}))
        .collect();
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Gadget",
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {"replicas": 1, "model": "smollm2-135m", "settings": settings, "stages": stages}})
}

/// Does `number` requests with `clients` at once; gives back how many a second.
async fn run<F>(target: &Target, clients: usize, number: usize, request: F) -> Result<f64>
where
    F: AsyncFn(&mut Connection, usize) -> Result<()>,
{
    let mut connections = try_join_all((0..clients).map(|_| target.connect())).await?;
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    try_join_all(connections.iter_mut().map(async |connection| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= number {
                return anyhow::Ok(());
            }
            request(connection, index).await?;
        }
    }))
    .await?;
    Ok(number as f64 / begun.elapsed().as_secs_f64())
}

pub(crate) async fn creates(target: &Target, prefix: &str, clients: usize, number: usize) -> Result<f64> {
    run(target, clients, number, async |connection, index| {
        let body = gadget(&format!("{prefix}-{index}")).to_string();
        connection
            .ask(Method::POST, COLLECTION, JSON, body)
            .await
            .map(drop)
    })
    .await
}

pub(crate) async fn patches(target: &Target, prefix: &str, clients: usize, number: usize) -> Result<f64> {
    run(target, clients, number, async |connection, index| {
        let path = format!("{COLLECTION}/{prefix}-{index}/status");
        let body = json!({"status": {"phase": "Ready", "observedGeneration": index}}).to_string();
        connection.ask(Method::PATCH, &path, MERGE, body).await.map(drop)
    })
    .await
}

pub(crate) async fn applies(target: &Target, prefix: &str, clients: usize, number: usize) -> Result<f64> {
    run(target, clients, number, async |connection, index| {
        let name = format!("{prefix}-{index}");
        let path = format!("{COLLECTION}/{name}?fieldManager=bench&force=true");
        let mut object = gadget(&name);
        object["spec"]["replicas"] = 2.into();
        connection
            .ask(Method::PATCH, &path, APPLY, object.to_string())
            .await
            .map(drop)
    })
    .await
}

pub(crate) async fn gets(target: &Target, prefix: &str, clients: usize, number: usize) -> Result<f64> {
    run(target, clients, number, async |connection, index| {
        let path = format!("{COLLECTION}/{prefix}-{}", index % 4_000);
        connection
            .ask(Method::GET, &path, JSON, String::new())
            .await
            .map(drop)
    })
    .await
}

/// Lists everything `rounds` times in pages; gives back objects a second.
pub(crate) async fn lists(target: &Target, rounds: usize) -> Result<f64> {
    let mut connection = target.connect().await?;
    let mut listed = 0;
    let begun = Instant::now();
    for _ in 0..rounds {
        listed += pages(&mut connection).await?;
    }
    Ok(listed as f64 / begun.elapsed().as_secs_f64())
}

pub(crate) async fn count(target: &Target) -> Result<usize> {
    pages(&mut target.connect().await?).await
}

async fn pages(connection: &mut Connection) -> Result<usize> {
    let mut listed = 0;
    let mut token = String::new();
    loop {
        let path = format!("{COLLECTION}?limit=500&continue={token}");
        let page = connection.ask(Method::GET, &path, JSON, String::new()).await?;
        listed += page.windows(11).filter(|bytes| bytes == b"\"replicas\":").count();
        match continuation(&page) {
            Some(next) => token = next,
            None => return Ok(listed),
        }
    }
}

/// The token for the next page, which stands in the list's metadata, before or after the items.
fn continuation(page: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(page).ok()?;
    let begin = text.find("\"continue\":\"")? + "\"continue\":\"".len();
    let token = &text[begin..begin + text[begin..].find('"')?];
    (!token.is_empty()).then(|| token.to_owned())
}

/// Writes `events` objects while so many watches follow; tells how long each took to each watch.
pub(crate) async fn fan_out(target: &Target, watchers: usize, events: usize) -> Result<Spread> {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let prefix = format!("f{watchers}");
    let needle: Arc<str> = format!("\"name\":\"{prefix}-").into();
    let mut writer = target.connect().await?;
    let revision = newest(&mut writer).await?;
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let mut connection = target.connect().await?;
        let path = format!("{COLLECTION}?watch=true&resourceVersion={revision}");
        let mut body = connection.begin(Method::GET, &path, JSON, String::new()).await?;
        let (arrived, needle) = (arrived.clone(), needle.clone());
        tasks.push(tokio::spawn(async move {
            // Kept, so that the connection stays open.
            let _connection = connection;
            let mut line: Vec<u8> = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(bytes) = frame.into_data() else { continue };
                for byte in bytes {
                    if byte != b'\n' {
                        line.push(byte);
                        continue;
                    }
                    if let Some(index) = number_after(&line, &needle)
                        && arrived.send((index, Instant::now())).is_err()
                    {
                        return;
                    }
                    line.clear();
                }
            }
        }));
    }
    // Settled: the last watch has begun when its answer has.
    let mut sent = Vec::new();
    for index in 0..events {
        let body = gadget(&format!("{prefix}-{index}")).to_string();
        sent.push(Instant::now());
        writer.ask(Method::POST, COLLECTION, JSON, body).await?;
        tokio::time::sleep(EVENT_PAUSE).await;
    }
    let mut latencies = Vec::new();
    while latencies.len() < watchers * events {
        let (index, at): (usize, Instant) = timeout(PATIENCE, arrivals.recv())
            .await
            .context("an event did not reach a watch")?
            .context("all watches ended")?;
        latencies.push(at - sent[index]);
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    ensure!(latencies.len() == watchers * events, "each event comes once");
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Ok(Spread {
        median: at(0.5),
        high: at(0.99),
    })
}

fn number_after(line: &[u8], needle: &str) -> Option<usize> {
    let text = std::str::from_utf8(line).ok()?;
    let begin = text.find(needle)? + needle.len();
    text[begin..].split('"').next()?.parse().ok()
}

async fn newest(connection: &mut Connection) -> Result<String> {
    let path = format!("{COLLECTION}?limit=1");
    let page = connection.ask(Method::GET, &path, JSON, String::new()).await?;
    let page: Value = serde_json::from_slice(&page)?;
    Ok(page["metadata"]["resourceVersion"]
        .as_str()
        .context("a list has a version")?
        .to_owned())
}
