//! Moving users: policies against the optimum, the optimum against all ways, the outlook against all rules, and a fleet
//! against its seats and its budget.

use solver::{
    fixtures::Seeded,
    mobility::{
        Moves, Outcome, Policy, Service, Trace,
        fleet::{Budget, Fleet, Kind},
        follow, offline,
        policy::{Always, Myopic, Never, RentOrBuy, WorkFunction},
        predict::{Chain, Horizon, Outlook, Predictive},
        waypoint::{Place, Walkers, nearest},
    },
    units::{Bytes, Nanos},
};

/// Sites on a line, so that moves are a metric, and service that costs what it likes.
fn random_world(random: &mut Seeded, cells: usize, sites: usize) -> (Service, Moves) {
    let place: Vec<u64> = (0..sites).map(|_| random.between(0, 30)).collect();
    let cost: Vec<u64> = (0..cells * sites).map(|_| random.between(0, 20)).collect();
    (
        Service::of(cells, sites, |cell, site| Nanos(cost[cell * sites + site])),
        Moves::between(sites, |from, to| Nanos(1 + place[from].abs_diff(place[to]))),
    )
}

fn random_way(random: &mut Seeded, cells: usize, epochs: usize) -> Vec<usize> {
    (0..epochs)
        .map(|_| random.between(0, cells as u64 - 1) as usize)
        .collect()
}

/// The least cost of all ways, each tried.
fn tried(trace: &Trace<'_>) -> Nanos {
    let (sites, epochs) = (trace.moves.sites(), trace.cells.len());
    let ways = sites.pow(epochs as u32);
    let cost = |way: usize| {
        let (mut rest, mut at, mut cost) = (way, trace.start, 0);
        for &cell in trace.cells {
            let to = rest % sites;
            rest /= sites;
            cost += trace.moves.cost(at, to).0 + trace.service.row(cell)[to].0;
            at = to;
        }
        Nanos(cost)
    };
    (0..ways).map(cost).min().expect("there is a site")
}

#[test]
fn the_optimum_is_the_least_of_all_ways() {
    let mut random = Seeded::new(1);
    for _ in 0..1_000 {
        let (cells, sites) = (random.between(1, 4) as usize, random.between(1, 3) as usize);
        let (service, moves) = random_world(&mut random, cells, sites);
        let way = random_way(&mut random, cells, 6);
        let trace = Trace {
            cells: &way,
            service: &service,
            moves: &moves,
            start: random.between(0, sites as u64 - 1) as usize,
        };
        let (sites_of, outcome) = offline::optimum(&trace);
        assert_eq!(outcome.cost(), tried(&trace));
        assert_eq!(offline::price(&trace, &sites_of), outcome);
    }
}

#[test]
fn no_policy_beats_the_optimum_and_the_guaranteed_ones_keep_their_word() {
    let mut random = Seeded::new(2);
    for _ in 0..300 {
        let sites = random.between(2, 4) as usize;
        let (service, moves) = random_world(&mut random, 5, sites);
        let way = random_way(&mut random, 5, 200);
        let trace = Trace {
            cells: &way,
            service: &service,
            moves: &moves,
            start: 0,
        };
        let best = offline::optimum(&trace).1.cost().0;
        let policies: [&mut dyn Policy; 5] = [
            &mut Never,
            &mut Always,
            &mut Myopic,
            &mut RentOrBuy::default(),
            &mut WorkFunction::default(),
        ];
        for policy in policies {
            assert!(follow(&trace, policy).cost().0 >= best);
        }
        let widest = 31 * sites as u64;
        let work = follow(&trace, &mut WorkFunction::default()).cost().0;
        let times = 2 * sites as u64 - 1;
        assert!(
            work <= times * best + times * widest,
            "{work} against {best}, {sites} sites"
        );
        if sites == 2 {
            let rent = follow(&trace, &mut RentOrBuy::default()).cost().0;
            assert!(rent <= 3 * best + 4 * widest, "{rent} against {best}");
        }
    }
}

