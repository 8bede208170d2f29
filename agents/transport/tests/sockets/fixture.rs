//! Two agents named after lighthouses, and what sessions between them say.

use std::{collections::BTreeMap, future::Future, time::Duration};

use transport::{
    Accepted, Channel, Config, Emulation, Encoding, Endpoint, Frame, Header, Identity, Kind, Limits, Opening,
    Peer, PeerState, PipelineId, PublicKey, SessionId,
};

/// Longer than anything here takes on a busy machine; only a broken test waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const PHAROS: &str = "pharos";
pub(crate) const SKERRY: &str = "skerry";

/// Peers are patient, so that a machine that stalls for a second loses none.
pub(crate) fn config() -> Config {
    let limits = Limits {
        idle_timeout: Duration::from_secs(10),
        ..Limits::default()
    };
    Config {
        limits,
        ..impatient()
    }
}

/// Peers are lost as quickly as in earnest.
pub(crate) fn impatient() -> Config {
    let listen = "127.0.0.1:0".parse().unwrap();
    Config {
        probing: None,
        ..Config::new(listen, Identity::ephemeral().unwrap())
    }
}

pub(crate) fn emulated(seed: u64) -> Config {
    Config {
        emulation: Some(Emulation {
            seed,
            ..Emulation::default()
        }),
        ..config()
    }
}

pub(crate) fn impatient_emulated(seed: u64) -> Config {
    Config {
        limits: Limits::default(),
        ..emulated(seed)
    }
}

pub(crate) fn with_limits(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config();
    change(&mut config.limits);
    config
}

pub(crate) fn peer(node: &str, endpoint: &Endpoint, dial: bool) -> Peer {
    Peer {
        node: node.to_owned(),
        key: endpoint.public_key().clone(),
        address: Some(endpoint.local_address().unwrap().to_string()),
        dial,
        declared_rate: None,
    }
}

/// Binds pharos, which dials, and skerry, which is dialled, and waits until both are connected.
pub(crate) async fn pair(pharos: Config, skerry: Config) -> (Endpoint, Endpoint) {
    let (pharos, skerry) = (Endpoint::bind(pharos).unwrap(), Endpoint::bind(skerry).unwrap());
    introduce(&pharos, &skerry).await;
    (pharos, skerry)
}

pub(crate) async fn introduce(pharos: &Endpoint, skerry: &Endpoint) {
    skerry.set_peers(vec![peer(PHAROS, pharos, false)]).unwrap();
    pharos.set_peers(vec![peer(SKERRY, skerry, true)]).unwrap();
    state(pharos, SKERRY, PeerState::is_connected).await;
    state(skerry, PHAROS, PeerState::is_connected).await;
}

/// Waits until `node` is, as `endpoint` sees it, as asked.
pub(crate) async fn state(endpoint: &Endpoint, node: &str, is: impl Fn(&PeerState) -> bool) -> PeerState {
    let mut states = endpoint.peer_states();
    let seen =
        soon(states.wait_for(|states: &BTreeMap<String, PeerState>| states.get(node).is_some_and(&is))).await;
    seen.unwrap()[node].clone()
}

/// Awaits something that must come.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("what was waited for comes within the deadline")
}

/// Looks again and again until something is so.
pub(crate) async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

pub(crate) fn opening(body: &[u8]) -> Opening {
    Opening {
        pipeline: "lamp/weave-0".to_owned(),
        revision: 7,
        worker_epoch: 3,
        session: SessionId(0xabcd),
        body: body.to_vec(),
    }
}

pub(crate) fn frame(kind: Kind, position: u32, payload: Vec<u8>) -> Frame {
    let header = Header {
        session: SessionId(0xabcd),
        pipeline: PipelineId::of("lamp/weave-0"),
        revision: 7,
        worker_epoch: 3,
        position,
        budget: Some(Duration::from_millis(1500)),
        kind,
        encoding: Encoding::F32,
    };
    Frame {
        header,
        payload: payload.into(),
    }
}

/// A session from pharos to skerry: pharos's end, and what skerry accepted.
pub(crate) async fn session(pharos: &Endpoint, skerry: &Endpoint) -> (Channel, Accepted) {
    let channel = pharos.open(SKERRY, opening(b"sampling"), DEADLINE).await.unwrap();
    (channel, soon(skerry.accept()).await.unwrap())
}

pub(crate) fn stranger() -> PublicKey {
    Identity::ephemeral().unwrap().public_key().clone()
}
