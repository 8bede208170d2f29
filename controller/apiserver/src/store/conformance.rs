//! What every backend has to do, as functions that take an empty store. A backend's tests call [`all`].
//!
//! Not compiled away in release builds of the library: a backend outside this crate wants to be judged by it too.
#![expect(clippy::missing_panics_doc, reason = "panicking is how a suite speaks")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use super::{Entry, Error, Event, Range, Store, Watch, Write};

/// Deadline for what should come at once.
const SOON: Duration = Duration::from_secs(30);

fn create(key: &str, value: &str) -> Write {
    Write::Create {
        key: key.into(),
        value: Bytes::from(value.to_owned()),
    }
}

fn update(key: &str, value: &str, expected: u64) -> Write {
    Write::Update {
        key: key.into(),
        value: Bytes::from(value.to_owned()),
        expected,
    }
}

fn delete(key: &str, expected: u64) -> Write {
    Write::Delete {
        key: key.into(),
        expected,
    }
}

async fn read(store: &dyn Store, key: &str) -> Option<(String, u64)> {
    let entry = store.get(key).await.expect("get works")?;
    Some((
        String::from_utf8(entry.value.to_vec()).expect("text was written"),
        entry.revision,
    ))
}

async fn keys(store: &dyn Store, prefix: &str, range: Range<'_>) -> Vec<String> {
    let page = store.list(prefix, range).await.expect("list works");
    page.entries
        .into_iter()
        .map(|entry| entry.key.to_string())
        .collect()
}

async fn next_events(watch: &mut dyn Watch, number: usize) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    while events.len() < number {
        let more = tokio::time::timeout(SOON, watch.next())
            .await
            .expect("events come soon")
            .expect("the history is kept");
        events.extend(more);
    }
    events
}

/// Runs the whole suite, each part on a fresh store.
pub async fn all<S: Store, F: AsyncFn() -> S>(fresh: F) {
    writes_suppose_and_are_refused(&fresh().await).await;
    revisions_are_global_and_grow(&fresh().await).await;
    lists_are_sorted_paged_and_stable(&fresh().await).await;
    watches_tell_each_event_once_and_in_order(&fresh().await).await;
    compaction_is_an_error_for_who_needs_the_past(&fresh().await).await;
    racing_writers_cannot_both_win(Arc::new(fresh().await)).await;
}

/// A write whose supposition is wrong changes nothing and says what is so.
pub async fn writes_suppose_and_are_refused(store: &dyn Store) {
    assert_eq!(
        store.commit(update("/a", "x", 1)).await,
        Err(Error::Precondition { actual: None })
    );
    assert_eq!(
        store.commit(delete("/a", 1)).await,
        Err(Error::Precondition { actual: None })
    );
    let first = store.commit(create("/a", "1")).await.expect("nothing is there");
    assert_eq!(
        store.commit(create("/a", "2")).await,
        Err(Error::Precondition { actual: Some(first) })
    );
    let second = store
        .commit(update("/a", "2", first))
        .await
        .expect("it is unchanged");
    assert_eq!(
        store.commit(update("/a", "3", first)).await,
        Err(Error::Precondition { actual: Some(second) })
    );
    assert_eq!(
        store.commit(delete("/a", first)).await,
        Err(Error::Precondition { actual: Some(second) })
    );
    assert_eq!(read(store, "/a").await, Some(("2".to_owned(), second)));
    assert_eq!(
        store.revision().await,
        Ok(second),
        "refused writes take no revision"
    );
    store.commit(delete("/a", second)).await.expect("it is unchanged");
    assert_eq!(read(store, "/a").await, None);
    let again = store.commit(create("/a", "4")).await.expect("nothing is there");
    assert!(again > second);
}

/// One counter for all keys.
pub async fn revisions_are_global_and_grow(store: &dyn Store) {
    let mut last = store.revision().await.expect("revision works");
    assert!(last >= 1, "revision 0 means something else in the API");
    for key in ["/b", "/a", "/c/d"] {
        let revision = store.commit(create(key, "")).await.expect("nothing is there");
        assert!(revision > last);
        assert_eq!(store.revision().await, Ok(revision));
        last = revision;
    }
}

