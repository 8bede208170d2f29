//! The controller that leads is lost while services are asked: another leads, finishes what was begun, and changes nothing
//! that is settled.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    asking::Router,
    cluster::{Cluster, Home, names},
    release::{NAME, NAMESPACE},
    weights,
};

/// The Lease of controllers lasts 12 s and is looked at every second, so that another leads within this time of the last renewal.
const LEADS_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn another_controller_leads_when_the_pod_that_led_is_deleted_and_no_request_is_lost() {
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    let load = Arc::new(Router::reach(&cluster).await).load();
    every_candidate_looks(&cluster).await;
    let led = cluster.until("a leader", || leader(&cluster)).await;

    let begin = Instant::now();
    cluster.kubectl(&[
        "delete",
        "pod",
        &led.name,
        "--namespace",
        NAMESPACE,
        "--wait=false",
    ]);
    let Takeover { leads, .. } = next_leader(&cluster, &led).await;
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("another controller leads {seconds:.1} s after a clean stop");

    settled_under(&cluster, &leads).await;
    load.end_without_loss(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_in_the_middle_of_a_plan_is_followed_by_one_that_finishes_it_and_then_changes_nothing()
 {
    let Some(home) = Home::of_this_test("a controller is killed from its node") else {
        return;
    };
    let cluster = Cluster::of_this_test();
    cluster.serving().await;
    let load = Arc::new(Router::reach(&cluster).await).load();
    every_candidate_looks(&cluster).await;
    let before = cluster.list(&["placements", "--namespace", weights::NAMESPACE]);
    let [left] = &names(&before)[..] else {
        panic!("one placement serves: {before:?}");
    };

    // The commit record of a move can be written, the stage that follows from it cannot.
    refuse_stages(&cluster).await;
    let node = before[0]["spec"]["pipelines"][0]["stages"][0]["node"].as_str();
    let node = node.expect("a stage is on a node").to_owned();
    cluster.kubectl(&["cordon", &node]);
    let begun = cluster
        .until("the record of a move", || {
            let placements = names(&cluster.list(&["placements", "--namespace", weights::NAMESPACE]));
            placements.into_iter().find(|name| name != left)
        })
        .await;
    let led = leader(&cluster).expect("somebody leads");
    kill(&cluster, &home, &led);
    let leads = next_leader(&cluster, &led)
        .await
        .in_time(&cluster, "in the middle of a plan");

    cluster.lift_refusal();
    let finished = || {
        let placements = cluster.list(&["placements", "--namespace", weights::NAMESPACE]);
        let is_served = |placement: &Value| placement["status"]["phase"] == "Serving";
        (names(&placements) == [begun.clone()] && placements.iter().all(is_served)).then_some(())
    };
    cluster
        .until("the end of the move that was begun", finished)
        .await;
    let here = cluster.list(&["stages", "--field-selector", &format!("spec.nodeName={node}")]);
    assert!(here.is_empty(), "stages stay on the node: {:?}", names(&here));
    settled_under(&cluster, &leads).await;

    let settled = decided(&cluster);
    kill(&cluster, &home, &leads);
    let last = next_leader(&cluster, &leads).await.in_time(&cluster, "at rest");
    settled_under(&cluster, &last).await;
    assert_eq!(decided(&cluster), settled, "a settled plan was applied again");
    load.end_without_loss(&cluster).await;
    cluster.kubectl(&["uncordon", &node]);
}

/// Who leads, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// Its pod.
    pub(crate) name: String,
    acquired: Timestamp,
    renewed: Timestamp,
}

pub(crate) fn leader(cluster: &Cluster) -> Option<Leader> {
    let lease = cluster.get(&["lease", "edgeloom-controller", "--namespace", NAMESPACE])?;
    let time = |field: &str| lease["spec"][field].as_str()?.parse().ok();
    let name = lease["spec"]["holderIdentity"].as_str()?;
    (!name.is_empty()).then_some(Leader {
        name: name.to_owned(),
        acquired: time("acquireTime")?,
        renewed: time("renewTime")?,
    })
}

/// Waits until every controller reaches the API server. After that was away, as in another test, a node's way to its Service
/// comes back later than the server itself, and who cannot look cannot follow.
async fn every_candidate_looks(cluster: &Cluster) {
    let selector = "--selector=app.kubernetes.io/component=controller";
    // Longer than a look, and than a request that hangs.
    let logs = [
        "logs",
        selector,
        "--namespace",
        NAMESPACE,
        "--since=8s",
        "--tail=-1",
    ];
    let nobody_fails = || {
        let pods = cluster.list(&["pods", selector, "--namespace", NAMESPACE]);
        let is_old = |pod: &Value| {
            let since = pod["status"]["startTime"].as_str()?.parse::<Timestamp>().ok()?;
            Some(Timestamp::now().duration_since(since).as_secs() > 8)
        };
        let all_old = pods.iter().all(|pod| is_old(pod) == Some(true));
        (all_old && !cluster.try_kubectl(&logs).contains("(Connect)")).then_some(())
    };
    cluster
        .until("controllers that reach the API server", nobody_fails)
        .await;
}

/// One leader after another, by the API server's own record.
struct Takeover {
    /// The last sign of the one.
    led: Leader,
    /// The first of the other.
    leads: Leader,
}

/// Waits for another leader. A container that was killed may begin again and renew for some seconds more, until its pod is gone.
async fn next_leader(cluster: &Cluster, led: &Leader) -> Takeover {
    let mut last = led.clone();
    let other = || {
        let seen = leader(cluster)?;
        if seen.name != led.name {
            return Some(seen);
        }
        last = seen;
        None
    };
    let leads = cluster.until("another leader", other).await;
    Takeover { led: last, leads }
}

impl Takeover {
    /// Who leads now, which must have been so in time.
    fn in_time(self, cluster: &Cluster, when: &str) -> Leader {
        let Self { led, leads } = self;
        let seconds = leads.acquired.duration_since(led.renewed).as_secs_f64();
        eprintln!(
            "another controller leads {seconds:.1} s after the last sign of one that was killed {when}"
        );
        let allowed = LEADS_WITHIN.mul_f64(busyness());
        assert!(
            seconds < allowed.as_secs_f64(),
            "{led:?} {leads:?}, {allowed:?} are allowed\n{}",
            cluster.story()
        );
        leads
    }
}

/// How many processes want each core of this machine, where the nodes may run; 1 for one that is idle or is not told of.
fn busyness() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load
        .split(' ')
        .next()
        .and_then(|load| load.parse().ok())
        .unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (load / cores as f64).max(1.0)
}

