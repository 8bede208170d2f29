//! `kill -9` of a whole server at random points under load, on both durable stores: no acknowledged write is lost, no revision means two
//! things, and a watcher that resumes where it was misses nothing.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, future::join_all};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};
use rand::Rng;
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    etcd,
    program::Kubectl,
    restart::{self, client},
    served::SOON,
};

const ROUNDS: usize = 3;
const WRITERS: usize = 8;
/// Acknowledged writes of a round after which the server is killed.
const KILL_AFTER: std::ops::Range<usize> = 30..200;

/// Revision → name of the object and what was done.
type Log = Arc<Mutex<BTreeMap<u64, (String, Done)>>>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    Put,
    Deleted,
}

fn note(log: &Log, revision: &str, name: &str, done: Done) {
    let revision = revision.parse().unwrap();
    let before = log
        .lock()
        .unwrap()
        .insert(revision, (name.to_owned(), done.clone()));
    assert!(
        before.is_none() || before == Some((name.to_owned(), done)),
        "revision {revision} meant {before:?} before"
    );
}

/// Creates, updates and deletes until the server is gone.
async fn write(maps: Api<ConfigMap>, writer: String, acknowledged: Log) {
    let version = |map: &ConfigMap| map.metadata.resource_version.clone().unwrap();
    for number in 0.. {
        let name = format!("{writer}-{number}");
        let Ok(created) = maps.create(&PostParams::default(), &restart::map(&name)).await else {
            return;
        };
        note(&acknowledged, &version(&created), &name, Done::Put);
        let mut changed = created;
        changed.data = Some(BTreeMap::from([("k".to_owned(), "v".to_owned())]));
        let Ok(updated) = maps.replace(&name, &PostParams::default(), &changed).await else {
            return;
        };
        note(&acknowledged, &version(&updated), &name, Done::Put);
        if number % 3 == 0 && maps.delete(&name, &Default::default()).await.is_err() {
            return;
        }
    }
}

/// Follows from `after` until the connection breaks; gives back where it was.
async fn follow(maps: Api<ConfigMap>, after: String, seen: Log) -> String {
    let mut last = after;
    let Ok(events) = maps
        .watch(&WatchParams::default().disable_bookmarks(), &last)
        .await
    else {
        return last;
    };
    let mut events = events.boxed();
    while let Ok(Some(event)) = events.try_next().await {
        let (map, done) = match event {
            WatchEvent::Added(map) | WatchEvent::Modified(map) => (map, Done::Put),
            WatchEvent::Deleted(map) => (map, Done::Deleted),
            other => panic!("a watch is told {other:?}"),
        };
        let version = map.metadata.resource_version.unwrap();
        note(&seen, &version, &map.metadata.name.unwrap(), done);
        last = version;
    }
    last
}

async fn crash_again_and_again(storage: &str) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let address = free_address();
    let kubectl = Kubectl::new(data.join("kubeconfig"));
    let (acknowledged, seen) = (Log::default(), Log::default());
    let mut server = restart::spawn(&data, address, storage, &kubectl).await;
    let mut position = newest(&data).await;
    for round in 0..ROUNDS {
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&data.join("kubeconfig")).await);
        let watcher: JoinHandle<String> = tokio::spawn(follow(maps.clone(), position, seen.clone()));
        let before = acknowledged.lock().unwrap().len();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                tokio::spawn(write(
                    maps.clone(),
                    format!("r{round}w{writer}"),
                    acknowledged.clone(),
                ))
            })
            .collect();
        let wanted = before + rand::rng().random_range(KILL_AFTER);
        timeout(SOON, async {
            while acknowledged.lock().unwrap().len() < wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("writes are acknowledged");
        server.kill().await.unwrap();
        timeout(SOON, join_all(writers)).await.expect("writers notice");
        position = timeout(SOON, watcher)
            .await
            .expect("the watcher notices")
            .unwrap();
        server = restart::spawn(&data, address, storage, &kubectl).await;
    }
    // The last watch sees everything up to what is newest now.
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&data.join("kubeconfig")).await);
    let last = maps
        .create(&PostParams::default(), &restart::map("last"))
        .await
        .unwrap();
    let last: u64 = last.metadata.resource_version.unwrap().parse().unwrap();
    let watcher = tokio::spawn(follow(maps.clone(), position, seen.clone()));
    timeout(SOON, async {
        while !seen.lock().unwrap().contains_key(&last) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the watch gets there");
    watcher.abort();
    let (acknowledged, seen) = (acknowledged.lock().unwrap().clone(), seen.lock().unwrap().clone());
    judge(&maps, &acknowledged, &seen).await;
}

async fn judge(
    maps: &Api<ConfigMap>,
    acknowledged: &BTreeMap<u64, (String, Done)>,
    seen: &BTreeMap<u64, (String, Done)>,
) {
    for (revision, what) in acknowledged {
        assert_eq!(
            seen.get(revision),
            Some(what),
            "an acknowledged write was not seen, or lost"
        );
    }
    // What the watch told adds up to what is there, but for what was there before it.
    let ours = |name: &String| name != "kube-root-ca.crt";
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (revision, (name, done)) in seen {
        match done {
            Done::Put => drop(expected.insert(name.clone(), *revision)),
            Done::Deleted => drop(expected.remove(name)),
        }
    }
    let listed = maps.list(&ListParams::default()).await.unwrap();
    let found: BTreeMap<String, u64> = listed
        .into_iter()
        .map(|map| {
            let version = map.metadata.resource_version.unwrap();
            (map.metadata.name.unwrap(), version.parse().unwrap())
        })
        .filter(|(name, _)| ours(name))
        .collect();
    expected.retain(|name, _| ours(name));
    assert_eq!(found, expected);
}

/// The revision that a list of nothing has.
async fn newest(data: &Path) -> String {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&data.join("kubeconfig")).await);
    let listed = maps.list(&ListParams::default()).await.unwrap();
    listed.metadata.resource_version.unwrap()
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_server_survives_kill_9_under_load() {
    crash_again_and_again("embedded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_over_etcd_survives_kill_9_under_load() {
    let server = etcd::Server::start();
    etcd::open(&server.fresh(None)).await;
    crash_again_and_again(&server.endpoint()).await;
}
