//! The API server with Edgeloom's kinds, and the manager, in this process: no socket, no file.

use std::sync::Arc;

use apiserver::{ApiServer, Options, auth::UserInfo, store::Memory};
use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::PostParams,
    core::NamespaceResourceScope,
    runtime::{conditions, wait::await_condition},
};
use prometheus::Registry;
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::wait;

/// An API server that knows Edgeloom's kinds.
pub struct ControlPlane {
    /// The server.
    pub server: ApiServer,
    /// A client that may do everything.
    pub client: Client,
    stop: CancellationToken,
}

/// A manager that runs.
pub struct Manager {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ControlPlane {
    /// Starts the server and installs the kinds.
    ///
    /// # Panics
    ///
    /// When the server refuses a definition.
    pub async fn start() -> Self {
        let server = ApiServer::new(Arc::new(Memory::new()), Options::default());
        let stop = CancellationToken::new();
        let controllers = apiserver::controllers::start(&server, stop.clone()).await;
        tokio::spawn(controllers.expect("the initial namespaces are made"));
        let client = Client::new(server.in_process_router(UserInfo::loopback()), "default");
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        for definition in crds::definitions() {
            definitions
                .create(&PostParams::default(), &definition)
                .await
                .unwrap_or_else(|error| panic!("{:?}: {error}", definition.metadata.name));
        }
        for definition in crds::definitions() {
            let name = definition.metadata.name.expect("a definition has a name");
            let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
            let waited = tokio::time::timeout(wait::DEADLINE, established).await;
            waited
                .expect("a definition is served in time")
                .expect("a definition is watched");
        }
        Self { server, client, stop }
    }

    /// Starts a manager; several may run one after the other.
    #[must_use]
    pub fn manager(&self) -> Manager {
        self.manager_that(|_| {})
    }

    /// Starts a manager that is told something else than usual.
    ///
    /// # Panics
    ///
    /// In its task, when it fails.
    #[must_use]
    pub fn manager_that(&self, is_told: impl FnOnce(&mut manager::Config)) -> Manager {
        let metrics = manager::Metrics::register(&Registry::new()).expect("nothing is registered yet");
        let mut config = manager::Config::new(self.client.clone(), metrics);
        is_told(&mut config);
        let stop = self.stop.child_token();
        let cancelled = stop.clone();
        let task = tokio::spawn(async move {
            manager::run(config, cancelled).await.expect("the manager runs");
        });
        Manager { stop, task }
    }

    /// An Api over a cluster-scoped kind.
    #[must_use]
    pub fn cluster<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::ClusterResourceScope>,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }

    /// An Api over a namespaced kind in `default`.
    #[must_use]
    pub fn namespaced<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates an object of `default` from its manifest.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn create<K>(&self, manifest: serde_json::Value) -> K
    where
        K: kube::Resource<Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(manifest).expect("the manifest is an object of its kind");
        let created = self
            .namespaced::<K>()
            .create(&PostParams::default(), &object)
            .await;
        created.unwrap_or_else(|error| panic!("the server refuses the object: {error}"))
    }

    /// Creates a namespace.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn namespace(&self, name: &str) {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        let created = self.cluster().create(&PostParams::default(), &namespace).await;
        created.expect("the namespace is made");
    }

    /// Creates a Secret with one key.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn secret(&self, name: &str, key: &str, value: &str) {
        let manifest = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": { key: value },
        });
        self.create::<Secret>(manifest).await;
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Manager {
    /// Stops it and waits until it has.
    ///
    /// # Panics
    ///
    /// When it had failed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the manager did not panic");
    }

    /// Ends it at once, wherever it is, as `kill -9` would.
    pub fn kill(self) {
        self.task.abort();
    }
}
