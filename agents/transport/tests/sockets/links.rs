//! Emulated links, and what is measured on them. Times are judged from below only: a busy machine makes
//! everything slower, and nothing faster.

use std::time::{Duration, Instant};

use transport::{Conditions, Config, Endpoint, Kind, LinkFigures, Probing, RateKind};

use crate::fixture::{
    DEADLINE, PHAROS, SKERRY, config, emulated, frame, introduce, pair, peer, session, until,
};

const MS: Duration = Duration::from_millis(1);

/// Sends frames of 64 KiB until `enough` says so of the figures of the receiving end; returns them.
async fn send_until(
    (pharos, skerry): (&Endpoint, &Endpoint),
    enough: impl Fn(&LinkFigures) -> bool,
) -> LinkFigures {
    let (mut channel, mut accepted) = session(pharos, skerry).await;
    let started = Instant::now();
    loop {
        channel
            .send(frame(Kind::Prefill, 0, vec![1; 64 << 10]), DEADLINE)
            .await
            .unwrap();
        accepted.channel.receive(DEADLINE).await.unwrap();
        let figures = skerry.link_figures(PHAROS).unwrap();
        if enough(&figures) {
            return figures;
        }
        assert!(started.elapsed() < DEADLINE, "still {figures:?}");
    }
}

#[tokio::test]
async fn twenty_milliseconds_each_way_make_a_round_trip_of_forty() {
    let (pharos, skerry) = pair(emulated(1), emulated(2)).await;
    let slow = Conditions {
        delay: 20 * MS,
        ..Conditions::PERFECT
    };
    pharos.emulate(SKERRY, slow).unwrap();
    skerry.emulate(PHAROS, slow).unwrap();
    let newest = until(|| {
        let newest = pharos.link_figures(SKERRY)?.round_trip?.newest;
        (newest >= 40 * MS).then_some(newest)
    })
    .await;
    assert!(newest < 40 * MS + DEADLINE);
    // QUIC sees the same below: its estimate rises towards the true value.
    until(|| (pharos.link_figures(SKERRY)?.round_trip?.smoothed >= 25 * MS).then_some(())).await;
}

#[tokio::test]
async fn a_limited_link_takes_the_time_that_its_rate_says_and_its_rate_is_measured() {
    let rate = 1_000_000;
    let (pharos, skerry) = pair(emulated(1), emulated(2)).await;
    pharos
        .emulate(
            SKERRY,
            Conditions {
                buffer_bytes: 100_000,
                ..Conditions::new(rate, MS)
            },
        )
        .unwrap();
    let (mut channel, mut accepted) = session(&pharos, &skerry).await;
    let started = Instant::now();
    channel
        .send(frame(Kind::Prefill, 0, vec![1; 500_000]), DEADLINE)
        .await
        .unwrap();
    accepted.channel.receive(DEADLINE).await.unwrap();
    assert!(
        started.elapsed() >= 500 * MS,
        "500,000 bytes at 1,000,000 a second took {:?}",
        started.elapsed()
    );
    drop((channel, accepted));

    let is_measured = |figures: &LinkFigures| {
        figures
            .inbound
            .is_some_and(|inbound| inbound.kind == RateKind::Measured)
    };
    let figures = send_until((&pharos, &skerry), is_measured).await;
    let inbound = figures.inbound.unwrap();
    // Never faster than the link, but for the millisecond in which a bunch of packets is delivered.
    assert!(inbound.p50 <= rate * 13 / 10, "{inbound:?}");
    until(|| {
        pharos
            .link_figures(SKERRY)?
            .outbound
            .filter(|told| told.kind == RateKind::Measured)
    })
    .await;
}

#[tokio::test]
async fn losses_on_the_link_are_counted_as_losses() {
    let (pharos, skerry) = pair(emulated(1), emulated(2)).await;
    pharos
        .emulate(
            SKERRY,
            Conditions {
                loss: 0.05,
                ..Conditions::PERFECT
            },
        )
        .unwrap();
    let (mut channel, mut accepted) = session(&pharos, &skerry).await;
    for position in 0..20 {
        let sent = frame(Kind::Prefill, position, vec![position as u8; 100_000]);
        channel.send(sent.clone(), DEADLINE).await.unwrap();
        assert_eq!(
            accepted.channel.receive(DEADLINE).await.unwrap(),
            Some(sent),
            "losses are made good"
        );
    }
    let figures = pharos.link_figures(SKERRY).unwrap();
    assert!(
        figures.packets_lost > 0 && figures.loss_ratio() < 0.5,
        "{figures:?}"
    );
    assert!(figures.bytes_sent > 2_000_000 && figures.congestion_window > 0);
}

