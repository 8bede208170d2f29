//! Peers that vanish, and come back.

use std::time::Duration;

use tokio::runtime::Runtime;
use transport::{Conditions, Config, Endpoint, Event, Identity, Kind, PeerState, channel};

use crate::fixture::{
    DEADLINE, PHAROS, SKERRY, config, frame, impatient, impatient_emulated, pair, peer, session, soon, state,
};

#[tokio::test]
async fn a_peer_that_stops_says_so_and_its_sessions_end_with_the_reason() {
    let (pharos, skerry) = pair(config(), config()).await;
    let (mut channel, _accepted) = session(&pharos, &skerry).await;
    let mut events = pharos.events();
    skerry.close().await;
    let lost = soon(events.recv()).await.unwrap();
    let expected = Event::PeerLost {
        node: SKERRY.to_owned(),
        reason: "the peer was stopped".to_owned(),
    };
    assert_eq!(lost, expected);
    assert!(matches!(
        channel.receive(DEADLINE).await,
        Err(channel::Error::PeerLost(_))
    ));
}

#[tokio::test]
async fn dropping_the_last_clone_of_an_endpoint_ends_its_connections() {
    let (pharos, skerry) = pair(config(), config()).await;
    drop(skerry);
    state(&pharos, SKERRY, |state| matches!(state, PeerState::Lost { .. })).await;
}

/// As after `kill -9`: the sockets are closed and nothing more is said.
fn die_silently(runtime: Runtime) {
    runtime.shutdown_background();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn keep(identity_folder: &std::path::Path) -> Config {
    Config {
        identity: Identity::load_or_make(identity_folder).unwrap(),
        ..impatient()
    }
}

#[test]
fn a_peer_that_dies_silently_is_lost_and_is_connected_again_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (home, away) = (runtime(), runtime());
    let pharos = home.block_on(async { Endpoint::bind(impatient()).unwrap() });
    let skerry = away.block_on(async { Endpoint::bind(keep(folder.path())).unwrap() });
    let address = skerry.local_address().unwrap();
    skerry.set_peers(vec![peer(PHAROS, &pharos, false)]).unwrap();
    home.block_on(async {
        pharos.set_peers(vec![peer(SKERRY, &skerry, true)]).unwrap();
        state(&pharos, SKERRY, PeerState::is_connected).await;
        let (mut channel, accepted) = session(&pharos, &skerry).await;
        die_silently(away);
        let ended = channel.receive(DEADLINE).await;
        assert!(matches!(ended, Err(channel::Error::PeerLost(_))), "{ended:?}");
        let of_first_life = skerry.incarnation().to_owned();
        state(
            &pharos,
            SKERRY,
            |state| matches!(state, PeerState::Lost { incarnation, .. } if *incarnation == of_first_life),
        )
        .await;
        // Only their last handle frees the port.
        drop((skerry, accepted));

        let back = Endpoint::bind(Config {
            listen: address,
            ..keep(folder.path())
        })
        .unwrap();
        back.set_peers(vec![peer(PHAROS, &pharos, false)]).unwrap();
        let connected = state(&pharos, SKERRY, PeerState::is_connected).await;
        let told = |state| match state {
            PeerState::Connected { incarnation, .. } => incarnation,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(connected), back.incarnation());
        assert_ne!(back.incarnation(), of_first_life);
        // The end that was dialled has heard the other's too.
        let seen = state(&back, PHAROS, PeerState::is_connected).await;
        assert_eq!(told(seen), pharos.incarnation());
        let (mut channel, mut accepted) = session(&pharos, &back).await;
        channel
            .send(frame(Kind::Decode, 0, vec![1]), DEADLINE)
            .await
            .unwrap();
        assert!(accepted.channel.receive(DEADLINE).await.unwrap().is_some());
    });
}

#[tokio::test]
async fn a_cut_link_is_seen_by_both_ends_and_a_mended_one_is_used_again() {
    let (pharos, skerry) = pair(impatient_emulated(1), impatient_emulated(2)).await;
    pharos.emulate(SKERRY, Conditions::severed()).unwrap();
    skerry.emulate(PHAROS, Conditions::severed()).unwrap();
    let is_lost = |state: &PeerState| matches!(state, PeerState::Lost { .. });
    state(&pharos, SKERRY, is_lost).await;
    state(&skerry, PHAROS, is_lost).await;
    let unreachable = pharos
        .open(SKERRY, crate::fixture::opening(b""), Duration::from_millis(20))
        .await;
    assert!(unreachable.is_err());
    pharos.emulate(SKERRY, Conditions::PERFECT).unwrap();
    skerry.emulate(PHAROS, Conditions::PERFECT).unwrap();
    state(&pharos, SKERRY, PeerState::is_connected).await;
    state(&skerry, PHAROS, PeerState::is_connected).await;
}
