//! Who can serve whom in time: from radio rates, backhaul and deadlines to the sets of servers that a problem knows.
//!
//! Delivery time of a model of `D` bytes (TrimCaching, arXiv 2405.03990, end-to-end latency with caching):
//!
//! ```text
//! from an associated server m:  D / rate(m, cell)
//! from another server m':       D / backhaul + min over associated m of D / rate(m, cell)
//! ```
//!
//! plus what the user's device then needs to answer. A server serves a request when that is at most its deadline.

use std::collections::BTreeMap;

use super::{CachingProblem, Demand, Server};
use crate::problem::{InvalidProblem, require};
use crate::units::{BlockOrd, Bytes, BytesPerSecond, ModelOrd, Nanos, ReachOrd, ServerOrd};

/// Users in one place, who see the same rates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Associated servers and their radio rates; each server at most once. Without any, nobody can serve the cell.
    pub rates: Vec<(ServerOrd, BytesPerSecond)>,
    /// What is asked for here.
    pub requests: Vec<Request>,
}

/// A request for a model, or many alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The model.
    pub model: ModelOrd,
    /// What serving it is worth.
    pub value: u64,
    /// Time from request to answer.
    pub deadline: Nanos,
    /// The part of it that the user's device needs once it has the model.
    pub inference: Nanos,
}

/// A network of servers, and what is asked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Where blocks can be stored.
    pub servers: Vec<Server>,
    /// Size of each block.
    pub blocks: Vec<Bytes>,
    /// Blocks of each model.
    pub models: Vec<Vec<BlockOrd>>,
    /// Users by place.
    pub cells: Vec<Cell>,
    /// Rate between any two servers; `None` if they are not linked, and only associated servers can serve.
    pub backhaul: Option<BytesPerSecond>,
    /// See [`CachingProblem::fetch_price`].
    pub fetch_price: u64,
}

impl Delivery {
    /// The caching problem: demand by model and by the set of servers that deliver in time. Requests that nobody can serve
    /// are demand with an empty reach.
    ///
    /// # Errors
    /// Names the first field that is wrong and what would be right.
    pub fn problem(&self) -> Result<CachingProblem, InvalidProblem> {
        self.validate()?;
        let mut problem = CachingProblem {
            servers: self.servers.clone(),
            blocks: self.blocks.clone(),
            models: self.models.clone(),
            fetch_price: self.fetch_price,
            ..CachingProblem::default()
        };
        problem.validate()?;
        let mut known: BTreeMap<Vec<ServerOrd>, ReachOrd> = BTreeMap::new();
        let mut worth: BTreeMap<(ReachOrd, ModelOrd), u64> = BTreeMap::new();
        for cell in &self.cells {
            for request in &cell.requests {
                let servers = self.servers_in_time(cell, request, problem.model_bytes(request.model));
                let next = ReachOrd::from_index(known.len());
                let reach = *known.entry(servers).or_insert(next);
                let sum = worth.entry((reach, request.model)).or_default();
                *sum = sum.saturating_add(request.value);
            }
        }
        problem.reaches = vec![Vec::new(); known.len()];
        for (servers, reach) in known {
            problem.reaches[reach.index()] = servers;
        }
        let demand = |((reach, model), value)| Demand { reach, model, value };
        problem.demands = worth.into_iter().map(demand).collect();
        problem.validate()?;
        Ok(problem)
    }

    fn validate(&self) -> Result<(), InvalidProblem> {
        if let Some(backhaul) = self.backhaul {
            require(
                backhaul.0 > 0,
                || "backhaul".to_owned(),
                "a rate above zero, or none",
            )?;
        }
        for (index, cell) in self.cells.iter().enumerate() {
            for (at, (server, rate)) in cell.rates.iter().enumerate() {
                let field = || format!("cells[{index}].rates[{at}]");
                require(
                    server.index() < self.servers.len(),
                    field,
                    "an ordinal of servers",
                )?;
                require(rate.0 > 0, field, "a rate above zero")?;
                let earlier = cell.rates[..at].iter().all(|(other, _)| other != server);
                require(earlier, field, "each server at most once")?;
            }
            for (at, request) in cell.requests.iter().enumerate() {
                require(
                    request.model.index() < self.models.len(),
                    || format!("cells[{index}].requests[{at}].model"),
                    "an ordinal of models",
                )?;
            }
        }
        Ok(())
    }

