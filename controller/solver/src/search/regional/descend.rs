//! The best pipeline under one aim: bound every head's group, discard groups, then explore head by head.

use super::super::budget::Meter;
use super::super::instance::{NEVER, Objective};
use super::aim::Aim;
use super::completion::{Completion, Live};
use super::explore::{Explorer, Next};
use super::pass::Pass;
use super::settle::{Realised, Realiser, settle};

/// Walks of one head that are tried when the cheapest ones cannot be realised (memory that depends on the place in the
/// model, too many stages).
const TRIES: usize = 12;
/// Pipelines that are kept, for the runner-up.
const KEEPS: usize = 4;

/// The best pipelines of a search so far, by the whole objective, whatever aim found them.
#[derive(Debug, Default)]
pub(super) struct Finds {
    /// The cheapest first.
    pub(super) best: Vec<Realised>,
    /// Pipelines that cost as much are not looked for.
    pub(super) limit: u64,
}

impl Finds {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            best: Vec::new(),
            limit,
        }
    }

    /// Keeps a pipeline among the best.
    pub(super) fn add(&mut self, found: Realised) {
        if self.best.iter().any(|other| other.shape == found.shape) {
            return;
        }
        self.limit = self.limit.min(found.value);
        self.best.push(found);
        self.best
            .sort_by(|one, other| (one.value, &one.shape).cmp(&(other.value, &other.shape)));
        self.best.truncate(KEEPS);
    }
}

/// What one aim showed.
#[derive(Debug)]
pub(super) struct Descent {
    /// No pipeline that the aim is for costs less than this or the limit, whichever is less.
    pub(super) lower_bound: u64,
    /// The cheapest pipeline by the aim's own sum, if one below the limit was realised.
    pub(super) cheapest: Option<Realised>,
}

/// How many stages a pipeline may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stages {
    pub(super) min: usize,
    pub(super) max: usize,
    /// Least level of a complete walk in the tables.
    pub(super) level_min: usize,
}

/// A search under one aim.
pub(super) struct Descender<'s> {
    pub(super) pass: &'s Pass,
    pub(super) realiser: &'s Realiser<'s>,
    pub(super) objective: &'s Objective,
    pub(super) stages: Stages,
    /// Whether the first pipeline is enough, whatever it costs.
    pub(super) any_will_do: bool,
}

