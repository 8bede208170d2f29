//! Rounds of snapshot, solve, plan and lint over a world that answers as agents would, without any API server.

use std::{collections::BTreeMap, sync::Arc};

use crds::{
    EdgeLink, EdgeLinkSpec, EdgeNode, EdgeNodeSpec, EdgeNodeStatus, EdgeUser, EdgeUserSpec, LLMService,
    LLMServiceSpec, Model, ModelSpec, ModelStatus, Placement, PlacementStatus, RouteTable, RouteTableStatus,
    Stage, StageStatus,
    edge_node::{AgentInfo, Benchmark, BenchmarkPoint, Device},
    llm_service::{PrivacyLevel, UpdatePolicy},
    model::{ModelArchitecture, ModelVariantStatus},
    placement::PlacementPhase,
    route_table::{HopPhase, HopStatus, ObservedQuantile, ObservedService},
    stage::StagePhase,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::ResourceExt as _;
use manager::{
    disruption::{Ledger, Limits},
    figures::{self, Family},
    lint,
    plan::{self, Plan, Proposed, Verdict, standby::Foreseen},
    snapshot::{Options, Snapshot, stay},
    status,
    world::{Identity, Loss, ServiceName, Withheld, World},
};
use serde_json::json;
use solver::{Budget, Solution};

mod assisted;
mod corrections;
mod disruption;
mod lengths;
mod links;
mod rules;
mod standby;
mod u_shape;

const MIB: i64 = 1 << 20;

/// The shape of SmolLM2-135M at Q4_1.
fn model() -> Model {
    let mut model = Model::new(
        "smol",
        spec::<ModelSpec>(json!({
            "variants": [{ "name": "q4-1", "uri": "file:///models/smol.gguf" }],
        })),
    );
    model.metadata.namespace = Some("default".to_owned());
    model.status = Some(ModelStatus {
        architecture: Some(ModelArchitecture {
            name: "llama".to_owned(),
            layers: 30,
            embedding_length: 576,
            feed_forward_length: 1536,
            heads: 9,
            key_value_heads: 3,
            head_length: 64,
            vocabulary: 49_152,
            context_length: 8192,
            splittable: true,
        }),
        variants: vec![ModelVariantStatus {
            name: "q4-1".to_owned(),
            digest: "sha256:smol".to_owned(),
            size_bytes: 98_362_432,
            quantisation: "Q4_1".to_owned(),
            layer_bytes: vec![2_211_840],
            embedding_bytes: 30_081_024,
            ..ModelVariantStatus::default()
        }],
        ..ModelStatus::default()
    });
    model
}

fn spec<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("a spec of the test is valid")
}

/// A node with so much memory, whose layers take so many microseconds for one row.
fn node(name: &str, memory_mib: i64, layer_microseconds: i64) -> EdgeNode {
    let mut node = EdgeNode::new(name, EdgeNodeSpec::default());
    let point = |rows: i32, factor: i64| BenchmarkPoint {
        rows,
        layer_nanoseconds: layer_microseconds * 1000 * factor,
        head_nanoseconds: layer_microseconds * 4000 * factor,
        ..BenchmarkPoint::default()
    };
    node.status = Some(EdgeNodeStatus {
        agent: Some(AgentInfo {
            peer_address: format!("{name}:4433"),
            router_url: format!("http://{name}:8080"),
            public_key: format!("key of {name}"),
            incarnation: "1".to_owned(),
            ..AgentInfo::default()
        }),
        devices: vec![Device {
            name: "cpu".to_owned(),
            memory_bytes: memory_mib * MIB,
            cores_milli: 1000,
            overhead_bytes: 12 * MIB,
            benchmarks: vec![Benchmark {
                model: "sha256:smol".to_owned(),
                points: vec![point(1, 1), point(8, 3), point(64, 16), point(512, 110)],
                ..Benchmark::default()
            }],
            ..Device::default()
        }],
        ..EdgeNodeStatus::default()
    });
    node
}

fn service() -> LLMService {
    let spec: LLMServiceSpec = spec(json!({ "models": [{ "name": "smol" }], "contextTokens": 1024 }));
    let mut service = LLMService::new("chat", spec);
    service.metadata.namespace = Some("default".to_owned());
    service.metadata.generation = Some(1);
    service
}

/// A world and the hand that moves it on.
struct Scene {
    world: World,
    limits: Limits,
    moved: Ledger,
}

impl Scene {
    fn new(nodes: impl IntoIterator<Item = EdgeNode>) -> Self {
        let world = World {
            models: vec![Arc::new(model())],
            services: vec![Arc::new(service())],
            nodes: nodes.into_iter().map(Arc::new).collect(),
            identity: Identity {
                incarnation: "i".to_owned(),
                key_salt: "s".to_owned(),
            },
            ..World::default()
        };
        Self {
            world: world.sorted(),
            limits: Limits::NONE,
            moved: Ledger::default(),
        }
    }

