//! One situation each, with the answer that a person would give.

use solver::fixtures::{FIRST, declared_node, mesh, round_model, smollm_fleet, wire};
use solver::problem::{
    ActivationFormat, Battery, Correction, ExcludedNode, Exclusion, Ingress, LoadedStage, Mode, Precision,
    Privacy, Regions, Service, SpeedPoint, Tier,
};
use solver::solution::{
    Binding, Cause, Decision, Illegality, Infeasible, NodeReason, Offer, PipelineShape, Placed, Remedy,
    StageShape,
};
use solver::units::{
    Bytes, BytesPerSecond, KernelOrd, LayerRange, MicroJoules, Nanos, NodeOrd, ServiceOrd, TrustDomainOrd,
};
use solver::{Budget, Problem, Solution, check, forecast, forecast_range, solve};

fn answer(problem: &Problem) -> Solution {
    let solution = solve(problem, &Budget::default()).expect("a meaningful problem");
    assert_eq!(check(problem, &solution), vec![]);
    solution
}

fn placed(problem: &Problem) -> Placed {
    answer(problem).services[0].placed().expect("a pipeline").clone()
}

fn infeasible(problem: &Problem) -> Infeasible {
    answer(problem).services[0]
        .infeasible()
        .expect("no pipeline")
        .clone()
}

fn nodes(placed: &Placed) -> Vec<u32> {
    placed.pipeline.stages.iter().map(|stage| stage.node.0).collect()
}

#[test]
fn a_model_that_fits_one_node_is_not_split() {
    let placed = placed(&smollm_fleet(&[400, 400, 400]));
    assert_eq!(placed.pipeline.mode, Mode::OnDevice);
    assert!(placed.certificate.is_exact());
    let split = &placed.alternatives[2];
    assert_eq!(split.mode, Mode::Split);
    let Offer::Found { cost, .. } = split.offer else {
        panic!("{:?}", split.offer)
    };
    assert!(cost.total() > placed.cost.total());
}

#[test]
fn a_fast_server_behind_a_fast_link_beats_a_slow_device_unless_the_link_is_far() {
    let mut problem = smollm_fleet(&[400, 400]);
    problem.nodes[1].tier = Tier::Server;
    problem.nodes[1].compute_share_milli = 8_000;
    problem.services[0].ingress = vec![Ingress {
        node: NodeOrd(0),
        weight: 1,
    }];
    assert_eq!(placed(&problem).pipeline.mode, Mode::OnServer);
    for link in &mut problem.links {
        link.latency = Nanos::from_millis(5_000);
    }
    assert_eq!(placed(&problem).pipeline.mode, Mode::OnDevice);
}

#[test]
fn memory_that_forces_a_split_is_named_as_what_binds() {
    let placed = placed(&smollm_fleet(&[150, 150, 150]));
    assert!(matches!(placed.pipeline.mode, Mode::Split | Mode::MultiHop));
    let Binding::MemoryOf { missing, saving, .. } = placed.binding else {
        panic!("{:?}", placed.binding)
    };
    assert!(missing > Bytes::ZERO && saving > Nanos::ZERO);
}

/// Two fast small nodes and one slow large one: without the memory of who was used before, the fast ones serve twice.
#[test]
fn a_node_that_the_plain_dynamic_program_would_use_twice_is_used_once() {
    let mut problem = smollm_fleet(&[75, 75, 220]);
    problem.services[0].context_tokens = 512;
    problem.services[0].chunk_rows = 64;
    problem.nodes[2].compute_share_milli = 50;
    for link in &mut problem.links {
        link.latency = Nanos::from_micros(10);
    }
    let placed = placed(&problem);
    assert!(placed.certificate.is_exact());
    let mut used = nodes(&placed);
    used.sort_unstable();
    assert_eq!(
        used,
        [0, 1, 2],
        "the fast nodes cannot hold it, so the slow one takes a part"
    );
}

#[test]
fn services_of_higher_priority_choose_first() {
    let mut problem = smollm_fleet(&[400, 130, 130]);
    problem.services.push(Service {
        priority: 1,
        ..Service::new(vec![FIRST])
    });
    problem.nodes[0].memory = Bytes::mebi(250);
    let solution = answer(&problem);
    let first = solution.services[1].placed().expect("the more important one");
    assert_eq!(nodes(first), [0]);
    assert!(!nodes(solution.services[0].placed().expect("the other one")).contains(&0));
}

