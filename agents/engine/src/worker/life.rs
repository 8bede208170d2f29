//! One life of a worker process: start it, ask it, learn why it ended.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixStream,
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Epoch, WorkerConfig,
    protocol::{Reply, Request, receive_async, send_async},
    system,
};
use crate::{Error, Result};

/// A process that does not answer its first message in this time is not a worker.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How often the watchdog looks at what the process holds. It reads one small file.
const WATCH_PERIOD: Duration = Duration::from_millis(250);
/// How long to wait for the end of a process that was killed.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// A running worker process.
pub(super) struct Life {
    pub(super) epoch: Epoch,
    pub(super) process: u32,
    child: Child,
    stream: UnixStream,
    /// A process that holds more is killed.
    pub(super) memory_limit_bytes: Option<u64>,
    last_words: Arc<Mutex<String>>,
    listener: JoinHandle<()>,
}

impl Life {
    /// Starts the process and waits until it answers.
    pub(super) async fn begin(config: &WorkerConfig) -> Result<Self> {
        let died = |reason: String| Error::WorkerDied { reason };
        let (ours, theirs) = StdUnixStream::pair().map_err(|error| died(format!("no socket: {error}")))?;
        ours.set_nonblocking(true)
            .map_err(|error| died(format!("no socket: {error}")))?;
        let stream = UnixStream::from_std(ours).map_err(|error| died(format!("no socket: {error}")))?;
        let mut child = Command::new(&config.program)
            .args(&config.arguments)
            // ggml would start a debugger to print where it failed.
            .env("GGML_NO_BACKTRACE", "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for the agent, which ends its worker when it is done with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| died(format!("{} cannot be started: {error}", config.program.display())))?;
        let process = child.id().ok_or_else(|| died("it ended at once".into()))?;
        let last_words = Arc::new(Mutex::new(String::new()));
        let listener = tokio::spawn(listen(
            child.stderr.take().expect("standard error is piped"),
            Arc::clone(&last_words),
        ));
        let epoch = Epoch(rand::random_range(1..=u64::MAX));
        let memory_limit_bytes = config.memory_limit_bytes;
        let mut life = Self {
            epoch,
            process,
            child,
            stream,
            memory_limit_bytes,
            last_words,
            listener,
        };
        let begin = Request::Begin {
            epoch,
            threads: config.num_threads(),
            compute_share_cores: config.compute_share_cores,
            cache_dir: config.cache_dir.clone(),
        };
        match life.ask(&begin, START_DEADLINE, None).await {
            Ok(_) => Ok(life),
            Err(Error::Deadline { .. }) => Err(died("it did not answer".into())),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// The worker's own, after which this life goes on; [`Error::Deadline`] and [`Error::WorkerDied`], after which the
    /// process is gone.
    pub(super) async fn ask(
        &mut self,
        request: &Request,
        deadline: Duration,
        progress: Option<&mpsc::Sender<f32>>,
    ) -> Result<Reply> {
        let until = Instant::now() + deadline;
        let mut watch = interval(WATCH_PERIOD);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = {
            let exchange = async {
                send_async(&mut self.stream, request).await?;
                loop {
                    match receive_async(&mut self.stream).await? {
                        // Progress that nobody reads in time is worth nothing.
                        Reply::Progress(share) => drop(progress.map(|progress| progress.try_send(share))),
                        reply => return Ok::<_, std::io::Error>(reply),
                    }
                }
            };
            tokio::pin!(exchange);
            loop {
                tokio::select! {
                    answer = &mut exchange => match answer {
                        Ok(Reply::Failed(error)) => return Err(error),
                        Ok(reply) => return Ok(reply),
                        Err(_) => break None,
                    },
                    _ = watch.tick() => {
                        if let Some(reason) = over_limit(self.process, self.memory_limit_bytes) {
                            break Some(Error::WorkerDied { reason });
                        }
                    },
                    () = tokio::time::sleep_until(until) => {
                        break Some(Error::Deadline { deadline_ms: millis(deadline) });
                    },
                }
            }
        };
        match ended {
            Some(error) => {
                self.kill().await;
                Err(error)
            }
            None => Err(Error::WorkerDied {
                reason: self.end().await,
            }),
        }
    }

    /// Resolves with the reason when the process ends or holds too much while nobody asks it anything.
    pub(super) async fn idle(&mut self) -> String {
        let mut watch = interval(WATCH_PERIOD);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.child.wait() => return self.end().await,
                _ = watch.tick() => {
                    if let Some(reason) = over_limit(self.process, self.memory_limit_bytes) {
                        self.kill().await;
                        return reason;
                    }
                },
            }
        }
    }

    /// Kills the process and waits for its end.
    pub(super) async fn kill(&mut self) {
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "the worker had ended already");
        }
        if timeout(END_DEADLINE, self.child.wait()).await.is_err() {
            tracing::warn!(process = self.process, "a worker that was killed does not end");
        }
    }

    /// Why a process that closed its socket ended.
    async fn end(&mut self) -> String {
        let status = match timeout(END_DEADLINE, self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                self.kill().await;
                "it closed its socket and did not end".into()
            }
        };
        // What it said last is in the pipe; the pipe closes with it.
        let _ = timeout(Duration::from_secs(1), &mut self.listener).await;
        let words = self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if words.is_empty() {
            status
        } else {
            format!("{status}: {words}")
        }
    }
}

/// Why the watchdog ends a process, if it does.
fn over_limit(process: u32, limit_bytes: Option<u64>) -> Option<String> {
    let (held, limit) = (system::resident_bytes(process)?, limit_bytes?);
    (held > limit).then(|| format!("it held {held} bytes, over its limit of {limit}"))
}

/// Passes the worker's standard error on to the log, and keeps its last line.
async fn listen(stderr: tokio::process::ChildStderr, last_words: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(target: "worker", "{line}");
        if !line.trim().is_empty() {
            *last_words.lock().unwrap_or_else(PoisonError::into_inner) = line;
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
