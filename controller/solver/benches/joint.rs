//! Times the plan of all services of a metropolitan area: `cargo bench -p solver --bench joint`.
//!
//! Prints, for growing numbers of nodes, services and users, what the plan is worth, the bound on all plans, the gap between
//! them, and what an event costs. Never fails because of time. A size may be given: nodes, services, users, seeds
//! (`cargo bench -p solver --bench joint -- 1000 100 20000 1`).

#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::cast_precision_loss,
    reason = "a benchmark reads the clock and prints"
)]

use std::num::NonZeroUsize;
use std::time::Instant;

use solver::Budget;
use solver::joint::fixtures::Metro;
use solver::joint::{Event, JointSession, check};
use solver::units::NodeOrd;

/// Gap at which the work ends, in parts of the bound.
const ENOUGH: f64 = 0.05;

/// Steps for one plan.
const STEPS: u64 = 4_000_000_000;

fn main() {
    let asked: Vec<u32> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let sizes = match asked.as_slice() {
        [nodes, services, users, ..] => vec![(*nodes, *services, *users)],
        _ => vec![(100, 20, 2_000), (300, 40, 6_000), (1_000, 100, 20_000)],
    };
    let seeds = u64::from(asked.get(3).copied().unwrap_or(2));
    println!(
        "{:>6} {:>8} {:>6} {:>4} {:>7} {:>8} {:>8} {:>7} {:>7} {:>6} {:>8} {:>9} {:>9}",
        "nodes",
        "services",
        "users",
        "seed",
        "classes",
        "index s",
        "solve s",
        "value",
        "bound",
        "gap %",
        "Msteps",
        "move ms",
        "loss ms"
    );
    for (nodes, services, users) in sizes {
        for seed in 1..=seeds {
            run(&Metro {
                nodes,
                regions: (nodes / 20).max(2),
                services,
                users,
                seed,
            });
        }
    }
}

fn run(metro: &Metro) {
    let problem = metro.problem();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let start = Instant::now();
    let mut session = JointSession::new(problem.clone(), threads).expect("a meaningful problem");
    let indexed = start.elapsed().as_secs_f64();
    session.solve(ENOUGH, &Budget::steps(STEPS));
    let solved = start.elapsed().as_secs_f64();
    let (certificate, steps) = (session.certificate(), session.steps());
    let part = |worth: i128| worth as f64 / certificate.demanded.max(1) as f64;
    print!(
        "{:>6} {:>8} {:>6} {:>4} {:>7} {indexed:>8.2} {solved:>8.2} {:>7.4} {:>7.4} {:>6.2} {:>8.1} ",
        metro.nodes,
        metro.services,
        metro.users,
        metro.seed,
        problem.classes.len(),
        part(certificate.value),
        part(certificate.bound),
        certificate.gap() * 100.0,
        steps as f64 / 1e6,
    );
    let (class, asked) = (0, problem.classes[0].rate_micro);
    let moved = Event::Rate {
        class,
        rate_micro: asked * 2,
    };
    let lost = Event::NodeLost(NodeOrd(metro.nodes / 2));
    let mut timed = |event| {
        let start = Instant::now();
        session.handle(event, &Budget::default());
        start.elapsed().as_secs_f64() * 1e3
    };
    println!("{:>9.2} {:>9.2}", timed(moved), timed(lost));
    if problem.classes.len() < 3_000 {
        let mut now = problem;
        now.classes[class as usize].rate_micro = asked * 2;
        now.fleet.nodes[(metro.nodes / 2) as usize].compute_share_milli = 0;
        let faults = check(&now, &session.plan());
        assert!(faults.is_empty(), "the plan is not legal: {faults:?}");
    }
}
