//! What `edgeloom simulate` reports, against queueing theory and arithmetic on the scenario's own numbers: nothing here is
//! taken from the simulator.

use std::fs;

use serde_json::Value;

use crate::{edgeloom, said};

/// Weights that a batch reads: ten layers of 10 MB and a head of 20 MB, at 1.2 GB/s. The engine's own kilobytes for each layer and token
/// of the vocabulary come on top, which is why times alone are compared within half a percent.
const WEIGHTS_SECONDS: f64 = 120e6 / 1.2e9;
/// What a batch takes beside them.
const OVERHEAD_SECONDS: f64 = 100e-6;
/// Four bytes of 256 values for each row that is looked up.
const ROW_SECONDS: f64 = 1_024.0 / 1.2e9;
const PROMPT: u32 = 100;
/// A key and a value of 64 two-byte numbers in each of ten layers, for each position that a token looks back at.
const POSITION_SECONDS: f64 = 2_560.0 / 1.2e9;

/// A machine that computes next to nothing for a batch but reads its weights, so that every batch takes the same time.
fn scenario(spec: &str, sessions: u32, node: &str) -> String {
    format!(
        "
apiVersion: simulation.edgeloom.dev/v1alpha1
kind: Scenario
metadata: {{ name: queue }}
spec:
  seatWaitSeconds: 86400
  policies: [Edgeloom]
  hardware:
    - nodes: ['*']
      flopsPerSecond: 1000T
      memoryBytesPerSecond: 1200M
      diskBytesPerSecond: 100G
      batchOverheadMicroseconds: 100
      activeMilliwatts: 5000
      idleMilliwatts: 1000
{spec}
---
apiVersion: edgeloom.dev/v1alpha1
kind: EdgeNode
metadata: {{ name: machine }}
spec:
  tier: Server
  limits: {{ memory: 4Gi, cores: '1' }}
{node}
---
apiVersion: edgeloom.dev/v1alpha1
kind: Model
metadata: {{ name: small }}
spec:
  variants: [{{ name: only, uri: 'file:///small.gguf' }}]
status:
  conditions: []
  architecture: {{ name: llama, layers: 10, embeddingLength: 256, feedForwardLength: 256, heads: 4, keyValueHeads: 1,
    headLength: 64, vocabulary: 1000, contextLength: 4096, splittable: true }}
  variants:
    - {{ name: only, digest: 'header:small', sizeBytes: 140000000, quantisation: Q8_0, layerBytes: [10000000],
        embeddingBytes: 20000000, headBytes: 20000000, otherBytes: 1024 }}
---
apiVersion: edgeloom.dev/v1alpha1
kind: LLMService
metadata: {{ name: answers }}
spec:
  models: [{{ name: small }}]
  contextTokens: 2048
  outputTokensMax: 1024
  concurrency: {sessions}
  workload: {{ promptTokens: 100, outputTokens: 10 }}
  ingressNodes: [machine]
"
    )
}

