//! Traces of requests, sent to an OpenTelemetry collector over OTLP (HTTP, protobuf). Off unless a collector is named.
//!
//! Spans wait in a queue of OpenTelemetry's own, of bounded length, and a thread of its own sends them: a collector that is slow or
//! gone costs spans and never a request. `OTEL_BSP_…` and `OTEL_TRACES_SAMPLER` say how many wait and which are made.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use http::{Request, Response};
use opentelemetry::{KeyValue, global};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};

/// How long a collector may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// `--otlp-endpoint`, for the programs that make spans.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub(crate) struct Arguments {
    /// Sends traces of requests to this OpenTelemetry collector, over OTLP with HTTP and protobuf: `http://HOST:4318`.
    /// Without it, no trace is made.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,
}

/// Traces that are being sent; what waits is sent when it is dropped.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

/// Makes and sends traces of this node's requests from now on, if a collector is named.
///
/// # Errors
///
/// When the collector's address is none.
pub(crate) fn begin(arguments: &Arguments, node: &str) -> anyhow::Result<Option<Traces>> {
    let Some(endpoint) = arguments.otlp_endpoint.as_deref().filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    if !(endpoint.starts_with("http://") || endpoint.starts_with("https://")) {
        anyhow::bail!("--otlp-endpoint {endpoint}: write http://HOST:PORT or https://HOST:PORT");
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::default())
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(ANSWER_WITHIN)
        .build()
        .with_context(|| format!("--otlp-endpoint {endpoint}"))?;
    let resource = Resource::builder()
        .with_service_name("edgeloom-agent")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", node.to_owned()),
        ])
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(TraceContextPropagator::new());
    node::enable_traces();
    tracing::info!(endpoint, "traces are sent");
    Ok(Some(Traces(provider)))
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Posts on the exporter's own thread, which may block.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    failing: AtomicBool,
}

impl Default for Client {
    fn default() -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .http_status_as_error(false)
            .build();
        Self {
            agent: agent.into(),
            failing: AtomicBool::new(false),
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answered = self.post(request);
        let failed = match &answered {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        // Said once, not at each batch.
        let failed_before = self.failing.swap(failed.is_some(), Ordering::Relaxed);
        match failed {
            Some(reason) if !failed_before => tracing::warn!(reason, "traces cannot be sent"),
            None if failed_before => tracing::info!("traces are sent again"),
            _ => {}
        }
        Ok(answered?)
    }
}

impl Client {
    fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, body.to_vec());
        let (parts, mut body) = self.agent.run(request)?.into_parts();
        let body = body.read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}