#[test]
fn two_services_share_the_weights_of_one_stage() {
    let mut problem = smollm_fleet(&[330]);
    problem.services.push(Service::new(vec![FIRST]));
    let solution = answer(&problem);
    let [one, other] = [0, 1].map(|index| {
        &solution.services[index]
            .placed()
            .expect("a pipeline")
            .pipeline
            .stages[0]
    });
    assert!(one.memory.weights > Bytes::ZERO);
    assert_eq!(
        (other.memory.weights, other.memory.worker),
        (Bytes::ZERO, Bytes::ZERO)
    );
    assert!(other.loaded && !one.loaded);
}

#[test]
fn text_stays_where_it_is_trusted() {
    let mut problem = smollm_fleet(&[150, 150, 150]);
    problem.nodes[1].trust_domain = TrustDomainOrd(7);
    problem.nodes[1].compute_share_milli = 50_000;
    problem.services[0].privacy = Privacy::Trusted {
        domains: vec![TrustDomainOrd(0)],
        shallow_layers: 4,
    };
    let placed = placed(&problem);
    let stages = &placed.pipeline.stages;
    assert!(stages.first().is_some_and(|stage| stage.node != NodeOrd(1)));
    assert!(stages.last().is_some_and(|stage| stage.node != NodeOrd(1)));
    assert_eq!(
        nodes(&placed).len(),
        3,
        "the fast untrusted node takes the deep middle"
    );
}

#[test]
fn coarse_activations_are_chosen_only_where_the_link_makes_them_worth_it() {
    let mut problem = smollm_fleet(&[150, 150]);
    problem.services[0].activations.push(ActivationFormat {
        precision: Precision::Int8Outliers,
        bits_per_element: 8,
        bytes_per_row: 52,
        fidelity_cost: Nanos::from_millis(200),
    });
    assert_eq!(
        placed(&problem).pipeline.stages[0].activation,
        Some(Precision::F32)
    );
    problem.links = mesh(2, 1, Nanos::from_millis(2));
    assert_eq!(
        placed(&problem).pipeline.stages[0].activation,
        Some(Precision::Int8Outliers)
    );
}

#[test]
fn a_battery_is_spared_when_joules_cost() {
    let mut problem = smollm_fleet(&[400, 400]);
    problem.nodes[0].compute_share_milli = 2_000;
    problem.nodes[0].battery = Some(Battery {
        charge: MicroJoules(5_000_000),
        reserve: MicroJoules(1_000_000),
        active_milliwatts: 5_000,
    });
    assert_eq!(nodes(&placed(&problem)), [0]);
    problem.services[0].joule_cost = Nanos::from_millis(2_000);
    assert_eq!(nodes(&placed(&problem)), [1]);
    assert_eq!(placed(&problem).predicted.energy_per_token, MicroJoules::ZERO);
}

#[test]
fn what_runs_is_kept_within_the_margin_and_moved_beyond_it() {
    let mut problem = smollm_fleet(&[400, 400]);
    let running = placed(&problem).pipeline.shape();
    assert_eq!(running.stages[0].node, NodeOrd(0));
    problem.services[0].previous = Some(running.clone());

    problem.nodes[1].compute_share_milli = 1_050;
    let kept = placed(&problem);
    assert_eq!(nodes(&kept), [0]);
    assert!(
        matches!(&kept.decision, Decision::Kept { passed_over: Some((shape, _)) } if shape.stages[0].node == NodeOrd(1))
    );
    assert_eq!(
        kept.certificate.best,
        kept.runner_up.as_ref().expect("the better one").cost.total()
    );

    problem.nodes[1].compute_share_milli = 1_500;
    let moved = placed(&problem);
    assert_eq!(nodes(&moved), [1]);
    assert!(matches!(moved.decision, Decision::Moved { .. }));

    problem.nodes[1].compute_share_milli = 1_000;
    problem.services[0].excluded = vec![ExcludedNode {
        node: NodeOrd(0),
        why: Exclusion::NotReady,
    }];
    let why = Illegality::Node {
        node: NodeOrd(0),
        why: NodeReason::Excluded(Exclusion::NotReady),
    };
    assert_eq!(placed(&problem).decision, Decision::Replaced { why });
}

