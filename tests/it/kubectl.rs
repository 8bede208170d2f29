//! A newcomer's way: `edgeloom up` with nothing to serve, and from then on the real kubectl alone.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use crds::{Placement, Stage};
use kube::{Api, api::ListParams};
use serde_json::Value;
use tests::{
    up::{Up, example, repository},
    wait::until,
};

/// Longer than placing, timing and loading take on a busy machine.
const TIMEOUT: &str = "--timeout=600s";

/// The real kubectl as the administrator.
struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    fn new(up: &Up) -> Self {
        let script = repository().join("tests/programs/kubectl.sh");
        let printed = Command::new(script).output().expect("the script runs");
        assert!(
            printed.status.success(),
            "kubectl is missing: run `make programs`"
        );
        Self {
            program: PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim()),
            kubeconfig: up.kubeconfig(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
    }

    /// What it prints; it must end well.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("kubectl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}\n{text}\n{errors}");
        text
    }
}

/// A program that runs beside the test, and ends with it.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The example's manifests in a folder, as a user has them: nodes and links, and the service with what it needs.
fn write_example(folder: &Path) -> (PathBuf, PathBuf) {
    let documents = example("01-first-thread");
    let (nodes, services): (Vec<&str>, Vec<&str>) = documents
        .split("\n---\n")
        .partition(|document| document.contains("kind: EdgeNode") || document.contains("kind: EdgeLink"));
    let write = |name: &str, documents: &[&str]| {
        let path = folder.join(name);
        fs::write(&path, documents.join("\n---\n")).expect("a manifest is written");
        path
    };
    (write("nodes.yaml", &nodes), write("service.yaml", &services))
}

/// Asks for a stream, and returns when its first text came.
fn first_token(router: &str) -> Instant {
    let body = serde_json::json!({
        "model": "assistant", "stream": true, "max_tokens": 8, "temperature": 0,
        "messages": [{ "role": "user", "content": "Name a river." }],
    });
    let mut asked = Command::new("curl")
        .args(["--silent", "--show-error", "--no-buffer", "--max-time", "300"])
        .args(["--header", "Content-Type: application/json"])
        .args(["--header", "Authorization: Bearer sk-edgeloom-demo"])
        .args(["--data", &body.to_string()])
        .arg(format!("{}/v1/chat/completions", router.trim_end_matches('/')))
        .stdout(Stdio::piped())
        .spawn()
        .map(Beside)
        .expect("curl runs");
    let answer = asked.0.stdout.take().expect("its output is piped");
    let mut heard = String::new();
    for line in BufReader::new(answer).lines() {
        let line = line.expect("the stream is text");
        let chunk: Value = line
            .strip_prefix("data: ")
            .and_then(|data| serde_json::from_str(data).ok())
            .unwrap_or_default();
        let text = chunk["choices"][0]["delta"]["content"].as_str();
        if text.is_some_and(|text| !text.is_empty()) {
            return Instant::now();
        }
        heard.push_str(&line);
    }
    panic!("the stream ended without a text: {heard}");
}

#[tokio::test(flavor = "multi_thread")]
#[allow(
    clippy::print_stdout,
    reason = "the time to the first token is a figure for people, and no verdict"
)]
async fn kubectl_alone_brings_the_first_thread_up_and_takes_it_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (nodes, service) = write_example(folder.path());
    let up = Up::start_idle(&fs::read_to_string(&nodes).expect("the nodes")).await;
    let router = until("the router is known", || async {
        up.routers().get("base-station").cloned()
    })
    .await;
    let kubectl = Kubectl::new(&up);

    let seen = folder.path().join("seen");
    let watching = kubectl
        .command(&["get", "llmservices", "--watch"])
        .stdout(fs::File::create(&seen).expect("a file"))
        .spawn()
        .map(Beside)
        .expect("kubectl runs");
    let began = Instant::now();
    let applied = kubectl.ok(&["apply", "-f", &folder.path().display().to_string()]);
    for line in [
        "llmservice.edgeloom.dev/assistant created",
        "model.edgeloom.dev/smollm2-135m created",
        "secret/ada-api-key created",
        "edgenode.edgeloom.dev/robot",
    ] {
        assert!(applied.contains(line), "{line} is missing in\n{applied}");
    }
    kubectl.ok(&["wait", "--for=condition=Ready", "llmservice/assistant", TIMEOUT]);
    let ready = began.elapsed();
    let answered = first_token(&router) - began;
    println!(
        "kubectl apply to Ready {:.1} s, to the first token {:.1} s",
        ready.as_secs_f64(),
        answered.as_secs_f64()
    );

    until("get --watch shows the service as Ready", || async {
        let seen = fs::read_to_string(&seen).ok()?;
        let mut rows = seen.lines().filter(|line| line.starts_with("assistant "));
        rows.any(|row| row.contains("True")).then_some(())
    })
    .await;
    drop(watching);
    let described = kubectl.ok(&["describe", "llmservice", "assistant"]);
    for word in ["Events:", "Placed", "Serving", "Pipeline:"] {
        assert!(described.contains(word), "{word} is missing in\n{described}");
    }
    // The same manifests change nothing. (kubectl says "configured" where it sent something: a Secret's stringData is not
    // kept, and a default within a list is not in the manifest.)
    let again = kubectl.ok(&["apply", "-f", &service.display().to_string()]);
    assert!(
        again.contains("llmservice.edgeloom.dev/assistant unchanged"),
        "{again}"
    );
    let generations = kubectl.ok(&[
        "get",
        "llmservices,models,edgeusers",
        "-o",
        "jsonpath={.items[*].metadata.generation}",
    ]);
    assert_eq!(generations, "1 1 1");

    let deleted = kubectl.ok(&["delete", "-f", &service.display().to_string(), TIMEOUT]);
    assert!(deleted.contains("\"assistant\" deleted"), "{deleted}");
    until("nothing is placed and nothing is loaded any more", || async {
        let everything = ListParams::default();
        let placements = Api::<Placement>::all(up.client.clone())
            .list(&everything)
            .await
            .ok()?;
        let stages = Api::<Stage>::all(up.client.clone())
            .list(&everything)
            .await
            .ok()?;
        (placements.items.is_empty() && stages.items.is_empty()).then_some(())
    })
    .await;
}
