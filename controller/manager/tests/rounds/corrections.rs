//! Predictions that learn from what heads observe.

use std::{collections::BTreeMap, sync::Arc};

use crds::{
    edge_node::SpeedCorrection,
    placement::{Accuracy, PlacementPhase},
    route_table::ObservedService,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use manager::{
    figures::{self, Family},
    snapshot::{Options, Snapshot},
};

use crate::{Scene, node};

/// A scene with a clock, whose nodes take so many times longer than what was measured of them.
struct Fleet {
    scene: Scene,
    slowness: BTreeMap<&'static str, f64>,
    requests: i64,
    moves: u32,
}

impl Fleet {
    /// Nodes by name: microseconds that a layer was measured to take, and how many times longer it takes.
    fn new(nodes: &[(&'static str, i64, f64)]) -> Self {
        let mut scene = Scene::new(nodes.iter().map(|(name, layer, _)| node(name, 400, *layer)));
        scene.world.at = Some(Timestamp::from_second(1_000_000).expect("a time"));
        scene.settle();
        Self {
            scene,
            slowness: nodes.iter().map(|(name, _, slow)| (*name, *slow)).collect(),
            requests: 0,
            moves: 0,
        }
    }

    fn wait(&mut self, time: SignedDuration) {
        let now = self.scene.world.at.expect("a clock");
        self.scene.world.at = Some(now + time);
        self.scene.world.settling = self.scene.world.settling_at(now + time);
    }

    /// The node that serves, whole, and the revision of its pipeline.
    fn serves(&self) -> (String, i64) {
        let placements = &self.scene.world.placements;
        let serves = placements.iter().find(|placement| {
            let status = placement.status.as_ref();
            status.is_some_and(|status| status.phase == PlacementPhase::Serving)
        });
        let pipeline = &serves.expect("a Placement serves").spec.pipelines[0];
        assert_eq!(pipeline.stages.len(), 1);
        (pipeline.stages[0].node.clone(), pipeline.revision)
    }

    /// What the head would see: 30 layers, and a head of four, for prompts of 64 tokens and for single ones.
    fn truth(&self) -> (i64, i64) {
        let (name, _) = self.serves();
        let known = self.scene.world.node(&name).expect("the node exists");
        let benchmarks = &known.status.as_ref().expect("a status").devices[0].benchmarks;
        let layer = benchmarks[0].points[0].layer_nanoseconds as f64 / 1e3 * self.slowness[name.as_str()];
        ((layer * (30.0 * 16.0 + 4.0)) as i64, (layer * 34.0) as i64)
    }

    fn observe(&mut self, observed: ObservedService) {
        let (head, _) = self.serves();
        for table in &mut self.scene.world.route_tables {
            if table.name_any() == head {
                Arc::make_mut(table).status.get_or_insert_default().observed = vec![observed.clone()];
            }
        }
    }

    fn observed(&self, samples: i32) -> ObservedService {
        let (first_token, per_token) = self.truth();
        ObservedService {
            service: "default/chat".to_owned(),
            requests: self.requests,
            samples: Some(samples),
            revision: Some(self.serves().1),
            prompt_tokens: Some(64),
            time_to_first_token_microseconds: 3 * first_token,
            seated_to_first_token_microseconds: Some(first_token),
            time_per_output_token_microseconds: per_token,
            ..ObservedService::default()
        }
    }

    /// So many new requests are answered within two minutes, and everybody does what follows.
    fn answer(&mut self, requests: i64) {
        self.wait(SignedDuration::from_mins(2));
        self.requests += requests;
        let samples = i32::try_from(requests.min(128)).expect("few");
        self.observe(self.observed(samples));
        let before = self.serves().0;
        self.scene.settle();
        self.moves += u32::from(self.serves().0 != before);
    }

    fn correction(&self, name: &str) -> Option<SpeedCorrection> {
        let node = self.scene.world.node(name).expect("the node exists");
        node.status.as_ref()?.corrections.first().cloned()
    }

    fn accuracy(&self) -> Accuracy {
        let (head, _) = self.serves();
        let mut placements = self.scene.world.placements.iter();
        let placement = placements.find(|placement| placement.spec.pipelines[0].stages[0].node == head);
        placement
            .and_then(|placement| placement.status.as_ref()?.accuracy.clone())
            .unwrap_or_default()
    }
}

fn is_near(milli: i64, expected: i64) -> bool {
    (milli - expected).abs() * 10 <= expected
}

#[test]
fn what_requests_take_longer_is_learnt_and_shown() {
    let mut fleet = Fleet::new(&[("a", 900, 1.5)]);
    assert_eq!(fleet.correction("a"), None);
    fleet.answer(32);
    assert!(
        is_near(fleet.accuracy().first_token_milli, 1_500),
        "{:?}",
        fleet.accuracy()
    );
    for _ in 0..6 {
        fleet.answer(32);
    }
    let learnt = fleet.correction("a").expect("a correction");
    for milli in [learnt.prompt_milli, learnt.token_milli] {
        assert!(is_near(i64::from(milli), 1_500), "{learnt:?}");
    }
    let accuracy = fleet.accuracy();
    assert!(is_near(accuracy.first_token_milli, 1_000), "{accuracy:?}");
    assert!(is_near(accuracy.per_token_milli, 1_000), "{accuracy:?}");
    assert_eq!(accuracy.corrections[0].node, "a");

    let plan = fleet.scene.plan();
    let figures = figures::of(&fleet.scene.world, &plan);
    let shown = |family: Family| {
        let own = figures.iter().filter(move |figure| figure.family == family);
        own.map(|figure| (figure.labels.clone(), figure.value))
            .collect::<Vec<_>>()
    };
    let factors = shown(Family::NodeCorrection);
    assert_eq!(factors[0].0, ["a", "default/smol/q4-1", "prompt"]);
    assert!((1.35..1.65).contains(&factors[0].1), "{factors:?}");
    assert_eq!(shown(Family::PredictionError).len(), 2);
}

#[test]
fn few_requests_and_those_of_another_pipeline_teach_nothing() {
    let mut fleet = Fleet::new(&[("a", 900, 3.0)]);
    fleet.answer(8);
    assert_eq!(fleet.correction("a"), None, "too few");
    fleet.requests += 100;
    let of_another = ObservedService {
        revision: Some(99),
        ..fleet.observed(100)
    };
    fleet.observe(of_another);
    fleet.scene.settle();
    assert_eq!(fleet.correction("a"), None, "another revision");
    fleet.answer(100);
    let first = fleet.correction("a").expect("enough of its own");
    let (plan, _) = fleet.scene.round();
    assert!(plan.corrections.is_empty(), "the same requests teach once");
    assert_eq!(fleet.correction("a"), Some(first));
}

#[test]
fn a_service_leaves_a_node_that_is_slower_than_measured_once_and_stays_away() {
    let mut fleet = Fleet::new(&[("a", 900, 2.0), ("b", 1_100, 1.0)]);
    assert_eq!(fleet.serves().0, "a");
    for _ in 0..90 {
        fleet.answer(32);
    }
    assert_eq!((fleet.serves().0.as_str(), fleet.moves), ("b", 1));
}

#[test]
fn an_error_that_all_nodes_share_moves_nothing_to_and_fro() {
    for slow in [1.3, 2.0, 3.5] {
        let mut fleet = Fleet::new(&[("a", 900, slow), ("b", 900, slow), ("c", 950, slow)]);
        for _ in 0..90 {
            fleet.answer(32);
        }
        assert!(fleet.moves <= 2, "{} moves at {slow}", fleet.moves);
    }
}

#[test]
fn what_nothing_confirms_fades_and_holds_longer_once_it_is_found_again() {
    let mut fleet = Fleet::new(&[("a", 900, 2.0)]);
    for _ in 0..8 {
        fleet.answer(32);
    }
    let held = |fleet: &Fleet| {
        let snapshot = Snapshot::take(&fleet.scene.world, Options::default());
        i64::from(snapshot.problem.nodes[0].corrections[0].prompt_milli)
    };
    assert!(is_near(held(&fleet), 2_000));
    fleet.wait(SignedDuration::from_hours(7));
    assert!(is_near(held(&fleet), 1_500), "half of it is gone");
    for _ in 0..8 {
        fleet.answer(32);
    }
    assert_eq!(fleet.correction("a").expect("a correction").relapses, 1);
    fleet.wait(SignedDuration::from_hours(7));
    assert!(
        is_near(held(&fleet), 2_000),
        "the second time it holds twice as long"
    );
    fleet.wait(SignedDuration::from_hours(6));
    assert!(is_near(held(&fleet), 1_500));
}

#[test]
fn another_engine_or_another_measurement_is_learnt_anew() {
    let factors = |fleet: &Fleet| {
        let snapshot = Snapshot::take(&fleet.scene.world, Options::default());
        snapshot.problem.nodes[0].corrections.len()
    };
    let mut fleet = Fleet::new(&[("a", 900, 2.0)]);
    fleet.answer(32);
    assert_eq!(factors(&fleet), 1);
    let now = fleet.scene.world.at.expect("a clock");
    let status = |fleet: &mut Fleet| fleet.scene.node("a").status.clone().expect("a status");
    let before = status(&mut fleet);

    let mut newer = before.clone();
    newer.agent.as_mut().expect("an agent").engine_version = "2".to_owned();
    fleet.scene.node("a").status = Some(newer);
    assert_eq!(factors(&fleet), 0, "another engine");

    let mut timed = before;
    timed.devices[0].benchmarks[0].observed_time =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    fleet.scene.node("a").status = Some(timed);
    assert_eq!(factors(&fleet), 0, "measured again");
    fleet.answer(32);
    assert_eq!(fleet.correction("a").expect("a correction").windows, 1);
}

#[test]
fn memory_beyond_what_was_predicted_is_learnt_once_and_stays() {
    let mut fleet = Fleet::new(&[("a", 900, 1.0)]);
    let margin = |fleet: &Fleet| {
        let snapshot = Snapshot::take(&fleet.scene.world, Options::default());
        snapshot.problem.nodes[0].engine.margin_milli
    };
    let hold = |fleet: &mut Fleet, milli: i64| {
        let stage = Arc::make_mut(&mut fleet.scene.world.stages[0]);
        let held = stage.spec.memory.total_bytes * milli / 1_000;
        stage.status.as_mut().expect("a status").held_bytes = Some(held);
        fleet.scene.settle();
    };
    let before = margin(&fleet);
    hold(&mut fleet, 1_005);
    assert_eq!(fleet.correction("a"), None, "no more than is seen exactly");
    hold(&mut fleet, 1_080);
    let learnt = fleet.correction("a").expect("a correction");
    assert_eq!((learnt.memory_milli, learnt.windows), (1_080, 0));
    assert_eq!(margin(&fleet), before + 80);
    hold(&mut fleet, 950);
    fleet.answer(32);
    let learnt = fleet.correction("a").expect("a correction");
    assert_eq!(
        (learnt.memory_milli, learnt.windows),
        (1_080, 1),
        "and speed beside it"
    );
    let plan = fleet.scene.settle();
    let figures = figures::of(&fleet.scene.world, &plan);
    let own = figures.iter().find(|figure| {
        figure.family == Family::NodeCorrection && figure.labels.iter().any(|label| label == "memory")
    });
    assert_eq!(own.expect("a figure").value, 1.08);

    let mut newer = fleet.scene.node("a").status.clone().expect("a status");
    newer.agent.as_mut().expect("an agent").engine_version = "2".to_owned();
    fleet.scene.node("a").status = Some(newer);
    assert_eq!(margin(&fleet), before, "another engine");
}
