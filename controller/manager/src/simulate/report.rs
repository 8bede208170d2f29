//! What came of it, as data.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use serde::Serialize;
use solver::{
    serving::{Failure, Fate, Record, Serving, Time},
    units::NodeOrd,
};

use super::{
    Policy, Scenario,
    fleet::Fleet,
    power::{Power, joules},
    seconds,
};
use crate::world::ServiceName;

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What it is about.
    pub description: String,
    /// How long it lasted.
    pub duration_seconds: f64,
    /// What chance began with.
    pub seed: u64,
    /// What loading a stage may take.
    pub load_within_seconds: Option<f64>,
    /// Each policy on the same requests, ways and losses.
    pub policies: Vec<PolicyReport>,
}

/// What came of one policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// Who decided.
    pub policy: Policy,
    /// By service.
    pub services: Vec<ServiceReport>,
    /// By node.
    pub nodes: Vec<NodeReport>,
    /// From when on which pipeline took a service's requests.
    pub decisions: Vec<Decision>,
    /// What was loaded into memory.
    pub loads: Vec<Load>,
    /// How many of these took no longer than the scenario allows, if it says so.
    pub loads_within: Option<usize>,
    /// Rounds of the controller.
    pub rounds: u64,
    /// Times that a user came into another cell.
    pub handovers: u64,
    /// Bytes of requests, hidden states and tokens between nodes.
    pub message_bytes: u64,
    /// Events of requests.
    pub events: u64,
    /// Figures over time.
    pub samples: Vec<Sample>,
}

/// What came of a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// Namespace and name.
    pub service: String,
    /// What it promises: milliseconds to the first token.
    pub slo_ttft_milliseconds: Option<i32>,
    /// And between tokens.
    pub slo_tpot_milliseconds: Option<i32>,
    /// Requests that came.
    pub requests: u64,
    /// Requests that were answered to the end.
    pub answered: u64,
    /// Requests that failed, by reason.
    pub failed: BTreeMap<Failure, u64>,
    /// Requests that were on their way at the end.
    pub in_flight: u64,
    /// Requests that were answered within both times.
    pub within_slo: u64,
    /// Their part of the requests that are over.
    pub slo_attainment: Option<f64>,
    /// Requests that found the weights in memory, behind a pipeline that takes requests, as a part of all.
    pub hit_ratio: Option<f64>,
    /// Tokens of answers.
    pub tokens: u64,
    /// Per second of the whole time.
    pub tokens_per_second: f64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Milliseconds from a request to its first token at the user, of requests that had one.
    pub ttft_milliseconds: Quantiles,
    /// Milliseconds per further token.
    pub tpot_milliseconds: Quantiles,
    /// Joules above idle that its batches drew.
    pub active_joules: f64,
    /// Changes of the pipeline that takes requests.
    pub moves: u64,
    /// Most of the room for keys and values that was in use.
    pub kv_peak: Option<f64>,
    /// Tokens in a batch, on average.
    pub tokens_per_batch: Option<f64>,
    /// By twentieth of the time, as requests came: those that are over, and those of them within the SLO.
    pub attainment_over_time: Vec<(u64, u64)>,
}

/// Quantiles; all none if there was nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// How many there were.
    pub count: usize,
    /// Half are at most this.
    pub p50: Option<f64>,
    /// Ninety-five of a hundred.
    pub p95: Option<f64>,
    /// Ninety-nine of a hundred.
    pub p99: Option<f64>,
    /// At each fiftieth, from the least to the greatest, for plots.
    pub curve: Vec<f64>,
}

/// What came of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// Its name.
    pub node: String,
    /// Part of the time in which it computed.
    pub busy: f64,
    /// Joules that it drew only for being on.
    pub idle_joules: f64,
    /// And above that.
    pub active_joules: f64,
    /// Milliwatt hours left in its battery.
    pub battery_milliwatt_hours: Option<u64>,
}

/// A pipeline begins to take a service's requests, or none does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When.
    pub at_seconds: f64,
    /// Namespace and name.
    pub service: String,
    /// Its stages; none when no pipeline takes requests.
    pub pipeline: Option<String>,
    /// Model and variant.
    pub model: Option<String>,
    /// What was predicted for the typical request.
    pub predicted_ttft_milliseconds: Option<f64>,
    /// And for a further token.
    pub predicted_tpot_milliseconds: Option<f64>,
    /// How far from the optimum it may be.
    pub gap_parts_per_million: Option<i64>,
}

/// Weights that came into memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// When it began.
    pub at_seconds: f64,
    /// How long it takes.
    pub took_seconds: f64,
    /// Where.
    pub node: String,
    /// The Stage.
    pub stage: String,
    /// Bytes that were not on the node's disk.
    pub fetched_bytes: u64,
}

/// Figures at a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When.
    pub at_seconds: f64,
    /// By service: tokens so far.
    pub tokens: Vec<u64>,
    /// Milliwatt hours left, by the ordinal of each node with a battery.
    pub batteries: Vec<(usize, u64)>,
}

/// What a report is made from.
pub(super) struct Ended<'e> {
    pub(super) scenario: &'e Scenario,
    pub(super) fleet: &'e Fleet,
    pub(super) policy: Policy,
    pub(super) serving: &'e Serving,
    pub(super) power: &'e Power,
    pub(super) loads: &'e [Load],
    pub(super) decisions: &'e [Decision],
    pub(super) moves: &'e [u64],
    pub(super) hits: &'e [bool],
    pub(super) rounds: u64,
    pub(super) handovers: u64,
    pub(super) samples: Vec<Sample>,
}

/// Parts of the time that attainment is told for.
pub(super) const PARTS: usize = 20;

