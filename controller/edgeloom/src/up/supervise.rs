//! Starts processes, starts those again that die, and ends all of them.
//!
//! Each child holds the other end of a pipe as its standard input, its lifeline (see [`crate::stop`]): it ends cleanly when
//! the pipe is closed, whether the supervisor closes it or dies. Each is in a process group of its own, so that Ctrl-C in
//! the terminal reaches the supervisor alone, which ends them in order.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{board::Board, console::Console};

/// Pauses before a program that died is started again: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// A program that ran this long had no trouble starting: its next death is its first.
const HEALTHY: Duration = Duration::from_secs(30);

/// Time that a program gets to end by itself before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// What is started: a subcommand of this executable.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: String,
    arguments: Vec<OsString>,
    log: PathBuf,
}

impl Program {
    /// `edgeloom SUBCOMMAND`, whose standard output and error go to `log`.
    pub(crate) fn new(name: &str, subcommand: &str, log: PathBuf) -> Self {
        let arguments = vec![subcommand.into(), "--lifeline".into()];
        Self {
            name: name.to_owned(),
            arguments,
            log,
        }
    }

    /// Adds `--option value`.
    pub(crate) fn option(self, option: &str, value: impl AsRef<OsStr>) -> Self {
        let mut with = self.flag(option);
        with.arguments.push(value.as_ref().to_owned());
        with
    }

    /// Adds `--flag`.
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.into());
        self
    }
}

/// Who starts and ends programs.
#[derive(Debug)]
pub(crate) struct Supervisor {
    executable: PathBuf,
    board: Board,
    console: Console,
    restarts: bool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Supervisor {
    /// A supervisor without programs.
    ///
    /// # Errors
    ///
    /// When this executable cannot be found, as after it was deleted.
    pub(crate) fn new(board: Board, console: Console, restarts: bool) -> anyhow::Result<Self> {
        let executable = std::env::current_exe().context("failed to find the edgeloom executable")?;
        Ok(Self {
            executable,
            board,
            console,
            restarts,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Whether programs that die are started again.
    pub(crate) fn restarts(&self) -> bool {
        self.restarts
    }

    /// Starts a program and looks after it from now on.
    pub(crate) fn start(&self, program: Program) {
        let keeper = Keeper {
            executable: self.executable.clone(),
            program,
            board: self.board.clone(),
            console: self.console.clone(),
            restarts: self.restarts,
            stop: self.stop.clone(),
        };
        self.tasks.spawn(keeper.keep());
    }

    /// Ends every program, and returns when none is left.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Looks after one program.
struct Keeper {
    executable: PathBuf,
    program: Program,
    board: Board,
    console: Console,
    restarts: bool,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self) {
        let mut deaths_in_a_row = 0;
        loop {
            let began = Instant::now();
            let how = match self.spawn() {
                Ok(mut child) => {
                    self.board.started(&self.program.name, child.id());
                    // Taken out, since waiting for a child closes what it still has of its standard input.
                    let lifeline = child.stdin.take();
                    tokio::select! {
                        ended = child.wait() => ended.map_or_else(|error| error.to_string(), how_it_ended),
                        () = self.stop.cancelled() => {
                            drop(lifeline);
                            self.end(child).await;
                            self.board.ended(&self.program.name, false);
                            return;
                        }
                    }
                }
                Err(error) => format!("cannot be started: {error}"),
            };
            self.board.ended(&self.program.name, true);
            if began.elapsed() >= HEALTHY {
                deaths_in_a_row = 0;
            }
            deaths_in_a_row += 1;
            let (name, log) = (&self.program.name, self.program.log.display());
            if !self.restarts {
                self.console.say(&format!("{name} {how}; its log: {log}"));
                return;
            }
            let pause = pause_after(deaths_in_a_row);
            self.console.say(&format!(
                "{name} {how}; started again in {} s; its log: {log}",
                pause.as_secs_f64()
            ));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.program.log)?;
        Command::new(&self.executable)
            .args(&self.program.arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Waits for a child whose lifeline was closed, and kills what does not end then.
    async fn end(&self, mut child: Child) {
        if tokio::time::timeout(STOP_DEADLINE, child.wait()).await.is_err() {
            self.console.say(&format!(
                "{} did not end within {} s and is killed; its log: {}",
                self.program.name,
                STOP_DEADLINE.as_secs(),
                self.program.log.display()
            ));
            // It fails only when the process has ended meanwhile.
            let _ = child.kill().await;
        }
    }
}

/// The pause doubles with each death in a row.
fn pause_after(deaths_in_a_row: u32) -> Duration {
    PAUSE
        .0
        .saturating_mul(2_u32.saturating_pow(deaths_in_a_row.saturating_sub(1)))
        .min(PAUSE.1)
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(9)) => "was killed (signal 9)".to_owned(),
        (None, Some(signal)) => format!("died of signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses = [1, 2, 3, 6, 40].map(pause_after);
        assert_eq!(
            pauses,
            [500, 1000, 2000, 15_000, 15_000].map(Duration::from_millis)
        );
    }

    #[test]
    fn an_end_is_told_by_code_or_signal() {
        assert_eq!(how_it_ended(ExitStatus::from_raw(1 << 8)), "ended with status 1");
        assert_eq!(how_it_ended(ExitStatus::from_raw(9)), "was killed (signal 9)");
        assert_eq!(how_it_ended(ExitStatus::from_raw(6)), "died of signal 6");
    }
}