    fn service(&mut self) -> &mut LLMService {
        Arc::make_mut(&mut self.world.services[0])
    }

    fn node(&mut self, name: &str) -> &mut EdgeNode {
        let node = self
            .world
            .nodes
            .iter_mut()
            .find(|node| node.name_any() == name)
            .expect("the node exists");
        Arc::make_mut(node)
    }

    fn solve(&self) -> (Snapshot, Solution) {
        let solve =
            |snapshot: &Snapshot| manager::solve(&snapshot.problem).expect("a snapshot is a valid question");
        let snapshot = Snapshot::take(&self.world, Options::default());
        let (mut snapshot, mut solution) = (snapshot.clone(), solve(&snapshot));
        if let Some(again) = stay::ask_again(&self.world, &snapshot, &solution) {
            (solution, snapshot) = (solve(&again), again);
        }
        let mut moved = self.moved;
        moved.pay(&self.limits, &self.world);
        if let Some(again) = moved.ask_again(&self.limits, &self.world, &snapshot, &solution) {
            (solution, snapshot) = (solve(&again), again);
        }
        (snapshot, solution)
    }

    /// What the loss of a node would leave of the services that ask.
    fn foresee(&self) -> Foreseen {
        let (snapshot, solution) = self.solve();
        let asked = plan::standby::asked(&self.world, &snapshot);
        let foreseen = plan::standby::foresee(&snapshot, &solution, &asked, &Budget::default());
        foreseen.expect("a snapshot is a valid question")
    }

    fn plan_with(&self, foreseen: &Foreseen) -> Plan<Proposed> {
        let (snapshot, solution) = self.solve();
        let plan = Plan::propose(&self.world, &snapshot, &solution);
        assert_eq!(lint::lint(&self.world, &plan), []);
        for placement in &plan.placements {
            let why = &placement.spec.explanation;
            let (objective, bound) = (why.objective_microseconds, why.lower_bound_microseconds);
            let gap = (objective - bound) * 1_000_000 / objective.max(1);
            let rounding = 2_000_000 / objective.max(1) + 1;
            assert!((gap - why.gap_parts_per_million).abs() <= rounding, "{why:?}");
        }
        plan.with_contingencies(&snapshot, &solution, foreseen)
    }

    fn plan(&self) -> Plan<Proposed> {
        self.plan_with(&self.foresee())
    }

    /// One round as the manager applies it. Returns whether anything was written.
    fn round(&mut self) -> (Plan<Proposed>, bool) {
        let plan = self.plan();
        self.moved.pay(&self.limits, &self.world);
        let (snapshot, solution) = self.solve();
        self.moved.enter(&self.world, &snapshot, &solution, &plan);
        let before = self.written();
        let mut placements = vec![];
        for planned in &plan.placements {
            let mut placement = planned.existing.as_deref().cloned().unwrap_or_else(|| {
                let mut placement = Placement::new(&planned.name, planned.spec.clone());
                placement.metadata.namespace = Some(planned.service.namespace.clone());
                placement.metadata.creation_timestamp = self.world.at.map(Time);
                placement
            });
            let known = placement.status.take().unwrap_or_default();
            let now = self.world.at.unwrap_or_default();
            placement.status = Some(PlacementStatus {
                phase: planned.phase,
                accuracy: status::of_placement(&plan, planned, now).accuracy,
                ..known
            });
            placements.push(Arc::new(placement));
        }
        self.world.placements = placements;
        for (name, corrections) in &plan.corrections {
            let status = self.node(name).status.as_mut().expect("a node that was observed");
            status.corrections.clone_from(corrections);
        }
        let known = std::mem::take(&mut self.world.stages);
        self.world.stages = plan
            .stages
            .iter()
            .map(|(name, spec)| {
                let existing = known.iter().find(|stage| stage.name_any() == *name).cloned();
                existing.unwrap_or_else(|| Arc::new(Stage::new(name, spec.clone())))
            })
            .collect();
        let known = std::mem::take(&mut self.world.route_tables);
        self.world.route_tables = plan
            .route_tables
            .iter()
            .map(|(name, spec)| {
                let mut table = RouteTable::new(name, spec.clone());
                let existing = known.iter().find(|table| table.name_any() == *name);
                table.status = existing.and_then(|existing| existing.status.clone());
                Arc::new(table)
            })
            .collect();
        self.world = std::mem::take(&mut self.world).sorted();
        let changed = before != self.written();
        (plan, changed)
    }

    fn written(&self) -> String {
        format!(
            "{:?} {:?} {:?}",
            self.world.placements, self.world.stages, self.world.route_tables
        )
    }

