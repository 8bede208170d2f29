//! Speculative and cascaded pipelines: formulas, legality, reasons; judged by enumeration.

use super::support::each_shape;
use proptest::prelude::*;
use solver::check::{Occupancy, check_pipeline};
use solver::cost::CostModel;
use solver::fixtures::{Seeded, mesh, round_model, smollm_node, wire};
use solver::links::LinkIndex;
use solver::problem::{
    ActivationFormat, Battery, Candidate, Draft, Ingress, Mode, Node, Privacy, Problem, Regions, Service,
    SpeedPoint, SpeedTable, Tier,
};
use solver::search::{Tracker, contingencies};
use solver::solution::{
    Assistant, AssistantCost, Cause, Decision, Illegality, Infeasible, NoAssistant, NodeReason, Offer,
    PipelineShape, Placed, Role,
};
use solver::units::{
    Bytes, KernelOrd, MicroJoules, ModelOrd, Nanos, NodeOrd, ServiceOrd, TrustDomainOrd, VariantOrd,
};
use solver::{Budget, Solution, check, solve, why_not};

const LARGE: Candidate = Candidate {
    model: ModelOrd(0),
    variant: VariantOrd(0),
};
const SMALL: Candidate = Candidate {
    model: ModelOrd(1),
    variant: VariantOrd(0),
};

fn table(kernel: u32, layer_micros: u64, more_per_row: u64, head_micros: u64) -> SpeedTable {
    let point = |rows: u32, micros: u64| SpeedPoint {
        rows,
        time: Nanos::from_micros(micros),
    };
    SpeedTable {
        kernel: KernelOrd(kernel),
        layer: vec![
            point(1, layer_micros),
            point(513, layer_micros + 512 * more_per_row),
        ],
        head: vec![point(1, head_micros), point(17, head_micros + 160)],
        prompt_end: Vec::new(),
        history: Vec::new(),
        embedding_row: Nanos::from_micros(2),
    }
}

/// A device (0) and a server (1), 10 ms apart: the server alone holds the large model, both the small one. Requests enter at
/// the device.
pub(crate) fn device_and_server() -> Problem {
    let mut device = smollm_node(Bytes::mebi(700));
    device.speeds = vec![table(0, 40_000, 200, 40_000), table(1, 1_000, 100, 1_000)];
    let mut server = smollm_node(Bytes::mebi(8_000));
    server.tier = Tier::Server;
    server.trust_domain = TrustDomainOrd(1);
    server.speeds = vec![table(0, 10_000, 100, 8_000), table(1, 2_500, 50, 1_000)];
    let (mut large, mut small) = (round_model(10), round_model(2));
    large.draft = Some(Draft {
        model: ModelOrd(1),
        acceptance_percent: 80,
    });
    small.variants[0].kernel = KernelOrd(1);
    let mut service = Service::new(vec![LARGE]);
    service.modes = vec![
        Mode::OnDevice,
        Mode::OnServer,
        Mode::Split,
        Mode::MultiHop,
        Mode::Speculative,
    ];
    service.prompt_tokens = 100;
    service.output_tokens = 101;
    service.ingress = vec![Ingress {
        node: NodeOrd(0),
        weight: 1,
    }];
    Problem {
        nodes: vec![device, server],
        links: mesh(2, 100, Nanos::from_millis(10)),
        models: vec![large, small],
        services: vec![service],
        ..Problem::default()
    }
}

/// The same where the small model answers first, and a share goes on.
pub(crate) fn cascading(escalated_percent: u32) -> Problem {
    let mut problem = device_and_server();
    problem.models[0].draft = None;
    let service = &mut problem.services[0];
    service.candidates = vec![LARGE, SMALL];
    service.modes = vec![Mode::OnServer, Mode::Cascade];
    service.escalated_percent = escalated_percent;
    problem.models[1].variants[0].quality_milli = 700;
    problem
}

fn solved(problem: &Problem) -> Solution {
    solve(problem, &Budget::default()).expect("a meaningful problem")
}

fn placed(problem: &Problem) -> Placed {
    let solution = solved(problem);
    assert_eq!(check(problem, &solution), vec![]);
    solution.services[0].placed().expect("it is placed").clone()
}

fn infeasible(problem: &Problem) -> Infeasible {
    let solution = solved(problem);
    solution.services[0]
        .infeasible()
        .expect("it is not placed")
        .clone()
}

