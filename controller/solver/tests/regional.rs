//! Fleets in regions, judged by enumeration and by the independent check.

use super::support::{
    brute_force, least_bottleneck, plain, segment, small_chains, small_regional_chains,
    small_regional_problem,
};
use proptest::prelude::*;
use solver::check::{Occupancy, check_pipeline};
use solver::fixtures::{fleet_in_regions, regional_fleet, round_model, wire};
use solver::problem::{Access, Backbone, InvalidProblem, Privacy, Regions, Segment, SpeedPoint};
use solver::search::{InvalidChange, LinkChange, Tracker, throughput};
use solver::units::{BytesPerSecond, Nanos, NodeOrd, RegionOrd, ServiceOrd, TrustDomainOrd};
use solver::{Budget, Problem, Solution, check, solve};

fn solved(problem: &Problem) -> Solution {
    solve(problem, &Budget::default()).expect("a meaningful problem")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_answer_costs_what_brute_force_finds(problem in small_regional_problem().prop_map(plain)) {
        let solution = solved(&problem);
        let placed = solution.services[0].placed();
        prop_assert_eq!(placed.map(|placed| placed.cost.total()), brute_force(&problem));
        if let Some(placed) = placed {
            prop_assert!(placed.certificate.is_exact());
        }
        prop_assert_eq!(check(&problem, &solution), vec![]);
    }

    /// With penalties, bottlenecks, several precisions and shallow cuts the proof may stay open, but never lies.
    #[test]
    fn no_bound_is_above_the_optimum(problem in small_regional_problem()) {
        let solution = solved(&problem);
        prop_assert_eq!(check(&problem, &solution), vec![]);
        let optimum = brute_force(&problem);
        if let Some(placed) = solution.services[0].placed() {
            let optimum = optimum.expect("what was found exists");
            prop_assert!(placed.certificate.lower_bound <= optimum, "{:?} > {optimum}", placed.certificate);
            prop_assert!(placed.certificate.best >= optimum);
            prop_assert_eq!(placed.certificate.best, placed.cost.total());
        }
    }

    #[test]
    fn the_same_question_has_the_same_answer(problem in small_regional_problem()) {
        prop_assert_eq!(solved(&problem), solved(&problem));
    }

    #[test]
    fn a_small_budget_gives_a_legal_answer_with_a_valid_bound(
        problem in small_regional_problem(),
        steps in 0_u64..50_000,
    ) {
        let hurried = solve(&problem, &Budget::steps(steps)).expect("a meaningful problem");
        prop_assert_eq!(check(&problem, &hurried), vec![]);
        if let (Some(placed), Some(optimum)) = (hurried.services[0].placed(), brute_force(&problem)) {
            prop_assert!(placed.certificate.lower_bound <= optimum && optimum <= placed.certificate.best);
        }
    }
}

/// Changes of links, drawn for whatever is there.
fn changes() -> impl Strategy<Value = Vec<(bool, usize, Segment, Segment)>> {
    prop::collection::vec((any::<bool>(), 0_usize..20, segment(), segment()), 1..6)
}

