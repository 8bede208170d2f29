//! `edgeloom simulate`: scenarios with the answers that are expected of them, and what is said of bad ones.

use std::{fs, path::Path};

use crate::{edgeloom, said};

/// Scenarios that are part of the project, with what each prints in a file of the same name.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/scenarios");

fn simulate(arguments: &[&str]) -> (Option<i32>, String, String) {
    said(&edgeloom(&[&["simulate"], arguments].concat()).output().unwrap())
}

fn scenarios() -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(SCENARIOS)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenario in {SCENARIOS}");
    files
}

/// To accept what is printed now: `UPDATE_EXPECTED=1 cargo test -p edgeloom --test command simulate`, and read the difference.
#[test]
fn scenarios_have_the_outcome_that_stands_beside_them() {
    for file in scenarios() {
        let (code, text, errors) = simulate(&[file.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{errors}");
        let expected = file.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &text).unwrap();
        }
        let known = fs::read_to_string(&expected).unwrap_or_default();
        assert!(
            text == known,
            "{} differs from what is printed now:\n{text}",
            expected.display()
        );
    }
}

#[test]
fn the_same_scenario_prints_the_same_bytes_and_another_seed_others() {
    let file = scenarios().remove(0);
    let file = file.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let page = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, other) = (page("one.html"), page("other.html"));
    let first = simulate(&[file, "--policy", "Edgeloom", "--output", "json", "--html", &one]);
    assert_eq!(first.0, Some(0), "{}", first.2);
    assert_eq!(
        first,
        simulate(&[file, "--policy", "Edgeloom", "--output", "json", "--html", &other])
    );
    assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap());
    assert_ne!(
        first.1,
        simulate(&[
            file, "--policy", "Edgeloom", "--output", "json", "--seed", "12345"
        ])
        .1
    );

    let text = fs::read_to_string(&one).unwrap();
    for outside in ["http://", "https://", "<script", "@import", "url("] {
        assert!(!text.contains(outside), "the page needs {outside}");
    }
    assert!(text.contains("<svg") && text.contains("prefers-color-scheme:dark"));
}

/// What holds of any report, told from its JSON.
#[test]
fn the_books_of_every_scenario_add_up() {
    for file in scenarios() {
        let (_, json, errors) = simulate(&[file.to_str().unwrap(), "--output", "json"]);
        let report: serde_json::Value = serde_json::from_str(&json).expect(&errors);
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or_default();
        let mut requests = vec![];
        for policy in report["policies"].as_array().unwrap() {
            let services = policy["services"].as_array().unwrap();
            for service in services {
                let failed: f64 = service["failed"].as_object().unwrap().values().map(number).sum();
                let over = number(&service["answered"]) + failed;
                assert_eq!(
                    number(&service["requests"]),
                    over + number(&service["inFlight"]),
                    "{service}"
                );
                let parts = service["attainmentOverTime"].as_array().unwrap();
                let sum = |place: usize| parts.iter().map(|part| number(&part[place])).sum::<f64>();
                assert_eq!((sum(0), sum(1)), (over, number(&service["withinSlo"])));
                assert!(service["kvPeak"].as_f64().is_none_or(|peak| peak <= 1.0));
                let curve = service["ttftMilliseconds"]["curve"].as_array().unwrap();
                assert!(curve.iter().map(number).is_sorted());
            }
            let tokens: f64 = services.iter().map(|service| number(&service["tokens"])).sum();
            let last = policy["samples"].as_array().unwrap().last().unwrap();
            assert_eq!(
                tokens,
                last["tokens"].as_array().unwrap().iter().map(number).sum::<f64>()
            );
            let nodes = policy["nodes"].as_array().unwrap();
            let by_node: f64 = nodes.iter().map(|node| number(&node["activeJoules"])).sum();
            let by_service: f64 = services
                .iter()
                .map(|service| number(&service["activeJoules"]))
                .sum();
            assert!(
                (by_node - by_service).abs() <= 1e-9 * by_node.max(1.0),
                "{by_node} J against {by_service} J"
            );
            assert!(
                nodes
                    .iter()
                    .all(|node| (0.0..=1.0).contains(&number(&node["busy"])))
            );
            requests.push(
                services
                    .iter()
                    .map(|service| number(&service["requests"]))
                    .collect::<Vec<_>>(),
            );
        }
        assert!(
            requests.windows(2).all(|pair| pair[0] == pair[1]),
            "policies meet the same requests"
        );
    }
}

/// What each application asks for: time to the first token in milliseconds, by service.
const PROMISES: [(&str, &[(&str, f64)]); 4] = [
    (
        "autonomous-driving",
        &[("drive-0", 10.0), ("drive-1", 10.0), ("drive-2", 10.0)],
    ),
    (
        "humanoid-robots",
        &[("dialogue", 100.0), ("skill-0", 10.0), ("skill-1", 10.0)],
    ),
    ("mobile-health", &[("falls", 400.0), ("readings", 400.0)]),
    ("virtual-assistants", &[("assistant", 200.0)]),
];

