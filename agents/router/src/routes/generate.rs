//! `/v1/chat/completions` and `/v1/completions`: authenticate, take a place, read, parse, look the service up, generate.
//!
//! The order is chosen so that strangers cost nothing: no body is read without a key and a place.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use tokio_util::sync::CancellationToken;

use super::{App, body};
use crate::{
    backend,
    generation::{Generation, Output},
    lease::Lease,
    record::Record,
    refusal::Refusal,
    request::{self, Endpoint, Parsed},
    request_id::RequestId,
    response::{self, Answer},
    serve::Closing,
    trace::{self, Span, SpanKind},
};

const TIMEOUT_HEADER: &str = "x-request-timeout";

/// While traces are on: by this the request is found in them.
const TRACE_ID_HEADER: &str = "x-trace-id";

pub(super) async fn answer(app: Arc<App>, endpoint: Endpoint, request: Request) -> Response {
    let request_id = request
        .extensions()
        .get::<RequestId>()
        .map_or("", RequestId::as_str)
        .to_owned();
    let closing = request
        .extensions()
        .get::<Closing>()
        .map(|closing| closing.0.clone())
        .unwrap_or_default();
    let parent = request
        .headers()
        .get(trace::HEADER)
        .and_then(|value| value.to_str().ok());
    let mut span = Span::begin("request", SpanKind::Server, parent);
    span.set("http.request.method", "POST");
    span.set("url.path", request.uri().path().to_owned());
    let trace_id = span.trace_id();
    let record = Record::begin(Arc::clone(&app.metrics), request_id, span);
    let mut response = generate(app, endpoint, request, closing, record).await;
    if let Some(trace_id) = trace_id.and_then(|id| HeaderValue::try_from(id).ok()) {
        response.headers_mut().insert(TRACE_ID_HEADER, trace_id);
    }
    response
}

async fn generate(
    app: Arc<App>,
    endpoint: Endpoint,
    request: Request,
    closing: CancellationToken,
    mut record: Record,
) -> Response {
    let admitted = match admit(&app, endpoint, request, &mut record).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            record.end(refusal.status);
            return refusal.into_response();
        }
    };
    let Admitted {
        request,
        answer,
        stream,
        lease,
    } = admitted;
    let backend = Arc::clone(&app.backend);
    let generation = Generation::open(backend, request, endpoint.prompt_param(), closing, lease, record);
    let response = if stream {
        answer_in_events(answer, generation, app.config.keep_alive_interval).await
    } else {
        answer_at_once(&answer, generation).await
    };
    response.unwrap_or_else(Refusal::into_response)
}

/// A request that a backend may be asked.
struct Admitted {
    request: backend::Request,
    answer: Answer,
    stream: bool,
    lease: Lease,
}

async fn admit(
    app: &App,
    endpoint: Endpoint,
    request: Request,
    record: &mut Record,
) -> Result<Admitted, Refusal> {
    let (parts, unread_body) = request.into_parts();
    let caller = app.authenticate(&parts.headers)?;
    record.set_user(&caller.user);
    let timeout = timeout(&parts.headers, &app.config)?;
    let deadline = record.arrived() + timeout;
    let Ok(permit) = Arc::clone(&app.places).try_acquire_owned() else {
        return Err(Refusal::busy(
            "too many requests at a time",
            app.config.retry_after,
        ));
    };
    let lease = Lease::new(permit, deadline);
    let body = body::read(
        unread_body,
        app.config.body_bytes_max,
        app.config.body_timeout.min(timeout),
    )
    .await?;
    let Parsed {
        model,
        prompt,
        sampling,
        max_tokens,
        stop,
        stream,
        include_usage,
    } = request::parse(endpoint, &body)?;
    let service = app
        .backend
        .service(&model)
        .filter(|service| caller.services.contains(&service.name))
        .ok_or_else(|| Refusal::unknown_model(&model))?;
    record.set_service(&service);
    let request = backend::Request {
        request_id: record.request_id.clone(),
        traceparent: record.span.traceparent(),
        caller,
        service: service.name.clone(),
        prompt,
        sampling,
        max_tokens,
        stop,
        deadline: deadline.into_std(),
        cancellation: lease.cancellation(),
    };
    let answer = Answer {
        endpoint,
        id: answer_id(endpoint),
        created: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs(),
        model: service.name,
        include_usage,
    };
    Ok(Admitted {
        request,
        answer,
        stream,
        lease,
    })
}

/// The header's seconds, or the default.
fn timeout(headers: &HeaderMap, config: &crate::Config) -> Result<Duration, Refusal> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else {
        return Ok(config.request_timeout_default);
    };
    let seconds = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok());
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero() && *timeout <= config.request_timeout_max)
        .ok_or_else(|| {
            let longest = config.request_timeout_max.as_secs_f64();
            Refusal::invalid_header(
                "X-Request-Timeout",
                format!(
                    "The header 'X-Request-Timeout' must be a number of seconds above 0, at most {longest}."
                ),
            )
        })
}

fn answer_id(endpoint: Endpoint) -> String {
    let prefix = match endpoint {
        Endpoint::Chat => "chatcmpl",
        Endpoint::Completions => "cmpl",
    };
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

async fn answer_at_once(answer: &Answer, mut generation: Generation) -> Result<Response, Refusal> {
    let mut text = String::new();
    while let Some(output) = generation.next().await {
        match output? {
            Output::Started => {}
            Output::Text(piece) => text.push_str(&piece),
            Output::Finished(reason, usage) => {
                let body = Body::from(answer.whole(&text, reason, usage));
                return Ok((
                    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
                    body,
                )
                    .into_response());
            }
        }
    }
    unreachable!("a generation ends with Finished or a refusal")
}

/// Waits a moment for the first event, so that an early refusal keeps its HTTP status.
async fn answer_in_events(
    answer: Answer,
    mut generation: Generation,
    keep_alive_interval: Duration,
) -> Result<Response, Refusal> {
    let first = match tokio::time::timeout(keep_alive_interval, generation.next()).await {
        Ok(first) => first.transpose()?,
        Err(_elapsed) => None,
    };
    generation.stream_begins();
    let events = response::stream(answer, generation, first, keep_alive_interval);
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Some proxies collect a response before they pass it on, unless they are told not to.
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}