fn only(mut problem: Problem, mode: Mode) -> Problem {
    problem.services[0].modes = vec![mode];
    problem
}

fn offer(placed: &Placed, mode: Mode) -> &Offer {
    let of_mode = placed.alternatives.iter().find(|other| other.mode == mode);
    &of_mode.expect("every mode is reported").offer
}

fn assistant(placed: &Placed) -> Assistant {
    placed.pipeline.assistant.expect("it has an assistant").assistant
}

fn close(actual: Nanos, expected_micros: f64) {
    let actual = actual.0 as f64 / 1e3;
    assert!(
        (actual / expected_micros - 1.0).abs() < 1e-4,
        "{actual} µs, expected {expected_micros} µs"
    );
}

#[test]
fn a_device_drafts_for_a_server_as_leviathan_says() {
    let problem = device_and_server();
    let placed = placed(&problem);
    assert_eq!(placed.pipeline.mode, Mode::Speculative);
    assert!(placed.certificate.is_exact());
    let Assistant { node, role, .. } = assistant(&placed);
    assert_eq!((node, placed.pipeline.stages[0].node), (NodeOrd(0), NodeOrd(1)));
    // Everything by hand, in microseconds: two layers, head and embedding of the small model with its overhead; messages of 64
    // bytes and 4 for each token at 12.5 bytes a microsecond, after 10,050.
    let overhead = problem.nodes[0].message_overhead.0 as f64 / 1e3;
    let draft = 2.0 * 1_000.0 + 1_000.0 + 2.0 + overhead;
    let message = |bytes: f64| 10_050.0 + bytes / 12.5;
    let round = |tokens: f64| {
        let verify =
            10.0 * (10_000.0 + 100.0 * tokens) + 8_000.0 + 10.0 * tokens + 2.0 * (tokens + 1.0) + overhead;
        tokens * draft + message(64.0 + 4.0 * tokens) + verify + message(64.0 + 8.0)
    };
    let expected = |tokens: i32| (1.0 - 0.8_f64.powi(tokens + 1)) / 0.2;
    let tpot = |tokens: i32| round(f64::from(tokens)) / expected(tokens);
    let best = (1..=16)
        .min_by(|one, other| tpot(*one).total_cmp(&tpot(*other)))
        .expect("sixteen");
    assert_eq!(
        role,
        Role::Drafts { tokens: best as u32 },
        "the scan finds the best number"
    );
    close(placed.predicted.tpot, tpot(best));
    let Some(AssistantCost::Draft {
        round: told,
        tokens_per_round_milli,
        link_bytes,
        ..
    }) = placed.sheet.assistant
    else {
        panic!("{:?}", placed.sheet.assistant)
    };
    close(told, round(f64::from(best)));
    assert_eq!(tokens_per_round_milli, (expected(best) * 1_000.0) as u64);
    // The prompt's numbers and those of each round one way, the first token and the verdicts the other.
    let rounds = 100.0 / expected(best);
    let bytes = 64.0 + 400.0 + rounds * (64.0 + 4.0 * f64::from(best)) + 64.0 + rounds * 72.0;
    assert!(
        (link_bytes.0 as f64 - bytes).abs() < 3.0,
        "{link_bytes} for {bytes}"
    );
    // The server reads the prompt longer than the device does.
    let verifier = 10.0 * (10_000.0 + 100.0 * 99.0) + 8_000.0 + 200.0 + overhead;
    close(
        placed.predicted.ttft,
        message(64.0 + 400.0) + verifier + message(64.0),
    );
}

#[test]
fn the_answer_does_not_begin_before_the_small_model_has_read_the_prompt() {
    let mut problem = only(device_and_server(), Mode::Speculative);
    problem.nodes[1].speeds.pop();
    let ready = 2.0 * (500_000.0 + 99.0 * 100.0) + 200.0 + 150.0;
    problem.nodes[0].speeds[1].layer[0].time = Nanos::from_micros(500_000);
    problem.nodes[0].speeds[1].layer[1].time = Nanos::from_micros(500_000 + 51_200);
    let apart = placed(&problem);
    assert_eq!(assistant(&apart).node, NodeOrd(0), "no other node was timed");
    close(apart.predicted.ttft, ready);
    // On one node, one model reads after the other.
    problem.nodes[1].speeds.push(table(1, 500_000, 100, 1_000));
    problem.services[0].ingress.clear();
    problem.nodes[0].memory = Bytes::mebi(20);
    let together = placed(&problem);
    assert_eq!(assistant(&together).node, NodeOrd(1));
    let verifier = 10.0 * (10_000.0 + 100.0 * 99.0) + 8_000.0 + 200.0 + 150.0;
    close(together.predicted.ttft, ready + verifier);
}

