//! One thing changed: only what it touches is solved again.
//!
//! Multipliers of the dual are kept, so the bound stays valid wherever it is not computed again: it is a sum over rows and
//! servers, and only the terms of changed rows and of the servers in their reach are replaced. The placement is kept, and
//! only servers in reach, and then those that see a change of theirs, are packed anew; what they would fetch is in their
//! gains. A full [`tighten`](CachingSession::tighten) and [`improve`](CachingSession::improve) may follow at leisure.

use std::collections::BTreeMap;

use super::index::{Row, Shelf};
use super::library::as_u32;
use super::pack::as_f64;
use super::stock::Stock;
use super::{CachingSession, Demand, Server};
use crate::problem::{InvalidProblem, require};
use crate::search::{Budget, Meter};
use crate::units::{BlockOrd, Bytes, ModelOrd, ReachOrd, ServerOrd};

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Demand is now worth this much, zero to end it.
    Demand(Demand),
    /// Users who ask for a model went from one reach to another.
    Moved {
        /// What they ask for, and how much of it.
        model: ModelOrd,
        /// No more than is asked for where they come from.
        value: u64,
        /// Where they were.
        from: ReachOrd,
        /// Where they are.
        to: ReachOrd,
    },
    /// A server joined, and delivers in time to some reaches.
    ServerJoined {
        /// Its storage.
        server: Server,
        /// Each at most once.
        reaches: Vec<ReachOrd>,
    },
    /// A server left; its ordinal stays, with no storage.
    ServerLeft(ServerOrd),
    /// A model was published that adds blocks of its own to blocks of a known model: an adapter over a base.
    ModelPublished {
        /// Size of what is new.
        own: Bytes,
        /// Known blocks that it needs too.
        shared: Vec<BlockOrd>,
        /// Who asks for it, and how much that is worth.
        demands: Vec<(ReachOrd, u64)>,
    },
}

impl CachingSession {
    /// Takes an event in, and packs the servers that it touches. A budget that ends early leaves a legal placement.
    ///
    /// # Errors
    /// When the event means nothing; then nothing changed.
    pub fn handle(&mut self, event: &Event, budget: &Budget<'_>) -> Result<(), InvalidProblem> {
        self.validate_event(event)?;
        self.proven = i64::MAX;
        let touched = match event {
            Event::Demand(demand) => self.set_demand(*demand),
            Event::Moved {
                model,
                value,
                from,
                to,
            } => self.moved(*model, *value, *from, *to),
            Event::ServerJoined { server, reaches } => self.joined(server.clone(), reaches),
            Event::ServerLeft(server) => self.left(*server),
            Event::ModelPublished { own, shared, demands } => self.published(*own, shared, demands),
        };
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        self.repack(&touched, &mut meter);
        Ok(())
    }