/// Ends the process at once, and its pod.
fn kill(cluster: &Cluster, home: &Home, led: &Leader) {
    let pod = cluster.get(&["pod", &led.name, "--namespace", NAMESPACE]);
    let pod = pod.expect("the leader is a pod");
    let container = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    let container = container.and_then(|id| id.strip_prefix("containerd://"));
    let node = pod["spec"]["nodeName"].as_str().expect("it runs on a node");
    let kill = [
        "ctr",
        "--namespace",
        "k8s.io",
        "tasks",
        "kill",
        "--signal",
        "SIGKILL",
    ];
    home.exec(
        node,
        &[&kill[..], &[container.expect("it has a container")]].concat(),
    );
    let delete = ["delete", "pod", &led.name, "--namespace", NAMESPACE];
    cluster.kubectl(&[&delete[..], &["--grace-period=0", "--force"]].concat());
}

/// Waits until this leader has looked at everything several times and had nothing to write the last time.
async fn settled_under(cluster: &Cluster, leader: &Leader) {
    let path = format!(
        "/api/v1/namespaces/{NAMESPACE}/pods/{}:8081/proxy/metrics",
        leader.name
    );
    let rounds = || -> Option<f64> {
        let metrics = cluster.try_kubectl(&["get", "--raw", &path]);
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("edgeloom_manager_rounds_total"));
        Some(
            lines
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum(),
        )
    };
    let enough = || rounds().filter(|rounds| *rounds >= 3.0);
    cluster.until("three rounds of the new leader", enough).await;
    cluster.wait_for_service().await;
}

/// What the controller has decided, with the versions that another decision would change. In statuses stands what is observed, too.
fn decided(cluster: &Cluster) -> Vec<Value> {
    let mut objects = cluster.list(&["placements", "--all-namespaces"]);
    objects.extend(cluster.list(&["stages,routetables"]));
    let fact = |object: &Value| {
        let (metadata, phase) = (&object["metadata"], &object["status"]["phase"]);
        json!([
            object["kind"],
            metadata["name"],
            metadata["uid"],
            metadata["generation"],
            phase
        ])
    };
    objects.iter().map(fact).collect()
}

const REFUSAL: &str = "no-stages";

impl Cluster {
    /// The controller may create Stages again, if it might not.
    pub(crate) fn lift_refusal(&self) {
        let kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy";
        self.kubectl(&["delete", kinds, REFUSAL, "--ignore-not-found"]);
    }
}

/// From now on the controller can create no Stage.
async fn refuse_stages(cluster: &Cluster) {
    let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}-controller");
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": REFUSAL},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["edgeloom.dev"], "apiVersions": ["v1alpha1"], "operations": ["CREATE"],
                "resources": ["stages"],
            }]},
            "validations": [{"expression": format!("request.userInfo.username != '{account}'"), "message": REFUSAL}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": REFUSAL},
        "spec": {"policyName": REFUSAL, "validationActions": ["Deny"]},
    });
    cluster.apply(&format!("{policy}\n---\n{binding}"));
    // A Stage that there is, under another name, as the controller would create it.
    let stage = &cluster.list(&["stages"])[0];
    let copy = json!({
        "apiVersion": stage["apiVersion"], "kind": "Stage", "metadata": {"name": "refused"}, "spec": stage["spec"],
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("stage.json");
    std::fs::write(&file, copy.to_string()).expect("it is written");
    let file = file.display().to_string();
    let as_controller = format!("--as={account}");
    let refused = || {
        let said = cluster.try_kubectl(&["create", "--dry-run=server", &as_controller, "--filename", &file]);
        said.contains(REFUSAL).then_some(())
    };
    cluster.until("the refusal of stages", refused).await;
}
