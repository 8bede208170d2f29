//! Better plans: nodes are packed anew one after the other, each exactly for what it would gain as things stand.

use super::index::Index;
use super::offers::{Offers, Wish};
use super::shared::{Effort, Question, Shared, SharedPacking};
use super::state::State;
use crate::caching::library::as_u32;
use crate::caching::pack::as_f64;
use crate::search::Meter;

/// Nodes that are packed anew around some classes, the nearest.
const NEAR: usize = 12;

/// Scratch memory of the search.
#[derive(Debug, Default)]
pub(super) struct Improver {
    packing: SharedPacking,
    packed: Shared,
    offers: Offers,
    wishes: Vec<Wish>,
    gains: Vec<Gain>,
}

/// Requests that an item could answer, and what is gained by each.
#[derive(Clone, Copy, Debug)]
struct Gain {
    each: i64,
    item: u32,
    class: u32,
    rate: u64,
    /// Who answers them now.
    from: Option<u32>,
}

impl Improver {
    /// Packs every node anew, in their order; where `prices` are given, a request counts for what it is worth beyond its
    /// price, so that nodes leave to others what others do as well. Returns whether anything became better.
    pub(super) fn sweep(
        &mut self,
        index: &Index,
        state: &mut State,
        prices: Option<&[f64]>,
        meter: &mut Meter<'_>,
    ) -> bool {
        let before = state.value;
        for node in 0..index.shelves.len() {
            if !meter.spend(0) {
                break;
            }
            self.repack(index, state, node, prices, meter);
        }
        state.value > before
    }

