//! The life of a release: installed, asked, upgraded, rolled back, removed.

use std::{collections::BTreeSet, time::Instant};

use serde_json::{Value, json};

use crate::{
    asking::Router,
    cluster::Cluster,
    release::{NAME, NAMESPACE},
};

const QUESTION: &str = "What is the capital of France?";

#[tokio::test(flavor = "multi_thread")]
async fn a_release_answers_from_two_pods_is_upgraded_rolled_back_and_leaves_what_it_says() {
    let cluster = Cluster::of_this_test();
    cluster.uninstall();
    let url = cluster.offer_weights().await;

    let begin = Instant::now();
    cluster.install(&json!({}));
    eprintln!("helm install --wait: {:.1} s", begin.elapsed().as_secs_f64());
    cluster.serve(&url);
    cluster.wait_for_service().await;
    let router = Router::reach(&cluster).await;
    let answer = router.ask(QUESTION, 16).await;
    let answer = answer.unwrap_or_else(|why| panic!("{why}\n{}", cluster.story()));
    let first_token = answer.first_token.expect("there is text");
    eprintln!(
        "from helm install to the first token: {:.1} s",
        first_token.duration_since(begin).as_secs_f64()
    );
    assert!(!answer.text.is_empty(), "{answer:?}");
    assert!(nodes_of_stages(&cluster).len() >= 2, "{}", cluster.story());

    cluster.install(&json!({"controller": {"replicas": 1}, "log": {"level": "debug"}}));
    assert_eq!(replicas(&cluster), json!(1));
    let again = router.ask(QUESTION, 16).await.map(|answer| answer.text);
    assert_eq!(again.as_ref(), Ok(&answer.text), "after the upgrade");

    let rollback = [
        "rollback",
        NAME,
        "1",
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout",
        "180s",
    ];
    cluster
        .helm(&rollback)
        .unwrap_or_else(|complaint| panic!("{complaint}\n{}", cluster.story()));
    assert_eq!(replicas(&cluster), json!(2));
    let again = router.ask(QUESTION, 16).await.map(|answer| answer.text);
    assert_eq!(again.as_ref(), Ok(&answer.text), "after the rollback");

    cluster.uninstall();
    let left = left_behind(&cluster);
    let kept = |name: &String| name.starts_with("customresourcedefinition.apiextensions.k8s.io/");
    assert!(left.iter().all(kept), "left behind: {left:#?}");
    assert_eq!(
        left.len(),
        crds::definitions().len(),
        "the definitions are kept: {left:#?}"
    );
}

/// The nodes on which layers of the model are loaded.
fn nodes_of_stages(cluster: &Cluster) -> BTreeSet<String> {
    let stages = cluster.get(&["stages"]).expect("a list");
    let stages = stages["items"].as_array().expect("a list has items");
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

/// Every object of every kind that carries the release's label.
fn left_behind(cluster: &Cluster) -> Vec<String> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs", "list", "--output", "name"]);
    let kinds = kinds.lines().collect::<Vec<_>>().join(",");
    let label = format!("app.kubernetes.io/instance={NAME}");
    let found = cluster.kubectl(&[
        "get",
        &kinds,
        "--all-namespaces",
        "--selector",
        &label,
        "--output",
        "name",
    ]);
    found.lines().map(str::to_owned).collect()
}
