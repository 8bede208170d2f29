//! A real Prometheus that scrapes every second, and what it is asked.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{up::repository, wait};

/// A running Prometheus. It ends when it is dropped.
pub struct Prometheus {
    child: Child,
    folder: TempDir,
    url: String,
}

/// The labels of a series, with its name under `__name__`.
pub type Labels = BTreeMap<String, String>;

/// A program of Prometheus' package: `prometheus` or `promtool`.
///
/// # Panics
///
/// When it was not fetched.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let folder = Command::new(repository().join("tests/programs/prometheus.sh"))
        .arg("--installed")
        .output()
        .expect("bash runs");
    assert!(
        folder.status.success(),
        "{}",
        String::from_utf8_lossy(&folder.stderr)
    );
    PathBuf::from(String::from_utf8_lossy(&folder.stdout).trim()).join(name)
}

/// Runs `promtool` with these arguments, and `input` on its standard input.
///
/// # Panics
///
/// When it cannot be run.
pub fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program("promtool"))
        .args(arguments)
        .current_dir(repository())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // A program that does not want its input says why by itself.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    });
    let output = child.wait_with_output().expect("promtool ends");
    writer.join().expect("writing does not panic");
    output
}

impl Prometheus {
    /// Scrapes what `targets` lists, a file as `edgeloom up` writes it, and `more`; evaluates all rules of the chart.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    pub async fn start(targets: &Path, more: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let more: Vec<_> = more.iter().map(ToString::to_string).collect();
        // JSON is YAML.
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [repository().join("charts/edgeloom/files/rules/*.yaml")],
            "scrape_configs": [
                { "job_name": "edgeloom", "file_sd_configs": [{ "files": [targets], "refresh_interval": "1s" }] },
                { "job_name": "more", "static_configs": [{ "targets": more }] },
            ],
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config.to_string()).expect("the configuration is written");
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let log = fs::File::create(folder.path().join("log")).expect("a log file");
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        let started = Self {
            child,
            folder,
            url: format!("http://{address}"),
        };
        wait::until("Prometheus", || async {
            started.get("/-/ready", &[]).is_some().then_some(())
        })
        .await;
        started
    }

    /// The series that an expression yields now.
    ///
    /// # Errors
    ///
    /// What Prometheus says when it does not understand the expression.
    pub fn query(&self, expression: &str) -> Result<Vec<Labels>, String> {
        let answer = self.ask("/api/v1/query", &[("query", expression)])?;
        let result = &answer["result"];
        if answer["resultType"] == "scalar" {
            return Ok(vec![Labels::new()]);
        }
        let series = result.as_array().into_iter().flatten();
        Ok(series.map(|series| labels_of(&series["metric"])).collect())
    }

    /// The series that a selector has picked since the start.
    ///
    /// # Errors
    ///
    /// What Prometheus says when it does not understand the selector.
    pub fn series(&self, selector: &str) -> Result<Vec<Labels>, String> {
        let answer = self.ask("/api/v1/series", &[("match[]", selector)])?;
        Ok(answer.as_array().into_iter().flatten().map(labels_of).collect())
    }

    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let answer = self.get(path, parameters).ok_or("no answer")?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["data"].clone()),
        }
    }

    /// The body of an answer, whatever its status; nothing when there is no answer, or when the server is starting.
    fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Option<String> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--get"]);
        if parameters.is_empty() {
            curl.arg("--fail");
        }
        for (name, value) in parameters {
            curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = curl
            .arg(format!("{}{path}", self.url))
            .output()
            .expect("curl runs");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn labels_of(metric: &Value) -> Labels {
    let labels = metric.as_object().into_iter().flatten();
    labels
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            log.lines().rev().take(20).for_each(|line| eprintln!("{line}"));
        }
    }
}
