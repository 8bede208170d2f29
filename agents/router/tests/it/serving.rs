//! The router on a real socket: connections that break, and a server that stops.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use router::Config;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::scripted::*;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

pub(crate) async fn serve(backend: &Arc<Scripted>, drain_timeout: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let routes = fixture(backend, Config::default()).routes;
    let running = tokio::spawn(router::serve(listener, routes, stop.clone(), drain_timeout));
    Server {
        address,
        stop,
        running,
    }
}

const LONG: Duration = Duration::from_secs(600);

async fn send_chat(address: SocketAddr, stream: bool) -> TcpStream {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
        .to_string();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-alice\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

async fn read_until(connection: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let mut buffer = [0; 4096];
        let length = connection.read(&mut buffer).await.unwrap();
        assert_ne!(
            length,
            0,
            "the connection ended before {text}: {}",
            String::from_utf8_lossy(&read)
        );
        read.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(read).unwrap()
}

async fn read_to_end(connection: &mut TcpStream) -> String {
    let mut read = String::new();
    connection.read_to_string(&mut read).await.unwrap();
    read
}

#[tokio::test]
async fn a_connection_that_breaks_cancels_its_stream() {
    let backend = Scripted::hanging_after(vec![started(), text("Hel")]);
    let server = serve(&backend, LONG).await;
    let mut connection = send_chat(server.address, true).await;
    read_until(&mut connection, "Hel").await;
    let cancellation = backend.last_request().cancellation;
    assert!(!cancellation.is_cancelled());
    drop(connection);
    tokio::time::timeout(Duration::from_secs(20), cancellation.cancelled())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_cancels_an_answer_that_does_not_stream() {
    let backend = Scripted::hanging_after(vec![started(), text("Hel")]);
    let server = serve(&backend, LONG).await;
    let connection = send_chat(server.address, false).await;
    eventually("the backend to be asked", || {
        !backend.requests.lock().unwrap().is_empty()
    })
    .await;
    drop(connection);
    let cancellation = backend.last_request().cancellation;
    tokio::time::timeout(Duration::from_secs(20), cancellation.cancelled())
        .await
        .unwrap();
}

#[tokio::test]
async fn stopping_lets_streams_finish_and_takes_no_new_ones() {
    let (send, receive) = tokio::sync::watch::channel(false);
    let backend = Scripted::opening(move |_| {
        let mut receive = receive.clone();
        let rest = async move {
            receive.wait_for(|go_on| *go_on).await.unwrap();
            futures::stream::iter([text("lo"), finished(2)])
        };
        use futures::{FutureExt, StreamExt};
        Ok(futures::stream::iter([started(), text("Hel")])
            .chain(rest.flatten_stream())
            .boxed())
    });
    let server = serve(&backend, LONG).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "ok").await;
    let mut connection = send_chat(server.address, true).await;
    read_until(&mut connection, "Hel").await;

    server.stop.cancel();
    assert_eq!(read_to_end(&mut idle).await, "", "an idle connection is closed");
    // The listener is closed by now, or within a moment: there is no event to wait for but the refusal itself.
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    send.send(true).unwrap();
    assert!(read_to_end(&mut connection).await.contains("[DONE]"));
    server.running.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_outlasts_the_drain_ends_with_an_error() {
    let backend = Scripted::hanging_after(vec![started(), text("Hel")]);
    let server = serve(&backend, Duration::from_millis(50)).await;
    let mut connection = send_chat(server.address, true).await;
    read_until(&mut connection, "Hel").await;
    server.stop.cancel();
    let rest = read_to_end(&mut connection).await;
    assert!(
        rest.contains("shutting down") && !rest.contains("[DONE]"),
        "{rest}"
    );
    server.running.await.unwrap();
    assert!(backend.last_request().cancellation.is_cancelled());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told_so_while_it_is_sent() {
    let server = serve(&Scripted::events(hello()), LONG).await;
    let mut connection = TcpStream::connect(server.address).await.unwrap();
    let length = 6 << 20;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-alice\r\ncontent-length: {length}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&vec![b' '; length]).await.unwrap();
    let answer = read_until(&mut connection, "request_too_large").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
