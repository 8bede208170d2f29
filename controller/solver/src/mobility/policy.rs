//! Rules for one session that know the past and the present epoch.

use super::{Epoch, Moves};
use crate::units::Nanos;

/// Decides where a session is served.
pub trait Policy {
    /// The site for this epoch, for a session that is at `site`.
    fn decide(&mut self, epoch: &Epoch<'_>, moves: &Moves, site: usize) -> usize;
}

/// Stays for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Never;

impl Policy for Never {
    fn decide(&mut self, _epoch: &Epoch<'_>, _moves: &Moves, site: usize) -> usize {
        site
    }
}

/// Is always where serving is cheapest now, whatever moving costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Always;

impl Policy for Always {
    fn decide(&mut self, epoch: &Epoch<'_>, _moves: &Moves, site: usize) -> usize {
        let cheapest = epoch.service.iter().min();
        if cheapest == epoch.service.get(site) {
            return site;
        }
        (0..epoch.service.len())
            .min_by_key(|&site| epoch.service[site])
            .unwrap_or(site)
    }
}

/// Is always at the site that is nearest to the user's cell, whatever it and moving cost.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// The nearest site, by cell.
    pub site_of: Vec<usize>,
}

impl Policy for Nearest {
    fn decide(&mut self, epoch: &Epoch<'_>, _moves: &Moves, _site: usize) -> usize {
        self.site_of[epoch.cell]
    }
}

/// Moves when the present epoch alone pays for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Myopic;

impl Policy for Myopic {
    fn decide(&mut self, epoch: &Epoch<'_>, moves: &Moves, site: usize) -> usize {
        let cost = |to: usize| (moves.cost(site, to) + epoch.service[to], to != site, to);
        (0..epoch.service.len())
            .min_by_key(|&to| cost(to))
            .unwrap_or(site)
    }
}

/// Rent or buy: moves to a site when what it would have saved since the last move has reached what the move costs.
#[derive(Clone, Debug, Default)]
pub struct RentOrBuy {
    /// By site.
    regret: Vec<Nanos>,
}

impl Policy for RentOrBuy {
    fn decide(&mut self, epoch: &Epoch<'_>, moves: &Moves, site: usize) -> usize {
        self.regret.resize(epoch.service.len(), Nanos::ZERO);
        let here = epoch.service[site];
        for (regret, there) in self.regret.iter_mut().zip(epoch.service) {
            *regret = (*regret + here).saturating_sub(*there);
        }
        let worth = |to: &usize| *to != site && self.regret[*to] >= moves.cost(site, *to);
        let surplus = |to: &usize| self.regret[*to].saturating_sub(moves.cost(site, *to));
        let Some(to) = (0..epoch.service.len()).filter(worth).max_by_key(surplus) else {
            return site;
        };
        self.regret.fill(Nanos::ZERO);
        to
    }
}

/// The work function algorithm (Borodin, Linial and Saks, J. ACM 1992): at most 2n − 1 times the optimum's cost among n
/// sites, and a constant, for moves that are a metric.
#[derive(Clone, Debug, Default)]
pub struct WorkFunction {
    /// The least cost of all epochs so far that ends at each site.
    work: Vec<Nanos>,
}

impl Policy for WorkFunction {
    fn decide(&mut self, epoch: &Epoch<'_>, moves: &Moves, site: usize) -> usize {
        let sites = 0..epoch.service.len();
        if self.work.is_empty() {
            self.work = sites.clone().map(|to| moves.cost(site, to)).collect();
        }
        let served: Vec<Nanos> = self
            .work
            .iter()
            .zip(epoch.service)
            .map(|(work, service)| *work + *service)
            .collect();
        let least = |to: usize| {
            let ways = served.iter().enumerate();
            ways.map(|(from, work)| *work + moves.cost(from, to)).min()
        };
        self.work = sites.clone().map(|to| least(to).unwrap_or(Nanos::ZERO)).collect();
        let cost = |to: usize| {
            (
                self.work[to] + moves.cost(site, to),
                epoch.service[to],
                to != site,
                to,
            )
        };
        sites.min_by_key(|&to| cost(to)).unwrap_or(site)
    }
}
