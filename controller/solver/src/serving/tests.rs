use super::*;
use crate::cost::CostModel;
use crate::fixtures::{smollm, smollm_fleet, smollm_node, wire};
use crate::links::LinkIndex;
use crate::problem::{Candidate, Draft, Ingress, Mode, Problem, Service, Tier};
use crate::random::Random;
use crate::search::{Budget, solve};
use crate::solution::{Placed, Role};
use crate::units::{ModelOrd, VariantOrd};

const SECOND: Time = 1_000_000_000;

fn question(memory_mebi: &[u64]) -> Problem {
    let mut problem = smollm_fleet(memory_mebi);
    let service = Service {
        chunk_rows: 128,
        prompt_tokens: 250,
        output_tokens: 40,
        concurrency: 4,
        context_tokens: 1_024,
        ingress: vec![Ingress {
            node: NodeOrd(0),
            weight: 1,
        }],
        ..Service::new(vec![Candidate {
            model: ModelOrd(0),
            variant: VariantOrd(0),
        }])
    };
    problem.services = vec![service];
    problem
}

fn placed(problem: &Problem) -> Placed {
    let solution = solve(problem, &Budget::steps(10_000_000)).unwrap();
    solution.services[0].placed().expect("there is room").clone()
}

fn opened(problem: &Problem, placed: &Placed) -> Pipeline {
    let service = &problem.services[0];
    let shape = placed.pipeline.shape();
    let hops = shape.stages.iter().filter_map(|stage| stage.activation);
    let bytes = |precision| {
        let mut formats = service.activations.iter();
        let format = formats.find(|format| format.precision == precision);
        format.unwrap().row_bytes(problem.models[0].hidden)
    };
    Pipeline {
        service: 0,
        row_bytes: hops.map(bytes).collect(),
        chunk_rows: service.chunk_rows,
        context_tokens: service.context_tokens,
        sessions: service.concurrency,
        escalated_percent: service.escalated_percent,
        shape,
    }
}

fn request(prompt: u32, output: u32) -> Request {
    Request {
        service: 0,
        ingress: Some(NodeOrd(0)),
        prompt,
        output,
        air: Air::default(),
    }
}

fn serving(problem: &Problem, patience: Nanos) -> Serving {
    let pipeline = opened(problem, &placed(problem));
    let mut serving = Serving::new(problem.clone(), 1, patience, true);
    let id = serving.open(pipeline);
    serving.route(0, Some(id));
    serving
}

#[test]
fn a_request_that_is_alone_takes_what_was_predicted() {
    // Of several chunks the prediction takes the mean history, which the longest one exceeds.
    for (prompt, tolerance) in [(100, 0.001), (250, 0.03)] {
        for memory in [&[900][..], &[170, 160], &[120, 110, 110]] {
            let mut problem = question(memory);
            problem.services[0].prompt_tokens = prompt;
            let predicted = placed(&problem).predicted;
            let mut serving = serving(&problem, Nanos::ZERO);
            serving.arrive(request(prompt, 40));
            serving.advance(1_000 * SECOND);
            let record = serving.records().next().unwrap();
            assert_eq!((record.fate, record.generated), (Fate::Answered, 40));
            let near = |simulated: Option<Time>, predicted: Nanos| {
                let (simulated, predicted) = (simulated.unwrap() as f64, predicted.0 as f64);
                let off = (simulated / predicted - 1.0).abs();
                assert!(off < tolerance, "{memory:?}: {simulated} against {predicted}");
            };
            near(record.ttft(), predicted.ttft);
            near(record.tpot(), predicted.tpot);
        }
    }
}

