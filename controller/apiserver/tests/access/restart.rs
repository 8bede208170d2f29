//! What a `kill -9` of the server leaves: everything that was acknowledged, and a kubeconfig that still works.
//!
//! The test runs itself as the server that is killed.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Instant,
};

use apiserver::serve::{ServeConfig, Storage, start};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::{etcd, kubectl, program::Kubectl, served::SOON};

/// Set for the child, to its data directory.
const CHILD_DATA: &str = "APISERVER_RESTART_TEST_DATA";
/// Set for the child, to `embedded` or to the address of an etcd.
const CHILD_STORAGE: &str = "APISERVER_RESTART_TEST_STORAGE";
/// Set for the child, to its address.
const CHILD_ADDRESS: &str = "APISERVER_RESTART_TEST_ADDRESS";

/// Not a test by itself: the server of the tests here and in `crashes`.
#[test]
fn serve_until_killed() {
    let (Ok(data), Ok(address)) = (std::env::var(CHILD_DATA), std::env::var(CHILD_ADDRESS)) else {
        return;
    };
    let storage = match std::env::var(CHILD_STORAGE).unwrap().as_str() {
        "embedded" => Storage::DataDirectory,
        endpoint => Storage::Etcd(etcd::config(endpoint, "/restart", None)),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let kubeconfig = Some(Path::new(&data).join("kubeconfig"));
        let config = ServeConfig {
            listen: address.parse().unwrap(),
            kubeconfig,
            storage,
            ..ServeConfig::new(&data)
        };
        start(config, CancellationToken::new())
            .await
            .unwrap()
            .stopped()
            .await;
    });
}

/// Starts a server, and waits until it is ready.
pub(crate) async fn spawn(data: &Path, address: SocketAddr, storage: &str, kubectl: &Kubectl) -> Child {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "restart::serve_until_killed", "--nocapture"])
        .env(CHILD_DATA, data)
        .env(CHILD_ADDRESS, address.to_string())
        .env(CHILD_STORAGE, storage)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + SOON;
    while !data.join("kubeconfig").exists() || !kubectl.call("get --raw /readyz", "").await.ok {
        assert!(Instant::now() < deadline, "the server does not become ready");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    child
}

pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

pub(crate) fn map(name: &str) -> ConfigMap {
    serde_json::from_value(serde_json::json!({ "metadata": { "name": name } })).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_comes_back_with_everything_and_watches_resume() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let kubeconfig = data.join("kubeconfig");
    // A free port, so that the kubeconfig still points at the server after its restart.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let kubectl = Kubectl::new(&kubeconfig);

    let mut server = spawn(&data, address, "embedded", &kubectl).await;
    kubectl::define(&kubectl).await;
    kubectl.ok_with("apply -f -", &kubectl::widget("a", "red")).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&kubeconfig).await);
    let before = maps.create(&PostParams::default(), &map("before")).await.unwrap();
    let seen = before.metadata.resource_version.unwrap();
    maps.create(&PostParams::default(), &map("unseen")).await.unwrap();
    let shown = kubectl.json("get wd a").await;
    let credentials = std::fs::read(&kubeconfig).unwrap();

    server.kill().await.unwrap();
    let _server = spawn(&data, address, "embedded", &kubectl).await;

    assert_eq!(std::fs::read(&kubeconfig).unwrap(), credentials);
    assert_eq!(kubectl.json("get wd a").await, shown);
    assert!(kubectl.ok("get wd").await.contains("red"));
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&kubeconfig).await);
    let events = maps.watch(&WatchParams::default(), &seen).await.unwrap();
    tokio::pin!(events);
    maps.create(&PostParams::default(), &map("after")).await.unwrap();
    for expected in ["unseen", "after"] {
        let event = tokio::time::timeout(SOON, events.try_next())
            .await
            .unwrap()
            .unwrap();
        match event {
            Some(WatchEvent::Added(map)) => assert_eq!(map.metadata.name.as_deref(), Some(expected)),
            other => panic!("{other:?} instead of {expected}"),
        }
    }
}