#[test]
fn weights_in_memory_are_reported_as_loaded() {
    let mut problem = smollm_fleet(&[400]);
    problem.loaded = vec![LoadedStage {
        node: NodeOrd(0),
        candidate: FIRST,
        layers: LayerRange::new(0, 30),
    }];
    assert!(placed(&problem).pipeline.stages[0].loaded);
}

#[test]
fn too_little_memory_is_an_answer_with_numbers_and_the_remedy_suffices() {
    let mut problem = smollm_fleet(&[80, 80]);
    let report = infeasible(&problem);
    assert!(matches!(report.cause, Cause::NotEnoughMemory { needed, available } if needed > available));
    assert!(report.nodes.iter().all(|node| matches!(
        node.reason,
        NodeReason::CouldHold { .. } | NodeReason::MemoryTooSmall { .. }
    )));
    let Some(&Remedy::Memory { node, extra }) = report.remedies.first() else {
        panic!("{:?}", report.remedies)
    };
    problem.nodes[node.index()].memory += extra;
    placed(&problem);
}

#[test]
fn fewer_sessions_are_offered_where_they_would_do() {
    let mut problem = smollm_fleet(&[250]);
    problem.services[0].concurrency = 8;
    let report = infeasible(&problem);
    let sessions = report.remedies.iter().find_map(|remedy| match remedy {
        Remedy::Concurrency { sessions } => Some(*sessions),
        _ => None,
    });
    problem.services[0].concurrency = sessions.expect("fewer would do");
    placed(&problem);
    problem.services[0].concurrency += 1;
    infeasible(&problem);
}

#[test]
fn a_chain_without_links_is_told_from_a_lack_of_memory() {
    let mut problem = smollm_fleet(&[150, 150]);
    problem.links = vec![wire(0, 1, 100, Nanos::from_millis(2))];
    assert_eq!(
        infeasible(&problem).cause,
        Cause::NoChain { proven: true },
        "no way back for the token"
    );
}

#[test]
fn a_model_that_may_not_be_split_says_so() {
    let mut problem = smollm_fleet(&[150, 150]);
    problem.models[0].splittable = false;
    assert!(matches!(
        infeasible(&problem).cause,
        Cause::NoNodeHoldsTheWhole {
            splittable: false,
            ..
        }
    ));
    problem.models[0].splittable = true;
    problem.services[0].modes = vec![Mode::OnDevice];
    let report = infeasible(&problem);
    assert!(matches!(
        report.cause,
        Cause::NoNodeHoldsTheWhole { splittable: true, .. }
    ));
    assert!(report.remedies.contains(&Remedy::AllowSplit));
}

#[test]
fn a_meaningless_problem_names_the_field() {
    let mut problem = smollm_fleet(&[400]);
    problem.services[0].chunk_rows = 0;
    let error = solve(&problem, &Budget::default()).expect_err("zero rows");
    assert_eq!(
        error.to_string(),
        "problem field services[0].chunk_rows is invalid: expected at least 1"
    );
}

#[test]
fn a_cancelled_search_still_gives_a_legal_answer_and_says_that_it_was_cancelled() {
    let problem = smollm_fleet(&[150, 150, 150]);
    let solution = solve(
        &problem,
        &Budget {
            steps: 1_000_000,
            cancelled: &|| true,
        },
    )
    .expect("a meaningful problem");
    assert!(solution.cancelled);
    assert_eq!(check(&problem, &solution), vec![]);
}

#[test]
fn the_check_finds_what_is_wrong_with_a_forged_answer() {
    let problem = smollm_fleet(&[400, 400]);
    let mut solution = answer(&problem);
    let solver::solution::Outcome::Placed(forged) = &mut solution.services[0] else {
        panic!("a pipeline")
    };
    forged.pipeline.stages[0].layers = LayerRange::new(0, 29);
    assert_eq!(check(&problem, &solution).len(), 1);
}

#[test]
fn problem_and_solution_survive_json() {
    let problem = smollm_fleet(&[150, 150, 150]);
    let json = serde_json::to_string(&problem).expect("a problem prints");
    assert_eq!(
        serde_json::from_str::<Problem>(&json).expect("and parses"),
        problem
    );
    let solution = answer(&problem);
    let json = serde_json::to_string(&solution).expect("a solution prints");
    assert_eq!(
        serde_json::from_str::<Solution>(&json).expect("and parses"),
        solution
    );
}