    /// Servers that deliver a model before the deadline; ordinals rise.
    fn servers_in_time(&self, cell: &Cell, request: &Request, size: Bytes) -> Vec<ServerOrd> {
        let left = request.deadline.saturating_sub(request.inference);
        if request.deadline < request.inference {
            return Vec::new();
        }
        let last_hop = cell.rates.iter().map(|(_, rate)| transfer(size, *rate)).min();
        let relayed = match (self.backhaul, last_hop) {
            (Some(backhaul), Some(last_hop)) => Some(transfer(size, backhaul) + last_hop),
            _ => None,
        };
        let in_time = |server: ServerOrd| {
            let direct = cell.rates.iter().find(|(associated, _)| *associated == server);
            let time = match direct {
                Some((_, rate)) => Some(transfer(size, *rate)),
                None => relayed,
            };
            time.is_some_and(|time| time <= left)
        };
        (0..self.servers.len())
            .map(ServerOrd::from_index)
            .filter(|server| in_time(*server))
            .collect()
    }
}

/// Time of a transfer, rounded up.
fn transfer(size: Bytes, rate: BytesPerSecond) -> Nanos {
    let nanos = (u128::from(size.0) * 1_000_000_000).div_ceil(u128::from(rate.0.max(1)));
    Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One model of 1,000 bytes; a cell near server 0 (1,000 B/s) and far from server 1 (100 B/s); server 2 is not
    /// associated.
    fn delivery(backhaul: Option<u64>, deadline_millis: u64) -> Delivery {
        let request = Request {
            model: ModelOrd(0),
            value: 7,
            deadline: Nanos::from_millis(deadline_millis),
            inference: Nanos::from_millis(500),
        };
        Delivery {
            servers: vec![Server::default(); 3],
            blocks: vec![Bytes(400), Bytes(600)],
            models: vec![vec![BlockOrd(0), BlockOrd(1)]],
            cells: vec![Cell {
                rates: vec![
                    (ServerOrd(0), BytesPerSecond(1_000)),
                    (ServerOrd(1), BytesPerSecond(100)),
                ],
                requests: vec![request, request],
            }],
            backhaul: backhaul.map(BytesPerSecond),
            fetch_price: 0,
        }
    }

    fn reach(delivery: &Delivery) -> Vec<u32> {
        let problem = delivery.problem().expect("a meaningful network");
        assert_eq!(problem.demands.len(), 1, "equal requests are one demand");
        assert_eq!(problem.demands[0].value, 14);
        problem.reaches[0].iter().map(|server| server.0).collect()
    }

    #[test]
    fn associated_servers_deliver_by_radio_and_others_over_the_backhaul() {
        assert_eq!(reach(&delivery(None, 1_499)), [0_u32; 0]);
        assert_eq!(reach(&delivery(None, 1_500)), [0]);
        assert_eq!(reach(&delivery(None, 10_500)), [0, 1]);
        // 1 s over the backhaul of 1,000 B/s and 1 s from the nearest server.
        assert_eq!(reach(&delivery(Some(1_000), 2_499)), [0]);
        assert_eq!(reach(&delivery(Some(1_000), 2_500)), [0, 2]);
    }

    #[test]
    fn a_device_that_needs_longer_than_the_deadline_is_served_by_nobody() {
        assert_eq!(reach(&delivery(Some(1_000_000), 499)), [0_u32; 0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut wrong = delivery(Some(0), 1_000);
        let field = |delivery: &Delivery| delivery.problem().expect_err("nonsense").field;
        assert_eq!(field(&wrong), "backhaul");
        wrong.backhaul = None;
        wrong.cells[0].rates[1].0 = ServerOrd(3);
        assert_eq!(field(&wrong), "cells[0].rates[1]");
        wrong.cells[0].rates[1] = wrong.cells[0].rates[0];
        assert_eq!(field(&wrong), "cells[0].rates[1]");
        wrong.cells[0].rates.pop();
        wrong.cells[0].requests[1].model = ModelOrd(9);
        assert_eq!(field(&wrong), "cells[0].requests[1].model");
    }
}
