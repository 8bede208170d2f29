//! What the server counts, under upstream's names where the meaning is equal.

use std::time::Instant;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::ApiServer;
use crate::auth::Caller;
use crate::kinds::Resource;

/// Seconds; from a read in memory to the deadline of a request.
const DURATION_BUCKETS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// The counters of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGaugeVec,
    watch_events: IntCounterVec,
    revision: IntGauge,
}

impl Metrics {
    /// Counters at zero.
    pub fn new() -> Self {
        let impossible = "constant names and labels are valid";
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new(
                    "apiserver_request_total",
                    "Requests by verb, resource and HTTP status code.",
                ),
                &["verb", "group", "version", "resource", "subresource", "code"],
            )
            .expect(impossible),
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "apiserver_request_duration_seconds",
                    "Time from a request to its answer's beginning.",
                )
                .buckets(DURATION_BUCKETS.to_vec()),
                &["verb", "group", "version", "resource", "subresource"],
            )
            .expect(impossible),
            in_flight: IntGaugeVec::new(
                Opts::new(
                    "apiserver_current_inflight_requests",
                    "Requests that are being worked on.",
                ),
                &["request_kind"],
            )
            .expect(impossible),
            watch_events: IntCounterVec::new(
                Opts::new("apiserver_watch_events_total", "Events sent to watches."),
                &["group", "version", "resource"],
            )
            .expect(impossible),
            revision: IntGauge::new("apiserver_storage_revision", "Revision of the newest write.")
                .expect(impossible),
        };
        let Self {
            registry,
            requests,
            durations,
            in_flight,
            watch_events,
            revision,
        } = &metrics;
        let collectors: [Box<dyn prometheus::core::Collector>; 5] = [
            Box::new(requests.clone()),
            Box::new(durations.clone()),
            Box::new(in_flight.clone()),
            Box::new(watch_events.clone()),
            Box::new(revision.clone()),
        ];
        for collector in collectors {
            registry.register(collector).expect("each is registered once");
        }
        metrics
    }

    /// Counts an event sent to a watch of the resource.
    pub fn watch_event(&self, resource: &Resource) {
        self.watch_events
            .with_label_values(&[resource.group.as_str(), &resource.version, &resource.plural])
            .inc();
    }

    /// All counters in the text format; `revision` is that of the newest write.
    pub fn exposition(&self, revision: u64) -> Response {
        self.revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => (
                StatusCode::OK,
                [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)],
                text,
            )
                .into_response(),
            Err(error) => crate::Status::internal(error).into_response(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that is being worked on.
pub(crate) struct Asked {
    server: ApiServer,
    caller: Caller,
    since: Instant,
    kind: &'static str,
}

impl Asked {
    pub(crate) fn begin(server: &ApiServer, caller: &Caller) -> Self {
        let reads = matches!(caller.attributes.verb.as_str(), "get" | "list" | "watch");
        let kind = if reads { "readOnly" } else { "mutating" };
        server.metrics().in_flight.with_label_values(&[kind]).inc();
        Self {
            server: server.clone(),
            caller: caller.clone(),
            since: Instant::now(),
            kind,
        }
    }

    pub(crate) fn end(self, code: StatusCode) {
        let asked = &self.caller.attributes;
        // Names that clients invent must not become label values: only what is served is counted by name.
        let served = self
            .server
            .kinds()
            .find(&asked.group, &asked.version, &asked.resource)
            .is_some();
        let (group, version, resource, subresource) = if served {
            (
                asked.group.as_str(),
                asked.version.as_str(),
                asked.resource.as_str(),
                asked.subresource.as_str(),
            )
        } else {
            ("", "", "", "")
        };
        let verb = if asked.resource_request {
            asked.verb.to_ascii_uppercase()
        } else {
            "GET".to_owned()
        };
        let metrics = self.server.metrics();
        metrics
            .requests
            .with_label_values(&[
                verb.as_str(),
                group,
                version,
                resource,
                subresource,
                code.as_str(),
            ])
            .inc();
        if verb != "WATCH" {
            let seconds = self.since.elapsed().as_secs_f64();
            metrics
                .durations
                .with_label_values(&[verb.as_str(), group, version, resource, subresource])
                .observe(seconds);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.server
            .metrics()
            .in_flight
            .with_label_values(&[self.kind])
            .dec();
    }
}
