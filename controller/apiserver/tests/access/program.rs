//! The real kubectl, as a person calls it.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::served::SOON;

/// The path of kubectl, fetched at most once.
fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs/kubectl.sh");
        let output = std::process::Command::new(&script).output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// kubectl with a kubeconfig, and a cache of its own (discovery is cached on disk by host and port, which tests reuse).
pub(crate) struct Kubectl {
    kubeconfig: PathBuf,
    cache: tempfile::TempDir,
}

/// What a call of kubectl said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Kubectl {
    pub(crate) fn new(kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(path());
        command
            .args(words(line))
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.cache.path())
            .env("HOME", self.cache.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Calls kubectl with `line` (single quotes group words) and `input`.
    pub(crate) async fn call(&self, line: &str, input: &str) -> Said {
        let mut child = self.command(line).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output: Output = tokio::time::timeout(SOON, async {
            // kubectl may end without reading: what it says then is what matters.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await.unwrap()
        })
        .await
        .unwrap_or_else(|_| panic!("kubectl {line} does not end"));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said {
            ok: output.status.success(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Calls kubectl, which has to succeed; gives back what it printed.
    pub(crate) async fn ok(&self, line: &str) -> String {
        self.ok_with(line, "").await
    }

    /// Calls kubectl with `input`, which has to succeed; gives back what it printed.
    pub(crate) async fn ok_with(&self, line: &str, input: &str) -> String {
        let said = self.call(line, input).await;
        assert!(said.ok, "kubectl {line}:\n{}{}", said.out, said.err);
        said.out
    }

    /// Calls kubectl, which has to fail; gives back its complaint.
    pub(crate) async fn fails(&self, line: &str, input: &str) -> String {
        let said = self.call(line, input).await;
        assert!(!said.ok, "kubectl {line} succeeded:\n{}", said.out);
        said.err
    }

    /// Calls kubectl for JSON.
    pub(crate) async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json")).await).unwrap()
    }

    /// Begins a call that goes on, such as a watch.
    pub(crate) fn begin(&self, line: &str) -> Ongoing {
        let mut child = self.command(line).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Ongoing { _child: child, lines }
    }
}

/// A call that goes on; it is killed when this is dropped.
pub(crate) struct Ongoing {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Ongoing {
    /// The next line that contains `text`.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        let found = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("kubectl ended before it said {text:?}"));
                if line.contains(text) {
                    return line;
                }
            }
        };
        tokio::time::timeout(SOON, found)
            .await
            .unwrap_or_else(|_| panic!("kubectl never said {text:?}"))
    }
}

/// Splits at blanks, except between single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (ord, part) in line.split('\'').enumerate() {
        if ord % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
