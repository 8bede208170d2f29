//! Expected figures are computed by hand.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "a layout of one node is one range"
)]

use super::*;
use crate::region::flow::max_flow;
use crate::region::{LayerTimes, Limits, Link, Node, NodeType, Times};

const HOP: f64 = 0.01;

/// Nodes of one type: 1 ms for a layer whatever the batch, prompts 1 ms per 100 tokens and layer; links of `HOP` seconds.
fn chain(num_nodes: usize, sequences_max: usize, kv_tokens: f64) -> Cluster {
    let limit = Limits {
        kv_tokens,
        prompts_max: 1,
        sequences_max,
    };
    let kind = NodeType {
        name: "any".to_owned(),
        times: LayerTimes {
            prompt: Times::new(&[(100.0, 1e-3)]).expect("times"),
            decode: Times::new(&[(1.0, 1e-3), (1_000.0, 1e-3)]).expect("times"),
        },
        limits: vec![limit; 10],
        tokens_per_second: vec![100.0; 10],
    };
    let link = Link {
        rate: 1e15,
        latency: HOP,
    };
    Cluster {
        num_layers: 10,
        activation_bytes: 1.0,
        token_bytes: 1.0,
        types: vec![kind],
        nodes: vec![Node { kind: 0 }; num_nodes],
        links: vec![Some(link); (num_nodes + 1) * (num_nodes + 1)],
    }
}

fn simulate(cluster: &Cluster, layout: &Layout, load: &Load, high_water: f64) -> Report {
    layout.check(cluster).expect("a legal layout");
    let routing = Routing::from_flow(cluster, &max_flow(cluster, layout));
    run(&Scenario {
        cluster,
        layout,
        routing: &routing,
        load,
        admission: Admission {
            answer_tokens: 10.0,
            high_water,
        },
        window: Window {
            warm_up: 0.0,
            seconds: 1_000.0,
        },
    })
}

fn one(prompt: u32, output: u32) -> Load {
    Load::Arrivals(vec![Request {
        arrival: 1.0,
        length: Length { prompt, output },
    }])
}

#[test]
fn one_request_alone_takes_what_its_stages_and_hops_take() {
    let cluster = chain(2, 10, 1e6);
    let report = simulate(&cluster, &Layout(vec![0..5, 5..10]), &one(200, 4), 1.0);
    // Ten layers of 2 ms for 200 tokens, or of 1 ms for one token; three hops. Staging is a part of a microsecond.
    assert!(
        (report.prompt.p50 - (0.020 + 3.0 * HOP)).abs() < 1e-5,
        "{report:?}"
    );
    assert!(
        (report.decode.p50 - (0.010 + 3.0 * HOP)).abs() < 1e-5,
        "{report:?}"
    );
    assert_eq!(
        (report.prompt.count, report.decode.count, report.finished),
        (1, 4, 1)
    );
    assert_eq!((report.in_flight, report.waiting, report.rejected), (0, 0, 0));
}

#[test]
fn a_link_sends_one_request_after_the_other() {
    let mut cluster = chain(1, 10, 1e6);
    // 100 bytes per second from the door: a prompt of 200 bytes takes two seconds, a token ten milliseconds.
    cluster.links[2] = Some(Link {
        rate: 100.0,
        latency: HOP,
    });
    let length = Length {
        prompt: 200,
        output: 1,
    };
    let load = Load::Arrivals(vec![Request { arrival: 0.0, length }; 2]);
    let report = simulate(&cluster, &Layout(vec![0..10]), &load, 1.0);
    assert!(
        (report.prompt.p95 - (4.0 + HOP + 0.020 + HOP)).abs() < 1e-4,
        "{report:?}"
    );
    // The first one's token waits for the second one's prompt.
    assert!(
        (report.decode.p95 - (4.0 - 2.04 + 0.01 + 2.0 * HOP + 0.010)).abs() < 0.03,
        "{report:?}"
    );
}

#[test]
fn sequences_share_a_batch_up_to_its_limit() {
    let length = Length {
        prompt: 1,
        output: 1_000_000,
    };
    let load = |size| Load::Population {
        lengths: vec![length],
        seed: 1,
        size,
    };
    let tokens = |size, most| {
        let cluster = chain(1, most, 1e9);
        simulate(&cluster, &Layout(vec![0..10]), &load(size), 1.0).decode_tokens_per_second
    };
    // A round of one: 10 ms of layers and two hops of 10 ms.
    assert!((tokens(1, 10) - 1.0 / 0.030).abs() < 0.1);
    // Many sequences keep the node busy with full batches of ten each 10 ms; a batch of one at a time has a tenth of it.
    assert!((tokens(100, 10) - 1_000.0).abs() < 100.0);
    assert!((tokens(100, 1) - 100.0).abs() < 10.0);
}

