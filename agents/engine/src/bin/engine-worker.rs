//! The worker process alone, for this room's tests and benchmarks. The `edgeloom` binary runs the same code under a
//! hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    engine::worker::main()
}