#[test]
fn sessions_that_came_one_after_the_other_decode_in_whole_batches() {
    // Two stages work for two companies in turns.
    for (memory, least) in [(&[900][..], 3.6), (&[170, 160], 1.9)] {
        let problem = question(memory);
        let mut serving = serving(&problem, Nanos::ZERO);
        for moment in 0..4 {
            serving.advance(moment * SECOND / 3);
            serving.arrive(request(8, 900));
        }
        serving.advance(1_000 * SECOND);
        let (batches, tokens) = serving.books().batches[0];
        let rows = tokens as f64 / batches as f64;
        assert!(rows > least, "{memory:?}: {rows} rows to a batch");
    }
}

/// Both ends on node 0, which computes them one after the other.
fn u_shaped() -> Problem {
    let mut problem = question(&[210, 170]);
    problem.services[0].modes = vec![Mode::UShaped];
    problem
}

#[test]
fn a_u_shaped_pipeline_goes_out_and_comes_back_as_predicted() {
    let mut problem = u_shaped();
    for (prompt, least, most) in [(100, 0.999, 1.001), (250, 0.7, 1.03)] {
        problem.services[0].prompt_tokens = prompt;
        let predicted = placed(&problem).predicted;
        let mut serving = serving(&problem, Nanos::ZERO);
        serving.arrive(request(prompt, 40));
        serving.advance(1_000 * SECOND);
        let record = serving.records().next().unwrap();
        let of = |simulated: Option<Time>, predicted: Nanos| simulated.unwrap() as f64 / predicted.0 as f64;
        // With several chunks the prediction waits for both ends of each, which may overlap with the way between them.
        let ttft = of(record.ttft(), predicted.ttft);
        assert!((least..most).contains(&ttft), "{prompt}: {ttft}");
        let tpot = of(record.tpot(), predicted.tpot);
        assert!((0.97..1.03).contains(&tpot), "{prompt}: {tpot}");
    }
}

#[test]
fn the_books_add_up_where_a_node_holds_two_stages() {
    let mut serving = serving(&u_shaped(), Nanos(2 * SECOND));
    load(&mut serving, 1.0, 60, 7);
    audit(&serving);
    assert!(serving.records().any(|record| record.fate == Fate::Answered));
    serving.set_alive(NodeOrd(1), false);
    audit(&serving);
    assert!(serving.records().all(|record| record.fate != Fate::InFlight));
}

/// Requests at random times and of random lengths; what was waiting when each came is of no interest.
fn load(serving: &mut Serving, per_second: f64, seconds: u64, seed: u64) {
    let mut random = Random::seeded(seed);
    let mut time = 0.0;
    loop {
        time += random.exponential(1.0 / per_second);
        let at = (time * SECOND as f64) as Time;
        if at >= seconds * SECOND {
            return serving.advance(seconds * SECOND);
        }
        serving.advance(at);
        let (prompt, output) = (1 + random.below(500) as u32, 1 + random.below(60) as u32);
        serving.arrive(request(prompt, output));
    }
}

