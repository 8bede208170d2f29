//! What Prometheus is told. Only generating requests are counted: probes and listings would drown them.
//!
//! Labels are bounded: `service` is the label of a service that the backend knows or [`UNKNOWN_SERVICE`], `code` is the HTTP status that
//! the outcome deserves. That is the status that was sent, except for a stream that broke off after its 200, and for
//! [`CLIENT_GONE`].

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::{backend::ServiceInfo, slo::Promise};

/// The service of a request that names none that exists, or that was refused before it was read.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown";

/// The client went away before its answer was complete. No HTTP status says so; 499 is what proxies log.
pub(crate) const CLIENT_GONE: u16 = 499;

/// From a small prompt on a fast server (10 ms) to a long one across a slow link, in seconds.
const FIRST_TOKEN_BUCKETS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

/// From 400 tokens per second to one in five seconds, in seconds.
const PER_TOKEN_BUCKETS: &[f64] = &[
    0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// Up to the default deadline and beyond, in seconds.
const DURATION_BUCKETS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
];

/// The router's families.
pub(crate) struct Metrics {
    pub(crate) requests: IntCounterVec,
    pub(crate) in_flight: IntGauge,
    pub(crate) time_to_first_token: HistogramVec,
    pub(crate) time_per_output_token: HistogramVec,
    pub(crate) request_duration: HistogramVec,
    pub(crate) prompt_tokens: IntCounterVec,
    pub(crate) completion_tokens: IntCounterVec,
    pub(crate) stream_errors: IntCounterVec,
    pub(crate) slo_requests: IntCounterVec,
}

impl Metrics {
    /// Makes the families and registers them. Fails if one of their names is taken in this registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let family = HistogramVec::new(
                HistogramOpts::new(name, help).buckets(buckets.to_vec()),
                &["service"],
            )?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let in_flight = IntGauge::new(
            "edgeloom_requests_in_flight",
            "Generating requests that are not done yet.",
        )?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Self {
            requests: counter(
                "edgeloom_requests_total",
                "Generating requests, by the HTTP status that their outcome deserves (499: the client went away).",
                &["service", "code"],
            )?,
            in_flight,
            time_to_first_token: histogram(
                "edgeloom_time_to_first_token_seconds",
                "From the arrival of a request to its first generated token.",
                FIRST_TOKEN_BUCKETS,
            )?,
            time_per_output_token: histogram(
                "edgeloom_time_per_output_token_seconds",
                "Mean time between the generated tokens of a request, after the first.",
                PER_TOKEN_BUCKETS,
            )?,
            request_duration: histogram(
                "edgeloom_request_duration_seconds",
                "From the arrival of a request to the end of its answer, whatever the outcome.",
                DURATION_BUCKETS,
            )?,
            prompt_tokens: counter(
                "edgeloom_prompt_tokens_total",
                "Tokens of admitted prompts.",
                &["service"],
            )?,
            completion_tokens: counter(
                "edgeloom_completion_tokens_total",
                "Generated tokens.",
                &["service"],
            )?,
            stream_errors: counter(
                "edgeloom_stream_errors_total",
                "Streams that broke off with an error after they had begun.",
                &["service"],
            )?,
            slo_requests: counter(
                "edgeloom_slo_requests_total",
                "Requests by objective of their service and whether they met it. Failed ones do not; refused ones are not counted.",
                &["service", "objective", "met"],
            )?,
        })
    }

    /// Shows the counters of rare events at zero, so that the first event is seen as a rise.
    pub(crate) fn expect(&self, service: &ServiceInfo) {
        let label = service.label.as_str();
        self.stream_errors.with_label_values(&[label]);
        for promise in Promise::all(&service.objective) {
            for met in [true, false] {
                self.slo_counter(label, promise, met);
            }
        }
    }

    /// The counter of requests that met a promise, or did not.
    pub(crate) fn slo_counter(&self, label: &str, promise: Promise, met: bool) -> IntCounter {
        let met = if met { "true" } else { "false" };
        self.slo_requests
            .with_label_values(&[label, promise.as_str(), met])
    }
}
