//! A UDP socket for quinn whose packets pass emulated links on their way out. A packet that must wait is
//! copied and handed to one task, which sends it when its time has come; timers tick in milliseconds, so
//! a fast link delivers in small bunches.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fmt,
    future::poll_fn,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};
use tokio::sync::mpsc;

use super::{
    Conditions,
    pipe::{Fate, Pipe},
};

/// Packets that may be on their way between the socket and the sending task at one time; one that finds no
/// room is dropped. The task takes them at once, so only a stalled machine comes near it.
const HANDOVER_PACKETS: usize = 4096;
/// Packets that may be under way on all links together: bounds the memory where no rate does (48 MB).
const UNDER_WAY_PACKETS: usize = 32 * 1024;

/// The emulated links by the address at their other end.
#[derive(Debug)]
pub(super) struct Links {
    seed: u64,
    default: Conditions,
    pipes: Mutex<HashMap<SocketAddr, Pipe>>,
}

impl Links {
    pub(super) fn new(seed: u64, default: Conditions) -> Arc<Self> {
        Arc::new(Self {
            seed,
            default,
            pipes: Mutex::default(),
        })
    }

    fn pipes(&self) -> MutexGuard<'_, HashMap<SocketAddr, Pipe>> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fades, mends or cuts the link to an address.
    pub(super) fn set(&self, address: SocketAddr, conditions: Conditions) {
        let mut pipes = self.pipes();
        match pipes.get_mut(&address) {
            Some(pipe) => pipe.set(conditions),
            None => {
                pipes.insert(address, Pipe::new(conditions, self.seed_of(address)));
            }
        }
    }

    /// `None` if the packet may go at once.
    fn offer(&self, address: SocketAddr, bytes: usize) -> Option<Fate> {
        let now = Instant::now();
        let mut pipes = self.pipes();
        let pipe = pipes
            .entry(address)
            .or_insert_with(|| Pipe::new(self.default, self.seed_of(address)));
        (!pipe.is_open(now)).then(|| pipe.offer(bytes, now))
    }

    fn seed_of(&self, address: SocketAddr) -> u64 {
        self.seed ^ u64::from(address.port())
    }
}

/// A packet under way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    arrives: Instant,
    /// Keeps packets with one arrival in order.
    sequence: u64,
    destination: SocketAddr,
    source: Option<IpAddr>,
    ecn: Option<u8>,
    contents: Vec<u8>,
}

/// The socket that quinn uses. The sending task ends when it is dropped.
pub(super) struct EmulatedSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    links: Arc<Links>,
    under_way: mpsc::Sender<Packet>,
}

impl fmt::Debug for EmulatedSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EmulatedSocket")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl EmulatedSocket {
    /// Wraps `socket`; must be called within a tokio runtime.
    pub(super) fn wrap(socket: Arc<dyn AsyncUdpSocket>, links: Arc<Links>) -> Arc<Self> {
        let (under_way, packets) = mpsc::channel(HANDOVER_PACKETS);
        tokio::spawn(deliver(socket.clone(), packets));
        Arc::new(Self {
            socket,
            links,
            under_way,
        })
    }
}

impl AsyncUdpSocket for EmulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.links.offer(transmit.destination, transmit.contents.len()) {
            None => self.socket.try_send(transmit),
            Some(Fate::Dropped) => Ok(()),
            Some(Fate::Arrives(arrives)) => {
                let packet = Packet {
                    arrives,
                    sequence: 0,
                    destination: transmit.destination,
                    source: transmit.src_ip,
                    ecn: transmit.ecn.map(|ecn| ecn as u8),
                    contents: transmit.contents.to_vec(),
                };
                // A full handover is a full queue: the packet is lost, as on any link.
                let _dropped = self.under_way.try_send(packet);
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    // One packet at a time, since each has a fate of its own.
    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// Sends each packet when its time has come.
async fn deliver(socket: Arc<dyn AsyncUdpSocket>, mut packets: mpsc::Receiver<Packet>) {
    let mut poller = socket.clone().create_io_poller();
    let mut under_way: BinaryHeap<Reverse<Packet>> = BinaryHeap::new();
    let mut sequence = 0;
    loop {
        let next = under_way.peek().map(|Reverse(packet)| packet.arrives);
        tokio::select! {
            received = packets.recv() => {
                let Some(packet) = received else { return };
                sequence += 1;
                if under_way.len() < UNDER_WAY_PACKETS {
                    under_way.push(Reverse(Packet { sequence, ..packet }));
                }
            }
            () = until(next) => {
                let now = Instant::now();
                while under_way.peek().is_some_and(|Reverse(packet)| packet.arrives <= now) {
                    let Some(Reverse(packet)) = under_way.pop() else { break };
                    send(&socket, &mut poller, &packet).await;
                }
            }
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

async fn send(socket: &Arc<dyn AsyncUdpSocket>, poller: &mut Pin<Box<dyn UdpPoller>>, packet: &Packet) {
    let transmit = Transmit {
        destination: packet.destination,
        ecn: packet.ecn.and_then(EcnCodepoint::from_bits),
        contents: &packet.contents,
        segment_size: None,
        src_ip: packet.source,
    };
    // Any other error is a packet lost, which QUIC sees as such.
    while let Err(error) = socket.try_send(&transmit) {
        if error.kind() != io::ErrorKind::WouldBlock
            || poll_fn(|context| poller.as_mut().poll_writable(context))
                .await
                .is_err()
        {
            return;
        }
    }
}
