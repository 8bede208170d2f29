//! The conformance suite on each backend, and what only a durable or a shared one can promise.

mod backup;
mod crash;
mod etcd;
mod shared;

use apiserver::store::{Embedded, Memory, Range, Store, Write, conformance};

#[tokio::test]
async fn memory_conforms() {
    conformance::all(async || Memory::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_conforms() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let number = std::sync::atomic::AtomicUsize::new(0);
    conformance::all(async || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Embedded::open(folder.path().join(number.to_string())).expect("a new file opens")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_conforms() {
    let server = etcd::Server::start();
    conformance::all(async || etcd::open(&server.fresh(None)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_file_has_the_same_content_revision_and_history() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = Embedded::open(&path).expect("a new file opens");
    let create = |key: &str| Write::Create {
        key: key.into(),
        value: "v".into(),
    };
    let first = store.commit(create("/a")).await.expect("nothing is there");
    let second = store.commit(create("/b")).await.expect("nothing is there");
    let third = store
        .commit(Write::Delete {
            key: "/a".into(),
            expected: first,
        })
        .await
        .expect("unchanged");
    let before = store.list("/", Range::default()).await.expect("list works");
    drop(store);

    let store = Embedded::open(&path).expect("the file opens again");
    assert_eq!(store.revision().await, Ok(third));
    assert_eq!(
        store.list("/", Range::default()).await.expect("list works"),
        before
    );
    let mut watch = store.watch("/", first).await.expect("the history is kept");
    let revisions: Vec<u64> = watch
        .next()
        .await
        .expect("kept")
        .iter()
        .map(|event| event.revision)
        .collect();
    assert_eq!(revisions, [second, third]);
}

#[tokio::test]
async fn a_file_is_open_in_one_process_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let _first = Embedded::open(&path).expect("a new file opens");
    let second = Embedded::open(&path).expect_err("it is open");
    assert!(
        second
            .to_string()
            .starts_with("the store failed to open its file"),
        "{second}"
    );
}
