//! Users who move through a business district, and sessions that follow them or do not.
//!
//! The sites are those of the EUA data set: 125 base stations of Melbourne, each with its cell. Walkers and drivers (1 to
//! 15 m/s) go from waypoint to waypoint, an epoch is a second. Serving a session from another site than the user's own
//! costs with the distance, and a move costs a pause while the session's keys and values are on their way.

use super::{Row, Run};
use crate::{
    data,
    mobility::{
        Moves, Outcome, Policy, Service, Trace,
        fleet::{Budget, Fleet, Kind},
        follow, offline,
        policy::{Always, Myopic, Nearest, Never, RentOrBuy, WorkFunction},
        predict::{Chain, Horizon, Outlook, Predictive},
        relocate::{self, Session, Way},
        waypoint::{Place, Walkers},
    },
    units::{Bytes, BytesPerSecond, Nanos},
};

/// Metres of a degree of latitude, and what of it a degree of longitude has in Melbourne (cos 37.81°).
const METRES_PER_DEGREE: f64 = 111_320.0;
const LONGITUDE_SHARE: f64 = 0.790;
/// Decimetres a second: a walker's metre to a driver's 15.
const SPEEDS: (u64, u64) = (10, 150);
/// A backhaul hop: its latency, and one more for so many decimetres.
const HOP: Nanos = Nanos(500_000);
const HOP_LENGTH: u64 = 3_000;
/// Tokens of a user in an epoch, each of which makes the way.
const TOKENS: u64 = 10;
/// Users and seconds that are short enough to know the optimum.
const JUDGED_USERS: usize = 50;
const JUDGED_EPOCHS: usize = 1_200;
/// Sessions of so many tokens, of 32 KiB each: 64 MiB and 512 MiB.
const SHORT: u64 = 2_048;
const LONG: u64 = 16_384;
const SEED_HISTORY: u64 = 1;
const SEED_JUDGED: u64 = 2;

/// The policies on traces that are short enough to know the optimum.
pub(super) fn policies(run: &Run<'_>) -> Vec<Row> {
    [SHORT, LONG]
        .into_iter()
        .flat_map(|context| policies_for(run, context))
        .collect()
}

fn policies_for(run: &Run<'_>, context: u64) -> Vec<Row> {
    let district = District::of(context);
    let (outlook, learning) = run.timed(|| district.outlook());
    let ways = district.ways(JUDGED_USERS, JUDGED_EPOCHS, SEED_JUDGED);
    let (best, knowing) = run.timed(|| district.total(&ways, |trace| offline::optimum(trace).1));
    let nearest_site: Vec<usize> = (0..district.sites.len()).collect();
    let judge = Judge {
        run,
        context,
        district: &district,
        ways: &ways,
        best,
    };
    let learnt = format!("outlook in {learning:.2} s; ");
    let known = format!("optimum in {knowing:.2} s; ");
    vec![
        judge.row("with an outlook", &learnt, || Predictive(&outlook)),
        judge.row("work function", &known, WorkFunction::default),
        judge.row("rent or buy", "", RentOrBuy::default),
        judge.row("myopic", "", || Myopic),
        judge.row("always where it is cheapest", "", || Always),
        judge.row("nearest server", "", || Nearest {
            site_of: nearest_site.clone(),
        }),
        judge.row("never", "", || Never),
    ]
}

/// Users whose ways are judged, and what the least cost of these ways is.
struct Judge<'j, 'r> {
    run: &'j Run<'r>,
    context: u64,
    district: &'j District,
    ways: &'j [Vec<usize>],
    best: Outcome,
}

impl Judge<'_, '_> {
    fn row<P: Policy>(&self, name: &str, note: &str, policy: impl Fn() -> P) -> Row {
        let follow = |trace: &Trace<'_>| follow(trace, &mut policy());
        let (outcome, took) = self.run.timed(|| self.district.total(self.ways, follow));
        let note = format!(
            "{note}{JUDGED_USERS} users, {JUDGED_EPOCHS} s; {} moves; the optimum {}",
            outcome.moves, self.best.moves
        );
        let row = Row::new(
            format!("mobility, sessions of {} tokens: {name}", self.context),
            "cost of serving and moving, s",
            seconds(outcome.cost()),
            took,
        );
        row.bound(seconds(self.best.cost())).note(note)
    }
}

/// Many users, and what an epoch takes.
pub(super) fn fleets(run: &Run<'_>) -> Vec<Row> {
    [10_000, 100_000]
        .into_iter()
        .flat_map(|users| fleet(run, users))
        .collect()
}

