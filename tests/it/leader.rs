//! Several controllers against one API server: one leads, another takes over, and what the first had under way changes
//! nothing any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crds::{ConditionType, LLMService, condition};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{Api, Client};
use manager::{
    Metrics, Pulse, SYSTEM_NAMESPACE,
    leader::{Candidate, LEASE, Timing},
};
use prometheus::Registry;
use serde_json::json;
use tests::{
    agents::{ScriptedAgent, until_settled, versions},
    control_plane::ControlPlane,
    gate::Gate,
    models::{DIGEST, model},
    wait::until,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Quick, with a second between the end of one leader and the beginning of the next.
const QUICK: Timing = Timing {
    duration: Duration::from_secs(3),
    renew_deadline: Duration::from_secs(2),
    retry: Duration::from_millis(100),
};

/// Nobody who waits for this Lease to expire leads within a test.
const ENDLESS: Timing = Timing {
    duration: Duration::from_secs(100_000),
    ..QUICK
};

/// A process that wants to lead, and does what it is given while it does.
struct Process {
    stop: CancellationToken,
    task: JoinHandle<()>,
    registry: Registry,
}

/// How many do their work at the same time.
#[derive(Clone, Default)]
struct Together {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct AtWork(Together);

impl Together {
    fn work(&self) -> AtWork {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        AtWork(self.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Process {
    /// One that only counts itself.
    fn idle(client: &Client, name: &str, timing: Timing, together: &Together) -> Self {
        let together = together.clone();
        Self::start(client, name, timing, move |candidate, stop| async move {
            let led = candidate.run(&stop, |_| async {
                let _at_work = together.work();
                std::future::pending::<Result<(), ()>>().await
            });
            led.await.expect("idle work does not fail");
        })
    }

    /// A whole manager.
    fn manager(client: &Client, name: &str, timing: Timing) -> Self {
        let client_of_manager = client.clone();
        Self::start(client, name, timing, move |candidate, stop| async move {
            let metrics = Metrics::register(&Registry::new()).expect("nothing is registered yet");
            let config = manager::Config::new(client_of_manager, metrics);
            let lead = |leadership| {
                let config = manager::Config {
                    leadership,
                    ..config.clone()
                };
                manager::run(config, stop.clone())
            };
            candidate.run(&stop, lead).await.expect("the manager runs");
        })
    }

    fn start<Work>(
        client: &Client,
        name: &str,
        timing: Timing,
        work: impl FnOnce(Candidate, CancellationToken) -> Work,
    ) -> Self
    where
        Work: Future<Output = ()> + Send + 'static,
    {
        let (registry, stop) = (Registry::new(), CancellationToken::new());
        let candidate = Candidate::new(
            client,
            SYSTEM_NAMESPACE,
            name,
            timing,
            &registry,
            Pulse::default(),
        );
        let candidate = candidate.expect("nothing is registered yet");
        let task = tokio::spawn(work(candidate, stop.clone()));
        Self { stop, task, registry }
    }

    fn leads(&self) -> bool {
        let families = self.registry.gather();
        families[0].name() == "edgeloom_controller_leader"
            && families[0].get_metric()[0].get_gauge().get_value() == 1.0
    }

    async fn until_leads(&self, leads: bool) {
        until("a change of leadership", || async {
            (self.leads() == leads).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the process does not panic");
    }

    /// As `kill -9` would.
    async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

async fn lease(plane: &ControlPlane) -> LeaseSpec {
    let api: Api<Lease> = Api::namespaced(plane.client.clone(), SYSTEM_NAMESPACE);
    let lease = api.get_opt(LEASE).await.expect("the server answers");
    lease.and_then(|lease| lease.spec).unwrap_or_default()
}

async fn plane() -> ControlPlane {
    let plane = ControlPlane::start().await;
    plane.namespace(SYSTEM_NAMESPACE).await;
    plane
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_another_takes_over_when_it_is_killed() {
    let (plane, together) = (plane().await, Together::default());
    let first = Process::idle(&plane.client, "first", QUICK, &together);
    first.until_leads(true).await;
    let second = Process::idle(&plane.client, "second", QUICK, &together);
    first.kill().await;
    second.until_leads(true).await;
    let held = lease(&plane).await;
    assert_eq!(
        (held.holder_identity.as_deref(), held.lease_transitions),
        (Some("second"), Some(1))
    );
    assert_eq!(together.most.load(Ordering::SeqCst), 1, "never two at once");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_makes_room_at_once() {
    let (plane, together) = (plane().await, Together::default());
    let first = Process::idle(&plane.client, "first", ENDLESS, &together);
    first.until_leads(true).await;
    let second = Process::idle(&plane.client, "second", ENDLESS, &together);
    first.stop().await;
    second.until_leads(true).await;
    assert_eq!(together.most.load(Ordering::SeqCst), 1, "never two at once");
    second.stop().await;
    assert_eq!(lease(&plane).await.holder_identity.as_deref(), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_stops_and_leads_again_later() {
    let (plane, together) = (plane().await, Together::default());
    let gate = Gate::before(&plane);
    let only = Process::idle(&gate.client(), "only", QUICK, &together);
    only.until_leads(true).await;
    gate.close();
    only.until_leads(false).await;
    assert_eq!(together.now.load(Ordering::SeqCst), 0, "its work has stopped");
    gate.open();
    only.until_leads(true).await;
    only.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_never_work_at_once_while_the_network_comes_and_goes() {
    let (plane, together) = (plane().await, Together::default());
    let gates = [Gate::before(&plane), Gate::before(&plane)];
    let processes = [
        Process::idle(&gates[0].client(), "a", QUICK, &together),
        Process::idle(&gates[1].client(), "b", QUICK, &together),
    ];
    for _ in 0..3 {
        let led = until("a leader", || async { processes.iter().position(Process::leads) }).await;
        gates[led].close();
        processes[1 - led].until_leads(true).await;
        gates[led].open();
    }
    assert_eq!(together.most.load(Ordering::SeqCst), 1);
    for process in processes {
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_of_yesterday_had_under_way_changes_nothing() {
    let plane = plane().await;
    let gate = Gate::before(&plane);
    let old = Process::manager(&gate.client(), "old", QUICK);
    old.until_leads(true).await;
    model(&plane).await;
    let mut agents = vec![];
    for name in ["a", "b"] {
        let layer = Duration::from_micros(900);
        agents.push(ScriptedAgent::join(&plane.client, name, 120, DIGEST, layer).await);
    }
    until_settled(&plane.client).await;
    // The plan that it makes now stays half applied. It leads until then, however long the plan takes on a busy machine.
    gate.close_to("placements");
    let manifest = json!({
        "apiVersion": "edgeloom.dev/v1alpha1", "kind": "LLMService", "metadata": { "name": "chat" },
        "spec": { "models": [{ "name": "smol" }], "contextTokens": 1024 },
    });
    plane.create::<LLMService>(manifest).await;
    until("a decision that hangs", || async {
        gate.held()
            .iter()
            .any(|request| request.contains("placements"))
            .then_some(())
    })
    .await;
    // Its watches go on, but no request of it arrives any more.
    gate.close();

    let new = Process::manager(&plane.client, "new", QUICK);
    until("the service is Ready", || async {
        let service = plane.namespaced::<LLMService>().get("chat").await.ok()?;
        let conditions = service.status?.conditions;
        (condition::state(&conditions, ConditionType::Ready) == Some(true)).then_some(())
    })
    .await;
    assert!(!old.leads() && new.leads());
    let before = until_settled(&plane.client).await;
    gate.open();
    until("what hung has arrived", || async {
        gate.held().is_empty().then_some(())
    })
    .await;
    assert_eq!(versions(&plane.client).await, before);
    new.stop().await;
    old.until_leads(true).await;
    old.stop().await;
}
