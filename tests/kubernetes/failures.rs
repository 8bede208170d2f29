//! What is lost while services are asked: a node, the API server.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    asking::Router,
    cluster::{Cluster, Home, PATIENCE, names},
    leadership,
    release::NAMESPACE,
    weights,
};

/// How long the API server stays away.
const AWAY: Duration = Duration::from_secs(60);

/// The node through which the machine outside the cluster reaches its services.
const WAY_IN: &str = "edge-1";

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_while_the_api_server_is_away() {
    let Some(home) = Home::of_this_test("the API server is stopped for a minute") else {
        return;
    };
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    let load = Arc::new(Router::reach(&cluster).await).load();

    // A controller manager that leads by a Lease ends too when it cannot renew it; one that stays would need minutes until it
    // sees again what is deleted.
    home.run("stop", "kube-controller-manager");
    home.run("stop", "kube-apiserver");
    tokio::time::sleep(AWAY).await;
    load.goes_on().await;
    home.run("start", "kube-apiserver");
    home.run("start", "kube-controller-manager");

    cluster.wait_for_service().await;
    load.end_without_loss(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_recovers_on_other_nodes_when_one_is_killed_and_its_return_restarts_nothing_healthy() {
    let Some(home) = Home::of_this_test("a node is killed and started again") else {
        return;
    };
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    let router = Router::reach(&cluster).await;
    let question = "Count from one to five.";
    let expected = router.ask(question, 12).await.expect("the service answers").text;
    let killed = serving_stages(&cluster)
        .into_values()
        .filter_map(|stage| stage["node"].as_str().map(str::to_owned))
        .find(|node| node != WAY_IN)
        .expect("a pipeline of two nodes has one that is not the way in");

    let led = leadership::leader(&cluster).expect("somebody leads");
    let pod = cluster.get(&["pod", &led.name, "--namespace", NAMESPACE]);
    let with_leader = pod.is_some_and(|pod| pod["spec"]["nodeName"] == *killed);

    let known = cluster.list(&["placements", "--namespace", weights::NAMESPACE]);

    let begin = Instant::now();
    home.run("kill", &killed);
    let mut decided = None;
    let elsewhere = || {
        let placements = cluster.list(&["placements", "--namespace", weights::NAMESPACE]);
        if names(&placements) != names(&known) {
            decided.get_or_insert_with(|| begin.elapsed().as_secs_f64());
        }
        let stages = serving_stages(&cluster);
        (!stages.is_empty() && stages.values().all(|stage| stage["node"] != *killed)).then_some(())
    };
    cluster.until("a pipeline on the other nodes", elsewhere).await;
    let leader = if with_leader {
        ", the controller that led with it,"
    } else {
        ""
    };
    let seconds = begin.elapsed().as_secs_f64();
    // Weights may come from a Service that still names a dead pod.
    eprintln!(
        "the pipeline of a node that was killed{leader} has another place after {:.1} s, and serves there after {seconds:.1} s",
        decided.unwrap_or(seconds)
    );
    // Until Kubernetes takes the dead pods out of the Service, a request may still be sent to one.
    let answer = loop {
        match router.ask(question, 12).await {
            Ok(answer) => break answer.text,
            Err(why) => assert!(begin.elapsed() < PATIENCE, "{why}\n{}", cluster.story()),
        }
    };
    assert_eq!(answer, expected, "after the loss of {killed}");
    eprintln!("it answers after {:.1} s", begin.elapsed().as_secs_f64());

    cluster.wait_for_service().await;
    let (pods, stages) = (containers_not_on(&cluster, &killed), serving_stages(&cluster));
    home.run("start", &killed);
    let is_back = || {
        let node = cluster.get(&["edgenode", &killed])?;
        let conditions = node["status"]["conditions"].as_array()?;
        ["Ready", "Reachable", "Schedulable"]
            .iter()
            .all(|wanted| {
                conditions
                    .iter()
                    .any(|known| known["type"] == *wanted && known["status"] == "True")
            })
            .then_some(())
    };
    cluster.until("the return of the node", is_back).await;
    let answer = router.ask(question, 12).await.map(|answer| answer.text);
    assert_eq!(answer, Ok(expected), "after the return of {killed}");
    // Others may have come, in place of those that were lost.
    let mut now = containers_not_on(&cluster, &killed);
    now.retain(|pod, _| pods.contains_key(pod));
    assert_eq!(now, pods, "containers were restarted");
    assert_eq!(
        serving_stages(&cluster),
        stages,
        "stages were moved or loaded again"
    );
}

/// The stages of the Placement that serves: node, identity and number of loads of each.
fn serving_stages(cluster: &Cluster) -> BTreeMap<String, Value> {
    let placements = cluster.list(&["placements", "--namespace", weights::NAMESPACE]);
    let serving = placements
        .iter()
        .find(|placement| placement["status"]["phase"] == "Serving");
    let stages = serving.and_then(|placement| placement["spec"]["pipelines"][0]["stages"].as_array());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let wanted: Vec<_> = stages
        .into_iter()
        .flatten()
        .map(|stage| text(&stage["stage"]))
        .collect();
    let stages = cluster.list(&["stages"]).into_iter();
    let facts = |stage: Value| {
        let (metadata, status) = (&stage["metadata"], &stage["status"]);
        let facts =
            json!({"node": stage["spec"]["nodeName"], "uid": metadata["uid"], "loads": status["loads"]});
        (text(&metadata["name"]), facts)
    };
    stages
        .map(facts)
        .filter(|(name, _)| wanted.contains(name))
        .collect()
}

/// Controller and agents on the other nodes: since when each container runs.
fn containers_not_on(cluster: &Cluster, node: &str) -> BTreeMap<String, Value> {
    let pods = cluster.list(&["pods", "--namespace", NAMESPACE]);
    let others = pods.iter().filter(|pod| pod["spec"]["nodeName"] != *node);
    others
        .map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            (name, pod["status"]["containerStatuses"][0]["state"].clone())
        })
        .collect()
}