fn fleet(run: &Run<'_>, users: usize) -> Vec<Row> {
    const EPOCHS: usize = 60;
    let district = District::of(SHORT);
    let outlook = district.outlook();
    let kind = Kind {
        service: &district.service,
        moves: &district.moves,
        outlook: &outlook,
        bytes: district.session_bytes,
    };
    // A quarter more seats than users, and a hundredth of the users may move in an epoch.
    let seats = u32::try_from(users * 5 / 4 / district.sites.len()).unwrap_or(u32::MAX);
    let budget = Budget {
        bytes: district.session_bytes.times(users as u64 / 100),
        price: 5.0,
    };
    let mut walkers = Walkers::around(district.sites.clone(), users, SPEEDS, SEED_JUDGED);
    let seats = vec![seats; district.sites.len()];
    let placed = Fleet::place(&walkers.cells(), &seats, &kind, Some(budget));
    let mut fleet = placed.expect("there are more seats than users");
    let (mut times, mut moves, mut bytes) = (Vec::new(), 0, 0);
    for _epoch in 0..EPOCHS {
        walkers.step();
        let cells = walkers.cells();
        let (moved, took) = run.timed(|| fleet.step(&cells, &kind));
        times.push(took * 1_000.0);
        moves += moved.outcome.moves;
        bytes += moved.bytes.0;
    }
    times.sort_by(f64::total_cmp);
    let note = format!(
        "worst {:.1} ms; {moves} moves, {:.2} of the budget of bytes",
        times[EPOCHS - 1],
        bytes as f64 / (EPOCHS as u64 * budget.bytes.0) as f64,
    );
    let row = Row::new(
        format!("mobility {users} users, 125 sites: an epoch"),
        "time of an epoch of 1 s, ms (median of 60)",
        times[EPOCHS / 2],
        times.iter().sum::<f64>() / 1_000.0,
    );
    vec![
        row.reference(200.0, "our target: 100,000 users")
            .memory((run.peak_memory)())
            .note(note),
    ]
}

/// The sites and what things cost among them.
struct District {
    sites: Vec<Place>,
    service: Service,
    moves: Moves,
    session_bytes: Bytes,
}

impl District {
    /// With sessions of so many tokens.
    fn of(context: u64) -> Self {
        let sites = sites();
        let hops = |one: usize, other: usize| sites[one].distance(sites[other]).div_ceil(HOP_LENGTH);
        let service = Service::of(sites.len(), sites.len(), |cell, site| {
            HOP.times(hops(cell, site) * TOKENS)
        });
        // Over 10 Gbit/s of backhaul; the target computes 1,000 tokens a second.
        let session = Session {
            context,
            cache_per_token: Bytes(32 << 10),
            prefill_per_token: Nanos::from_millis(1),
        };
        let mut session_bytes = Bytes::ZERO;
        let mut moving = Vec::new();
        for from in 0..sites.len() {
            for to in 0..sites.len() {
                let way = Way {
                    latency: HOP.times(hops(from, to)),
                    rate: BytesPerSecond(1_250_000_000),
                };
                let (_, pause, bytes) = relocate::relocation(&session, &way);
                session_bytes = bytes;
                moving.push(pause);
            }
        }
        let moves = Moves::between(sites.len(), |from, to| moving[from * sites.len() + to]);
        Self {
            sites,
            service,
            moves,
            session_bytes,
        }
    }

    /// What users of another day teach.
    fn outlook(&self) -> Outlook {
        let ways = self.ways(500, 600, SEED_HISTORY);
        let chain = Chain::learn(self.sites.len(), ways.iter().map(Vec::as_slice));
        Outlook::solve(&self.service, &self.moves, &chain, Horizon::of_epochs(600.0))
    }

    /// The cells of each user, epoch by epoch.
    fn ways(&self, users: usize, epochs: usize, seed: u64) -> Vec<Vec<usize>> {
        let mut walkers = Walkers::around(self.sites.clone(), users, SPEEDS, seed);
        let mut ways = vec![Vec::with_capacity(epochs); users];
        for _epoch in 0..epochs {
            walkers.step();
            for (way, cell) in ways.iter_mut().zip(walkers.cells()) {
                way.push(cell as usize);
            }
        }
        ways
    }

    /// What all users come to.
    fn total(&self, ways: &[Vec<usize>], outcome: impl Fn(&Trace<'_>) -> Outcome) -> Outcome {
        let mut total = Outcome::default();
        for cells in ways {
            total += outcome(&Trace {
                cells,
                service: &self.service,
                moves: &self.moves,
                start: cells[0],
            });
        }
        total
    }
}

/// The sites in decimetres, around the first of them.
fn sites() -> Vec<Place> {
    let degrees = data::eua_sites();
    let (south, west) = degrees[0];
    let decimetres = |degrees: f64| (degrees * METRES_PER_DEGREE * 10.0).round() as i64;
    let place = |(latitude, longitude): &(f64, f64)| Place {
        east: decimetres((longitude - west) * LONGITUDE_SHARE),
        north: decimetres(latitude - south),
    };
    degrees.iter().map(place).collect()
}

fn seconds(time: Nanos) -> f64 {
    time.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobility::waypoint::nearest;

    #[test]
    fn the_sites_are_a_district_of_some_kilometres() {
        let sites = sites();
        assert_eq!(sites.len(), 125);
        let widest = sites.iter().map(|site| site.distance(sites[0])).max();
        assert!((5_000..50_000).contains(&widest.unwrap_or(0)), "{widest:?} dm");
        assert_eq!(nearest(&sites, sites[7]), 7);
    }
}
