//! Holds the table of allowed arrows between rooms. Adding an arrow is a decision: edit the table here
//! and in ARCHITECTURE.md, and say why in the commit.

use std::{collections::BTreeSet, fs, path::Path};

/// Each room, where it lives, and the rooms that it may import.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("crds", "crds", &[]),
    ("solver", "controller/solver", &[]),
    ("apiserver", "controller/apiserver", &[]),
    ("manager", "controller/manager", &["crds", "solver"]),
    (
        "edgeloom",
        "controller/edgeloom",
        &["manager", "apiserver", "node", "crds", "solver"],
    ),
    ("engine", "agents/engine", &[]),
    ("transport", "agents/transport", &[]),
    ("router", "agents/router", &[]),
    ("telemetry", "agents/telemetry", &[]),
    (
        "node",
        "agents/node",
        &["crds", "engine", "transport", "router", "telemetry"],
    ),
];

/// Crates that would put I/O or a Kubernetes name into the solver.
const NOT_IN_SOLVER: &[&str] = &["tokio", "kube", "k8s-openapi", "reqwest", "ureq", "rand"];

fn dependencies_of(folder: &str) -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder)
        .join("Cargo.toml");
    let text =
        fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let mut section = String::new();
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies")
            && let Some(name) = line.split(['=', '.', ' ']).next().filter(|name| !name.is_empty())
        {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn rooms_import_only_what_the_architecture_allows() {
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(name, ..)| *name).collect();
    for (name, folder, allowed) in ROOMS {
        let dependencies = dependencies_of(folder);
        assert!(
            !dependencies.is_empty(),
            "{folder}/Cargo.toml lists no dependency: is the parser blind?"
        );
        for dependency in dependencies
            .iter()
            .filter(|dependency| rooms.contains(dependency.as_str()))
        {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} must not import {dependency}"
            );
        }
    }
}

#[test]
fn every_member_of_the_workspace_is_a_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let text = fs::read_to_string(root).expect("the workspace manifest is readable");
    let members = text
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .expect("members")
        .0;
    let mut listed: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(listed.remove("tests"));
    assert_eq!(listed, ROOMS.iter().map(|(_, folder, _)| *folder).collect());
}

#[test]
fn the_solver_imports_nothing_that_does_io() {
    let dependencies = dependencies_of("controller/solver");
    for banned in NOT_IN_SOLVER {
        assert!(!dependencies.contains(*banned), "solver must not import {banned}");
    }
}
