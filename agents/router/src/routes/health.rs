//! What probes and scrapers ask. None of it needs a key.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use prometheus::TextEncoder;
use serde_json::{Value, json};
use tracing::error;

use super::App;
use crate::backend::Readiness;

/// The process answers; it says nothing about services.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether requests should be sent here, and if not, every reason by name.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.backend.ready() {
        Readiness::Ready => Json(json!({"status": "ready"})).into_response(),
        Readiness::NotReady(reasons) => {
            let body = Json(json!({"status": "not ready", "reasons": reasons}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// All of the registry, in Prometheus' text format.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    match TextEncoder::new().encode_to_string(&app.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