/// What must hold of any books, told from the log of batches alone.
fn audit(serving: &Serving) {
    let (books, records) = (serving.books(), serving.records().collect::<Vec<_>>());
    let log = books.log.as_ref().expect("batches are written down");
    let tokens: u64 = records.iter().map(|record| u64::from(record.generated)).sum();
    assert_eq!(books.tokens, [tokens]);
    for record in &records {
        assert!(record.generated <= record.answer);
        assert_eq!(
            record.fate == Fate::Answered,
            record.generated > 0 && record.generated == record.answer
        );
        assert_eq!(record.fate == Fate::InFlight, record.ended.is_none());
    }
    // A node computes one batch at a time, and its time is the sum of its batches.
    for node in 0..books.busy.len() {
        let mut spans: Vec<_> = log.iter().filter(|batch| batch.node.index() == node).collect();
        spans.sort_by_key(|batch| batch.began);
        assert!(
            spans.windows(2).all(|pair| pair[0].ended <= pair[1].began),
            "node {node} was in two batches"
        );
        let sum: Time = spans.iter().map(|batch| batch.ended - batch.began).sum();
        assert_eq!(books.busy[node], [sum]);
    }
    // A step of a request is at one stage at a time, and at the stages in order; and a stage has the steps in order.
    let mut steps: Vec<_> = log
        .iter()
        .flat_map(|batch| {
            batch
                .members
                .iter()
                .map(move |(request, step)| (*request, *step, batch))
        })
        .collect();
    steps.sort_by_key(|(request, step, batch)| (*request, *step, batch.stage));
    for pair in steps.windows(2) {
        let ((request, step, before), (next_request, next_step, after)) = (&pair[0], &pair[1]);
        if (request, step) == (next_request, next_step) {
            assert_eq!(before.stage + 1, after.stage, "request {request}, step {step}");
            assert!(before.ended <= after.began, "request {request} is in two places");
        }
    }
    steps.sort_by_key(|(request, step, batch)| (*request, batch.stage, *step));
    for pair in steps.windows(2) {
        let ((request, step, before), (next_request, next_step, after)) = (&pair[0], &pair[1]);
        if (request, before.stage) == (next_request, after.stage) {
            assert_eq!(step + 1, *next_step, "request {request}");
            assert!(before.ended <= after.began, "request {request} overtakes itself");
        }
    }
    for record in &records {
        assert!(
            record
                .first
                .is_none_or(|first| record.arrived < first && first <= record.last)
        );
    }
}

#[test]
fn the_books_add_up_with_batches_queues_splits_and_losses() {
    for (memory, per_second) in [
        (&[900][..], 0.1),
        (&[900], 3.0),
        (&[170, 160], 1.0),
        (&[120, 110, 110], 1.5),
    ] {
        let mut serving = serving(&question(memory), Nanos(2 * SECOND));
        load(&mut serving, per_second, 60, 7);
        audit(&serving);
        let fates: Vec<Fate> = serving.records().map(|record| record.fate).collect();
        assert!(fates.contains(&Fate::Answered));
        assert_eq!(
            fates.contains(&Fate::Failed(Failure::Busy)),
            per_second > 0.5,
            "{memory:?} {per_second}"
        );
        serving.set_alive(NodeOrd(0), false);
        audit(&serving);
        assert!(serving.records().all(|record| record.fate != Fate::InFlight));
        assert_eq!(serving.sessions_on(PipelineId(0)), 0);
    }
}

#[test]
fn tokens_of_sessions_share_batches_up_to_the_seats() {
    let mut serving = serving(&question(&[900]), Nanos(1_000 * SECOND));
    for _ in 0..10 {
        serving.arrive(request(20, 60));
    }
    serving.advance(1_000 * SECOND);
    let books = serving.books();
    assert!(serving.records().all(|record| record.fate == Fate::Answered));
    let (batches, tokens) = books.batches[0];
    assert!(2 * tokens > 3 * batches, "{tokens} tokens in {batches} batches");
    let most = books.log.unwrap().iter().map(|batch| batch.members.len()).max();
    assert!(most.is_some_and(|most| (3..=4).contains(&most)), "{most:?}");
}

#[test]
fn a_link_that_goes_ends_sessions_that_need_it_and_a_slow_one_delays_them() {
    let problem = question(&[170, 160]);
    let time = |change: &dyn Fn(&mut Problem)| {
        let mut serving = serving(&problem, Nanos::ZERO);
        serving.arrive(request(100, 30));
        serving.advance(SECOND);
        let mut changed = problem.clone();
        change(&mut changed);
        serving.change(changed);
        serving.advance(100 * SECOND);
        serving.records().next().unwrap()
    };
    let usual = time(&|_| {});
    let slow = time(&|problem| {
        problem
            .links
            .iter_mut()
            .for_each(|link| link.latency = Nanos::from_millis(50))
    });
    let gone = time(&|problem| problem.links.clear());
    assert_eq!((usual.fate, slow.fate), (Fate::Answered, Fate::Answered));
    assert!(slow.last > usual.last + SECOND, "{slow:?} {usual:?}");
    assert_eq!(gone.fate, Fate::Failed(Failure::LinkLost));
}

