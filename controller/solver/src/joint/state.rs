//! A plan under work. All changes go through four moves, each with its inverse, so that a trial can be taken back.

use super::index::{Index, WeightsKey};
use super::problem::{JointPlan, Replica, Route};
use crate::caching::library::as_u32;

/// A move. The inverse undoes it.
#[derive(Clone, Copy, Debug)]
enum Move {
    Place(u32),
    Remove(u32),
    /// A class's requests to an item: more.
    More(u32, u32, u64),
    /// Fewer.
    Fewer(u32, u32, u64),
}

/// A node's stages.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeState {
    /// Memory that is left.
    pub(super) room: u64,
    /// Weights, and how many stages need them.
    held: Vec<(WeightsKey, u32)>,
    /// Items with a part here.
    pub(super) items: Vec<u32>,
}

/// Requests of a class that an item answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) item: u32,
    pub(super) rate: u64,
    /// Worth of an answer.
    pub(super) net: i64,
}

impl NodeState {
    /// Weights that are there.
    pub(super) fn held(&self) -> impl Iterator<Item = WeightsKey> {
        self.held.iter().map(|held| held.0)
    }
}

/// Which items are there and who is answered by which.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) placed: Vec<bool>,
    /// Requests that an item could still hold.
    spare: Vec<u64>,
    /// Of each class, in no order.
    pub(super) flows: Vec<Vec<Flow>>,
    pub(super) unserved: Vec<u64>,
    pub(super) nodes: Vec<NodeState>,
    busy: Vec<u64>,
    energy: Vec<u64>,
    traffic: Vec<u64>,
    /// Worth of the plan.
    pub(super) value: i128,
    log: Vec<Move>,
}

impl State {
    /// Nothing is placed.
    pub(super) fn empty(index: &Index) -> Self {
        let node = |&room: &u64| NodeState {
            room,
            ..NodeState::default()
        };
        Self {
            placed: vec![false; index.items.len()],
            spare: index.items.iter().map(|item| item.figures.rate_max).collect(),
            flows: vec![Vec::new(); index.problem.classes.len()],
            unserved: index
                .problem
                .classes
                .iter()
                .map(|class| class.rate_micro)
                .collect(),
            nodes: index.supplies.room.iter().map(node).collect(),
            busy: index.supplies.busy.clone(),
            energy: index.supplies.energy.clone(),
            traffic: index.supplies.traffic.clone(),
            value: 0,
            log: Vec::new(),
        }
    }

    /// Takes notice of items that were added to the index.
    pub(super) fn grow(&mut self, index: &Index) {
        self.placed.resize(index.items.len(), false);
        let new = &index.items[self.spare.len()..];
        self.spare.extend(new.iter().map(|item| item.figures.rate_max));
    }

    /// A trial begins here, perhaps within another.
    pub(super) fn mark(&self) -> usize {
        self.log.len()
    }

    /// Takes back all moves since a [`mark`](Self::mark).
    pub(super) fn undo(&mut self, index: &Index, mark: usize) {
        while self.log.len() > mark {
            let Some(last) = self.log.pop() else { return };
            match last {
                Move::Place(item) => self.apply_remove(index, item),
                Move::Remove(item) => self.apply_place(index, item),
                Move::More(class, item, rate) => self.apply_fewer(index, class, item, rate),
                Move::Fewer(class, item, rate) => self.apply_more(index, class, item, rate),
            }
        }
    }

    /// What was done until here stays.
    pub(super) fn settle(&mut self) {
        self.log.clear();
    }

    /// Whether an item fits beside what is there: memory, and no other replica of its service on its nodes.
    pub(super) fn fits(&self, index: &Index, item: u32) -> bool {
        let wanted = &index.items[item as usize];
        wanted.figures.parts.iter().all(|part| {
            let node = &self.nodes[part.node as usize];
            let key = wanted.key(part);
            let held = node.held.iter().any(|held| held.0 == key);
            let bytes = part.own + if held { 0 } else { part.weights };
            let alone = node
                .items
                .iter()
                .all(|other| index.items[*other as usize].service != wanted.service);
            alone && bytes <= node.room
        })
    }

    pub(super) fn place(&mut self, index: &Index, item: u32) {
        self.log.push(Move::Place(item));
        self.apply_place(index, item);
    }

    /// Takes an item away; nobody must be answered by it.
    pub(super) fn remove(&mut self, index: &Index, item: u32) {
        self.log.push(Move::Remove(item));
        self.apply_remove(index, item);
    }