    /// Agents load what they are told to and have memory for, and acknowledge their hops; those on lost nodes do nothing.
    fn agents(&mut self) {
        let lost = self.world.lost.clone();
        let mut free: BTreeMap<String, i64> = BTreeMap::new();
        for node in &self.world.nodes {
            let device = &node.status.as_ref().expect("a node that reports").devices[0];
            free.insert(node.name_any(), device.memory_bytes - device.overhead_bytes);
        }
        let is_ready = |stage: &Stage| {
            let status = stage.status.as_ref();
            status.is_some_and(|status| status.phase == StagePhase::Ready)
        };
        let needed = |stage: &Stage| (stage.spec.node_name.clone(), stage.spec.memory.total_bytes);
        for stage in self.world.stages.iter().filter(|stage| is_ready(stage)) {
            let (node, bytes) = needed(stage);
            *free.get_mut(&node).expect("the node of a stage") -= bytes;
        }
        for stage in &mut self.world.stages {
            let (node, bytes) = needed(stage);
            if is_ready(stage) || lost.contains_key(&node) {
                continue;
            }
            let free = free.get_mut(&node).expect("the node of a stage");
            let phase = if bytes <= *free {
                *free -= bytes;
                StagePhase::Ready
            } else {
                StagePhase::Pending
            };
            Arc::make_mut(stage).status = Some(StageStatus {
                phase,
                ..StageStatus::default()
            });
        }
        for table in &mut self.world.route_tables {
            if lost.contains_key(&table.name_any()) {
                continue;
            }
            let hops = table.spec.hops.iter().map(|hop| HopStatus {
                pipeline: hop.pipeline.clone(),
                revision: hop.revision,
                ordinal: hop.ordinal,
                phase: if hop.admits {
                    HopPhase::Ready
                } else {
                    HopPhase::Drained
                },
                ..HopStatus::default()
            });
            let status = RouteTableStatus {
                hops: hops.collect(),
                ..RouteTableStatus::default()
            };
            Arc::make_mut(table).status = Some(status);
        }
    }

    /// Rounds and agents in turn until nothing is written any more.
    fn settle(&mut self) -> Plan<Proposed> {
        for _ in 0..12 {
            let (plan, changed) = self.round();
            self.agents();
            if !changed {
                return plan;
            }
        }
        panic!("twelve rounds did not settle the plan");
    }

    /// The pipeline that serves when nothing changes any more.
    fn serving_after_settling(&mut self) -> String {
        self.settle();
        self.serving().expect("a pipeline that serves")
    }

    fn serving(&self) -> Option<String> {
        let name = ServiceName {
            namespace: "default".to_owned(),
            name: "chat".to_owned(),
        };
        self.plan()
            .serving(&name)
            .map(|placement| manager::plan::decision::pipeline_line(&placement.spec))
    }

    fn targets(&self) -> usize {
        self.world
            .route_tables
            .iter()
            .map(|table| table.spec.ingress[0].targets.len())
            .sum()
    }
}

fn name() -> ServiceName {
    ServiceName {
        namespace: "default".to_owned(),
        name: "chat".to_owned(),
    }
}

fn condition(world: &World, plan: &Plan<Proposed>, kind: &str) -> (String, String) {
    let status = status::of_service(world, plan, &world.services[0], k8s_now());
    let condition = status
        .conditions
        .into_iter()
        .find(|condition| condition.type_ == kind)
        .expect("a condition");
    (condition.status, condition.reason)
}

fn k8s_now() -> manager::world::Now {
    manager::world::Now::UNIX_EPOCH
}

#[test]
fn a_model_that_fits_one_node_is_not_split() {
    let mut scene = Scene::new([node("a", 400, 900), node("b", 400, 800)]);
    scene.settle();
    assert_eq!(scene.serving().as_deref(), Some("b[0, 30)"));
}

#[test]
fn each_alternative_is_told_once() {
    // The runner-up is split, and thereby the best of another mode than the choice.
    let mut scene = Scene::new([node("a", 400, 900), node("b", 400, 800)]);
    scene.settle();
    let placement = scene.world.placements.first().expect("a decision");
    let told = &placement.spec.explanation.alternatives;
    assert!(told[0].why_not.starts_with("the runner-up"), "{told:?}");
    let same = told.iter().filter(|other| other.pipeline == told[0].pipeline);
    assert_eq!(same.count(), 1, "{told:?}");
}

#[test]
fn a_model_that_fits_no_node_is_split_over_two() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800), node("c", 30, 100)]);
    scene.settle();
    let serving = scene.serving().expect("a pipeline");
    assert!(serving.contains("a[") && serving.contains("b["), "{serving}");
    assert_eq!(scene.targets(), 3, "each router has a target");
}

