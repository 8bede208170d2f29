//! `edgeloom simulate`: a scenario's figures, as tables, JSON or a page with plots.

use std::path::PathBuf;

use anyhow::Context as _;
use manager::simulate::{self, Policy, Scenario};

use crate::output;

mod html;
mod plot;
mod table;

/// What `--help` says after the arguments.
pub(crate) const HELP: &str = "\
A scenario is a YAML file with one document of kind Scenario (simulation.edgeloom.dev/v1alpha1), beside EdgeNodes, EdgeLinks, Models, LLMServices and EdgeUsers \
as `edgeloom solve` reads them. spec of the Scenario:

  durationSeconds, seed (1)     how long it lasts, and what chance begins with
  epochSeconds (5)              the controller decides after each event that it hears of, and at least this often
  lossSeconds (1)               time until the controller knows that a node or link is lost
  seatWaitSeconds (0.25)        how long a head lets a request wait for a session
  loadWithinSeconds             what loading a stage may take; the report says how many did
  policies                      of CloudOnly, NearestNode, Greedy, NeverMove, AlwaysMove, Edgeloom; all when absent
  manifests                     further files and folders
  weightsFrom                   the EdgeNode that offers all weights; without, every disk has them
  hardware[]                    nodes (NAME or PREFIX*), flopsPerSecond, memoryBytesPerSecond, diskBytesPerSecond,
                                batchOverheadMicroseconds, activeMilliwatts, idleMilliwatts
  sites[]                       prefix, places (eua, or a CSV file), count, node, link, neighbours: EdgeNodes from data
  crowds[]                      name, count, user, places (eua-users, or a CSV file): EdgeUsers by number
  arrivals[]                    service, users, one of poisson, trace (azure-conversation, mooncake, or a file of
                                milliseconds, prompt and output tokens, or as Azure or Mooncake publish it) and atSeconds;
                                promptTokens, outputTokens, fromSeconds, untilSeconds, air
  mobility[]                    users, one of randomWaypoint and cells
  links[]                       link, points or a CSV file: rates and latencies over time
  failures[]                    node or link, atSeconds, untilSeconds

examples/scenarios has one for each of four applications. The same scenario and seed print the same bytes.";

/// `edgeloom simulate`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The scenario.
    #[arg(value_name = "SCENARIO.yaml")]
    scenario: PathBuf,
    /// `table` is for people; `json` has everything, decisions and figures over time included.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Writes one self-contained page with plots to this file, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Begins chance with this number, in place of the scenario's.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Only this policy, in place of the scenario's; may be given several times.
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    policy: Vec<Policy>,
}

/// A form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Tables.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

fn policy(text: &str) -> Result<Policy, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        let names = Policy::ALL.map(|policy| format!("{policy:?}"));
        format!("the policies are {}", names.join(", "))
    })
}

/// Simulates and prints.
///
/// # Errors
///
/// When the scenario names what is not there, contradicts itself, or a file cannot be read or written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut scenario = Scenario::read(&arguments.scenario)?;
    scenario.spec.seed = arguments.seed.unwrap_or(scenario.spec.seed);
    if !arguments.policy.is_empty() {
        scenario.spec.policies.clone_from(&arguments.policy);
    }
    let report = simulate::run(&scenario)?;
    if let Some(file) = &arguments.html {
        std::fs::write(file, html::page(&report))
            .with_context(|| format!("--html: {} cannot be written", file.display()))?;
    }
    match arguments.output {
        Output::Table => output::print(&table::text(&report))?,
        Output::Json => output::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?,
    }
    Ok(())
}
