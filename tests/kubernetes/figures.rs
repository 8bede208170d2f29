//! Figures that are printed, and not judged: memory, and requests to the API server at rest, with the nodes that there are and with
//! a thousand more.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    audit::Audit,
    cluster::{Cluster, Home},
    fleet::Fleet,
    release::NAMESPACE,
};

/// How long requests are counted.
const COUNTED: Duration = Duration::from_secs(60);

/// How many nodes are simulated.
const SIMULATED: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes with a thousand nodes, for figures alone: make bench-kubernetes"]
async fn what_a_release_costs_at_rest_and_with_a_thousand_more_nodes_is_printed() {
    let Some(home) = Home::of_this_test("the audit log is read, and a thousand nodes are simulated") else {
        return;
    };
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    if let Ok(archive) = std::env::var("EDGELOOM_IMAGE_ARCHIVE") {
        let bytes = Path::new(&archive)
            .metadata()
            .expect("the image was loaded from it")
            .len();
        eprintln!("image: {:.1} MB", megabytes(bytes as f64));
    }
    at_rest(&cluster, &home, "3 nodes").await;

    let begin = Instant::now();
    let fleet = Fleet::join(SIMULATED).await;
    let known = || {
        let tables = cluster.kubectl(&["get", "routetables", "--output", "name"]);
        (tables.lines().count() > SIMULATED).then_some(())
    };
    cluster.until("a RouteTable for each node", known).await;
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("{SIMULATED} nodes joined and were told where to go within {seconds:.1} s");
    at_rest(&cluster, &home, &format!("{} nodes", SIMULATED + 3)).await;
    eprintln!(
        "the simulated agents renewed {:.1} Leases per second",
        fleet.renewals_per_second()
    );
    cluster.wait_for_service().await;

    drop(fleet);
    let gone = || {
        let tables = cluster.kubectl(&["get", "routetables", "--output", "name"]);
        (tables.lines().count() < SIMULATED).then_some(())
    };
    cluster.until("the end of their RouteTables", gone).await;
    cluster.serving().await;
}

/// Prints what controller and agents ask in a minute, and the memory that they hold after it.
async fn at_rest(cluster: &Cluster, home: &Home, with: &str) {
    // What has just begun is not rest yet.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let audit = Audit::begin(home);
    let begin = Instant::now();
    tokio::time::sleep(COUNTED).await;
    let seconds = begin.elapsed().as_secs_f64();
    for component in ["controller", "agent"] {
        let requests = audit.requests_of(component);
        let pods = cluster.pods_of(component).len();
        let rate = requests.len() as f64 / seconds;
        eprintln!(
            "{with}, at rest: {rate:.2} requests per second of {pods} {component} pods ({})",
            kinds(&requests)
        );
    }
    for (component, memory) in memory(cluster) {
        eprintln!("{with}, at rest: {component} pods hold {} MB", memory.join(", "));
    }
}

/// How often each verb was used on each kind of object.
fn kinds(requests: &[Value]) -> String {
    let mut counts = BTreeMap::new();
    for event in requests {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = text(&event["objectRef"]["resource"]);
        *counts
            .entry(format!("{} {resource}", text(&event["verb"])))
            .or_insert(0) += 1;
    }
    let counts = counts.into_iter().map(|(what, count)| format!("{what}: {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// The working set of each pod as its kubelet says, by component.
fn memory(cluster: &Cluster) -> BTreeMap<String, Vec<String>> {
    let mut memory = BTreeMap::<_, Vec<_>>::new();
    for node in crate::cluster::names(&cluster.list(&["nodes"])) {
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let summary = cluster.kubectl(&["get", "--raw", &path]);
        let summary: Value = serde_json::from_str(&summary).expect("the kubelet tells JSON");
        let pods = summary["pods"].as_array().into_iter().flatten();
        for pod in pods.filter(|pod| pod["podRef"]["namespace"] == NAMESPACE) {
            let container = &pod["containers"][0];
            let bytes = container["memory"]["workingSetBytes"]
                .as_f64()
                .unwrap_or_default();
            let component = container["name"].as_str().unwrap_or_default().to_owned();
            memory
                .entry(component)
                .or_default()
                .push(format!("{:.0}", megabytes(bytes)));
        }
    }
    memory
}

fn megabytes(bytes: f64) -> f64 {
    bytes / 1e6
}
