//! What is lost while services are asked: the controller that leads, the API server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::wait;

use crate::{
    asking::Router,
    cluster::{Cluster, Home},
    release::NAMESPACE,
};

/// How long the API server stays away.
const AWAY: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn another_controller_leads_when_the_pod_that_led_is_deleted_and_no_request_is_lost() {
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    let load = Arc::new(Router::reach(&cluster).await).load();
    let led = wait::until("a leader", || async { leader(&cluster) }).await;

    let begin = Instant::now();
    let kill = ["delete", "pod", &led, "--namespace", NAMESPACE];
    cluster.kubectl(&[&kill[..], &["--grace-period=0", "--force"]].concat());
    let leads = wait::until("another leader", || async {
        leader(&cluster).filter(|leader| *leader != led)
    })
    .await;
    eprintln!("{leads} leads after {:.1} s", begin.elapsed().as_secs_f64());

    cluster.wait_for_service().await;
    nothing_was_lost(load.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_while_the_api_server_is_away() {
    let Some(home) = Home::of_this_test("the API server is stopped for a minute") else {
        return;
    };
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    let load = Arc::new(Router::reach(&cluster).await).load();

    home.run("stop", "kube-apiserver");
    tokio::time::sleep(AWAY).await;
    home.run("start", "kube-apiserver");

    cluster.wait_for_service().await;
    nothing_was_lost(load.end().await);
}

fn nothing_was_lost(outcomes: Vec<Result<String, String>>) {
    assert!(!outcomes.is_empty(), "nobody asked");
    eprintln!("{} requests were answered", outcomes.len());
    let lost: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

/// The pod that holds the controllers' Lease.
fn leader(cluster: &Cluster) -> Option<String> {
    let lease: Value = cluster.get(&["lease", "edgeloom-controller", "--namespace", NAMESPACE])?;
    let holder = lease["spec"]["holderIdentity"].as_str()?;
    (!holder.is_empty()).then(|| holder.to_owned())
}
