//! What a user of a small edge meets: memory at rest, time from `kubectl apply` to the first token, bytes at a cut, several
//! sessions at once, and the time from an agent's death to an answer from the repaired pipeline.
//!
//! `cargo bench -p tests --bench first_thread`, after `cargo build --release --workspace --bins`. Four agents run on this
//! machine under `edgeloom up`, each held to a share of it, so that a machine that does other things meanwhile shows in
//! the figures.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use crds::{Placement, Stage};
use kube::Api;
use serde_json::{Value, json};
use tests::{
    stream::{Seen, ask, median, metric},
    up::{Up, model, repository, signal},
    wait::until,
};

/// The agents, each with so much memory and so many cores that two are needed and a third can take the place of one.
const NODES: [&str; 4] = ["one", "two", "three", "four"];
const MEMORY: &str = "130Mi";
const CORES: &str = "350m";
/// Tokens of each answer, and sessions at once.
const ANSWER: u32 = 96;
const SESSIONS: [usize; 4] = [1, 2, 4, 8];
/// Time in which what was sent shows in the metrics of links.
const SHOWN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let up = Up::start_idle(&nodes()).await;
    let router = until("the routers are known", || async {
        let routers = up.routers();
        (routers.len() == NODES.len()).then(|| routers[NODES[0]].clone())
    })
    .await;
    thread::sleep(SHOWN);
    at_rest(&up)?;
    apply(&up, &router, "weights on disk, nothing measured").await?;
    kubectl(&up, &["delete", "llmservice", "assistant", "--wait=true"], None)?;
    until("no stage is left", || async {
        let stages = Api::<Stage>::all(up.client.clone())
            .list(&Default::default())
            .await;
        stages.ok()?.items.is_empty().then_some(())
    })
    .await;
    apply(&up, &router, "weights on disk, speeds measured").await?;
    for name in NODES {
        show(
            &format!("memory of agent {name} with its worker"),
            "MB",
            megabytes(&up, name),
        );
    }
    at_a_cut(&up, &router).await?;
    at_once(&router)?;
    repair(&up).await
}

/// Memory of the processes while nothing is served.
fn at_rest(up: &Up) -> Result<()> {
    let control_plane = up.pid_of_control_plane().context("the control plane runs")?;
    show(
        "memory of the control plane at rest",
        "MB",
        resident(control_plane),
    );
    let agents: Vec<_> = NODES.iter().map(|name| resident(up.pid_of(name))).collect();
    show("memory of an agent at rest", "MB", median(agents));
    Ok(())
}

/// Applies the model and the service, and asks until there is an answer.
async fn apply(up: &Up, router: &str, how: &str) -> Result<()> {
    let began = Instant::now();
    kubectl(up, &["apply", "-f", "-"], Some(&service()))?;
    kubectl(
        up,
        &[
            "wait",
            "--for=condition=Ready",
            "llmservice/assistant",
            "--timeout=300s",
        ],
        None,
    )?;
    let ready = began.elapsed();
    until("an answer", || async { ask(router, 8, 1).ok() }).await;
    show(
        &format!("kubectl apply to Ready, {how}"),
        "s",
        ready.as_secs_f64(),
    );
    show(
        &format!("kubectl apply to the first token, {how}"),
        "s",
        began.elapsed().as_secs_f64(),
    );
    Ok(())
}

/// Bytes on the wire for each position, beside the size of what must be told of it.
async fn at_a_cut(up: &Up, router: &str) -> Result<()> {
    let sent = || -> Result<f64> {
        thread::sleep(SHOWN);
        let routers = up.routers();
        let each = routers
            .values()
            .map(|router| metric(router, "edgeloom_link_sent_bytes_total"));
        each.sum()
    };
    let (before, began) = (sent()?, Instant::now());
    let idle = (sent()? - before) / began.elapsed().as_secs_f64();
    let (before, began) = (sent()?, Instant::now());
    let prompt = 8;
    ask(router, prompt, ANSWER)?;
    let bytes = sent()? - before - idle * began.elapsed().as_secs_f64();
    // The last token of an answer is not sent on.
    let positions = f64::from(prompt + ANSWER - 1);
    let placements = Api::<Placement>::default_namespaced(up.client.clone());
    let placements = placements.list(&Default::default()).await?;
    let pipeline =
        manager::plan::decision::pipeline_line(&placements.items.first().context("a placement")?.spec);
    show(
        &format!("bytes per position and cut, all told, {pipeline}"),
        "B",
        bytes / positions,
    );
    show("bytes per second between idle agents", "B/s", idle);
    Ok(())
}

