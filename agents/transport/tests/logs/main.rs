//! What the log says while agents come to know each other. A process of its own: tracing remembers for the whole process
//! whether anybody listens to a line, and other tests run where nobody does.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

#[path = "../sockets/fixture.rs"]
#[allow(dead_code, reason = "the other suite uses all of it")]
mod fixture;

use std::{fs, sync::Arc};

use transport::{Endpoint, PeerState};

use fixture::{PHAROS, SKERRY, config, peer, state, until};

#[tokio::test]
async fn a_peer_whose_key_comes_a_moment_later_is_no_warning() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let text = || fs::read_to_string(&log).unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let (pharos, skerry) = (
        Endpoint::bind(config()).unwrap(),
        Endpoint::bind(config()).unwrap(),
    );
    // RouteTables do not reach all agents at once: the one that dials has been told first.
    pharos.set_peers(vec![peer(SKERRY, &skerry, true)]).unwrap();
    until(|| text().contains("connection refused").then_some(())).await;
    until(|| text().contains("not connected; dialled again").then_some(())).await;
    skerry.set_peers(vec![peer(PHAROS, &pharos, false)]).unwrap();
    state(&pharos, SKERRY, PeerState::is_connected).await;
    state(&skerry, PHAROS, PeerState::is_connected).await;
    drop(guard);

    let text = text();
    assert!(!text.contains("WARN") && !text.contains("ERROR"), "{text}");
    assert!(!text.contains("another key"), "{text}");
    assert!(
        text.contains("its key is not in this agent's table of peers"),
        "{text}"
    );
    // The same reason is said once, however often the peer is dialled.
    assert_eq!(text.matches("not connected; dialled again").count(), 1, "{text}");
}
