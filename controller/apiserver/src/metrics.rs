//! What the server counts, under upstream's names where the meaning is equal.

use std::time::Instant;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::ApiServer;
use crate::auth::{Caller, attributes};
use crate::kinds::Resource;

/// Seconds; from a read in memory to the deadline of a request.
const DURATION_BUCKETS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// What upstream's labels call this program.
const COMPONENT: &str = "apiserver";

/// The counters of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGaugeVec,
    watch_events: IntCounterVec,
    watches: IntGaugeVec,
    dropped: IntCounterVec,
    audited: IntCounterVec,
    objects: IntGaugeVec,
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
                &[
                    "verb",
                    "dry_run",
                    "group",
                    "version",
                    "resource",
                    "subresource",
                    "scope",
                    "component",
                    "code",
                ],
            )
            .expect(impossible),
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "apiserver_request_duration_seconds",
                    "Time from a request to its answer's beginning.",
                )
                .buckets(DURATION_BUCKETS.to_vec()),
                &[
                    "verb",
                    "group",
                    "version",
                    "resource",
                    "subresource",
                    "scope",
                    "component",
                ],
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
            watches: IntGaugeVec::new(
                Opts::new("apiserver_longrunning_requests", "Watches that are open."),
                &["verb", "group", "version", "resource", "scope", "component"],
            )
            .expect(impossible),
            dropped: IntCounterVec::new(
                Opts::new(
                    "apiserver_dropped_requests_total",
                    "Requests that were refused because too many were being worked on.",
                ),
                &["request_kind"],
            )
            .expect(impossible),
            audited: IntCounterVec::new(
                Opts::new(
                    "apiserver_audit_event_total",
                    "Events of the audit log, and those that it lost.",
                ),
                &["outcome"],
            )
            .expect(impossible),
            objects: IntGaugeVec::new(
                Opts::new("apiserver_resource_objects", "Objects that are stored."),
                &["group", "resource"],
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
            watches,
            dropped,
            audited,
            objects,
            revision,
        } = &metrics;
        let collectors: [Box<dyn prometheus::core::Collector>; 9] = [
            Box::new(requests.clone()),
            Box::new(durations.clone()),
            Box::new(in_flight.clone()),
            Box::new(watch_events.clone()),
            Box::new(watches.clone()),
            Box::new(dropped.clone()),
            Box::new(audited.clone()),
            Box::new(objects.clone()),
            Box::new(revision.clone()),
        ];
        for collector in collectors {
            registry.register(collector).expect("each is registered once");
        }
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(
                prometheus::process_collector::ProcessCollector::for_self(),
            ))
            .expect("each is registered once");
        metrics
    }

    /// The counter of events sent to watches of the resource.
    pub fn watch_events(&self, resource: &Resource) -> IntCounter {
        self.watch_events
            .with_label_values(&[resource.group.as_str(), &resource.version, &resource.plural])
    }

    /// The gauge of open watches of the resource.
    pub fn watches(&self, resource: &Resource, namespace: &str) -> IntGauge {
        let scope = if namespace.is_empty() {
            "cluster"
        } else {
            "namespace"
        };
        let (group, version, plural) = (&resource.group, &resource.version, &resource.plural);
        self.watches
            .with_label_values(&["WATCH", group, version, plural, scope, COMPONENT])
    }

    /// The counters of refused requests, by kind: `readOnly`, `mutating`, `watch`.
    pub fn dropped_requests(&self) -> IntCounterVec {
        self.dropped.clone()
    }

    /// The counters of the audit log, by outcome: `written`, `lost`.
    pub fn audited(&self) -> IntCounterVec {
        self.audited.clone()
    }

    /// Says how many objects of a resource are stored.
    pub fn set_objects(&self, resource: &Resource, number: usize) {
        let storage = &resource.storage;
        self.objects
            .with_label_values(&[storage.group.as_str(), &storage.plural])
            .set(i64::try_from(number).unwrap_or(i64::MAX));
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
    dry_run: &'static str,
}

impl Asked {
    pub(crate) fn begin(server: &ApiServer, caller: &Caller, query: Option<&str>) -> Self {
        let reads = matches!(caller.attributes.verb.as_str(), "get" | "list" | "watch");
        let kind = if reads { "readOnly" } else { "mutating" };
        server.metrics().in_flight.with_label_values(&[kind]).inc();
        Self {
            server: server.clone(),
            caller: caller.clone(),
            since: Instant::now(),
            kind,
            // Upstream tells the values that were given; only one is ever accepted.
            dry_run: attributes::parameter(query, "dryRun").map_or("", |_| "All"),
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
        let scope = match (
            asked.resource_request,
            asked.name.is_empty(),
            asked.namespace.is_empty(),
        ) {
            (false, ..) => "",
            (true, false, _) => "resource",
            (true, true, false) => "namespace",
            (true, true, true) => "cluster",
        };
        let metrics = self.server.metrics();
        let verb = verb.as_str();
        let code = code.as_str();
        let labels = [
            verb,
            self.dry_run,
            group,
            version,
            resource,
            subresource,
            scope,
            COMPONENT,
            code,
        ];
        metrics.requests.with_label_values(&labels).inc();
        if verb != "WATCH" {
            let seconds = self.since.elapsed().as_secs_f64();
            metrics
                .durations
                .with_label_values(&[verb, group, version, resource, subresource, scope, COMPONENT])
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
