//! A real Prometheus scrapes a running `edgeloom up`. Every metric and label that a dashboard, a rule or an alert names must
//! be there, and every query of a dashboard must have an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use prometheus::{Registry, TextEncoder};
use telemetry::{Battery, Fact, Gpu, LinkMetrics, LinkReading, NodeMetrics, RateReading, Reading};
use tests::{
    prometheus::{Labels, Prometheus, promtool},
    up::{Up, example},
    wait::{self, until},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    dashboards::{self, list},
    promql::look_through,
    rules,
};
use crate::up::{ask, router, until_settled};

/// Labels that our metrics may have: their values are names of services, models, nodes and peers, or one of a few words. Users,
/// keys and requests are not among them.
const LABELS: [&str; 20] = [
    "code",
    "component",
    "device",
    "direction",
    "kind",
    "le",
    "met",
    "model",
    "node",
    "objective",
    "ordinal",
    "peer",
    "percentile",
    "phase",
    "result",
    "service",
    "source",
    "state",
    "version",
    "__name__",
];

/// Endings that say a unit; what is counted in pieces is called after them.
const UNITS: [&str; 18] = [
    "_seconds",
    "_bytes",
    "_ratio",
    "_total",
    "_celsius",
    "_joules",
    "_watts",
    "_cores",
    "_bytes_per_second",
    "_info",
    "_layers",
    "_rows",
    "_sessions",
    "_stages",
    "_jobs",
    "_placements",
    "_services",
    "_in_progress",
];

/// States, and counts of nodes and requests by state.
const STATES: [&str; 9] = [
    "edgeloom_controller_leader",
    "edgeloom_service_feasible",
    "edgeloom_service_ready",
    "edgeloom_service_fault_tolerant",
    "edgeloom_node_reachable",
    "edgeloom_link_connected",
    "edgeloom_nodes_alive",
    "edgeloom_nodes_lost",
    "edgeloom_requests_in_flight",
];

#[tokio::test(flavor = "multi_thread")]
async fn all_that_dashboards_rules_and_alerts_ask_for_is_there() {
    let phone = serve_a_machine_with_every_sensor().await;
    let up = Up::start(&example("01-first-thread"), &[]).await;
    let prometheus = Prometheus::start(&up.data().join("targets.json"), &[phone]).await;
    until_settled(&up).await;
    let routers = ["base-station", "robot"];
    for node in routers {
        let (code, answer) = ask(&router(&up, node).await, "Name a river.");
        assert_eq!(code, 200, "{answer}");
    }
    until("every program is scraped", || async {
        let programs = prometheus.query("count by (component) (edgeloom_build_info) >= 1");
        (programs.ok()?.len() == 2).then_some(())
    })
    .await;
    judge_names(&up);

    let asked = asked(&prometheus);
    let again = router(&up, routers[0]).await;
    let began = Instant::now();
    loop {
        let missing: Vec<_> = asked
            .iter()
            .filter_map(|asked| asked.missing(&prometheus))
            .collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            began.elapsed() < wait::DEADLINE,
            "{} of {} queries lack something:\n{}",
            missing.len(),
            asked.len(),
            missing.join("\n")
        );
        // Rates are of requests that are seen to come.
        ask(&again, "Name a mountain.");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A query and where it stands.
struct Asked {
    place: String,
    expression: String,
    /// Whether it has an answer as long as all is well; an alert has none.
    answered: bool,
    /// Labels that its legend names.
    legend: BTreeSet<String>,
}

/// Every query of dashboards, rules and alerts, with values for the variables.
fn asked(prometheus: &Prometheus) -> Vec<Asked> {
    let mut asked: Vec<_> = rules::all()
        .into_iter()
        .map(|rule| Asked {
            place: rule.file,
            answered: rule.alert.is_none(),
            expression: rule.expression,
            legend: BTreeSet::new(),
        })
        .collect();
    for (file, dashboard) in dashboards::all() {
        let variables: BTreeMap<_, _> = list(&dashboard["templating"], "list")
            .filter(|variable| variable["type"] == "query")
            .map(|variable| value_of(prometheus, variable))
            .collect();
        for panel in list(&dashboard, "panels") {
            for target in list(panel, "targets") {
                let expression = target["expr"].as_str().expect("an expression");
                asked.push(Asked {
                    place: format!("{file}, {}", panel["title"]),
                    expression: filled_in(expression, &variables),
                    answered: true,
                    legend: legend_labels(target["legendFormat"].as_str().unwrap_or_default()),
                });
            }
        }
    }
    assert!(asked.len() > 100, "{} queries", asked.len());
    asked
}

/// A variable's name, and the value that stands for it in an expression.
fn value_of(prometheus: &Prometheus, variable: &serde_json::Value) -> (String, String) {
    let name = variable["name"].as_str().expect("a name").to_owned();
    if let Some(everything) = variable["allValue"].as_str() {
        return (name, everything.to_owned());
    }
    let definition = variable["definition"].as_str().expect("a definition");
    let (metric, label) = definition
        .strip_prefix("label_values(")
        .and_then(|rest| rest.strip_suffix(')')?.split_once(", "))
        .expect("label_values(METRIC, LABEL)");
    let series = prometheus.series(metric).expect("a selector");
    let value = series.first().and_then(|labels| labels.get(label));
    (
        name,
        value
            .unwrap_or_else(|| panic!("{definition} has no value"))
            .clone(),
    )
}

fn filled_in(expression: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = expression.replace("$__rate_interval", "1m");
    for (name, value) in variables {
        text = text.replace(&format!("${name}"), value);
    }
    assert!(!text.contains('$'), "a variable has no value in {text}");
    text
}

fn legend_labels(legend: &str) -> BTreeSet<String> {
    let labels = legend
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split_once("}}"));
    labels.map(|(label, _)| label.to_owned()).collect()
}

