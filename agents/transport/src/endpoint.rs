//! The one object that an agent holds: bound to a socket, told who its peers are, asked for channels.
//!
//! It keeps one connection to each peer, dialled by the end that is told to dial, with backoff; a loss is
//! seen within [`Limits::idle_timeout`] and told at once. It decides nothing about sessions.
//!
//! Tasks: one accepts connections; one per peer to be dialled dials; one per connection serves it (its
//! streams, pings, probes). All end with [`Endpoint::close`] or when the last clone is dropped.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quinn::{EndpointConfig, Runtime, TokioRuntime, TransportConfig, VarInt};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    PublicKey,
    channel::Channel,
    close, dial,
    emulation::{Conditions, Emulated, Emulation},
    figures::LinkFigures,
    identity::Identity,
    links::Registry,
    opening::{Opening, Preamble},
    peers::{self, Event, Peer, PeerState, PeerTable, SharedTable},
    tls, wire,
};

/// The longest [`Config::incarnation`].
pub const INCARNATION_BYTES_MAX: usize = 256;

/// What an endpoint is made of.
#[derive(Debug)]
pub struct Config {
    /// The UDP address to listen and dial from.
    pub listen: SocketAddr,
    /// Who this agent is.
    pub identity: Identity,
    /// Which start of the agent this is, as peers are told: at most [`INCARNATION_BYTES_MAX`], new at each start.
    pub incarnation: String,
    /// Links that are slower than the machine's network; `None` to use the network as it is.
    pub emulation: Option<Emulation>,
    /// Bounds and times.
    pub limits: Limits,
    /// How idle links are probed; `None` for never.
    pub probing: Option<Probing>,
}

impl Config {
    /// A configuration with a random incarnation, default limits and probing, and no emulation.
    pub fn new(listen: SocketAddr, identity: Identity) -> Self {
        Self {
            listen,
            identity,
            incarnation: format!("{:016x}", rand::random::<u64>()),
            emulation: None,
            limits: Limits::default(),
            probing: Some(Probing::default()),
        }
    }
}

/// Bounds and times of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame that is sent or accepted, bytes with its header. Each session that receives may
    /// hold one. 16 MiB are 1,024 rows of width 4,096 in f32.
    pub max_frame_bytes: usize,
    /// The longest opening that is accepted, bytes.
    pub max_opening_bytes: usize,
    /// Sessions that a peer may have open towards this agent at one time.
    pub max_sessions_per_peer: u32,
    /// Sessions that wait for [`Endpoint::accept`]; one more is refused with [`crate::Code::Busy`].
    pub accept_queue: usize,
    /// Bytes of one session that may wait here unread. With [`Self::connection_window`] it bounds the memory
    /// that a slow reader costs, and the rate of a stream to window over round trip: 4 MiB are 335 Mbit/s at
    /// 100 ms.
    pub stream_window: u32,
    /// Bytes of all sessions of a peer that may wait here unread.
    pub connection_window: u32,
    /// Bytes to a peer that may wait here to be acknowledged.
    pub send_window: u64,
    /// After so long without anything to say, a connection says that it is there.
    pub keep_alive: Duration,
    /// After so long without anything heard, the peer is lost. QUIC takes three probe timeouts if that is
    /// longer, as on links with long round trips.
    pub idle_timeout: Duration,
    /// How long a handshake or an opening may take.
    pub handshake_timeout: Duration,
    /// How often a round trip is timed.
    pub ping_interval: Duration,
    /// The first pause before dialling again, doubled at each failure.
    pub redial_min: Duration,
    /// The longest pause before dialling again.
    pub redial_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 16 << 20,
            max_opening_bytes: 256 << 10,
            max_sessions_per_peer: 256,
            accept_queue: 64,
            stream_window: 4 << 20,
            connection_window: 16 << 20,
            send_window: 8 << 20,
            keep_alive: Duration::from_millis(250),
            idle_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(3),
            ping_interval: Duration::from_millis(500),
            redial_min: Duration::from_millis(50),
            redial_max: Duration::from_secs(2),
        }
    }
}

/// How idle links are probed. Each end probes the direction in which it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probing {
    /// A link over which no large frame was sent for so long is probed.
    pub interval: Duration,
    /// Bytes of one probe.
    pub bytes_per_probe: usize,
    /// Bytes of all probes to one peer within any hour.
    pub bytes_per_hour: usize,
}

impl Default for Probing {
    /// 64 KiB a minute, at most 4 MiB an hour: 9 kbit/s.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            bytes_per_probe: 64 << 10,
            bytes_per_hour: 4 << 20,
        }
    }
}