fn simulated(spec: &str, sessions: u32, node: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.yaml");
    fs::write(&file, scenario(spec, sessions, node)).unwrap();
    let command = edgeloom(&["simulate", file.to_str().unwrap(), "--output", "json"]).output();
    let (code, json, errors) = said(&command.unwrap());
    assert_eq!(code, Some(0), "{errors}");
    let mut report: Value = serde_json::from_str(&json).unwrap();
    report["policies"][0].take()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Each fiftieth of the times to the first token, in seconds.
fn curve(service: &Value) -> Vec<f64> {
    let curve = service["ttftMilliseconds"]["curve"].as_array().unwrap();
    curve.iter().map(|time| number(time) / 1e3).collect()
}

/// What an answer of one token takes, alone.
fn service_seconds() -> f64 {
    WEIGHTS_SECONDS + OVERHEAD_SECONDS + f64::from(PROMPT) * ROW_SECONDS
}

/// The time of the request that waited least, which has to be what an answer takes alone.
fn alone(curve: &[f64]) -> f64 {
    assert!(
        (curve[0] / service_seconds() - 1.0).abs() < 0.005,
        "{} s alone",
        curve[0]
    );
    curve[0]
}

/// The part of requests that wait at most `wait` in an M/D/1 queue (Erlang 1909, Crommelin 1932).
fn waits_at_most(wait: f64, service: f64, arrivals_per_second: f64) -> f64 {
    let mut sum = 0.0;
    let mut begun = 0_u32;
    while f64::from(begun) * service <= wait {
        let exponent = arrivals_per_second * (wait - f64::from(begun) * service);
        let term = (1..=begun).fold(1.0, |product, factor| product * -exponent / f64::from(factor));
        sum += term * exponent.exp();
        begun += 1;
    }
    (1.0 - arrivals_per_second * service) * sum
}

#[test]
fn the_formula_of_m_d_1_has_the_values_of_its_tables() {
    // Nobody waits with probability 1 - load; the mean is load · service / (2 · (1 - load)).
    assert!((waits_at_most(0.0, 1.0, 0.7) - 0.3).abs() < 1e-12);
    let step = 0.001;
    let mean: f64 = (0..20_000)
        .map(|place| 1.0 - waits_at_most((f64::from(place) + 0.5) * step, 1.0, 0.7))
        .sum();
    assert!((mean * step - 0.7 / 0.6).abs() < 0.002, "{}", mean * step);
}

#[test]
fn poisson_requests_wait_as_in_an_m_d_1_queue() {
    let per_second = 0.7 / service_seconds();
    let spec = format!(
        "  durationSeconds: 3000\n  epochSeconds: 600\n  arrivals: [{{ service: answers, fromSeconds: 10, poisson: {{ requestsPerSecond: {per_second} }}, \
         promptTokens: {PROMPT}, outputTokens: 1 }}]"
    );
    let report = simulated(&spec, 1, "");
    let service = &report["services"][0];
    let answered = number(&service["answered"]);
    assert!(
        (answered / (2_990.0 * per_second) - 1.0).abs() < 0.03,
        "{answered} requests"
    );
    assert_eq!(service["failed"], serde_json::json!({}));

    let curve = curve(service);
    let alone = alone(&curve);
    for (fiftieth, time) in curve.iter().enumerate().take(50) {
        let wait = (time - alone).max(0.0);
        let (expected, found) = (waits_at_most(wait, alone, per_second), fiftieth as f64 / 50.0);
        let nobody_waits = wait < 1e-4 && found < expected;
        assert!(
            nobody_waits || (expected - found).abs() < 0.025,
            "{found} of requests wait at most {wait} s, where {expected} should"
        );
    }

    // The machine is busy for the work of all requests, and draws for that (5 W); and 1 W all the time.
    let node = &report["nodes"][0];
    let busy = answered * alone;
    assert!((number(&node["busy"]) * 3_000.0 / busy - 1.0).abs() < 1e-3);
    assert!((number(&node["activeJoules"]) / (5.0 * busy) - 1.0).abs() < 1e-3);
    assert!((number(&node["idleJoules"]) - 3_000.0).abs() < 1e-6);
}

#[test]
fn requests_at_stated_times_take_what_lindley_says() {
    // Fifty requests: every fiftieth is one of them.
    let times: Vec<f64> = (0..50_u32)
        .map(|request| 20.0 + f64::from(request) * 0.09 + f64::from(request * request % 17) * 0.031)
        .collect();
    let listed: Vec<String> = times.iter().map(|time| format!("{time:.3}")).collect();
    let spec = format!(
        "  durationSeconds: 100\n  epochSeconds: 600\n  arrivals: [{{ service: answers, atSeconds: [{}], promptTokens: {PROMPT}, outputTokens: 1 }}]",
        listed.join(", ")
    );
    let report = simulated(&spec, 1, "");
    let mut arrivals: Vec<f64> = listed.iter().map(|time| time.parse().unwrap()).collect();
    arrivals.sort_by(f64::total_cmp);
    let found = curve(&report["services"][0]);
    let alone = alone(&found);
    let mut free_at = 0.0_f64;
    let mut expected: Vec<f64> = arrivals
        .iter()
        .map(|arrival| {
            free_at = free_at.max(*arrival) + alone;
            free_at - arrival
        })
        .collect();
    expected.sort_by(f64::total_cmp);
    for (found, expected) in found[1..].iter().zip(&expected) {
        assert!(
            (found - expected).abs() < 1e-5,
            "{found} s where {expected} s are right"
        );
    }
}

#[test]
fn sessions_that_decode_together_read_the_weights_once() {
    let step = WEIGHTS_SECONDS + OVERHEAD_SECONDS;
    for sessions in [1_u32, 4, 16] {
        let spec = "  durationSeconds: 1000\n  epochSeconds: 600\n  arrivals: [{ service: answers, fromSeconds: 1, poisson: { requestsPerSecond: 20 }, \
             promptTokens: 1, outputTokens: 500 }]";
        let report = simulated(spec, sessions, "");
        let service = &report["services"][0];
        // A machine that is free takes whoever waits and not those whose token has just left it: sessions go in two groups
        // that take turns, as with the agents' own queue.
        let per_batch = number(&service["tokensPerBatch"]);
        let groups = f64::from(sessions) / per_batch;
        assert!(
            (0.99..2.05).contains(&groups),
            "{sessions} sessions, {per_batch} tokens a batch"
        );
        // The machine is never idle: batches of shared tokens and, for each answer, one of a prompt with its first token. Each
        // takes the time of the weights, however many share it; keys and values are read for each token, half an answer of them.
        let per_second = number(&service["tokensPerSecond"]) * 1_000.0 / 999.0;
        let (prompts, shared) = (per_second / 500.0, per_second * 499.0 / 500.0 / per_batch);
        let busy = (prompts + shared) * step + per_second * 250.0 * POSITION_SECONDS;
        assert!(
            (busy - 1.0).abs() < 0.01,
            "{sessions} sessions: {per_second} tokens/s are {busy} of the machine"
        );
    }
}

#[test]
fn a_battery_lasts_as_long_as_its_charge() {
    // 25 mWh are 90 J. 25 batches of 0.1 s draw 12.5 J at 5 W, idling draws 1 W: nothing is left after 77.5 s. A fifth stays in
    // reserve: from 59.5 s on nobody is served there, or 3.6 s earlier, since agents report whole milliwatt hours.
    let node = "  power: { source: Battery, reservePercent: 20, battery: { capacityMilliwattHours: 25, percent: 100 } }";
    let spec = "  durationSeconds: 120\n  epochSeconds: 1\n  arrivals: [{ service: answers, atSeconds: [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, \
         30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 100, 110, 118], promptTokens: 1, outputTokens: 1 }]";
    let report = simulated(spec, 1, node);
    let service = &report["services"][0];
    assert_eq!(number(&service["answered"]), 25.0);
    let failed: f64 = service["failed"].as_object().unwrap().values().map(number).sum();
    assert_eq!(failed, 3.0);
    let left = report["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|decision| decision["pipeline"].is_null());
    let left = number(&left.expect("the service leaves the machine")["atSeconds"]);
    assert!((55.0..61.0).contains(&left), "{left} s");
    assert_eq!(number(&report["nodes"][0]["batteryMilliwattHours"]), 0.0);
    let drawn = number(&report["nodes"][0]["idleJoules"]) + number(&report["nodes"][0]["activeJoules"]);
    // Batteries are read once a second.
    assert!((90.0..91.5).contains(&drawn), "{drawn} J of 90 J");
}
