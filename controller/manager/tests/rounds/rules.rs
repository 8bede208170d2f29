//! Where services may be: labels, taints, other services; and that the linter sees what the planner would have to.

use super::*;
use manager::plan::wording::Wording;
use solver::units::ServiceOrd;

fn name() -> ServiceName {
    ServiceName {
        namespace: "default".to_owned(),
        name: "chat".to_owned(),
    }
}

fn labelled(mut node: EdgeNode, labels: &[(&str, &str)]) -> EdgeNode {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    node.metadata.labels = Some(labels.collect());
    node
}

fn tainted(mut node: EdgeNode, effect: &str) -> EdgeNode {
    node.spec.taints = vec![spec(json!({ "key": "gpu", "value": "yes", "effect": effect }))];
    node
}

/// A fast node and a slow one.
fn two(fast: impl FnOnce(EdgeNode) -> EdgeNode) -> Scene {
    Scene::new([fast(node("fast", 500, 300)), node("slow", 500, 900)])
}

fn change(scene: &mut Scene, of: &str, change: impl FnOnce(&mut LLMService)) {
    let mut services = scene.world.services.iter_mut();
    let service = services
        .find(|service| service.name_any() == of)
        .expect("it is there");
    change(Arc::make_mut(service));
}

/// Asks for what `wanted` says of a service's spec.
fn ask(scene: &mut Scene, wanted: serde_json::Value) {
    change(scene, "chat", |service| {
        let mut whole = serde_json::to_value(&service.spec).expect("plain data");
        let fields = wanted.as_object().expect("fields").clone();
        whole.as_object_mut().expect("an object").extend(fields);
        service.spec = spec(whole);
    });
}

fn propose(scene: &Scene) -> (Snapshot, Solution, Plan<Proposed>) {
    let snapshot = Snapshot::take(&scene.world, Options::default());
    let solution = manager::solve(&snapshot.problem).expect("a valid question");
    let plan = Plan::propose(&scene.world, &snapshot, &solution);
    (snapshot, solution, plan)
}

/// The nodes of a service's only pipeline in the plan, which the linter has nothing against.
fn nodes_of(scene: &Scene, service: &str) -> Vec<String> {
    let (_, _, plan) = propose(scene);
    assert_eq!(lint::lint(&scene.world, &plan), []);
    let mut placements = plan.placements.iter();
    let placement = placements.find(|placement| placement.service.name == service);
    let stages = placement
        .iter()
        .flat_map(|placement| &placement.spec.pipelines[0].stages);
    stages.map(|stage| stage.node.clone()).collect()
}

/// Why a node has no part in the pipeline of `chat`.
fn why_not(scene: &Scene, node: &str) -> String {
    let (snapshot, solution, _) = propose(scene);
    let node = snapshot.node_ord(node).expect("a node");
    let budget = Budget::default();
    let answer = solver::why_not(&snapshot.problem, &solution, ServiceOrd(0), node, &budget);
    Wording(&snapshot).why_not(node, &answer)
}

#[test]
fn the_fast_node_is_chosen_where_nothing_is_said() {
    assert_eq!(nodes_of(&two(|node| node), "chat"), ["fast"]);
}

#[test]
fn a_taint_keeps_services_away_that_do_not_tolerate_it() {
    for effect in ["NoSchedule", "NoExecute"] {
        let mut scene = two(|node| tainted(node, effect));
        assert_eq!(nodes_of(&scene, "chat"), ["slow"]);
        let why = why_not(&scene, "fast");
        assert_eq!(
            why,
            format!("fast: its taint gpu=yes:{effect} is tolerated by none of spec.tolerations")
        );
        let tolerated = [
            (json!([{ "key": "gpu", "value": "yes" }]), true),
            (json!([{ "key": "gpu", "operator": "Exists" }]), true),
            (json!([{ "operator": "Exists" }]), true),
            (json!([{ "key": "gpu", "value": "yes", "effect": effect }]), true),
            (json!([{ "key": "gpu" }]), false),
            (json!([{ "key": "gpu", "value": "no" }]), false),
            (json!([{ "key": "cpu", "operator": "Exists" }]), false),
            (
                json!([{ "operator": "Exists", "effect": "PreferNoSchedule" }]),
                false,
            ),
        ];
        for (tolerations, expected) in tolerated {
            ask(&mut scene, json!({ "tolerations": tolerations }));
            let chosen = nodes_of(&scene, "chat");
            assert_eq!(chosen == ["fast"], expected, "{tolerations}");
        }
    }
}