/// EdgeShard's profile (arXiv 2405.14371): 12 AGX Orin of 32 GB, two Orin NX of 16 GB, an RTX 3090 of 24 GB; Llama-2-7B in
/// f32 (28 GB with its cache), 32 tokens in, 96 out; 50 Mbit/s between edge devices, 1 Mbit/s to the server. They report
/// 140 ms per token on the source alone and 76 ms sharded. Memory bandwidths are the devices' nominal ones; efficiency
/// 0.8 as measured for decoding.
fn edge_shard(server_megabits: u64) -> Problem {
    let gibi = |count: u64| Bytes::mebi(count << 10);
    let rate = |gigabytes: u64| BytesPerSecond(gigabytes * 800_000_000);
    let mut nodes = vec![declared_node(gibi(32), Tier::Device, 3_330_000_000_000, rate(205)); 12];
    nodes.extend(vec![
        declared_node(
            gibi(16),
            Tier::Device,
            1_880_000_000_000,
            rate(102)
        );
        2
    ]);
    nodes.push(declared_node(
        gibi(24),
        Tier::Server,
        36_000_000_000_000,
        rate(936),
    ));
    let mut links = mesh(15, 50, Nanos::from_millis(1));
    for link in links
        .iter_mut()
        .filter(|link| link.from.0 == 14 || link.to.0 == 14)
    {
        link.rate = BytesPerSecond::megabits(server_megabits);
    }
    let mut model = round_model(32);
    model.kv_bytes_per_token_and_layer = 16_384;
    model.compute_bytes_per_row = 200_000;
    model.layer_flops_per_row = 404_750_336;
    let variant = &mut model.variants[0];
    variant.layer_bytes = vec![Bytes(809_533_440); 32];
    (variant.embedding_bytes, variant.head_bytes) = (Bytes(524_288_000), Bytes(524_288_000));
    variant.unsplit_ends_bytes = Bytes(1_048_576_000);
    let mut service = Service::new(vec![FIRST]);
    (
        service.prompt_tokens,
        service.output_tokens,
        service.context_tokens,
    ) = (32, 96, 128);
    service.ingress = vec![Ingress {
        node: NodeOrd(0),
        weight: 1,
    }];
    Problem {
        nodes,
        links,
        models: vec![model],
        services: vec![service],
        loaded: Vec::new(),
        files: Vec::new(),
        regions: Regions::default(),
    }
}

#[test]
fn edge_shards_setting_has_its_shape_alone_on_the_source_or_split_with_the_server() {
    // Their 1 Mbit/s: hidden states of 16 KiB take 134 ms each, so a sharp solver stays on the source.
    let slow = placed(&edge_shard(1));
    assert_eq!((slow.pipeline.mode, nodes(&slow)), (Mode::OnDevice, vec![0]));
    assert!(
        (120.0..180.0).contains(&slow.predicted.tpot.as_millis_f64()),
        "{}",
        slow.predicted.tpot
    );
    // With 50 Mbit/s the server takes as much as its 24 GB hold, and a token takes about half the time.
    let fast = placed(&edge_shard(50));
    assert_eq!(fast.pipeline.mode, Mode::Split);
    assert_eq!(nodes(&fast)[1], 14);
    assert!(fast.pipeline.stages[1].layers.len() > 20);
    assert!(
        fast.predicted.tpot.0 * 2 < slow.predicted.tpot.0,
        "{} and {}",
        fast.predicted.tpot,
        slow.predicted.tpot
    );
    assert!(fast.certificate.is_exact());
}

#[test]
fn a_running_pipeline_of_another_shape_is_compared_at_its_own_cost() {
    let mut problem = smollm_fleet(&[400, 400]);
    let stage = |node, start, end, activation| StageShape {
        node: NodeOrd(node),
        layers: LayerRange::new(start, end),
        activation,
    };
    let split = vec![stage(0, 0, 15, Some(Precision::F32)), stage(1, 15, 30, None)];
    problem.services[0].previous = Some(PipelineShape::alone(FIRST, split));
    let moved = placed(&problem);
    assert!(
        matches!(moved.decision, Decision::Moved { previous_cost } if previous_cost > moved.cost.total())
    );
}

