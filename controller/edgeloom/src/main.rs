//! The `edgeloom` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    edgeloom::main()
}