/// The expected discounted cost of a rule, a site for each cell and site, from each of them.
fn worth(rule: &[usize], service: &Service, moves: &Moves, chain: &Chain, discount: f64) -> Vec<f64> {
    let (cells, sites) = (service.cells(), service.sites());
    let mut value = vec![0.0; cells * sites];
    for _ in 0..400 {
        let of = |state: usize| {
            let (cell, site) = (state / sites, state % sites);
            let to = rule[state];
            let now = (moves.cost(site, to).0 + service.row(cell)[to].0) as f64;
            let later = chain.next(cell).iter();
            now + discount
                * later
                    .map(|(next, share)| share * value[next * sites + to])
                    .sum::<f64>()
        };
        value = (0..cells * sites).map(of).collect();
    }
    value
}

#[test]
fn the_outlook_follows_the_best_of_all_rules() {
    let mut random = Seeded::new(3);
    for _ in 0..60 {
        let (service, moves) = random_world(&mut random, 2, 2);
        let history = random_way(&mut random, 2, 12);
        let chain = Chain::learn(2, [&history[..]]);
        let horizon = Horizon {
            discount: 0.9,
            tolerance: 1e-9,
            sweeps_max: 1_000,
        };
        let outlook = Outlook::solve(&service, &moves, &chain, horizon);
        let rules = (0..16_usize).map(|rule| (0..4).map(|state| rule >> state & 1).collect::<Vec<_>>());
        for state in 0..4 {
            let (cell, site) = (state / 2, state % 2);
            let least = rules
                .clone()
                .map(|rule| worth(&rule, &service, &moves, &chain, 0.9)[state])
                .fold(f64::INFINITY, f64::min);
            let expected = (0..2)
                .map(|to| moves.cost(site, to).0 as f64 + outlook.expected(cell)[to])
                .fold(f64::INFINITY, f64::min);
            assert!((least - expected).abs() < 1e-6, "{least} against {expected}");
        }
    }
}

#[test]
fn a_chain_counts_what_users_did_and_expects_the_unknown_to_stay() {
    let chain = Chain::learn(3, [&[0, 1, 0, 0][..], &[0, 1][..]]);
    assert_eq!(chain.next(0), [(0, 1.0 / 3.0), (1, 2.0 / 3.0)]);
    assert_eq!(chain.next(1), [(0, 1.0)]);
    assert_eq!(chain.next(2), [(2, 1.0)]);
}

/// A street of sites 300 m apart, with walkers; service costs with the distance, moves a constant and the distance.
struct Street {
    sites: Vec<Place>,
    service: Service,
    moves: Moves,
}

fn street(sites: usize) -> Street {
    let sites: Vec<Place> = (0..sites as i64)
        .map(|site| Place {
            east: site * 3_000,
            north: site % 2 * 500,
        })
        .collect();
    let distance = |one: usize, other: usize| sites[one].distance(sites[other]);
    Street {
        service: Service::of(sites.len(), sites.len(), |cell, site| {
            Nanos(distance(cell, site) * 100)
        }),
        moves: Moves::between(sites.len(), |from, to| Nanos(2_000_000 + distance(from, to) * 50)),
        sites,
    }
}

/// The cells of so many walkers, by epoch.
fn walks(street: &Street, users: usize, epochs: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut walkers = Walkers::around(street.sites.clone(), users, (10, 150), seed);
    let step = |_| {
        walkers.step();
        walkers.cells()
    };
    (0..epochs).map(step).collect()
}

fn outlook_of(street: &Street) -> Outlook {
    let history = walks(street, 50, 300, 8);
    let way = |user: usize| {
        history
            .iter()
            .map(|cells| cells[user] as usize)
            .collect::<Vec<_>>()
    };
    let ways: Vec<_> = (0..50).map(way).collect();
    let chain = Chain::learn(street.sites.len(), ways.iter().map(Vec::as_slice));
    Outlook::solve(&street.service, &street.moves, &chain, Horizon::of_epochs(60.0))
}

