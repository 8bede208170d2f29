//! The cheapest set of nodes of one group for every number of layers: a knapsack, in which each node is used once.

use super::super::budget::Meter;
use super::super::instance::{Element, NEVER};
use super::aim::Aim;
use super::fleet::{Group, Member, Most};

/// Which ends of the pipeline a set of nodes holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ends {
    pub(super) head: bool,
    pub(super) last: bool,
}

impl Ends {
    /// Neither, head, last, both: so that an end is added to what comes before.
    pub(super) const ALL: [Self; 4] = [
        Self::of(false, false),
        Self::of(true, false),
        Self::of(false, true),
        Self::of(true, true),
    ];

    pub(super) const fn of(head: bool, last: bool) -> Self {
        Self { head, last }
    }

    fn index(self) -> usize {
        usize::from(self.head) + 2 * usize::from(self.last)
    }

    /// Both sets together.
    pub(super) fn with(self, other: Self) -> Self {
        Self::of(self.head || other.head, self.last || other.last)
    }
}

/// How many nodes a table tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// Sets of `1..=top` nodes.
    pub(super) top: usize,
    /// Whether `top` stands for more nodes too.
    pub(super) open: bool,
}

impl Levels {
    /// The level of both sets together; none if that is too many.
    pub(super) fn sum(self, one: usize, other: usize) -> Option<usize> {
        let both = one + other;
        if self.open {
            Some(both.min(self.top))
        } else {
            (both <= self.top).then_some(both)
        }
    }
}

/// Costs of the cheapest sets of a group, by ends, level and layers. Hops within the group are paid for.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Nodes of the group.
    num_nodes: usize,
    levels: Levels,
    row: usize,
    costs: Vec<u64>,
}

/// What a role costs: `base` with one layer, `layer` for each further one, `most` layers at most.
#[derive(Clone, Copy, Debug)]
struct Role {
    ends: Ends,
    base: u64,
    layer: u64,
    most: u32,
}

/// A node in a set, with its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) member: usize,
    pub(super) layers: u32,
    pub(super) ends: Ends,
}

impl Table {
    /// Fills the table; `None` when the budget ends.
    pub(super) fn new(
        group: &Group,
        aim: &Aim,
        inner: u64,
        num_layers: u32,
        levels: Levels,
        meter: &mut Meter<'_>,
    ) -> Option<Self> {
        let mut table = Self::empty(group, num_layers, levels);
        let mut scratch = Scratch::default();
        let whole = (Ends::of(true, true), levels.top);
        for member in &group.members {
            // Each cost is slid to twice, at some three steps each.
            if !meter.spend(table.costs.len() as u64 * 6) {
                return None;
            }
            table.add(&roles(member, aim, num_layers), inner, whole, &mut scratch);
        }
        Some(table)
    }

    fn empty(group: &Group, num_layers: u32, levels: Levels) -> Self {
        let row = num_layers as usize + 1;
        Self {
            num_nodes: group.members.len(),
            levels,
            row,
            costs: vec![NEVER; 4 * levels.top * row],
        }
    }

    /// Nodes of the group: no pipeline visits it more often.
    pub(super) fn num_nodes(&self) -> usize {
        self.num_nodes
    }

    fn at(&self, ends: Ends, level: usize) -> usize {
        (ends.index() * self.levels.top + level - 1) * self.row
    }

    /// Cost of a set with these ends, of this level, for every number of layers.
    pub(super) fn row(&self, ends: Ends, level: usize) -> &[u64] {
        let at = self.at(ends, level);
        &self.costs[at..at + self.row]
    }

    /// Least cost over all levels.
    pub(super) fn least(&self, ends: Ends, layers: usize) -> u64 {
        let costs = (1..=self.levels.top).map(|level| self.row(ends, level)[layers]);
        costs.min().unwrap_or(NEVER)
    }

