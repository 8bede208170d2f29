//! A small message there and back, and the throughput of large ones, over loopback: a channel of ours
//! against a raw quinn stream and a TCP connection, in one process and one run, contenders alternating.
//! Medians and ratios; nothing fails because of time. `cargo bench -p transport`

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use transport::{
    Channel, Config, Encoding, Endpoint, Frame, Header, Identity, Kind, Opening, Peer, PipelineId, SessionId,
};

/// One row of the test model in int8 with outliers.
const SMALL_BYTES: usize = 628;
/// One prefill chunk: 128 rows of width 576 in f32.
const LARGE_BYTES: usize = 128 * 576 * 4;
const ROUNDS: usize = 7;
const SMALL_PER_ROUND: u32 = 500;
const LARGE_PER_ROUND: u32 = 200;
const DEADLINE: Duration = Duration::from_secs(60);

type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A connection whose other end sends back small messages, and answers a large one with one byte's worth.
trait Contender: Send {
    fn name(&self) -> &'static str;
    /// Sends a small message and waits for it to come back.
    fn round_trip(&mut self) -> Work<'_>;
    /// Sends so many large messages and waits until the other end has all of them.
    fn pour(&mut self, count: u32) -> Work<'_>;
}

fn frame(kind: Kind, bytes: usize) -> Frame {
    let header = Header {
        session: SessionId(1),
        pipeline: PipelineId(2),
        revision: 3,
        worker_epoch: 4,
        position: 5,
        budget: None,
        kind,
        encoding: Encoding::F32,
    };
    Frame {
        header,
        payload: vec![7; bytes].into(),
    }
}

struct Ours {
    channel: Channel,
    _endpoints: (Endpoint, Endpoint),
}

impl Ours {
    async fn connect() -> Self {
        let bind = || {
            let listen = "127.0.0.1:0".parse().expect("an address");
            let identity = Identity::ephemeral().expect("an identity");
            Endpoint::bind(Config {
                probing: None,
                ..Config::new(listen, identity)
            })
            .expect("bound")
        };
        let (near, far) = (bind(), bind());
        let peer = |node: &str, endpoint: &Endpoint, dial| Peer {
            node: node.to_owned(),
            key: endpoint.public_key().clone(),
            address: Some(endpoint.local_address().expect("bound").to_string()),
            dial,
            declared_rate: None,
        };
        far.set_peers(vec![peer("near", &near, false)]).expect("a table");
        near.set_peers(vec![peer("far", &far, true)]).expect("a table");
        let opening = Opening {
            pipeline: String::new(),
            revision: 3,
            worker_epoch: 4,
            session: SessionId(1),
            body: vec![],
        };
        let channel = near.open("far", opening, DEADLINE).await.expect("open");
        let mut accepted = far.accept().await.expect("accepted").channel;
        tokio::spawn(async move {
            while let Ok(Some(frame)) = accepted.receive(DEADLINE).await {
                let answer = if frame.header.kind == Kind::Decode {
                    frame
                } else {
                    self::frame(Kind::Tokens, 1)
                };
                accepted.send(answer, DEADLINE).await.expect("sent");
            }
        });
        Self {
            channel,
            _endpoints: (near, far),
        }
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "channel"
    }

    fn round_trip(&mut self) -> Work<'_> {
        Box::pin(async {
            self.channel
                .send(frame(Kind::Decode, SMALL_BYTES), DEADLINE)
                .await
                .expect("sent");
            self.channel.receive(DEADLINE).await.expect("received");
        })
    }

    fn pour(&mut self, count: u32) -> Work<'_> {
        Box::pin(async move {
            let large = frame(Kind::Prefill, LARGE_BYTES);
            for _ in 0..count {
                self.channel.send(large.clone(), DEADLINE).await.expect("sent");
            }
            for _ in 0..count {
                self.channel.receive(DEADLINE).await.expect("received");
            }
        })
    }
}

/// Anything that is a pair of byte streams: a length of four bytes, then the message.
struct Bytes<R, W> {
    name: &'static str,
    read: R,
    write: W,
}

