//! Backups: taken while others write, restored into any backend, and never with a revision that was told before.

use std::sync::Arc;

use apiserver::store::{Entry, Error, Location, Range, Store, Write, backup::Backup};

use crate::etcd::Server;

fn create(key: &str) -> Write {
    Write::Create {
        key: key.into(),
        value: format!("value of {key}").into(),
    }
}

async fn fill(store: &Arc<dyn Store>, keys: std::ops::Range<usize>) {
    let writes = keys.map(|number| store.commit(create(&format!("/k{number:05}"))));
    for written in futures::future::join_all(writes).await {
        written.expect("nothing is there");
    }
}

fn contents(entries: &[Entry]) -> Vec<(Arc<str>, bytes::Bytes)> {
    entries
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.clone()))
        .collect()
}

/// Takes a backup of `from` that goes on writing, restores it into `to`, which held something else, and looks at `to`.
async fn move_over(from: &Location, to: &Location) {
    let source = from.open().await.expect("it opens");
    fill(&source, 0..250).await;
    let backup = Backup::take(source.as_ref()).await.expect("it is read");
    fill(&source, 250..300).await;
    let told = source.revision().await.expect("a revision");
    drop(source);

    let before = to.open().await.expect("it opens");
    before
        .commit(create("/something/else"))
        .await
        .expect("nothing is there");
    let told = told.max(before.revision().await.expect("a revision"));
    drop(before);

    let mut steps = Vec::new();
    let revision = to
        .restore(&backup, |done| steps.push(done))
        .await
        .expect("it is restored");
    assert!(revision > told, "{revision} was told before, up to {told}");
    assert_eq!(steps.last(), Some(&250), "progress ends with all entries");

    let restored = to.open().await.expect("it opens");
    let page = restored.list("/", Range::default()).await.expect("list works");
    assert_eq!(contents(&page.entries), contents(&backup.entries));
    assert!(page.entries.iter().all(|entry| entry.revision > told));
    let refused = restored.watch("/", told).await.err();
    assert!(
        matches!(refused, Some(Error::Compacted { .. })),
        "a watcher of before lists again: {refused:?}"
    );
    let stale = Write::Update {
        key: "/k00000".into(),
        value: "new".into(),
        expected: backup.entries[0].revision,
    };
    let refused = restored.commit(stale).await;
    assert!(
        matches!(refused, Err(Error::Precondition { actual: Some(_) })),
        "{refused:?}"
    );
    let next = restored.commit(create("/next")).await.expect("nothing is there");
    assert!(next > revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_moves_between_backends_and_reuses_no_revision() {
    let server = Server::start();
    let etcd = || Location::Etcd(server.fresh(None));
    // etcd answers from here on.
    crate::etcd::open(&server.fresh(None)).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| Location::File(folder.path().join(name));
    move_over(&file("a"), &etcd()).await;
    move_over(&etcd(), &file("b")).await;
    move_over(&file("c"), &file("d")).await;
    move_over(&etcd(), &etcd()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_an_etcd_notice_that_it_was_restored_and_begin_anew() {
    let server = Server::start();
    let config = server.fresh(None);
    let store: Arc<dyn Store> = Arc::new(crate::etcd::open(&config).await);
    let place = Location::Etcd(config);
    fill(&store, 0..10).await;
    let backup = Backup::take(store.as_ref()).await.expect("it is read");
    fill(&store, 10..20).await;
    let told = store.revision().await.expect("a revision");
    let mut watch = store.watch("/", told).await.expect("nothing is compacted");

    let revision = place.restore(&backup, |_| {}).await.expect("it is restored");
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), watch.next()).await;
    assert!(matches!(ended, Ok(Err(Error::Compacted { .. }))), "{ended:?}");
    let page = store.list("/", Range::default()).await.expect("list works");
    assert_eq!(
        (contents(&page.entries), page.revision),
        (contents(&backup.entries), revision)
    );
    let next = store
        .commit(create("/next"))
        .await
        .expect("the server writes again");
    assert!(next > revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_use_is_not_restored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = Location::File(folder.path().join("store"));
    let store = place.open().await.expect("it opens");
    let backup = Backup::take(store.as_ref()).await.expect("it is read");
    let refused = place.restore(&backup, |_| {}).await.expect_err("it is open");
    assert!(
        refused.to_string().contains("failed to open its file"),
        "{refused}"
    );
}
