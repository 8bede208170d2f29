//! Accepts connections, speaks TLS and HTTP/1.1 or HTTP/2 on them, and drains them at the end. Knows the router only as
//! something that answers requests.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::Router;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    audit::PeerAddress,
    auth::{Peer, certificates},
};

/// Connections at once; more wait in the kernel's backlog. Each costs some 50 KiB of TLS and HTTP buffers at rest, and an
/// agent holds a handful.
const MOST_CONNECTIONS: usize = 4096;
/// A client that has not finished its TLS handshake by then is not one.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an HTTP/1.1 request head, also between requests. Clients drop idle connections after 90 s: were the server
/// first, a request could meet the closing and fail.
const HEADER_TIMEOUT: Duration = Duration::from_secs(100);
/// Requests at once on an HTTP/2 connection. Go keeps every watch of a process on one connection, and counts on 250.
const MOST_STREAMS: u32 = 1000;
/// A silent HTTP/2 peer is pinged this often, and dropped when it does not answer: watches would hang on it for ever.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause after a failed accept (too many open files, most likely), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router`, with whatever certificate is current, until `stop`, then lets requests in flight finish for at most `drain`.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<ArcSwap<ServerConfig>>,
    router: Router,
    stop: CancellationToken,
    drain: Duration,
) {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let (acceptor, router, watcher, abort) = (
            // The certificate of now: it is renewed while the server runs.
            TlsAcceptor::from(tls.load_full()),
            router.clone(),
            graceful.watcher(),
            abort.clone(),
        );
        tokio::spawn(async move {
            let served = async {
                let Some(stream) = shake_hands(&acceptor, stream, peer).await else {
                    return;
                };
                let (user, builder) = (user_of(&stream), http(&stream));
                let service = service_fn(move |request| answer(router.clone(), user.clone(), peer, request));
                let connection = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .into_owned();
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(%peer, %error, "a connection ended badly");
                }
            };
            tokio::select! { () = served => {} () = abort.cancelled() => {} }
            drop(permit);
        });
    }
    drop(listener);
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::info!("some connections did not end in time and are cut");
    }
    abort.cancel();
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    // Small answers should not wait for more; if the option cannot be set they merely do.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "a TLS handshake took too long");
            None
        }
    }
}

fn user_of(stream: &TlsStream<TcpStream>) -> Peer {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Peer(
        chain
            .first()
            .and_then(|certificate| certificates::user(certificate)),
    )
}

/// The protocol that the handshake agreed on: no guessing from the first bytes, which a client may never send.
fn http(stream: &TlsStream<TcpStream>) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => builder.http2_only(),
        _ => builder.http1_only(),
    }
}

async fn answer(
    router: Router,
    user: Peer,
    address: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<axum::body::Body>, Infallible> {
    request.extensions_mut().insert(user);
    request.extensions_mut().insert(PeerAddress(address));
    router.oneshot(request).await
}
