//! Agents, pipelines over them, and a client.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use crds::{
    ActivationPrecision, InferenceMode, RouteTableSpec, StageSpec,
    api_key::keyed_hash,
    llm_service::Access,
    placement::{ChosenModel, StageMemory},
    route_table::{ApiKey, Hop, HopPhase, HopStatus, IngressRule, IngressTarget, Peer},
};
use engine::{Worker, WorkerConfig};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use node::{
    Agent, Parts,
    desired::{Desired, DesiredRoutes, DesiredStage, Version},
};
use prometheus::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use transport::{Endpoint, Identity};

pub(crate) const LAYERS: i32 = 30;
/// Long enough for a busy machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const KEY: &str = "a-key-of-the-tests";
const SALT: &str = "a-salt-of-the-tests";
const DIGEST: &str = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The model's file, fetched beforehand.
fn model_path() -> PathBuf {
    let cached = || {
        let cache = env::var_os("EDGELOOM_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache/edgeloom")));
        cache
            .expect("HOME is set")
            .join("SmolLM2-135M-Instruct.Q4_1.gguf")
    };
    let path = env::var_os("EDGELOOM_TEST_MODEL").map_or_else(cached, PathBuf::from);
    assert!(
        path.exists(),
        "the test model is not at {}: get it with tests/programs/model.py, or set EDGELOOM_TEST_MODEL",
        path.display()
    );
    path
}

/// One agent, with its worker process.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) agent: Agent,
    pub(crate) worker: Worker,
    router: axum::Router,
    endpoint: Endpoint,
    registry: Registry,
    _data: TempDir,
}

impl Node {
    pub(crate) async fn start(name: &'static str) -> Self {
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let worker = Worker::start(WorkerConfig {
            program: env!("CARGO_BIN_EXE_agent-worker").into(),
            arguments: vec![],
            memory_limit_bytes: None,
            compute_share_cores: None,
            threads: Some(1),
            cache_dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stage-files"),
        })
        .await
        .unwrap();
        let identity = Identity::ephemeral().unwrap();
        let mut config = transport::Config::new("127.0.0.1:0".parse().unwrap(), identity);
        // A machine that builds and tests at once is silent for longer than an idle one.
        config.limits.idle_timeout = Duration::from_secs(5);
        let endpoint = Endpoint::bind(config).unwrap();
        let registry = Registry::new();
        let agent = Agent::start(Parts {
            node: name.to_owned(),
            worker: worker.clone(),
            endpoint: endpoint.clone(),
            data_dir: data.path().to_owned(),
            memory_bytes: 1 << 30,
            registry: registry.clone(),
            reconciles: node::Pulse::default(),
        })
        .unwrap();
        let router = router::routes(agent.backend(), router::Config::default(), &registry).unwrap();
        Self {
            name,
            agent,
            worker,
            router,
            endpoint,
            registry,
            _data: data,
        }
    }

    fn as_peer(&self, dial: bool) -> Peer {
        Peer {
            node: self.name.to_owned(),
            address: self.endpoint.local_address().unwrap().to_string(),
            public_key: self.endpoint.public_key().to_string(),
            dial,
        }
    }

    /// Sends a request, with the key that may use everything.
    pub(crate) async fn post(&self, body: Value) -> http::Response<Body> {
        self.post_as(body, Some(KEY)).await
    }

    pub(crate) async fn post_as(&self, body: Value, key: Option<&str>) -> http::Response<Body> {
        let mut request = Request::post("/v1/chat/completions").header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sessions that were begun here and refused.
    pub(crate) fn refused(&self) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "edgeloom_sessions_refused_total");
        family.expect("it is counted").get_metric()[0]
            .get_counter()
            .get_value()
    }

    /// The whole answer to a chat, as text.
    pub(crate) async fn chat(&self, prompt: &str, max_tokens: u32) -> String {
        let (status, body) = json_of(self.post(chat(prompt, max_tokens)).await).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until this revision is in force here, and its hop is ready.
    pub(crate) async fn ready(&self, revision: i64) {
        eventually(&format!("revision {revision} on {} is ready", self.name), || {
            let hops = self.agent.hops();
            let ready = |hop: &HopStatus| hop.phase == HopPhase::Ready && hop.revision == revision;
            (hops.iter().all(ready) && !hops.is_empty())
                .then_some(())
                .ok_or(format!("{hops:?}"))
        })
        .await;
    }
}

