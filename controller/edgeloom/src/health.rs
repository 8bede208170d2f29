//! The port on which a program says how it is: `/livez` (also `/healthz`), `/readyz`, `/metrics`.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use manager::Pulse;
use prometheus::{Registry, TextEncoder};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// A loop that has not gone round for so long is stuck: ten times as long as it ever rests.
const STUCK_AFTER: Duration = Duration::from_secs(300);

/// The port, and what is said on it.
pub(crate) struct Health {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What the program waits for before it is ready.
    waits_for: watch::Sender<Option<String>>,
}

#[derive(Clone)]
struct Said {
    registry: Registry,
    pulse: Pulse,
    waits_for: watch::Receiver<Option<String>>,
}

impl Health {
    /// Listens on `listen` until `stop`. Not ready until [`Self::ready`]; alive while `pulse` beats.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub(crate) async fn serve(
        listen: SocketAddr,
        registry: Registry,
        pulse: Pulse,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let (waits_for, waiting) = watch::channel(Some("its start".to_owned()));
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/livez", get(liveness))
            .route("/healthz", get(liveness))
            .route("/readyz", get(readiness))
            .route("/metrics", get(metrics))
            .with_state(Said {
                registry,
                pulse,
                waits_for: waiting,
            });
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the health port has ended");
            }
        });
        Ok(Self { address, waits_for })
    }

    /// From now on `/readyz` says that it waits for this.
    pub(crate) fn waits_for(&self, what: &str) {
        self.waits_for.send_replace(Some(what.to_owned()));
    }

    /// From now on `/readyz` says so.
    pub(crate) fn ready(&self) {
        self.waits_for.send_replace(None);
    }
}

async fn liveness(State(said): State<Said>) -> (StatusCode, String) {
    let age = said.pulse.age();
    if age < STUCK_AFTER {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let text = format!("the main loop has not gone round for {} s\n", age.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

async fn readiness(State(said): State<Said>) -> (StatusCode, String) {
    match said.waits_for.borrow().as_deref() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("waits for {what}\n")),
    }
}

async fn metrics(State(said): State<Said>) -> Response {
    match TextEncoder::new().encode_to_string(&said.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