/// A node that holds the whole model, with round times and nothing beside them.
fn round_times() -> Problem {
    let mut problem = smollm_fleet(&[400]);
    let points = |points: &[(u32, u64)]| {
        let points = points.iter();
        let points = points.map(|&(rows, micros)| SpeedPoint {
            rows,
            time: Nanos::from_micros(micros),
        });
        points.collect::<Vec<_>>()
    };
    let node = &mut problem.nodes[0];
    node.message_overhead = Nanos::ZERO;
    let table = &mut node.speeds[0];
    table.embedding_row = Nanos::ZERO;
    table.layer = points(&[(1, 1_000), (64, 10_000)]);
    table.head = points(&[(1, 2_000)]);
    table.prompt_end = points(&[(64, 5_000)]);
    table.history = points(&[(1, 500), (64, 20_000)]);
    let service = &mut problem.services[0];
    (service.prompt_tokens, service.output_tokens, service.chunk_rows) = (192, 16, 64);
    problem
}

#[test]
fn chunks_pay_for_what_the_session_holds_and_little_for_the_last_layer() {
    let predicted = placed(&round_times()).predicted;
    // Three chunks behind 0, 64 and 128 positions: 1,280 µs a layer on average. The last layer takes 5,000 - 2,000.
    let chunk = 29 * (10_000 + 1_280) + 3_000 + 1_280;
    assert_eq!(predicted.ttft, Nanos::from_micros(3 * chunk + 2_000));
    // An answer's tokens have 192 to 208 positions before them.
    assert_eq!(predicted.tpot, Nanos::from_micros(30 * (1_000 + 100) + 2_000));
}

#[test]
fn times_are_corrected_by_what_requests_have_shown() {
    let mut problem = round_times();
    let kernel = problem.nodes[0].speeds[0].kernel;
    problem.nodes[0].corrections = vec![Correction {
        kernel,
        prompt_milli: 2_000,
        token_milli: 1_500,
    }];
    let predicted = placed(&problem).predicted;
    let chunk = 29 * (10_000 + 1_280) + 3_000 + 1_280;
    assert_eq!(predicted.ttft, Nanos::from_micros(2 * 3 * chunk + 3_000));
    assert_eq!(
        predicted.tpot,
        Nanos::from_micros((30 * (1_000 + 100) + 2_000) * 3 / 2)
    );

    problem.nodes[0].corrections[0].kernel = KernelOrd(kernel.0 + 1);
    assert_eq!(
        placed(&problem).predicted,
        placed(&round_times()).predicted,
        "of another kernel"
    );
    problem.nodes[0].corrections[0].token_milli = 0;
    let refused = solve(&problem, &Budget::default()).expect_err("a meaningless problem");
    assert_eq!(refused.field, "nodes[0].corrections[0]");
}

#[test]
fn what_other_services_do_lies_between_the_two_ends_of_a_forecast() {
    let mut problem = round_times();
    let other = problem.services[0].clone();
    problem.services.push(other);
    let solution = answer(&problem);
    let shape = solution.services[0].placed().expect("both fit").pipeline.shape();
    let range = forecast_range(&problem, &solution, ServiceOrd(0), &shape, 64).expect("speeds are known");
    let (alone, beside) = (range.alone.predicted, range.beside.predicted);
    assert_eq!(alone.ttft, Nanos::from_micros(29 * 10_000 + 3_000 + 2_000));
    assert_eq!(
        beside.ttft,
        alone.ttft.times(2),
        "one other session keeps the node busy"
    );
    assert_eq!(beside.tpot, alone.tpot.times(2));
}

#[test]
fn a_pipeline_is_forecast_for_a_prompt_of_another_length_as_its_head_sees_it() {
    let mut problem = round_times();
    let solution = answer(&problem);
    let shape = placed(&problem).pipeline.shape();
    let expected = (
        Nanos::from_micros(29 * 10_000 + 3_000 + 2_000),
        Nanos::from_micros(30 * (1_000 + 36) + 2_000),
    );
    let of = |problem: &Problem, tokens| {
        let predicted =
            forecast(problem, &solution, ServiceOrd(0), &shape, tokens).expect("speeds are known");
        (predicted.ttft, predicted.tpot)
    };
    assert_eq!(of(&problem, 64), expected);
    let typical = placed(&problem).predicted;
    assert_eq!(of(&problem, 192), (typical.ttft, typical.tpot));
    problem.nodes[0].speeds.clear();
    assert_eq!(forecast(&problem, &solution, ServiceOrd(0), &shape, 64), None);
}