#[test]
fn a_fleet_with_room_and_without_a_budget_does_what_each_user_would_do() {
    let street = street(8);
    let outlook = outlook_of(&street);
    let kind = Kind {
        service: &street.service,
        moves: &street.moves,
        outlook: &outlook,
        bytes: Bytes(1_000),
    };
    let epochs = walks(&street, 40, 120, 9);
    let mut fleet = Fleet::place(&epochs[0], &[40; 8], &kind, None).unwrap();
    let start = fleet.site_of().to_vec();
    let mut together = Outcome::default();
    for cells in &epochs {
        together += fleet.step(cells, &kind).outcome;
    }
    let mut alone = Outcome::default();
    for (user, start) in start.iter().enumerate() {
        let cells: Vec<_> = epochs.iter().map(|cells| cells[user] as usize).collect();
        let trace = Trace {
            cells: &cells,
            service: &street.service,
            moves: &street.moves,
            start: *start as usize,
        };
        alone += follow(&trace, &mut Predictive(&outlook));
    }
    assert_eq!(together, alone);
    assert!(together.moves > 0, "users who cross eight cells move");
}

#[test]
fn seats_are_never_overdrawn_and_those_who_gain_most_move_first() {
    let street = street(6);
    let outlook = outlook_of(&street);
    let kind = Kind {
        service: &street.service,
        moves: &street.moves,
        outlook: &outlook,
        bytes: Bytes(1_000),
    };
    let seats = [9, 9, 8, 8, 9, 9];
    let epochs = walks(&street, 50, 200, 10);
    let mut fleet = Fleet::place(&epochs[0], &seats, &kind, None).unwrap();
    let mut without_seat = 0;
    for cells in &epochs {
        without_seat += fleet.step(cells, &kind).without_seat;
        let mut taken = [0; 6];
        for site in fleet.site_of() {
            taken[*site as usize] += 1;
        }
        for (site, (taken, seats)) in taken.iter().zip(seats).enumerate() {
            assert_eq!(taken + fleet.free()[site], seats, "site {site}");
        }
    }
    assert!(
        without_seat > 0,
        "two seats to spare are not enough for all wishes"
    );
    let refused = Fleet::place(&[0; 53], &seats, &kind, None).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "53 users need as many seats; all sites together have 52"
    );
}

#[test]
fn a_budget_holds_in_the_long_run_and_none_moves_when_it_is_nothing() {
    let street = street(8);
    let outlook = outlook_of(&street);
    let kind = Kind {
        service: &street.service,
        moves: &street.moves,
        outlook: &outlook,
        bytes: Bytes(1_000),
    };
    let epochs = walks(&street, 100, 600, 11);
    let run = |budget: Option<Budget>| {
        let mut fleet = Fleet::place(&epochs[0], &[100; 8], &kind, budget).unwrap();
        let mut bytes = 0;
        for cells in &epochs {
            bytes += fleet.step(cells, &kind).bytes.0;
        }
        (bytes, fleet.debt().0)
    };
    let free = run(None).0;
    let budget = Budget {
        bytes: Bytes(free / 600 / 2),
        price: 100.0,
    };
    let (moved, debt) = run(Some(budget));
    assert!(moved <= 600 * budget.bytes.0 + debt, "{moved} bytes");
    assert!(
        moved < free * 6 / 10,
        "{moved} of {free} bytes are not half of them"
    );
    assert!(
        moved > free * 3 / 10,
        "{moved} of {free} bytes leave the budget unused"
    );
    let nothing = Budget {
        bytes: Bytes::ZERO,
        price: 1.0,
    };
    assert_eq!(run(Some(nothing)), (0, 0));
}

#[test]
fn walkers_stay_among_the_sites_and_are_the_same_for_a_seed() {
    let street = street(5);
    assert_eq!(walks(&street, 20, 50, 3), walks(&street, 20, 50, 3));
    assert_ne!(walks(&street, 20, 50, 3), walks(&street, 20, 50, 4));
    let visited: std::collections::BTreeSet<_> = walks(&street, 20, 400, 3).into_iter().flatten().collect();
    assert_eq!(visited.len(), 5, "in 400 s somebody comes by everywhere");
    let place = |east| Place { east, north: 0 };
    assert_eq!(nearest(&street.sites, place(3_100)), 1);
    assert_eq!(nearest(&[place(0), place(2)], place(1)), 0);
}
