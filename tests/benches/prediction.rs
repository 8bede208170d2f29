//! What the cost model says of requests against what a client sees of them: time to the first token for prompts of
//! several lengths, and time per output token, with the model whole and in two and three stages.
//!
//! `cargo bench -p tests --bench prediction -- [rounds] [windows]`, after `cargo build --release --workspace --bins`. With
//! windows, it measures again once so many windows of requests have been learnt from, which takes some minutes for each
//! setting. It runs `edgeloom up`, so on a machine that does other things meanwhile it tells mostly of those. The client is
//! a plain socket; what it sees is compared with the prediction for exactly the prompt that it sent.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
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
use serde_json::json;
use solver::{cost::CostModel, links::LinkIndex, solution::Predicted};
use tests::{
    stream::{ask, median},
    up::{Up, model},
    wait::until,
};

/// Tokens of the prompts.
const PROMPTS: [u32; 4] = [8, 35, 128, 400];
/// Tokens of each answer.
const ANSWER: u32 = 24;
/// How often each prompt is sent, unless the command line says otherwise.
const ROUNDS: usize = 5;
/// Tokens of the prompts that are learnt from.
const LEARNT_PROMPT: u32 = 35;
/// The longest time that learning may take.
const LEARNING: Duration = Duration::from_secs(600);

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
    let mut numbers = env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let rounds = numbers.next().unwrap_or(ROUNDS);
    let windows = numbers.next().unwrap_or(0);
    println!(
        "{rounds} requests of each length, {ANSWER} tokens each; medians; ratios are predicted / observed"
    );
    println!(
        "setting          pipeline                                  prompt  TTFT pred.    obs.  ratio  TPOT pred.    obs.  ratio"
    );
    for setting in &SETTINGS {
        measure(setting, rounds, windows).await?;
    }
    Ok(())
}

async fn measure(setting: &Setting, rounds: usize, windows: usize) -> Result<()> {
    let up = Up::start(&manifests(setting), &[]).await;
    until_settled(&up, setting.nodes.len()).await;
    let router = until("the router is known", || async {
        up.routers().get("one").cloned()
    })
    .await;
    // Pages of weights, connections, and the first answer of all.
    ask(&router, 8, ANSWER)?;
    compare(&up.client, &router, setting.name, rounds).await?;
    if windows > 0 {
        learn(&up.client, &router, windows).await?;
        compare(&up.client, &router, "  learnt", rounds).await?;
    }
    Ok(())
}

/// Prints what is predicted and what is seen of each length.
async fn compare(client: &Client, router: &str, name: &str, rounds: usize) -> Result<()> {
    for prompt in PROMPTS {
        let (pipeline, predicted) = predict(&world(client).await?, prompt).context("nothing serves")?;
        let seen = (0..rounds)
            .map(|_| ask(router, prompt, ANSWER))
            .collect::<Result<Vec<_>>>()?;
        let first = median(seen.iter().map(|seen| seen.first_ms).collect());
        let each = median(seen.iter().map(|seen| seen.each_ms).collect());
        let (first_predicted, each_predicted) =
            (predicted.ttft.as_millis_f64(), predicted.tpot.as_millis_f64());
        println!(
            "{name:<16} {pipeline:<40} {prompt:>7} {first_predicted:>8.0} ms {first:>4.0} ms  {:>5.2}  {each_predicted:>7.1} ms {each:>4.1} ms  {:>5.2}",
            first_predicted / first,
            each_predicted / each,
        );
    }
    Ok(())
}

/// Asks until so many windows of requests were looked at, or the time for it has passed.
async fn learn(client: &Client, router: &str, windows: usize) -> Result<()> {
    let began = Instant::now();
    let (mut looked_at, mut last) = (0, None);
    while looked_at < windows && began.elapsed() < LEARNING {
        ask(router, LEARNT_PROMPT, ANSWER)?;
        let placements = all::<Placement>(client).await?;
        let status = placements.first().and_then(|placement| placement.status.as_ref());
        let observed = status.and_then(|status| status.accuracy.as_ref()?.observed_time.clone());
        if observed != last {
            (looked_at, last) = (looked_at + 1, observed);
        }
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