/// Why the endpoint could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket cannot be bound.
    #[error("binding {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The identity does not suit TLS.
    #[error("setting TLS up")]
    Tls(#[from] rustls::Error),
    /// A limit or probing value that makes no sense.
    #[error("{field}: {wrong}")]
    Config {
        /// The field's name.
        field: &'static str,
        /// What is wrong, and what would be right.
        wrong: String,
    },
    /// The table of peers is not consistent.
    #[error("table of peers")]
    Peers(#[from] peers::Error),
    /// No such node is in the table of peers.
    #[error("node `{0}` is not in the table of peers")]
    UnknownPeer(String),
    /// There was no connection to the peer within the time.
    #[error("node `{node}` is not connected: {reason}")]
    NotConnected {
        /// The node.
        node: String,
        /// Why, as far as is known.
        reason: String,
    },
    /// The opening is larger than [`Limits::max_opening_bytes`].
    #[error("opening of {got} bytes, at most {limit} are sent")]
    OpeningTooLarge {
        /// Its length, bytes.
        got: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// No link is emulated on this endpoint.
    #[error("this endpoint was bound without emulated links")]
    NotEmulated,
}

/// A session that a peer opened.
#[derive(Debug)]
pub struct Accepted {
    /// The peer's node.
    pub node: String,
    /// What it said.
    pub opening: Opening,
    /// Its frames. Dropping it cancels the session.
    pub channel: Channel,
}

/// What all tasks of an endpoint share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) quinn: quinn::Endpoint,
    pub(crate) identity: Identity,
    pub(crate) incarnation: String,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) limits: Limits,
    pub(crate) probing: Option<Probing>,
    pub(crate) registry: Registry,
    pub(crate) accepted: mpsc::Sender<Accepted>,
    pub(crate) stop: CancellationToken,
    pub(crate) emulated: Option<Emulated>,
}

/// An agent's end of all its connections. Clones share it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Accepted>>>,
    dialling: Arc<Mutex<BTreeMap<String, (Peer, CancellationToken)>>>,
    _stop_on_drop: Arc<tokio_util::sync::DropGuard>,
}

impl Endpoint {
    /// Binds the socket and starts to accept connections, of which there can be none before
    /// [`Self::set_peers`]. Must be called within a tokio runtime.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let Config {
            listen,
            identity,
            incarnation,
            emulation,
            limits,
            probing,
        } = config;
        check(&incarnation, &limits, probing.as_ref())?;
        let table = SharedTable::default();
        let transport = Arc::new(transport_config(&limits));
        let mut server =
            quinn::ServerConfig::with_crypto(Arc::new(tls::server_config(&identity, table.clone())?));
        server
            .transport_config(transport.clone())
            .max_incoming(dial::MAX_HANDSHAKES);

        let bound = |source| Error::Bind {
            address: listen,
            source,
        };
        let socket = TokioRuntime
            .wrap_udp_socket(std::net::UdpSocket::bind(listen).map_err(bound)?)
            .map_err(bound)?;
        let emulated = emulation.map(Emulated::new);
        let socket = match &emulated {
            Some(emulated) => emulated.wrap(socket),
            None => socket,
        };
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            endpoint_config(&identity),
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(bound)?;

        let (accepted, accepted_queue) = mpsc::channel(limits.accept_queue);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            quinn,
            transport,
            limits,
            probing,
            registry: Registry::new(table, identity.public_key().clone()),
            identity,
            incarnation,
            accepted,
            stop: stop.clone(),
            emulated,
        });
        tokio::spawn(dial::accept_connections(shared.clone()));
        Ok(Self {
            shared,
            accepted: Arc::new(tokio::sync::Mutex::new(accepted_queue)),
            dialling: Arc::default(),
            _stop_on_drop: Arc::new(stop.drop_guard()),
        })
    }

    /// The address that the socket has, with the port that the system chose if none was asked for.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.shared.quinn.local_addr()
    }

    /// The key by which peers know this agent.
    pub fn public_key(&self) -> &PublicKey {
        self.shared.identity.public_key()
    }

    /// Which start of the agent this is, as its peers are told.
    pub fn incarnation(&self) -> &str {
        &self.shared.incarnation
    }

    /// Puts this table in force in place of the one before. Connections to peers that are not in it, or have
    /// another key in it, are closed; all others stay as they are.
    pub fn set_peers(&self, peers: Vec<Peer>) -> Result<(), Error> {
        let table = PeerTable::new(peers)?;
        let to_dial: BTreeMap<String, Peer> = table
            .peers()
            .filter(|peer| peer.dial)
            .map(|peer| (peer.node.clone(), peer.clone()))
            .collect();
        self.shared.registry.replace_table(table);

        let mut dialling = self.dialling.lock().unwrap_or_else(PoisonError::into_inner);
        dialling.retain(|node, (peer, stop)| {
            let stays = to_dial.get(node) == Some(peer);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for (node, peer) in to_dial {
            dialling.entry(node).or_insert_with(|| {
                let stop = self.shared.stop.child_token();
                tokio::spawn(dial::keep_dialling(
                    self.shared.clone(),
                    peer.clone(),
                    stop.clone(),
                ));
                (peer, stop)
            });
        }
        Ok(())
    }

    /// The states of all peers, now and at each change.
    pub fn peer_states(&self) -> watch::Receiver<BTreeMap<String, PeerState>> {
        self.shared.registry.states()
    }

    /// Connections made and lost from now on. A receiver that falls 256 events behind is told that it missed
    /// some, and should look at [`Self::peer_states`].
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.registry.events()
    }

    /// Opens a session's channel to a peer, waiting at most `within` for a connection and for room among its
    /// sessions. Waits for no answer of the peer: a refusal is what the channel receives first.
    pub async fn open(&self, node: &str, opening: Opening, within: Duration) -> Result<Channel, Error> {
        let limits = &self.shared.limits;
        let preamble = Preamble::Session(opening);
        let got = wire::encode(&preamble).len();
        if got > limits.max_opening_bytes {
            return Err(Error::OpeningTooLarge {
                got,
                limit: limits.max_opening_bytes,
            });
        }
        let not_connected = |reason: String| Error::NotConnected {
            node: node.to_owned(),
            reason,
        };
        let opened = timeout(within, async {
            let (connection, meter) = self.shared.registry.connected(node).await?;
            let lost = |error: &quinn::ConnectionError| not_connected(close::reason(error));
            let mut streams = connection.open_bi().await.map_err(|error| lost(&error))?;
            wire::write(&mut streams.0, &preamble, within)
                .await
                .map_err(|error| not_connected(error.to_string()))?;
            let nothing_read = bytes::BytesMut::new();
            Ok(Channel::new(
                streams,
                nothing_read,
                connection,
                meter,
                limits.max_frame_bytes,
            ))
        });
        opened
            .await
            .unwrap_or_else(|_| Err(not_connected(self.shared.registry.why_not_connected(node))))
    }

    /// The next session that a peer opens; `None` once the endpoint is closed. May be called by several
    /// tasks, and its future may be dropped.
    pub async fn accept(&self) -> Option<Accepted> {
        let mut accepted = self.accepted.lock().await;
        tokio::select! {
            next = accepted.recv() => next,
            () = self.shared.stop.cancelled() => None,
        }
    }

    /// What is known of the link to a peer; `None` for a node that is not in the table.
    pub fn link_figures(&self, node: &str) -> Option<LinkFigures> {
        self.shared.registry.meter(node).map(|meter| meter.figures())
    }

    /// Fades, mends or cuts the emulated link to a peer. What was under way still arrives.
    pub fn emulate(&self, node: &str, conditions: Conditions) -> Result<(), Error> {
        let emulated = self.shared.emulated.as_ref().ok_or(Error::NotEmulated)?;
        emulated.set(node, conditions);
        Ok(())
    }

    /// Tells all peers that this agent stops, and ends all tasks.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.quinn.close(close::SHUTDOWN, b"");
        // The farewell is sent once or twice; a peer that misses it sees the silence.
        let _gave_up = timeout(self.shared.limits.idle_timeout, self.shared.quinn.wait_idle()).await;
    }
}