impl Asked {
    /// What is not there of what it names, in words.
    fn missing(&self, prometheus: &Prometheus) -> Option<String> {
        let wrong = |what: String| Some(format!("{}: {what}\n    {}", self.place, self.expression));
        let named = look_through(&self.expression);
        if named.selectors.is_empty() {
            return wrong("it names no metric".to_owned());
        }
        let mut labels = BTreeSet::new();
        for selector in &named.selectors {
            let series = match prometheus.series(&selector.text()) {
                Ok(series) => series,
                Err(error) => return wrong(error),
            };
            let own: BTreeSet<String> = series.iter().flat_map(Labels::keys).cloned().collect();
            if let Some(label) = selector.labels().difference(&own).next() {
                return wrong(format!("no series of {} has a label {label}", selector.text()));
            }
            if own.is_empty() {
                return wrong(format!("there is no {}", selector.text()));
            }
            labels.extend(own);
        }
        if let Some(label) = named.labels.difference(&labels).next() {
            return wrong(format!("nothing in it has a label {label}"));
        }
        match prometheus.query(&self.expression) {
            Err(error) => wrong(error),
            Ok(answer) if self.answered && answer.is_empty() => wrong("no answer".to_owned()),
            Ok(answer) => {
                let label = self
                    .legend
                    .iter()
                    .find(|label| answer.iter().any(|series| !series.contains_key(*label)))?;
                wrong(format!("its answer has no label {label}"))
            }
        }
    }
}

/// What each program shows, judged by `promtool` and by our own rules for names.
fn judge_names(up: &Up) {
    let mut urls: Vec<_> = up.routers().into_values().collect();
    let health = up.document()["apiServer"]["healthUrl"].clone();
    urls.push(health.as_str().expect("the controller's address").to_owned());
    for url in urls {
        let text = scrape(&url);
        let judged = promtool(&["check", "metrics"], &text);
        assert!(
            judged.status.success(),
            "{url}: {}",
            String::from_utf8_lossy(&judged.stderr)
        );
        let mut families = BTreeSet::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(described) = line.strip_prefix("# HELP ") {
                let (family, help) = described.split_once(' ').unwrap_or((described, ""));
                assert!(help.ends_with('.') || family.starts_with("process_"), "{line}");
                families.insert(family.to_owned());
            } else if !line.starts_with('#') {
                judge_labels(line);
            }
        }
        for family in families.iter().filter(|family| !family.starts_with("process_")) {
            assert!(family.starts_with("edgeloom_"), "{family}");
            assert!(
                UNITS.iter().any(|unit| family.ends_with(unit)) || STATES.contains(&family.as_str()),
                "{family} does not end in a unit"
            );
        }
        assert!(families.contains("edgeloom_build_info"), "{text}");
    }
}

fn judge_labels(line: &str) {
    for selector in look_through(line).selectors {
        for label in selector.labels() {
            assert!(LABELS.contains(&label.as_str()), "the label {label} in {line}");
        }
    }
    for personal in ["ada", "sk-", "req-"] {
        assert!(!line.contains(&format!("=\"{personal}")), "{line}");
    }
}

fn scrape(url: &str) -> String {
    let url = format!("{}/metrics", url.trim_end_matches('/'));
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", &url])
        .output()
        .expect("curl runs");
    assert!(
        output.status.success(),
        "{url}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("metrics are text")
}

/// The machine that runs the tests may have no battery, no GPU, no thermal sensor and no busy link: a phone has them, with
/// telemetry's own metrics.
async fn serve_a_machine_with_every_sensor() -> SocketAddr {
    let labels = [("node".to_owned(), "phone".to_owned())].into();
    let registry = Registry::new_custom(None, Some(labels)).expect("a registry");
    let machine = NodeMetrics::register(&registry).expect("registered once");
    machine.show(&Reading {
        observed: SystemTime::now(),
        memory: None,
        processor: None,
        battery: Some(Fact::measured(Battery {
            ratio: 0.8,
            energy_joules: 40_000.0,
            discharge_watts: 2.0,
        })),
        temperature_celsius: Some(Fact::measured(35.0)),
        gpus: vec![Gpu {
            name: "cuda0".to_owned(),
            product: None,
            uuid: None,
            memory_total_bytes: 8_000_000_000,
            memory_used_bytes: 1_000_000_000,
            temperature_celsius: Some(50.0),
            power_watts: Some(30.0),
            busy_ratio: Some(0.5),
        }],
    });
    let links = LinkMetrics::register(&registry).expect("registered once");
    let rate = |kind| RateReading {
        percentiles: [1_000_000, 2_000_000, 3_000_000],
        kind,
    };
    links.show(
        "robot",
        &LinkReading {
            connected: true,
            inbound: Some(rate("probed")),
            outbound: Some(rate("measured")),
            ..LinkReading::default()
        },
    );
    let text = TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("metrics are text");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // One packet holds the request of a scrape, and nothing in it matters.
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            let _ = stream.write_all((head + &text).as_bytes()).await;
        }
    });
    address
}