#[tokio::test]
async fn a_rate_that_only_the_window_allowed_is_a_lower_bound() {
    // 100 ms of round trip and a first window of some ten packets: far from any limit.
    let far = Conditions {
        delay: 50 * MS,
        ..Conditions::PERFECT
    };
    let (pharos, skerry) = (
        Endpoint::bind(emulated(1)).unwrap(),
        Endpoint::bind(emulated(2)).unwrap(),
    );
    pharos.emulate(SKERRY, far).unwrap();
    skerry.emulate(PHAROS, far).unwrap();
    introduce(&pharos, &skerry).await;
    let figures = send_until((&pharos, &skerry), |figures| figures.inbound.is_some()).await;
    assert_eq!(figures.inbound.unwrap().kind, RateKind::LowerBound);
}

fn probing(interval: Duration, bytes_per_hour: usize) -> Config {
    Config {
        probing: Some(Probing {
            interval,
            bytes_per_probe: 64 << 10,
            bytes_per_hour,
        }),
        ..emulated(3)
    }
}

#[tokio::test]
async fn an_idle_link_is_probed_and_both_ends_know_its_rate_as_probed() {
    // A slow link with a small window in flight: the first probes already meet its limit.
    let pharos = Endpoint::bind(probing(20 * MS, usize::MAX)).unwrap();
    let skerry = Endpoint::bind(config()).unwrap();
    pharos
        .emulate(
            SKERRY,
            Conditions {
                buffer_bytes: 40_000,
                ..Conditions::new(200_000, MS)
            },
        )
        .unwrap();
    introduce(&pharos, &skerry).await;
    let is_probed = |kind| kind == RateKind::Probed;
    let seen = until(|| {
        skerry
            .link_figures(PHAROS)?
            .inbound
            .filter(|inbound| is_probed(inbound.kind))
    })
    .await;
    let told = until(|| {
        pharos
            .link_figures(SKERRY)?
            .outbound
            .filter(|outbound| is_probed(outbound.kind))
    })
    .await;
    assert!(seen.p50 <= 260_000 && told.p50 <= 260_000, "{seen:?} {told:?}");
    assert!(
        skerry.link_figures(PHAROS).unwrap().outbound.is_none(),
        "skerry sent nothing that could be timed"
    );
}

#[tokio::test]
async fn probes_stay_within_their_budget() {
    let budget = 3 * (65 << 10);
    let (pharos, skerry) = pair(probing(MS, budget), config()).await;
    let spent = || {
        pharos
            .link_figures(SKERRY)
            .map(|figures| figures.probe_bytes_sent as usize)
    };
    until(|| spent().filter(|spent| *spent > budget - (65 << 10))).await;
    // Many intervals later (each pong is one of 500 ms) not a byte more was spent.
    let pongs = pharos.link_figures(SKERRY).unwrap().packets_sent;
    until(|| (pharos.link_figures(SKERRY)?.packets_sent >= pongs + 4).then_some(())).await;
    assert!(spent().unwrap() <= budget);
    drop(skerry);
}

#[tokio::test]
async fn a_declared_rate_is_shown_as_such() {
    let (pharos, skerry) = pair(config(), config()).await;
    let declared = transport::Peer {
        declared_rate: Some(12_500_000),
        ..peer(SKERRY, &skerry, true)
    };
    pharos.set_peers(vec![declared]).unwrap();
    let inbound = pharos.link_figures(SKERRY).unwrap().inbound.unwrap();
    assert_eq!((inbound.p50, inbound.kind), (12_500_000, RateKind::Declared));
}

#[tokio::test]
async fn links_cannot_be_emulated_on_an_endpoint_bound_without() {
    let pharos = Endpoint::bind(config()).unwrap();
    let refused = pharos.emulate(SKERRY, Conditions::severed()).unwrap_err();
    assert!(refused.to_string().contains("without emulated links"));
}
