//! `edgeloom controller` as a pod runs it: it says what it waits for, leads, answers probes, and releases its Lease.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{edgeloom, said};

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A program that ends with this value, and the lines of its log.
pub(crate) struct Program {
    child: Child,
    log: mpsc::Receiver<String>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = mpsc::channel();
        let errors: ChildStderr = child.stderr.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                // Nobody may be left who reads.
                let _unread = lines.send(line);
            }
        });
        Self { child, log }
    }

    /// The first line from here on that has this text in it.
    pub(crate) fn until_says(&self, text: &str) -> String {
        let began = Instant::now();
        let mut said = vec![];
        while let Ok(line) = self.log.recv_timeout(DEADLINE.saturating_sub(began.elapsed())) {
            if line.contains(text) {
                return line;
            }
            said.push(line);
        }
        panic!("it never said {text:?}:\n{}", said.join("\n"));
    }

    fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An API server that knows none of our kinds, and its kubeconfig.
fn api_server() -> (Program, TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("data/kubeconfig");
    let data = folder.path().join("data");
    let server = Program::start(edgeloom(&["apiserver", "--listen", "127.0.0.1:0", "--data"]).arg(data));
    let began = Instant::now();
    while !kubeconfig.exists() {
        assert!(began.elapsed() < DEADLINE, "the API server writes no kubeconfig");
        thread::sleep(Duration::from_millis(50));
    }
    (server, folder, kubeconfig)
}

fn controller(kubeconfig: &Path, more: &[&str]) -> Command {
    let mut command = edgeloom(&["controller", "--listen-health", "127.0.0.1:0", "--kubeconfig"]);
    command.arg(kubeconfig).args(more);
    command
}

/// Status and body of an answer.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[test]
fn an_api_server_that_is_away_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    // Nothing listens on the port of TCP's multiplexer.
    let text = "
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: u, user: {}}]
";
    fs::write(&kubeconfig, text).unwrap();
    let output = controller(&kubeconfig, &["--startup-timeout", "2"])
        .output()
        .unwrap();
    let (code, _, errors) = said(&output);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("waits for the API server"), "{errors}");
    let last = errors.lines().last().unwrap();
    assert!(
        last.starts_with("error: gave up after 2 s: the API server does not answer"),
        "{errors}"
    );
}

#[test]
fn kinds_that_are_missing_are_named_with_what_to_do() {
    let (_server, _folder, kubeconfig) = api_server();
    let output = controller(&kubeconfig, &["--startup-timeout", "2"])
        .output()
        .unwrap();
    let (code, _, errors) = said(&output);
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("does not know ") && errors.contains("--install-crds"),
        "{errors}"
    );
}

#[test]
fn a_controller_leads_answers_probes_and_makes_room_for_the_next() {
    let (_server, _folder, kubeconfig) = api_server();
    let start = |name| {
        let more = ["--install-crds", "--leader-elect", "--identity", name];
        Program::start(&mut controller(&kubeconfig, &more))
    };
    let first = start("first");
    let line = first.until_says("health and metrics are served");
    let address = line.rsplit("address=").next().unwrap().trim().to_owned();
    assert_eq!(get(&address, "/livez").0, 200);
    first.until_says("the manager watches");
    assert_eq!(get(&address, "/readyz").0, 200);
    let (_, metrics) = get(&address, "/metrics");
    assert!(metrics.contains("\nedgeloom_controller_leader 1\n"), "{metrics}");

    let second = start("second");
    second.until_says("stands by");
    assert_eq!(first.terminate(), Some(0));
    let leads = second.until_says("leads");
    assert!(leads.contains("transitions=1"), "{leads}");
    second.until_says("the manager watches");
    assert_eq!(second.terminate(), Some(0));
}
