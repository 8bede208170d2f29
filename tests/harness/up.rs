//! `edgeloom up` as a user runs it: the built binary, processes of their own, real sockets, the real model.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::wait;

/// Systems of several agents are started one after the other: each takes most of a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Where the example's Model says that its file is.
const EXAMPLE_PATH: &str = "/var/lib/edgeloom/models/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Lines of each log that a test which fails shows.
const LINES_SHOWN: usize = 60;

/// Time that a clean stop may take.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// A running system. It is stopped, and must leave no process behind, when it is dropped.
pub struct Up {
    child: Child,
    folder: TempDir,
    /// A client that may do everything.
    pub client: Client,
    _one_at_a_time: MutexGuard<'static, ()>,
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The built `edgeloom`, which lies beside the tests.
///
/// # Panics
///
/// When it was not built.
#[must_use]
pub fn edgeloom() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let program = test
        .ancestors()
        .nth(2)
        .expect("tests lie in DIR/deps")
        .join("edgeloom");
    assert!(
        program.exists(),
        "{} is missing: run `cargo build --workspace --bins` first",
        program.display()
    );
    program
}

/// The model that the tests run.
///
/// # Panics
///
/// When it was not fetched.
#[must_use]
pub fn model() -> PathBuf {
    let output = Command::new("python3")
        .arg(repository().join("tests/programs/model.py"))
        .output();
    let output = output.expect("python3 runs");
    assert!(output.status.success(), "the model is missing: run `make model`");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// The manifests of an example, with the model's real path in them.
///
/// # Panics
///
/// When they cannot be read.
#[must_use]
pub fn example(name: &str) -> String {
    let folder = repository().join("examples").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let texts = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("a manifest can be read"));
    let text = texts.collect::<Vec<_>>().join("\n---\n");
    text.replace(EXAMPLE_PATH, &model().display().to_string())
}

