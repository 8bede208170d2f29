//! Proof: branch and bound on the Lagrangian bound.
//!
//! A node fixes some models in or out of some servers. Its bound is the dual's with the fixed items taken out of, or forced
//! into, the servers' knapsacks (an item is forced by a bonus that no packing can do without), begun at the multipliers of
//! its parent. Each node's dual is rounded and polished, so that good placements are found early. Depth first, so that
//! little is kept; a model that the dual stores half is fixed first.

use std::rc::Rc;

use super::CachingSession;
use super::dual::{Dual, Fixing};
use super::library::as_u32;
use super::rebuild::{Plan, round};
use super::stock::Stock;
use crate::search::{Budget, Meter};

/// Steps of the dual in one node; warm multipliers need few.
const NODE_STEPS: u32 = 40;

/// What is fixed, and what that leaves.
struct Node {
    fixings: Vec<Fixing>,
    multipliers: Rc<Vec<f64>>,
    /// Of the parent.
    bound: i64,
}

impl CachingSession {
    /// Searches until the placement is proven to be the best, or the budget ends; the bound then is the best of what was
    /// left open. For problems of tens of servers and hundreds of models: the work may grow exponentially.
    pub fn prove(&mut self, budget: &Budget<'_>) {
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        let mut open = vec![Node {
            fixings: Vec::new(),
            multipliers: Rc::new(self.dual.best.clone()),
            bound: self.certificate().bound,
        }];
        while let Some(node) = open.pop() {
            if node.bound <= self.value {
                continue;
            }
            if !meter.spend(0) {
                open.push(node);
                break;
            }
            self.expand(node, &mut open, &mut meter);
        }
        let left_open = open.iter().map(|node| node.bound).max().unwrap_or(self.value);
        self.proven = self.proven.min(left_open.max(self.value));
    }

    /// Bounds a node, looks for placements there, and opens its children unless it is done with.
    fn expand(&mut self, node: Node, open: &mut Vec<Node>, meter: &mut Meter<'_>) {
        let mut dual = Dual::fixed(&self.index, &node.multipliers, &node.fixings);
        dual.descend(&self.index, self.threads, self.value, NODE_STEPS, meter);
        let bound = node.bound.min(dual.bound(&self.index));
        if bound <= self.value {
            return;
        }
        let plan = Plan {
            problem: &self.problem,
            index: &self.index,
            dual: &dual,
            neighbours: &self.neighbours,
            threads: self.threads,
        };
        let rounded = round(plan, meter);
        self.offer(rounded, meter);
        if bound <= self.value {
            return;
        }
        let Some((server, position)) = self.undecided(&dual, &node.fixings) else {
            self.offer_fixed(&node.fixings, meter);
            return;
        };
        let multipliers = Rc::new(dual.best);
        for inside in [false, true] {
            let mut fixings = node.fixings.clone();
            fixings.push(Fixing {
                server,
                position,
                inside,
            });
            open.push(Node {
                fixings,
                multipliers: Rc::clone(&multipliers),
                bound,
            });
        }
    }

    /// The model that is not fixed and whose storing is most in doubt, weighed by what it may serve.
    fn undecided(&self, dual: &Dual, fixings: &[Fixing]) -> Option<(u32, u32)> {
        let mut best: Option<(f64, (u32, u32))> = None;
        for (server, shelf) in (0..).zip(&self.index.shelves) {
            for position in 0..as_u32(shelf.models.len()) {
                let is_here = |fixing: &&Fixing| (fixing.server, fixing.position) == (server, position);
                if fixings.iter().find(is_here).is_some() {
                    continue;
                }
                let usage = f64::from(dual.sides[server as usize].usage[position as usize]);
                let rows = shelf.rows(position as usize).iter();
                let worth: u64 = rows.map(|row| self.index.rows[*row as usize].value).sum();
                // Even what seems decided has to be fixed in the end.
                let doubt = (usage * (1.0 - usage)).max(1e-6) * super::pack::as_f64(worth + 1);
                if best.is_none_or(|(most, _)| doubt > most) {
                    best = Some((doubt, (server, position)));
                }
            }
        }
        best.map(|(_, undecided)| undecided)
    }

    /// Everything is fixed: one placement is left, if it fits.
    fn offer_fixed(&mut self, fixings: &[Fixing], meter: &mut Meter<'_>) {
        let mut stock = Stock::empty(&self.index);
        for server in 0..self.index.shelves.len() {
            let here = fixings
                .iter()
                .filter(|fixing| fixing.server as usize == server && fixing.inside);
            let positions: Vec<u32> = here.map(|fixing| fixing.position).collect();
            if self.index.bytes(server, &positions) > self.index.shelves[server].capacity {
                return;
            }
            stock.put(&self.index, server, positions);
        }
        self.offer(stock, meter);
    }
}