fn check(incarnation: &str, limits: &Limits, probing: Option<&Probing>) -> Result<(), Error> {
    let wrong = |field, wrong: &str| {
        Err(Error::Config {
            field,
            wrong: wrong.to_owned(),
        })
    };
    if incarnation.is_empty() || incarnation.len() > INCARNATION_BYTES_MAX {
        return wrong("incarnation", "1 to 256 bytes are right");
    }
    if limits.accept_queue == 0 {
        return wrong(
            "limits.acceptQueue",
            "0 would refuse every session; at least 1 is right",
        );
    }
    if limits.max_frame_bytes < 1024 || u32::try_from(limits.max_frame_bytes).is_err() {
        return wrong("limits.maxFrameBytes", "1 KiB to 4 GiB are right");
    }
    if limits.keep_alive * 2 > limits.idle_timeout {
        return wrong(
            "limits.keepAlive",
            "at most half of limits.idleTimeout is right, or one lost packet is a lost peer",
        );
    }
    if probing.is_some_and(|probing| probing.interval.is_zero()) {
        return wrong("probing.interval", "more than nothing is right");
    }
    if probing.is_some_and(|probing| probing.bytes_per_probe + 1024 > limits.max_frame_bytes) {
        return wrong(
            "probing.bytesPerProbe",
            "1 KiB less than limits.maxFrameBytes is the most",
        );
    }
    Ok(())
}

fn transport_config(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // Beside the sessions: the control stream, and probes.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(limits.max_sessions_per_peer.saturating_add(4)));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(None);
    transport.stream_receive_window(VarInt::from_u32(limits.stream_window));
    transport.receive_window(VarInt::from_u32(limits.connection_window));
    transport.send_window(limits.send_window);
    transport.keep_alive_interval(Some(limits.keep_alive));
    let milliseconds = u32::try_from(limits.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    transport.max_idle_timeout(Some(VarInt::from_u32(milliseconds).into()));
    transport
}

/// Connection ids are random and the key of stateless resets is the same after a restart, so that a
/// restarted agent can tell its peers at their next packet that their connections are void.
fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(identity.derived_key("stateless reset")));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

struct RandomIds;

impl quinn::ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        quinn::ConnectionId::new(&rand::random::<[u8; 8]>())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