#[test]
fn the_figures_for_prometheus_are_those_of_the_plan() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800), node("c", 1, 900)]);
    scene.settle();
    scene.world.lost.insert("c".to_owned(), Loss::LeaseExpired);
    let plan = scene.plan();
    let figures = figures::of(&scene.world, &plan);
    let values = |family: Family| -> Vec<(Vec<&str>, f64)> {
        let own = figures.iter().filter(|figure| figure.family == family);
        own.map(|figure| (figure.labels.iter().map(String::as_str).collect(), figure.value))
            .collect()
    };
    for family in [Family::ServiceFeasible, Family::ServiceReady] {
        assert_eq!(values(family), [(vec!["default/chat"], 1.0)]);
    }
    assert_eq!(
        values(Family::NodeReachable),
        [(vec!["a"], 1.0), (vec!["b"], 1.0), (vec!["c"], 0.0)]
    );
    let layers = values(Family::StageLayers);
    assert_eq!(layers.iter().map(|(_, layers)| layers).sum::<f64>(), 30.0);
    let pipeline = scene.serving().expect("a pipeline");
    for (labels, layers) in &layers {
        assert_eq!((labels[0], labels.len()), ("default/chat", 3));
        assert!(
            *layers > 0.0 && pipeline.contains(&format!("{}[", labels[2])),
            "{labels:?}"
        );
    }
    let predicted = values(Family::PredictedPerToken)[0].1;
    let parts = [Family::StageDecode, Family::StageHop]
        .map(|family| values(family).iter().map(|(_, seconds)| seconds).sum::<f64>());
    assert!(
        predicted > 0.0 && (predicted - parts[0] - parts[1]).abs() < 0.05 * predicted,
        "{predicted} s per token, stages take {} s and hops {} s",
        parts[0],
        parts[1]
    );
}

#[test]
fn requests_enter_only_when_every_hop_is_ready() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800)]);
    let (plan, _) = scene.round();
    assert_eq!(plan.placements[0].phase, PlacementPhase::Proposed);
    assert_eq!(scene.targets(), 0);
    let (plan, _) = scene.round();
    assert_eq!(
        condition(&scene.world, &plan, "Ready"),
        ("False".into(), "Loading".into())
    );
    assert_eq!(scene.targets(), 0);
    scene.agents();
    let (plan, _) = scene.round();
    assert_eq!(
        condition(&scene.world, &plan, "Ready"),
        ("True".into(), "AsDesired".into())
    );
    assert_eq!(scene.targets(), 2);
}

#[test]
fn a_step_of_loading_writes_no_route_table() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800)]);
    scene.round();
    let (before, _) = scene.round();
    let stage = Arc::make_mut(&mut scene.world.stages[0]);
    stage.status = Some(StageStatus {
        phase: StagePhase::Loading,
        ..StageStatus::default()
    });
    assert_eq!(scene.plan().route_tables, before.route_tables);
    scene.agents();
    assert_ne!(scene.plan().route_tables, before.route_tables);
}

#[test]
fn a_settled_world_is_left_alone() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800)]);
    scene.settle();
    for _ in 0..3 {
        assert!(!scene.round().1);
        scene.agents();
    }
}

#[test]
fn a_lost_node_is_replaced_and_the_dead_pipeline_drains() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800), node("c", 120, 850)]);
    scene.settle();
    let before = scene.serving().expect("a pipeline");
    let lost = before.split('[').next().expect("a node").to_owned();
    scene.world.lost.insert(lost.clone(), Loss::PeersReport);

    let (plan, _) = scene.round();
    assert_eq!(
        condition(&scene.world, &plan, "Ready"),
        ("False".into(), "StageLost".into())
    );
    assert_eq!(scene.targets(), 0, "nothing enters a dead pipeline");
    scene.agents();

    let plan = scene.settle();
    let after = scene.serving().expect("a repaired pipeline");
    assert!(!after.contains(&format!("{lost}[")), "{after}");
    assert_eq!(plan.placements.len(), 1, "the dead placement is gone");
    assert_eq!(condition(&scene.world, &plan, "Ready").0, "True");
    let revision = plan.placements[0].spec.pipelines[0].revision;
    assert!(
        revision > 1,
        "a new wiring has a new revision, so that old frames are refused: {revision}"
    );
}

#[test]
fn a_loss_that_nothing_can_replace_is_told_and_heals_when_the_node_returns() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800)]);
    scene.settle();
    scene.world.lost.insert("b".to_owned(), Loss::LeaseExpired);
    let plan = scene.settle();
    assert!(matches!(plan.services[&name()].verdict, Verdict::Infeasible(..)));
    assert_eq!(
        condition(&scene.world, &plan, "Feasible"),
        ("False".into(), "Infeasible".into())
    );
    assert_eq!(scene.serving(), None);
    scene.world.lost.clear();
    scene.settle();
    assert!(scene.serving().is_some());
}