#[test]
fn it_is_not_speculated_where_that_is_slower() {
    let mut problem = device_and_server();
    problem.models[0].draft = Some(Draft {
        model: ModelOrd(1),
        acceptance_percent: 4,
    });
    let placed = placed(&problem);
    assert_eq!(placed.pipeline.mode, Mode::OnServer);
    let Offer::Found { predicted, cost, .. } = offer(&placed, Mode::Speculative) else {
        panic!("{:?}", placed.alternatives)
    };
    assert!(predicted.tpot > placed.predicted.tpot && cost.total() > placed.cost.total());
    assert!(placed.certificate.is_exact());
}

#[test]
fn the_more_is_accepted_the_better() {
    let mut last = Nanos(u64::MAX);
    for acceptance_percent in [1, 20, 40, 60, 80, 95, 100] {
        let mut problem = only(device_and_server(), Mode::Speculative);
        problem.models[0].draft = Some(Draft {
            model: ModelOrd(1),
            acceptance_percent,
        });
        let cost = placed(&problem).cost.total();
        assert!(cost <= last, "{acceptance_percent} percent: {cost} after {last}");
        last = cost;
    }
}

#[test]
fn both_models_have_their_memory_and_rows_that_are_verified_theirs() {
    let problem = only(device_and_server(), Mode::Speculative);
    let placed = placed(&problem);
    let Role::Drafts { tokens } = assistant(&placed).role else {
        panic!("{:?}", placed.pipeline)
    };
    let engine = problem.nodes[1].engine;
    let logits = 4 * 32_000 * u64::from(tokens + 1) * engine.logits_copies;
    assert_eq!(placed.pipeline.stages[0].memory.outputs, Bytes(logits));
    let small = placed.pipeline.assistant.expect("it drafts");
    assert_eq!(small.memory.weights, Bytes::mebi(200));
    assert!(small.memory.kv_cache > Bytes::ZERO && small.memory.worker > Bytes::ZERO);
    // A byte less than that, and the device does not hold it.
    let mut tight = problem.clone();
    tight.nodes[0].memory = small.memory.total();
    assert_eq!(
        solved(&tight).services[0].placed().map(assistant),
        Some(assistant(&placed))
    );
    tight.nodes[0].memory = Bytes(small.memory.total().0 - 1);
    let elsewhere = solved(&tight);
    assert_ne!(
        elsewhere.services[0].placed().map(assistant),
        Some(assistant(&placed))
    );
}

#[test]
fn the_large_model_may_be_split() {
    let mut problem = only(device_and_server(), Mode::Speculative);
    problem.nodes[1].memory = Bytes::mebi(900);
    let mut third = problem.nodes[1].clone();
    third.memory = Bytes::mebi(900);
    problem.nodes.push(third);
    problem.links = mesh(3, 1_000, Nanos::from_millis(1));
    let placed = placed(&problem);
    assert_eq!(
        (placed.pipeline.mode, placed.pipeline.stages.len()),
        (Mode::Speculative, 2)
    );
    assert!(placed.certificate.is_exact());
}

