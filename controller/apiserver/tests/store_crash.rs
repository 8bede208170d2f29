//! What an embedded store promises when its process is killed: nothing acknowledged is lost, and no revision means two things.
//!
//! The test runs itself as the child that is killed: the child writes as fast as it can and prints each acknowledged write.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use apiserver::store::{Embedded, Range, Store, Write};

/// Set for the child, to the file of its store.
const CHILD_FILE: &str = "APISERVER_CRASH_TEST_FILE";
/// Acknowledged writes after which a child is killed; more keep coming while the signal travels.
const KILL_AFTER: usize = 200;
const ROUNDS: usize = 4;

/// Writers of the child; together they fill transactions.
const WRITERS: usize = 16;

#[test]
fn killing_the_process_loses_no_acknowledged_write_and_reuses_no_revision() {
    if let Ok(file) = std::env::var(CHILD_FILE) {
        write_until_killed(&file);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("store");
    // Revision → key, over all rounds.
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("the test has a program"))
            .args([
                "--exact",
                "killing_the_process_loses_no_acknowledged_write_and_reuses_no_revision",
                "--nocapture",
            ])
            .env(CHILD_FILE, &file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test starts itself");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut of_this_round = 0;
        let read = |line: &str, acknowledged: &mut BTreeMap<u64, String>| {
            let Some((revision, key)) = line.strip_prefix("ack ").and_then(|line| line.split_once(' '))
            else {
                return 0;
            };
            let revision = revision.parse().expect("a revision");
            let other = acknowledged.insert(revision, key.to_owned());
            assert_eq!(
                other, None,
                "round {round}: revision {revision} was acknowledged twice"
            );
            1
        };
        while of_this_round < KILL_AFTER {
            let line = lines
                .next()
                .expect("the child writes until it is killed")
                .expect("text");
            of_this_round += read(&line, &mut acknowledged);
        }
        child.kill().expect("SIGKILL is sent");
        // What was acknowledged before the signal arrived counts too; the last line may be cut, so only whole ones do.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        for line in rest.iter().take(rest.len().saturating_sub(1)) {
            read(line, &mut acknowledged);
        }
        child.wait().expect("it ends");
        check(&file, &acknowledged);
    }
}

fn check(file: &std::path::Path, acknowledged: &BTreeMap<u64, String>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = Embedded::open(file).expect("the file opens after a kill");
        let page = store.list("/", Range::default()).await.expect("list works");
        let found: BTreeMap<u64, String> = page
            .entries
            .iter()
            .map(|entry| (entry.revision, entry.key.to_string()))
            .collect();
        for (revision, key) in acknowledged {
            assert_eq!(found.get(revision), Some(key), "an acknowledged write is lost");
        }
        let newest = acknowledged.keys().next_back().copied().unwrap_or(0);
        assert!(store.revision().await.expect("a revision") >= newest);
        let mut watch = store.watch("/", newest - 1).await.expect("the history is kept");
        assert_eq!(
            watch.next().await.expect("kept")[0].revision,
            newest,
            "watches resume"
        );
    });
}

/// The child: never returns.
fn write_until_killed(file: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(Embedded::open(file).expect("the file opens"));
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
                    let revision = store.commit(write).await.expect("the key is new");
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {revision} {key}")
                        .and_then(|()| out.flush())
                        .expect("the parent reads");
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}