#[test]
fn what_cannot_be_answered_is_told_apart() {
    let problem = question(&[900]);
    let mut serving = serving(&problem, Nanos::ZERO);
    serving.arrive(request(problem.services[0].context_tokens, 5));
    serving.arrive(Request {
        ingress: None,
        ..request(5, 5)
    });
    serving.advance(SECOND);
    serving.route(0, None);
    serving.arrive(request(5, 5));
    serving.advance(2 * SECOND);
    let fates: Vec<Fate> = serving.records().map(|record| record.fate).collect();
    let expected = [Failure::TooLong, Failure::NodeLost, Failure::Unavailable].map(Fate::Failed);
    assert_eq!(fates, expected);
}

#[test]
fn a_pipeline_that_drains_answers_those_who_sit_and_nobody_else() {
    let mut serving = serving(&question(&[900]), Nanos(1_000 * SECOND));
    for _ in 0..6 {
        serving.arrive(request(20, 20));
    }
    serving.advance(SECOND / 10);
    assert_eq!(serving.sessions_on(PipelineId(0)), 4);
    serving.drain(PipelineId(0));
    serving.advance(100 * SECOND);
    let answered = serving
        .records()
        .filter(|record| record.fate == Fate::Answered)
        .count();
    assert_eq!((answered, serving.sessions_on(PipelineId(0))), (4, 0));
}

