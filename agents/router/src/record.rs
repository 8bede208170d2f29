//! What is remembered of one generating request, until its end writes it to the metrics and, as one line, to the log.
//! Never any text of the prompt or the answer.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::info;

use crate::{
    backend::{Objective, ServiceInfo, Usage},
    metrics::{CLIENT_GONE, Metrics, UNKNOWN_SERVICE},
    slo::{self, Course, Promise},
    trace::Span,
};

/// Written when it is dropped. Dropped without an outcome means that the client went away: then hyper drops the
/// handler, or the body, and all that is in it.
pub(crate) struct Record {
    metrics: Arc<Metrics>,
    arrived: Instant,
    pub(crate) request_id: String,
    user: String,
    service: Option<String>,
    objective: Objective,
    streaming: bool,
    /// Ends with the record.
    pub(crate) span: Span,
    usage: Usage,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    outcome: Option<u16>,
}

impl Record {
    pub(crate) fn begin(metrics: Arc<Metrics>, request_id: String, span: Span) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics,
            arrived: Instant::now(),
            request_id,
            user: String::new(),
            service: None,
            objective: Objective::default(),
            streaming: false,
            span,
            usage: Usage::default(),
            first_token: None,
            last_token: None,
            outcome: None,
        }
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) fn set_user(&mut self, user: &str) {
        user.clone_into(&mut self.user);
    }

    /// Only for services that exist: the name becomes a label.
    pub(crate) fn set_service(&mut self, service: &ServiceInfo) {
        self.metrics.expect(service);
        self.service = Some(service.label.clone());
        self.objective = service.objective;
    }

    /// The client has its 200: what goes wrong from now on breaks a stream off.
    pub(crate) fn stream_begins(&mut self) {
        self.streaming = true;
    }

    pub(crate) fn prompt_admitted(&mut self, tokens: u32) {
        self.usage.prompt_tokens = tokens;
    }

    pub(crate) fn tokens_generated(&mut self, tokens: u32) {
        if tokens == 0 {
            return;
        }
        let now = Instant::now();
        if self.first_token.is_none() {
            self.first_token = Some(now);
            self.span.event("first token");
        }
        self.last_token = Some(now);
        self.usage.completion_tokens = self.usage.completion_tokens.saturating_add(tokens);
    }

    /// The backend's own count, which replaces ours.
    pub(crate) fn set_usage(&mut self, usage: Usage) {
        self.usage = usage;
    }

    /// How it ended; the first outcome stands.
    pub(crate) fn end(&mut self, status: http::StatusCode) {
        self.outcome.get_or_insert(status.as_u16());
    }

    /// Says to the trace what the log says too, but for the user.
    fn describe(&mut self, service: &str, code: u16) {
        let span = &mut self.span;
        span.set("edgeloom.service", service.to_owned());
        span.set("edgeloom.request_id", self.request_id.clone());
        span.set("http.response.status_code", i64::from(code));
        span.set("gen_ai.usage.input_tokens", i64::from(self.usage.prompt_tokens));
        span.set(
            "gen_ai.usage.output_tokens",
            i64::from(self.usage.completion_tokens),
        );
        if code >= 500 {
            span.fail(&code);
        }
    }

    fn count_promises(&self, service: &str, code: u16, duration: Duration, first_token: Option<Duration>) {
        if self.streaming && code >= 500 {
            self.metrics.stream_errors.with_label_values(&[service]).inc();
        }
        let course = Course {
            code,
            duration,
            first_token,
            per_token: self.seconds_per_token().map(Duration::from_secs_f64),
        };
        for promise in Promise::all(&self.objective) {
            if let Some(met) = slo::kept(promise, &self.objective, &course) {
                self.metrics.slo_counter(service, promise, met).inc();
            }
        }
    }

    /// Mean seconds per token after the first.
    fn seconds_per_token(&self) -> Option<f64> {
        let later_tokens = self
            .usage
            .completion_tokens
            .checked_sub(1)
            .filter(|tokens| *tokens > 0)?;
        let elapsed = self.last_token?.duration_since(self.first_token?);
        Some(elapsed.as_secs_f64() / f64::from(later_tokens))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let if_unsaid = if std::thread::panicking() {
            500
        } else {
            CLIENT_GONE
        };
        let code = self.outcome.unwrap_or(if_unsaid);
        let service = self.service.clone();
        let service = service.as_deref().unwrap_or(UNKNOWN_SERVICE);
        let duration = self.arrived.elapsed();
        let first_token = self.first_token.map(|first| first.duration_since(self.arrived));

        let metrics = &self.metrics;
        metrics.in_flight.dec();
        metrics
            .requests
            .with_label_values(&[service, code.to_string().as_str()])
            .inc();
        metrics
            .request_duration
            .with_label_values(&[service])
            .observe(duration.as_secs_f64());
        metrics
            .prompt_tokens
            .with_label_values(&[service])
            .inc_by(self.usage.prompt_tokens.into());
        metrics
            .completion_tokens
            .with_label_values(&[service])
            .inc_by(self.usage.completion_tokens.into());
        if let Some(first_token) = first_token {
            metrics
                .time_to_first_token
                .with_label_values(&[service])
                .observe(first_token.as_secs_f64());
        }
        if let Some(seconds) = self.seconds_per_token() {
            metrics
                .time_per_output_token
                .with_label_values(&[service])
                .observe(seconds);
        }
        if self.service.is_some() {
            self.count_promises(service, code, duration, first_token);
        }
        self.describe(service, code);
        info!(
            request_id = self.request_id,
            trace_id = self.span.trace_id(),
            user = self.user,
            service,
            status = code,
            prompt_tokens = self.usage.prompt_tokens,
            completion_tokens = self.usage.completion_tokens,
            first_token_ms = first_token.map(|first| first.as_millis() as u64),
            duration_ms = duration.as_millis() as u64,
            "request done"
        );
    }
}
