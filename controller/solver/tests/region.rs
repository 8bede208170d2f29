//! Throughput of regions, judged by code that shares nothing with the search: a maximum flow by augmenting paths on the graph
//! of nodes, and brute force over all layouts of thousands of small random instances.

mod judge;

use solver::Budget;
use solver::random::Random;
use solver::region::bound::{Supply, supplies, upper_bound};
use solver::region::convoy::{Demand, Model, Plan};
use solver::region::search::{Goal, chain_per_type, improve, search};
use solver::region::{Cluster, LayerTimes, Layout, Limits, Link, Node, NodeType, Times, cover, flow, linked};

/// A random cluster: few nodes of few types, some links missing, some slow.
fn cluster(random: &mut Random, num_layers: usize, num_nodes: usize, slow_links: bool) -> Cluster {
    let num_types = 1 + random.below(2);
    let types = (0..num_types)
        .map(|kind| node_type(random, kind, num_layers))
        .collect();
    let nodes = (0..num_nodes)
        .map(|_| Node {
            kind: random.below(num_types),
        })
        .collect();
    let links = (0..(num_nodes + 1) * (num_nodes + 1)).map(|_| {
        let rate = if slow_links {
            1.0 + random.unit() * 60.0
        } else {
            1e9
        };
        let missing = slow_links && random.below(6) == 0;
        (!missing).then_some(Link { rate, latency: 0.0 })
    });
    Cluster {
        num_layers,
        activation_bytes: 2.0,
        token_bytes: 1.0,
        types,
        nodes,
        links: links.collect(),
    }
}

/// Throughputs that fall with layers, though not always in proportion.
fn node_type(random: &mut Random, kind: usize, num_layers: usize) -> NodeType {
    let layers_max = 1 + random.below(num_layers);
    let mut rate = 10.0 + 40.0 * random.unit();
    let tokens_per_second = (0..layers_max).map(|_| {
        let now = rate;
        rate *= 0.4 + 0.6 * random.unit();
        now
    });
    let times = Times::new(&[(1.0, 1.0)]).expect("times");
    NodeType {
        name: format!("type {kind}"),
        times: LayerTimes {
            prompt: times.clone(),
            decode: times,
        },
        limits: vec![
            Limits {
                kv_tokens: 1e4,
                prompts_max: 1,
                sequences_max: 10
            };
            layers_max
        ],
        tokens_per_second: tokens_per_second.collect(),
    }
}

fn any_layout(random: &mut Random, cluster: &Cluster) -> Layout {
    let range = |node| {
        let layers = random.below(cluster.type_of(node).layers_max() + 1);
        let start = random.below(cluster.num_layers - layers + 1);
        start..start + layers
    };
    Layout((0..cluster.nodes.len()).map(range).collect())
}

#[test]
fn the_flow_of_a_layout_is_that_of_the_judge() {
    let mut random = Random::seeded(11);
    for case in 0..3_000 {
        let num_layers = 1 + random.below(6);
        let num_nodes = 1 + random.below(6);
        let cluster = cluster(&mut random, num_layers, num_nodes, case % 2 == 0);
        let layout = any_layout(&mut random, &cluster);
        let ours = flow::max_flow(&cluster, &layout);
        let judged = judge::max_flow(&cluster, &layout);
        assert!(
            (ours.value - judged).abs() < 1e-6,
            "case {case}: {} is {judged}",
            ours.value
        );
        judge::conserves(&cluster, &layout, &ours).unwrap_or_else(|why| panic!("case {case}: {why}"));
    }
}

#[test]
fn without_binding_links_the_flow_is_the_least_cover() {
    let mut random = Random::seeded(12);
    for case in 0..2_000 {
        let num_layers = 1 + random.below(8);
        let num_nodes = 1 + random.below(7);
        let cluster = cluster(&mut random, num_layers, num_nodes, false);
        let layout = any_layout(&mut random, &cluster);
        let passed = |layer: usize| -> f64 {
            let holders = layout
                .0
                .iter()
                .enumerate()
                .filter(|(_, range)| range.contains(&layer));
            holders
                .map(|(node, range)| cluster.type_of(node).tokens_per_second[range.len() - 1])
                .sum()
        };
        let least = (0..num_layers).map(passed).fold(f64::INFINITY, f64::min);
        let value = judge::max_flow(&cluster, &layout);
        assert!((value - least).abs() < 1e-6, "case {case}: {value} is {least}");
    }
}

#[test]
fn the_bound_is_never_below_the_best_layout_nor_the_search_above_it() {
    let mut random = Random::seeded(13);
    let (mut reached, mut cases) = (0, 0);
    for case in 0..2_000 {
        let num_layers = 1 + random.below(4);
        let num_nodes = 1 + random.below(4);
        let cluster = cluster(&mut random, num_layers, num_nodes, false);
        let best = judge::best_flow(&cluster);
        let supplies = supplies(&cluster);
        let upper = upper_bound(&supplies, num_layers);
        assert!(
            upper >= best * (1.0 - 1e-9),
            "case {case}: bound {upper} is below {best}"
        );
        let found = cover::search(&supplies, num_layers, upper, case, &Budget::steps(3_000));
        // Nodes that do not hold the model together have no cover, and no flow.
        let flow = found.map_or(0.0, |found| found.flow);
        assert!(flow <= best * (1.0 + 1e-9), "case {case}: {flow} is above {best}");
        cases += 1;
        reached += u32::from(flow >= best * (1.0 - 1e-9));
    }
    assert!(
        reached * 100 >= cases * 99,
        "the search reached the optimum in {reached} of {cases}"
    );
}

