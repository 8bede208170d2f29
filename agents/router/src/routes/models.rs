//! `/v1/models`: the services that the caller may use.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use http::HeaderMap;

use super::App;
use crate::{
    refusal::Refusal,
    response::{Model, Models},
};

pub(super) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Models>, Refusal> {
    let caller = app.authenticate(&headers)?;
    let services = app
        .backend
        .services()
        .into_iter()
        .filter(|service| caller.services.contains(&service.name));
    Ok(Json(Models::new(services)))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Model>, Refusal> {
    let caller = app.authenticate(&headers)?;
    let service = app
        .backend
        .service(&name)
        .filter(|service| caller.services.contains(&service.name));
    service
        .map(|service| Json(service.into()))
        .ok_or_else(|| Refusal::unknown_model(&name))
}
