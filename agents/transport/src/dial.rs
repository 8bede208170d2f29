//! From an address to a connection whose both ends know each other: dialling with backoff, accepting, and
//! the hello that proves to the dialler that it was let in (TLS 1.3 tells the dialler that it is connected
//! before the acceptor has looked at its key).

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{Connection, SendStream};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    close, control::Hello, endpoint::Shared, opening::Preamble, peers::Peer, serve::serve, tls, wire,
};

/// Handshakes that may be under way at one time: bounds what strangers can make an agent compute.
pub(crate) const MAX_HANDSHAKES: usize = 64;
/// The longest hello.
const MAX_HELLO_BYTES: usize = 1024;
/// TLS wants a name; nobody looks at it.
const SERVER_NAME: &str = "edgeloom.invalid";

/// Pauses between attempts: doubled at each failure, each shortened at random by up to a half, so that
/// agents that lost the same peer do not come back in step.
struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    fn pause(&mut self, random: f64) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(1.0 - random / 2.0)
    }

    fn reset(&mut self) {
        self.next = self.min;
    }
}

/// Keeps a connection to `peer` until `stop`.
pub(crate) async fn keep_dialling(shared: Arc<Shared>, peer: Peer, stop: CancellationToken) {
    let (min, max) = (shared.limits.redial_min, shared.limits.redial_max);
    let mut backoff = Backoff { next: min, min, max };
    let keep = async {
        loop {
            let begun = Instant::now();
            if let Some((connection, _)) = shared.registry.live(&peer.node) {
                connection.closed().await;
            } else if let Err(why) = dial(&shared, &peer).await {
                // A peer that is away for long fails many times for one reason.
                if shared.registry.dialling_failed(&peer.node, &why) {
                    tracing::info!(node = %peer.node, %why, "not connected; dialled again until it is");
                }
            } else {
                continue;
            }
            // A connection that lasted was a good one, and its loss is a new story.
            if begun.elapsed() > max {
                backoff.reset();
            }
            tokio::time::sleep(backoff.pause(rand::random())).await;
        }
    };
    stop.run_until_cancelled(keep).await;
}