fn change_of(
    problem: &Problem,
    (access, which, one, other): (bool, usize, Segment, Segment),
) -> Option<LinkChange> {
    let Regions {
        access: ways,
        backbone,
    } = &problem.regions;
    if access {
        let known = *ways.get(which % ways.len().max(1))?;
        Some(LinkChange::Access(Access {
            up: one,
            down: other,
            ..known
        }))
    } else {
        let known = *backbone.get(which % backbone.len().max(1))?;
        Some(LinkChange::Backbone(Backbone {
            segment: one,
            ..known
        }))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_kept_up_to_date_is_what_a_fresh_solve_finds(
        problem in small_regional_chains(),
        made_plain in any::<bool>(),
        changes in changes(),
    ) {
        let problem = if made_plain { plain(problem) } else { problem };
        let mut tracker = Tracker::new(problem, ServiceOrd(0)).expect("a meaningful problem");
        for drawn in changes {
            let Some(change) = change_of(tracker.problem(), drawn) else { continue };
            tracker.change(&change).expect("links that exist");
            let kept = tracker.answer(&Budget::default());
            let fresh = solved(tracker.problem());
            let placed = fresh.services[0].placed();
            prop_assert_eq!(kept.shape.is_some(), placed.is_some());
            if let Some(placed) = placed {
                let optimum = brute_force(tracker.problem()).expect("what was found exists");
                prop_assert!(kept.certificate.lower_bound <= optimum && optimum <= kept.certificate.best);
                if made_plain {
                    prop_assert_eq!(kept.certificate.best, placed.cost.total());
                    prop_assert!(kept.certificate.is_exact());
                }
            }
        }
    }
}

/// Found by the property above: a node that is not trusted, with a link of its own, between two that are.
#[test]
fn what_is_kept_is_proven_beside_a_node_that_may_only_be_in_the_middle() {
    let mut problem = solver::fixtures::smollm_fleet(&[639, 600, 639]);
    problem.models = vec![round_model(5)];
    for node in &mut problem.nodes {
        let point = |(rows, micros)| SpeedPoint {
            rows,
            time: Nanos::from_micros(micros),
        };
        node.speeds[0].layer = [(1, 100), (512, 1_000)].map(point).to_vec();
        node.speeds[0].head = [(1, 100)].map(point).to_vec();
    }
    problem.nodes[1].trust_domain = TrustDomainOrd(1);
    problem.links = vec![wire(0, 1, 94, Nanos::ZERO)];
    let segment = |bytes: u64| Segment {
        rate: BytesPerSecond(bytes),
        spread_milli: 0,
        latency: Nanos::ZERO,
        message_overhead: Nanos::ZERO,
        price_per_mebibyte: Nanos::ZERO,
    };
    let rates = [(125_000, 75_000_000), (125_000, 125_000), (3_875_000, 125_000)];
    for (node, (up, down)) in (0..).zip(rates) {
        problem.regions.access.push(Access {
            node: NodeOrd(node),
            region: RegionOrd(0),
            up: segment(up),
            down: segment(down),
        });
    }
    let within = Backbone {
        from: RegionOrd(0),
        to: RegionOrd(0),
        segment: segment(250_000),
    };
    problem.regions.backbone = vec![within];
    let service = &mut problem.services[0];
    (service.prompt_tokens, service.output_tokens) = (1_179, 50);
    service.privacy = Privacy::Trusted {
        domains: vec![TrustDomainOrd(0)],
        shallow_layers: 0,
    };
    let mut tracker = Tracker::new(plain(problem), ServiceOrd(0)).expect("a meaningful problem");
    tracker
        .change(&LinkChange::Backbone(within))
        .expect("a link that exists");
    let kept = tracker.answer(&Budget::default());
    assert_eq!(Some(kept.certificate.best), brute_force(tracker.problem()));
    assert!(kept.certificate.is_exact(), "{:?}", kept.certificate);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_shortest_bottleneck_is_what_brute_force_finds(
        problem in prop_oneof![small_regional_chains(), small_chains()].prop_map(plain),
        quick_within in any::<bool>(),
    ) {
        let mut problem = problem;
        for backbone in problem.regions.backbone.iter_mut().filter(|it| quick_within && it.from == it.to) {
            (backbone.segment.rate, backbone.segment.message_overhead) = (BytesPerSecond(u64::MAX), Nanos::ZERO);
        }
        let best = throughput(&problem, ServiceOrd(0), &Budget::default()).expect("a meaningful problem");
        let shortest = least_bottleneck(&problem);
        prop_assert!(best.lower_bound <= shortest.unwrap_or(best.lower_bound), "{best:?} {shortest:?}");
        prop_assert!(shortest.unwrap_or(best.bottleneck) <= best.bottleneck, "{best:?} {shortest:?}");
        if let Some(shape) = &best.shape {
            prop_assert_eq!(check_pipeline(&problem, ServiceOrd(0), shape, &Occupancy::default()), vec![]);
        }
        // Regions that are slower within than around are not decided.
        if quick_within || problem.regions.is_empty() {
            prop_assert_eq!(best.shape.map(|_| best.bottleneck), shortest);
        }
    }
}

#[test]
fn a_change_of_what_is_not_there_is_refused() {
    let mut tracker =
        Tracker::new(fleet_in_regions(4, 2, 4, 1), ServiceOrd(0)).expect("a meaningful problem");
    let known = tracker.problem().regions.clone();
    let elsewhere = Access {
        node: NodeOrd(9),
        ..known.access[0]
    };
    let refused = tracker.change(&LinkChange::Access(elsewhere));
    assert_eq!(refused, Err(InvalidChange::NoSuchAccess(NodeOrd(9))));
    let mut still = known.backbone[0];
    still.segment.rate = BytesPerSecond(0);
    assert_eq!(
        tracker.change(&LinkChange::Backbone(still)),
        Err(InvalidChange::ZeroRate)
    );
    let unknown = Backbone {
        to: RegionOrd(3),
        ..known.backbone[0]
    };
    assert_eq!(
        tracker.change(&LinkChange::Backbone(unknown)),
        Err(InvalidChange::NoSuchBackbone)
    );
    assert_eq!(tracker.problem().regions, known);
}

/// Two searches that share nothing but the cost model: over arcs, and over regions.
#[test]
fn a_fleet_in_regions_costs_what_the_same_fleet_with_a_link_for_each_pair_costs() {
    for seed in 1..=12 {
        let mut regional = fleet_in_regions(24, 3, 20, seed);
        let mut linked = regional_fleet(24, 3, 20, seed);
        // Rates so high that a transfer takes one nanosecond, whether on one segment or on three.
        let fast = BytesPerSecond(u64::MAX);
        for access in &mut regional.regions.access {
            (access.up.rate, access.down.rate) = (fast, fast);
            (access.up.message_overhead, access.down.message_overhead) = (Nanos::ZERO, Nanos::ZERO);
        }
        for backbone in &mut regional.regions.backbone {
            (backbone.segment.rate, backbone.segment.message_overhead) = (fast, Nanos::ZERO);
        }
        for link in &mut linked.links {
            (link.rate, link.message_overhead) = (fast, Nanos(2));
        }
        let (one, other) = (solved(&regional), solved(&linked));
        let cost = |solution: &Solution| {
            let placed = solution.services[0].placed().expect("a pipeline");
            assert!(
                placed.certificate.is_exact(),
                "seed {seed}: {:?}",
                placed.certificate
            );
            placed.cost.total()
        };
        assert_eq!(cost(&one), cost(&other), "seed {seed}");
    }
}

#[test]
fn a_hundred_layers_over_a_thousand_nodes_are_proven() {
    let problem = fleet_in_regions(1_000, 10, 100, 7);
    let solution = solved(&problem);
    assert_eq!(check(&problem, &solution), vec![]);
    assert!(
        solution.services[0]
            .placed()
            .expect("a pipeline")
            .certificate
            .is_exact()
    );
}

#[test]
fn a_fleet_of_regions_that_means_nothing_names_the_field() {
    let refused = |change: &dyn Fn(&mut Problem)| -> InvalidProblem {
        let mut problem = fleet_in_regions(4, 2, 4, 1);
        change(&mut problem);
        solve(&problem, &Budget::default()).expect_err("a meaningless problem")
    };
    let still = Segment {
        rate: BytesPerSecond(0),
        ..fleet_in_regions(1, 1, 2, 1).regions.access[0].up
    };
    assert_eq!(
        refused(&|problem| problem.regions.access[1].up = still).field,
        "regions.access[1]"
    );
    assert_eq!(
        refused(&|problem| problem.regions.access[1].node.0 = 0).field,
        "regions.access[1]"
    );
    assert_eq!(
        refused(&|problem| problem.regions.access[2].region = RegionOrd(9)).field,
        "regions.access[2]"
    );
    assert_eq!(
        refused(&|problem| problem.regions.backbone[0].segment = still).field,
        "regions.backbone[0]"
    );
    assert!(
        refused(&|problem| problem.regions.backbone.clear())
            .field
            .ends_with(".region")
    );
}