    pub(super) fn more(&mut self, index: &Index, class: u32, item: u32, rate: u64) {
        self.log.push(Move::More(class, item, rate));
        self.apply_more(index, class, item, rate);
    }

    pub(super) fn fewer(&mut self, index: &Index, class: u32, item: u32, rate: u64) {
        self.log.push(Move::Fewer(class, item, rate));
        self.apply_fewer(index, class, item, rate);
    }

    fn apply_place(&mut self, index: &Index, ordinal: u32) {
        let item = &index.items[ordinal as usize];
        self.placed[ordinal as usize] = true;
        for part in &item.figures.parts {
            let node = &mut self.nodes[part.node as usize];
            let key = item.key(part);
            node.items.push(ordinal);
            node.room -= part.own;
            if let Some(held) = node.held.iter_mut().find(|held| held.0 == key) {
                held.1 += 1;
            } else {
                node.held.push((key, 1));
                node.room -= part.weights;
                self.value -= i128::from(index.load_price(part.node as usize, key, part.weights));
            }
        }
    }

    fn apply_remove(&mut self, index: &Index, ordinal: u32) {
        let item = &index.items[ordinal as usize];
        self.placed[ordinal as usize] = false;
        for part in &item.figures.parts {
            let node = &mut self.nodes[part.node as usize];
            let key = item.key(part);
            node.items.retain(|other| *other != ordinal);
            node.room += part.own;
            let at = node
                .held
                .iter()
                .position(|held| held.0 == key)
                .expect("a stage's weights are there");
            node.held[at].1 -= 1;
            if node.held[at].1 == 0 {
                node.held.swap_remove(at);
                node.room += part.weights;
                self.value += i128::from(index.load_price(part.node as usize, key, part.weights));
            }
        }
    }

    fn apply_more(&mut self, index: &Index, class: u32, item: u32, rate: u64) {
        let net = index.net(class, item).expect("the item can answer the class");
        let flows = &mut self.flows[class as usize];
        match flows.iter_mut().find(|flow| flow.item == item) {
            Some(flow) => flow.rate += rate,
            None => flows.push(Flow { item, rate, net }),
        }
        self.unserved[class as usize] -= rate;
        self.spare[item as usize] -= rate;
        self.value += i128::from(rate) * i128::from(net);
        self.take(index, class, item, rate, |left, used| left - used);
    }

    fn apply_fewer(&mut self, index: &Index, class: u32, item: u32, rate: u64) {
        let flows = &mut self.flows[class as usize];
        let at = flows
            .iter()
            .position(|flow| flow.item == item)
            .expect("there is a flow");
        let net = flows[at].net;
        flows[at].rate -= rate;
        if flows[at].rate == 0 {
            flows.swap_remove(at);
        }
        self.unserved[class as usize] += rate;
        self.spare[item as usize] += rate;
        self.value -= i128::from(rate) * i128::from(net);
        self.take(index, class, item, rate, |left, used| left + used);
    }

    fn take(&mut self, index: &Index, class: u32, item: u32, rate: u64, change: fn(u64, u64) -> u64) {
        for part in &index.items[item as usize].figures.parts {
            let node = part.node as usize;
            self.busy[node] = change(self.busy[node], part.busy * rate);
            if self.energy[node] != u64::MAX {
                self.energy[node] = change(self.energy[node], part.energy * rate);
            }
        }
        for (segment, bytes) in index.traffic(class, item) {
            self.traffic[segment] = change(self.traffic[segment], bytes * rate);
        }
    }

    /// Most requests of a class that an item could take on.
    pub(super) fn may_take(&self, index: &Index, class: u32, item: u32) -> u64 {
        let mut most = self.spare[item as usize];
        for part in &index.items[item as usize].figures.parts {
            let node = part.node as usize;
            most = most.min(self.busy[node] / part.busy.max(1));
            if self.energy[node] != u64::MAX && part.energy > 0 {
                most = most.min(self.energy[node] / part.energy);
            }
        }
        if most == 0 {
            return 0;
        }
        let uses = index.traffic(class, item);
        for (segment, _) in uses.clone() {
            let passed = uses.clone().filter(|other| other.0 == segment);
            let bytes: u64 = passed.map(|(_, bytes)| bytes).sum();
            most = most.min(self.traffic[segment] / bytes.max(1));
        }
        most
    }

