//! The life of a release: installed, asked, upgraded, rolled back, removed.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use serde_json::{Value, json};

use crate::{
    asking::Router,
    cluster::Cluster,
    onlooker::Onlooker,
    release::{AGENT_MEMORY_MIB, NAME, NAMESPACE, OWN},
};

const QUESTION: &str = "What is the capital of France?";

/// How llama.cpp itself begins its answer, at temperature 0 and undivided, through its Python binding 0.3.36; with flash attention
/// it goes on like ours.
const ANSWER: &str = "L'Étoile, la Marseillaise, la femme";

#[tokio::test(flavor = "multi_thread")]
async fn a_release_answers_from_two_pods_is_upgraded_rolled_back_and_leaves_what_it_says() {
    let cluster = Cluster::of_this_test();
    cluster.purge();
    let url = cluster.offer_weights().await;

    let begin = Instant::now();
    cluster.install(&json!({}));
    eprintln!("helm install --wait: {:.1} s", begin.elapsed().as_secs_f64());
    cluster.serve(&url);
    cluster.wait_for_service().await;
    let router = Arc::new(Router::reach(&cluster).await);
    let answer = router.ask(QUESTION, 16).await;
    let answer = answer.unwrap_or_else(|why| panic!("{why}\n{}", cluster.story()));
    let first_token = answer.first_token.expect("there is text");
    eprintln!(
        "from helm install to the first token: {:.1} s",
        first_token.duration_since(begin).as_secs_f64()
    );
    assert!(answer.text.starts_with(ANSWER), "{answer:?}");
    assert!(nodes_of_stages(&cluster).len() >= 2, "{}", cluster.story());
    capacities_are_those_of_pods(&cluster);
    cluster.helm_test();

    let load = router.load();
    let begin = Instant::now();
    let onlooker = Onlooker::begin(&cluster).await;
    cluster.install(&json!({"controller": {"replicas": 1}, "log": {"level": "debug"}}));
    every_agent_had_its_turn(&cluster, onlooker);
    eprintln!("helm upgrade --wait: {:.1} s", begin.elapsed().as_secs_f64());
    assert_eq!(replicas(&cluster), json!(1));
    load.end_without_loss(&cluster).await;
    let again = router.ask(QUESTION, 16).await.map(|answer| answer.text);
    assert_eq!(again.as_ref(), Ok(&answer.text), "after the upgrade");

    let onlooker = Onlooker::begin(&cluster).await;
    cluster.rollback("1");
    every_agent_had_its_turn(&cluster, onlooker);
    assert_eq!(replicas(&cluster), json!(2));
    let again = router.ask(QUESTION, 16).await.map(|answer| answer.text);
    assert_eq!(again.as_ref(), Ok(&answer.text), "after the rollback");

    cluster.uninstall();
    nothing_is_left_but_what_is_kept(&cluster);
}

/// What an agent offers for layers is what its pod may hold, less what the agent needs itself.
fn capacities_are_those_of_pods(cluster: &Cluster) {
    for node in cluster.list(&["edgenodes"]) {
        let devices = node["status"]["devices"].as_array();
        let devices = devices.unwrap_or_else(|| panic!("a node tells its devices: {node:#}"));
        let bytes: i64 = devices
            .iter()
            .filter_map(|device| device["memoryBytes"].as_i64())
            .sum();
        assert!((1..AGENT_MEMORY_MIB << 20).contains(&bytes), "{node:#}");
    }
}

fn every_agent_had_its_turn(cluster: &Cluster, onlooker: Onlooker) {
    let mut turns = onlooker.turns();
    eprintln!("agents were updated in the order {turns:?}");
    turns.sort();
    let pods = cluster.pods_of("agent");
    let mut nodes: Vec<_> = pods
        .iter()
        .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(str::to_owned))
        .collect();
    nodes.sort();
    assert_eq!(turns, nodes, "each agent is replaced once");
}

/// The nodes on which layers of the model are loaded.
fn nodes_of_stages(cluster: &Cluster) -> BTreeSet<String> {
    let stages = cluster.list(&["stages"]);
    stages
        .iter()
        .filter(|stage| stage["status"]["phase"] == "Ready")
        .filter_map(|stage| stage["spec"]["nodeName"].as_str().map(str::to_owned))
        .collect()
}

fn replicas(cluster: &Cluster) -> Value {
    let name = format!("{NAME}-controller");
    let deployment = cluster.get(&["deployment", &name, "--namespace", NAMESPACE]);
    deployment.expect("the controller is a Deployment")["spec"]["replicas"].clone()
}

/// The chart keeps its definitions, and in its namespace the Secret that says who it is and the agents' Leases.
fn nothing_is_left_but_what_is_kept(cluster: &Cluster) {
    let labelled = all(cluster, &["--all-namespaces", "--selector", OWN]);
    let definitions = crds::definitions().into_iter();
    let definitions: BTreeSet<_> = definitions
        .filter_map(|definition| definition.metadata.name)
        .map(|name| format!("customresourcedefinition.apiextensions.k8s.io/{name}"))
        .collect();
    assert_eq!(labelled, definitions, "what carries the release's label");

    let is_kept = |name: &String| {
        let (kind, name) = name.split_once('/').expect("kubectl prints KIND/NAME");
        match kind {
            "secret" => name == "edgeloom-control-plane",
            "lease.coordination.k8s.io" | "event" | "event.events.k8s.io" => true,
            // What every namespace has.
            "configmap" => name == "kube-root-ca.crt",
            "serviceaccount" => name == "default",
            _ => false,
        }
    };
    let left = all(cluster, &["--namespace", NAMESPACE]);
    let left: Vec<_> = left.iter().filter(|name| !is_kept(name)).collect();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// Objects of every kind, as KIND/NAME. With `--namespace`, kinds that have none are left out.
fn all(cluster: &Cluster, which: &[&str]) -> BTreeSet<String> {
    let mut list = vec!["api-resources", "--verbs", "list", "--output", "name"];
    if which.contains(&"--namespace") {
        list.push("--namespaced");
    }
    let kinds = cluster.kubectl(&list);
    let kinds = kinds.lines().collect::<Vec<_>>().join(",");
    let found = cluster.kubectl(&[&["get", &kinds, "--output", "name"], which].concat());
    found.lines().map(str::to_owned).collect()
}
