//! The cluster that `tests/programs/test-kubernetes.sh` names, and the real programs that drive it.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

/// There is one cluster, and one release in it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Longer than anything takes on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(420);

/// Time between two looks, each of which starts a kubectl.
const PAUSE: Duration = Duration::from_millis(250);

/// A cluster, for one test.
pub(crate) struct Cluster {
    /// Controller and agents, as `repository:tag`.
    pub(crate) image: String,
    /// The model behind a web server.
    pub(crate) weights_image: String,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Cluster {
    /// The cluster of KUBECONFIG, once no other test is running. What a test that failed has left broken is whole again, where
    /// the cluster is ours.
    pub(crate) fn of_this_test() -> Self {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Self {
            image: named("EDGELOOM_IMAGE"),
            weights_image: named("EDGELOOM_WEIGHTS_IMAGE"),
            _one_at_a_time: guard,
        };
        if let Some(home) = Home::of_environment() {
            cluster.mend(&home);
        }
        cluster
    }

    fn mend(&self, home: &Home) {
        for program in [
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
        ] {
            home.run("start", program);
        }
        for node in self.list(&["nodes"]) {
            let name = node["metadata"]["name"].as_str().expect("a node has a name");
            home.run("start", name);
            if node["spec"]["unschedulable"] == true {
                self.kubectl(&["uncordon", name]);
            }
        }
        self.lift_refusal();
    }

    /// Runs kubectl; gives what it printed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        succeed(Command::new(named("EDGELOOM_KUBECTL")).args(arguments))
    }

    /// Runs kubectl; gives what it printed, complaints as well, whether it succeeded or not.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> String {
        let output = Command::new(named("EDGELOOM_KUBECTL")).args(arguments).output();
        let output = output.expect("kubectl runs");
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        texts.concat()
    }

    /// One object, as the API server has it; none when there is none.
    pub(crate) fn get(&self, arguments: &[&str]) -> Option<Value> {
        let mut command = Command::new(named("EDGELOOM_KUBECTL"));
        let text = succeed(
            command
                .args(["get", "--ignore-not-found", "--output", "json"])
                .args(arguments),
        );
        (!text.is_empty()).then(|| serde_json::from_str(&text).expect("kubectl prints JSON"))
    }

    /// The items of a list of objects.
    pub(crate) fn list(&self, arguments: &[&str]) -> Vec<Value> {
        // kubectl prints nothing at all where there is none.
        let list = self.get(arguments).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Looks until `look` finds something, and tells the story of the release when it does not in time.
    pub(crate) async fn until<Found>(&self, what: &str, mut look: impl FnMut() -> Option<Found>) -> Found {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let seconds = PATIENCE.as_secs();
            assert!(
                begin.elapsed() < PATIENCE,
                "{what} did not come about within {seconds} s\n{}",
                self.story()
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Applies manifests. The server must not warn.
    pub(crate) fn apply(&self, manifests: &str) {
        self.apply_with(&[], manifests);
    }

    /// Has the server check manifests as if they were applied. It must not warn.
    pub(crate) fn check(&self, manifests: &str) {
        self.apply_with(
            &["--server-side", "--force-conflicts", "--dry-run=server"],
            manifests,
        );
    }

    fn apply_with(&self, options: &[&str], manifests: &str) {
        let output = feed(
            Command::new(named("EDGELOOM_KUBECTL"))
                .args(["apply", "--filename", "-"])
                .args(options),
            manifests,
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl apply: {said}\n{manifests}");
        assert!(
            !said.contains("Warning"),
            "the API server warns: {said}\n{manifests}"
        );
    }

    /// Runs helm; gives what it printed, and its complaints when it fails.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(named("EDGELOOM_HELM")).args(arguments).output();
        let output = output.expect("helm runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// The names of objects.
pub(crate) fn names(objects: &[Value]) -> Vec<String> {
    let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
    objects.iter().filter_map(name).collect()
}

/// The kubectl that the suites use, for what runs beside a test.
pub(crate) fn kubectl() -> String {
    named("EDGELOOM_KUBECTL")
}

/// What the environment says; `make test-kubernetes` sets it.
fn named(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run `make test-kubernetes`"))
}

/// The cluster's nodes and control plane, where they are ours to stop.
pub(crate) struct Home {
    program: PathBuf,
    name: String,
}

impl Home {
    /// None, with a word about what is left out, on a cluster that somebody else runs.
    pub(crate) fn of_this_test(left_out: &str) -> Option<Self> {
        let home = Self::of_environment();
        if home.is_none() {
            eprintln!("skipped on this cluster: {left_out}");
        }
        home
    }

    fn of_environment() -> Option<Self> {
        let program = std::env::var("EDGELOOM_KUBERNETES_HOME").ok()?;
        Some(Self {
            program: program.into(),
            name: named("EDGELOOM_KUBERNETES_HOME_NAME"),
        })
    }

    /// Runs a program on a node, as its root.
    pub(crate) fn exec(&self, node: &str, command: &[&str]) -> String {
        succeed(
            Command::new(&self.program)
                .args(["exec", "--name", &self.name, node])
                .args(command),
        )
    }

    /// Runs one of its commands, such as `kill edge-2`.
    pub(crate) fn run(&self, command: &str, argument: &str) -> String {
        succeed(Command::new(&self.program).args([command, "--name", &self.name, argument]))
    }
}

impl Home {
    /// Where the API server writes who asked for what, one event a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        PathBuf::from(named("KUBECONFIG"))
            .with_file_name("log")
            .join("audit.log")
    }
}

/// Runs a program that must succeed; gives what it printed.
fn succeed(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program that reads its input from here.
fn feed(command: &mut Command, input: &str) -> Output {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut pipe = child.stdin.take().expect("its input is a pipe");
    pipe.write_all(input.as_bytes()).expect("it reads its input");
    drop(pipe);
    child.wait_with_output().expect("it ends")
}
