//! What changes is taken in: legal, with a valid bound, and close to what a fresh start finds.

use proptest::prelude::*;
use solver::caching::{CachingProblem, CachingSession, Demand, Event, Server, VALUE_MAX, check, worth};
use solver::units::{BlockOrd, Bytes, ModelOrd, ReachOrd, ServerOrd};

use super::{brute_force, grid, session, small_problem, unlimited};

/// An event by a few numbers, fitted to whatever the problem is by then.
fn event(problem: &CachingProblem, kind: u8, (a, b, c, value): (u32, u32, u32, u64)) -> Event {
    let reach = |number: u32| ReachOrd(number % u32::try_from(problem.reaches.len()).expect("few"));
    let model = ModelOrd(b % u32::try_from(problem.models.len()).expect("few"));
    match kind {
        0 => Event::Demand(Demand {
            reach: reach(a),
            model,
            value,
        }),
        1 => {
            let from = reach(a);
            let here = |demand: &&Demand| demand.reach == from && demand.model == model;
            let there: u64 = problem
                .demands
                .iter()
                .filter(here)
                .map(|demand| demand.value)
                .sum();
            Event::Moved {
                model,
                value: value.min(there),
                from,
                to: reach(c),
            }
        }
        2 => Event::ServerLeft(ServerOrd(a % u32::try_from(problem.servers.len()).expect("few"))),
        3 => Event::ServerJoined {
            server: Server {
                capacity: Bytes(u64::from(a % 40)),
                held: vec![BlockOrd(0)],
            },
            reaches: if reach(b) == reach(c) {
                vec![reach(b)]
            } else {
                vec![reach(b), reach(c)]
            },
        },
        _ => {
            // Some model's blocks, or a part of them.
            let mut shared = problem.models[model.index()].clone();
            shared.truncate(1 + c as usize % 3);
            Event::ModelPublished {
                own: Bytes(u64::from(c % 5)),
                shared,
                demands: vec![(reach(a), value), (reach(c), value / 2)],
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn after_every_event_the_placement_is_legal_and_the_bound_holds(
        problem in small_problem(),
        drawn in prop::collection::vec((0_u8..5, (0_u32..60, 0_u32..60, 0_u32..60, 0_u64..1_000_000)), 1..=3),
    ) {
        let mut session = session(&problem);
        session.place(&unlimited());
        session.tighten(30, &unlimited());
        for (kind, numbers) in drawn {
            // Enumeration grows with every server.
            let kind = if kind == 3 && session.problem().servers.len() > 3 { 2 } else { kind };
            let event = event(session.problem(), kind, numbers);
            session.handle(&event, &unlimited()).expect("a meaningful event");
            let (placement, certificate) = (session.placement(), session.certificate());
            prop_assert_eq!(check(session.problem(), &placement), vec![]);
            prop_assert_eq!(worth(session.problem(), &placement), certificate.value, "{:?}", event);
            if session.problem().models.len() <= 5 {
                let optimum = brute_force(session.problem());
                prop_assert!(certificate.value <= optimum && optimum <= certificate.bound, "{event:?} {certificate:?} {optimum}");
            }
        }
        // What the session became is what a fresh one would know.
        session.prove(&unlimited());
        let mut fresh = super::session(session.problem());
        fresh.place(&unlimited());
        fresh.prove(&unlimited());
        prop_assert_eq!(session.certificate(), fresh.certificate());
    }
}

/// A base of the first demand's model, and one demand less in the first cell.
fn events_of_a_grid(problem: &CachingProblem) -> Vec<Event> {
    let asked = problem.demands[problem.demands.len() / 2];
    let base = problem.models[asked.model.index()][0];
    let reach = asked.reach;
    vec![
        Event::Demand(Demand {
            value: asked.value * 20,
            ..asked
        }),
        Event::Moved {
            model: asked.model,
            value: asked.value * 5,
            from: reach,
            to: ReachOrd(0),
        },
        Event::ServerLeft(ServerOrd(reach.0)),
        Event::ServerJoined {
            server: Server {
                capacity: Bytes(5_000_000_000),
                held: Vec::new(),
            },
            reaches: vec![reach, ReachOrd(reach.0 + 1)],
        },
        Event::ModelPublished {
            own: Bytes(30_000_000),
            shared: vec![base],
            demands: vec![(reach, 100_000)],
        },
    ]
}

#[test]
fn a_placement_kept_through_events_stays_close_to_a_fresh_one() {
    let problem = grid(8, 3_500_000_000);
    let mut session = session(&problem);
    session.place(&unlimited());
    session.tighten(60, &unlimited());
    for event in events_of_a_grid(&problem) {
        session.handle(&event, &unlimited()).expect("a meaningful event");
        let certificate = session.certificate();
        assert_eq!(
            check(session.problem(), &session.placement()),
            vec![],
            "{event:?}"
        );
        assert_eq!(
            worth(session.problem(), &session.placement()),
            certificate.value,
            "{event:?}"
        );
        let mut fresh = super::session(session.problem());
        fresh.place(&unlimited());
        fresh.tighten(60, &unlimited());
        let again = fresh.certificate();
        assert!(
            again.value <= certificate.bound && certificate.value <= again.bound,
            "{event:?}"
        );
        let ratio = certificate.value as f64 / again.value as f64;
        assert!(ratio > 0.98, "{event:?}: {ratio}");
    }
}

#[test]
fn what_is_wrong_with_an_event_is_named_and_changes_nothing() {
    let mut session = session(&grid(2, 3_500_000_000));
    session.place(&unlimited());
    let before = session.certificate();
    let mut field = |event: Event| session.handle(&event, &unlimited()).expect_err("nonsense").field;
    let demand = Demand {
        reach: ReachOrd(0),
        model: ModelOrd(0),
        value: 1,
    };
    assert_eq!(
        field(Event::Demand(Demand {
            reach: ReachOrd(4),
            ..demand
        })),
        "reach"
    );
    assert_eq!(
        field(Event::Demand(Demand {
            model: ModelOrd(999),
            ..demand
        })),
        "model"
    );
    assert_eq!(
        field(Event::Demand(Demand {
            value: VALUE_MAX,
            ..demand
        })),
        "value"
    );
    let moved = |from, value| Event::Moved {
        model: ModelOrd(0),
        value,
        from: ReachOrd(from),
        to: ReachOrd(1),
    };
    assert_eq!(field(moved(4, 1)), "from");
    assert_eq!(field(moved(0, 1 << 40)), "value");
    assert_eq!(field(Event::ServerLeft(ServerOrd(4))), "server");
    let joined = |reaches: &[u32]| Event::ServerJoined {
        server: Server::default(),
        reaches: reaches.iter().copied().map(ReachOrd).collect(),
    };
    assert_eq!(field(joined(&[4])), "reaches");
    assert_eq!(field(joined(&[1, 1])), "reaches");
    let published = Event::ModelPublished {
        own: Bytes(1),
        shared: vec![BlockOrd(9_999)],
        demands: Vec::new(),
    };
    assert_eq!(field(published), "shared");
    assert_eq!(session.certificate(), before);
    let _: &CachingSession = &session;
}
