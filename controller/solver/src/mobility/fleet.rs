//! All sessions at once: sites have seats, and moves share a budget of bytes.
//!
//! The budget holds in the long run (Neely, Stochastic Network Optimization, 2010; Ouyang, Zhou and Chen, JSAC 2018, for
//! service migration): what was moved beyond it is a debt, `debt ← max(debt + moved − budget, 0)`, and the larger the debt,
//! the dearer a byte: `price · debt / budget` nanoseconds. A move is made when it saves more than it costs at that price.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{
    Moves, Outcome, Service,
    predict::{Outlook, nanos},
};
use crate::units::{Bytes, Nanos};

/// How often a user whose choice has no seat left may choose again in an epoch.
const CHOICES_MAX: u8 = 4;

/// What sessions, all of one kind, have in common.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'k> {
    /// What an epoch costs.
    pub service: &'k Service,
    /// What moves cost.
    pub moves: &'k Moves,
    /// What both are expected to cost.
    pub outlook: &'k Outlook,
    /// Bytes that a move sends.
    pub bytes: Bytes,
}

/// What moves may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Bytes for each epoch, in the long run.
    pub bytes: Bytes,
    /// What a byte costs, in nanoseconds, while the debt is one epoch's budget.
    pub price: f64,
}

/// Where all sessions are.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// By user.
    site_of: Vec<u32>,
    /// Seats that are free, by site.
    free: Vec<u32>,
    budget: Option<Budget>,
    /// Bytes beyond the budget.
    debt: u64,
}

/// What an epoch brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// What it cost.
    pub outcome: Outcome,
    /// Bytes that moves sent.
    pub bytes: Bytes,
    /// Users who would have moved, had there been a seat.
    pub without_seat: u64,
}

/// Why users cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooFewSeats {
    /// Users.
    pub users: usize,
    /// Seats at all sites.
    pub seats: u64,
}

impl std::fmt::Display for TooFewSeats {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { users, seats } = self;
        write!(
            formatter,
            "{users} users need as many seats; all sites together have {seats}"
        )
    }
}

impl std::error::Error for TooFewSeats {}

/// A move that a user would make.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// What it saves, in nanoseconds.
    gain: f64,
    user: u32,
    to: u32,
    /// How often the user has chosen in this epoch.
    choices: u8,
}

impl Ord for Wish {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then(other.user.cmp(&self.user))
    }
}

impl PartialOrd for Wish {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Wish {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Wish {}

impl Fleet {
    /// Places each user, in order, at the site with a free seat where the least is expected.
    ///
    /// # Errors
    /// When there are more users than seats.
    ///
    /// # Panics
    /// When there are 2^32 users.
    pub fn place(
        cells: &[u32],
        seats: &[u32],
        kind: &Kind<'_>,
        budget: Option<Budget>,
    ) -> Result<Self, TooFewSeats> {
        let too_few = TooFewSeats {
            users: cells.len(),
            seats: seats.iter().copied().map(u64::from).sum(),
        };
        let mut free = seats.to_vec();
        let mut site_of = Vec::with_capacity(cells.len());
        for &cell in cells {
            let expected = kind.outlook.expected(cell as usize);
            let open = (0..free.len()).filter(|&site| free[site] > 0);
            let Some(site) = open.min_by(|one, other| expected[*one].total_cmp(&expected[*other])) else {
                return Err(too_few);
            };
            free[site] -= 1;
            site_of.push(u32::try_from(site).expect("fewer than 2^32 sites"));
        }
        Ok(Self {
            site_of,
            free,
            budget,
            debt: 0,
        })
    }

    /// The next epoch, with users in these cells: the moves that save most come first.
    ///
    /// # Panics
    /// When it is given the cells of other users than it was made for.
    pub fn step(&mut self, cells: &[u32], kind: &Kind<'_>) -> Moved {
        assert_eq!(cells.len(), self.site_of.len(), "a cell for each user");
        let mut moved = Moved::default();
        let penalty = self.price() * kind.bytes.0 as f64;
        let wish = |user: usize| self.wish(user, cells[user] as usize, kind, penalty, |_| true);
        let mut wishes: BinaryHeap<Wish> = (0..cells.len()).filter_map(wish).collect();
        while let Some(next) = wishes.pop() {
            let (user, to) = (next.user as usize, next.to as usize);
            if self.free[to] > 0 {
                let from = self.site_of[user] as usize;
                self.free[to] -= 1;
                self.free[from] += 1;
                self.site_of[user] = next.to;
                moved.outcome.moving += kind.moves.cost(from, to);
                moved.outcome.moves += 1;
                moved.bytes += kind.bytes;
                continue;
            }
            let open = |site: usize| self.free[site] > 0;
            let again = self.wish(user, cells[user] as usize, kind, penalty, open);
            match again {
                Some(again) if next.choices < CHOICES_MAX => wishes.push(Wish {
                    choices: next.choices + 1,
                    ..again
                }),
                _ => moved.without_seat += 1,
            }
        }
        let served = cells.iter().zip(&self.site_of);
        moved.outcome.service = served
            .map(|(cell, site)| kind.service.row(*cell as usize)[*site as usize])
            .sum::<Nanos>();
        if let Some(budget) = self.budget {
            self.debt = (self.debt + moved.bytes.0).saturating_sub(budget.bytes.0);
        }
        moved
    }

    /// What the user would best do, if that is to move.
    fn wish(
        &self,
        user: usize,
        cell: usize,
        kind: &Kind<'_>,
        penalty: f64,
        open: impl Fn(usize) -> bool,
    ) -> Option<Wish> {
        let from = self.site_of[user] as usize;
        let expected = kind.outlook.expected(cell);
        let here = expected[from];
        let mut best: Option<(f64, usize)> = None;
        for (to, there) in expected.iter().enumerate() {
            // Most sites are out of the question by what they cost there.
            let saving = here - there - penalty;
            if saving <= best.map_or(0.0, |(gain, _)| gain) || to == from || !open(to) {
                continue;
            }
            let gain = saving - nanos(&kind.moves.cost(from, to));
            if gain > best.map_or(0.0, |(gain, _)| gain) {
                best = Some((gain, to));
            }
        }
        let (gain, to) = best?;
        Some(Wish {
            gain,
            user: u32::try_from(user).expect("fewer than 2^32 users"),
            to: u32::try_from(to).expect("fewer than 2^32 sites"),
            choices: 1,
        })
    }

    /// What a byte costs now, in nanoseconds.
    fn price(&self) -> f64 {
        match self.budget {
            Some(Budget { bytes, price }) if bytes > Bytes::ZERO => price * self.debt as f64 / bytes.0 as f64,
            // Nothing may be moved.
            Some(_) => f64::INFINITY,
            None => 0.0,
        }
    }

    /// Where each user's session is.
    #[must_use]
    pub fn site_of(&self) -> &[u32] {
        &self.site_of
    }

    /// Seats that are free, by site.
    #[must_use]
    pub fn free(&self) -> &[u32] {
        &self.free
    }

    /// Bytes moved beyond the budget so far.
    #[must_use]
    pub fn debt(&self) -> Bytes {
        Bytes(self.debt)
    }
}
