//! The engine's worker process alone, for this room's tests. The `edgeloom` binary runs the same code under a hidden
//! subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::worker_main()
}