pub(super) fn of(ended: Ended<'_>) -> PolicyReport {
    let records: Vec<Record> = ended.serving.records().collect();
    let books = ended.serving.books();
    let services = 0..ended.fleet.world.services.len();
    let nodes = 0..ended.fleet.world.nodes.len();
    PolicyReport {
        policy: ended.policy,
        services: services
            .map(|service| service_of(&ended, &records, service))
            .collect(),
        nodes: nodes.map(|node| node_of(&ended, node)).collect(),
        decisions: ended.decisions.to_vec(),
        loads: ended.loads.to_vec(),
        loads_within: ended.scenario.spec.load_within_seconds.map(|most| {
            let within = ended.loads.iter().filter(|load| load.took_seconds <= most);
            within.count()
        }),
        rounds: ended.rounds,
        handovers: ended.handovers,
        message_bytes: books.message_bytes,
        events: books.events,
        samples: ended.samples,
    }
}

#[allow(clippy::cast_precision_loss, reason = "ratios for people")]
fn service_of(ended: &Ended<'_>, records: &[Record], service: usize) -> ServiceReport {
    let object = &ended.fleet.world.services[service];
    let books = ended.serving.books();
    let mine = || {
        records
            .iter()
            .zip(ended.hits)
            .filter(|(record, _)| record.service == service)
    };
    let slo = &object.spec.slo;
    let within = |record: &Record| is_within(record, slo);
    let (mut answered, mut in_flight, mut within_slo, mut hits) = (0, 0, 0, 0);
    let mut failed: BTreeMap<Failure, u64> = BTreeMap::new();
    let mut over_time = vec![(0, 0); PARTS];
    let duration = ended.scenario.spec.duration_seconds;
    for (record, hit) in mine() {
        hits += u64::from(*hit);
        match record.fate {
            Fate::Answered => answered += 1,
            Fate::Failed(failure) => *failed.entry(failure).or_default() += 1,
            Fate::InFlight => {
                in_flight += 1;
                continue;
            }
        }
        within_slo += u64::from(within(record));
        let part = part_of(seconds(record.arrived) / duration);
        over_time[part].0 += 1;
        over_time[part].1 += u64::from(within(record));
    }
    let requests = mine().count() as u64;
    let part = |of: u64, all: u64| (all > 0).then(|| of as f64 / all as f64);
    let machines = ended.fleet.machines.iter().zip(&books.busy);
    let drawn =
        machines.map(|(machine, busy)| u128::from(machine.active_milliwatts) * u128::from(busy[service]));
    let (batches, tokens_in_batches) = books.batches[service];
    let (cells, room) = books.cells_peak[service];
    ServiceReport {
        service: ServiceName::of(object).to_string(),
        slo_ttft_milliseconds: slo.time_to_first_token_milliseconds,
        slo_tpot_milliseconds: slo.time_per_output_token_milliseconds,
        requests,
        answered,
        failed,
        in_flight,
        within_slo,
        slo_attainment: part(within_slo, requests - in_flight),
        hit_ratio: part(hits, requests),
        tokens: books.tokens[service],
        tokens_per_second: books.tokens[service] as f64 / duration,
        prompt_tokens: books.prompt_tokens[service],
        ttft_milliseconds: quantiles(mine().filter_map(|(record, _)| record.ttft())),
        tpot_milliseconds: quantiles(mine().filter_map(|(record, _)| record.tpot())),
        active_joules: joules(drawn.sum()),
        moves: ended.moves[service],
        kv_peak: part(cells, room),
        tokens_per_batch: part(tokens_in_batches, batches),
        attainment_over_time: over_time,
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part from 0 to 1"
)]
fn part_of(share: f64) -> usize {
    ((share * PARTS as f64) as usize).min(PARTS - 1)
}

/// Whether a request was answered within the times that its service promises.
fn is_within(record: &Record, slo: &crds::llm_service::ServiceLevel) -> bool {
    let within = |time: Option<Time>, promised: Option<i32>| match (time, promised) {
        (Some(time), Some(promised)) => time <= u64::try_from(promised).unwrap_or(0) * 1_000_000,
        _ => true,
    };
    record.fate == Fate::Answered
        && within(record.ttft(), slo.time_to_first_token_milliseconds)
        && within(record.tpot(), slo.time_per_output_token_milliseconds)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
fn quantiles(times: impl Iterator<Item = Time>) -> Quantiles {
    let mut times: Vec<Time> = times.collect();
    times.sort_unstable();
    let milliseconds = |time: &Time| *time as f64 / 1e6;
    // The least that so many thousandths of all do not exceed.
    let at = |thousandths: usize| {
        let rank = (times.len() * thousandths).div_ceil(1_000).max(1);
        times.get(rank - 1).map(milliseconds)
    };
    Quantiles {
        count: times.len(),
        p50: at(500),
        p95: at(950),
        p99: at(990),
        curve: (0..=50).filter_map(|fiftieth| at(fiftieth * 20)).collect(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "parts for people")]
fn node_of(ended: &Ended<'_>, node: usize) -> NodeReport {
    let machine = &ended.fleet.machines[node];
    let busy = ended.serving.busy(NodeOrd::from_index(node));
    // What ended is what services account for.
    let booked: Time = ended.serving.books().busy[node].iter().sum();
    let (idle, _) = ended.power.drawn(node, machine, busy);
    let (_, active) = ended.power.drawn(node, machine, booked);
    NodeReport {
        node: ended.fleet.world.nodes[node].name_any(),
        busy: seconds(busy) / ended.scenario.spec.duration_seconds,
        idle_joules: joules(idle),
        active_joules: joules(active),
        battery_milliwatt_hours: ended.power.left(node, machine, ended.serving),
    }
}
