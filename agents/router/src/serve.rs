//! Serves the routes on a socket, and stops without breaking off what runs.
//!
//! HTTP/1.1 only: it is what OpenAI's clients speak without TLS, and a dropped connection is then a dropped request.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::Router;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

/// Connections at a time; further ones wait in the listener's backlog. Half of the usual limit of 1,024 open files.
const CONNECTIONS_MAX: usize = 512;

/// How long a connection may take to send a request's header; also how long it may be idle between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// After a failed accept, mostly for want of file descriptors: long enough not to spin, too short to be noticed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long streams get to write their error event once the drain is over.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Fires when a request must end although it is not done. Stands among the extensions of each request.
#[derive(Debug, Clone)]
pub(crate) struct Closing(pub(crate) CancellationToken);

/// Answers connections until `stop` fires. Then accepts no more, closes idle connections, and lets running requests
/// finish for `drain_timeout`; those that are left end with an explicit error, and the connections are closed.
///
/// Returns when no connection is left. Dropping the future breaks all of them off.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken, drain_timeout: Duration) {
    let closing = Closing(CancellationToken::new());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = answer(stream, routes.clone(), closing.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    info!(connections = connections.len(), "draining");
    if timeout(drain_timeout, all_ended(&mut connections)).await.is_err() {
        warn!(
            connections = connections.len(),
            "the drain took too long; ending what is left"
        );
        closing.0.cancel();
        if timeout(LAST_WORDS, all_ended(&mut connections)).await.is_err() {
            warn!(
                connections = connections.len(),
                "connections that read no more are cut"
            );
            connections.shutdown().await;
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (stream, _peer) = listener.accept().await?;
    Ok((stream, place))
}

async fn all_ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

async fn answer(stream: TcpStream, routes: Router, closing: Closing, stop: CancellationToken) {
    // A token is one small segment, and must not wait for the next. It fails only if the client is gone already.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection ended before its first request");
        return;
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        let routes = routes.clone();
        request.extensions_mut().insert(closing.clone());
        async move {
            Ok::<_, Infallible>(
                routes
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "a connection ended early");
    }
}