#[test]
fn small_models_that_are_missing_are_told_apart() {
    let why = |change: &dyn Fn(&mut Problem)| {
        let mut problem = only(device_and_server(), Mode::Speculative);
        change(&mut problem);
        let alone = infeasible(&problem).cause;
        problem.services[0].modes.push(Mode::OnServer);
        let Offer::NoAssistant(why) = *offer(&placed(&problem), Mode::Speculative) else {
            panic!("another mode")
        };
        assert_eq!(alone, Cause::NoAssistant(why));
        why
    };
    assert_eq!(
        why(&|problem| problem.models[0].draft = None),
        NoAssistant::NoDraftModel
    );
    let differ = why(&|problem| problem.models[1].vocabulary = 31_999);
    let expected = NoAssistant::VocabulariesDiffer {
        draft: 31_999,
        target: 32_000,
    };
    assert_eq!(differ, expected);
    let context = why(&|problem| problem.models[1].context_max = 100);
    assert_eq!(context, NoAssistant::NotGoodEnough);
    let heavy = why(&|problem| problem.models[1].variants[0].layer_bytes = vec![Bytes::mebi(9_000); 2]);
    let NoAssistant::NoNode {
        nearest: Some((NodeOrd(1), _)),
    } = heavy
    else {
        panic!("{heavy:?}")
    };
    let unknown = why(&|problem| {
        for node in &mut problem.nodes {
            node.speeds.pop();
        }
    });
    assert_eq!(unknown, NoAssistant::NoNode { nearest: None });
    let one = only(
        {
            let mut problem = cascading(30);
            problem.services[0].candidates.pop();
            problem
        },
        Mode::Cascade,
    );
    assert_eq!(
        infeasible(&one).cause,
        Cause::NoAssistant(NoAssistant::NoSecondModel)
    );
}

#[test]
fn text_stays_where_it_is_trusted() {
    let mut problem = only(device_and_server(), Mode::Speculative);
    problem.services[0].privacy = Privacy::Trusted {
        domains: vec![TrustDomainOrd(1)],
        shallow_layers: 0,
    };
    let placed = placed(&problem);
    assert_eq!(
        assistant(&placed).node,
        NodeOrd(1),
        "the device may not see what it drafts"
    );
    let mut shape = placed.pipeline.shape();
    shape.assistant = Some(Assistant {
        node: NodeOrd(0),
        ..assistant(&placed)
    });
    let untrusted = Illegality::Node {
        node: NodeOrd(0),
        why: NodeReason::Untrusted,
    };
    assert_eq!(wrong(&problem, &shape), [untrusted]);
}

fn wrong(problem: &Problem, shape: &PipelineShape) -> Vec<Illegality> {
    check_pipeline(problem, ServiceOrd(0), shape, &Occupancy::default())
}

#[test]
fn the_check_knows_what_an_assistant_may_be() {
    let problem = only(device_and_server(), Mode::Speculative);
    let good = placed(&problem).pipeline.shape();
    assert_eq!(wrong(&problem, &good), vec![]);
    let with = |change: &dyn Fn(&mut Assistant)| {
        let mut shape = good.clone();
        change(shape.assistant.as_mut().expect("it has one"));
        wrong(&problem, &shape)
    };
    for tokens in [0, 17] {
        let refused = with(&|assistant| assistant.role = Role::Drafts { tokens });
        assert_eq!(refused, [Illegality::Assistant]);
    }
    let itself = with(&|assistant| assistant.candidate = LARGE);
    assert!(itself.contains(&Illegality::Assistant), "{itself:?}");
    let first = with(&|assistant| assistant.role = Role::AnswersFirst);
    assert_eq!(first, [Illegality::Mode, Illegality::Assistant]);
    let nobody = with(&|assistant| assistant.candidate.model = ModelOrd(7));
    assert_eq!(nobody, [Illegality::Malformed]);
    let mut cut = problem.clone();
    cut.links.retain(|link| link.from != NodeOrd(1));
    let lost = Illegality::Link {
        from: NodeOrd(1),
        to: NodeOrd(0),
    };
    assert_eq!(wrong(&cut, &good), [lost]);
    let mut full = problem.clone();
    full.nodes[0].memory = Bytes::mebi(200);
    assert!(matches!(
        wrong(&full, &good)[..],
        [Illegality::Memory { node: NodeOrd(0), .. }]
    ));
}

#[test]
fn a_cascade_costs_the_small_model_and_a_share_of_the_large_one() {
    let problem = only(cascading(30), Mode::Cascade);
    let placed = placed(&problem);
    assert!(placed.certificate.is_exact());
    assert_eq!(assistant(&placed).role, Role::AnswersFirst);
    let large = {
        let mut problem = only(cascading(30), Mode::OnServer);
        problem.services[0].candidates = vec![LARGE];
        self::placed(&problem)
    };
    let small = {
        let mut problem = only(cascading(30), Mode::OnDevice);
        problem.services[0].candidates = vec![SMALL];
        self::placed(&problem)
    };
    let answer = small.predicted.ttft + small.predicted.tpot.times(100);
    let tpot = large.predicted.tpot;
    assert_eq!(assistant(&placed).node, NodeOrd(0));
    // Both alone have their requests from the device, as in the cascade.
    let percent = |time: Nanos, percent: u64| Nanos(time.0 * percent / 100);
    assert_eq!(placed.predicted.ttft, answer + percent(large.predicted.ttft, 30));
    assert_eq!(placed.predicted.tpot, percent(tpot, 30));
    let expected = answer.0 as f64 + 0.3 * (large.predicted.ttft + tpot.times(100)).0 as f64;
    let total = placed.cost.total().0 as f64;
    assert!((total / expected - 1.0).abs() < 1e-6, "{total} for {expected}");
}