#[test]
fn equal_inputs_have_equal_books() {
    let run = || {
        let mut serving = serving(&question(&[120, 110, 110]), Nanos(SECOND));
        load(&mut serving, 2.0, 30, 3);
        (serving.books(), serving.records().collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}

/// One node, one session at a time: a single server. Answers of one token take the same time each; longer ones a multiple of
/// the time of a token more.
fn single_server() -> (Problem, Serving) {
    let mut node = smollm_node(Bytes::mebi(900));
    node.speeds[0].history.clear();
    let mut problem = question(&[900]);
    problem.nodes = vec![node];
    problem.models = vec![smollm()];
    problem.links = vec![wire(0, 0, 1, Nanos::ZERO)];
    problem.links.clear();
    problem.services[0].concurrency = 1;
    let serving = serving(&problem, Nanos(u64::MAX / 4));
    (problem, serving)
}

/// Mean of what requests waited for the server, over the mean time of service, at so much load; and what Pollaczek and
/// Khinchine say: `load · (1 + variance / mean²) / (2 · (1 − load))`.
fn waiting(outputs: &dyn Fn(&mut Random) -> u32, load: f64, requests: usize) -> (f64, f64) {
    let alone = |output: u32| {
        let (_, mut serving) = single_server();
        serving.arrive(request(100, output));
        serving.advance(10_000 * SECOND);
        let record = serving.records().next().unwrap();
        assert_eq!(record.fate, Fate::Answered);
        (record.last - record.arrived) as f64
    };
    let (first, token) = (alone(1), alone(2) - alone(1));
    let service_time = |output: u32| first + token * f64::from(output - 1);
    assert!((service_time(50) / alone(50) - 1.0).abs() < 1e-6);

    let mut random = Random::seeded(11);
    let drawn: Vec<u32> = (0..requests).map(|_| outputs(&mut random)).collect();
    let times: Vec<f64> = drawn.iter().map(|output| service_time(*output)).collect();
    let mean = times.iter().sum::<f64>() / requests as f64;
    let second_moment = times.iter().map(|time| time * time).sum::<f64>() / requests as f64;
    let (_, mut serving) = single_server();
    let mut time = 0.0;
    for output in &drawn {
        time += random.exponential(mean / load);
        serving.advance(time as Time);
        serving.arrive(request(100, *output));
    }
    serving.advance(time as Time + 100_000 * SECOND);
    audit(&serving);
    let waited: f64 = serving
        .records()
        .zip(&times)
        .map(|(record, alone)| (record.last - record.arrived) as f64 - alone)
        .sum();
    let expected = load * second_moment / (mean * mean) / (2.0 * (1.0 - load));
    (waited / requests as f64 / mean, expected)
}

#[test]
fn equal_requests_wait_as_long_as_in_an_m_d_1_queue() {
    for load in [0.3, 0.7] {
        let (waited, expected) = waiting(&|_| 1, load, 20_000);
        assert!((expected - load / (2.0 * (1.0 - load))).abs() < 1e-9);
        assert!(
            (waited / expected - 1.0).abs() < 0.06,
            "load {load}: {waited} against {expected}"
        );
    }
}

#[test]
fn requests_of_geometric_length_wait_as_long_as_in_an_m_g_1_queue() {
    let geometric = |random: &mut Random| 1 + random.exponential(20.0) as u32;
    let (waited, expected) = waiting(&geometric, 0.6, 20_000);
    assert!(
        (waited / expected - 1.0).abs() < 0.1,
        "{waited} against {expected}"
    );
}

/// SmolLM2 on node 1, and a model of two of its layers, which may help it, on both nodes; requests enter at node 0.
fn two_models(mode: Mode) -> Problem {
    let mut problem = question(&[60, 900]);
    problem.nodes[1].tier = Tier::Server;
    let mut small = smollm();
    let variant = &mut small.variants[0];
    variant.layer_bytes.truncate(2);
    variant.quality_milli = 500;
    for bytes in [
        &mut variant.embedding_bytes,
        &mut variant.head_bytes,
        &mut variant.unsplit_ends_bytes,
    ] {
        bytes.0 /= 8;
    }
    problem.models.push(small);
    let small = ModelOrd(1);
    problem.models[0].draft = Some(Draft {
        model: small,
        acceptance_percent: 80,
    });
    let service = &mut problem.services[0];
    let variant = VariantOrd(0);
    service.candidates.push(Candidate {
        model: small,
        variant,
    });
    service.modes = vec![mode];
    service.prompt_tokens = 100;
    service.concurrency = 2;
    problem
}

/// One request after the other, each alone: what became of them.
fn one_by_one(problem: &Problem, requests: usize, output: u32, seed: u64) -> Vec<Record> {
    let mut serving = serving(problem, Nanos::ZERO).with_seed(seed);
    for _ in 0..requests {
        serving.arrive(request(100, output));
        serving.advance(serving.now() + 300 * SECOND);
    }
    let records: Vec<Record> = serving.records().collect();
    assert!(records.iter().all(|record| record.fate == Fate::Answered));
    assert!(records.iter().all(|record| record.generated == output));
    records
}

fn mean(figures: impl Iterator<Item = Option<Time>>) -> f64 {
    let figures: Vec<f64> = figures.map(|figure| figure.unwrap_or(0) as f64).collect();
    figures.iter().sum::<f64>() / figures.len() as f64
}

#[test]
fn drafted_and_verified_tokens_come_as_fast_as_predicted() {
    let mut problem = two_models(Mode::Speculative);
    problem.services[0].output_tokens = 400;
    let placed = placed(&problem);
    let small = placed.pipeline.assistant.expect("it drafts").assistant;
    assert!(matches!(small.role, Role::Drafts { .. }), "{small:?}");
    assert_eq!(placed.pipeline.stages[0].node, NodeOrd(1));
    let records = one_by_one(&problem, 40, 400, 5);
    let ttft = mean(records.iter().map(Record::ttft)) / placed.predicted.ttft.0 as f64;
    assert!((ttft - 1.0).abs() < 0.01, "{ttft}");
    // What is accepted is drawn, so the mean of sixteen thousand tokens is near; the last round of each is cut short.
    let tpot = mean(records.iter().map(Record::tpot)) / placed.predicted.tpot.0 as f64;
    assert!((tpot - 1.0).abs() < 0.04, "{tpot}");
    let other = one_by_one(&problem, 2, 400, 6);
    assert_ne!(records[0].last, other[0].last, "another seed draws otherwise");
    assert_eq!(records[..2], one_by_one(&problem, 2, 400, 5));
}

#[test]
fn all_that_is_drafted_is_accepted_where_acceptance_is_certain() {
    let mut problem = two_models(Mode::Speculative);
    problem.models[0]
        .draft
        .as_mut()
        .expect("it is named")
        .acceptance_percent = 100;
    let placed = placed(&problem);
    let Role::Drafts { tokens } = placed.pipeline.assistant.expect("it drafts").assistant.role else {
        panic!("{:?}", placed.pipeline)
    };
    // Whole rounds after the first token.
    let output = 1 + 5 * (tokens + 1);
    let record = one_by_one(&problem, 1, output, 1)[0];
    let predicted = placed.predicted.tpot.0 as f64;
    let tpot = record.tpot().unwrap() as f64 / predicted;
    assert!((tpot - 1.0).abs() < 0.03, "{tpot}");
}

#[test]
fn a_cascade_passes_on_the_share_that_was_told() {
    for (escalated_percent, least, most) in [(0, 0.0, 0.0), (30, 0.22, 0.38), (100, 1.0, 1.0)] {
        let mut problem = two_models(Mode::Cascade);
        problem.services[0].escalated_percent = escalated_percent;
        let placed = placed(&problem);
        let records = one_by_one(&problem, 300, 40, 9);
        let passed_on = records.iter().filter(|record| record.tpot() > Some(0)).count();
        let share = passed_on as f64 / 300.0;
        assert!((least..=most).contains(&share), "{escalated_percent}: {share}");
        // What was predicted for the share that was drawn.
        problem.services[0].escalated_percent = (share * 100.0).round() as u32;
        let shape = placed.pipeline.shape();
        let links = LinkIndex::new(&problem);
        let cost = CostModel::new(&problem, &links, &problem.services[0], shape.candidate, &[0, 0]);
        let predicted = cost.evaluate(&shape).expect("it runs").predicted;
        let ttft = mean(records.iter().map(Record::ttft)) / predicted.ttft.0 as f64;
        assert!((ttft - 1.0).abs() < 0.02, "{escalated_percent}: {ttft}");
        let tpot = mean(records.iter().map(Record::tpot)) - predicted.tpot.0 as f64;
        assert!(
            tpot.abs() < 0.03 * predicted.ttft.0 as f64,
            "{escalated_percent}: {tpot}"
        );
    }
}

#[test]
fn sessions_with_a_small_model_end_in_order_under_load_and_when_its_node_dies() {
    for mode in [Mode::Speculative, Mode::Cascade] {
        let problem = two_models(mode);
        let mut serving = serving(&problem, Nanos(2 * SECOND));
        load(&mut serving, 2.0, 60, 7);
        let (books, records) = (serving.books(), serving.records().collect::<Vec<_>>());
        let tokens: u64 = records.iter().map(|record| u64::from(record.generated)).sum();
        assert_eq!(books.tokens, [tokens]);
        let fates = |fate| records.iter().filter(|record| record.fate == fate).count();
        assert!(
            fates(Fate::Answered) > 10 && fates(Fate::Failed(Failure::Busy)) > 0,
            "{mode:?}"
        );
        for node in 0..2 {
            let log = books.log.iter().flatten();
            let mut spans: Vec<_> = log.filter(|batch| batch.node.index() == node).collect();
            spans.sort_by_key(|batch| batch.began);
            assert!(
                spans.windows(2).all(|pair| pair[0].ended <= pair[1].began),
                "node {node}"
            );
        }
        let small = placed(&problem).pipeline.assistant.expect("it has one").assistant;
        serving.set_alive(small.node, false);
        assert!(serving.records().all(|record| record.fate != Fate::InFlight));
        assert_eq!(serving.sessions_on(PipelineId(0)), 0);
        serving.advance(serving.now() + 10 * SECOND);
    }
}