#[test]
fn a_better_node_takes_over_without_a_pause() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    scene.settle();
    scene.world.nodes.push(Arc::new(node("b", 400, 100)));
    let mut seen = vec![];
    for _ in 0..8 {
        scene.round();
        assert!(
            scene.world.route_tables[0].spec.ingress[0].targets.len() == 1,
            "a target at every moment"
        );
        seen.push(
            scene.world.route_tables[0].spec.ingress[0].targets[0]
                .head
                .clone(),
        );
        scene.agents();
    }
    assert_eq!((seen[0].as_str(), seen[7].as_str()), ("a", "b"));
    assert_eq!(scene.world.placements.len(), 1, "the old one has drained");
}

#[test]
fn a_service_that_has_moved_stays_for_a_while_unless_another_place_is_far_better() {
    let head = |scene: &Scene| {
        let pipeline = scene.serving().expect("the service has a place");
        pipeline.chars().next().unwrap_or_default().to_string()
    };
    let second = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).expect("a time");
    let move_to_b = |scene: &mut Scene| {
        scene.settle();
        scene.world.lost.insert("a".to_owned(), Loss::LeaseExpired);
        scene.settle();
        assert_eq!(head(scene), "b", "the first is lost");
        for placement in &mut scene.world.placements {
            Arc::make_mut(placement).metadata.creation_timestamp = Some(Time(second(0)));
        }
        scene.world.lost.clear();
    };
    // Microseconds of a layer on the node that returns and on the other, and who serves after a moment and after an hour.
    for (returned, other, at_once, in_the_end) in
        [(630, 900, "b", "a"), (180, 900, "a", "a"), (870, 900, "b", "b")]
    {
        let mut scene = Scene::new([node("a", 400, returned), node("b", 400, other)]);
        move_to_b(&mut scene);
        for (seconds, expected) in [(1, at_once), (3_600, in_the_end)] {
            scene.world.settling = scene.world.settling_at(second(seconds));
            scene.settle();
            let after = format!("{returned} against {other} after {seconds} s");
            assert_eq!(head(&scene), expected, "{after}");
        }
    }
    // The first decision of all was made when few nodes were known: nothing holds it.
    let mut scene = Scene::new([node("a", 400, 100)]);
    scene.settle();
    for placement in &mut scene.world.placements {
        Arc::make_mut(placement).metadata.creation_timestamp = Some(Time(second(0)));
    }
    assert!(scene.world.settling_at(second(1)).is_empty());
}

#[test]
fn agents_know_those_they_work_with_and_in_a_large_fleet_few_others() {
    for (fleet, few) in [(5, 4), (64, 63), (300, 20)] {
        let name = |index: usize| format!("n{index:03}");
        let mut scene = Scene::new((0..fleet).map(|index| node(&name(index), 400, 900)));
        let link: EdgeLinkSpec =
            spec(json!({ "from": name(1), "to": name(fleet - 2), "rateBitsPerSecond": "1G" }));
        scene.world.links.push(Arc::new(EdgeLink::new("far", link)));
        scene.settle();
        let tables = &scene.world.route_tables;
        assert_eq!(tables.len(), fleet);
        let peers: BTreeMap<String, BTreeMap<String, bool>> = tables
            .iter()
            .map(|table| {
                let peers = table.spec.peers.iter();
                let dials = peers.map(|peer| (peer.node.clone(), peer.dial)).collect();
                (table.name_any(), dials)
            })
            .collect();
        for (node, known) in &peers {
            for (other, dials) in known {
                assert_eq!(
                    peers[other].get(node),
                    Some(&!dials),
                    "{node} and {other}, one of which dials"
                );
            }
            assert!(known.len() >= 4, "{node} has neighbours");
        }
        assert!(
            peers[&name(1)].contains_key(&name(fleet - 2)),
            "a link of {fleet} nodes joins them"
        );
        let head = &tables[0].spec.ingress[0].targets[0].head;
        assert_eq!(peers[head].len(), fleet - 1, "requests may enter anywhere");
        let others = peers.iter().filter(|(node, _)| *node != head);
        let most = others.map(|(_, known)| known.len()).max();
        assert!(most <= Some(few), "{most:?} of {fleet}");
    }
}

#[test]
fn without_memory_for_both_the_update_policy_decides() {
    for (policy, expected) in [
        (UpdatePolicy::MakeBeforeBreak, 1024),
        (UpdatePolicy::AllowPause, 2048),
    ] {
        let mut scene = Scene::new([node("a", 260, 900)]);
        scene.service().spec.update_policy = policy;
        scene.settle();
        scene.service().spec.context_tokens = 2048;
        let plan = scene.settle();
        assert_eq!(
            plan.serving(&name())
                .map(|placement| placement.spec.context_tokens),
            Some(expected)
        );
        assert_eq!(
            plan.services[&name()].blocked.is_some(),
            policy == UpdatePolicy::MakeBeforeBreak
        );
    }
}

fn cordon(scene: &mut Scene, node: &str) {
    scene
        .world
        .withheld
        .insert(node.to_owned(), Withheld::NodeCordoned);
}

