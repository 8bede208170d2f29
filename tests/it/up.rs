//! The first thread, end to end: `edgeloom up` with the real model, asked by the `openai` package and driven by kubectl,
//! while parts of it are killed.

use std::{
    io::{BufRead as _, BufReader},
    process::Command,
};

use crds::{
    ConditionType, EdgeLink, EdgeNode, LLMService, LLMServiceStatus, Placement, Stage, condition,
    placement::PlacementPhase,
};
use k8s_openapi::api::core::v1::Event;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::Value;
use tests::{
    up::{Up, example, repository, signal},
    wait::until,
};

const KEY: &str = "sk-edgeloom-demo";

fn run(program: &mut Command) -> String {
    let output = program.output().expect("the program can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} failed\n{text}\n{errors}");
    text
}

/// Runs a script of tests/programs that prints a path.
fn path_from(script: &str) -> String {
    run(&mut Command::new(
        repository().join("tests/programs").join(script),
    ))
    .trim()
    .to_owned()
}

async fn status(up: &Up) -> LLMServiceStatus {
    let services: Api<LLMService> = Api::default_namespaced(up.client.clone());
    let service = services.get_opt("assistant").await.ok().flatten();
    service.and_then(|service| service.status).unwrap_or_default()
}

async fn until_ready(up: &Up) -> LLMServiceStatus {
    until("the service is Ready", || async {
        let status = status(up).await;
        (condition::state(&status.conditions, ConditionType::Ready) == Some(true)).then_some(status)
    })
    .await
}

/// Waits until every node has timed the model and one placement serves: nothing is left to change the decision.
pub(crate) async fn until_settled(up: &Up) -> LLMServiceStatus {
    until(
        "every node has timed the model and one placement serves",
        || async {
            let nodes = Api::<EdgeNode>::all(up.client.clone())
                .list(&ListParams::default())
                .await
                .ok()?;
            let timed = |node: &EdgeNode| {
                let devices = node.status.iter().flat_map(|status| &status.devices);
                devices.flat_map(|device| &device.benchmarks).next().is_some()
            };
            let placements = Api::<Placement>::all(up.client.clone())
                .list(&ListParams::default())
                .await
                .ok()?;
            let phases = placements
                .iter()
                .map(|placement| placement.status.clone().unwrap_or_default().phase);
            (nodes.iter().all(timed) && phases.eq([PlacementPhase::Serving])).then_some(())
        },
    )
    .await;
    until_ready(up).await
}

pub(crate) async fn router(up: &Up, node: &str) -> String {
    until("the router is known", || async {
        up.routers().get(node).cloned()
    })
    .await
}