#[test]
fn a_promise_is_about_those_who_go_on_only_where_they_are_too_many_to_leave_out() {
    let judged = |escalated_percent: u32, slo_percentile: u32| {
        let mut problem = only(cascading(escalated_percent), Mode::Cascade);
        let service = &mut problem.services[0];
        service.slo_percentile = slo_percentile;
        // The small model keeps it, the way over both does not.
        service.slo_ttft = Some(Nanos::from_millis(500));
        service.slo_tpot = Some(Nanos::from_millis(1));
        let placed = placed(&problem);
        let Some(AssistantCost::First {
            answer,
            escalated_ttft,
            promised_to_escalated,
            ..
        }) = placed.sheet.assistant
        else {
            panic!("{:?}", placed.sheet.assistant)
        };
        assert!(answer < Nanos::from_millis(500) && escalated_ttft > Nanos::from_millis(500));
        let late = escalated_ttft.saturating_sub(Nanos::from_millis(500)).times(10);
        let penalty = Nanos(late.0 * u64::from(escalated_percent) / 100);
        (
            placed.cost.ttft_violation,
            penalty,
            placed.cost.tpot_violation,
            promised_to_escalated,
        )
    };
    assert!(matches!(judged(5, 95), (Nanos::ZERO, _, Nanos::ZERO, false)));
    let (violation, penalty, of_tokens, promised) = judged(6, 95);
    assert!(promised && violation == penalty && of_tokens > Nanos::ZERO);
    assert!(matches!(judged(50, 50), (Nanos::ZERO, _, Nanos::ZERO, false)));
}

#[test]
fn a_cascade_is_chosen_where_few_go_on_and_only_if_it_is_named() {
    let mut problem = cascading(10);
    problem.services[0].quality_value = Nanos::from_millis(100);
    assert_eq!(placed(&problem).pipeline.mode, Mode::Cascade);
    problem.services[0].escalated_percent = 100;
    assert_eq!(placed(&problem).pipeline.mode, Mode::OnServer);
    problem.services[0].escalated_percent = 10;
    problem.services[0].modes = vec![Mode::OnServer];
    let placed = placed(&problem);
    assert_eq!(offer(&placed, Mode::Cascade), &Offer::NotAllowed);
}

#[test]
fn modes_that_nobody_runs_are_told_and_not_chosen() {
    let would = placed(&device_and_server());
    let mut problem = device_and_server();
    let service = &mut problem.services[0];
    service.modes.retain(|mode| *mode != Mode::Speculative);
    service.told_modes = vec![Mode::Speculative];
    let told = placed(&problem);
    assert_eq!(told.pipeline.mode, Mode::OnServer);
    assert!(told.certificate.is_exact(), "what nobody runs is no answer");
    let Offer::Found { shape, cost, .. } = offer(&told, Mode::Speculative) else {
        panic!("{:?}", told.alternatives)
    };
    assert_eq!(
        (shape, cost.total()),
        (&would.pipeline.shape(), would.cost.total())
    );
    problem.services[0].modes.clear();
    let report = infeasible(&problem);
    assert_eq!(report.cause, Cause::NoModeRun);
    assert!(matches!(&report.told[..], [one] if matches!(one.offer, Offer::Found { .. })));
}