    /// A class asks for less: what is not answered goes first, then the answers that are worth least.
    pub(super) fn shrink(&mut self, index: &Index, class: u32, less: u64) {
        let mut answered = less.saturating_sub(self.unserved[class as usize]);
        while answered > 0 {
            let flows = self.flows[class as usize].iter();
            let Some(worst) = flows.min_by_key(|flow| (flow.net, flow.item)).copied() else {
                break;
            };
            let rate = worst.rate.min(answered);
            self.fewer(index, class, worst.item, rate);
            answered -= rate;
        }
        self.unserved[class as usize] = self.unserved[class as usize].saturating_sub(less);
    }

    /// A node that holds nothing has nothing to give any more.
    pub(super) fn close(&mut self, node: usize) {
        (self.nodes[node].room, self.busy[node]) = (0, 0);
    }

    /// A node that holds nothing has this to give.
    pub(super) fn open(&mut self, node: usize, room: u64, busy: u64) {
        (self.nodes[node].room, self.busy[node]) = (room, busy);
    }

    /// Time that a node has left, at a rate of one.
    pub(super) fn time_left(&self, node: usize) -> u64 {
        self.busy[node]
    }

    /// Energy of a node's battery that is left; the largest number where there is none.
    pub(super) fn energy_left(&self, node: usize) -> u64 {
        self.energy[node]
    }

    /// Requests of a class that an item answers.
    pub(super) fn rate(&self, class: u32, item: u32) -> u64 {
        let flows = self.flows[class as usize].iter();
        flows.filter(|flow| flow.item == item).map(|flow| flow.rate).sum()
    }

    /// Requests that an item could still hold, links and nodes apart.
    pub(super) fn spare(&self, item: u32) -> u64 {
        self.spare[item as usize]
    }

    /// All requests to an item, taken back; the classes that lost them.
    pub(super) fn withdraw(&mut self, index: &Index, item: u32) -> Vec<u32> {
        let mut lost = Vec::new();
        for pair in &index.items[item as usize].pairs {
            let flow = self.flows[pair.class as usize]
                .iter()
                .find(|flow| flow.item == item);
            if let Some(&Flow { rate, .. }) = flow {
                self.fewer(index, pair.class, item, rate);
                lost.push(pair.class);
            }
        }
        lost
    }

    /// Replicas that are there, split ones first.
    pub(super) fn replicas(&self, index: &Index) -> Vec<u32> {
        let mut items: Vec<u32> = self.nodes.iter().flat_map(|node| &node.items).copied().collect();
        items.sort_unstable_by_key(|item| (index.items[*item as usize].figures.parts.len() == 1, *item));
        items.dedup();
        items
    }

    /// Removes replicas that answer nobody.
    pub(super) fn drop_idle(&mut self, index: &Index) {
        let idle = |item: &u32| self.spare[*item as usize] == index.items[*item as usize].figures.rate_max;
        let mut items: Vec<u32> = self
            .nodes
            .iter()
            .flat_map(|node| &node.items)
            .copied()
            .filter(idle)
            .collect();
        items.sort_unstable();
        items.dedup();
        items.into_iter().for_each(|item| self.remove(index, item));
    }

    /// The plan: items that answer somebody.
    pub(super) fn plan(&self, index: &Index) -> JointPlan {
        let mut used: Vec<u32> = self.flows.iter().flatten().map(|flow| flow.item).collect();
        used.sort_unstable();
        used.dedup();
        let mut replicas: Vec<(Replica, u32)> = used
            .into_iter()
            .map(|item| (replica(index, item), item))
            .collect();
        replicas.sort();
        let mut position = vec![0; self.placed.len()];
        for (at, (_, item)) in replicas.iter().enumerate() {
            position[*item as usize] = as_u32(at);
        }
        let mut routes = Vec::new();
        for (class, flows) in (0..).zip(&self.flows) {
            routes.extend(flows.iter().map(|flow| Route {
                class,
                replica: position[flow.item as usize],
                rate_micro: flow.rate,
            }));
        }
        routes.sort();
        JointPlan {
            replicas: replicas.into_iter().map(|(replica, _)| replica).collect(),
            routes,
        }
    }
}

fn replica(index: &Index, item: u32) -> Replica {
    let item = &index.items[item as usize];
    Replica {
        service: crate::units::ServiceOrd(item.service),
        shape: item.shape.clone(),
    }
}