async fn read_message(read: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> bool {
    let Ok(length) = read.read_u32().await else {
        return false;
    };
    buffer.resize(length as usize, 0);
    read.read_exact(buffer).await.is_ok()
}

async fn write_message(write: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) {
    write
        .write_all(&(message.len() as u32).to_be_bytes())
        .await
        .expect("written");
    write.write_all(message).await.expect("written");
}

async fn answer(mut read: impl AsyncReadExt + Unpin, mut write: impl AsyncWriteExt + Unpin) {
    let mut buffer = Vec::new();
    while read_message(&mut read, &mut buffer).await {
        let answer = if buffer.len() == SMALL_BYTES {
            &buffer[..]
        } else {
            &[1]
        };
        write_message(&mut write, answer).await;
    }
}

impl<R: AsyncReadExt + Unpin + Send, W: AsyncWriteExt + Unpin + Send> Contender for Bytes<R, W> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round_trip(&mut self) -> Work<'_> {
        Box::pin(async {
            write_message(&mut self.write, &[7; SMALL_BYTES]).await;
            read_message(&mut self.read, &mut Vec::new()).await;
        })
    }

    fn pour(&mut self, count: u32) -> Work<'_> {
        Box::pin(async move {
            let large = vec![7; LARGE_BYTES];
            for _ in 0..count {
                write_message(&mut self.write, &large).await;
            }
            let mut buffer = Vec::new();
            for _ in 0..count {
                read_message(&mut self.read, &mut buffer).await;
            }
        })
    }
}

async fn raw_quinn() -> Box<dyn Contender> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["far".to_owned()])
        .and_then(|parameters| parameters.self_signed(&key))
        .expect("a certificate");
    let certificate = certificate.der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let server = quinn::ServerConfig::with_single_cert(
        vec![certificate],
        PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    )
    .expect("a server");
    let far = quinn::Endpoint::server(server, any).expect("bound");
    let near = quinn::Endpoint::client(any).expect("bound");
    let client = quinn::ClientConfig::with_root_certificates(Arc::new(roots)).expect("a client");
    let address = far.local_addr().expect("bound");
    tokio::spawn(async move {
        let connection = far
            .accept()
            .await
            .expect("a connection")
            .await
            .expect("a handshake");
        let (write, read) = connection.accept_bi().await.expect("a stream");
        answer(read, write).await;
    });
    let connection = near
        .connect_with(client, address, "far")
        .expect("connecting")
        .await
        .expect("connected");
    let (write, read) = connection.open_bi().await.expect("a stream");
    Box::new(Bytes {
        name: "raw quinn",
        read,
        write,
    })
}

async fn tcp() -> Box<dyn Contender> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let (read, write) = stream.into_split();
        answer(read, write).await;
    });
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("no delay");
    let (read, write) = stream.into_split();
    Box::new(Bytes {
        name: "TCP (no TLS)",
        read,
        write,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn main() {
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(Ours::connect().await), raw_quinn().await, tcp().await];
    let mut micros = vec![Vec::new(); contenders.len()];
    let mut mebibytes = vec![Vec::new(); contenders.len()];
    for round in 0..=ROUNDS {
        for (at, contender) in contenders.iter_mut().enumerate() {
            let started = Instant::now();
            for _ in 0..SMALL_PER_ROUND {
                contender.round_trip().await;
            }
            let small = started.elapsed().as_secs_f64() / f64::from(SMALL_PER_ROUND);
            let started = Instant::now();
            contender.pour(LARGE_PER_ROUND).await;
            let large = f64::from(LARGE_PER_ROUND) * LARGE_BYTES as f64 / started.elapsed().as_secs_f64();
            // The first round warms windows and caches up.
            if round > 0 {
                micros[at].push(small * 1e6);
                mebibytes[at].push(large / f64::from(1 << 20));
            }
        }
    }
    println!("loopback, median of {ROUNDS} rounds; ratio: channel over the other");
    let (our_micros, our_mebibytes) = (median(micros[0].clone()), median(mebibytes[0].clone()));
    for ((contender, micros), mebibytes) in contenders.iter().zip(micros).zip(mebibytes) {
        let (micros, mebibytes) = (median(micros), median(mebibytes));
        println!(
            "{:>14}: {SMALL_BYTES} B there and back {micros:7.1} µs (ratio {:.2}), {LARGE_BYTES} B chunks {mebibytes:7.1} MiB/s (ratio {:.2})",
            contender.name(),
            our_micros / micros,
            our_mebibytes / mebibytes,
        );
    }
}