#[test]
fn a_speculation_that_runs_is_kept_and_survives_what_it_can() {
    let mut problem = device_and_server();
    let solution = solved(&problem);
    let shape = placed(&problem).pipeline.shape();
    problem.services[0].previous = Some(shape.clone());
    let again = placed(&problem);
    assert_eq!(again.pipeline.shape(), shape);
    assert_eq!(again.decision, Decision::Kept { passed_over: None });
    let after = contingencies(&problem, &solution, &[ServiceOrd(0)], &Budget::default()).expect("a problem");
    let lost: Vec<_> = after.iter().map(|contingency| contingency.lost).collect();
    assert_eq!(lost, [NodeOrd(0), NodeOrd(1)]);
    let without_device = after[0].services[0].1.placed().expect("the server does both");
    assert_eq!(without_device.pipeline.stages[0].node, NodeOrd(1));
    assert!(after[1].services[0].1.placed().is_none());
    let drafts = why_not(&problem, &solution, ServiceOrd(0), NodeOrd(0), &Budget::default());
    assert_eq!(drafts, solver::solution::WhyNot::Chosen);
}

#[test]
fn searches_that_do_not_look_at_it_say_so() {
    let told = "problem field services[0].modes is invalid: expected modes without Speculative and Cascade, which this search does not look at";
    let tracker = Tracker::new(device_and_server(), ServiceOrd(0)).map(drop);
    assert_eq!(tracker.expect_err("refused").to_string(), told);
}

fn node(random: &mut Seeded) -> Node {
    let mut node = smollm_node(Bytes::mebi(random.between(300, 1_200)));
    node.tier = [Tier::Device, Tier::Server][random.between(0, 1) as usize];
    node.trust_domain = TrustDomainOrd(random.between(0, 1) as u32);
    node.speeds = vec![table(
        0,
        random.between(3_000, 30_000),
        random.between(10, 3_000),
        random.between(100, 9_000),
    )];
    if random.between(0, 4) > 0 {
        let (layer, row) = (random.between(200, 4_000), random.between(10, 300));
        node.speeds.push(table(1, layer, row, random.between(50, 2_000)));
    }
    if random.between(0, 3) == 0 {
        node.battery = Some(Battery {
            charge: MicroJoules(1_000),
            reserve: MicroJoules(0),
            active_milliwatts: random.between(1_000, 9_000),
        });
    }
    node
}

/// Up to three nodes, a large model of up to four layers and a small one of one or two.
fn small_problem(seed: u64) -> Problem {
    let mut random = Seeded::new(seed);
    let count = random.between(1, 3) as u32;
    let nodes: Vec<Node> = (0..count).map(|_| node(&mut random)).collect();
    let mut links = Vec::new();
    for from in 0..count {
        for to in (0..count).filter(|to| *to != from) {
            let (megabits, micros) = (random.between(1, 500), random.between(0, 30_000));
            if random.between(0, 9) > 0 {
                let mut link = wire(from, to, megabits, Nanos::from_micros(micros));
                link.price_per_mebibyte = Nanos::from_micros(random.between(0, 1) * 50);
                links.push(link);
            }
        }
    }
    let mut large = round_model(random.between(2, 4) as usize);
    large.variants[0]
        .layer_bytes
        .fill(Bytes::mebi(random.between(60, 250)));
    large.draft = Some(Draft {
        model: ModelOrd(1),
        acceptance_percent: random.between(20, 98) as u32,
    });
    let mut small = round_model(random.between(1, 2) as usize);
    small.variants[0].kernel = KernelOrd(1);
    small.variants[0].layer_bytes.fill(Bytes::mebi(40));
    small.variants[0].quality_milli = random.between(500, 1_000) as u32;
    let mut service = Service::new(vec![LARGE, SMALL]);
    service.modes = match random.between(0, 5) {
        0..=2 => vec![Mode::Speculative],
        3 => vec![Mode::Cascade],
        4 => vec![Mode::Speculative, Mode::Cascade],
        _ => Mode::ALL.to_vec(),
    };
    service.prompt_tokens = random.between(1, 1_500) as u32;
    service.output_tokens = random.between(1, 200) as u32;
    service.chunk_rows = [64, 512][random.between(0, 1) as usize];
    service.concurrency = random.between(1, 3) as u32;
    service.escalated_percent = random.between(0, 100) as u32;
    service.slo_percentile = [50, 95][random.between(0, 1) as usize];
    service.quality_value = Nanos::from_micros(random.between(0, 2) * 500);
    service.joule_cost = Nanos::from_millis(random.between(0, 100));
    if random.between(0, 2) == 0 {
        service.slo_ttft = Some(Nanos::from_millis(random.between(10, 4_000)));
    }
    if random.between(0, 2) == 0 {
        service.slo_tpot = Some(Nanos::from_millis(random.between(1, 80)));
    }
    if random.between(0, 3) == 0 {
        service.stages_max = Some(random.between(1, 2) as u32);
    }
    if random.between(0, 2) == 0 {
        service.privacy = Privacy::Trusted {
            domains: vec![TrustDomainOrd(0)],
            shallow_layers: random.between(0, 2) as u32,
        };
    }
    if random.between(0, 1) == 0 {
        service.ingress = vec![Ingress {
            node: NodeOrd(0),
            weight: 1,
        }];
    }
    service.activations = vec![ActivationFormat::F32];
    Problem {
        nodes,
        links,
        models: vec![large, small],
        services: vec![service],
        loaded: Vec::new(),
        files: Vec::new(),
        regions: Regions::default(),
    }
}