fn schedulable(scene: &Scene, plan: &Plan<Proposed>, node: &str) -> (String, String, String) {
    let node = scene.world.node(node).expect("the node exists");
    let conditions = status::of_node(&scene.world, plan, node, k8s_now());
    let condition = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Schedulable");
    let condition = condition.expect("a condition");
    (condition.status, condition.reason, condition.message)
}

#[test]
fn services_leave_a_cordoned_node_without_a_pause_and_may_come_back() {
    let mut scene = Scene::new([node("a", 400, 900), node("b", 400, 100)]);
    scene.settle();
    cordon(&mut scene, "b");
    let mut heads = vec![];
    for _ in 0..8 {
        let (plan, _) = scene.round();
        let targets = &scene.world.route_tables[0].spec.ingress[0].targets;
        assert_eq!(targets.len(), 1, "a target at every moment");
        heads.push(targets[0].head.clone());
        let (state, reason, _) = schedulable(&scene, &plan, "b");
        assert_eq!((state.as_str(), reason.as_str()), ("False", "NodeCordoned"));
        scene.agents();
    }
    assert_eq!((heads[0].as_str(), heads[7].as_str()), ("b", "a"));
    let plan = scene.settle();
    let (_, _, message) = schedulable(&scene, &plan, "b");
    assert_eq!(message, "its Kubernetes Node is cordoned; no service uses it");
    scene.world.withheld.clear();
    let plan = scene.settle();
    assert_eq!(schedulable(&scene, &plan, "b").0, "True");
    assert_eq!(
        scene.serving().as_deref(),
        Some("b[0, 30)"),
        "b is nine times as fast"
    );
}

#[test]
fn a_service_that_has_room_nowhere_else_stays_on_a_cordoned_node_and_says_so() {
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800), node("c", 30, 100)]);
    let before = scene
        .settle()
        .serving(&name())
        .map(|placement| placement.name.clone());
    cordon(&mut scene, "a");
    let (plan, changed) = scene.round();
    assert!(!changed, "nothing is written but what is said");
    assert_eq!(
        plan.serving(&name()).map(|placement| placement.name.clone()),
        before
    );
    assert_eq!(condition(&scene.world, &plan, "Ready").0, "True");
    let blocked = plan.services[&name()].blocked.clone().expect("a reason");
    assert!(blocked.contains("a: it takes no new stages"), "{blocked}");
    let (_, _, message) = schedulable(&scene, &plan, "a");
    assert!(message.ends_with("still used by default/chat"), "{message}");
    scene.world.nodes.push(Arc::new(node("d", 400, 900)));
    scene.world = std::mem::take(&mut scene.world).sorted();
    scene.settle();
    let after = scene.serving().expect("a pipeline");
    assert!(
        !after.contains("a["),
        "it leaves as soon as there is room: {after}"
    );
}

#[test]
fn a_service_that_may_not_be_where_it_is_does_not_stay() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    scene.settle();
    cordon(&mut scene, "a");
    let privacy = &mut scene.service().spec.privacy;
    privacy.level = PrivacyLevel::TrustedText;
    privacy.trust_domains = vec!["hospital".to_owned()];
    let plan = scene.settle();
    assert!(matches!(plan.services[&name()].verdict, Verdict::Infeasible(..)));
    assert_eq!(scene.serving(), None);
}

#[test]
fn a_node_whose_limit_was_lowered_is_left_for_another_without_a_pause() {
    let mut scene = Scene::new([node("a", 400, 100), node("b", 400, 900)]);
    scene.settle();
    assert_eq!(scene.serving().as_deref(), Some("a[0, 30)"));
    scene.node("a").status.as_mut().unwrap().devices[0].memory_bytes = 20 * MIB;
    for _ in 0..8 {
        scene.round();
        assert_eq!(
            scene.targets(),
            2,
            "each node's router has a target at every moment"
        );
        scene.agents();
    }
    assert_eq!(scene.serving().as_deref(), Some("b[0, 30)"));
    assert_eq!(scene.world.placements.len(), 1, "the old one has drained");
}

#[test]
fn a_node_that_must_hold_less_of_the_same_model_pauses_rather_than_waits_for_ever() {
    let mut scene = Scene::new([node("a", 400, 100), node("b", 120, 900)]);
    scene.service().spec.update_policy = UpdatePolicy::MakeBeforeBreak;
    scene.settle();
    assert_eq!(scene.serving().as_deref(), Some("a[0, 30)"));
    scene.node("a").status.as_mut().unwrap().devices[0].memory_bytes = 130 * MIB;
    let plan = scene.settle();
    assert_eq!(plan.services[&name()].blocked, None);
    let serving = plan.serving(&name()).expect("it serves again");
    assert_eq!(serving.spec.pipelines[0].stages.len(), 2, "over both nodes");
}