/// Asks through a router with curl, as a program that knows nothing of us; gives the status and the body.
pub(crate) fn ask(router: &str, question: &str) -> (u32, Value) {
    let body = serde_json::json!({
        "model": "assistant", "temperature": 0, "max_tokens": 12,
        "messages": [{ "role": "user", "content": question }],
    });
    let output = run(Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "120",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(["--header", "Content-Type: application/json"])
        .args(["--header", &format!("Authorization: Bearer {KEY}")])
        .args(["--data", &body.to_string()])
        .arg(format!("{}/v1/chat/completions", router.trim_end_matches('/'))));
    let (body, code) = output.rsplit_once('\n').expect("curl prints the code last");
    (
        code.parse().expect("a code"),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}

fn text_of(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

async fn loads(up: &Up) -> Vec<(String, i32, Option<String>)> {
    let stages = Api::<Stage>::all(up.client.clone())
        .list(&ListParams::default())
        .await
        .expect("stages");
    let mut loads: Vec<_> = stages
        .into_iter()
        .map(|stage| {
            let status = stage.status.clone().unwrap_or_default();
            (stage.name_any(), status.loads, status.epoch)
        })
        .collect();
    loads.sort();
    loads
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_thread_answers_openai_clients_and_survives_its_control_plane() {
    let up = Up::start_with_debug_logs(&example("01-first-thread")).await;
    let ready = until_settled(&up).await;
    let pipeline = ready.pipeline.expect("a pipeline");
    assert!(
        pipeline.matches('[').count() >= 2,
        "no node holds the model alone: {pipeline}"
    );

    let mut texts = vec![];
    for node in ["base-station", "robot"] {
        let url = format!("{}/v1", router(&up, node).await);
        let script = repository().join("tests/programs/openai_client.py");
        let python = path_from("python.sh");
        let said = run(Command::new(python).arg(script).args([&url, "assistant", KEY]));
        let said: Value = serde_json::from_str(&said).expect("the script prints JSON");
        assert_eq!(said["models"], serde_json::json!(["assistant"]), "{said}");
        let text = said["text"].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{said}");
        texts.push(text.to_owned());
        assert_eq!(
            said["text"], said["streamed"],
            "streamed and whole answers are the same text"
        );
        assert_eq!(said["completion_tokens"], said["streamed_tokens"], "{said}");
        assert_eq!(said["wrong_model"]["status"], 404, "{said}");
        assert_eq!(said["over_long"]["code"], "context_length_exceeded", "{said}");
        assert_eq!(said["wrong_key"]["type"], "AuthenticationError", "{said}");
        assert_eq!(said["bad_json"]["status"], 400, "{said}");
    }

    assert_eq!(texts[0], texts[1], "every router leads to the same pipeline");

    kubectl(&up, &pipeline);
    let explained = run(Command::new(tests::up::edgeloom())
        .args(["explain", "llmservice/assistant", "--kubeconfig"])
        .arg(up.kubeconfig()));
    assert!(explained.contains("base-station"), "{explained}");

    // The control plane dies without a word: agents go on, and nothing healthy is loaded again.
    let before = loads(&up).await;
    let placements = || async {
        let listed = Api::<Placement>::all(up.client.clone())
            .list(&ListParams::default())
            .await;
        listed
            .ok()
            .map(|list| list.iter().map(ResourceExt::name_any).collect::<Vec<_>>())
    };
    let decided = placements().await.expect("placements");
    let router = router(&up, "base-station").await;
    let dead = up.pid_of_control_plane().expect("the control plane runs");
    signal(dead, "KILL");
    let (code, answer) = ask(&router, "What is the capital of France?");
    assert_eq!((code, text_of(&answer).is_empty()), (200, false), "{answer}");
    until("the control plane is back", || async {
        let pid = up.pid_of_control_plane().filter(|pid| *pid != dead)?;
        placements().await.map(|_| pid)
    })
    .await;
    until_ready(&up).await;
    assert_eq!(
        placements().await.expect("placements"),
        decided,
        "no acknowledged object is lost"
    );
    assert_eq!(loads(&up).await, before, "nothing healthy is loaded again");
    let (code, _) = ask(&router, "Name a river.");
    assert_eq!(code, 200);
    crash_in_the_middle_of_an_answer(&up, &router, &pipeline).await;
    let logs = up.whole_logs();
    assert!(logs.contains("DEBUG"), "logs are those of everything");
    for secret in [
        KEY,
        "capital of France",
        "Name a river",
        "long story",
        texts[0].as_str(),
    ] {
        let line = logs.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} stands in the logs");
    }
}

/// The head's worker aborts, as at a failed assertion in llama.cpp, while it computes; it is back afterwards.
async fn crash_in_the_middle_of_an_answer(up: &Up, router: &str, pipeline: &str) {
    let head = pipeline.split('[').next().expect("a line begins with its head");
    let worker = up.pid_of_worker(head).expect("the head has a worker");
    let body = serde_json::json!({
        "model": "assistant", "temperature": 0, "max_tokens": 200, "stream": true,
        "messages": [{ "role": "user", "content": "Tell me a long story." }],
    });
    let mut asking = Command::new("curl")
        .args(["--silent", "--no-buffer", "--max-time", "120"])
        .args(["--header", "Content-Type: application/json"])
        .args(["--header", &format!("Authorization: Bearer {KEY}")])
        .args(["--data", &body.to_string()])
        .arg(format!("{}/v1/chat/completions", router.trim_end_matches('/')))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("curl runs");
    let mut answer = BufReader::new(asking.stdout.take().expect("its output is piped")).lines();
    let begun = answer
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("content"));
    assert!(begun.is_some(), "the answer begins");
    signal(worker, "ABRT");
    let rest: Vec<String> = answer.map_while(Result::ok).collect();
    assert!(rest.iter().any(|line| line.contains("error")), "{rest:?}");
    asking.wait().expect("curl ends");
    until("the worker is back", || async {
        up.pid_of_worker(head).filter(|pid| *pid != worker)
    })
    .await;
}

/// The real kubectl against the embedded API server.
fn kubectl(up: &Up, pipeline: &str) {
    let kubectl = path_from("kubectl.sh");
    let kubectl = |arguments: &[&str]| {
        run(Command::new(&kubectl)
            .arg("--kubeconfig")
            .arg(up.kubeconfig())
            .args(arguments))
    };
    let table = kubectl(&["get", "llm", "assistant"]);
    assert!(table.contains(pipeline) && table.contains("True"), "{table}");
    let described = kubectl(&["describe", "llm", "assistant"]);
    assert!(described.contains("Serving"), "{described}");
    assert!(kubectl(&["get", "edgeloom", "-o", "name"]).contains("stage.edgeloom.dev/"));
    assert!(kubectl(&["get", "en"]).contains("base-station"));
    let waited = kubectl(&["wait", "llm/assistant", "--for=condition=Ready", "--timeout=60s"]);
    assert!(waited.contains("condition met"), "{waited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_example_is_not_split_and_anyone_may_ask() {
    let up = Up::start(&example("02-unsplit"), &[]).await;
    let ready = until_settled(&up).await;
    assert_eq!(ready.mode, Some(crds::InferenceMode::OnServer));
    assert_eq!(ready.pipeline.as_deref(), Some("edge-server[0, 30)"));
    let (code, answer) = ask(&router(&up, "edge-server").await, "Name three rivers.");
    assert_eq!((code, text_of(&answer).is_empty()), (200, false), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_prompts_go_out_and_come_back_as_hidden_states() {
    let up = Up::start(&example("03-private-prompts"), &[]).await;
    let ready = until_settled(&up).await;
    assert_eq!(ready.mode, Some(crds::InferenceMode::UShaped));
    let pipeline = ready.pipeline.expect("a pipeline");
    let nodes: Vec<&str> = pipeline
        .split(") ")
        .filter_map(|stage| stage.split('[').next())
        .collect();
    assert_eq!(nodes, ["phone", "edge-server", "phone"], "{pipeline}");
    let stages = Api::<Stage>::all(up.client.clone())
        .list(&ListParams::default())
        .await
        .expect("stages");
    let mut away = stages
        .iter()
        .filter(|stage| stage.spec.node_name == "edge-server");
    assert!(away.all(|stage| stage.spec.first_layer >= 4), "{stages:?}");

    let link = Api::<EdgeLink>::all(up.client.clone())
        .get("phone-edge-server")
        .await;
    let link = link.expect("the link").status.unwrap_or_default();
    assert_eq!(
        condition::state(&link.conditions, ConditionType::Ready),
        Some(true),
        "{link:?}"
    );

    let phone = router(&up, "phone").await;
    for question in ["What is the capital of France?", "Name three rivers."] {
        let (code, answer) = ask(&phone, question);
        assert_eq!((code, text_of(&answer).is_empty()), (200, false), "{answer}");
    }
    let (code, answer) = ask(&router(&up, "edge-server").await, "Name three rivers.");
    assert_ne!(code, 200, "the server takes no requests in: {answer}");
    let explained = run(Command::new(tests::up::edgeloom())
        .args(["explain", "llmservice/assistant", "--kubeconfig"])
        .arg(up.kubeconfig()));
    assert!(
        explained.contains("U-shaped, first and last layers on phone"),
        "{explained}"
    );
}

#[test]
fn every_example_is_applied_by_a_test() {
    let folder = std::fs::read_dir(repository().join("examples")).expect("there are examples");
    let mut names: Vec<_> = folder
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        // `kind` is for a cluster: tests/it/chart.rs renders and applies it. `scenarios` are simulated and `04-two-models`
        // is solved: the command's own tests run them.
        [
            "01-first-thread",
            "02-unsplit",
            "03-private-prompts",
            "04-two-models",
            "kind",
            "scenarios"
        ],
        "a new example wants a test of its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_agent_is_replaced_by_what_is_left() {
    // Four small machines, and a pipeline over three: one may die.
    let mut manifests = String::new();
    for node in ["north", "east", "south", "west"] {
        manifests.push_str(&format!(
            "apiVersion: edgeloom.dev/v1alpha1\nkind: EdgeNode\nmetadata: {{ name: {node} }}\n\
             spec: {{ tier: Device, limits: {{ memory: 96Mi, cores: 375m }} }}\n---\n"
        ));
    }
    let services = example("01-first-thread");
    let services = services
        .split("\n---\n")
        .filter(|document| !document.contains("kind: EdgeNode") && !document.contains("kind: EdgeLink"));
    manifests.push_str(&services.collect::<Vec<_>>().join("\n---\n"));
    let manifests = manifests
        .replace("attachNodes: [base-station, laptop]", "attachNodes: [north]")
        .replace("contextTokens: 1024", "contextTokens: 512\n  modes: [MultiHop]")
        .replace("concurrency: 2", "concurrency: 1");

    let up = Up::start(&manifests, &["--no-restart"]).await;
    let before = until_settled(&up).await;
    let stages = Api::<Stage>::all(up.client.clone())
        .list(&ListParams::default())
        .await
        .expect("stages");
    assert!(stages.items.len() >= 3, "{stages:?}");
    let middle = stages
        .iter()
        .find(|stage| !stage.spec.is_head() && stage.spec.end_layer < stage.spec.model.layers)
        .expect("a stage between the head and the last");
    let (head, dead) = {
        let head = stages.iter().find(|stage| stage.spec.is_head()).expect("a head");
        (head.spec.node_name.clone(), middle.spec.node_name.clone())
    };
    let router = router(&up, &head).await;
    let (code, answer) = ask(&router, "What is the capital of France?");
    assert_eq!(code, 200, "{answer}");
    let expected = text_of(&answer);
    signal(up.pid_of(&dead), "KILL");

    let reason = until("the service is not Ready, with a reason", || async {
        let status = status(&up).await;
        let ready = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready")?;
        (ready.status == "False").then_some(ready.reason)
    })
    .await;
    // Which of the steps of a repair is seen depends on when one looks; the Events below tell them all.
    assert!(
        ["StageLost", "MemoryNotFree", "Loading"].contains(&reason.as_str()),
        "{reason}"
    );
    let after = until("the service is repaired without the dead node", || async {
        let status = status(&up).await;
        let ready = condition::state(&status.conditions, ConditionType::Ready) == Some(true);
        let line = status.pipeline.clone()?;
        (ready && !line.contains(&format!("{dead}["))).then_some(line)
    })
    .await;
    assert_ne!(Some(after), before.pipeline);
    let events = Api::<Event>::default_namespaced(up.client.clone());
    until("an Event tells of the loss", || async {
        let events = events.list(&ListParams::default()).await.ok()?;
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("StageLost"))
            .then_some(())
    })
    .await;
    let answer = until("new requests are answered", || async {
        let (code, answer) = ask(&router, "What is the capital of France?");
        (code == 200).then_some(answer)
    })
    .await;
    assert_eq!(
        text_of(&answer),
        expected,
        "another cut of the same model gives the same text"
    );
}