/// The least cost of any legal pipeline, assisted or not, by enumeration.
fn brute_force(problem: &Problem) -> Option<Nanos> {
    let links = LinkIndex::new(problem);
    let idle = vec![0; problem.nodes.len()];
    let service = &problem.services[0];
    let mut roles: Vec<Role> = (1..=16).map(|tokens| Role::Drafts { tokens }).collect();
    roles.push(Role::AnswersFirst);
    let mut best: Option<Nanos> = None;
    for &candidate in &service.candidates {
        let cost = CostModel::new(problem, &links, service, candidate, &idle);
        let mut look = |shape: &PipelineShape| {
            if wrong(problem, shape).is_empty() {
                let value = cost
                    .evaluate(shape)
                    .expect("a legal pipeline has a cost")
                    .cost
                    .total();
                best = Some(best.map_or(value, |best| best.min(value)));
            }
        };
        each_shape(problem, candidate, &mut |shape| {
            look(shape);
            for node in (0..problem.nodes.len()).map(NodeOrd::from_index) {
                for &role in &roles {
                    look(&PipelineShape {
                        assistant: Some(Assistant {
                            candidate: SMALL,
                            node,
                            role,
                        }),
                        ..shape.clone()
                    });
                }
            }
        });
    }
    best
}

#[test]
fn answers_cost_what_enumeration_finds() {
    let (mut speculative, mut cascades) = (0, 0);
    for seed in 1..=300 {
        let problem = small_problem(seed);
        let solution = solved(&problem);
        assert_eq!(check(&problem, &solution), vec![], "seed {seed}");
        let placed = solution.services[0].placed();
        let cost = placed.map(|placed| placed.cost.total());
        assert_eq!(cost, brute_force(&problem), "seed {seed}");
        if let Some(placed) = placed {
            assert!(
                placed.certificate.is_exact(),
                "seed {seed}: {:?}",
                placed.certificate
            );
            speculative += u32::from(placed.pipeline.mode == Mode::Speculative);
            cascades += u32::from(placed.pipeline.mode == Mode::Cascade);
        }
    }
    assert!(
        speculative > 20 && cascades > 20,
        "{speculative} speculative, {cascades} cascades of 300"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn services_share_nodes_legally_and_bounds_hold(seed in 1_u64..10_000, other in 1_u64..10_000, steps in 0_u64..100_000) {
        let mut problem = small_problem(seed);
        let mut second = small_problem(other).services.remove(0);
        second.ingress.clear();
        problem.services.push(second);
        let solution = solved(&problem);
        prop_assert_eq!(check(&problem, &solution), vec![]);
        prop_assert_eq!(&solution, &solved(&problem));
        let hurried = solve(&problem, &Budget::steps(steps)).expect("a meaningful problem");
        prop_assert_eq!(check(&problem, &hurried), vec![]);
        let (one, other) = (&solution.levels[0], &hurried.levels[0]);
        if one.placed == other.placed && one.is_exact() {
            prop_assert!(other.lower_bound <= one.best && one.best <= other.best);
        }
        let mut running = problem.clone();
        for (service, outcome) in running.services.iter_mut().zip(&solution.services) {
            service.previous = outcome.placed().map(|placed| placed.pipeline.shape());
        }
        for (one, other) in solution.services.iter().zip(&solved(&running).services) {
            let shape = |outcome: &solver::solution::Outcome| outcome.placed().map(|placed| placed.pipeline.shape());
            prop_assert_eq!(shape(one), shape(other));
        }
    }
}