/// One attempt; the reason is for people.
async fn dial(shared: &Arc<Shared>, peer: &Peer) -> Result<(), String> {
    let within = shared.limits.handshake_timeout;
    let address = resolve(shared, peer, within).await?;
    if let Some(emulated) = &shared.emulated {
        emulated.seen(&peer.node, address);
    }
    let crypto = tls::client_config(&shared.identity, peer.key.clone()).map_err(|error| error.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(shared.transport.clone());
    let connecting = shared
        .quinn
        .connect_with(config, address, SERVER_NAME)
        .map_err(|error| error.to_string())?;
    let connection = timeout(within, connecting)
        .await
        .map_err(|_| format!("no answer from {address} within {within:?}"))?
        .map_err(|error| close::reason(&error))?;

    let greeted = async {
        let (mut send, receive) = connection
            .open_bi()
            .await
            .map_err(|error| close::reason(&error))?;
        let said = |error: wire::Error| why_ended(&connection, &error);
        let ours = Preamble::Control(Hello::ours(&shared.incarnation));
        wire::write(&mut send, &ours, within).await.map_err(said)?;
        let mut reader = wire::Reader::new(receive);
        let hello: Hello = reader.expect(MAX_HELLO_BYTES, within).await.map_err(said)?;
        Ok::<_, String>((send, reader, hello))
    };
    let (send, reader, hello) = greeted
        .await
        .inspect_err(|_| connection.close(close::CONFUSED, b""))?;
    tracing::debug!(node = %peer.node, software = %hello.software, "said hello");
    let incarnation = hello.incarnation;
    if let Some(meter) = shared
        .registry
        .register(&peer.node, &peer.key, &connection, true, incarnation)
    {
        tokio::spawn(serve(
            shared.clone(),
            peer.node.clone(),
            connection,
            (send, reader),
            meter,
        ));
    }
    Ok(())
}

async fn resolve(shared: &Shared, peer: &Peer, within: Duration) -> Result<SocketAddr, String> {
    let text = peer.address.as_deref().unwrap_or_default();
    let found = timeout(within, tokio::net::lookup_host(text))
        .await
        .map_err(|_| format!("no answer about the name in `{text}` within {within:?}"))?
        .map_err(|error| format!("address `{text}`: {error}"))?;
    let over_ipv6 = shared.quinn.local_addr().is_ok_and(|address| address.is_ipv6());
    let mut addresses = found.filter(|address| over_ipv6 || address.is_ipv4());
    addresses
        .next()
        .ok_or_else(|| format!("address `{text}` has nothing that this agent's socket can reach"))
}

/// What ended the connection, if it has ended, tells more than the stream that broke with it.
fn why_ended(connection: &Connection, error: &wire::Error) -> String {
    connection
        .close_reason()
        .map_or_else(|| error.to_string(), |reason| close::reason(&reason))
}

/// Accepts connections until the endpoint stops.
pub(crate) async fn accept_connections(shared: Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let accept = async {
        while let Some(incoming) = shared.quinn.accept().await {
            let Ok(permit) = handshakes.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let shared = shared.clone();
            tokio::spawn(async move {
                let address = incoming.remote_address();
                if let Err(why) = welcome(&shared, incoming).await {
                    tracing::info!(%address, %why, "connection refused");
                }
                drop(permit);
            });
        }
    };
    shared.stop.run_until_cancelled(accept).await;
    // The last clone of the endpoint may be gone without a farewell.
    shared.quinn.close(close::SHUTDOWN, b"");
}

async fn welcome(shared: &Arc<Shared>, incoming: quinn::Incoming) -> Result<(), String> {
    let within = shared.limits.handshake_timeout;
    let connecting = incoming.accept().map_err(|error| close::reason(&error))?;
    let connection = timeout(within, connecting)
        .await
        .map_err(|_| format!("handshake not done within {within:?}"))?
        .map_err(|error| close::reason_not_welcome(&error))?;
    let key = tls::peer_key(&connection).ok_or("no certificate was shown")?;
    let Some(node) = shared.registry.node_of(&key) else {
        // Taken from the table since the handshake looked.
        connection.close(close::REMOVED, b"");
        return Err("its key is not in the table of peers any more".to_owned());
    };
    if let Some(emulated) = &shared.emulated {
        emulated.seen(&node, connection.remote_address());
    }
    let (send, reader, theirs) = match greet(shared, &connection).await {
        Ok(greeted) => greeted,
        Err(error) => {
            let why = why_ended(&connection, &error);
            connection.close(close::CONFUSED, b"");
            return Err(why);
        }
    };
    let incarnation = theirs.incarnation;
    if let Some(meter) = shared
        .registry
        .register(&node, &key, &connection, false, incarnation)
    {
        tokio::spawn(serve(shared.clone(), node, connection, (send, reader), meter));
    }
    Ok(())
}

/// Hears the dialler's hello, and answers it.
async fn greet(
    shared: &Shared,
    connection: &Connection,
) -> Result<(SendStream, wire::Reader, Hello), wire::Error> {
    let within = shared.limits.handshake_timeout;
    let streams = timeout(within, connection.accept_bi())
        .await
        .map_err(|_| wire::Error::Deadline(within))?;
    let (mut send, receive) = streams.map_err(|error| wire::Error::Read(std::io::Error::other(error)))?;
    let mut reader = wire::Reader::new(receive);
    let theirs = match reader.expect(MAX_HELLO_BYTES, within).await? {
        Preamble::Control(hello) => hello,
        Preamble::Session(_) | Preamble::Probe => return Err(wire::Error::NoHello),
    };
    tracing::debug!(software = %theirs.software, "heard hello");
    let ours = Hello::ours(&shared.incarnation);
    wire::write(&mut send, &ours, within).await?;
    Ok((send, reader, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_reset() {
        let (min, max) = (Duration::from_millis(50), Duration::from_millis(300));
        let mut backoff = Backoff { next: min, min, max };
        let pauses: Vec<u128> = (0..5).map(|_| backoff.pause(0.0).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.pause(1.0), min / 2);
    }
}
