//! Who runs where: what the supervisor, the control plane and the agents have said, in `up.json` for programs, and in
//! `targets.json` for Prometheus.
//!
//! ```json
//! {
//!   "phase": "Ready",
//!   "pid": 4711,
//!   "kubeconfig": "/…/kubeconfig",
//!   "apiServer": { "url": "https://127.0.0.1:6443", "kubeconfig": "/…/kubeconfig", "healthUrl": "http://127.0.0.1:8081" },
//!   "controlPlane": { "pid": 4712, "deaths": 0, "log": "/…/control-plane.log" },
//!   "nodes": {
//!     "robot": {
//!       "pid": 4713, "deaths": 0, "log": "/…/agent-robot.log", "kubeconfig": "/…/kubeconfig", "data": "/…/robot",
//!       "routerUrl": "http://127.0.0.1:8080", "peerAddress": "127.0.0.1:9090"
//!     }
//!   }
//! }
//! ```
//!
//! The phase is `Starting` until all that was applied is ready for the first time. A `pid` is null while a process is not running; what is not known yet is null.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crds::EdgeNode;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    AGENT, CONTROL_PLANE,
    announcement::{Announcement, write_whole},
    folder::Folder,
    targets,
};

/// How often the agents' addresses are looked up.
const FOLLOW: Duration = Duration::from_millis(500);

/// A handle; clones are the same board.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: Arc<Folder>,
    kubeconfig: PathBuf,
    state: Mutex<State>,
}

/// A supervised program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its process, while there is one.
    pub(crate) pid: Option<u32>,
    /// How often it has died.
    pub(crate) deaths: u32,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    announced: Option<Announcement>,
    programs: BTreeMap<String, Program>,
    addresses: BTreeMap<String, Addresses>,
}