impl Up {
    /// Runs `edgeloom up` with these manifests and waits until the API server answers.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn start(manifests: &str, arguments: &[&str]) -> Self {
        Self::run("--filename", manifests, arguments, None).await
    }

    /// The same, with logs of everything.
    ///
    /// # Panics
    ///
    /// When the API server does not answer.
    pub async fn start_with_debug_logs(manifests: &str) -> Self {
        Self::run("--filename", manifests, &[], Some("debug")).await
    }

    /// Runs `edgeloom up` with these EdgeNodes and EdgeLinks and nothing to serve.
    ///
    /// # Panics
    ///
    /// When the API server does not answer.
    pub async fn start_idle(nodes: &str) -> Self {
        Self::run("--nodes", nodes, &[], None).await
    }

    async fn run(option: &str, manifests: &str, arguments: &[&str], log_filter: Option<&str>) -> Self {
        let guard = ONE_AT_A_TIME.lock().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("manifests.yaml");
        fs::write(&file, manifests).expect("the manifests are written");
        let log = fs::File::create(folder.path().join("up.log")).expect("a log file");
        let child = Command::new(edgeloom())
            .arg("up")
            .args([option.as_ref(), file.as_os_str()])
            .args(["--data".as_ref(), folder.path().join("data").as_os_str()])
            .args(arguments)
            .envs(log_filter.map(|filter| ("RUST_LOG", filter)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle can be cloned"))
            .stderr(log)
            .spawn()
            .expect("edgeloom starts");
        let mut starting = Starting {
            child: Some(child),
            folder: Some(folder),
        };
        let client = wait::until("the API server", || starting.client()).await;
        let (child, folder) = starting.take();
        Self {
            child,
            folder,
            client,
            _one_at_a_time: guard,
        }
    }

    /// The folder where it keeps everything.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What stands in `up.json`.
    #[must_use]
    pub fn document(&self) -> Value {
        document(self.folder.path()).unwrap_or_default()
    }

    /// The process of a node's agent.
    ///
    /// # Panics
    ///
    /// When it is not running.
    #[must_use]
    pub fn pid_of(&self, node: &str) -> u64 {
        self.document()["nodes"][node]["pid"]
            .as_u64()
            .expect("the agent runs")
    }

    /// The process of the control plane; none while it is not running.
    #[must_use]
    pub fn pid_of_control_plane(&self) -> Option<u64> {
        self.document()["controlPlane"]["pid"].as_u64()
    }

    /// The routers that are known, by node.
    #[must_use]
    pub fn routers(&self) -> BTreeMap<String, String> {
        let document = self.document();
        let nodes = document["nodes"].as_object().into_iter().flatten();
        nodes
            .filter_map(|(name, node)| Some((name.clone(), node["routerUrl"].as_str()?.to_owned())))
            .collect()
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        PathBuf::from(self.document()["kubeconfig"].as_str().unwrap_or_default())
    }

    /// The end of everything that was printed and logged, for the message of a test that fails.
    #[must_use]
    pub fn logs(&self) -> String {
        logs(self.folder.path(), LINES_SHOWN)
    }

    /// All that was printed and logged.
    #[must_use]
    pub fn whole_logs(&self) -> String {
        logs(self.folder.path(), usize::MAX)
    }

    /// The engine's worker of a node's agent.
    #[must_use]
    pub fn pid_of_worker(&self, node: &str) -> Option<u64> {
        let agent = self.pid_of(node);
        let threads = fs::read_dir(format!("/proc/{agent}/task")).ok()?.flatten();
        let children: Vec<_> = threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .collect();
        let children = children.join(" ");
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .find(|pid: &u64| {
                fs::read_to_string(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.contains("engine-worker"))
            })
    }
}

/// A system that has not answered yet; a test that fails meanwhile shows its logs and leaves no process.
struct Starting {
    child: Option<Child>,
    folder: Option<TempDir>,
}

impl Starting {
    fn client(&mut self) -> impl Future<Output = Option<Client>> + use<> {
        let folder = self
            .folder
            .as_ref()
            .expect("the folder is here until the start is over")
            .path()
            .to_owned();
        let ended = self
            .child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten());
        assert!(
            ended.is_none(),
            "edgeloom up ended: {ended:?}\n{}",
            logs(&folder, LINES_SHOWN)
        );
        async move {
            let kubeconfig = document(&folder)?["apiServer"]["kubeconfig"]
                .as_str()
                .map(PathBuf::from)?;
            let kubeconfig = Kubeconfig::read_from(kubeconfig).ok()?;
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .ok()?;
            let client = Client::try_from(config).ok()?;
            client.apiserver_version().await.ok()?;
            Some(client)
        }
    }

    fn take(mut self) -> (Child, TempDir) {
        (
            self.child.take().expect("taken once"),
            self.folder.take().expect("taken once"),
        )
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let (Some(child), Some(folder)) = (&mut self.child, &self.folder) {
            let _ = child.kill();
            let _ = child.wait();
            eprintln!("{}", logs(folder.path(), LINES_SHOWN));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let document = self.document();
        let mut processes: Vec<u64> = vec![];
        processes.extend(document["controlPlane"]["pid"].as_u64());
        for node in document["nodes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, node)| node)
        {
            processes.extend(node["pid"].as_u64());
        }
        signal(u64::from(self.child.id()), "TERM");
        let began = Instant::now();
        while self.child.try_wait().ok().flatten().is_none() {
            if began.elapsed() > STOP_DEADLINE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                assert!(
                    std::thread::panicking(),
                    "edgeloom up did not stop within {STOP_DEADLINE:?}"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let left: Vec<_> = processes.into_iter().filter(|pid| is_running(*pid)).collect();
        assert!(
            left.is_empty() || std::thread::panicking(),
            "processes are left behind: {left:?}"
        );
    }
}

/// Sends a signal to a process.
///
/// # Panics
///
/// When `kill` cannot be run.
pub fn signal(pid: u64, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status();
    sent.expect("kill runs");
}

fn is_running(pid: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

fn document(folder: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join("data/up.json")).ok()?).ok()
}

fn logs(folder: &Path, lines_max: usize) -> String {
    let mut text = String::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                let log = fs::read_to_string(&path).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(lines_max).collect();
                text.push_str(&format!("\n=== {}\n", path.display()));
                tail.into_iter()
                    .rev()
                    .for_each(|line| text.push_str(&format!("{line}\n")));
            }
        }
    }
    text
}