#[test]
fn a_pipeline_that_cannot_be_loaded_again_makes_room_on_its_other_nodes_too() {
    let mut scene = Scene::new([node("a", 72, 900), node("b", 120, 800)]);
    scene.service().spec.update_policy = UpdatePolicy::MakeBeforeBreak;
    let plan = scene.settle();
    let serving = plan.serving(&name()).expect("it serves over both nodes");
    let stages = &serving.spec.pipelines[0].stages;
    let stage = stages.iter().find(|stage| stage.node == "b").expect("a stage");
    // The agent of b comes back, and what is its own leaves a little less than its stage needs.
    let device = &mut scene.node("b").status.as_mut().unwrap().devices[0];
    device.memory_bytes = device.overhead_bytes + stage.memory.total_bytes - 1;
    let lost = scene
        .world
        .stages
        .iter_mut()
        .find(|stage| stage.spec.node_name == "b");
    Arc::make_mut(lost.expect("its stage")).status = None;
    let plan = scene.settle();
    assert_eq!(plan.services[&name()].blocked, None);
    assert!(
        plan.serving(&name())
            .is_some_and(|placement| placement.progress.is_ready())
    );
}

#[test]
fn private_text_stays_on_trusted_nodes() {
    let mut scene = Scene::new([node("fast", 400, 100), node("trusted", 400, 900)]);
    scene.node("trusted").spec.trust_domain = Some("hospital".to_owned());
    let privacy = &mut scene.service().spec.privacy;
    privacy.level = PrivacyLevel::TrustedText;
    privacy.trust_domains = vec!["hospital".to_owned()];
    scene.settle();
    assert_eq!(scene.serving().as_deref(), Some("trusted[0, 30)"));

    // Whoever takes a request in reads it.
    let takes_requests = |scene: &Scene| -> Vec<String> {
        let tables = scene.world.route_tables.iter();
        let tables = tables.filter(|table| !table.spec.ingress.is_empty());
        tables.map(|table| table.name_any()).collect()
    };
    assert_eq!(takes_requests(&scene), ["trusted"]);
    let status =
        |scene: &Scene| status::of_service(&scene.world, &scene.plan(), &scene.world.services[0], k8s_now());
    assert_eq!(status(&scene).endpoints, ["http://trusted:8080"]);
    scene.service().spec.ingress_nodes = vec!["fast".to_owned()];
    scene.settle();
    assert_eq!(takes_requests(&scene), [""; 0]);
    assert_eq!(status(&scene).endpoints, [""; 0]);
}

#[test]
fn scaling_to_zero_drains_and_scaling_up_serves_again() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    scene.settle();
    scene.service().spec.replicas = 0;
    let plan = scene.settle();
    assert!(plan.placements.is_empty() && plan.stages.is_empty());
    assert_eq!(
        condition(&scene.world, &plan, "Ready"),
        ("False".into(), "ScaledToZero".into())
    );
    scene.service().spec.replicas = 1;
    scene.settle();
    assert!(scene.serving().is_some());
}

#[test]
fn a_deleted_service_takes_everything_with_it_once_drained() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    scene.settle();
    scene.world.services.clear();
    let (plan, _) = scene.round();
    assert_eq!(plan.placements[0].phase, PlacementPhase::Draining);
    scene.agents();
    let plan = scene.settle();
    assert!(plan.placements.is_empty() && plan.stages.is_empty());
}

#[test]
fn a_new_service_whose_model_is_being_timed_is_not_infeasible() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    let created = Timestamp::from_second(1_000_000).expect("a time");
    scene.service().metadata.creation_timestamp = Some(Time(created));
    let status = scene.node("a").status.as_mut().expect("a status");
    let benchmarks = std::mem::take(&mut status.devices[0].benchmarks);
    let feasible = |scene: &mut Scene, seconds: i64| {
        scene.world.at = Some(Timestamp::from_second(1_000_000 + seconds).expect("a time"));
        let plan = scene.settle();
        condition(&scene.world, &plan, "Feasible")
    };
    let said = |state: &str, reason: &str| (state.to_owned(), reason.to_owned());
    assert_eq!(feasible(&mut scene, 5), said("Unknown", "ModelNotReady"));
    assert_eq!(feasible(&mut scene, 60), said("False", "Infeasible"));
    let status = scene.node("a").status.as_mut().expect("a status");
    status.devices[0].benchmarks = benchmarks;
    assert_eq!(feasible(&mut scene, 65), said("True", "AsDesired"));
}

#[test]
fn an_unready_model_is_waited_for() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    Arc::make_mut(&mut scene.world.models[0]).status = None;
    let plan = scene.settle();
    assert_eq!(
        condition(&scene.world, &plan, "Ready"),
        ("False".into(), "ModelNotReady".into())
    );
}

