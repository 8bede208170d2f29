//! A client that knows nothing of us: curl, asking the release's Service and reading the answer as it streams.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpStream},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::wait;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

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
                Some(Ok(chunk)) if chunk["error"].is_null() => answer.take(&chunk),
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
        let load = Load {
            stop: CancellationToken::new(),
            outcomes: Arc::default(),
        };
        let (router, stop, outcomes) = (self.clone(), load.stop.clone(), load.outcomes.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let answer = router.ask("Count from one to five.", 12).await;
                outcomes.send_modify(|known| known.push(answer.map(|answer| answer.text)));
            }
        });
        load
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
    stop: CancellationToken,
    outcomes: Arc<watch::Sender<Vec<Outcome>>>,
}

/// The text of an answer, or why there is none.
type Outcome = Result<String, String>;

impl Load {
    /// Waits until two more requests have ended, the second of which began after this call.
    pub(crate) async fn goes_on(&self) {
        let mut outcomes = self.outcomes.subscribe();
        let before = outcomes.borrow().len();
        let more = outcomes.wait_for(|known| known.len() >= before + 2);
        let more = tokio::time::timeout(Duration::from_secs(600), more).await;
        assert!(more.is_ok(), "requests do not end");
    }

    /// Ends it. No request may have been lost; and since all asked the same, all answers must be the same.
    pub(crate) async fn end_without_loss(self, cluster: &Cluster) {
        self.goes_on().await;
        self.stop.cancel();
        let outcomes = self.outcomes.borrow().clone();
        eprintln!("{} requests were answered", outcomes.len());
        let texts: BTreeSet<_> = outcomes.into_iter().collect();
        let lost = texts.iter().any(Result::is_err) || texts.len() > 1;
        assert!(!lost, "{texts:#?}\n{}", cluster.story());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
