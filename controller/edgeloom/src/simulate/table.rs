//! A report as text: each service under each policy, what nodes drew, and what was decided when.

use manager::simulate::{Decision, PolicyReport, Quantiles, Report, ServiceReport};

use crate::explain::Table;

/// Decisions of a policy that are printed; JSON has all.
const DECISIONS_MAX: usize = 40;

/// The whole report.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!(
        "{}: {} s, seed {}\n",
        report.scenario, report.duration_seconds, report.seed
    );
    if !report.description.is_empty() {
        text += &format!("{}\n", report.description);
    }
    let services = report.policies.first().map_or(&[][..], |policy| &policy.services);
    for (index, service) in services.iter().enumerate() {
        text += &format!("\n{}{}\n", service.service, promise(service));
        text += &outcomes(report, index);
        text += &failures(report, index);
    }
    for policy in &report.policies {
        text += &format!("\n{}: nodes\n{}", policy.policy.name(), nodes(policy));
        text += &format!(
            "\n{}: decisions\n{}",
            policy.policy.name(),
            decisions(&policy.decisions)
        );
        text += &loads(policy, report.load_within_seconds);
    }
    text
}

pub(super) fn promise(service: &ServiceReport) -> String {
    match (service.slo_ttft_milliseconds, service.slo_tpot_milliseconds) {
        (Some(ttft), Some(tpot)) => format!(": first token within {ttft} ms, then {tpot} ms a token"),
        (Some(ttft), None) => format!(": first token within {ttft} ms"),
        (None, Some(tpot)) => format!(": {tpot} ms a token"),
        (None, None) => String::new(),
    }
}

fn outcomes(report: &Report, index: usize) -> String {
    let mut table = Table::new([
        "POLICY",
        "SLO",
        "HITS",
        "REQUESTS",
        "ANSWERED",
        "FAILED",
        "IN FLIGHT",
        "TTFT P50/95/99 MS",
        "TPOT P50/95/99 MS",
        "TOKENS/S",
        "JOULES",
        "MOVES",
    ]);
    for policy in &report.policies {
        let service = &policy.services[index];
        table.row([
            policy.policy.name().to_owned(),
            percent(service.slo_attainment),
            percent(service.hit_ratio),
            service.requests.to_string(),
            service.answered.to_string(),
            service.failed.values().sum::<u64>().to_string(),
            service.in_flight.to_string(),
            quantiles(&service.ttft_milliseconds),
            quantiles(&service.tpot_milliseconds),
            format!("{:.1}", service.tokens_per_second),
            format!("{:.0}", service.active_joules),
            service.moves.to_string(),
        ]);
    }
    table.print()
}

fn failures(report: &Report, index: usize) -> String {
    let line = |policy: &PolicyReport| {
        let failed = policy.services[index].failed.iter();
        let failed: Vec<String> = failed
            .map(|(why, count)| format!("{count} {}", why.words()))
            .collect();
        (!failed.is_empty()).then(|| format!("  {} failed: {}\n", policy.policy.name(), failed.join(", ")))
    };
    report.policies.iter().filter_map(line).collect()
}

fn nodes(policy: &PolicyReport) -> String {
    let mut table = Table::new(["NODE", "BUSY", "IDLE JOULES", "ACTIVE JOULES", "BATTERY MWH"]);
    for node in &policy.nodes {
        table.row([
            node.node.clone(),
            percent(Some(node.busy)),
            format!("{:.0}", node.idle_joules),
            format!("{:.0}", node.active_joules),
            node.battery_milliwatt_hours
                .map_or_else(|| "-".to_owned(), |left| left.to_string()),
        ]);
    }
    table.print()
}

fn decisions(decisions: &[Decision]) -> String {
    let mut table = Table::new(["SECONDS", "SERVICE", "SERVED BY", "PREDICTED TTFT", "TPOT", "GAP"]);
    let milliseconds =
        |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} ms"));
    for decision in decisions.iter().take(DECISIONS_MAX) {
        let gap = decision.gap_parts_per_million;
        table.row([
            format!("{:.2}", decision.at_seconds),
            decision.service.clone(),
            decision.pipeline.clone().unwrap_or_else(|| "nobody".to_owned()),
            milliseconds(decision.predicted_ttft_milliseconds),
            milliseconds(decision.predicted_tpot_milliseconds),
            gap.map_or_else(
                || "-".to_owned(),
                |gap| format!("{}.{:02}%", gap / 10_000, gap % 10_000 / 100),
            ),
        ]);
    }
    let more = decisions.len().saturating_sub(DECISIONS_MAX);
    let more = if more > 0 {
        format!("  and {more} more\n")
    } else {
        String::new()
    };
    table.print() + &more
}

/// How many stages were loaded, and how many of them in time.
pub(super) fn loaded(policy: &PolicyReport, within: Option<f64>) -> String {
    let all = policy.loads.len();
    match policy.loads_within.zip(within) {
        Some((in_time, seconds)) => format!("{all} stages loaded, {in_time} of them within {seconds} s"),
        None => format!("{all} stages loaded"),
    }
}

fn loads(policy: &PolicyReport, within: Option<f64>) -> String {
    let fetched: u64 = policy.loads.iter().map(|load| load.fetched_bytes).sum();
    let longest = policy
        .loads
        .iter()
        .map(|load| load.took_seconds)
        .fold(0.0, f64::max);
    let times = |count: u64| {
        if count == 1 {
            "once".to_owned()
        } else {
            format!("{count} times")
        }
    };
    format!(
        "  {}, the slowest in {longest:.2} s; {:.1} MB of weights fetched; users changed cells {}; {} rounds\n",
        loaded(policy, within),
        megabytes(fetched),
        times(policy.handovers),
        policy.rounds
    )
}

#[allow(clippy::cast_precision_loss, reason = "megabytes for people")]
pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

pub(super) fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| "-".to_owned(), |part| format!("{:.1}%", part * 100.0))
}

pub(super) fn quantiles(quantiles: &Quantiles) -> String {
    let figure = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), milliseconds);
    [quantiles.p50, quantiles.p95, quantiles.p99]
        .map(figure)
        .join(" / ")
}

/// Three digits that count.
fn milliseconds(time: f64) -> String {
    match time {
        time if time < 10.0 => format!("{time:.2}"),
        time if time < 100.0 => format!("{time:.1}"),
        time => format!("{time:.0}"),
    }
}
