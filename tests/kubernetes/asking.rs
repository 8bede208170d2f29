//! A client that knows nothing of us: curl, asking the release's Service and reading the answer as it streams.

use std::{
    net::{SocketAddr, TcpStream},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::wait;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

use crate::{
    cluster::{self, Cluster},
    release, weights,
};

/// How long one answer may take on a busy machine, in seconds.
const PATIENCE: &str = "300";

/// Time to find out whether the Service's own address can be reached from here.
const REACH: Duration = Duration::from_secs(2);

/// The way to the routers' Service.
pub(crate) struct Router {
    address: String,
    /// Holds the way open where there is none but through the API server.
    _forward: Option<Child>,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// Why the answer ended, as the model says; none when the stream ended without it.
    pub(crate) finish_reason: Option<String>,
    /// When the first piece of text was here.
    pub(crate) first_token: Option<Instant>,
}

impl Router {
    /// By the Service's own address where this machine has a route to it, and otherwise through the API server.
    pub(crate) async fn reach(cluster: &Cluster) -> Self {
        let name = format!("{}-router", release::NAME);
        let service = cluster
            .get(&["service", &name, "--namespace", release::NAMESPACE])
            .expect("the chart has a Service");
        let address = format!(
            "{}:8080",
            service["spec"]["clusterIP"].as_str().unwrap_or_default()
        );
        let socket: SocketAddr = address.parse().expect("a Service has an address");
        if TcpStream::connect_timeout(&socket, REACH).is_ok() {
            return Self {
                address,
                _forward: None,
            };
        }
        Self::forward(&name).await
    }

    async fn forward(name: &str) -> Self {
        let mut child = Command::new(cluster::kubectl())
            .args(["port-forward", "--namespace", release::NAMESPACE])
            .args([&format!("service/{name}"), ":8080"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
        let first = tokio::time::timeout(wait::DEADLINE, lines.next_line()).await;
        let first = first.ok().and_then(Result::ok).flatten();
        // "Forwarding from 127.0.0.1:40123 -> 8080"
        let address = first.as_deref().and_then(|line| line.split(' ').nth(2));
        let address = address.expect("kubectl says where it listens").to_owned();
        Self {
            address,
            _forward: Some(child),
        }
    }

    /// Asks the service, and reads the answer to its end.
    ///
    /// # Errors
    ///
    /// What went wrong, when there is no whole answer.
    pub(crate) async fn ask(&self, question: &str, tokens_max: u32) -> Result<Answer, String> {
        let body = json!({
            "model": weights::SERVICE,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": tokens_max,
            "temperature": 0,
            "stream": true,
        });
        let url = format!("http://{}/v1/chat/completions", self.address);
        let mut curl = Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--no-buffer"])
            .args([
                "--max-time",
                PATIENCE,
                "--header",
                "Content-Type: application/json",
            ])
            .args(["--data", &body.to_string(), &url])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("curl starts");
        let mut answer = Answer {
            text: String::new(),
            finish_reason: None,
            first_token: None,
        };
        let mut other = String::new();
        let mut lines = BufReader::new(curl.stdout.take().expect("it is a pipe")).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match line.strip_prefix("data: ").map(serde_json::from_str::<Value>) {
                Some(Ok(chunk)) => answer.take(&chunk),
                _ => other.push_str(&line),
            }
        }
        let output = curl.wait_with_output().await.map_err(|error| error.to_string())?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(format!("{}{other}", complaint.trim()));
        }
        if answer.finish_reason.is_none() {
            return Err(format!("the stream ended after {:?}: {other}", answer.text));
        }
        Ok(answer)
    }

    /// Asks again and again until the load is ended.
    pub(crate) fn load(self: &Arc<Self>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (router, stopped) = (self.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut outcomes = vec![];
            while !stopped.load(Ordering::Relaxed) {
                outcomes.push(
                    router
                        .ask("Count from one to five.", 12)
                        .await
                        .map(|answer| answer.text),
                );
            }
            outcomes
        });
        Load { stop, task }
    }
}

impl Answer {
    fn take(&mut self, chunk: &Value) {
        let choice = &chunk["choices"][0];
        let piece = choice["delta"]["content"].as_str().unwrap_or_default();
        if !piece.is_empty() {
            self.first_token.get_or_insert_with(Instant::now);
            self.text.push_str(piece);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
    }
}

/// Requests, one after the other, beside a test.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Result<String, String>>>,
}

impl Load {
    /// Ends it after the request that is running; gives what came of each.
    pub(crate) async fn end(self) -> Vec<Result<String, String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the load does not panic")
    }
}