#[test]
fn edgeloom_keeps_what_each_application_is_promised() {
    for ((name, promises), file) in PROMISES.iter().zip(scenarios()) {
        assert_eq!(file.file_stem().unwrap().to_str().unwrap(), *name);
        let (_, json, errors) =
            simulate(&[file.to_str().unwrap(), "--policy", "Edgeloom", "--output", "json"]);
        let report: serde_json::Value = serde_json::from_str(&json).expect(&errors);
        let policy = &report["policies"][0];
        let services = policy["services"].as_array().unwrap();
        assert_eq!(services.len(), promises.len());
        for (service, (wanted, milliseconds)) in services.iter().zip(*promises) {
            assert_eq!(service["service"], format!("default/{wanted}"));
            assert_eq!(service["sloTtftMilliseconds"].as_f64(), Some(*milliseconds));
            assert!(
                service["ttftMilliseconds"]["p95"].as_f64().unwrap() <= *milliseconds,
                "{service}"
            );
            assert!(service["sloAttainment"].as_f64().unwrap() >= 0.95, "{service}");
        }
        if *name == "autonomous-driving" {
            assert_eq!(report["loadWithinSeconds"].as_f64(), Some(1.0));
            let loads = policy["loads"].as_array().unwrap();
            let fetched = loads
                .iter()
                .filter(|load| load["fetchedBytes"].as_u64() > Some(0));
            assert!(fetched.count() >= 3, "each car fetches its model: {loads:?}");
            assert_eq!(
                policy["loadsWithin"].as_u64(),
                Some(loads.len() as u64),
                "{loads:?}"
            );
        }
    }
}

#[test]
fn a_bad_scenario_is_answered_with_the_field_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(Path::new(SCENARIOS).join("virtual-assistants.yaml")).unwrap();
    let told = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        let file = folder.path().join("bad.yaml");
        fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let (code, _, errors) = simulate(&[file.to_str().unwrap()]);
        assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
        errors
    };
    for (from, to, expected) in [
        (
            "durationSeconds: 300",
            "durationSeconds: -1",
            "spec.durationSeconds: -1 is not allowed",
        ),
        (
            "durationSeconds: 300",
            "duration: 300",
            "unknown field `duration`",
        ),
        (
            "seed: 1",
            "seed: 1\n  policies: [Edgeloom, Fastest]",
            "spec.policies[1]: unknown variant `Fastest`, expected one of `CloudOnly`",
        ),
        (
            "seed: 1",
            "seed: 1\n  loadWithinSeconds: 0",
            "spec.loadWithinSeconds: 0 is not allowed",
        ),
        (
            "flopsPerSecond: 20T",
            "flopsPerSecond: 0",
            "spec.hardware[0].flopsPerSecond: it is above 0",
        ),
        ("count: 60", "count: 0", "spec.crowds[0].count: it is from 1 to"),
        (
            "promptTokens: [40, 400]",
            "promptTokens: [400, 40]",
            "spec.arrivals[0].promptTokens: it is a number above 0",
        ),
        (
            "promptTokens: [40, 400]",
            "atSeconds: [1]",
            "spec.arrivals[0]: it has exactly one of poisson",
        ),
        (
            "link: bs-0-data-centre",
            "link: bs-0-moon",
            "spec.links[0].link: there is no EdgeLink \"bs-0-moon\"; there are",
        ),
        (
            "untilSeconds: 150",
            "untilSeconds: 50",
            "spec.failures[0].untilSeconds: it is after atSeconds",
        ),
        (
            "requestsPerSecond: 2",
            "requestsPerSecond: many",
            "spec.arrivals[0].trace.requestsPerSecond: invalid type",
        ),
        (
            "data: azure-conversation",
            "data: nothing.csv",
            "spec.arrivals[0].trace.data",
        ),
        (
            "- service: assistant\n      trace",
            "- service: nobody\n      trace",
            "spec.arrivals[0].service: there is no LLMService",
        ),
        (
            "seed: 1",
            "seed: 1\n  weightsFrom: moon",
            "spec.weightsFrom: there is no EdgeNode \"moon\"",
        ),
        (
            "node: bs-1",
            "node: bs-9",
            "spec.failures[0].node: there is no EdgeNode \"bs-9\"; there are bs-0",
        ),
        (
            "users: [walker]",
            "users: [runner]",
            "spec.mobility[0].users: \"runner\" is neither",
        ),
        ("places: eua", "places: nowhere.csv", "spec.sites[0].places"),
        (
            "nodes: [data-centre]",
            "nodes: [other]",
            "no entry names EdgeNode data-centre",
        ),
        ("tier: Server", "tier: Sever", "spec.sites[0].node.tier"),
        ("kind: Scenario", "kind: Scene", "0 documents of kind Scenario"),
        (
            "metresPerSecond: [1, 15]",
            "metresPerSecond: [15, 1]",
            "metresPerSecond: 1 is not allowed: it is from 15",
        ),
    ] {
        let errors = told(from, to);
        assert!(errors.contains(expected), "{expected} in {errors}");
    }
}

#[test]
fn the_help_names_every_field_of_a_scenario() {
    let (code, text, _) = simulate(&["--help"]);
    assert_eq!(code, Some(0));
    for field in [
        "durationSeconds",
        "epochSeconds",
        "lossSeconds",
        "seatWaitSeconds",
        "loadWithinSeconds",
        "policies",
        "manifests",
        "weightsFrom",
        "hardware",
        "sites",
        "crowds",
        "arrivals",
        "mobility",
        "links",
        "failures",
        "--html",
        "--seed",
        "--policy",
    ] {
        assert!(text.contains(field), "{field}");
    }
}