#[test]
fn a_taint_that_prefers_services_elsewhere_gives_way_to_what_is_far_better() {
    let scene = two(|node| tainted(node, "PreferNoSchedule"));
    let (snapshot, ..) = propose(&scene);
    let aversions = &snapshot.problem.services[0].aversions;
    assert_eq!(aversions.len(), 1);
    assert_eq!(aversions[0].cost, solver::units::Nanos::from_millis(1_000));
    // 30 layers of 128 tokens more: far more than a second.
    assert_eq!(nodes_of(&scene, "chat"), ["fast"]);
    let equal = Scene::new([
        tainted(node("a", 500, 300), "PreferNoSchedule"),
        node("b", 500, 300),
    ]);
    assert_eq!(nodes_of(&equal, "chat"), ["b"]);
}

#[test]
fn labels_choose_nodes_and_the_rule_is_named() {
    let required = |key: &str, operator: &str, values: &[&str]| {
        let mut expression = json!({ "key": key, "operator": operator });
        if !values.is_empty() {
            expression["values"] = json!(values);
        }
        json!({ "affinity": { "nodeAffinity": { "required": [{ "matchExpressions": [expression] }] } } })
    };
    let cases = [
        (required("hall", "In", &["b", "c"]), "slow"),
        (required("hall", "In", &["a"]), "fast"),
        (required("hall", "NotIn", &["a"]), "slow"),
        (required("cold", "Exists", &[]), "slow"),
        (required("cold", "DoesNotExist", &[]), "fast"),
        (required("kubernetes.io/hostname", "In", &["slow"]), "slow"),
        (required("edgeloom.dev/tier", "NotIn", &["Device"]), "fast"),
        (json!({ "nodeSelector": { "hall": "b" } }), "slow"),
        (json!({ "nodeSelector": { "hall": "z" } }), ""),
    ];
    for (asked, expected) in cases {
        let mut scene = Scene::new([
            labelled(node("fast", 500, 300), &[("hall", "a")]),
            labelled(node("slow", 500, 900), &[("hall", "b"), ("cold", "")]),
        ]);
        ask(&mut scene, asked.clone());
        let chosen = nodes_of(&scene, "chat");
        let expected: Vec<&str> = expected.split(' ').filter(|name| !name.is_empty()).collect();
        assert_eq!(chosen, expected, "{asked}");
    }
    let mut scene = two(|node| node);
    ask(&mut scene, required("hall", "In", &["b"]));
    assert_eq!(
        why_not(&scene, "fast"),
        "fast: spec.affinity.nodeAffinity.required asks for hall in (b)"
    );
    let (_, _, plan) = propose(&scene);
    let verdict = &plan.services[&name()].verdict;
    let Verdict::Infeasible(why, _) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(
        why.contains("slow: spec.affinity.nodeAffinity.required asks for hall in (b)"),
        "{why}"
    );
}

#[test]
fn a_preferred_node_is_chosen_until_another_is_better_by_more() {
    let prefers = |weight: i32| {
        let preference =
            json!({ "matchExpressions": [{ "key": "hall", "operator": "In", "values": ["b"] }] });
        json!({ "affinity": { "nodeAffinity": { "preferred": [{ "weight": weight, "preference": preference }] } } })
    };
    let scene = |weight: i32| {
        let other = labelled(node("other", 500, 310), &[("hall", "b")]);
        let mut scene = Scene::new([node("fast", 500, 300), other]);
        ask(&mut scene, prefers(weight));
        scene
    };
    assert_eq!(nodes_of(&scene(100), "chat"), ["other"]);
    assert_eq!(nodes_of(&scene(1), "chat"), ["fast"]);
}

