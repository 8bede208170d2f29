//! `edgeloom up` with one agent and no model: what it starts, what it starts again, and that it leaves nothing behind.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::edgeloom;

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

struct Up {
    child: Child,
    folder: TempDir,
}

impl Up {
    /// Starts it and waits until all is ready.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("up.log")).unwrap();
        let child = edgeloom(&["up", "--agents", "1", "--data"])
            .arg(folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let up = Self { child, folder };
        up.until("everything is ready", || {
            (up.document()["phase"] == "Ready").then_some(())
        });
        up
    }

    fn document(&self) -> Value {
        let file = self.folder.path().join("data/up.json");
        fs::read(file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// The processes that it says it has started.
    fn processes(&self) -> BTreeMap<&'static str, u64> {
        let document = self.document();
        let agent = document["nodes"]["node-1"]["pid"].as_u64();
        let plane = document["controlPlane"]["pid"].as_u64();
        [("agent", agent), ("control plane", plane)]
            .into_iter()
            .filter_map(|(name, pid)| Some((name, pid?)))
            .collect()
    }

    fn until<Found>(&self, what: &str, look: impl Fn() -> Option<Found>) -> Found {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                began.elapsed() < DEADLINE,
                "{what} did not come about\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Its children end with it, in whatever state a failed test leaves it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(pid: u64, signal: &str) {
    assert!(
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

fn is_running(pid: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

/// A process and all that descend from it.
fn family(pid: u64) -> Vec<u64> {
    let mut all = vec![pid];
    // Each thread has a list of the children that it started.
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    for child in lists.collect::<String>().split_whitespace() {
        let child = child.parse().unwrap();
        if !all.contains(&child) {
            all.extend(family(child));
        }
    }
    all
}

#[test]
fn a_process_that_dies_is_started_again_at_the_same_address() {
    let up = Up::start();
    let url = up.document()["apiServer"]["url"].clone();
    for name in ["agent", "control plane"] {
        let first = up.processes()[name];
        send(first, "-KILL");
        up.until(name, || {
            up.processes().get(name).filter(|pid| **pid != first).map(drop)
        });
    }
    assert_eq!(up.document()["nodes"]["node-1"]["deaths"], 1);
    assert_eq!(up.document()["apiServer"]["url"], url);
    assert!(
        up.log().contains("was killed (signal 9); started again"),
        "{}",
        up.log()
    );
}

#[test]
fn a_termination_ends_everything_with_status_0() {
    let mut up = Up::start();
    let family = family(u64::from(up.child.id()));
    assert!(
        family.len() >= 4,
        "the control plane, the agent and its worker run: {family:?}"
    );
    send(u64::from(up.child.id()), "-TERM");
    let status = up.child.wait().unwrap();
    assert!(status.success(), "{status:?}\n{}", up.log());
    for pid in family {
        up.until("the end of every process", || (!is_running(pid)).then_some(()));
    }
}

#[test]
fn nobody_outlives_a_supervisor_that_is_killed() {
    let mut up = Up::start();
    let family = family(u64::from(up.child.id()));
    send(u64::from(up.child.id()), "-KILL");
    up.child.wait().unwrap();
    for pid in family {
        up.until("the end of every process", || (!is_running(pid)).then_some(()));
    }
}