    /// Offers a node to every set with at most these ends and this level: sets with more ends first, since they are made from
    /// those with fewer.
    fn add(&mut self, roles: &[Role], inner: u64, (most, level_max): (Ends, usize), scratch: &mut Scratch) {
        for ends in Ends::ALL
            .into_iter()
            .rev()
            .filter(|ends| most.with(*ends) == most)
        {
            for level in (1..=level_max).rev() {
                for role in roles {
                    self.extend(ends, level, role, inner, scratch);
                }
            }
        }
    }

    /// Sets of `level` whose newest node has this role.
    fn extend(&mut self, ends: Ends, level: usize, role: &Role, inner: u64, scratch: &mut Scratch) {
        let Some(before) = without(ends, role.ends) else {
            return;
        };
        let target = self.at(ends, level);
        let same_level = (self.levels.open && level == self.levels.top).then_some(level);
        let joined = Role {
            base: role.base.saturating_add(inner),
            ..*role
        };
        for source in [same_level, (level > 1).then_some(level - 1)]
            .into_iter()
            .flatten()
        {
            let at = self.at(before, source);
            scratch.source.clear();
            scratch.source.extend_from_slice(&self.costs[at..at + self.row]);
            slide(&joined, &mut self.costs[target..target + self.row], scratch);
        }
        // Last, or the node would be joined to itself.
        if level == 1 && before == Ends::default() {
            let most = (role.most as usize).min(self.row - 1);
            let mut cost = role.base;
            for layers in 1..=most {
                let least = &mut self.costs[target + layers];
                *least = (*least).min(cost).min(NEVER);
                cost = cost.saturating_add(role.layer);
            }
        }
    }

    /// The nodes of the cheapest set, in the order of the group; of a set that exists.
    pub(super) fn picks(
        group: &Group,
        aim: &Aim,
        inner: u64,
        num_layers: u32,
        levels: Levels,
        wanted: (Ends, usize, u32),
    ) -> Option<Vec<Pick>> {
        // Smaller sets are all that the wanted one is made of.
        let (ends, level, layers) = wanted;
        let mut table = Self::empty(group, layers, levels);
        let mut scratch = Scratch::default();
        let mut history = vec![table.clone()];
        for member in &group.members {
            let roles = roles(member, aim, num_layers);
            table.add(&roles, inner, (ends, level), &mut scratch);
            history.push(table.clone());
        }
        let (mut ends, mut level, mut layers) = wanted;
        let mut picks = Vec::new();
        for (member, described) in group.members.iter().enumerate().rev() {
            if (ends, level, layers) == (Ends::default(), 0, 0) {
                break;
            }
            let (before, after) = (&history[member], &history[member + 1]);
            let cost = after.row(ends, level)[layers as usize];
            if before.row(ends, level)[layers as usize] == cost {
                continue;
            }
            let roles = roles(described, aim, num_layers);
            let (role, k, left) = roles
                .iter()
                .find_map(|role| before.last_step(role, inner, (ends, level, layers), cost))?;
            picks.push(Pick {
                member,
                layers: k,
                ends: role,
            });
            (ends, level, layers) = left;
        }
        picks.reverse();
        (layers == 0).then_some(picks)
    }

    /// How a set of this cost came about: the newest node's ends and layers, and the set before it.
    fn last_step(
        &self,
        role: &Role,
        inner: u64,
        (ends, level, layers): (Ends, usize, u32),
        cost: u64,
    ) -> Option<(Ends, u32, (Ends, usize, u32))> {
        let before = without(ends, role.ends)?;
        let own = |k: u32| {
            role.base
                .saturating_add(role.layer.saturating_mul(u64::from(k) - 1))
        };
        if level == 1 && before == Ends::default() && layers <= role.most && own(layers) == cost {
            return Some((role.ends, layers, (Ends::default(), 0, 0)));
        }
        let same_level = (self.levels.open && level == self.levels.top).then_some(level);
        for source in [same_level, (level > 1).then_some(level - 1)]
            .into_iter()
            .flatten()
        {
            let row = self.row(before, source);
            for k in 1..=role.most.min(layers) {
                let rest = row[(layers - k) as usize];
                if rest < NEVER && rest + own(k) + inner == cost {
                    return Some((role.ends, k, (before, source, layers - k)));
                }
            }
        }
        None
    }
}