#[test]
fn memory_is_never_reserved_beyond_the_mark_and_the_door_is_served_in_order() {
    // Room for two requests of 100 + 10 tokens.
    let cluster = chain(1, 10, 250.0);
    let length = Length {
        prompt: 100,
        output: 10,
    };
    let load = Load::Arrivals(vec![Request { arrival: 0.0, length }; 6]);
    let report = simulate(&cluster, &Layout(vec![0..10]), &load, 1.0);
    assert_eq!(report.finished, 6);
    assert!(report.kv_peak <= 1.0 && report.kv_peak > 0.8, "{report:?}");
    // Three pairs, one after the other.
    assert!(report.prompt.p95 > 2.0 * 10.0 * 0.030, "{report:?}");
    let small = simulate(&cluster, &Layout(vec![0..10]), &load, 0.3);
    assert_eq!((small.finished, small.waiting), (0, 6));
}

#[test]
fn requests_are_spread_by_the_weights_of_the_flow() {
    let mut cluster = chain(3, 10, 1e6);
    cluster.nodes[2] = Node { kind: 1 };
    let mut fast = cluster.types[0].clone();
    fast.tokens_per_second = vec![300.0; 10];
    cluster.types.push(fast);
    let length = Length {
        prompt: 10,
        output: 10,
    };
    let load = Load::Population {
        lengths: vec![length],
        seed: 1,
        size: 8,
    };
    let report = simulate(&cluster, &Layout(vec![0..10, 0..0, 0..10]), &load, 1.0);
    assert_eq!(report.busy[1], 0.0);
    assert!(report.batch[2] > 1.5 * report.batch[0], "{report:?}");
}

#[test]
fn a_node_that_is_entered_in_its_middle_computes_only_the_rest() {
    // Node 1 holds [2, 10) and is entered at 5 by those who come from node 0.
    let mut cluster = chain(2, 10, 1e6);
    cluster.types[0].tokens_per_second = vec![100.0; 10];
    let report = simulate(&cluster, &Layout(vec![0..5, 2..10]), &one(100, 2), 1.0);
    assert!(
        (report.decode.p50 - (0.010 + 3.0 * HOP)).abs() < 1e-5,
        "{report:?}"
    );
}

#[test]
fn the_same_scenario_has_the_same_report_and_another_seed_another() {
    let cluster = chain(4, 7, 3_000.0);
    let lengths: Vec<Length> = (1..50)
        .map(|size| Length {
            prompt: 7 * size,
            output: size,
        })
        .collect();
    let report = |seed| {
        let load = Load::Saturated {
            lengths: lengths.clone(),
            seed,
            initial: 5,
            mark: 0.8,
        };
        simulate(&cluster, &Layout(vec![0..4, 0..6, 4..10, 6..10]), &load, 0.85)
    };
    assert_eq!(report(1), report(1));
    assert_ne!(report(1), report(2));
    assert!(report(1).finished > 10);
}

#[test]
fn a_node_that_is_always_full_reaches_the_bound_of_work_and_never_passes_it() {
    let cluster = chain(1, 10, 1e9);
    let length = Length {
        prompt: 50,
        output: 100,
    };
    let load = Load::Population {
        lengths: vec![length],
        seed: 1,
        size: 200,
    };
    let report = simulate(&cluster, &Layout(vec![0..10]), &load, 1.0);
    let bound = crate::region::bound::work_bound(&cluster, 50.0, 100.0);
    let part = report.decode_tokens_per_second / bound;
    assert!((0.9..=1.0).contains(&part), "{part} of {bound}: {report:?}");
}

#[test]
fn routing_by_rate_sends_to_all_that_can_go_on() {
    let mut cluster = chain(3, 10, 1e6);
    cluster.links[1] = None;
    // Node 0 ends at 5, where both others may take over, but there is no link to node 1.
    let routing = Routing::by_rate(&cluster, &Layout(vec![0..5, 5..10, 3..10]));
    assert_eq!(
        routing.0,
        [vec![(2, 100.0)], vec![(3, 1.0)], vec![(3, 1.0)], vec![(0, 100.0)]]
    );
    assert_eq!(routing.groups(), [vec![0, 2]]);
}

#[test]
fn routing_by_rate_leads_over_links_that_are_there_and_nowhere_else() {
    let mut random = crate::random::Random::seeded(7);
    let mut served = [0, 0];
    for _ in 0..300 {
        let mut cluster = chain(4, 10, 1e6);
        let width = cluster.door() + 1;
        for link in &mut cluster.links {
            if random.below(2) == 0 {
                *link = None;
            }
        }
        let layout = Layout(vec![0..5, 0..5, 5..10, 3..10]);
        let passes = |from: usize, to: usize| cluster.links[from * width + to].is_some();
        let reaches = (0..2).any(|first| {
            let onward = (2..4).any(|last| passes(first, last) && passes(last, 4));
            passes(4, first) && onward
        });
        let routing = Routing::by_rate(&cluster, &layout);
        let report = run(&Scenario {
            cluster: &cluster,
            layout: &layout,
            routing: &routing,
            load: &one(200, 4),
            admission: Admission {
                answer_tokens: 10.0,
                high_water: 1.0,
            },
            window: Window {
                warm_up: 0.0,
                seconds: 1_000.0,
            },
        });
        assert_eq!(report.decode_tokens_per_second > 0.0, reaches, "{routing:?}");
        served[usize::from(reaches)] += 1;
    }
    assert!(served.iter().all(|count| *count > 20), "{served:?}");
}
