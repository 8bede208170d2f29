//! A request's way through router, head and stages, as an OpenTelemetry collector is told of it.

use std::{collections::BTreeMap, process::Command};

use tests::{
    collector::{Collector, Span},
    up::{Up, example},
    wait::until,
};

use crate::up::{router, until_settled};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";
const QUESTION: &str = "What is the capital of France?";

/// Asks with a trace of the client's own, if there is one; gives the head of the answer.
fn ask(router: &str, traceparent: Option<&str>) -> String {
    let body = serde_json::json!({
        "model": "assistant", "temperature": 0, "max_tokens": 6,
        "messages": [{ "role": "user", "content": QUESTION }],
    });
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--max-time",
        "120",
        "--include",
    ])
    .args(["--header", "Content-Type: application/json"])
    .args(["--header", "Authorization: Bearer sk-edgeloom-demo"])
    .args(["--data", &body.to_string()]);
    if let Some(traceparent) = traceparent {
        curl.args(["--header", &format!("traceparent: {traceparent}")]);
    }
    let output = curl
        .arg(format!("{router}/v1/chat/completions"))
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text.to_ascii_lowercase()
}

fn trace_id(answer: &str) -> Option<&str> {
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-trace-id: "))?;
    Some(line.trim())
}

/// The spans from the top downwards, each the only one under the one before.
fn chain<'a>(spans: &'a [Span], top: &str) -> Vec<&'a Span> {
    let mut chain = vec![];
    let mut above = top;
    loop {
        let mut below = spans.iter().filter(|span| span.parent_span_id == above);
        let Some(next) = below.next() else {
            return chain;
        };
        assert!(below.next().is_none(), "two spans are under {above}: {spans:#?}");
        chain.push(next);
        above = &next.span_id;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_trace_from_the_router_through_every_stage() {
    let collector = Collector::start().await;
    // Four machines of which no two hold the model.
    let mut manifests = String::new();
    for node in ["north", "east", "south", "west"] {
        manifests.push_str(&format!(
            "apiVersion: edgeloom.dev/v1alpha1\nkind: EdgeNode\nmetadata: {{ name: {node} }}\n\
             spec: {{ tier: Device, limits: {{ memory: 76Mi, cores: 375m }} }}\n---\n"
        ));
    }
    let others = example("01-first-thread");
    let others = others
        .split("\n---\n")
        .filter(|document| !document.contains("kind: EdgeNode") && !document.contains("kind: EdgeLink"));
    manifests.push_str(&others.collect::<Vec<_>>().join("\n---\n"));
    let manifests = manifests
        .replace("attachNodes: [base-station, laptop]", "attachNodes: [north]")
        .replace("contextTokens: 1024", "contextTokens: 256")
        .replace("outputTokensMax: 256", "outputTokensMax: 64")
        .replace("concurrency: 2", "concurrency: 1");
    let up = Up::start(&manifests, &["--otlp-endpoint", &collector.url()]).await;
    let ready = until_settled(&up).await;
    let pipeline = ready.pipeline.expect("a pipeline");
    let nodes: Vec<&str> = pipeline
        .split_whitespace()
        .filter_map(|word| word.split_once('[').map(|(node, _)| node))
        .collect();
    assert!(nodes.len() >= 3, "the head and two stages: {pipeline}");
    let ingress = ["north", "east", "south", "west"]
        .into_iter()
        .find(|node| *node != nodes[0])
        .expect("a node that is not the head");

    let traceparent = format!("00-{TRACE}-{CLIENT_SPAN}-01");
    let answer = ask(&router(&up, ingress).await, Some(&traceparent));
    assert_eq!(trace_id(&answer), Some(TRACE), "{answer}");
    let spans = until("all spans have come", || async {
        let spans = collector.trace(TRACE);
        (spans.len() > nodes.len()).then_some(spans)
    })
    .await;

    let chain = chain(&spans, CLIENT_SPAN);
    assert_eq!(chain.len(), spans.len(), "a span hangs elsewhere: {spans:#?}");
    let names: Vec<_> = chain.iter().map(|span| span.name.as_str()).collect();
    let stages = vec!["stage"; nodes.len() - 1];
    assert_eq!(names, [vec!["request", "head"], stages].concat());
    let places: Vec<_> = chain
        .iter()
        .map(|span| span.resource["service.instance.id"].as_str())
        .collect();
    assert_eq!(places, [vec![ingress], nodes.clone()].concat());
    for (ordinal, span) in chain[1..].iter().enumerate() {
        assert_eq!(span.attributes["edgeloom.node"], nodes[ordinal]);
        assert_eq!(span.attributes["edgeloom.ordinal"], ordinal.to_string());
        assert!(span.time.0 <= span.time.1, "{span:?}");
    }
    let expected = BTreeMap::from([
        ("edgeloom.service", "default/assistant"),
        ("http.response.status_code", "200"),
        ("url.path", "/v1/chat/completions"),
    ]);
    for (key, value) in expected {
        assert_eq!(chain[0].attributes[key], value);
    }
    assert!(
        chain[..2]
            .iter()
            .all(|span| span.events.contains(&"first token".to_owned()))
    );
    let told = format!("{spans:?}").to_lowercase();
    for secret in ["france", "paris", "sk-edgeloom", "\"ada\""] {
        assert!(
            !told.contains(secret),
            "{secret} is told to the collector: {told}"
        );
    }
    let logs = up.logs();
    assert!(
        logs.lines()
            .any(|line| line.contains("request done") && line.contains(TRACE)),
        "the log names the trace"
    );

    // A client without a trace gets one of its own.
    let answer = ask(&router(&up, nodes[0]).await, None);
    let made = trace_id(&answer).expect("a trace of its own").to_owned();
    assert_ne!(made, TRACE);
    until("the other trace has come", || async {
        (collector.trace(&made).len() > nodes.len()).then_some(())
    })
    .await;
}