#[test]
fn the_bound_holds_with_slow_links_too() {
    let mut random = Random::seeded(14);
    for case in 0..1_000 {
        let num_layers = 1 + random.below(4);
        let num_nodes = 1 + random.below(3);
        let cluster = cluster(&mut random, num_layers, num_nodes, true);
        let best = judge::best_flow(&cluster);
        let upper = upper_bound(&supplies(&cluster), num_layers);
        assert!(
            upper >= best * (1.0 - 1e-9),
            "case {case}: bound {upper} is below {best}"
        );
    }
}

#[test]
fn more_nodes_never_lower_the_bound() {
    let mut random = Random::seeded(15);
    for _ in 0..500 {
        let num_layers = 1 + random.below(20);
        let rates: Vec<f64> = node_type(&mut random, 0, num_layers).tokens_per_second;
        let fleet = |count| {
            vec![Supply {
                count,
                tokens_per_second: rates.clone(),
            }]
        };
        let bounds: Vec<f64> = (0..30)
            .map(|count| upper_bound(&fleet(count), num_layers))
            .collect();
        assert!(
            bounds.windows(2).all(|pair| pair[0] <= pair[1] * (1.0 + 1e-9)),
            "{bounds:?}"
        );
    }
}

#[test]
fn the_search_where_links_bind_is_legal_and_never_above_the_best_layout() {
    let mut random = Random::seeded(16);
    let (mut reached, mut cases) = (0, 0);
    for case in 0..400 {
        let num_layers = 1 + random.below(4);
        let num_nodes = 1 + random.below(3);
        let cluster = cluster(&mut random, num_layers, num_nodes, true);
        let best = judge::best_flow(&cluster);
        let upper = upper_bound(&supplies(&cluster), num_layers);
        let Some(found) = linked::find(&cluster, None, upper, case, &Budget::steps(1_500)) else {
            continue;
        };
        assert!(
            (judge::max_flow(&cluster, &found.layout) - found.flow).abs() < 1e-6,
            "case {case}"
        );
        assert!(
            found.flow <= best * (1.0 + 1e-9),
            "case {case}: {} is above {best}",
            found.flow
        );
        cases += 1;
        reached += u32::from(found.flow >= best * (1.0 - 1e-9));
    }
    assert!(cases > 100, "{cases}");
    assert!(
        reached * 10 >= cases * 9,
        "the search reached the optimum in {reached} of {cases}"
    );
}

const DEMAND: Demand = Demand {
    prompt: 100.0,
    answer: 20.0,
    mark: 0.8,
    convoys: 3.0,
};

#[test]
fn plans_of_the_search_can_be_loaded_and_have_the_score_that_is_said() {
    let mut random = Random::seeded(17);
    let mut found_any = 0;
    for case in 0..60 {
        let cluster = cluster(&mut random, 6, 5, false);
        let model = Model::new(&cluster, DEMAND);
        let score = |plan: &Plan| model.forecast(plan).map(|forecast| forecast.flow);
        let goal = Goal {
            cluster: &cluster,
            score: &score,
        };
        let found = search(goal, case, &Budget::steps(4_000));
        assert_eq!(
            found,
            search(goal, case, &Budget::steps(4_000)),
            "the same seed, the same plans"
        );
        for found in &found {
            found.plan.layout().check(&cluster).expect("a legal layout");
            assert_eq!(score(&found.plan), Some(found.score));
            let better = improve(goal, &found.plan, case, &Budget::steps(500)).expect("the plan can be");
            assert!(better.score >= found.score);
            better.plan.layout().check(&cluster).expect("a legal layout");
        }
        found_any += u32::from(!found.is_empty());
    }
    assert!(found_any > 20, "{found_any}");
}

#[test]
fn a_cancelled_search_of_plans_ends_at_once() {
    let mut random = Random::seeded(18);
    let cluster = cluster(&mut random, 4, 6, false);
    let score = |_: &Plan| Some(1.0);
    let budget = Budget {
        steps: u64::MAX,
        cancelled: &|| true,
    };
    assert!(
        search(
            Goal {
                cluster: &cluster,
                score: &score
            },
            1,
            &budget
        )
        .is_empty()
    );
}

#[test]
fn chains_per_type_can_be_loaded_and_take_each_node_once() {
    let mut random = Random::seeded(19);
    let mut found_any = 0;
    for _ in 0..300 {
        let num_nodes = 1 + random.below(8);
        let cluster = cluster(&mut random, 6, num_nodes, false);
        let Some(plan) = chain_per_type(&cluster) else {
            continue;
        };
        plan.layout().check(&cluster).expect("a legal layout");
        for (group, cuts) in plan.cuts.iter().enumerate() {
            let members = plan.seats.iter().flatten().filter(|seat| seat.0 == group).count();
            assert_eq!(members + 1, cuts.len(), "one node in each part");
        }
        found_any += 1;
    }
    assert!(found_any > 50, "{found_any}");
}