/// `chat`, and `code`, which asks as much.
fn neighbours() -> Scene {
    let mut scene = Scene::new([node("fast", 900, 300), node("slow", 900, 9_000)]);
    let mut other = service();
    other.metadata.name = Some("code".to_owned());
    other.metadata.labels = Some(BTreeMap::from([("team".to_owned(), "b".to_owned())]));
    scene.world.services.push(Arc::new(other));
    scene
}

#[test]
fn services_that_keep_apart_are_on_different_nodes() {
    let mut scene = neighbours();
    assert_eq!(nodes_of(&scene, "chat"), nodes_of(&scene, "code"));
    let apart = json!({ "affinity": { "serviceAntiAffinity": { "required": [{ "matchLabels": { "team": "b" } }] } } });
    ask(&mut scene, apart);
    let (chat, code) = (nodes_of(&scene, "chat"), nodes_of(&scene, "code"));
    assert_ne!(chat, code);
    let (snapshot, solution, _) = propose(&scene);
    let elsewhere = if chat == ["fast"] { "slow" } else { "fast" };
    let node = snapshot.node_ord(elsewhere).expect("a node");
    let budget = Budget::default();
    let answer = solver::why_not(&snapshot.problem, &solution, ServiceOrd(0), node, &budget);
    let why = Wording(&snapshot).why_not(node, &answer);
    assert!(
        why.contains("default/chat keeps away from services with team=b"),
        "{why}"
    );
    // Labels of services of other namespaces do not count.
    change(&mut scene, "code", |service| {
        service.metadata.namespace = Some("other".to_owned())
    });
    let (snapshot, ..) = propose(&scene);
    assert!(
        snapshot
            .problem
            .services
            .iter()
            .all(|service| service.carries.is_empty())
    );
}