/// Tokens per second of several sessions that begin together.
fn at_once(router: &str) -> Result<()> {
    for sessions in SESSIONS {
        let began = Instant::now();
        let clients: Vec<_> = (0..sessions)
            .map(|_| {
                let router = router.to_owned();
                thread::spawn(move || ask(&router, 35, ANSWER))
            })
            .collect();
        let seen = clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .collect::<Result<Vec<Seen>>>()?;
        let tokens = sessions as f64 * f64::from(ANSWER);
        show(
            &format!("{sessions} sessions at once"),
            "tokens/s",
            tokens / began.elapsed().as_secs_f64(),
        );
        let each = median(seen.iter().map(|seen| seen.each_ms).collect());
        show(
            &format!("{sessions} sessions at once, per output token"),
            "ms",
            each,
        );
    }
    Ok(())
}

/// Kills the agent of the last stage, and asks until another pipeline answers.
async fn repair(up: &Up) -> Result<()> {
    let placements = Api::<Placement>::default_namespaced(up.client.clone());
    let placements = placements.list(&Default::default()).await?;
    let stages = &placements.items[0].spec.pipelines[0].stages;
    let (head, last) = (&stages[0].node, &stages[stages.len() - 1].node);
    let asked = NODES.into_iter().find(|name| name != head && name != last);
    let router = up.routers()[asked.context("a node without a stage")?].clone();
    until("an answer", || async { ask(&router, 8, 1).ok() }).await;
    signal(up.pid_of(last), "KILL");
    let began = Instant::now();
    until("an answer of the repaired pipeline", || async {
        ask(&router, 8, 1).ok()
    })
    .await;
    show(
        "an agent's death to an answer",
        "s",
        began.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn show(what: &str, unit: &str, value: f64) {
    println!("{what:<90} {value:>9.1} {unit}");
}

/// Memory of an agent and of its engine's worker.
fn megabytes(up: &Up, node: &str) -> f64 {
    resident(up.pid_of(node)) + up.pid_of_worker(node).map_or(0.0, resident)
}

/// Resident memory of a process, in MB; 0 if it is gone.
fn resident(pid: u64) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.unwrap_or(0.0) * 1_024.0 / 1e6
}

/// Runs kubectl as the administrator.
fn kubectl(up: &Up, arguments: &[&str], input: Option<&str>) -> Result<()> {
    let program = Command::new(repository().join("tests/programs/kubectl.sh")).output()?;
    let file = up.data().join("input.yaml");
    fs::write(&file, input.unwrap_or_default())?;
    let done = Command::new(String::from_utf8(program.stdout)?.trim())
        .arg("--kubeconfig")
        .arg(up.kubeconfig())
        .args(arguments)
        .stdin(fs::File::open(&file)?)
        .output()?;
    ensure!(
        done.status.success(),
        "kubectl {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

fn nodes() -> String {
    let mut documents: Vec<_> = NODES
        .iter()
        .map(|name| {
            json!({
                "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeNode", "metadata": { "name": name },
                "spec": { "tier": "Server", "site": "hall", "limits": { "memory": MEMORY, "cores": CORES } },
            })
        })
        .collect();
    for (index, from) in NODES.iter().enumerate() {
        documents.extend(NODES[index + 1..].iter().map(|to| {
            json!({
                "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeLink",
                "metadata": { "name": format!("{from}-{to}") },
                "spec": {
                    "from": from, "to": to, "medium": "Wifi",
                    "rateBitsPerSecond": "100M", "latencyMicroseconds": 2000,
                },
            })
        }));
    }
    yaml(&documents)
}

fn service() -> String {
    yaml(&[
        json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "Model", "metadata": { "name": "smollm2" },
            "spec": { "variants": [{ "name": "q4-1", "uri": format!("file://{}", model().display()) }] },
        }),
        json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "LLMService", "metadata": { "name": "assistant" },
            "spec": {
                "models": [{ "name": "smollm2" }], "access": "Anonymous", "modes": ["Split"],
                "contextTokens": 256, "outputTokensMax": 128, "concurrency": 8, "updatePolicy": "AllowPause",
            },
        }),
    ])
}

fn yaml(documents: &[Value]) -> String {
    let documents = documents.iter().map(ToString::to_string);
    documents.collect::<Vec<_>>().join("\n---\n")
}
