//! Rules and alerts as `promtool` judges them, and the runbook beside them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tests::{prometheus::promtool, up::repository};

use super::promql::look_through;

/// A rule of a file.
pub(super) struct Rule {
    pub(super) file: String,
    /// An alert has this name.
    pub(super) alert: Option<String>,
    pub(super) expression: String,
    definition: Value,
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = repository().join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn read(file: &PathBuf) -> Value {
    let text = fs::read_to_string(file).expect("a file can be read");
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn name_of(file: &Path) -> String {
    let name = file.file_name().expect("a file has a name");
    name.to_string_lossy().into_owned()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key].as_array().into_iter().flatten()
}

/// Every rule of the chart.
pub(super) fn all() -> Vec<Rule> {
    let mut rules = vec![];
    for file in yaml_files("charts/edgeloom/files/rules") {
        let document = read(&file);
        for rule in list(&document, "groups").flat_map(|group| list(group, "rules")) {
            rules.push(Rule {
                file: name_of(&file),
                alert: rule["alert"].as_str().map(str::to_owned),
                expression: rule["expr"]
                    .as_str()
                    .expect("a rule has an expression")
                    .to_owned(),
                definition: rule.clone(),
            });
        }
    }
    assert!(rules.len() > 20, "the chart has rules");
    rules
}

fn succeeds(arguments: &[&str], files: &[PathBuf]) {
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let arguments: Vec<_> = arguments
        .iter()
        .copied()
        .chain(files.iter().map(String::as_str))
        .collect();
    let output = promtool(&arguments, "");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    succeeds(
        &["check", "rules", "--lint-fatal"],
        &yaml_files("charts/edgeloom/files/rules"),
    );
    succeeds(&["test", "rules"], &yaml_files("tests/rules"));
}

/// The names of alerts that a test expects.
fn expected_alerts(test: &Value) -> BTreeSet<String> {
    let samples = list(test, "promql_expr_test").flat_map(|query| list(query, "exp_samples"));
    samples
        .filter_map(|sample| {
            let (_, rest) = sample["labels"].as_str()?.split_once("alertname=\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        })
        .collect()
}

#[test]
fn every_alert_fires_in_one_test_and_is_silent_in_another() {
    for file in yaml_files("tests/rules") {
        let document = read(&file);
        let rules: Vec<_> = all()
            .into_iter()
            .filter(|rule| rule.file == name_of(&file))
            .collect();
        assert!(!rules.is_empty(), "{} tests nothing", file.display());
        let (calm, eventful): (Vec<_>, Vec<_>) =
            list(&document, "tests").partition(|test| test["name"] == "calm");
        let fired: BTreeSet<_> = eventful.iter().flat_map(|test| expected_alerts(test)).collect();
        let given: BTreeSet<String> = calm
            .iter()
            .flat_map(|test| list(test, "input_series"))
            .flat_map(|series| look_through(series["series"].as_str().expect("a series")).selectors)
            .map(|selector| selector.name)
            .collect();
        assert!(calm.iter().all(|test| expected_alerts(test).is_empty()));
        for rule in rules {
            for selector in look_through(&rule.expression).selectors {
                assert!(
                    selector.name.contains(':') || given.contains(&selector.name),
                    "the calm test of {} has no {}",
                    rule.file,
                    selector.name
                );
            }
            if let Some(alert) = rule.alert {
                assert!(
                    fired.contains(&alert),
                    "no test of {} lets {alert} fire",
                    rule.file
                );
            }
        }
    }
    let tested: Vec<_> = yaml_files("tests/rules")
        .iter()
        .map(|file| name_of(file))
        .collect();
    let there: Vec<_> = yaml_files("charts/edgeloom/files/rules")
        .iter()
        .map(|file| name_of(file))
        .collect();
    assert_eq!(tested, there);
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_a_paragraph_in_the_runbook() {
    let runbook = fs::read_to_string(repository().join("charts/edgeloom/RUNBOOK.md")).expect("a runbook");
    let headings: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let mut alerts = BTreeSet::new();
    for rule in all() {
        let Some(alert) = rule.alert else { continue };
        let severity = rule.definition["labels"]["severity"].as_str();
        assert!(
            matches!(severity, Some("critical" | "warning")),
            "{alert}: {severity:?}"
        );
        let annotations = &rule.definition["annotations"];
        for annotation in ["summary", "description"] {
            let text = annotations[annotation].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{alert} has no {annotation}");
        }
        assert_eq!(
            annotations["runbook_url"],
            format!("RUNBOOK.md#{}", alert.to_lowercase())
        );
        assert!(
            headings.contains(alert.as_str()),
            "the runbook says nothing of {alert}"
        );
        assert!(alerts.insert(alert), "two alerts have one name");
    }
    let written: BTreeSet<String> = headings.into_iter().map(str::to_owned).collect();
    assert_eq!(written, alerts, "the runbook and the alerts");
}