impl Descender<'_> {
    pub(super) fn run(&self, finds: &mut Finds, meter: &mut Meter<'_>) -> Descent {
        let mut descent = Descent {
            lower_bound: 0,
            cheapest: None,
        };
        let all: Vec<usize> = (0..self.pass.num_groups()).collect();
        let Some(any_head) = Completion::new(self.pass, all, None, None, meter) else {
            return descent;
        };
        let bounds = self.bounds(&any_head);
        let least = bounds.first().map_or(NEVER, |first| first.0);
        descent.lower_bound = self.bound(least);
        if least >= self.limit(finds, &descent) {
            descent.lower_bound = descent.lower_bound.max(finds.limit);
            return descent;
        }
        if finds.limit >= NEVER {
            self.scout(&bounds, finds, &mut descent, meter);
        }
        if self.any_will_do && descent.cheapest.is_some() {
            return descent;
        }
        let Some(live) = any_head.live(self.pass, self.limit(finds, &descent), meter) else {
            return descent;
        };
        self.prove(&any_head, &live, finds, &mut descent, meter);
        descent
    }

    /// Heads' groups with their bounds, the least first.
    fn bounds(&self, any_head: &Completion) -> Vec<(u64, usize)> {
        let bound = |at| (any_head.bound(self.pass, at), any_head.among[at]);
        let mut bounds: Vec<(u64, usize)> = (0..any_head.among.len()).map(bound).collect();
        bounds.sort_unstable();
        bounds
    }

    fn bound(&self, sum: u64) -> u64 {
        self.pass.aim.bound(self.objective, sum)
    }

    /// Sums from here on are of no interest: beyond what was found, or what this aim's cheapest pipeline has.
    fn limit(&self, finds: &Finds, descent: &Descent) -> u64 {
        let cheapest = descent.cheapest.as_ref();
        let least = cheapest.map_or(NEVER, |found| self.pass.aim.sum(&found.sums));
        self.pass.aim.limit(self.objective, finds.limit).min(least)
    }

    /// A good pipeline early: the most promising head's cheapest walk, each node used once.
    fn scout(
        &self,
        bounds: &[(u64, usize)],
        finds: &mut Finds,
        descent: &mut Descent,
        meter: &mut Meter<'_>,
    ) {
        let Some(&(_, head)) = bounds.first() else { return };
        let all: Vec<usize> = (0..self.pass.num_groups()).collect();
        let Some(completion) = Completion::new(self.pass, all, Some(head), None, meter) else {
            return;
        };
        let critical = vec![false; self.pass.num_groups()];
        let limit = self.limit(finds, descent);
        let mut explorer = Explorer::new(
            self.pass,
            &completion,
            &critical,
            self.stages.level_min,
            head,
            limit,
        );
        for _ in 0..TRIES {
            let Next::Walk(_, walk) = explorer.next(limit, meter) else {
                return;
            };
            if self.try_walk(&walk, finds, descent).is_some() {
                return;
            }
        }
    }

    /// The pipeline of a walk, if there is one; of the walk without returns where that has none.
    fn try_walk(&self, walk: &[usize], finds: &mut Finds, descent: &mut Descent) -> Option<u64> {
        let limit = self.limit(finds, descent);
        let settled = |walk: &[usize]| {
            let fleet = self.realiser.fleet;
            settle(fleet, self.pass, walk, self.stages.level_min, limit)
        };
        let parts = settled(walk).or_else(|| settled(&without_returns(walk)))?;
        if !(self.stages.min..=self.stages.max).contains(&parts.len()) {
            return None;
        }
        let found = self.realiser.realise(&parts, &self.pass.aim)?;
        let sum = |found: &Realised| self.pass.aim.sum(&found.sums);
        let value = sum(&found);
        if descent.cheapest.as_ref().is_none_or(|other| value < sum(other)) {
            descent.cheapest = Some(found.clone());
        }
        finds.add(found);
        Some(value)
    }

    /// Whether a group of several nodes has no hop within it under this aim. Its table then holds no sets of several
    /// nodes, which visits apart could well share out; so such visits stay a bound.
    fn is_torn(&self, group: usize) -> bool {
        self.pass.inner(group) >= NEVER && self.realiser.fleet.groups[group].members.len() > 1
    }

    fn prove(
        &self,
        any_head: &Completion,
        live: &Live,
        finds: &mut Finds,
        descent: &mut Descent,
        meter: &mut Meter<'_>,
    ) {
        // Any head's completion is over all groups, so that a group is its own position there.
        let mut heads: Vec<(u64, usize)> = live
            .groups
            .iter()
            .enumerate()
            .map(|(position, &group)| (any_head.bound(self.pass, group), position))
            .collect();
        heads.sort_unstable();
        let mut critical = vec![false; self.pass.num_groups()];
        let mut least = NEVER;
        for (bound, head) in heads {
            if bound >= self.limit(finds, descent) {
                break;
            }
            let limit = self.limit(finds, descent);
            let closed = any_head.closed(self.pass, live.groups[head], live, limit, meter);
            if closed == Some(limit) {
                continue;
            }
            let of_head = self.prove_head(live, head, &mut critical, finds, descent, meter);
            least = least.min(of_head.max(bound));
            if self.any_will_do && descent.cheapest.is_some() {
                break;
            }
            if !meter.spend(0) {
                // Heads come in the order of their bounds, so this one's holds for all that are left.
                least = least.min(bound);
                break;
            }
        }
        let proven = self.bound(least.min(self.limit(finds, descent)));
        descent.lower_bound = descent.lower_bound.max(proven.min(finds.limit));
    }

    /// A bound for the sums of this head's pipelines; the limit if none is below it.
    fn prove_head(
        &self,
        live: &Live,
        head: usize,
        critical: &mut [bool],
        finds: &mut Finds,
        descent: &mut Descent,
        meter: &mut Meter<'_>,
    ) -> u64 {
        let groups = live.groups.clone();
        let completion = Completion::new(self.pass, groups, Some(live.groups[head]), Some(live), meter);
        let Some(completion) = completion else {
            return 0;
        };
        let mut least = completion.bound(self.pass, head);
        loop {
            let mut explorer = Explorer::new(
                self.pass,
                &completion,
                critical,
                self.stages.level_min,
                head,
                self.limit(finds, descent),
            );
            let mut first = None;
            let mut repeated = Vec::new();
            for _ in 0..TRIES {
                match explorer.next(self.limit(finds, descent), meter) {
                    Next::None => return first.unwrap_or_else(|| self.limit(finds, descent)).max(least),
                    Next::Stopped(bound) => return first.unwrap_or(bound).max(least),
                    Next::Walk(sum, walk) => {
                        first = first.or(Some(sum));
                        let realised = self.try_walk(&walk, finds, descent);
                        repeated = repeats(&walk, |group| critical[group] || self.is_torn(group));
                        if !repeated.is_empty() {
                            break;
                        }
                        if realised.is_some_and(|value| value <= first.unwrap_or(0)) {
                            // Nothing of this head is cheaper.
                            return first.unwrap_or(0).max(least);
                        }
                    }
                }
            }
            least = least.max(first.unwrap_or(0));
            if repeated.is_empty() {
                return least;
            }
            for group in repeated {
                critical[group] = true;
            }
        }
    }
}

/// Groups that a walk visits more than once and that are not left out.
fn repeats(walk: &[usize], left_out: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut sorted = walk.to_vec();
    sorted.sort_unstable();
    let mut repeated: Vec<usize> = sorted
        .windows(2)
        .filter(|pair| pair[0] == pair[1] && !left_out(pair[0]))
        .map(|pair| pair[0])
        .collect();
    repeated.dedup();
    repeated
}

/// A walk that visits each group once, in the order of the first visits.
fn without_returns(walk: &[usize]) -> Vec<usize> {
    let first = |&(position, group): &(usize, &usize)| !walk[..position].contains(group);
    walk.iter()
        .enumerate()
        .filter(first)
        .map(|(_, &group)| group)
        .collect()
}

/// An aim and the bound that it gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded {
    pub(super) aim: Aim,
    pub(super) lower_bound: u64,
}
