//! Moves that nothing forces wait for their budget, say until when, and are carried out then; others do not wait.

use super::*;
use k8s_openapi::jiff::ToSpan as _;

const EPOCH: i64 = 600;

/// Three services on a slow node, and so much time after the beginning of an epoch.
fn crowded(limits: Limits) -> Scene {
    let mut scene = Scene::new([node("slow", 2_000, 900)]);
    for other in ["code", "draw"] {
        let mut service = service();
        service.metadata.name = Some(other.to_owned());
        scene.world.services.push(Arc::new(service));
    }
    scene.limits = limits;
    scene.world.at = Some(Timestamp::from_second(EPOCH * 1_000_000 + 5).expect("a time"));
    scene.settle();
    assert_eq!(on(&scene, "slow"), 3);
    scene
}

fn limits(pipelines: Option<u32>, bytes: Option<u64>) -> Limits {
    Limits {
        pipelines,
        bytes,
        epoch_seconds: 600,
    }
}

/// Services that are served on a node.
fn on(scene: &Scene, node: &str) -> usize {
    let serving = scene.world.placements.iter().filter(|placement| {
        let phase = placement.status.as_ref().map(|status| status.phase);
        phase == Some(PlacementPhase::Serving)
    });
    serving
        .filter(|placement| plan::uses(&placement.spec, node))
        .count()
}

/// Services that wait, and until when.
fn waiting(plan: &Plan<Proposed>) -> Vec<String> {
    let blocked = plan
        .services
        .values()
        .filter_map(|service| service.blocked.clone());
    blocked.filter(|why| why.contains("disruption budget")).collect()
}

fn later(scene: &mut Scene, epochs: i64) {
    let at = scene.world.at.expect("a time");
    scene.world.at = Some(at + (epochs * EPOCH).seconds());
}

fn add_fast(scene: &mut Scene) {
    scene.world.nodes.push(Arc::new(node("fast", 2_000, 100)));
    scene.world = std::mem::take(&mut scene.world).sorted();
}

#[test]
fn as_many_move_in_an_epoch_as_it_pays_for() {
    let mut scene = crowded(limits(Some(1), None));
    add_fast(&mut scene);
    for moved in 1..=3 {
        let plan = scene.settle();
        assert_eq!(on(&scene, "fast"), moved);
        let epoch = 1_000_000 + moved as i64;
        let text = format!(
            "a better placement waits for the disruption budget until epoch {epoch}, 1 of 600 s from now"
        );
        assert_eq!(waiting(&plan), vec![text; 3 - moved]);
        later(&mut scene, 1);
    }
    let unbounded = limits(None, None);
    let mut scene = crowded(unbounded);
    add_fast(&mut scene);
    scene.settle();
    assert_eq!(on(&scene, "fast"), 3);
}

#[test]
fn a_move_that_is_larger_than_an_epochs_bytes_is_paid_for_by_those_after_it() {
    // One pipeline has some 95 MiB of weights, which the second and third share with it once they are there.
    let mut scene = crowded(limits(None, Some(40 << 20)));
    add_fast(&mut scene);
    let plan = scene.settle();
    assert_eq!(on(&scene, "fast"), 1);
    assert_eq!(waiting(&plan).len(), 2);
    assert!(
        waiting(&plan)[0].contains("until epoch 1000002, 2 of 600 s"),
        "{:?}",
        waiting(&plan)
    );
    later(&mut scene, 1);
    scene.settle();
    assert_eq!(on(&scene, "fast"), 1);
    later(&mut scene, 1);
    scene.settle();
    assert!(on(&scene, "fast") > 1);
}

#[test]
fn what_is_forced_does_not_wait_and_owes_nothing() {
    let mut scene = crowded(limits(Some(0), None));
    add_fast(&mut scene);
    let plan = scene.settle();
    assert_eq!((on(&scene, "slow"), on(&scene, "fast")), (3, 0));
    let never = "a better placement waits: the disruption budget allows no moves";
    assert!(!waiting(&plan).is_empty());
    assert!(waiting(&plan).iter().all(|why| why == never));
    scene.world.lost.insert("slow".to_owned(), Loss::LeaseExpired);
    scene.settle();
    assert_eq!(on(&scene, "fast"), 3);
    // A ledger that owes nothing, looked at when the scene's was.
    let mut empty = Ledger::default();
    let at = scene.world.at;
    let nothing = World {
        at,
        ..World::default()
    };
    empty.pay(&scene.limits, &nothing);
    assert_eq!(scene.moved, empty);
}

#[test]
fn a_new_ledger_reads_what_stands() {
    let mut scene = crowded(limits(Some(1), None));
    add_fast(&mut scene);
    scene.settle();
    assert_eq!(on(&scene, "fast"), 1);
    // As after a change of the leader.
    scene.moved = Ledger::default();
    scene.settle();
    assert_eq!(on(&scene, "fast"), 1);
    later(&mut scene, 1);
    scene.moved = Ledger::default();
    scene.settle();
    assert_eq!(on(&scene, "fast"), 2);
}
