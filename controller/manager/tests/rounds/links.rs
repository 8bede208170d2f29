//! Rates of links as quantiles with an age.

use std::sync::Arc;

use crds::{
    EdgeLink, EdgeLinkSpec, LinkReport,
    edge_link::{EdgeLinkStatus, RateProvenance},
    placement::LinkRate,
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use manager::{
    snapshot::{Options, Snapshot},
    status,
    world::Loss,
};
use serde_json::json;

use crate::{Scene, name, node, spec};

const MEGABIT: i64 = 1_000_000;

fn then() -> Timestamp {
    Timestamp::from_second(1_000_000).expect("a time")
}

/// A link on the air whose ends both measured these rates, in bits per second.
fn link(from: &str, to: &str, p10: i64, p50: i64) -> Arc<EdgeLink> {
    let described = json!({
        "from": from, "to": to, "medium": "Wifi", "rateBitsPerSecond": "500M", "latencyMicroseconds": 500,
    });
    let mut link = EdgeLink::new(&format!("{from}-{to}"), spec::<EdgeLinkSpec>(described));
    let report = LinkReport {
        rate_bits_per_second_p10: Some(p10),
        rate_bits_per_second_p50: Some(p50),
        rate_provenance: RateProvenance::Measured,
        observed_time: Some(Time(then())),
        ..LinkReport::default()
    };
    let reports = [from, to].map(|source| (source.to_owned(), report.clone()));
    link.status = Some(EdgeLinkStatus {
        reports: reports.into(),
        ..EdgeLinkStatus::default()
    });
    Arc::new(link)
}

/// Two nodes that hold the model together only, and the link between them.
fn split(p10: i64, p50: i64) -> Scene {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800)]);
    scene.world.links = vec![link("a", "b", p10, p50)];
    scene.world.at = Some(then());
    scene
}

#[test]
fn what_was_measured_long_ago_counts_for_less() {
    let mut scene = split(20 * MEGABIT, 40 * MEGABIT);
    let mut rate_after = |minutes: i64| {
        scene.world.at = Some(then() + SignedDuration::from_mins(minutes));
        let snapshot = Snapshot::take(&scene.world, Options::default());
        let rates: Vec<_> = snapshot.problem.links.iter().map(|link| link.rate.0).collect();
        assert_eq!(rates.len(), 2, "one in each direction");
        rates[0]
    };
    let fresh = 20 * MEGABIT.unsigned_abs() / 8;
    assert_eq!([rate_after(0), rate_after(14)], [fresh; 2]);
    let ages = [20, 90, 600, 2_000].map(&mut rate_after);
    assert!(
        ages[0] < fresh && ages.is_sorted_by(|one, other| one > other),
        "{ages:?}"
    );
    assert_eq!(
        ages[1],
        rate_after(100),
        "in steps, so that a plan does not change by itself"
    );
    assert!(ages[3] > fresh / 8, "{ages:?}");
}

#[test]
fn a_service_asks_for_a_percentile_and_is_told_the_rate_and_why() {
    let told = |percentile: i32, p50: i64, hours: i64| -> (LinkRate, i64) {
        let mut scene = split(20 * MEGABIT, p50);
        scene.service().spec.link_rate_percentile = percentile;
        scene.world.at = Some(then() + SignedDuration::from_hours(hours));
        let plan = scene.settle();
        let placement = &plan.serving(&name()).expect("a Placement").spec;
        let links = &placement.explanation.links;
        assert_eq!(links.len(), 2, "to the next stage, and back");
        let predicted = &placement.pipelines[0].predicted;
        (links[0].clone(), predicted.time_to_first_token_microseconds)
    };
    let usual = told(10, 40 * MEGABIT, 0);
    assert_eq!(usual.0.bits_per_second, 20 * MEGABIT);
    assert!(
        usual.0.why.contains("20.0 Mbit/s and half 40.0 Mbit/s"),
        "{}",
        usual.0.why
    );
    let careful = told(1, 40 * MEGABIT, 0);
    assert!(
        careful.0.bits_per_second < 12 * MEGABIT && careful.1 > usual.1,
        "{careful:?}"
    );
    assert!(
        careful.0.why.contains("asks for percentile 1"),
        "{}",
        careful.0.why
    );
    let median = told(50, 40 * MEGABIT, 0);
    assert!(
        (39 * MEGABIT..=40 * MEGABIT).contains(&median.0.bits_per_second),
        "{median:?}"
    );
    assert!(median.1 < usual.1);
    let steady = told(1, 20 * MEGABIT, 0);
    assert_eq!(
        steady.0.bits_per_second,
        20 * MEGABIT,
        "a steady link has no worse days"
    );
    let old = told(10, 40 * MEGABIT, 2);
    assert!(old.0.why.contains("more than an hour ago"), "{}", old.0.why);
    assert!(old.0.bits_per_second < 20 * MEGABIT);
}

#[test]
fn a_careful_service_avoids_a_link_that_wavers() {
    let serves = |percentile: i32| {
        let mut scene = Scene::new([node("phone", 20, 900), node("b", 400, 900), node("c", 400, 1_000)]);
        scene.world.links = vec![
            link("phone", "b", MEGABIT / 50, 2 * MEGABIT),
            link("phone", "c", MEGABIT, MEGABIT),
        ];
        scene.world.at = Some(then());
        scene.service().spec.ingress_nodes = vec!["phone".to_owned()];
        scene.service().spec.link_rate_percentile = percentile;
        scene.settle();
        scene.serving().expect("a pipeline")
    };
    assert!(serves(50).starts_with("b["), "{}", serves(50));
    assert!(serves(10).starts_with("c["), "{}", serves(10));
}

#[test]
fn a_link_says_whether_anything_can_pass_and_why_not() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800), node("c", 120, 800)]);
    let named = |name: &str, from: &str, to: &str| {
        let mut link = link(from, to, MEGABIT, MEGABIT);
        Arc::make_mut(&mut link).metadata.name = Some(name.to_owned());
        link
    };
    scene.world.links = vec![
        named("1-good", "a", "b"),
        named("2-misspelt", "a", "bb"),
        named("3-overruled", "a", "c"),
        named("4-overrules", "c", "a"),
    ];
    let said = |scene: &Scene| -> Vec<(String, String, String)> {
        let links = status::of_links(&scene.world, then());
        let ready = links.into_iter().map(|conditions| {
            let [ready] = <[_; 1]>::try_from(conditions).expect("one condition");
            assert_eq!(ready.type_, "Ready");
            (ready.status, ready.reason, ready.message)
        });
        ready.collect()
    };
    let told = said(&scene);
    let short: Vec<_> = told
        .iter()
        .map(|(state, reason, _)| (state.as_str(), reason.as_str()))
        .collect();
    let expected = [
        ("True", "AsDesired"),
        ("False", "NotFound"),
        ("False", "InvalidSpec"),
        ("True", "AsDesired"),
    ];
    assert_eq!(short, expected);
    assert!(told[1].2.contains("spec.to is \"bb\""), "{}", told[1].2);
    assert!(told[2].2.contains("4-overrules"), "{}", told[2].2);

    scene.world.cut.insert(("a".to_owned(), "b".to_owned()));
    scene.world.lost.insert("c".to_owned(), Loss::LeaseExpired);
    let told = said(&scene);
    assert_eq!(
        (told[0].0.as_str(), told[0].1.as_str()),
        ("False", "PeersReportLoss")
    );
    assert_eq!(
        (told[3].0.as_str(), told[3].1.as_str()),
        ("False", "LeaseExpired")
    );
}
