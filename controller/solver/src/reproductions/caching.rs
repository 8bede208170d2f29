//! Shared-block caching: the survey's setting, and grids up to 10,000 servers.

use std::num::NonZeroUsize;

use super::{Row, Run};
use crate::Budget;
use crate::caching::fixtures::{Grid, gpt2_adapters};
use crate::caching::{CachingProblem, CachingSession, Demand, Event, GreedyRule, Server, worth};
use crate::units::{BlockOrd, Bytes, ModelOrd, ReachOrd, ServerOrd};

const OBJECTIVE: &str = "hit ratio";

/// Threads of all rows: the machine of the targets has two cores.
const THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("two");

/// Work for a proof of the survey's setting: rounds of the dual and of rebuilding, then steps of branch and bound.
const PROOF_ROUNDS: u32 = 3;
const PROOF_DUAL_STEPS: u32 = 100;
const PROOF_STEPS: u64 = 200_000_000;

/// Draws of the survey's setting.
const SEEDS: u64 = 3;

fn unlimited() -> Budget<'static> {
    Budget::steps(u64::MAX)
}

fn session(problem: CachingProblem) -> CachingSession {
    CachingSession::new(problem, THREADS).expect("fixtures are meaningful")
}

/// GPT-2 and its adapters at four capacities, with what an optimiser needed seconds for as reference.
pub(super) fn survey(run: &Run<'_>) -> Vec<Row> {
    let published = [(1_000, 0.410), (2_000, 0.698), (3_500, 0.959), (5_000, 0.959)];
    published
        .map(|(megabytes, reference)| {
            survey_row(run, megabytes).reference(
                reference,
                "optimum of our prototype by HiGHS, 2.4 to 5.2 s, three other draws",
            )
        })
        .into()
}

#[allow(clippy::cast_precision_loss, reason = "ratios for printing")]
fn survey_row(run: &Run<'_>, megabytes: u64) -> Row {
    let (mut ours, mut bound, mut greedy, mut independent) = (0.0, 0.0, 0.0, 0.0);
    let (mut seconds, mut proven) = (0.0, 0);
    for seed in 1..=SEEDS {
        let problem = gpt2_adapters(Bytes(megabytes * 1_000_000), seed);
        let demanded: u64 = problem.demands.iter().map(|demand| demand.value).sum();
        let ratio = |value: i64| value as f64 / demanded as f64 / SEEDS as f64;
        let (session, taken) = run.timed(|| proven_session(problem.clone()));
        let certificate = session.certificate();
        seconds += taken / SEEDS as f64;
        proven += u32::from(certificate.is_exact());
        ours += ratio(certificate.value);
        bound += ratio(certificate.bound);
        greedy += ratio(best_greedy(&problem, &problem));
        independent += ratio(best_greedy(&unshared(&problem), &problem));
    }
    Row::new(format!("caching survey gpt2 {} GB", megabytes as f64 / 1e3), OBJECTIVE, ours, seconds)
        .bound(bound)
        .memory((run.peak_memory)())
        .note(format!(
            "12 servers, 40 users, 100 adapters; {proven} of {SEEDS} draws proven; lazy greedy {greedy:.3}, whole models {independent:.3}"
        ))
}

fn proven_session(problem: CachingProblem) -> CachingSession {
    let mut session = session(problem);
    session.place(&unlimited());
    for _ in 0..PROOF_ROUNDS {
        session.tighten(PROOF_DUAL_STEPS, &unlimited());
        session.improve(1, &unlimited());
    }
    session.prove(&Budget::steps(PROOF_STEPS));
    session
}

/// Unpolished greedy by the better rule, as judged by a problem with the same demand.
fn best_greedy(problem: &CachingProblem, judge: &CachingProblem) -> i64 {
    let session = session(problem.clone());
    let placed = [GreedyRule::Gain, GreedyRule::GainPerByte].map(|rule| worth(judge, &session.greedy(rule)));
    placed[0].max(placed[1])
}

/// The same models with nothing shared: independent caching, the baseline of the literature.
fn unshared(problem: &CachingProblem) -> CachingProblem {
    let models = || (0..problem.models.len()).map(ModelOrd::from_index);
    CachingProblem {
        blocks: models().map(|model| problem.model_bytes(model)).collect(),
        models: models().map(|model| vec![BlockOrd(model.0)]).collect(),
        ..problem.clone()
    }
}

/// 10,000 servers, 100,000 users and 1,000 models.
pub(super) fn scale(run: &Run<'_>) -> Vec<Row> {
    [2_000, 3_500, 5_000]
        .into_iter()
        .flat_map(|megabytes| grid_rows(run, 100, megabytes))
        .collect()
}