/// A greedy chat.
pub(crate) fn chat(prompt: &str, max_tokens: u32) -> Value {
    json!({
        "model": "tiny", "temperature": 0, "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": prompt}],
    })
}

pub(crate) async fn json_of(response: http::Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// How the nodes of a pipeline are told of it. What is not set here is as a control plane would set it.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) revision: i64,
    pub(crate) sessions: i32,
    pub(crate) context_tokens: i32,
    pub(crate) chunk_rows: i32,
    pub(crate) sends: ActivationPrecision,
    pub(crate) access: Access,
    pub(crate) admits: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            revision: 1,
            sessions: 2,
            context_tokens: 512,
            chunk_rows: 64,
            sends: ActivationPrecision::F32,
            access: Access::ApiKey,
            admits: true,
        }
    }
}

pub(crate) const PIPELINE: &str = "default/tiny/0";

impl Plan {
    /// Tells each node its part of a pipeline over `stages`; `others` get peers and ingress rules only. Layers are dealt
    /// out evenly.
    pub(crate) fn apply(&self, stages: &[&Node], others: &[&Node]) {
        for node in stages.iter().chain(others) {
            node.agent.apply(self.for_node(node, stages, others));
        }
    }

    /// The same, and waits until every stage is ready.
    pub(crate) async fn up(&self, stages: &[&Node], others: &[&Node]) {
        self.apply(stages, others);
        for node in stages {
            node.ready(self.revision).await;
        }
    }

    pub(crate) fn for_node(&self, node: &Node, stages: &[&Node], others: &[&Node]) -> Desired {
        // A node may hold two stages.
        let mut everyone: Vec<&&Node> = vec![];
        for node in stages.iter().chain(others) {
            if everyone.iter().all(|known| known.name != node.name) {
                everyone.push(node);
            }
        }
        let place = |of: &Node| everyone.iter().position(|other| other.name == of.name).unwrap();
        let peers = everyone.iter().filter(|other| other.name != node.name);
        let peers = peers
            .map(|other| other.as_peer(place(node) < place(other)))
            .collect();
        let mut desired_stages = BTreeMap::new();
        let mut hops = vec![];
        for (ordinal, stage) in stages
            .iter()
            .enumerate()
            .filter(|(_, stage)| stage.name == node.name)
        {
            let (name, spec) = self.stage(ordinal, stages.len(), stage.name);
            hops.push(Hop {
                pipeline: PIPELINE.to_owned(),
                revision: self.revision,
                ordinal: ordinal as i32,
                stage: name.clone(),
                previous: ordinal
                    .checked_sub(1)
                    .map(|before| stages[before].name.to_owned()),
                next: stages.get(ordinal + 1).map(|next| next.name.to_owned()),
                head: stages[0].name.to_owned(),
                sends: self.sends,
                prefill_chunk_rows: self.chunk_rows,
                cells: i64::from(self.context_tokens * self.sessions),
                sessions: self.sessions,
                admits: self.admits,
                trust_domains: None,
            });
            let stage = DesiredStage {
                version: Version::default(),
                spec: Ok(spec),
            };
            desired_stages.insert(name, stage);
        }
        let spec = RouteTableSpec {
            node_name: node.name.to_owned(),
            incarnation: "one".to_owned(),
            ingress: vec![self.ingress(stages[0].name)],
            hops,
            peers,
            key_salt: SALT.to_owned(),
            keys: vec![ApiKey {
                hash: keyed_hash(SALT, KEY),
                user: "tester".to_owned(),
                services: vec!["default/tiny".to_owned()],
            }],
        };
        Desired {
            node: None,
            stages: desired_stages,
            routes: Some(DesiredRoutes {
                version: Version::default(),
                spec,
            }),
        }
    }

