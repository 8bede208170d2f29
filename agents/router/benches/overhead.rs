//! What the router costs: a request through all of its layers against a direct call of the same backend.
//!
//! `cargo bench -p router` prints medians: microseconds added per request (one token, whole answer) and per token
//! (a streamed answer of 1,000), in the process and over a socket of this machine. The targets are below 1,000 and 100.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures and may fail"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use router::{
    AllowedServices, AuthError, Backend, Caller, Config, Error, Event, EventStream, FinishReason, Message,
    Prompt, Readiness, Request, Role, Sampling, ServiceInfo, Usage,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const NUM_REQUESTS: usize = 2_000;
const NUM_STREAMS: usize = 100;
const TOKENS_PER_STREAM: u32 = 1_000;

/// Has every token ready, and lets go of the thread after each, as a real one does.
struct Instantly;

#[async_trait::async_trait]
impl Backend for Instantly {
    fn services(&self) -> Vec<ServiceInfo> {
        let service = |name: &str| ServiceInfo {
            name: name.to_owned(),
            created: 0,
            owned_by: "bench".to_owned(),
            context_tokens: None,
            label: name.to_owned(),
            objective: router::Objective::default(),
        };
        vec![service("tiny")]
    }

    fn authenticate(&self, _presented_key: Option<&str>) -> Result<Caller, AuthError> {
        Ok(Caller {
            user: "bench".to_owned(),
            services: AllowedServices::All,
        })
    }

    async fn generate(&self, request: Request) -> Result<EventStream, Error> {
        let num_tokens = request.max_tokens.unwrap_or(1);
        let usage = Usage {
            prompt_tokens: 5,
            completion_tokens: num_tokens,
        };
        let tokens = stream::iter(0..num_tokens).then(async |_| {
            tokio::task::yield_now().await;
            Ok(Event::Text {
                piece: " word".to_owned(),
                tokens: 1,
            })
        });
        let first = stream::iter([Ok(Event::Started { prompt_tokens: 5 })]);
        let last = stream::iter([Ok(Event::Finished {
            reason: FinishReason::Length,
            usage,
        })]);
        Ok(first.chain(tokens).chain(last).boxed())
    }

    fn ready(&self) -> Readiness {
        Readiness::Ready
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let backend: Arc<dyn Backend> = Arc::new(Instantly);
    let routes = router::routes(
        Arc::clone(&backend),
        Config::default(),
        &prometheus::Registry::new(),
    )
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(router::serve(
        listener,
        routes.clone(),
        stop.clone(),
        Duration::from_secs(1),
    ));
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.set_nodelay(true).unwrap();

    println!(
        "{:<28}{:>12}{:>14}{:>14}",
        "median, microseconds", "direct", "in process", "over a socket"
    );
    for (what, num_tokens, num_runs, divisor) in [
        ("request, one token", 1, NUM_REQUESTS, 1.0),
        (
            "per token of a stream",
            TOKENS_PER_STREAM,
            NUM_STREAMS,
            f64::from(TOKENS_PER_STREAM),
        ),
    ] {
        let streaming = num_tokens > 1;
        let direct = median(num_runs, async || call_directly(&backend, num_tokens).await).await / divisor;
        let in_process = median(num_runs, async || {
            call_routes(&routes, num_tokens, streaming).await
        })
        .await
            / divisor;
        let mut samples = Vec::with_capacity(num_runs);
        for _ in 0..num_runs {
            let begin = Instant::now();
            call_over_socket(&mut connection, num_tokens, streaming).await;
            samples.push(begin.elapsed());
        }
        let over_socket = middle(samples) / divisor;
        println!("{what:<28}{direct:>12.2}{in_process:>14.2}{over_socket:>14.2}");
        let (added_in_process, added_over_socket) = (in_process - direct, over_socket - direct);
        println!(
            "{:<28}{:>12}{added_in_process:>14.2}{added_over_socket:>14.2}",
            "  added by the router", ""
        );
    }
    drop(connection);
    stop.cancel();
    server.await.unwrap();
}

async fn median(num_runs: usize, run: impl AsyncFn()) -> f64 {
    let mut samples = Vec::with_capacity(num_runs);
    for _ in 0..num_runs {
        let begin = Instant::now();
        run().await;
        samples.push(begin.elapsed());
    }
    middle(samples)
}

fn middle(mut samples: Vec<Duration>) -> f64 {
    samples.sort();
    samples[samples.len() / 2].as_secs_f64() * 1e6
}

async fn call_directly(backend: &Arc<dyn Backend>, num_tokens: u32) {
    let request = Request {
        traceparent: None,
        request_id: "bench".to_owned(),
        caller: backend.authenticate(None).unwrap(),
        service: "tiny".to_owned(),
        prompt: Prompt::Chat(vec![Message {
            role: Role::User,
            content: "hi".to_owned(),
        }]),
        sampling: Sampling::default(),
        max_tokens: Some(num_tokens),
        stop: vec![],
        deadline: Instant::now() + Duration::from_secs(60),
        cancellation: CancellationToken::new(),
    };
    let mut events = backend.generate(request).await.unwrap();
    while let Some(event) = events.next().await {
        std::hint::black_box(event.unwrap());
    }
}

fn body(num_tokens: u32, streaming: bool) -> String {
    format!(
        r####"{{"model":"tiny","messages":[{{"role":"user","content":"hi"}}],"max_tokens":{num_tokens},"stream":{streaming},"stop":["###"]}}"####
    )
}

async fn call_routes(routes: &axum::Router, num_tokens: u32, streaming: bool) {
    let request = http::Request::post("/v1/chat/completions")
        .body(Body::from(body(num_tokens, streaming)))
        .unwrap();
    let mut answer = routes.clone().oneshot(request).await.unwrap().into_body();
    while let Some(frame) = answer.frame().await {
        std::hint::black_box(frame.unwrap());
    }
}

async fn call_over_socket(connection: &mut TcpStream, num_tokens: u32, streaming: bool) {
    let body = body(num_tokens, streaming);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all((head + &body).as_bytes()).await.unwrap();
    // A chunked stream ends with the empty chunk, a whole answer with its usage.
    let end: &[u8] = if streaming { b"\r\n0\r\n\r\n" } else { b"}}" };
    let mut tail = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while !tail.ends_with(end) {
        let length = connection.read(&mut buffer).await.unwrap();
        assert_ne!(length, 0, "the server hung up");
        tail.extend_from_slice(&buffer[..length]);
        let surplus = tail.len().saturating_sub(16);
        tail.drain(..surplus);
    }
}
