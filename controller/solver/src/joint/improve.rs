//! Better plans: nodes are packed anew one after the other, each exactly for what it would gain as things stand.

use super::index::Index;
use super::state::State;
use crate::caching::pack::{FamilyEnumeration, Fill, Pack, Packed, as_f64};
use crate::search::Meter;

/// Nodes of the exact filling for each set of variants on a node.
const FILL_NODES_MAX: u32 = 2_000;

/// Scratch memory of the search.
#[derive(Debug, Default)]
pub(super) struct Improver {
    packer: FamilyEnumeration,
    packed: Packed,
    values: Vec<f64>,
    gains: Vec<Gain>,
}

/// Requests that an item could answer, and what is gained by each.
#[derive(Clone, Copy, Debug)]
struct Gain {
    each: i64,
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
        let before = state.value;
        state.begin();
        let here: Vec<u32> = state.nodes[node].items.clone();
        let whole = |item: &u32| index.items[*item as usize].figures.parts.len() == 1;
        let mut lost = Vec::new();
        for item in here.iter().copied().filter(whole) {
            lost.extend(state.withdraw(index, item));
            state.remove(index, item);
        }
        let classes_lost = lost.len() as u64;
        lost.iter().for_each(|class| serve(index, state, *class));
        self.values.clear();
        let mut steps = 16 * classes_lost;
        for item in shelf.items() {
            let pairs = index.items[item].pairs.len() as u64;
            steps += 4 * pairs + 1;
            let worth = self.worth(index, state, crate::caching::library::as_u32(item), prices);
            self.values.push(worth);
        }
        let room = state.nodes[node].room;
        let knapsack = shelf.knapsack(&index.library, room, &self.values);
        self.packer
            .pack(&knapsack, Fill::Exact(FILL_NODES_MAX), 0.0, &mut self.packed);
        meter.spend(steps + self.packed.steps);
        let mut chosen: Vec<u32> = self.packed.items.clone();
        chosen.sort_by(|one, other| {
            let value = |position: &u32| self.values[*position as usize];
            value(other).total_cmp(&value(one)).then(one.cmp(other))
        });
        for position in chosen {
            let item = crate::caching::library::as_u32(shelf.start) + position;
            if state.fits(index, item) {
                state.place(index, item);
                self.fill(index, state, item);
            }
        }
        self.drop_idle(index, state, node);
        if state.value <= before {
            state.undo(index);
        }
    }

    /// What an item would gain now.
    #[allow(clippy::cast_precision_loss, reason = "a guide, not a proof")]
    fn worth(&mut self, index: &Index, state: &State, item: u32, prices: Option<&[f64]>) -> f64 {
        self.find_gains(index, state, item);
        let mut left = index.items[item as usize].figures.rate_max;
        let mut worth = 0.0;
        for gain in &self.gains {
            let rate = gain.rate.min(left);
            let price = match (prices, gain.from) {
                (Some(prices), None) => prices[gain.class as usize],
                _ => 0.0,
            };
            worth += (gain.each as f64 - price).max(0.0) * as_f64(rate);
            left -= rate;
            if left == 0 {
                break;
            }
        }
        worth
    }

    fn find_gains(&mut self, index: &Index, state: &State, item: u32) {
        self.gains.clear();
        for pair in &index.items[item as usize].pairs {
            let class = pair.class;
            let unserved = state.unserved[class as usize];
            if unserved > 0 {
                self.gains.push(Gain {
                    each: pair.net,
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
                    class,
                    rate: flow.rate,
                    from: Some(flow.item),
                });
            }
        }
        self.gains
            .sort_unstable_by_key(|gain| (-gain.each, gain.class, gain.from));
    }

    /// Gives an item the requests that gain most by it, and what becomes free elsewhere to those who wait.
    pub(super) fn fill(&mut self, index: &Index, state: &mut State, item: u32) {
        self.find_gains(index, state, item);
        let gains = std::mem::take(&mut self.gains);
        let mut freed = Vec::new();
        for gain in &gains {
            if state.spare(item) == 0 {
                break;
            }
            let rate = state.may_take(index, gain.class, item).min(gain.rate);
            if rate == 0 {
                continue;
            }
            if let Some(other) = gain.from {
                state.fewer(index, gain.class, other, rate);
                freed.push(other);
            }
            state.more(index, gain.class, item, rate);
        }
        self.gains = gains;
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