/// How far `edgeloom up` is.
#[derive(Clone, Copy, Debug, Default, Serialize)]
enum Phase {
    #[default]
    Starting,
    Ready,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Addresses {
    router_url: String,
    peer_address: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    phase: Phase,
    pid: u32,
    kubeconfig: &'a Path,
    api_server: Option<&'a Announcement>,
    control_plane: Process,
    nodes: BTreeMap<&'a str, Node<'a>>,
}

#[derive(Serialize)]
struct Process {
    pid: Option<u32>,
    deaths: u32,
    log: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    #[serde(flatten)]
    process: Process,
    kubeconfig: PathBuf,
    data: PathBuf,
    router_url: Option<&'a str>,
    peer_address: Option<&'a str>,
}

impl Board {
    /// An empty board of this folder.
    pub(crate) fn new(folder: &Arc<Folder>, kubeconfig: Option<&Path>) -> Self {
        let kubeconfig = match kubeconfig {
            Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            None => folder.kubeconfig(),
        };
        let inner = Inner {
            folder: folder.clone(),
            kubeconfig,
            state: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Where the administrator's kubeconfig is, or will be.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.inner.kubeconfig.clone()
    }

    /// How a program stands.
    pub(crate) fn program(&self, name: &str) -> Program {
        self.lock().programs.get(name).cloned().unwrap_or_default()
    }

    /// A program runs.
    pub(crate) fn started(&self, name: &str, pid: Option<u32>) {
        self.change(|state| state.programs.entry(name.to_owned()).or_default().pid = pid);
    }

    /// A program runs no more; `died` unless it was asked to end.
    pub(crate) fn ended(&self, name: &str, died: bool) {
        self.change(|state| {
            let program = state.programs.entry(name.to_owned()).or_default();
            program.pid = None;
            program.deaths += u32::from(died);
        });
    }

    /// The control plane answers.
    pub(crate) fn announced(&self, announced: &Announcement) {
        self.change(|state| state.announced = Some(announced.clone()));
    }

    /// All that was applied is ready.
    pub(crate) fn ready(&self) {
        self.change(|state| state.phase = Phase::Ready);
    }

    /// Notes where agents are reached, as their EdgeNodes say, until `stop`.
    pub(crate) fn follow_nodes(&self, client: Client, stop: CancellationToken) {
        let board = self.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let api: Api<EdgeNode> = Api::all(client);
            loop {
                if let Ok(nodes) = api.list(&ListParams::default()).await {
                    board.found(&nodes.items);
                }
                tokio::time::sleep(FOLLOW).await;
            }
        }));
    }

    fn found(&self, nodes: &[EdgeNode]) {
        let address = |node: &EdgeNode| {
            let agent = node.status.as_ref()?.agent.as_ref()?;
            let addresses = Addresses {
                router_url: agent.router_url.clone(),
                peer_address: agent.peer_address.clone(),
            };
            Some((node.name_any(), addresses))
        };
        let addresses: BTreeMap<_, _> = nodes.iter().filter_map(address).collect();
        if self.lock().addresses != addresses {
            self.change(|state| state.addresses = addresses);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // Held while the file is written, so that an older state never follows a newer one.
        let mut state = self.lock();
        change(&mut state);
        let text = serde_json::to_vec_pretty(&self.document(&state)).expect("names and numbers are JSON");
        self.write(&self.inner.folder.state(), &text);
        let controller = state
            .announced
            .as_ref()
            .map(|announced| announced.health_url.as_str());
        let routers = state
            .addresses
            .values()
            .map(|addresses| addresses.router_url.as_str());
        let groups = targets::groups(controller, routers);
        let text = serde_json::to_vec_pretty(&groups).expect("names and addresses are JSON");
        self.write(&self.inner.folder.targets(), &text);
    }

    fn write(&self, path: &Path, text: &[u8]) {
        if let Err(error) = write_whole(path, text) {
            warn!(%error, path = %path.display(), "the file cannot be written");
        }
    }

    fn document<'a>(&'a self, state: &'a State) -> Document<'a> {
        let folder = &self.inner.folder;
        let process = |name: &str| {
            let Program { pid, deaths } = state.programs.get(name).cloned().unwrap_or_default();
            Process {
                pid,
                deaths,
                log: folder.log(name),
            }
        };
        let node = |program: &'a String| {
            let name = program.strip_prefix(AGENT)?;
            let addresses = state.addresses.get(name);
            let node = Node {
                process: process(program),
                kubeconfig: folder.agent_kubeconfig(name),
                data: folder.agent(name),
                router_url: addresses.map(|addresses| addresses.router_url.as_str()),
                peer_address: addresses.map(|addresses| addresses.peer_address.as_str()),
            };
            Some((name, node))
        };
        Document {
            phase: state.phase,
            pid: std::process::id(),
            kubeconfig: &self.inner.kubeconfig,
            api_server: state.announced.as_ref(),
            control_plane: process(CONTROL_PLANE),
            nodes: state.programs.keys().filter_map(node).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_file_says_who_runs_and_where_they_are_reached() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Arc::new(Folder::take(parent.path()).unwrap());
        let board = Board::new(&folder, None);
        board.started(CONTROL_PLANE, Some(11));
        board.started("agent-robot", Some(12));
        board.ended("agent-robot", true);
        board.started("agent-robot", Some(13));
        let mut node = EdgeNode::new("robot", crds::EdgeNodeSpec::default());
        let agent = crds::edge_node::AgentInfo {
            router_url: "http://127.0.0.1:1".to_owned(),
            peer_address: "127.0.0.1:2".to_owned(),
            ..Default::default()
        };
        node.status = Some(crds::EdgeNodeStatus {
            agent: Some(agent),
            ..Default::default()
        });
        board.found(&[node]);

        let read: Value = serde_json::from_slice(&std::fs::read(folder.state()).unwrap()).unwrap();
        assert_eq!(read["controlPlane"]["pid"], 11);
        assert_eq!(read["apiServer"], Value::Null);
        assert_eq!(read["kubeconfig"], json!(folder.kubeconfig()));
        let robot = &read["nodes"]["robot"];
        assert_eq!((&robot["pid"], &robot["deaths"]), (&json!(13), &json!(1)));
        assert_eq!(robot["routerUrl"], "http://127.0.0.1:1");
        assert_eq!(read["nodes"].as_object().unwrap().len(), 1);
    }
}
