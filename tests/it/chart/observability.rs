//! What the chart does about alerts and traces, when it is told to.

use super::rendered;

const RUNBOOK: &str = "https://wiki.example/edgeloom";

/// The `runbook_url` of each alert.
fn runbooks(values: &[&str]) -> Vec<String> {
    let rules =
        rendered(&[&["metrics.prometheusRule.enabled=true"], values].concat()).of_kind("PrometheusRule");
    let groups = rules.iter().filter_map(|rule| rule["spec"]["groups"].as_array());
    let rules = groups.flatten().filter_map(|group| group["rules"].as_array());
    let alerts = rules.flatten().filter(|rule| rule["alert"].is_string());
    alerts
        .map(|alert| {
            let url = alert["annotations"]["runbook_url"].as_str();
            url.expect("an alert has a runbook").to_owned()
        })
        .collect()
}

#[test]
fn alerts_lead_to_the_runbook_where_it_is_published() {
    let (unnamed, named) = (
        runbooks(&[]),
        runbooks(&[&format!("metrics.prometheusRule.runbookUrl=\"{RUNBOOK}\"")]),
    );
    assert!(unnamed.len() > 10, "{unnamed:?}");
    let published: Vec<_> = unnamed
        .iter()
        .map(|file| file.replacen("RUNBOOK.md", RUNBOOK, 1))
        .collect();
    assert!(
        unnamed.iter().all(|file| file.starts_with("RUNBOOK.md#")),
        "{unnamed:?}"
    );
    assert_eq!(named, published);
}

#[test]
fn traces_are_sent_by_agents_and_only_where_a_collector_is_named() {
    let flags = |values: &[&str]| {
        let manifests = rendered(values);
        let containers = manifests.containers().into_iter();
        let arguments = containers.filter_map(|container| container["args"].as_array().cloned());
        let flags = arguments
            .flatten()
            .filter_map(|flag| flag.as_str().map(str::to_owned));
        flags
            .filter(|flag| flag.starts_with("--otlp"))
            .collect::<Vec<_>>()
    };
    assert_eq!(flags(&[]), Vec::<String>::new());
    assert_eq!(
        flags(&[r#"traces.otlpEndpoint="http://collector:4318""#]),
        ["--otlp-endpoint=http://collector:4318"]
    );
}