/// A tenth of it, for how time grows.
pub(super) fn tenth(run: &Run<'_>) -> Vec<Row> {
    grid_rows(run, 32, 5_000)
}

/// Seconds after which no further sweep begins.
const SECONDS_MAX: f64 = 55.0;

/// Steps of the dual: converged to half a percent.
const DUAL_STEPS: u32 = 80;

/// The first answer, and the certified one.
#[allow(clippy::cast_precision_loss, reason = "ratios for printing")]
fn grid_rows(run: &Run<'_>, side: u32, megabytes: u64) -> Vec<Row> {
    let grid = Grid {
        side,
        users: side * side * 10,
        bases: 10,
        adapters: 100,
        capacity: Bytes(megabytes * 1_000_000),
        seed: 1,
    };
    let name = format!(
        "caching grid {}x{}x1000 {} GB",
        side * side,
        grid.users,
        megabytes as f64 / 1e3
    );
    let problem = grid.problem();
    let begin = (run.clock)();
    let taken = || (run.clock)() - begin;
    let mut session = session(problem);
    session.place(&unlimited());
    let row = |session: &CachingSession, what: &str| {
        let certificate = session.certificate();
        let bound = certificate.bound as f64 / certificate.demanded as f64;
        Row::new(
            format!("{name} {what}"),
            OBJECTIVE,
            certificate.hit_ratio(),
            taken(),
        )
        .bound(bound)
        .memory((run.peak_memory)())
    };
    let first = row(&session, "first answer");
    session.tighten(DUAL_STEPS, &unlimited());
    let mut sweeps = 0;
    while taken() < SECONDS_MAX && session.certificate().gap() > 0.02 && sweeps < 8 {
        session.improve(1, &unlimited());
        sweeps += 1;
    }
    let certified = row(&session, "certified").note(format!(
        "{DUAL_STEPS} steps of the dual, {sweeps} sweeps of rebuilding; prototype: gap 0.18 after 58 s"
    ));
    let behind = certified
        .bound
        .map_or(0.0, |bound| 100.0 * (bound - first.ours) / bound);
    let first = first.note(format!(
        "lazy greedy and polishing; nothing is proven yet, the bound is all demand; {behind:.2}% below the bound of the next row"
    ));
    vec![first, certified, event_row(run, &name, session)]
}

/// Demand that changes and moves at these many places.
const EVENTS: usize = 40;

/// What single events take, on top of what was just certified.
fn event_row(run: &Run<'_>, name: &str, mut session: CachingSession) -> Row {
    let before = session.certificate().gap();
    let mut times: Vec<f64> = Vec::new();
    for event in events(session.problem()) {
        let (handled, seconds) = run.timed(|| session.handle(&event, &unlimited()));
        handled.expect("events of a grid are meaningful");
        times.push(seconds * 1e3);
    }
    let structural = times.split_off(EVENTS);
    times.sort_unstable_by(f64::total_cmp);
    let [left, joined, published] = structural[..] else {
        unreachable!("three events follow those of demand");
    };
    Row::new(
        format!("{name} events"),
        "ms per event, median",
        times[EVENTS / 2],
        times.iter().sum::<f64>() / 1e3,
    )
    .memory((run.peak_memory)())
    .note(format!(
        "{EVENTS} changes of demand, slowest {:.2} ms; server left {left:.2}, joined {joined:.2}, model published {published:.2} ms; gap {before:.4} before, {:.4} after",
        times[EVENTS - 1],
        session.certificate().gap()
    ))
}

/// Demands that grow tenfold or move to the next cell, then one event of each other kind.
fn events(problem: &CachingProblem) -> Vec<Event> {
    let stride = problem.demands.len() / EVENTS;
    let next = |reach: ReachOrd| ReachOrd(if reach.0 == 0 { 1 } else { reach.0 - 1 });
    let of_demand = |at: usize| {
        let demand = problem.demands[at * stride];
        if at.is_multiple_of(2) {
            return Event::Demand(Demand {
                value: demand.value * 10,
                ..demand
            });
        }
        Event::Moved {
            model: demand.model,
            value: demand.value,
            from: demand.reach,
            to: next(demand.reach),
        }
    };
    let mut events: Vec<Event> = (0..EVENTS).map(of_demand).collect();
    let demand = problem.demands[problem.demands.len() / 2];
    events.push(Event::ServerLeft(ServerOrd(demand.reach.0)));
    events.push(Event::ServerJoined {
        server: Server {
            capacity: problem.servers[0].capacity,
            held: Vec::new(),
        },
        reaches: vec![demand.reach, next(demand.reach)],
    });
    events.push(Event::ModelPublished {
        own: Bytes(20_000_000),
        shared: vec![problem.models[demand.model.index()][0]],
        demands: vec![(demand.reach, 10_000), (next(demand.reach), 10_000)],
    });
    events
}
