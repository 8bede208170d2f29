//! What the cost model says of requests against what a client sees of them: time to the first token for prompts of
//! several lengths, and time per output token, with the model whole and in two and three stages.
//!
//! `cargo bench -p tests --bench prediction -- [rounds]`, after `cargo build --release --workspace --bins`. It runs
//! `edgeloom up`, so on a machine that does other things meanwhile it tells mostly of those. The client is a plain
//! socket; what it sees is compared with the prediction for exactly the prompt that it sent.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use crds::{
    ConditionType, EdgeLink, EdgeNode, LLMService, Model, Placement, RouteTable, Stage, condition,
    placement::PlacementPhase,
};
use kube::{Api, Client, Resource};
use manager::{
    snapshot::{Options, Snapshot},
    world::World,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use solver::{cost::CostModel, links::LinkIndex, solution::Predicted};
use tests::{up::Up, up::model, wait::until};

/// Tokens of the prompts.
const PROMPTS: [u32; 4] = [8, 35, 128, 400];
/// Tokens of each answer.
const ANSWER: u32 = 24;
/// How often each prompt is sent, unless the command line says otherwise.
const ROUNDS: usize = 5;
/// The longest time that a request may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A way to run the model: its name, what the service may be, and the nodes with their memory and cores. Shares are small,
/// so that the agents, which run on one machine here, leave each other alone.
struct Setting {
    name: &'static str,
    modes: &'static str,
    nodes: &'static [(&'static str, &'static str, &'static str)],
}

const SETTINGS: [Setting; 4] = [
    Setting {
        name: "1 stage",
        modes: "OnServer",
        nodes: &[("one", "400Mi", "300m")],
    },
    Setting {
        name: "2 stages",
        modes: "Split",
        nodes: &[("one", "110Mi", "250m"), ("two", "110Mi", "250m")],
    },
    Setting {
        name: "2 stages, thin",
        modes: "Split",
        nodes: &[("one", "140Mi", "300m"), ("two", "130Mi", "200m")],
    },
    Setting {
        name: "3 stages",
        modes: "MultiHop",
        nodes: &[
            ("one", "80Mi", "200m"),
            ("two", "80Mi", "200m"),
            ("three", "80Mi", "200m"),
        ],
    },
];

#[tokio::main]
async fn main() -> Result<()> {
    let rounds = env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(ROUNDS);
    println!(
        "{rounds} requests of each length, {ANSWER} tokens each; medians; ratios are predicted / observed"
    );
    println!(
        "setting          pipeline                                  prompt  TTFT pred.    obs.  ratio  TPOT pred.    obs.  ratio"
    );
    for setting in &SETTINGS {
        measure(setting, rounds).await?;
    }
    Ok(())
}

async fn measure(setting: &Setting, rounds: usize) -> Result<()> {
    let up = Up::start(&manifests(setting), &[]).await;
    until_settled(&up, setting.nodes.len()).await;
    let world = world(&up.client).await?;
    let router = until("the router is known", || async {
        up.routers().get("one").cloned()
    })
    .await;
    // Pages of weights, connections, and the first answer of all.
    ask(&router, 8)?;
    for prompt in PROMPTS {
        let (pipeline, predicted) = predict(&world, prompt).context("nothing serves")?;
        let seen = (0..rounds)
            .map(|_| ask(&router, prompt))
            .collect::<Result<Vec<_>>>()?;
        let first = median(seen.iter().map(|seen| seen.first_ms).collect());
        let each = median(seen.iter().map(|seen| seen.each_ms).collect());
        let (first_predicted, each_predicted) =
            (predicted.ttft.as_millis_f64(), predicted.tpot.as_millis_f64());
        println!(
            "{:<16} {pipeline:<40} {prompt:>7} {first_predicted:>8.0} ms {first:>4.0} ms  {:>5.2}  {each_predicted:>7.1} ms {each:>4.1} ms  {:>5.2}",
            setting.name,
            first_predicted / first,
            each_predicted / each,
        );
    }
    Ok(())
}

fn manifests(setting: &Setting) -> String {
    let mut documents = vec![
        json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "Model", "metadata": { "name": "smollm2" },
            "spec": { "variants": [{ "name": "q4-1", "uri": format!("file://{}", model().display()) }] },
        }),
        json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "LLMService", "metadata": { "name": "assistant" },
            "spec": {
                "models": [{ "name": "smollm2" }], "access": "Anonymous", "modes": [setting.modes],
                "contextTokens": 512, "concurrency": 1, "updatePolicy": "AllowPause",
            },
        }),
    ];
    for (name, memory, cores) in setting.nodes {
        documents.push(json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeNode", "metadata": { "name": name },
            "spec": { "tier": "Server", "site": "hall", "limits": { "memory": memory, "cores": cores } },
        }));
    }
    for (index, (from, ..)) in setting.nodes.iter().enumerate() {
        for (to, ..) in &setting.nodes[index + 1..] {
            documents.push(json!({
                "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeLink",
                "metadata": { "name": format!("{from}-{to}") },
                "spec": {
                    "from": from, "to": to, "medium": "Wifi",
                    "rateBitsPerSecond": "100M", "latencyMicroseconds": 2000,
                },
            }));
        }
    }
    documents
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n---\n")
}

