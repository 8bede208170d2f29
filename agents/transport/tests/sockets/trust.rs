//! Who is let in.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use transport::{Endpoint, Event, Peer, PeerState, endpoint};

use crate::fixture::{
    DEADLINE, PHAROS, SKERRY, config, introduce, opening, pair, peer, session, soon, state, stranger,
};

fn reason(state: &PeerState) -> String {
    match state {
        PeerState::Waiting { reason, .. } => reason.clone().unwrap_or_default(),
        PeerState::Lost { reason, .. } => reason.clone(),
        PeerState::Connected { .. } => "connected".to_owned(),
    }
}

async fn reason_containing(endpoint: &Endpoint, node: &str, text: &str) {
    state(endpoint, node, |state| reason(state).contains(text)).await;
}

#[tokio::test]
async fn agents_that_know_each_other_are_connected_and_told_so() {
    let (pharos, skerry) = (
        Endpoint::bind(config()).unwrap(),
        Endpoint::bind(config()).unwrap(),
    );
    let mut events = pharos.events();
    introduce(&pharos, &skerry).await;
    assert_eq!(
        soon(events.recv()).await.unwrap(),
        Event::PeerConnected {
            node: SKERRY.to_owned()
        }
    );
}

#[tokio::test]
async fn an_agent_whose_key_is_in_no_table_is_refused() {
    let (pharos, skerry) = (
        Endpoint::bind(config()).unwrap(),
        Endpoint::bind(config()).unwrap(),
    );
    pharos.set_peers(vec![peer(SKERRY, &skerry, true)]).unwrap();
    reason_containing(&pharos, SKERRY, "does not have this agent's key").await;
    let refused = pharos
        .open(SKERRY, opening(b""), std::time::Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, endpoint::Error::NotConnected { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn an_agent_that_shows_another_key_than_the_pinned_one_is_not_dialled() {
    let (pharos, skerry) = (
        Endpoint::bind(config()).unwrap(),
        Endpoint::bind(config()).unwrap(),
    );
    skerry.set_peers(vec![peer(PHAROS, &pharos, false)]).unwrap();
    pharos
        .set_peers(vec![Peer {
            key: stranger(),
            ..peer(SKERRY, &skerry, true)
        }])
        .unwrap();
    reason_containing(&pharos, SKERRY, "another key").await;
}

#[tokio::test]
async fn a_peer_taken_from_the_table_is_cut_off_with_its_sessions_and_cannot_come_back() {
    let (pharos, skerry) = pair(config(), config()).await;
    let (mut channel, _accepted) = session(&pharos, &skerry).await;
    let mut events = skerry.events();
    skerry.set_peers(vec![]).unwrap();
    let lost = soon(events.recv()).await.unwrap();
    assert!(matches!(lost, Event::PeerLost { node, .. } if node == PHAROS));
    assert!(skerry.peer_states().borrow().is_empty());
    let error = channel.receive(DEADLINE).await.unwrap_err();
    assert!(
        error.to_string().contains("taken this node from its table"),
        "{error}"
    );
    reason_containing(&pharos, SKERRY, "does not have this agent's key").await;
}

#[tokio::test]
async fn a_peer_that_gets_another_key_is_cut_off() {
    let (pharos, skerry) = pair(config(), config()).await;
    skerry
        .set_peers(vec![Peer {
            key: stranger(),
            ..peer(PHAROS, &pharos, false)
        }])
        .unwrap();
    reason_containing(&pharos, SKERRY, "does not have this agent's key").await;
    assert!(!skerry.peer_states().borrow()[PHAROS].is_connected());
}

#[tokio::test]
async fn a_new_table_leaves_connections_alone_that_it_still_allows() {
    let (pharos, skerry) = pair(config(), config()).await;
    let (mut channel, mut accepted) = session(&pharos, &skerry).await;
    let newcomer = Peer {
        key: stranger(),
        node: "newcomer".to_owned(),
        ..peer(PHAROS, &pharos, false)
    };
    skerry
        .set_peers(vec![peer(PHAROS, &pharos, false), newcomer])
        .unwrap();
    let sent = crate::fixture::frame(transport::Kind::Decode, 1, vec![5; 10]);
    channel.send(sent.clone(), DEADLINE).await.unwrap();
    assert_eq!(accepted.channel.receive(DEADLINE).await.unwrap(), Some(sent));
}

#[tokio::test]
async fn when_both_dial_one_connection_stays() {
    let (pharos, skerry) = (
        Endpoint::bind(config()).unwrap(),
        Endpoint::bind(config()).unwrap(),
    );
    skerry.set_peers(vec![peer(PHAROS, &pharos, true)]).unwrap();
    pharos.set_peers(vec![peer(SKERRY, &skerry, true)]).unwrap();
    // A session is opened and answered over whichever it is, once the choice has settled.
    soon(async {
        loop {
            let (Ok(mut channel), Some(accepted)) = (
                pharos.open(SKERRY, opening(b""), DEADLINE).await,
                tokio::time::timeout(std::time::Duration::from_secs(1), skerry.accept())
                    .await
                    .ok()
                    .flatten(),
            ) else {
                continue;
            };
            let (sender, _receiver) = accepted.channel.split();
            if sender.finish().is_ok() && channel.receive(DEADLINE).await.is_ok_and(|end| end.is_none()) {
                return;
            }
        }
    })
    .await;
}

/// A certificate and key that carry no meaning.
fn somebody() -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["somebody".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (
        certificate.der().clone(),
        PrivatePkcs8KeyDer::from(key.serialize_der()),
    )
}

#[tokio::test]
async fn an_agent_with_another_frame_version_is_refused_with_that_reason() {
    let (certificate, key) = somebody();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    tls.alpn_protocols = vec![b"edgeloom/0".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let other = quinn::Endpoint::server(
        quinn::ServerConfig::with_crypto(Arc::new(crypto)),
        "127.0.0.1:0".parse().unwrap(),
    )
    .unwrap();
    let address = Some(other.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        while let Some(incoming) = other.accept().await {
            let _refused = incoming.await;
        }
    });

    let pharos = Endpoint::bind(config()).unwrap();
    let node = SKERRY.to_owned();
    pharos
        .set_peers(vec![Peer {
            node,
            key: stranger(),
            address,
            dial: true,
            declared_rate: None,
        }])
        .unwrap();
    let reason = format!("another frame version than {}", transport::PROTOCOL);
    reason_containing(&pharos, SKERRY, &reason).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let skerry = Endpoint::bind(config()).unwrap();
    let (certificate, _) = somebody();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![transport::PROTOCOL.as_bytes().to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = client
        .connect_with(
            quinn::ClientConfig::new(Arc::new(crypto)),
            skerry.local_address().unwrap(),
            "somebody",
        )
        .unwrap();
    assert!(soon(connecting).await.is_err());
}