    fn ingress(&self, head: &str) -> IngressRule {
        IngressRule {
            service: "default/tiny".to_owned(),
            served_name: "tiny".to_owned(),
            access: self.access,
            context_tokens: self.context_tokens,
            output_tokens_max: 256,
            slo: crds::llm_service::ServiceLevel::default(),
            targets: vec![IngressTarget {
                pipeline: PIPELINE.to_owned(),
                revision: self.revision,
                head: head.to_owned(),
                mode: InferenceMode::Split,
                weight: 1,
            }],
            unavailable: None,
        }
    }

    fn stage(&self, ordinal: usize, of: usize, node: &str) -> (String, StageSpec) {
        let bound = |ordinal: usize| LAYERS * ordinal as i32 / of as i32;
        let (first_layer, end_layer) = (bound(ordinal), bound(ordinal + 1));
        let spec = StageSpec {
            node_name: node.to_owned(),
            device: "cpu".to_owned(),
            model: ChosenModel {
                name: "tiny".to_owned(),
                variant: "q4-1".to_owned(),
                digest: DIGEST.to_owned(),
                uri: format!("file://{}", model_path().display()),
                sha256: None,
                layers: LAYERS,
                quantisation: "Q4_1".to_owned(),
            },
            first_layer,
            end_layer,
            context_tokens: self.context_tokens,
            sessions: self.sessions,
            batch_rows: 64,
            memory: StageMemory {
                total_bytes: 200 << 20,
                ..StageMemory::default()
            },
        };
        (format!("layers-{first_layer}-{end_layer}"), spec)
    }
}

/// Waits until `look` finds what it looks for; says what it saw last if it never does.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "never saw that {what}; last: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until no session holds cells on any node.
pub(crate) async fn no_sessions(nodes: &[&Node]) {
    eventually("all cells are free", || {
        let sessions: Vec<_> = nodes.iter().map(|node| node.agent.sessions()).collect();
        if sessions.iter().all(|sessions| *sessions == 0) {
            Ok(())
        } else {
            Err(format!("{sessions:?}"))
        }
    })
    .await;
}

fn piece_of(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    assert!(event["error"].is_null(), "{event}");
    let piece = event["choices"][0]["delta"]["content"].as_str();
    piece.unwrap_or_default().to_owned()
}

/// The frames of a streamed answer, as they come.
pub(crate) struct Events(Body, Vec<u8>);

impl Events {
    pub(crate) fn of(response: http::Response<Body>) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        Self(response.into_body(), vec![])
    }

    /// The next event's data; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.1.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.1.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                match event.trim().strip_prefix("data: ") {
                    Some(data) => return Some(data.to_owned()),
                    None => continue,
                }
            }
            let frame = tokio::time::timeout(PATIENCE, self.0.frame())
                .await
                .expect("an event comes");
            let Ok(frame) = frame?.unwrap().into_data() else {
                continue;
            };
            self.1.extend_from_slice(&frame);
        }
    }

    /// Reads on until some text has come.
    pub(crate) async fn some_text(&mut self) -> String {
        while let Some(event) = self.next().await {
            let text = piece_of(&event);
            if !text.is_empty() {
                return text;
            }
        }
        panic!("the answer ended without text");
    }

    /// All text that is left; an error among the events is an error here.
    pub(crate) async fn text(self) -> String {
        let rest = self.rest().await;
        let events = rest.iter().filter(|event| *event != "[DONE]");
        events.map(|event| piece_of(event)).collect()
    }

    /// All that is left.
    pub(crate) async fn rest(mut self) -> Vec<String> {
        let mut rest = vec![];
        while let Some(data) = self.next().await {
            rest.push(data);
        }
        rest
    }
}

/// As many nodes as there are names.
pub(crate) async fn nodes<const N: usize>(names: [&'static str; N]) -> [Arc<Node>; N] {
    let started = names.map(Node::start);
    let started = futures::future::join_all(started).await;
    let started: Vec<_> = started.into_iter().map(Arc::new).collect();
    started.try_into().ok().expect("there are as many as names")
}
