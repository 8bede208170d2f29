//! The command line: which program runs, and how its end becomes an exit code.

use std::{path::Path, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{
    agent, apiserver, bench, chat, control_plane, controller, explain, logging, models, output, prepare_data,
    simulate, solve, token, up, version,
};

/// Serves large language models on the edge: a Kubernetes-style control plane that splits models over nodes and links,
/// and agents that run them.
#[derive(Debug, Parser)]
#[command(
    name = "edgeloom",
    version,
    propagate_version = true,
    after_help = "Begin with `make demo`, or, once a Model's file is where its manifest says, `edgeloom up -f examples/02-unsplit`.\n\
                  Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 a service cannot be placed (solve)."
)]
struct Cli {
    /// How log lines look. What is logged is chosen with RUST_LOG, such as RUST_LOG=debug.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: logging::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a control plane and agents on this machine, until Ctrl-C.
    Up(up::Arguments),
    /// Asks a service, and prints the answer as it comes.
    Chat(chat::Arguments),
    /// Lists the services that a router offers.
    Models(models::Arguments),
    /// Explains why a service is placed as it is, and what it costs.
    Explain(explain::Arguments),
    /// Decides about manifests offline, and explains it or prints the Placements.
    Solve(solve::Arguments),
    /// Runs a scenario: what the controller's decisions would make of requests, moving users and failures.
    #[command(after_help = simulate::HELP)]
    Simulate(simulate::Arguments),
    /// Measures the solver.
    Bench(bench::Arguments),
    /// Runs the controller against any Kubernetes API.
    Controller(controller::Arguments),
    /// Runs the embedded Kubernetes-compatible API server alone.
    Apiserver(apiserver::Args),
    /// Runs the agent of one node.
    Agent(agent::Arguments),
    /// Makes a bootstrap token, and the kubeconfig with which an agent on another machine joins by it.
    Token(token::Arguments),
    /// Prints the version.
    Version,
    /// What `up` runs as its control plane.
    #[command(hide = true)]
    ControlPlane(control_plane::Arguments),
    /// What an agent's pod runs before the agent.
    #[command(hide = true)]
    PrepareData(prepare_data::Arguments),
    /// What an agent runs for each device.
    #[command(hide = true)]
    EngineWorker,
}

/// The file's name as a plugin of kubectl.
const PLUGIN: &str = "kubectl-edgeloom";

/// What logs say when RUST_LOG is not set: programs that serve tell what they decide; commands that answer, what is wrong.
/// The client's own lines are left out: they repeat errors that are told with more to go by.
const SERVING: &str = "info,kube_client=off";
const ANSWERING: &str = "warn,kube_client=off";

/// Runs the command of the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { log_format, command } = parse();
    let filter = match &command {
        Command::Up(_)
        | Command::Chat(_)
        | Command::Models(_)
        | Command::Explain(_)
        | Command::Solve(_)
        | Command::Simulate(_)
        | Command::Bench(_)
        | Command::PrepareData(_)
        | Command::Token(_)
        | Command::Version => ANSWERING,
        _ => SERVING,
    };
    logging::begin(log_format, filter);
    // The worker is a process without a runtime, and without anything that it does not need.
    if let Command::EngineWorker = command {
        return agent::engine_worker();
    }
    match run(command, log_format) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", crds::with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The process's arguments. kubectl starts a plugin by its file's name: `kubectl edgeloom` is `kubectl-edgeloom`, which is
/// this program under another name, and its usage says so.
fn parse() -> Cli {
    let program = std::env::args_os().next().unwrap_or_default();
    let mut command = Cli::command();
    if Path::new(&program).file_stem().is_some_and(|name| name == PLUGIN) {
        command = command.bin_name("kubectl edgeloom");
    }
    let matches = command.get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn run(command: Command, log_format: logging::Format) -> anyhow::Result<ExitCode> {
    // Fails only if somebody installed one before, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Up(arguments) => runtime.block_on(up::run(&arguments, log_format)),
        Command::Chat(arguments) => chat::run(&arguments, &runtime).map(done),
        Command::Models(arguments) => models::run(&arguments).map(done),
        Command::Explain(arguments) => runtime.block_on(explain::run(&arguments)).map(done),
        Command::Solve(arguments) => solve::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments).map(done),
        Command::Bench(arguments) => bench::run(&arguments).map(done),
        Command::Controller(arguments) => runtime.block_on(controller::run(arguments)).map(done),
        Command::Apiserver(arguments) => runtime.block_on(apiserver::run(arguments)).map(done),
        Command::Token(arguments) => runtime.block_on(token::run(arguments)).map(done),
        Command::Agent(arguments) => runtime.block_on(agent::run(arguments)).map(done),
        Command::ControlPlane(arguments) => runtime.block_on(control_plane::run(arguments)).map(done),
        Command::PrepareData(arguments) => prepare_data::run(&arguments).map(done),
        Command::Version => {
            output::print(&version::text())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::EngineWorker => unreachable!("the worker runs before there is a runtime"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_that_is_shown_says_what_it_does() {
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
        }
    }
}
