//! What passes through a channel, and how it ends.

use std::time::Duration;

use transport::{Code, Kind, Refusal, channel, endpoint, frame};

use crate::fixture::{DEADLINE, SKERRY, config, frame, opening, pair, session, soon, until, with_limits};

#[tokio::test]
async fn the_opening_and_frames_both_ways_arrive_as_they_were_sent() {
    let (pharos, skerry) = pair(config(), config()).await;
    let (mut channel, mut accepted) = session(&pharos, &skerry).await;
    assert_eq!(
        (accepted.node.as_str(), &accepted.opening),
        ("pharos", &opening(b"sampling"))
    );

    let sizes = [0, 1, 628, 40_000, 2_000_000];
    let sent: Vec<_> = (0..)
        .zip(sizes)
        .map(|(at, size)| frame(Kind::Prefill, at, vec![at as u8; size]))
        .collect();
    for frame in &sent {
        channel.send(frame.clone(), DEADLINE).await.unwrap();
        assert_eq!(
            accepted.channel.receive(DEADLINE).await.unwrap().as_ref(),
            Some(frame)
        );
        accepted.channel.send(frame.clone(), DEADLINE).await.unwrap();
        assert_eq!(channel.receive(DEADLINE).await.unwrap().as_ref(), Some(frame));
    }
}

#[tokio::test]
async fn a_finished_direction_ends_after_its_last_frame_and_the_other_goes_on() {
    let (pharos, skerry) = pair(config(), config()).await;
    let (channel, accepted) = session(&pharos, &skerry).await;
    let (mut sender, mut receiver) = channel.split();
    let mut accepted = accepted.channel;
    sender
        .send(frame(Kind::Decode, 1, vec![1]), DEADLINE)
        .await
        .unwrap();
    sender.finish().unwrap();
    assert!(accepted.receive(DEADLINE).await.unwrap().is_some());
    assert!(accepted.receive(DEADLINE).await.unwrap().is_none());
    accepted
        .send(frame(Kind::Tokens, 2, vec![2]), DEADLINE)
        .await
        .unwrap();
    assert!(receiver.receive(DEADLINE).await.unwrap().is_some());
}

#[tokio::test]
async fn a_dropped_channel_is_seen_as_cancelled_while_receiving_and_while_sending() {
    let (pharos, skerry) = pair(config(), config()).await;
    let (channel, accepted) = session(&pharos, &skerry).await;
    let (mut sender, mut receiver) = accepted.channel.split();
    let stopped = sender.stopped();
    drop(channel);
    assert!(matches!(
        receiver.receive(DEADLINE).await,
        Err(channel::Error::Cancelled)
    ));
    soon(stopped).await;
    let failed = sender.send(frame(Kind::Tokens, 1, vec![1]), DEADLINE).await;
    assert!(matches!(failed, Err(channel::Error::Cancelled)), "{failed:?}");
}

#[tokio::test]
async fn a_send_that_is_given_up_half_way_never_looks_like_a_whole_frame() {
    let (pharos, skerry) = pair(config(), with_limits(|limits| limits.stream_window = 64 << 10)).await;
    let (mut channel, mut accepted) = session(&pharos, &skerry).await;
    let large = frame(Kind::Prefill, 0, vec![7; 12 << 20]);
    let given_up =
        tokio::time::timeout(Duration::from_millis(50), channel.send(large.clone(), DEADLINE)).await;
    assert!(given_up.is_err(), "12 MiB do not fit into the windows");
    assert!(matches!(
        channel.send(large, DEADLINE).await,
        Err(channel::Error::Closed)
    ));
    drop(channel);
    assert!(matches!(
        accepted.channel.receive(DEADLINE).await,
        Err(channel::Error::Cancelled)
    ));
}

#[tokio::test]
async fn a_refusal_arrives_with_its_code_and_message() {
    let (pharos, skerry) = pair(config(), config()).await;
    let (mut channel, accepted) = session(&pharos, &skerry).await;
    let refusal = Refusal::new(Code::StaleRevision { held: 9, got: 7 }, "wired anew");
    accepted.channel.refuse(refusal.clone(), DEADLINE).await.unwrap();
    let told = channel.receive(DEADLINE).await.unwrap_err();
    assert!(
        matches!(&told, channel::Error::Refused(told) if *told == refusal),
        "{told}"
    );
    assert_eq!(told.code(), refusal.code);
    let failed = channel.send(frame(Kind::Decode, 1, vec![1]), DEADLINE).await;
    assert!(matches!(failed, Err(channel::Error::Stopped)), "{failed:?}");
}

#[tokio::test]
async fn an_oversize_frame_is_refused_by_its_sender_and_by_its_receiver() {
    let (pharos, skerry) = pair(config(), with_limits(|limits| limits.max_frame_bytes = 1 << 20)).await;
    let (mut channel, mut accepted) = session(&pharos, &skerry).await;
    let beyond = accepted
        .channel
        .send(frame(Kind::Prefill, 0, vec![0; 1 << 20]), DEADLINE)
        .await;
    assert!(
        matches!(beyond, Err(channel::Error::Frame(frame::Error::TooLarge { .. }))),
        "{beyond:?}"
    );
    accepted
        .channel
        .send(frame(Kind::Prefill, 0, vec![0; 1000]), DEADLINE)
        .await
        .expect("the channel still works");

    channel
        .send(frame(Kind::Prefill, 0, vec![0; 2 << 20]), DEADLINE)
        .await
        .unwrap();
    let refused = accepted.channel.receive(DEADLINE).await;
    assert!(matches!(
        refused,
        Err(channel::Error::Frame(frame::Error::TooLarge {
            limit: 1048576,
            ..
        }))
    ));
}

