//! What changed, taken in without solving again: only what it touches is planned anew, and the bound stays one.

use super::improve::{Improver, serve};
use super::session::JointSession;
use crate::search::{Budget, Meter};
use crate::units::NodeOrd;

/// Something that changed. Users who move are fewer requests in one class and more in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A class asks more, or less.
    Rate {
        /// Position of the class.
        class: u32,
        /// Requests in a million seconds.
        rate_micro: u64,
    },
    /// A node does not answer any more.
    NodeLost(NodeOrd),
    /// It does again.
    NodeBack(NodeOrd),
}

impl JointSession {
    /// Takes in an event: requests that lost their replica, or are new, are answered by what is there, then a few nodes near
    /// them are packed anew.
    ///
    /// The bound moves by what the event can change at most, so it loosens with every event; [`solve`](Self::solve) tightens
    /// it again. Events about what does not exist change nothing.
    pub fn handle(&mut self, event: Event, budget: &Budget<'_>) {
        let mut meter = Meter::new(budget.steps, budget.cancelled);
        match event {
            Event::Rate { class, rate_micro } if (class as usize) < self.index.problem.classes.len() => {
                self.rate(class, rate_micro.min(1 << 39), &mut meter);
            }
            Event::NodeLost(node) if node.index() < self.index.shelves.len() => {
                self.lost(node.index(), &mut meter)
            }
            Event::NodeBack(node) if node.index() < self.index.shelves.len() => {
                self.back(node.index(), &mut meter)
            }
            _ => {}
        }
        self.state.drop_idle(&self.index);
        self.state.settle();
        self.spend(&meter);
    }

    fn rate(&mut self, class: u32, rate: u64, meter: &mut Meter<'_>) {
        let asked = &mut self.index.problem.classes[class as usize];
        let before = std::mem::replace(&mut asked.rate_micro, rate);
        let worth = i128::from(asked.value.0);
        let grown = rate.saturating_sub(before);
        if rate < before {
            self.state.shrink(&self.index, class, before - rate);
        } else {
            self.state.unserved[class as usize] += grown;
            serve(&self.index, &mut self.state, class);
        }
        // Nobody can gain more by the new requests than all that they are worth.
        self.raise_bound(worth * i128::from(grown));
        if grown > 0 {
            Improver::default().repack_near(&self.index, &mut self.state, &[class], meter);
        }
    }

    fn lost(&mut self, node: usize, meter: &mut Meter<'_>) {
        let mut touched = Vec::new();
        for item in self.state.nodes[node].items.clone() {
            touched.extend(self.state.withdraw(&self.index, item));
            self.state.remove(&self.index, item);
        }
        let supplies = &mut self.index.supplies;
        (supplies.room[node], supplies.busy[node]) = (0, 0);
        self.state.close(node);
        // Less is possible than before, so the bound holds; what the node could add at most is taken off.
        self.rebound_node(node);
        for class in &touched {
            serve(&self.index, &mut self.state, *class);
        }
        Improver::default().repack_near(&self.index, &mut self.state, &touched, meter);
    }

    fn back(&mut self, node: usize, meter: &mut Meter<'_>) {
        if self.index.supplies.room[node] > 0 {
            return;
        }
        let fresh = super::figures::Supplies::new(&self.index.problem, &self.index.links);
        self.index.supplies.room[node] = fresh.room[node];
        self.index.supplies.busy[node] = fresh.busy[node];
        self.state.open(node, fresh.room[node], fresh.busy[node]);
        self.rebound_node(node);
        Improver::default().repack(&self.index, &mut self.state, node, None, meter);
    }
}
