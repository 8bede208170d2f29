//! A report as one page that needs nothing else: tables, plots as inline SVG, light and dark as the reader's system is.

use std::fmt::Write as _;

use manager::simulate::{PolicyReport, Report, ServiceReport};

use super::{
    plot::{Line, Plot, escaped},
    table,
};

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1d21;--faint:#6a727b;--rule:#dfe3e8;--c0:#0b6bcb;--c1:#c2410c;--c2:#15803d;\
--c3:#7e22ce;--c4:#b45309;--c5:#0e7490;--c6:#be185d;--c7:#4d5761}\
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e6e8ea;--faint:#9aa3ad;--rule:#30363d;--c0:#60a5fa;--c1:#fb923c;\
--c2:#4ade80;--c3:#c084fc;--c4:#fbbf24;--c5:#22d3ee;--c6:#f472b6;--c7:#a8b1ba}}\
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}p{max-width:75ch}.faint{color:var(--faint)}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}th,td{text-align:right;padding:.25rem .7rem;\
border-bottom:1px solid var(--rule);white-space:nowrap}th{font-weight:600}td:first-child,th:first-child,.left td{text-align:left}\
.plots{display:flex;flex-wrap:wrap;gap:1.2rem}figure{margin:0;flex:1 1 26rem;max-width:40rem}figcaption{font-weight:600}\
svg{width:100%;height:auto}svg text{fill:var(--faint);font-size:12px}.grid{stroke:var(--rule)}.mark{stroke:var(--ink);stroke-dasharray:5 4}\
polyline{fill:none;stroke-width:2;stroke-linejoin:round}.legend{margin:.1rem 0}.legend span{margin-right:1rem;white-space:nowrap}\
.legend i{display:inline-block;width:1em;height:.25em;vertical-align:middle;margin-right:.35em}\
polyline.c0{stroke:var(--c0)}polyline.c1{stroke:var(--c1)}polyline.c2{stroke:var(--c2)}polyline.c3{stroke:var(--c3)}\
polyline.c4{stroke:var(--c4)}polyline.c5{stroke:var(--c5)}polyline.c6{stroke:var(--c6)}polyline.c7{stroke:var(--c7)}\
i.c0{background:var(--c0)}i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}i.c4{background:var(--c4)}\
i.c5{background:var(--c5)}i.c6{background:var(--c6)}i.c7{background:var(--c7)}";

/// Colours of the page.
const COLOURS: usize = 8;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let name = escaped(&report.scenario);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{name}</title><style>{STYLE}</style></head><body>\n\
         <h1>{name}</h1>\n<p class=\"faint\">{} s, seed {}; simulated by edgeloom {}</p>\n<p>{}</p>\n",
        report.duration_seconds,
        report.seed,
        env!("CARGO_PKG_VERSION"),
        escaped(&report.description)
    );
    let services = report.policies.first().map_or(&[][..], |policy| &policy.services);
    for (index, service) in services.iter().enumerate() {
        let _ = writeln!(
            page,
            "<h2>{}{}</h2>",
            escaped(&service.service),
            escaped(&table::promise(service))
        );
        page += &outcomes(report, index);
        page += "<div class=\"plots\">\n";
        page += &plots(report, index);
        page += "</div>\n";
    }
    page += "<h2>Nodes</h2>\n";
    page += &nodes(report);
    page += "<div class=\"plots\">\n";
    page += &batteries(report);
    page += "</div>\n<h2>Decisions</h2>\n";
    for policy in &report.policies {
        page += &decisions(policy, report.load_within_seconds);
    }
    page + "</body></html>\n"
}