    fn validate_event(&self, event: &Event) -> Result<(), InvalidProblem> {
        let reach = |reach: ReachOrd, field: &'static str| {
            let known = reach.index() < self.problem.reaches.len();
            require(known, || field.to_owned(), "an ordinal of reaches")
        };
        let model = |model: ModelOrd| {
            let known = model.index() < self.problem.models.len();
            require(known, || "model".to_owned(), "an ordinal of models")
        };
        let worth = |more: u64| {
            let sum = self.index.demanded.saturating_add(more);
            require(
                sum < super::VALUE_MAX,
                || "value".to_owned(),
                "values below 2^50 in all",
            )
        };
        match event {
            Event::Demand(demand) => {
                reach(demand.reach, "reach")?;
                model(demand.model)?;
                worth(demand.value)
            }
            Event::Moved {
                model: moved,
                value,
                from,
                to,
            } => {
                reach(*from, "from")?;
                reach(*to, "to")?;
                model(*moved)?;
                let there = self
                    .row(*from, *moved)
                    .map_or(0, |row| self.index.rows[row].value);
                require(
                    *value <= there,
                    || "value".to_owned(),
                    "no more than is asked for there",
                )
            }
            Event::ServerJoined { server, reaches } => {
                let fits = server.capacity.0 < super::BYTES_MAX;
                require(fits, || "server.capacity".to_owned(), "less than a pebibyte")?;
                let known = server
                    .held
                    .iter()
                    .all(|block| block.index() < self.problem.blocks.len());
                let in_order = server.held.windows(2).all(|pair| pair[0] < pair[1]);
                require(
                    known && in_order,
                    || "server.held".to_owned(),
                    "ordinals of blocks that rise",
                )?;
                reaches.iter().try_for_each(|joined| reach(*joined, "reaches"))?;
                let once = (1..reaches.len()).all(|at| !reaches[..at].contains(&reaches[at]));
                require(once, || "reaches".to_owned(), "each reach at most once")
            }
            Event::ServerLeft(server) => {
                let known = server.index() < self.problem.servers.len();
                require(known, || "server".to_owned(), "an ordinal of servers")
            }
            Event::ModelPublished { own, shared, demands } => {
                let total: Bytes = self.problem.blocks.iter().copied().sum();
                let fits = (total + *own).0 < super::BYTES_MAX;
                require(fits, || "own".to_owned(), "blocks below a pebibyte in all")?;
                let known = shared
                    .iter()
                    .all(|block| block.index() < self.problem.blocks.len());
                let once = (1..shared.len()).all(|at| !shared[..at].contains(&shared[at]));
                require(
                    known && once,
                    || "shared".to_owned(),
                    "ordinals of blocks, each at most once",
                )?;
                demands
                    .iter()
                    .try_for_each(|(asked, _)| reach(*asked, "demands"))?;
                worth(
                    demands
                        .iter()
                        .fold(0, |sum, (_, value)| sum.saturating_add(*value)),
                )
            }
        }
    }

    /// The row of a model in a reach.
    fn row(&self, reach: ReachOrd, model: ModelOrd) -> Option<usize> {
        let rows = &self.index.reach_rows[reach.index()];
        let found = rows.binary_search_by_key(&model.0, |row| self.index.rows[*row as usize].model);
        found.ok().map(|at| rows[at] as usize)
    }

    fn moved(&mut self, model: ModelOrd, value: u64, from: ReachOrd, to: ReachOrd) -> Vec<u32> {
        if from == to {
            return Vec::new();
        }
        let asked = |reach| self.row(reach, model).map_or(0, |row| self.index.rows[row].value);
        let (left, arrived) = (asked(from) - value, asked(to) + value);
        let mut touched = Vec::new();
        for (reach, value) in [(from, left), (to, arrived)] {
            touched.extend(self.set_demand(Demand { reach, model, value }));
        }
        touched
    }

    /// Sets the worth of a row, and makes the row if need be. Returns the servers in reach.
    fn set_demand(&mut self, demand: Demand) -> Vec<u32> {
        let servers: Vec<u32> = self.problem.reaches[demand.reach.index()]
            .iter()
            .map(|server| server.0)
            .collect();
        let Some(row) = self.row(demand.reach, demand.model) else {
            if demand.value > 0 {
                self.add_row(demand);
                servers.iter().for_each(|server| self.reshelve(*server as usize));
                self.dual.rebound(&self.index, &servers);
            }
            return servers;
        };
        let before = self.index.revalue(row, demand.value);
        self.dual.revalue(row, before, demand.value);
        self.problem.demands[row].value = demand.value;
        if self.stock.holders[row] > 0 {
            self.value += demand.value.cast_signed() - before.cast_signed();
        }
        self.dual.rebound(&self.index, &servers);
        servers
    }

    /// Appends a row that no shelf knows yet.
    fn add_row(&mut self, demand: Demand) {
        self.index.add_row(Row {
            reach: demand.reach.0,
            model: demand.model.0,
            value: demand.value,
        });
        self.problem.demands.push(demand);
        self.stock.holders.push(0);
        let num_servers = self.problem.reaches[demand.reach.index()].len();
        self.dual.add_row(
            demand.value,
            as_f64(demand.value) / as_f64(num_servers.max(1) as u64),
        );
    }

    /// Builds a server's shelf again; what it stores and how the dual used it stay, as far as they are still on the shelf.
    fn reshelve(&mut self, server: usize) {
        let models = self.stock.models(&self.index, server);
        self.value += self.stock.fetch(&self.index, server).cast_signed();
        self.value += self.stock.clear(&self.index, server);
        let shelf = self.index.shelf(&self.problem, server);
        let before = self.index.replace(server, shelf);
        let (shelf, library) = (&self.index.shelves[server], &self.index.library);
        let family = |model: u32| library.family[model as usize];
        self.dual
            .remap(server, shelf, |model| before.position(family(model), model));
        let positions = models
            .into_iter()
            .filter_map(|model| shelf.position(family(model), model))
            .collect();
        self.value += self.stock.put(&self.index, server, positions);
        self.value -= self.stock.fetch(&self.index, server).cast_signed();
    }

    fn joined(&mut self, server: Server, reaches: &[ReachOrd]) -> Vec<u32> {
        let ordinal = self.problem.servers.len();
        self.problem.servers.push(server);
        let mut reaches: Vec<u32> = reaches.iter().map(|reach| reach.0).collect();
        reaches.sort_unstable();
        for reach in &reaches {
            self.problem.reaches[*reach as usize].push(ServerOrd::from_index(ordinal));
        }
        self.index.server_reaches.push(reaches);
        self.index.shelves.push(Shelf::default());
        self.stock.positions.push(Vec::new());
        self.dual.add_server();
        let neighbours = self.index.neighbours(&self.problem, ordinal);
        for other in neighbours.iter().filter(|other| **other as usize != ordinal) {
            let list = &mut self.neighbours[*other as usize];
            list.push(as_u32(ordinal));
        }
        self.colouring.add(as_u32(ordinal), &neighbours);
        self.neighbours.push(neighbours);
        self.reshelve(ordinal);
        self.dual.rebound(&self.index, &[as_u32(ordinal)]);
        vec![as_u32(ordinal)]
    }

    fn left(&mut self, server: ServerOrd) -> Vec<u32> {
        self.problem.servers[server.index()] = Server::default();
        self.reshelve(server.index());
        self.dual.rebound(&self.index, &[server.0]);
        self.neighbours[server.index()].clone()
    }

    fn published(&mut self, own: Bytes, shared: &[BlockOrd], demands: &[(ReachOrd, u64)]) -> Vec<u32> {
        let model = ModelOrd::from_index(self.problem.models.len());
        let block = BlockOrd::from_index(self.problem.blocks.len());
        self.problem.blocks.push(own);
        self.problem
            .models
            .push(shared.iter().copied().chain([block]).collect());
        let mut asked: BTreeMap<ReachOrd, u64> = BTreeMap::new();
        for (reach, value) in demands.iter().filter(|(_, value)| *value > 0) {
            *asked.entry(*reach).or_default() += value;
        }
        let reaches = asked
            .keys()
            .flat_map(|reach| &self.problem.reaches[reach.index()]);
        let mut servers: Vec<u32> = reaches.map(|server| server.0).collect();
        servers.sort_unstable();
        servers.dedup();
        let demands = asked
            .into_iter()
            .map(|(reach, value)| Demand { reach, model, value });
        if self.index.library.add_model(own, block, shared) {
            demands.for_each(|demand| self.add_row(demand));
            servers.iter().for_each(|server| self.reshelve(*server as usize));
            self.dual.rebound(&self.index, &servers);
        } else {
            self.problem.demands.extend(demands);
            self.index_again();
        }
        servers
    }

    /// For the rare event that changes which blocks are shared: everything is indexed again. The placement is kept; the
    /// dual begins anew.
    fn index_again(&mut self) {
        let placement = self.placement();
        let again = Self::indexed(std::mem::take(&mut self.problem), self.threads);
        *self = again;
        self.stock = Stock::of(&self.index, &placement);
        self.value = self.stock.value(&self.index);
    }

    /// Polishes some servers, and those that see a change of theirs.
    fn repack(&mut self, servers: &[u32], meter: &mut Meter<'_>) {
        let mut dirty = vec![false; self.index.shelves.len()];
        servers.iter().for_each(|server| dirty[*server as usize] = true);
        let mut stock = std::mem::take(&mut self.stock);
        self.value += self.polish().improve(&mut stock, &mut dirty, meter);
        self.stock = stock;
    }
}
