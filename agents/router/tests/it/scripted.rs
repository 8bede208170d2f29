//! A backend that does what a test tells it, and remembers what it was asked.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use futures::{StreamExt, future::BoxFuture, stream};
use http::StatusCode;
use http_body_util::BodyExt;
use prometheus::Registry;
use router::{
    AllowedServices, AuthError, Backend, Caller, Config, Error, Event, EventStream, FinishReason, Objective,
    Readiness, Reason, Request, ServiceInfo, Usage,
};
use serde_json::{Value, json};
use tower::ServiceExt;

type Script = dyn Fn(Request) -> BoxFuture<'static, Result<EventStream, Error>> + Send + Sync;

pub(crate) struct Scripted {
    script: Box<Script>,
    pub(crate) requests: Mutex<Vec<Request>>,
    pub(crate) ready: AtomicBool,
}

impl Scripted {
    /// Answers every request with these events, at once.
    pub(crate) fn events(events: Vec<Result<Event, Error>>) -> Arc<Self> {
        Self::opening(move |_| Ok(stream::iter(events.clone()).boxed()))
    }

    /// These events, and then nothing: neither an end nor an error.
    pub(crate) fn hanging_after(events: Vec<Result<Event, Error>>) -> Arc<Self> {
        Self::opening(move |_| Ok(stream::iter(events.clone()).chain(stream::pending()).boxed()))
    }

    pub(crate) fn opening(
        open: impl Fn(Request) -> Result<EventStream, Error> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::new(move |request| {
            let opened = open(request);
            Box::pin(async move { opened })
        })
    }

    pub(crate) fn new(
        script: impl Fn(Request) -> BoxFuture<'static, Result<EventStream, Error>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            requests: Mutex::default(),
            ready: AtomicBool::new(true),
        })
    }

    pub(crate) fn last_request(&self) -> Request {
        self.requests
            .lock()
            .unwrap()
            .last()
            .expect("the backend was asked")
            .clone()
    }
}

#[async_trait::async_trait]
impl Backend for Scripted {
    fn services(&self) -> Vec<ServiceInfo> {
        ["tiny", "demo/large"]
            .map(|name| ServiceInfo {
                name: name.to_owned(),
                created: 1_700_000_000,
                owned_by: "edgeloom".to_owned(),
                context_tokens: Some(2048),
                label: format!("default/{name}"),
                objective: Objective {
                    time_to_first_token: Some(Duration::from_secs(3600)),
                    time_per_output_token: Some(Duration::ZERO),
                },
            })
            .to_vec()
    }

    fn authenticate(&self, presented_key: Option<&str>) -> Result<Caller, AuthError> {
        let services = match presented_key {
            None => return Err(AuthError::MissingKey),
            Some("sk-alice") => AllowedServices::All,
            Some("sk-bob") => AllowedServices::Only(["tiny".to_owned()].into()),
            Some(_) => return Err(AuthError::UnknownKey),
        };
        Ok(Caller {
            user: "somebody".to_owned(),
            services,
        })
    }

    async fn generate(&self, request: Request) -> Result<EventStream, Error> {
        self.requests.lock().unwrap().push(request.clone());
        (self.script)(request).await
    }

    fn ready(&self) -> Readiness {
        if self.ready.load(Ordering::Relaxed) {
            Readiness::Ready
        } else {
            let message = "no RouteTable has arrived yet".to_owned();
            Readiness::NotReady(vec![Reason {
                name: "NoRouteTable".to_owned(),
                message,
            }])
        }
    }
}

pub(crate) fn started() -> Result<Event, Error> {
    Ok(Event::Started { prompt_tokens: 5 })
}

pub(crate) fn text(piece: &str) -> Result<Event, Error> {
    Ok(Event::Text {
        piece: piece.to_owned(),
        tokens: 1,
    })
}

pub(crate) fn finished(completion_tokens: u32) -> Result<Event, Error> {
    let usage = Usage {
        prompt_tokens: 5,
        completion_tokens,
    };
    Ok(Event::Finished {
        reason: FinishReason::Stop,
        usage,
    })
}

pub(crate) fn hello() -> Vec<Result<Event, Error>> {
    vec![started(), text("Hel"), text("lo"), text(" world"), finished(4)]
}

pub(crate) struct Fixture {
    pub(crate) routes: axum::Router,
    pub(crate) registry: Registry,
}

pub(crate) fn fixture(backend: &Arc<Scripted>, config: Config) -> Fixture {
    let registry = Registry::new();
    let backend: Arc<dyn Backend> = Arc::clone(backend) as _;
    Fixture {
        routes: router::routes(backend, config, &registry).unwrap(),
        registry,
    }
}

pub(crate) fn chat_request(extra: Value) -> http::Request<Body> {
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    post("/v1/chat/completions", &body.to_string())
}

pub(crate) fn post(path: &str, body: &str) -> http::Request<Body> {
    http::Request::post(path)
        .header("authorization", "Bearer sk-alice")
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub(crate) fn get(path: &str) -> http::Request<Body> {
    http::Request::get(path)
        .header("authorization", "Bearer sk-alice")
        .body(Body::empty())
        .unwrap()
}

impl Fixture {
    pub(crate) async fn send(&self, request: http::Request<Body>) -> Response {
        self.routes.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send_for_json(&self, request: http::Request<Body>) -> (StatusCode, Value) {
        let response = self.send(request).await;
        (
            response.status(),
            serde_json::from_str(&text_of(response).await).unwrap(),
        )
    }

    /// The status and the `data:` of each event.
    pub(crate) async fn send_for_events(&self, request: http::Request<Body>) -> (StatusCode, Vec<String>) {
        let response = self.send(request).await;
        (response.status(), data_of(&text_of(response).await))
    }

    pub(crate) fn metrics(&self) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap()
    }
}

pub(crate) async fn text_of(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn data_of(events: &str) -> Vec<String> {
    events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(str::to_owned)
        .collect()
}

/// The texts of a chat's chunks, joined.
pub(crate) fn shown(data: &[String]) -> String {
    data.iter()
        .filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect()
}

/// Polls until the condition holds; fails loudly if it never does.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
