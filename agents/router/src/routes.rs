//! Which path is answered by what.

mod body;
mod generate;
mod health;
mod models;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware,
    routing::{get, post},
};
use http::{HeaderMap, header};
use prometheus::Registry;
use tokio::sync::Semaphore;

use crate::{
    backend::{Backend, Caller, Readiness},
    config::Config,
    metrics::Metrics,
    refusal::Refusal,
    request::Endpoint,
    request_id,
};

pub use health::{Vitals, health_routes};

/// What all handlers share.
pub(crate) struct App {
    backend: Arc<dyn Backend>,
    config: Config,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
}

/// The whole HTTP surface of an agent, to be given to [`crate::serve`] or to be called in the process.
///
/// The router's metrics are registered in `registry`, and all of the registry is shown at `/metrics` if the configuration
/// says so. Fails if one of the router's metrics is registered there already.
pub fn routes(
    backend: Arc<dyn Backend>,
    config: Config,
    registry: &Registry,
) -> Result<Router, prometheus::Error> {
    let probes = health::probes(Arc::new(Answers(Arc::clone(&backend))));
    let metrics = if config.serve_metrics {
        health::metrics(registry)
    } else {
        Router::new()
    };
    let app = Arc::new(App {
        backend,
        metrics: Arc::new(Metrics::register(registry)?),
        places: Arc::new(Semaphore::new(config.concurrent_requests_max)),
        config,
    });
    let generate = |endpoint| {
        post({
            let app = Arc::clone(&app);
            move |request: Request| generate::answer(app, endpoint, request)
        })
    };
    Ok(Router::new()
        .route("/v1/chat/completions", generate(Endpoint::Chat))
        .route("/v1/completions", generate(Endpoint::Completions))
        .route("/v1/embeddings", post(async || Refusal::no_embeddings()))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::show))
        .fallback(async |request: Request| Refusal::unknown_url(request.method(), request.uri().path()))
        .method_not_allowed_fallback(async |request: Request| {
            Refusal::method_not_allowed(request.method(), request.uri().path())
        })
        .with_state(app)
        .merge(probes)
        .merge(metrics)
        .layer(middleware::from_fn(request_id::assign)))
}

/// A router that answers is alive; whether it is ready is its backend's to say.
struct Answers(Arc<dyn Backend>);

impl Vitals for Answers {
    fn alive(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Readiness {
        self.0.ready()
    }
}

impl App {
    fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let presented_key = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, key)| key.trim())
            .filter(|key| !key.is_empty());
        self.backend
            .authenticate(presented_key)
            .map_err(|error| Refusal::of_authentication(&error))
    }
}
