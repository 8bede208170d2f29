//! The port on which a program says how it is: `/healthz`, `/readyz`, `/metrics`.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The port, and what is said on it.
pub(crate) struct Health {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    ready: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Said {
    registry: Registry,
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Listens on `listen` until `stop`. Not ready until [`Self::ready`].
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub(crate) async fn serve(
        listen: SocketAddr,
        registry: Registry,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let ready = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readiness))
            .route("/metrics", get(metrics))
            .with_state(Said {
                registry,
                ready: ready.clone(),
            });
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the health port has ended");
            }
        });
        Ok(Self { address, ready })
    }

    /// From now on `/readyz` says so.
    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

async fn readiness(State(said): State<Said>) -> (StatusCode, &'static str) {
    if said.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

async fn metrics(State(said): State<Said>) -> (StatusCode, String) {
    match TextEncoder::new().encode_to_string(&said.registry.gather()) {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