fn row(cells: &[String], tag: &str) -> String {
    let cells = cells
        .iter()
        .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

fn head(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
    format!("<thead>{}</thead><tbody>\n", row(&cells, "th"))
}

fn outcomes(report: &Report, index: usize) -> String {
    let mut text = String::from("<table>");
    text += &head(&[
        "policy",
        "within SLO",
        "weights in place",
        "requests",
        "answered",
        "failed",
        "in flight",
        "first token p50 / p95 / p99, ms",
        "per token p50 / p95 / p99, ms",
        "tokens/s",
        "energy, J",
        "moves",
        "KV peak",
        "tokens per batch",
    ]);
    for policy in &report.policies {
        let service = &policy.services[index];
        let failed = service.failed.iter();
        let reasons: Vec<String> = failed
            .map(|(why, count)| format!("{count} {}", why.words()))
            .collect();
        let failed = if reasons.is_empty() {
            "0".to_owned()
        } else {
            reasons.join(", ")
        };
        text += &row(
            &[
                policy.policy.name().to_owned(),
                table::percent(service.slo_attainment),
                table::percent(service.hit_ratio),
                service.requests.to_string(),
                service.answered.to_string(),
                failed,
                service.in_flight.to_string(),
                table::quantiles(&service.ttft_milliseconds),
                table::quantiles(&service.tpot_milliseconds),
                format!("{:.1}", service.tokens_per_second),
                format!("{:.0}", service.active_joules),
                service.moves.to_string(),
                table::percent(service.kv_peak),
                service
                    .tokens_per_batch
                    .map_or_else(|| "-".to_owned(), |batch| format!("{batch:.2}")),
            ],
            "td",
        );
    }
    text + "</tbody></table>\n"
}

/// What a plot shows of a service under a policy.
type Points<'a> = dyn Fn(&PolicyReport, &ServiceReport) -> Vec<(f64, f64)> + 'a;

#[allow(clippy::cast_precision_loss, reason = "points of a plot")]
fn plots(report: &Report, index: usize) -> String {
    let each = |points: &Points<'_>| {
        let policies = report.policies.iter().enumerate();
        let line = |(colour, policy): (usize, &PolicyReport)| Line {
            name: policy.policy.name().to_owned(),
            colour: colour % COLOURS,
            points: points(policy, &policy.services[index]),
        };
        policies.map(line).collect::<Vec<_>>()
    };
    let service = &report.policies[0].services[index];
    let attainment = Plot {
        title: "Requests within the SLO, by arrival".to_owned(),
        x: "time (s)",
        y: "within SLO (%)",
        lines: each(&|_, service| {
            let parts = service.attainment_over_time.iter().enumerate();
            let width = report.duration_seconds / service.attainment_over_time.len() as f64;
            let point = |(part, (over, within)): (usize, &(u64, u64))| {
                (*over > 0).then(|| ((part as f64 + 0.5) * width, 100.0 * *within as f64 / *over as f64))
            };
            parts.filter_map(point).collect()
        }),
        mark: None,
        y_least: 100.0,
    };
    let throughput = Plot {
        title: "Tokens of answers".to_owned(),
        x: "time (s)",
        y: "tokens/s",
        lines: each(&|policy, _| {
            let pairs = policy
                .samples
                .windows(2)
                .filter(|pair| pair[1].at_seconds > pair[0].at_seconds);
            pairs
                .map(|pair| {
                    let tokens = (pair[1].tokens[index] - pair[0].tokens[index]) as f64;
                    (
                        pair[1].at_seconds,
                        tokens / (pair[1].at_seconds - pair[0].at_seconds),
                    )
                })
                .collect()
        }),
        mark: None,
        y_least: 0.0,
    };
    let curve = |values: &[f64]| {
        let points = values.iter().enumerate();
        points
            .map(|(fiftieth, value)| (2.0 * fiftieth as f64, *value))
            .collect::<Vec<_>>()
    };
    let promised =
        |promise: Option<i32>| promise.map(|promise| (f64::from(promise), format!("promised {promise} ms")));
    let first = Plot {
        title: "Time to the first token".to_owned(),
        x: "requests that take at most so long (%)",
        y: "ms",
        lines: each(&|_, service| curve(&service.ttft_milliseconds.curve)),
        mark: promised(service.slo_ttft_milliseconds),
        y_least: 0.0,
    };
    let further = Plot {
        title: "Time per further token".to_owned(),
        x: "requests that take at most so long (%)",
        y: "ms",
        lines: each(&|_, service| curve(&service.tpot_milliseconds.curve)),
        mark: promised(service.slo_tpot_milliseconds),
        y_least: 0.0,
    };
    [attainment, throughput, first, further]
        .map(|plot| plot.figure())
        .concat()
}

fn nodes(report: &Report) -> String {
    let mut text = String::from("<table>");
    text += &head(&[
        "policy",
        "node",
        "busy",
        "idle energy, J",
        "active energy, J",
        "battery left, mWh",
    ]);
    for policy in &report.policies {
        for node in &policy.nodes {
            text += &row(
                &[
                    policy.policy.name().to_owned(),
                    node.node.clone(),
                    table::percent(Some(node.busy)),
                    format!("{:.0}", node.idle_joules),
                    format!("{:.0}", node.active_joules),
                    node.battery_milliwatt_hours
                        .map_or_else(|| "-".to_owned(), |left| left.to_string()),
                ],
                "td",
            );
        }
    }
    text + "</tbody></table>\n"
}

/// One plot for each node with a battery.
#[allow(clippy::cast_precision_loss, reason = "points of a plot")]
fn batteries(report: &Report) -> String {
    let Some(first) = report.policies.first() else {
        return String::new();
    };
    let with_battery = first
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.battery_milliwatt_hours.is_some());
    let plot = |(ordinal, node): (usize, &manager::simulate::NodeReport)| {
        let policies = report.policies.iter().enumerate();
        let line = |(colour, policy): (usize, &PolicyReport)| Line {
            name: policy.policy.name().to_owned(),
            colour: colour % COLOURS,
            points: policy
                .samples
                .iter()
                .filter_map(|sample| {
                    let mut batteries = sample.batteries.iter();
                    let (_, left) = batteries.find(|(of, _)| *of == ordinal)?;
                    Some((sample.at_seconds, *left as f64))
                })
                .collect(),
        };
        let plot = Plot {
            title: format!("Battery of {}", node.node),
            x: "time (s)",
            y: "mWh left",
            lines: policies.map(line).collect(),
            mark: None,
            y_least: 0.0,
        };
        plot.figure()
    };
    with_battery.map(plot).collect()
}

fn decisions(policy: &PolicyReport, within: Option<f64>) -> String {
    let mut text = format!(
        "<h3>{}</h3>\n<table class=\"left\">",
        escaped(policy.policy.name())
    );
    text += &head(&[
        "from, s",
        "service",
        "served by",
        "model",
        "predicted first token, ms",
        "predicted per token, ms",
    ]);
    let figure = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1}"));
    for decision in &policy.decisions {
        text += &row(
            &[
                format!("{:.2}", decision.at_seconds),
                decision.service.clone(),
                decision.pipeline.clone().unwrap_or_else(|| "nobody".to_owned()),
                decision.model.clone().unwrap_or_default(),
                figure(decision.predicted_ttft_milliseconds),
                figure(decision.predicted_tpot_milliseconds),
            ],
            "td",
        );
    }
    let fetched: u64 = policy.loads.iter().map(|load| load.fetched_bytes).sum();
    let _ = write!(
        text,
        "</tbody></table>\n<p class=\"faint\">{}, {:.1} MB of weights fetched, {} changes of cells, {} rounds of the \
         controller, {:.1} MB between nodes.</p>\n",
        table::loaded(policy, within),
        table::megabytes(fetched),
        policy.handovers,
        policy.rounds,
        table::megabytes(policy.message_bytes)
    );
    text
}