#[test]
fn a_slow_link_keeps_the_model_in_one_place() {
    let link = |rate: &str| {
        let link: EdgeLinkSpec = spec(json!({
            "from": "a", "to": "b", "rateBitsPerSecond": rate, "latencyMicroseconds": 20_000,
        }));
        EdgeLink::new("a-b", link)
    };
    let mut scene = Scene::new([node("a", 120, 900), node("b", 120, 800), node("c", 400, 2000)]);
    scene.world.links = vec![Arc::new(link("1M"))];
    for name in ["a", "b", "c"] {
        scene.node(name).spec.site = Some(name.to_owned());
    }
    scene.settle();
    assert_eq!(scene.serving().as_deref(), Some("c[0, 30)"));
}

#[test]
fn a_key_reaches_routers_as_a_hash_with_the_services_it_opens() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    let user: EdgeUserSpec = spec(json!({
        "pseudonym": "p", "apiKeySecret": { "name": "s" }, "demands": [{ "service": "chat" }],
    }));
    let mut user = EdgeUser::new("u", user);
    user.metadata.namespace = Some("default".to_owned());
    scene.world.users = vec![Arc::new(user)];
    let hash = crds::api_key::keyed_hash("s", "secret");
    scene
        .world
        .key_hashes
        .insert(("default".to_owned(), "u".to_owned()), hash.clone());
    scene.settle();
    let keys = &scene.world.route_tables[0].spec.keys;
    assert_eq!(
        (keys[0].hash.as_str(), keys[0].services.as_slice()),
        (hash.as_str(), &["default/chat".to_owned()][..])
    );
    assert!(
        !serde_json::to_string(&scene.world.route_tables[0].spec)
            .unwrap()
            .contains("secret\"")
    );
}

/// Lets the head of the only pipeline report what it observed.
fn observe(scene: &mut Scene, observed: ObservedService) {
    let table = Arc::make_mut(&mut scene.world.route_tables[0]);
    table.status.get_or_insert_default().observed = vec![observed];
}

fn observed(prompt_tokens: i32, first_token_milliseconds: &[(i32, i64)]) -> ObservedService {
    let quantile = |&(percentile, milliseconds): &(i32, i64)| ObservedQuantile {
        percentile,
        time_to_first_token_microseconds: milliseconds * 1000,
        time_per_output_token_microseconds: 30_000,
    };
    ObservedService {
        service: "default/chat".to_owned(),
        requests: 9,
        prompt_tokens: Some(prompt_tokens),
        time_to_first_token_microseconds: 400_000,
        time_per_output_token_microseconds: 30_000,
        quantiles: first_token_milliseconds.iter().map(quantile).collect(),
        ..ObservedService::default()
    }
}

#[test]
fn what_was_observed_stands_beside_a_prediction_for_prompts_of_that_length() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    scene.settle();
    observe(&mut scene, observed(64, &[]));
    let (plan, written) = scene.round();
    assert!(!written, "what is observed changes no decision");
    let status = status::of_service(&scene.world, &plan, &scene.world.services[0], k8s_now());
    assert_eq!(status.observed.unwrap().prompt_tokens, Some(64));
    let predicted = status.predicted_for_observed.expect("a prediction");
    // 30 layers with 64 rows, and the head for one.
    assert_eq!(
        (
            predicted.prompt_tokens,
            predicted.time_to_first_token_microseconds,
            predicted.time_per_output_token_microseconds
        ),
        (Some(64), 30 * 900 * 16 + 3_600, 30 * 900 + 3_600)
    );
    let typical = status.predicted.expect("a prediction");
    assert_eq!(typical.prompt_tokens, Some(128));
    assert!(typical.time_to_first_token_microseconds > predicted.time_to_first_token_microseconds);
}

#[test]
fn the_objective_is_judged_at_the_percentile_that_it_names() {
    let mut scene = Scene::new([node("a", 400, 900)]);
    scene.service().spec.slo.time_to_first_token_milliseconds = Some(500);
    scene.settle();
    let judged = |scene: &mut Scene, percentile| {
        scene.service().spec.slo.percentile = percentile;
        let plan = scene.plan();
        condition(&scene.world, &plan, "SLOMet")
    };
    assert_eq!(judged(&mut scene, 95), ("Unknown".into(), "NoTraffic".into()));

    observe(
        &mut scene,
        observed(64, &[(50, 100), (90, 400), (95, 600), (100, 900)]),
    );
    let met = || ("True".to_owned(), "AsDesired".to_owned());
    let missed = || ("False".to_owned(), "Missed".to_owned());
    for (percentile, expected) in [(50, met()), (90, met()), (95, missed()), (100, missed())] {
        assert_eq!(judged(&mut scene, percentile), expected, "{percentile}");
    }
    assert_eq!(judged(&mut scene, 91), missed(), "the next one that is reported");

    observe(&mut scene, observed(64, &[(50, 100)]));
    assert_eq!(
        judged(&mut scene, 95),
        ("Unknown".into(), "NotObservedYet".into()),
        "a median says nothing about a tail"
    );
}
