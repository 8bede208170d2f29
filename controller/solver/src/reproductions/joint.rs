//! All services of a metropolitan area at once: how good the plan is known to be, and what events cost.
//!
//! The instances are [`Metro`] areas: a tenth of the machines are large, every fifth service asks a model that no small machine
//! holds, users enter at the gate of their region.

use std::num::NonZeroUsize;

use super::{Row, Run};
use crate::Budget;
use crate::joint::fixtures::Metro;
use crate::joint::{Certificate, Event, JointProblem, JointSession, check};
use crate::units::NodeOrd;

const SEED: u64 = 1;
/// Gap at which the work ends, in parts of the bound.
const ENOUGH: f64 = 0.05;
/// Steps for one plan.
const STEPS: u64 = 2_000_000_000;
/// Users who move, and machines that are lost and come back.
const MOVES: usize = 40;
const LOSSES: usize = 10;

/// 1,000 nodes, 100 services and 20,000 users.
pub(super) fn metro(run: &Run<'_>) -> Vec<Row> {
    rows(run, (1_000, 100, 20_000))
}

/// A tenth of it, for how time grows.
pub(super) fn tenth(run: &Run<'_>) -> Vec<Row> {
    rows(run, (100, 10, 2_000))
}

fn rows(run: &Run<'_>, (nodes, services, users): (u32, u32, u32)) -> Vec<Row> {
    let metro = Metro {
        nodes,
        regions: (nodes / 20).max(2),
        services,
        users,
        seed: SEED,
    };
    let name = format!("joint {nodes} nodes {services} services {users} users");
    let problem = metro.problem();
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let ((mut session, indexing), seconds) = run.timed(|| {
        let (session, indexing) = run.timed(|| JointSession::new(problem.clone(), threads));
        let mut session = session.expect("an area is meaningful");
        session.solve(ENOUGH, &Budget::steps(run.share(STEPS)));
        (session, indexing)
    });
    let certificate = session.certificate();
    let plan = session.plan();
    let split = plan
        .replicas
        .iter()
        .filter(|replica| replica.shape.stages.len() > 1);
    let planned = Row::new(
        name.clone(),
        "worth of the plan, part of what all answers would be worth",
        part(&certificate, certificate.value),
        seconds,
    )
    .bound(part(&certificate, certificate.bound))
    .memory((run.peak_memory)())
    .note(format!(
        "target: gap 5 % in 10 s; {} classes, {} replicas, {} of them split; indexed in {indexing:.2} s; {:.0} million steps; {} \
         faults by the checker",
        problem.classes.len(),
        plan.replicas.len(),
        split.count(),
        session.steps() as f64 / 1e6,
        check(&problem, &plan).len(),
    ));
    vec![planned, event_row(run, &name, &problem, &mut session)]
}

fn part(certificate: &Certificate, worth: i128) -> f64 {
    worth as f64 / certificate.demanded.max(1) as f64
}

/// Users who move from one class to the next of their service, and machines that come and go.
fn event_row(run: &Run<'_>, name: &str, problem: &JointProblem, session: &mut JointSession) -> Row {
    let before = session.certificate().gap();
    let mut timed = |event| {
        let (_, seconds) = run.timed(|| session.handle(event, &Budget::default()));
        seconds * 1e3
    };
    let stride = problem.classes.len() / MOVES;
    let mut moves = Vec::new();
    for class in (0..MOVES).map(|at| at * stride) {
        let asked = problem.classes[class].rate_micro;
        let doubled = Event::Rate {
            class: u32::try_from(class).expect("classes have ordinals"),
            rate_micro: asked * 2,
        };
        moves.push(timed(doubled));
    }
    let mut losses = Vec::new();
    for node in (0..LOSSES).map(|at| at * problem.fleet.nodes.len() / LOSSES + 1) {
        let node = NodeOrd::from_index(node);
        losses.push(timed(Event::NodeLost(node)));
        losses.push(timed(Event::NodeBack(node)));
    }
    for times in [&mut moves, &mut losses] {
        times.sort_by(f64::total_cmp);
    }
    let all = moves.iter().chain(&losses).sum::<f64>() / 1e3;
    Row::new(
        format!("{name} events"),
        "ms per event, median",
        moves[moves.len() / 2],
        all,
    )
    .reference(50.0, "our target")
    .memory((run.peak_memory)())
    .note(format!(
        "{MOVES} classes that ask twice as much, slowest {:.2} ms; {LOSSES} nodes lost and back, median {:.2} ms, slowest {:.2} \
         ms; gap {before:.4} before, {:.4} after",
        moves[moves.len() - 1],
        losses[losses.len() / 2],
        losses[losses.len() - 1],
        session.certificate().gap(),
    ))
}
