//! `edgeloom solve`: what would be decided about manifests, with no API server and no agent.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use crds::{LLMService, Placement, manifest};
use manager::{
    offline,
    plan::{Plan, Proposed, ServicePlan, Verdict, standby},
    snapshot::{Options, Skipped, Snapshot},
    world::{ServiceName, World},
};
use serde_json::json;
use solver::{Budget, Solution};

use crate::{
    explain::{self, Asked, Report},
    output,
};
use what_if::WhatIf;

mod what_if;

/// The exit code when a service has no placement.
const INFEASIBLE: u8 = 3;

/// `edgeloom solve`
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// A manifest, or a folder of them: EdgeNodes, EdgeLinks, Models, LLMServices.
    #[arg(short, long, value_name = "PATH")]
    filename: PathBuf,
    /// `table` explains; `yaml` and `json` print the Placements.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// A change to try on the answer: `node/NAME lost`, `node/NAME memory=50%`, `node/NAME compute=50%`, `link/NAME lost`,
    /// `link/NAME rate=50%`, `link/NAME latency=200%`. May be given several times; all changes come at once. Names are
    /// those of EdgeNodes and EdgeLinks. The table then begins with the difference and explains the answer after it.
    #[arg(long, value_name = "CHANGE")]
    what_if: Vec<String>,
    /// Also says why a node, `node/NAME`, or a mode, `mode/MODE`, has no part in the pipelines of the answer. Goes with the
    /// table.
    #[arg(long, value_name = "node/NAME|mode/MODE")]
    why_not: Vec<Asked>,
}

/// A form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// The explanation, in words and tables.
    #[default]
    Table,
    /// The Placements, one YAML document each.
    Yaml,
    /// The Placements, as one List.
    Json,
}

/// Solves and prints.
///
/// # Errors
///
/// When manifests cannot be read or contradict themselves. A service that cannot be placed is an answer, with an exit
/// code of its own.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let world = offline::world_of(&arguments.filename).context("the manifests make no world")?;
    anyhow::ensure!(
        !world.services.is_empty(),
        "{} has no LLMService, so there is nothing to place",
        arguments.filename.display()
    );
    let changes = arguments
        .what_if
        .iter()
        .map(|text| text.parse().context("--what-if"))
        .collect::<anyhow::Result<Vec<WhatIf>>>()?;
    let mut snapshot = Snapshot::take(&world, Options { offline: true });
    let mut solution = manager::solve(&snapshot.problem).context("the manifests contradict themselves")?;
    let mut difference = String::new();
    if !changes.is_empty() {
        let mut changed = what_if::running(&snapshot, &solution);
        for change in &changes {
            change.apply(&world, &mut changed).context("--what-if")?;
        }
        let after = manager::solve(&changed.problem).context("the changes contradict the manifests")?;
        difference = what_if::difference(&changes, &changed, &solution, &after) + "\n";
        (snapshot, solution) = (changed, after);
    }
    let plan = Plan::propose(&world, &snapshot, &solution);
    let asked = standby::asked(&world, &snapshot);
    let foreseen = standby::foresee(&snapshot, &solution, &asked, &Budget::default())
        .context("what remains after a loss")?;
    let plan = plan.with_contingencies(&snapshot, &solution, &foreseen);
    let text = match arguments.output {
        Output::Table => {
            let mut text = difference + &tables(&world, &plan);
            for asked in &arguments.why_not {
                text += &why_not_lines(&snapshot, &solution, &plan, asked)?;
            }
            text
        }
        Output::Yaml => placements(&plan)
            .iter()
            .map(|placement| format!("---\n{}", manifest::print(placement)))
            .collect(),
        Output::Json => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": placements(&plan) });
            format!("{list:#}\n")
        }
    };
    output::print(&text)?;
    let mut all_placed = true;
    for (service, decided) in &plan.services {
        if let Some(reason) = why_not(&snapshot, service, decided) {
            all_placed = false;
            if arguments.output != Output::Table {
                tracing::warn!(%service, reason, "no placement");
            }
        }
    }
    Ok(if all_placed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INFEASIBLE)
    })
}

/// For every service that was asked about, why not.
fn why_not_lines(
    snapshot: &Snapshot,
    solution: &Solution,
    plan: &Plan<Proposed>,
    asked: &Asked,
) -> anyhow::Result<String> {
    let mut text = String::new();
    for service in &snapshot.services {
        let placement = plan.placements_of(service).next().map(|planned| &planned.spec);
        let line = match asked {
            Asked::Mode(mode) => explain::why_not_mode(placement, *mode),
            Asked::Node(node) => explain::why_not_node(snapshot, solution, service, node)?,
        };
        text += &format!("\nWhy not, for {service}: {line}");
    }
    Ok(text)
}

fn tables(world: &World, plan: &Plan<Proposed>) -> String {
    let reports = world
        .services
        .iter()
        .map(|service| explain::text(&report(service, plan)));
    reports.collect::<Vec<_>>().join("\n")
}

fn report(service: &LLMService, plan: &Plan<Proposed>) -> Report {
    let name = ServiceName::of(service);
    let decided = plan.services.get(&name);
    let placement = plan
        .placements_of(&name)
        .next()
        .map(|planned| planned.spec.clone());
    let (state, why, impossible) = match decided.map(|decided| &decided.verdict) {
        Some(Verdict::Feasible(why)) => ("Feasible", why.clone(), vec![]),
        Some(Verdict::Infeasible(why, tried)) => ("Infeasible", why.clone(), tried.clone()),
        Some(Verdict::Skipped(why)) => ("Not asked", why.clone(), vec![]),
        Some(Verdict::Unknown) | None => ("Unknown", String::new(), vec![]),
    };
    Report {
        service: name.to_string(),
        state: state.to_owned(),
        why,
        placement,
        objective: (
            service.spec.slo.time_to_first_token_milliseconds,
            service.spec.slo.time_per_output_token_milliseconds,
        ),
        impossible,
        together: decided.and_then(|decided| decided.together.clone()),
        contingencies: decided
            .and_then(|decided| decided.contingencies.clone())
            .unwrap_or_default(),
        ..Report::default()
    }
}

fn placements(plan: &Plan<Proposed>) -> Vec<Placement> {
    let object = |planned: &manager::plan::PlannedPlacement| {
        let mut placement = Placement::new(&planned.name, planned.spec.clone());
        placement.metadata.namespace = Some(planned.service.namespace.clone());
        placement
    };
    plan.placements.iter().map(object).collect()
}

/// Why a service has no placement; none when it has one, or wants none.
fn why_not<'a>(snapshot: &Snapshot, service: &ServiceName, decided: &'a ServicePlan) -> Option<&'a str> {
    let wants_none = matches!(snapshot.skipped.get(service), Some(Skipped::ScaledToZero));
    match &decided.verdict {
        Verdict::Infeasible(why, _) | Verdict::Skipped(why) if !wants_none => Some(why),
        _ => None,
    }
}
