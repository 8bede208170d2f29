//! What the log says while agents come to know each other. A process of its own: tracing remembers for the whole process
//! whether anybody listens to a line, and other tests run where nobody does.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

#[path = "../sockets/fixture.rs"]
#[allow(dead_code, reason = "the other suite uses all of it")]
mod fixture;

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing_subscriber::fmt::MakeWriter;
use transport::{Endpoint, PeerState};

use fixture::{PHAROS, SKERRY, config, peer, state, until};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_peer_whose_key_comes_a_moment_later_is_no_warning() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let (pharos, skerry) = (
        Endpoint::bind(config()).unwrap(),
        Endpoint::bind(config()).unwrap(),
    );
    // RouteTables do not reach all agents at once: the one that dials has been told first.
    pharos.set_peers(vec![peer(SKERRY, &skerry, true)]).unwrap();
    until(|| log.text().contains("connection refused").then_some(())).await;
    until(|| log.text().contains("not connected; dialled again").then_some(())).await;
    skerry.set_peers(vec![peer(PHAROS, &pharos, false)]).unwrap();
    state(&pharos, SKERRY, PeerState::is_connected).await;
    state(&skerry, PHAROS, PeerState::is_connected).await;
    drop(guard);

    let text = log.text();
    assert!(!text.contains("WARN") && !text.contains("ERROR"), "{text}");
    assert!(!text.contains("another key"), "{text}");
    assert!(
        text.contains("its key is not in this agent's table of peers"),
        "{text}"
    );
    // The same reason is said once, however often the peer is dialled.
    assert_eq!(text.matches("not connected; dialled again").count(), 1, "{text}");
}
