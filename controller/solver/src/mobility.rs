//! Where a moving user's session is served, epoch by epoch: at which site, and when it moves after its user.
//!
//! An epoch costs what serving the user from the session's site costs ([`Epoch::service`]), and a move costs once
//! ([`Moves`]). Nobody knows where users go, so a [`Policy`] decides with what it has seen; [`offline`] knows all of a
//! [`Trace`] and says what the least cost would have been. This is a metrical task system (Borodin, Linial and Saks, J. ACM
//! 1992) with the sites as its states.
//!
//! ```text
//! relocate ─▶ what a move costs         policy, predict ─▶ when to move one session
//! offline ─▶ the least cost afterwards  fleet ─▶ all sessions, with seats at sites and a budget of bytes
//! ```
//!
//! All costs are in the solver's one currency, nanoseconds.

pub mod fleet;
pub mod offline;
pub mod policy;
pub mod predict;
pub mod relocate;
pub mod waypoint;

pub use policy::Policy;

use crate::units::Nanos;

/// What moves between sites cost, for one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moves {
    sites: usize,
    /// From row to column.
    cost: Vec<Nanos>,
}

impl Moves {
    /// Costs by `cost(from, to)` between so many sites. To stay costs nothing, whatever `cost` says.
    #[must_use]
    pub fn between(sites: usize, cost: impl Fn(usize, usize) -> Nanos) -> Self {
        let pairs = (0..sites).flat_map(|from| (0..sites).map(move |to| (from, to)));
        let cost = pairs.map(|(from, to)| if from == to { Nanos::ZERO } else { cost(from, to) });
        Self {
            sites,
            cost: cost.collect(),
        }
    }

    /// Number of sites.
    #[must_use]
    pub fn sites(&self) -> usize {
        self.sites
    }

    /// What a move costs.
    ///
    /// # Panics
    /// When there is no such site.
    #[must_use]
    pub fn cost(&self, from: usize, to: usize) -> Nanos {
        self.cost[from * self.sites + to]
    }
}

/// What is known of a user in an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Epoch<'t> {
    /// The cell that the user is in.
    pub cell: usize,
    /// What serving the user from each site costs in this epoch.
    pub service: &'t [Nanos],
}

/// A user's way through cells, with what it cost to be served from each site on it.
#[derive(Clone, Debug)]
pub struct Trace<'t> {
    /// The cell in each epoch.
    pub cells: &'t [usize],
    /// What an epoch costs, by cell and site.
    pub service: &'t Service,
    /// What moves cost.
    pub moves: &'t Moves,
    /// The site of the session before the first epoch.
    pub start: usize,
}

/// What an epoch costs from each site, by the cell that the user is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    sites: usize,
    /// Cells in rows, sites in columns.
    cost: Vec<Nanos>,
}

impl Service {
    /// Costs by `cost(cell, site)`.
    #[must_use]
    pub fn of(cells: usize, sites: usize, cost: impl Fn(usize, usize) -> Nanos) -> Self {
        let pairs = (0..cells).flat_map(|cell| (0..sites).map(move |site| (cell, site)));
        Self {
            sites,
            cost: pairs.map(|(cell, site)| cost(cell, site)).collect(),
        }
    }

    /// Number of cells.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.cost.len().checked_div(self.sites).unwrap_or(0)
    }

    /// Number of sites.
    #[must_use]
    pub fn sites(&self) -> usize {
        self.sites
    }

    /// The costs of all sites for a user in this cell.
    ///
    /// # Panics
    /// When there is no such cell.
    #[must_use]
    pub fn row(&self, cell: usize) -> &[Nanos] {
        &self.cost[cell * self.sites..(cell + 1) * self.sites]
    }
}

impl Trace<'_> {
    /// Each epoch in turn.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch<'_>> {
        self.cells.iter().map(|&cell| Epoch {
            cell,
            service: self.service.row(cell),
        })
    }
}

/// What came of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What serving cost.
    pub service: Nanos,
    /// What moving cost.
    pub moving: Nanos,
    /// How often the session moved.
    pub moves: u64,
}

impl Outcome {
    /// All of it.
    #[must_use]
    pub fn cost(&self) -> Nanos {
        self.service + self.moving
    }

    /// Another epoch, for which the session came from `from` to `to`.
    pub(crate) fn add(&mut self, epoch: &Epoch<'_>, moves: &Moves, from: usize, to: usize) {
        self.service += epoch.service[to];
        self.moving += moves.cost(from, to);
        self.moves += u64::from(from != to);
    }
}

impl std::ops::AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.service += other.service;
        self.moving += other.moving;
        self.moves += other.moves;
    }
}

/// Follows a trace as `policy` decides.
pub fn follow(trace: &Trace<'_>, policy: &mut dyn Policy) -> Outcome {
    let (mut outcome, mut site) = (Outcome::default(), trace.start);
    for epoch in trace.epochs() {
        let next = policy.decide(&epoch, trace.moves, site);
        outcome.add(&epoch, trace.moves, site, next);
        site = next;
    }
    outcome
}