/// Pages at a revision fit together whatever is written between them.
pub async fn lists_are_sorted_paged_and_stable(store: &dyn Store) {
    for key in ["/p/b", "/p/a", "/q/x", "/p/c", "/p", "/p0"] {
        store.commit(create(key, key)).await.expect("nothing is there");
    }
    assert_eq!(
        keys(store, "/p/", Range::default()).await,
        ["/p/a", "/p/b", "/p/c"]
    );
    let first = store
        .list(
            "/p/",
            Range {
                limit: Some(2),
                ..Range::default()
            },
        )
        .await
        .expect("list works");
    assert_eq!((first.entries.len(), first.remaining), (2, 1));
    assert_eq!(first.revision, store.revision().await.expect("revision works"));

    let (_, b) = read(store, "/p/b").await.expect("it was created");
    let (_, c) = read(store, "/p/c").await.expect("it was created");
    store.commit(delete("/p/c", c)).await.expect("it is unchanged");
    store
        .commit(update("/p/b", "new", b))
        .await
        .expect("it is unchanged");
    store.commit(create("/p/bb", "")).await.expect("nothing is there");

    let at = Some(first.revision);
    assert_eq!(
        keys(
            store,
            "/p/",
            Range {
                at,
                after: Some("/p/b"),
                limit: None
            }
        )
        .await,
        ["/p/c"]
    );
    let old = store
        .list(
            "/p/",
            Range {
                at,
                ..Range::default()
            },
        )
        .await
        .expect("list works");
    assert_eq!(
        old.entries[1],
        Entry {
            key: "/p/b".into(),
            value: Bytes::from("/p/b"),
            revision: b
        }
    );
    assert_eq!(
        keys(store, "/p/", Range::default()).await,
        ["/p/a", "/p/b", "/p/bb"]
    );
    let current = store.revision().await.expect("revision works");
    let future = store
        .list(
            "/p/",
            Range {
                at: Some(current + 1),
                ..Range::default()
            },
        )
        .await;
    assert_eq!(
        future,
        Err(Error::Future {
            asked: current + 1,
            current
        })
    );
}

/// Past events first, then live ones; only those of the prefix; with what stood there before.
pub async fn watches_tell_each_event_once_and_in_order(store: &dyn Store) {
    let start = store.revision().await.expect("revision works");
    let one = store.commit(create("/w/a", "1")).await.expect("nothing is there");
    store
        .commit(create("/other", ""))
        .await
        .expect("nothing is there");
    let mut watch = store.watch("/w/", start).await.expect("nothing is compacted");
    let two = store
        .commit(update("/w/a", "2", one))
        .await
        .expect("it is unchanged");
    let three = store.commit(delete("/w/a", two)).await.expect("it is unchanged");

    let events = next_events(watch.as_mut(), 3).await;
    let previous = |revision, value: &str| {
        Some(Entry {
            key: "/w/a".into(),
            value: Bytes::from(value.to_owned()),
            revision,
        })
    };
    let expected = [
        Event {
            revision: one,
            key: "/w/a".into(),
            value: Some("1".into()),
            previous: None,
        },
        Event {
            revision: two,
            key: "/w/a".into(),
            value: Some("2".into()),
            previous: previous(one, "1"),
        },
        Event {
            revision: three,
            key: "/w/a".into(),
            value: None,
            previous: previous(two, "2"),
        },
    ];
    for (event, expected) in events.iter().zip(&expected) {
        assert_eq!(event.as_ref(), expected);
    }
    assert_eq!(events.len(), 3);
    assert_eq!(watch.progress(), three);

    let mut resumed = store.watch("/w/", two).await.expect("nothing is compacted");
    assert_eq!(next_events(resumed.as_mut(), 1).await[0].revision, three);
    store.commit(create("/w/b", "")).await.expect("nothing is there");
    assert_eq!(next_events(resumed.as_mut(), 1).await[0].key.as_ref(), "/w/b");
}

/// Reading or following from before the compaction fails; from it on works, and so does what is current.
pub async fn compaction_is_an_error_for_who_needs_the_past(store: &dyn Store) {
    let one = store.commit(create("/a", "1")).await.expect("nothing is there");
    let mut slow = store.watch("/", one - 1).await.expect("nothing is compacted");
    let two = store
        .commit(update("/a", "2", one))
        .await
        .expect("it is unchanged");
    let three = store
        .commit(update("/a", "3", two))
        .await
        .expect("it is unchanged");
    store.compact(two).await.expect("compaction works");

    let compacted = |asked| Error::Compacted { asked, oldest: two };
    let old = store
        .list(
            "/",
            Range {
                at: Some(one),
                ..Range::default()
            },
        )
        .await;
    assert_eq!(old, Err(compacted(one)));
    assert_eq!(store.watch("/", one).await.err(), Some(compacted(one)));
    assert_eq!(
        slow.next().await.err(),
        Some(compacted(one - 1)),
        "a watch that did not keep up is told so"
    );
    let kept = store
        .list(
            "/",
            Range {
                at: Some(two),
                ..Range::default()
            },
        )
        .await
        .expect("kept");
    assert_eq!(kept.entries[0].value, Bytes::from("2"));
    let mut watch = store.watch("/", two).await.expect("kept");
    assert_eq!(next_events(watch.as_mut(), 1).await[0].revision, three);
    assert_eq!(read(store, "/a").await, Some(("3".to_owned(), three)));
}

/// Of many updates computed from the same revision exactly one is done.
pub async fn racing_writers_cannot_both_win(store: Arc<dyn Store>) {
    let first = store.commit(create("/a", "")).await.expect("nothing is there");
    let racers = (0..16).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(update("/a", &number.to_string(), first)).await })
    });
    let outcomes = join_all(racers).await;
    let won = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Ok(_))))
        .count();
    assert_eq!(won, 1);
    assert_eq!(store.revision().await, Ok(first + 1));
}