/// What is left of the ends of a set when one node's are taken away; none if it has them not.
fn without(ends: Ends, taken: Ends) -> Option<Ends> {
    let holds = (ends.head || !taken.head) && (ends.last || !taken.last);
    holds.then_some(Ends::of(ends.head && !taken.head, ends.last && !taken.last))
}

/// The roles that a node can have under an aim.
fn roles(member: &Member, aim: &Aim, num_layers: u32) -> Vec<Role> {
    let Member {
        node: _,
        stage,
        up,
        down,
        token_up,
        token_down,
        ingress,
        most,
    } = member;
    let role = |ends: Ends, one: Element, ways: [&Element; 3], most: u32| {
        let open = ways.iter().all(|way| aim.price(way) < NEVER);
        let base = ways
            .iter()
            .fold(aim.sum(&one), |sum, way| sum.saturating_add(aim.sum(way)));
        let within = match aim.busy_max.checked_sub(one.busy) {
            None => 0,
            Some(left) => (left.checked_div(stage.layer.busy).unwrap_or(u64::MAX)).saturating_add(1),
        };
        let most = u64::from(most.min(num_layers - 1)).min(within);
        Role {
            ends,
            base,
            layer: aim.sum(&stage.layer),
            most: if open {
                u32::try_from(most).unwrap_or(u32::MAX)
            } else {
                0
            },
        }
    };
    let (one, nothing) = (stage.fixed.and(stage.layer), Element::default());
    [
        role(Ends::of(false, false), one, [up, down, &nothing], most.middle),
        role(
            Ends::of(true, false),
            one.and(stage.first),
            [ingress, up, token_down],
            most.head,
        ),
        role(
            Ends::of(false, true),
            stage.fixed.and(stage.last),
            [down, token_up, &nothing],
            most.last,
        ),
    ]
    .into_iter()
    .filter(|role| role.most > 0)
    .collect()
}

/// Most layers of each role under an aim.
pub(super) fn most_layers(member: &Member, aim: &Aim, num_layers: u32) -> Most {
    let mut most = Most::default();
    for role in roles(member, aim, num_layers) {
        match (role.ends.head, role.ends.last) {
            (true, _) => most.head = role.most,
            (_, true) => most.last = role.most,
            _ => most.middle = role.most,
        }
    }
    most
}

/// Memory that is used again and again.
#[derive(Default)]
struct Scratch {
    source: Vec<u64>,
    window: Vec<usize>,
}

/// Lowers `target[l]` to the least of `source[l - k] + cost of k layers`, by a window of ascending costs.
fn slide(role: &Role, target: &mut [u64], scratch: &mut Scratch) {
    let Scratch { source, window } = scratch;
    let is_there = |cost: &u64| *cost < NEVER;
    let (Some(first_source), Some(last_source)) = (
        source.iter().position(is_there),
        source.iter().rposition(is_there),
    ) else {
        return;
    };
    let last_target = (last_source + role.most as usize).min(target.len() - 1);
    let longest = target.len() as u64;
    let key = |at: usize| source[at].saturating_add((longest - at as u64).saturating_mul(role.layer));
    window.clear();
    let mut first = 0;
    let reached = target[..=last_target].iter_mut().enumerate();
    for (layers, target) in reached.skip(first_source + 1) {
        let newest = layers - 1;
        if source[newest] < NEVER {
            while window.len() > first && key(window[window.len() - 1]) >= key(newest) {
                window.pop();
            }
            window.push(newest);
        }
        while first < window.len() && window[first] + (role.most as usize) < layers {
            first += 1;
        }
        if let Some(&best) = window.get(first) {
            let further = (layers - best - 1) as u64;
            let cost = source[best]
                .saturating_add(role.base)
                .saturating_add(role.layer.saturating_mul(further));
            *target = (*target).min(cost).min(NEVER);
        }
    }
}