    /// Packs nodes anew where some classes would be answered best, if some of their requests are not.
    pub(super) fn repack_near(
        &mut self,
        index: &Index,
        state: &mut State,
        classes: &[u32],
        meter: &mut Meter<'_>,
    ) {
        let mut near: Vec<(i64, usize)> = Vec::new();
        let waiting = classes
            .iter()
            .filter(|class| state.unserved[**class as usize] > 0);
        for class in waiting {
            for &(item, net) in &index.answers[*class as usize] {
                let item = &index.items[item as usize];
                if item.figures.parts.len() == 1 {
                    near.push((-net, item.node()));
                }
            }
        }
        near.sort_unstable();
        let mut nodes: Vec<usize> = Vec::new();
        for (_, node) in near {
            if nodes.len() < NEAR && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        for node in nodes {
            if !meter.spend(0) {
                return;
            }
            self.repack(index, state, node, None, meter);
        }
    }

    /// Packs one node anew, and keeps that if the plan is worth more.
    pub(super) fn repack(
        &mut self,
        index: &Index,
        state: &mut State,
        node: usize,
        prices: Option<&[f64]>,
        meter: &mut Meter<'_>,
    ) {
        let shelf = &index.shelves[node];
        if shelf.items().is_empty() {
            return;
        }
        let (before, mark) = (state.value, state.mark());
        let here: Vec<u32> = state.nodes[node].items.clone();
        let whole = |item: &u32| index.items[*item as usize].figures.parts.len() == 1;
        let mut lost = Vec::new();
        for item in here.iter().copied().filter(whole) {
            lost.extend(state.withdraw(index, item));
            state.remove(index, item);
        }
        meter.spend(16 * lost.len() as u64);
        lost.iter().for_each(|class| serve(index, state, *class));
        self.pack(index, state, node, prices, meter);
        let mut placed = Vec::new();
        for position in std::mem::take(&mut self.packed.items) {
            let item = as_u32(shelf.start) + position;
            if state.fits(index, item) {
                state.place(index, item);
                placed.push(item);
            }
        }
        self.fill(index, state, &placed);
        self.drop_idle(index, state, node);
        if state.value <= before {
            state.undo(index, mark);
        }
    }

    /// What is best for the room and the time that a node has left.
    #[allow(clippy::cast_precision_loss, reason = "a guide, not a proof")]
    fn pack(
        &mut self,
        index: &Index,
        state: &State,
        node: usize,
        prices: Option<&[f64]>,
        meter: &mut Meter<'_>,
    ) {
        let shelf = &index.shelves[node];
        self.offers.clear();
        let mut steps = 0;
        for item in shelf.items() {
            let figures = &index.items[item].figures;
            steps += 4 * index.items[item].pairs.len() as u64 + 1;
            self.gains.clear();
            self.find_gains(index, state, as_u32(item));
            self.wishes.clear();
            for gain in &self.gains {
                let price = match (prices, gain.from) {
                    (Some(prices), None) => prices[gain.class as usize],
                    _ => 0.0,
                };
                self.wishes.push(Wish {
                    gain: gain.each as f64 - price,
                    class: gain.class,
                    rate: as_f64(gain.rate),
                });
            }
            self.wishes.retain(|wish| wish.gain > 0.0);
            let part = figures.parts[0];
            let battery = match state.energy_left(node) {
                u64::MAX => u64::MAX,
                energy => energy / part.energy.max(1),
            };
            let most = as_f64(figures.rate_max.min(battery));
            self.offers.push(as_f64(part.busy), most, 0.0, &mut self.wishes);
        }
        let question = Question {
            offers: &self.offers,
            knapsack: shelf.knapsack(&index.library, state.nodes[node].room, &[]),
            time: as_f64(state.time_left(node)),
            effort: Effort::of(self.offers.len()),
        };
        self.packing.pack(&question, &mut self.packed);
        meter.spend(steps + self.packed.steps);
    }

    /// Adds what an item would gain now.
    fn find_gains(&mut self, index: &Index, state: &State, item: u32) {
        for pair in &index.items[item as usize].pairs {
            let class = pair.class;
            let unserved = state.unserved[class as usize];
            if unserved > 0 {
                self.gains.push(Gain {
                    each: pair.net,
                    item,
                    class,
                    rate: unserved,
                    from: None,
                });
            }
            for flow in state.flows[class as usize]
                .iter()
                .filter(|flow| flow.net < pair.net && flow.item != item)
            {
                self.gains.push(Gain {
                    each: pair.net - flow.net,
                    item,
                    class,
                    rate: flow.rate,
                    from: Some(flow.item),
                });
            }
        }
    }

    /// Gives items the requests that gain most by them for the time that they take, and what becomes free elsewhere to those
    /// who wait.
    #[allow(clippy::cast_precision_loss, reason = "a guide, not a proof")]
    pub(super) fn fill(&mut self, index: &Index, state: &mut State, items: &[u32]) {
        self.gains.clear();
        for &item in items {
            self.find_gains(index, state, item);
        }
        let use_of_time = |gain: &Gain| {
            let busy = index.items[gain.item as usize].figures.parts[0].busy;
            gain.each as f64 / as_f64(busy.max(1))
        };
        self.gains.sort_unstable_by(|one, other| {
            let ties = (one.item, one.class, one.from).cmp(&(other.item, other.class, other.from));
            use_of_time(other).total_cmp(&use_of_time(one)).then(ties)
        });
        let mut freed = Vec::new();
        for gain in &self.gains {
            let there = match gain.from {
                Some(other) => state.rate(gain.class, other),
                None => state.unserved[gain.class as usize],
            };
            if there == 0 || state.spare(gain.item) == 0 {
                continue;
            }
            let rate = state.may_take(index, gain.class, gain.item).min(there);
            if rate == 0 {
                continue;
            }
            if let Some(other) = gain.from {
                state.fewer(index, gain.class, other, rate);
                freed.push(other);
            }
            state.more(index, gain.class, gain.item, rate);
        }
        freed.sort_unstable();
        freed.dedup();
        for other in freed {
            take_waiting(index, state, other);
        }
    }

    /// Removes whole items of a node that answer nobody: their memory is of more use to others.
    fn drop_idle(&self, index: &Index, state: &mut State, node: usize) {
        for item in state.nodes[node].items.clone() {
            let figures = &index.items[item as usize].figures;
            if state.spare(item) == figures.rate_max {
                state.remove(index, item);
            }
        }
    }
}

/// Answers what a class asks and nobody answers, as far as replicas that are there can; the best first.
pub(super) fn serve(index: &Index, state: &mut State, class: u32) {
    if state.unserved[class as usize] == 0 {
        return;
    }
    let answers = index.answers[class as usize].iter();
    let mut there: Vec<(i64, u32)> = answers
        .filter(|(item, _)| state.placed[*item as usize] && state.spare(*item) > 0)
        .map(|&(item, net)| (-net, item))
        .collect();
    there.sort_unstable();
    for (_, item) in there {
        let rate = state
            .may_take(index, class, item)
            .min(state.unserved[class as usize]);
        if rate > 0 {
            state.more(index, class, item, rate);
        }
        if state.unserved[class as usize] == 0 {
            return;
        }
    }
}

/// Gives room on an item to classes that are not answered.
fn take_waiting(index: &Index, state: &mut State, item: u32) {
    let pairs = index.items[item as usize].pairs.iter();
    let mut waiting: Vec<(i64, u32)> = pairs
        .filter(|pair| state.unserved[pair.class as usize] > 0)
        .map(|pair| (-pair.net, pair.class))
        .collect();
    waiting.sort_unstable();
    for (_, class) in waiting {
        let rate = state
            .may_take(index, class, item)
            .min(state.unserved[class as usize]);
        if rate > 0 {
            state.more(index, class, item, rate);
        }
    }
}