/// Until every node has timed the model and one placement serves.
async fn until_settled(up: &Up, num_nodes: usize) {
    until(
        "every node has timed the model and one placement serves",
        || async {
            let world = world(&up.client).await.ok()?;
            let timed = world.nodes.iter().filter(|node| {
                let devices = node.status.iter().flat_map(|status| &status.devices);
                devices.flat_map(|device| &device.benchmarks).next().is_some()
            });
            let phases = world
                .placements
                .iter()
                .map(|placement| placement.status.clone().unwrap_or_default().phase);
            let conditions = &world.services.first()?.status.as_ref()?.conditions;
            let ready = condition::state(conditions, ConditionType::Ready) == Some(true);
            (timed.count() == num_nodes && ready && phases.eq([PlacementPhase::Serving])).then_some(())
        },
    )
    .await;
}

async fn world(client: &Client) -> Result<World> {
    let world = World {
        models: all::<Model>(client).await?,
        services: all::<LLMService>(client).await?,
        nodes: all::<EdgeNode>(client).await?,
        links: all::<EdgeLink>(client).await?,
        placements: all::<Placement>(client).await?,
        stages: all::<Stage>(client).await?,
        route_tables: all::<RouteTable>(client).await?,
        ..World::default()
    };
    Ok(world.sorted())
}

async fn all<K>(client: &Client) -> kube::Result<Vec<Arc<K>>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let list = Api::<K>::all(client.clone())
        .list(&kube::api::ListParams::default())
        .await?;
    Ok(list.items.into_iter().map(Arc::new).collect())
}

/// What serves, and what is said of a request with so many tokens in its prompt.
fn predict(world: &World, prompt_tokens: u32) -> Option<(String, Predicted)> {
    let problem = Snapshot::take(world, Options::default()).problem;
    let service = problem.services.first()?;
    let shape = service.previous.clone()?;
    let asked = solver::problem::Service {
        prompt_tokens,
        output_tokens: ANSWER,
        ..service.clone()
    };
    let links = LinkIndex::new(&problem);
    let idle = vec![0; problem.nodes.len()];
    let cost = CostModel::new(&problem, &links, &asked, shape.candidate, &idle);
    let line = manager::plan::decision::pipeline_line(&world.placements.first()?.spec);
    Some((line, cost.evaluate(&shape)?.predicted))
}

/// What a client sees of a request.
struct Seen {
    /// From the request to the first text, in milliseconds.
    first_ms: f64,
    /// Between two tokens, in milliseconds.
    each_ms: f64,
}

/// Sends a prompt of so many tokens and reads the stream.
fn ask(router: &str, prompt_tokens: u32) -> Result<Seen> {
    let address = router.trim_start_matches("http://").trim_end_matches('/');
    let prompt = " the".repeat(prompt_tokens as usize);
    let body = json!({
        "model": "assistant", "prompt": prompt, "max_tokens": ANSWER, "temperature": 0,
        "stream": true, "stream_options": { "include_usage": true },
    })
    .to_string();
    let mut stream = TcpStream::connect(address).with_context(|| format!("no router at {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let began = Instant::now();
    stream.write_all(request.as_bytes())?;
    let (mut texts, mut usage, mut other) = (vec![], (None, None), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let Some(event) = line.strip_prefix("data: ").filter(|event| *event != "[DONE]") else {
            other.push_str(&line);
            continue;
        };
        let event: Value = serde_json::from_str(event).with_context(|| format!("no JSON: {event}"))?;
        if event["choices"][0]["text"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
        {
            texts.push(began.elapsed());
        }
        if event["usage"].is_object() {
            let tokens = |of: &str| event["usage"][of].as_u64();
            usage = (tokens("prompt_tokens"), tokens("completion_tokens"));
        }
    }
    let (Some(first), Some(last)) = (texts.first(), texts.last()) else {
        bail!("no text was streamed: {other}");
    };
    if usage != (Some(prompt_tokens.into()), Some(ANSWER.into())) {
        bail!("the prompt and the answer have {usage:?} tokens");
    }
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    Ok(Seen {
        first_ms: milliseconds(*first),
        each_ms: milliseconds(*last - *first) / f64::from(ANSWER - 1),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
