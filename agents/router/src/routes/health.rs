//! What probes and scrapers ask. None of it needs a key.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tracing::error;

use crate::backend::Readiness;

/// What probes are told, asked anew each time.
pub trait Vitals: Send + Sync + 'static {
    /// Whether the process works; if not, why it should be started anew.
    ///
    /// # Errors
    ///
    /// What does not go on.
    fn alive(&self) -> Result<(), String>;

    /// Whether requests should be sent here.
    fn ready(&self) -> Readiness;
}

/// `/livez` (also `/healthz`) and `/readyz`.
pub(super) fn probes(vitals: Arc<dyn Vitals>) -> Router {
    Router::new()
        .route("/livez", get(alive))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(vitals)
}

/// `/metrics`: all of a registry.
pub(super) fn metrics(registry: &Registry) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .with_state(registry.clone())
}

/// What is served on a port for probes and scrapers alone, apart from users' requests: `/livez`, `/healthz`, `/readyz`,
/// and all of `registry` at `/metrics`.
pub fn health_routes(vitals: Arc<dyn Vitals>, registry: &Registry) -> Router {
    probes(vitals).merge(metrics(registry))
}

async fn alive(State(vitals): State<Arc<dyn Vitals>>) -> Response {
    match vitals.alive() {
        Ok(()) => Json(json!({"status": "ok"})).into_response(),
        Err(reason) => {
            let body = Json(json!({"status": "stuck", "reason": reason}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// If requests should not be sent here, every reason by name.
async fn ready(State(vitals): State<Arc<dyn Vitals>>) -> Response {
    match vitals.ready() {
        Readiness::Ready => Json::<Value>(json!({"status": "ready"})).into_response(),
        Readiness::NotReady(reasons) => {
            let body = Json(json!({"status": "not ready", "reasons": reasons}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// In Prometheus' text format.
async fn exposition(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
