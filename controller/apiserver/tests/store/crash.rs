//! What a durable store promises when its process is killed: nothing acknowledged is lost, no revision means two things, and watches
//! resume without a gap.
//!
//! The test runs itself as the child that is killed: the child writes as fast as it can and prints each acknowledged write.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use apiserver::store::{Embedded, Range, Store, Write};
use rand::Rng;

use crate::etcd;

/// Set for the child: `file PATH`, or `etcd HOST:PORT`.
const CHILD_STORE: &str = "APISERVER_CRASH_TEST_STORE";
/// Acknowledged writes after which a child is killed: a random number of these; more keep coming while the signal travels.
const KILL_AFTER: std::ops::Range<usize> = 20..400;
const ROUNDS: usize = 4;
/// Writers of the child; together they fill transactions.
const WRITERS: usize = 16;
/// Where the stores of all rounds lie in etcd.
const PREFIX: &str = "/crash";

#[test]
fn killing_the_process_loses_no_acknowledged_write_and_reuses_no_revision() {
    if let Ok(place) = std::env::var(CHILD_STORE) {
        write_until_killed(&place);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = format!("file {}", folder.path().join("store").display());
    let mut acknowledged = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut child = Writing::begin(&place);
        child.wait_for_some(&mut acknowledged);
        child.kill(&mut acknowledged);
        check(&place, &acknowledged);
    }
}

#[test]
fn killing_a_server_or_etcd_loses_no_acknowledged_write_and_reuses_no_revision() {
    let mut server = etcd::Server::start();
    let place = format!("etcd {}", server.endpoint());
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Writing::begin(&place);
        child.wait_for_some(&mut acknowledged);
        if round % 2 == 0 {
            child.kill(&mut acknowledged);
        } else {
            server.kill();
            child.kill(&mut acknowledged);
            server.run();
        }
        check(&place, &acknowledged);
    }
}

/// Acknowledged writes of all rounds: revision → key.
type Acknowledged = BTreeMap<u64, String>;

/// A child that writes.
struct Writing {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writing {
    fn begin(place: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("the test has a program"))
            .args([
                "--exact",
                "crash::killing_the_process_loses_no_acknowledged_write_and_reuses_no_revision",
                "--nocapture",
            ])
            .env(CHILD_STORE, place)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test starts itself");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    fn wait_for_some(&mut self, acknowledged: &mut Acknowledged) {
        let wanted = acknowledged.len() + rand::rng().random_range(KILL_AFTER);
        while acknowledged.len() < wanted {
            let line = self.lines.next().expect("the child writes until it is killed");
            note(&line.expect("text"), acknowledged);
        }
    }

    /// What was acknowledged before the signal arrived counts too; the last line may be cut, so only whole ones do.
    fn kill(mut self, acknowledged: &mut Acknowledged) {
        self.child.kill().expect("SIGKILL is sent");
        let rest: Vec<String> = self.lines.map_while(Result::ok).collect();
        for line in rest.iter().take(rest.len().saturating_sub(1)) {
            note(line, acknowledged);
        }
        self.child.wait().expect("it ends");
    }
}

fn note(line: &str, acknowledged: &mut Acknowledged) {
    let Some((revision, key)) = line.strip_prefix("ack ").and_then(|line| line.split_once(' ')) else {
        return;
    };
    let revision = revision.parse().expect("a revision");
    let other = acknowledged.insert(revision, key.to_owned());
    assert_eq!(other, None, "revision {revision} was acknowledged twice");
}

async fn open(place: &str) -> Arc<dyn Store> {
    match place.split_once(' ') {
        Some(("file", path)) => Arc::new(Embedded::open(path).expect("the file opens after a kill")),
        Some(("etcd", endpoint)) => Arc::new(etcd::open(&etcd::config(endpoint, PREFIX, None)).await),
        _ => panic!("{place} is no place"),
    }
}

fn check(place: &str, acknowledged: &Acknowledged) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = open(place).await;
        let page = store.list("/", Range::default()).await.expect("list works");
        let found: BTreeMap<u64, String> = page
            .entries
            .iter()
            .map(|entry| (entry.revision, entry.key.to_string()))
            .collect();
        for (revision, key) in acknowledged {
            assert_eq!(found.get(revision), Some(key), "an acknowledged write is lost");
        }
        let newest = acknowledged
            .keys()
            .next_back()
            .copied()
            .expect("some were acknowledged");
        assert!(store.revision().await.expect("a revision") >= newest);
        resumes_without_a_gap(store.as_ref(), acknowledged).await;
    });
}

/// A watcher that had seen half of the writes gets all others, each once.
async fn resumes_without_a_gap(store: &dyn Store, acknowledged: &Acknowledged) {
    let seen = *acknowledged
        .keys()
        .nth(acknowledged.len() / 2)
        .expect("there are some");
    let newest = *acknowledged.keys().next_back().expect("there are some");
    let mut watch = store.watch("/", seen).await.expect("the history is kept");
    let mut told: Vec<u64> = Vec::new();
    while watch.progress() < newest {
        told.extend(
            watch
                .next()
                .await
                .expect("kept")
                .iter()
                .map(|event| event.revision),
        );
    }
    assert!(
        told.is_sorted_by(|left, right| left < right),
        "each comes once, in order"
    );
    let missed: Vec<&u64> = acknowledged
        .range(seen + 1..)
        .map(|(revision, _)| revision)
        .filter(|revision| told.binary_search(revision).is_err())
        .collect();
    assert_eq!(missed, Vec::<&u64>::new(), "a watch that resumes misses nothing");
}

/// The child: never returns.
fn write_until_killed(place: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = open(place).await;
        let start = store.revision().await.expect("a revision");
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let key = format!("/{start}/{writer}/{number}");
                    let write = Write::Create {
                        key: key.as_str().into(),
                        value: vec![b'x'; 300].into(),
                    };
                    // The medium may be killed first: the parent then kills this child.
                    let Ok(revision) = store.commit(write).await else {
                        return;
                    };
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {revision} {key}")
                        .and_then(|()| out.flush())
                        .expect("the parent reads");
                }
            })
        });
        futures::future::join_all(writers).await;
        std::future::pending::<()>().await;
    });
}
