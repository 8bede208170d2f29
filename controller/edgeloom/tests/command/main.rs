//! The built command, as a person or a script runs it. What needs a model is in the workspace's own tests.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may fail as the test itself may"
)]

mod answers;
mod controller;
mod joining;
mod processes;
mod simulate;
mod simulate_queue;

use std::process::{Command, Output};

/// A command of the built executable, deaf to the environment of whoever runs the tests.
fn edgeloom(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeloom"));
    for variable in ["KUBECONFIG", "RUST_LOG", "EDGELOOM_DATA", "EDGELOOM_API_KEY"] {
        command.env_remove(variable);
    }
    command.args(arguments);
    command
}

/// Exit code, standard output, standard error.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
