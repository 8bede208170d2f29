//! A DaemonSet of agents and its controller, which makes a pod where one is missing and replaces none by itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use apiserver::kinds::Resource;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::control_plane::ControlPlane;

/// Its name.
pub const NAME: &str = "edgeloom-agent";

/// The kinds of a cluster, which the embedded server would judge by their schemas; here they are kept as they come.
const KINDS: [(&str, &str, &str); 3] = [
    ("", "Pod", "pods"),
    ("apps", "DaemonSet", "daemonsets"),
    ("apps", "ControllerRevision", "controllerrevisions"),
];

/// A DaemonSet with a pod on each of some machines.
pub struct ScriptedDaemonSet {
    client: Client,
    uid: String,
    revision: Arc<AtomicUsize>,
    works: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for ScriptedDaemonSet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedDaemonSet {
    /// Makes it, with an up-to-date pod that is Ready on each machine.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn start(plane: &ControlPlane, machines: &[&str]) -> Self {
        for (group, kind, plural) in KINDS {
            let resource = resource(plane, group, kind, plural);
            plane.server.kinds().serve_definition(plural, vec![resource]);
        }
        let set = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": NAME },
            "spec": {
                "selector": { "matchLabels": { "app": NAME } }, "updateStrategy": { "type": "OnDelete" },
                "template": { "metadata": { "labels": { "app": NAME } }, "spec": { "containers": containers() } },
            },
        });
        let set: DaemonSet = create(&plane.client, set).await;
        let status = json!({ "status": {
            "observedGeneration": set.metadata.generation,
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        }});
        let sets: Api<DaemonSet> = Api::namespaced(plane.client.clone(), manager::SYSTEM_NAMESPACE);
        let patched = sets
            .patch_status(NAME, &PatchParams::default(), &Patch::Merge(status))
            .await;
        patched.expect("the server takes the status");
        let mut started = Self {
            client: plane.client.clone(),
            uid: set.metadata.uid.expect("an object has a UID"),
            revision: Arc::default(),
            works: Arc::new(AtomicBool::new(true)),
            task: tokio::spawn(async {}),
        };
        started.change(true).await;
        let (client, uid) = (started.client.clone(), started.uid.clone());
        let (revision, works) = (Arc::clone(&started.revision), Arc::clone(&started.works));
        let machines: Vec<String> = machines.iter().map(|&machine| machine.to_owned()).collect();
        started.task = tokio::spawn(async move {
            loop {
                let number = revision.load(Ordering::SeqCst);
                // Whatever fails is tried again in the next round.
                let _ = fill(&client, &uid, &machines, number, works.load(Ordering::SeqCst)).await;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        started
    }

    /// Makes a new revision, whose pods become Ready if it works.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn change(&self, works: bool) {
        let number = self.revision.load(Ordering::SeqCst) + 1;
        self.works.store(works, Ordering::SeqCst);
        let revision = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
            "metadata": owned(&format!("{NAME}-{number}"), &self.uid, number),
        });
        create::<ControllerRevision>(&self.client, revision).await;
        self.revision.store(number, Ordering::SeqCst);
    }

    /// Machine, revision and readiness of each pod, by machine.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn pods(&self) -> Vec<(String, String, bool)> {
        pods(&self.client).await.expect("pods")
    }
}

async fn pods(client: &Client) -> kube::Result<Vec<(String, String, bool)>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), manager::SYSTEM_NAMESPACE);
    let seen = api
        .list(&ListParams::default())
        .await?
        .items
        .into_iter()
        .map(|pod| {
            let status = pod.status.unwrap_or_default();
            let ready = status
                .conditions
                .iter()
                .flatten()
                .any(|condition| condition.status == "True");
            let labels = pod.metadata.labels.unwrap_or_default();
            let machine = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
            (machine, labels["controller-revision-hash"].clone(), ready)
        });
    let mut seen: Vec<_> = seen.collect();
    seen.sort();
    Ok(seen)
}

async fn fill(
    client: &Client,
    uid: &str,
    machines: &[String],
    revision: usize,
    works: bool,
) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), manager::SYSTEM_NAMESPACE);
    let seen = pods(client).await?;
    for machine in machines
        .iter()
        .filter(|machine| !seen.iter().any(|(on, ..)| on == *machine))
    {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": owned(&format!("{NAME}-{machine}-{revision}"), uid, revision),
            "spec": { "nodeName": machine, "containers": containers() },
            "status": { "conditions": [{ "type": "Ready", "status": if works { "True" } else { "False" } }] },
        });
        let pod: Pod = serde_json::from_value(pod).map_err(kube::Error::SerdeError)?;
        api.create(&PostParams::default(), &pod).await?;
    }
    Ok(())
}

fn containers() -> Value {
    json!([{ "name": "agent", "image": "edgeloom.local/agent:test" }])
}

fn owned(name: &str, uid: &str, revision: usize) -> Value {
    json!({
        "name": name, "labels": { "controller-revision-hash": format!("r{revision}") },
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": NAME, "uid": uid }],
    })
}

async fn create<K>(client: &Client, object: Value) -> K
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object).expect("the manifest is an object of its kind");
    let api: Api<K> = Api::namespaced(client.clone(), manager::SYSTEM_NAMESPACE);
    let created = api.create(&PostParams::default(), &object).await;
    created.expect("the server takes the object")
}

/// A kind that is kept as it comes, as ConfigMaps are.
fn resource(plane: &ControlPlane, group: &str, kind: &str, plural: &str) -> Resource {
    let known = plane
        .server
        .kinds()
        .find("", "v1", "configmaps")
        .expect("a kind that every server has");
    let mut resource = Resource::clone(&known);
    resource.group = group.to_owned();
    resource.kind = kind.to_owned();
    resource.list_kind = format!("{kind}List");
    resource.plural = plural.to_owned();
    resource.singular = kind.to_lowercase();
    resource.short_names = vec![];
    resource.schema = None;
    // Pods are made with their status here, which no subresource would take.
    resource.subresources.status = kind == "DaemonSet";
    resource.storage.group = group.to_owned();
    resource.storage.plural = plural.to_owned();
    resource
}