#[tokio::test]
async fn an_oversize_opening_is_refused_by_its_sender_and_by_its_receiver() {
    let (pharos, skerry) = pair(config(), with_limits(|limits| limits.max_opening_bytes = 1000)).await;
    let beyond = pharos.open(SKERRY, opening(&[0; 300_000]), DEADLINE).await;
    assert!(matches!(
        beyond,
        Err(endpoint::Error::OpeningTooLarge { limit: 262_144, .. })
    ));
    let mut channel = pharos.open(SKERRY, opening(&[0; 2000]), DEADLINE).await.unwrap();
    let refused = channel.receive(DEADLINE).await.unwrap_err();
    assert_eq!(refused.code(), Code::TooLarge);
    drop(skerry);
}

#[tokio::test]
async fn a_session_that_finds_no_room_to_wait_is_refused_as_busy() {
    let (pharos, skerry) = pair(config(), with_limits(|limits| limits.accept_queue = 1)).await;
    let _waiting = pharos.open(SKERRY, opening(b"first"), DEADLINE).await.unwrap();
    let mut codes = Vec::new();
    for _ in 0..2 {
        let mut channel = pharos.open(SKERRY, opening(b"next"), DEADLINE).await.unwrap();
        codes.push(channel.receive(Duration::from_secs(2)).await.unwrap_err().code());
    }
    assert!(codes.contains(&Code::Busy), "{codes:?}");
    drop(skerry);
}

#[tokio::test]
async fn a_slow_reader_bounds_what_its_sender_can_hand_over() {
    let limits = |limits: &mut transport::Limits| {
        (limits.stream_window, limits.send_window) = (128 << 10, 256 << 10);
    };
    let (pharos, skerry) = pair(with_limits(limits), with_limits(limits)).await;
    let (mut channel, mut accepted) = session(&pharos, &skerry).await;
    let mut frames = 0;
    let stuck = loop {
        match channel
            .send(
                frame(Kind::Prefill, frames, vec![0; 32 << 10]),
                Duration::from_millis(500),
            )
            .await
        {
            Ok(()) => frames += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(stuck, channel::Error::Deadline(_)), "{stuck}");
    // What skerry holds unread, what pharos holds unacknowledged, and the frame at the brim.
    assert!(frames <= (128 + 256) / 32 + 1, "{frames} frames were handed over");

    let mut received = 0;
    let end = loop {
        match accepted.channel.receive(DEADLINE).await {
            Ok(frame) => received += u32::from(frame.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(
        end.code(),
        Code::Deadline,
        "the reader learns why the rest does not come"
    );
    assert!(received <= frames);
}

#[tokio::test]
async fn many_sessions_share_a_connection_and_keep_apart() {
    let (pharos, skerry) = pair(config(), config()).await;
    let echo = tokio::spawn(async move {
        while let Some(accepted) = skerry.accept().await {
            tokio::spawn(async move {
                let mut channel = accepted.channel;
                while let Ok(Some(frame)) = channel.receive(DEADLINE).await {
                    channel.send(frame, DEADLINE).await.unwrap();
                }
            });
        }
    });
    let sessions = (0..20u32).map(|number| {
        let pharos = pharos.clone();
        async move {
            let mut channel = pharos.open(SKERRY, opening(b""), DEADLINE).await.unwrap();
            for position in 0..10 {
                let sent = frame(Kind::Decode, position, vec![number as u8; 628]);
                channel.send(sent.clone(), DEADLINE).await.unwrap();
                assert_eq!(channel.receive(DEADLINE).await.unwrap(), Some(sent));
            }
        }
    });
    soon(async {
        for session in sessions.map(tokio::spawn).collect::<Vec<_>>() {
            session.await.unwrap();
        }
    })
    .await;
    echo.abort();
}

#[tokio::test]
async fn waiting_for_a_frame_ends_at_its_deadline_and_can_go_on() {
    let (pharos, skerry) = pair(config(), config()).await;
    let (mut channel, mut accepted) = session(&pharos, &skerry).await;
    let early = accepted.channel.receive(Duration::from_millis(10)).await;
    assert!(matches!(early, Err(channel::Error::Deadline(_))));
    channel
        .send(frame(Kind::Decode, 4, vec![9]), DEADLINE)
        .await
        .unwrap();
    assert_eq!(
        accepted
            .channel
            .receive(DEADLINE)
            .await
            .unwrap()
            .unwrap()
            .header
            .position,
        4
    );
}

#[tokio::test]
async fn a_node_that_is_not_in_the_table_cannot_be_opened_to() {
    let (pharos, _skerry) = pair(config(), config()).await;
    let unknown = pharos.open("elsewhere", opening(b""), DEADLINE).await;
    assert!(matches!(unknown, Err(endpoint::Error::UnknownPeer(node)) if node == "elsewhere"));
}

#[tokio::test]
async fn accepting_ends_when_the_endpoint_is_closed() {
    let (pharos, skerry) = pair(config(), config()).await;
    skerry.close().await;
    assert!(skerry.accept().await.is_none());
    until(|| (!pharos.peer_states().borrow()[SKERRY].is_connected()).then_some(())).await;
}