#[test]
fn the_linter_refuses_what_breaks_a_rule() {
    let scene = neighbours();
    let (_, _, plan) = propose(&scene);
    let findings_with = |change_world: &dyn Fn(&mut Scene)| {
        let mut changed = neighbours();
        change_world(&mut changed);
        let findings = lint::lint(&changed.world, &plan);
        findings
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    let taint = |scene: &mut Scene| {
        let node = Arc::make_mut(&mut scene.world.nodes[0]);
        *node = tainted(node.clone(), "NoSchedule");
    };
    assert!(findings_with(&taint).contains("fast is not for the service: taint gpu is not tolerated"));
    let select = |scene: &mut Scene| ask(scene, json!({ "nodeSelector": { "hall": "b" } }));
    assert!(findings_with(&select).contains("fast is not for the service: nodeSelector hall"));
    let required = json!({ "affinity": { "nodeAffinity": { "required": [
        { "matchExpressions": [{ "key": "hall", "operator": "Exists" }] },
    ] } } });
    let require = |scene: &mut Scene| ask(scene, required.clone());
    assert!(findings_with(&require).contains("no required term of nodeAffinity fits"));
    let apart = json!({ "affinity": { "serviceAntiAffinity": { "required": [
        { "matchExpressions": [{ "key": "team", "operator": "In", "values": ["b"] }] },
    ] } } });
    let keep_apart = |scene: &mut Scene| ask(scene, apart.clone());
    assert!(
        findings_with(&keep_apart)
            .contains("node fast has a stage of default/code, and both are to be apart")
    );
}

#[test]
fn a_service_leaves_a_node_that_is_to_be_left_and_stays_where_it_has_nowhere_to_go() {
    for roomy in [true, false] {
        let slow = if roomy { 500 } else { 20 };
        let mut scene = Scene::new([node("fast", 500, 300), node("slow", slow, 900)]);
        scene.settle();
        let fast = Arc::make_mut(&mut scene.world.nodes[0]);
        *fast = tainted(fast.clone(), "NoSchedule");
        scene.settle();
        assert_eq!(
            scene.serving().as_deref(),
            Some("fast[0, 30)"),
            "NoSchedule is about new stages"
        );
        let fast = Arc::make_mut(&mut scene.world.nodes[0]);
        *fast = tainted(fast.clone(), "NoExecute");
        scene.settle();
        let expected = if roomy { "slow[0, 30)" } else { "fast[0, 30)" };
        assert_eq!(scene.serving().as_deref(), Some(expected));
        if !roomy {
            let (plan, _) = scene.round();
            let blocked = plan.services[&name()].blocked.clone().expect("it stays");
            assert!(
                blocked.contains("it stays on a node that it is to leave"),
                "{blocked}"
            );
            assert!(blocked.contains("its taint gpu=yes:NoExecute"), "{blocked}");
        }
    }
}

/// A fast node with so much disk, and a slow one; the weights come over the network.
fn with_disk(storage: &str) -> Scene {
    let mut scene = two(|mut node| {
        node.spec.limits.storage = Some(storage.parse().expect("a quantity"));
        node
    });
    let model = Arc::make_mut(&mut scene.world.models[0]);
    model.spec.variants[0].uri = "https://models.example/smol.gguf".to_owned();
    scene
}

#[test]
fn weights_fit_on_the_disk_or_go_elsewhere() {
    // The file has 98,362,432 bytes.
    assert_eq!(nodes_of(&with_disk("98362432"), "chat"), ["fast"]);
    let scene = with_disk("98362431");
    assert_eq!(nodes_of(&scene, "chat"), ["slow"]);
    let why = why_not(&scene, "fast");
    assert!(
        why.contains("93.8 MiB of disk are left for weights, and 93.8 MiB more are needed"),
        "{why}"
    );
    // A file that lies on the node takes nothing.
    let mut scene = with_disk("1Mi");
    let model = Arc::make_mut(&mut scene.world.models[0]);
    model.spec.variants[0].uri = "file:///models/smol.gguf".to_owned();
    assert_eq!(nodes_of(&scene, "chat"), ["fast"]);
}

#[test]
fn the_linter_counts_disks_by_itself() {
    for mode in ["OnServer", "Split"] {
        let mut scene = with_disk("2Gi");
        ask(&mut scene, json!({ "modes": [mode] }));
        let (snapshot, _, plan) = propose(&scene);
        let needed = |storage: &str| {
            let mut smaller = scene.world.clone();
            let node = Arc::make_mut(&mut smaller.nodes[0]);
            node.spec.limits.storage = Some(storage.parse().expect("a quantity"));
            lint::lint(&smaller, &plan)
        };
        // A part of a model is on disk beside the whole file.
        let part = plan.placements[0].spec.pipelines[0]
            .stages
            .iter()
            .find(|stage| stage.node == "fast");
        let part = part.expect("the fast node has a part");
        let layers = i64::from(part.end_layer - part.first_layer);
        let head = if part.end_layer == 30 { 30_081_024 } else { 0 };
        let part = if mode == "Split" {
            layers * 2_211_840 + head
        } else {
            0
        };
        let bytes = 98_362_432 + part;
        assert_eq!(needed(&bytes.to_string()), [], "{mode}");
        let finding = lint::Finding::Storage {
            node: "fast".to_owned(),
            needed: bytes,
            available: bytes - 1,
        };
        assert_eq!(needed(&(bytes - 1).to_string()), [finding], "{mode}");
        // The solver does not count less than that.
        let least = solver::units::Bytes(u64::try_from(bytes).expect("positive"));
        let mut problem = snapshot.problem.clone();
        problem.nodes[0].storage = Some(least.saturating_sub(solver::units::Bytes(1)));
        problem.nodes[1].memory = solver::units::Bytes::ZERO;
        let solution = manager::solve(&problem).expect("a valid question");
        assert!(solution.services[0].placed().is_none(), "{mode}");
    }
}
