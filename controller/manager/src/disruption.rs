//! How much may be moved for a better place. Moves that nothing forces are let in by a virtual queue: each adds to what is owed,
//! an epoch pays so much of it off, and while more is owed than an epoch pays nothing moves. So over many epochs no more moves than is
//! paid for, whatever single moves are worth, and of several that want to move those go first that save most for what
//! they move (drift plus penalty). Repairs, and whatever what runs may no longer be, are exempt: they neither wait nor owe.
//!
//! Pure: an epoch is a number that follows from the time that a world says it is.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use solver::{
    Solution,
    problem::{LoadedStage, Problem},
    solution::{Decision, PipelineShape},
    units::{Bytes, LayerRange, ServiceOrd},
};

use crate::{
    plan::Plan,
    snapshot::Snapshot,
    world::{World, phase_of, revision_of},
};

/// How much may move in an epoch; what is absent has no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pipelines.
    pub pipelines: Option<u32>,
    /// Bytes of weights that are not in memory where they are to go.
    pub bytes: Option<u64>,
    /// Seconds of an epoch; at least 1.
    pub epoch_seconds: u32,
}

impl Limits {
    /// Everything may move.
    pub const NONE: Self = Self {
        pipelines: None,
        bytes: None,
        epoch_seconds: 600,
    };

    /// The epoch of a time.
    fn epoch(&self, at: Timestamp) -> i64 {
        at.as_second().div_euclid(i64::from(self.epoch_seconds.max(1)))
    }

    fn bounds(&self) -> bool {
        self.pipelines.is_some() || self.bytes.is_some()
    }
}

/// What is owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The epoch until which it is paid; none before the first look.
    epoch: Option<i64>,
    pipelines: u64,
    bytes: u64,
}

/// A service that is to move though nothing forces it to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Move {
    service: ServiceOrd,
    /// Weights that are to be loaded.
    bytes: u64,
    /// What a request costs less, in nanoseconds.
    saving: u64,
}

impl Ledger {
    /// Pays for the epochs that have passed. At the first look what stands is read: each Placement that took another's place
    /// counts in the epoch in which it was made, since nobody knows any more what forced it.
    pub fn pay(&mut self, limits: &Limits, world: &World) {
        let Some(now) = world.at.map(|at| limits.epoch(at)) else {
            return;
        };
        if self.epoch.is_none() {
            let made = world.placements.iter().filter_map(|placement| {
                let made = placement.metadata.creation_timestamp.as_ref()?;
                let counts = revision_of(placement) > 1 && limits.epoch(made.0) == now;
                let stages = placement
                    .spec
                    .pipelines
                    .iter()
                    .flat_map(|pipeline| &pipeline.stages);
                let bytes: i64 = stages.map(|stage| stage.memory.weights_bytes).sum();
                counts.then(|| u64::try_from(bytes).unwrap_or(0))
            });
            for bytes in made {
                self.owe(bytes);
            }
        }
        let passed = self.epoch.map_or(0, |epoch| now.saturating_sub(epoch).max(0));
        let paid = |owed: u64, each: Option<u64>| {
            let passed = u64::try_from(passed).unwrap_or(0);
            each.map_or(0, |each| owed.saturating_sub(each.saturating_mul(passed)))
        };
        self.pipelines = paid(self.pipelines, limits.pipelines.map(u64::from));
        self.bytes = paid(self.bytes, limits.bytes);
        self.epoch = Some(self.epoch.map_or(now, |epoch| epoch.max(now)));
    }

    fn owe(&mut self, bytes: u64) {
        self.pipelines += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether another move may begin.
    fn admits(&self, limits: &Limits) -> bool {
        let below = |owed: u64, each: Option<u64>| each.is_none_or(|each| owed < each);
        below(self.pipelines, limits.pipelines.map(u64::from)) && below(self.bytes, limits.bytes)
    }

    /// The first epoch in which another move may begin; none where no epoch pays for any.
    fn opens(&self, limits: &Limits) -> Option<i64> {
        let epochs = |owed: u64, each: Option<u64>| match each {
            None => Some(0),
            Some(0) => None,
            Some(each) => Some((owed + 1).saturating_sub(each).div_ceil(each)),
        };
        let more =
            epochs(self.pipelines, limits.pipelines.map(u64::from))?.max(epochs(self.bytes, limits.bytes)?);
        Some(self.epoch?.saturating_add(i64::try_from(more).ok()?))
    }

    /// The question once more, if `solution`, the answer to `asked`, moves more than may move now: all that run and have not been
    /// let in stay where they are, unless something forces them.
    #[must_use]
    pub fn ask_again(
        &self,
        limits: &Limits,
        world: &World,
        asked: &Snapshot,
        solution: &Solution,
    ) -> Option<Snapshot> {
        if !limits.bounds() || world.at.is_none() {
            return None;
        }
        let mut moves = moves(world, asked, solution);
        // What saves most for the weights that it moves; a mebibyte more than none, so that moves of nothing compare.
        let rate = |one: &Move| u128::from(one.saving) * (1 << 32) / (u128::from(one.bytes) + (1 << 20));
        moves.sort_by_key(|one| (std::cmp::Reverse(rate(one)), one.service));
        let mut ledger = *self;
        let mut waiting = Vec::new();
        for one in &moves {
            if ledger.admits(limits) {
                ledger.owe(one.bytes);
            } else {
                waiting.push(one.service);
            }
        }
        if waiting.is_empty() {
            return None;
        }
        let until = match ledger.opens(limits) {
            Some(epoch) => format!(
                "a better placement waits for the disruption budget until epoch {epoch}, {} of {} s from now",
                epoch.saturating_sub(ledger.epoch.unwrap_or(epoch)),
                limits.epoch_seconds
            ),
            None => "a better placement waits: the disruption budget allows no moves".to_owned(),
        };
        let mut again = asked.clone();
        let is_let_in = |service: ServiceOrd| {
            let mut let_in = moves.iter().filter(|one| !waiting.contains(&one.service));
            let_in.any(|one| one.service == service) || is_under_way(world, asked, solution, service)
        };
        for (ordinal, question) in again.problem.services.iter_mut().enumerate() {
            if question.previous.is_some() && !is_let_in(ServiceOrd::from_index(ordinal)) {
                question.stays = true;
            }
        }
        for service in waiting {
            again
                .waiting
                .insert(asked.services[service.index()].clone(), until.clone());
        }
        Some(again)
    }

    /// Enters what an applied plan has begun to move.
    pub fn enter<State>(
        &mut self,
        world: &World,
        snapshot: &Snapshot,
        solution: &Solution,
        plan: &Plan<State>,
    ) {
        for one in moves(world, snapshot, solution) {
            let name = &snapshot.services[one.service.index()];
            if plan
                .placements_of(name)
                .any(|placement| placement.existing.is_none())
            {
                self.owe(one.bytes);
            }
        }
    }
}

/// Moves that nothing forces and that have not begun.
fn moves(world: &World, snapshot: &Snapshot, solution: &Solution) -> Vec<Move> {
    let services = (0..snapshot.services.len()).map(ServiceOrd::from_index);
    let moves = services.filter_map(|service| {
        let placed = solution.services.get(service.index())?.placed()?;
        let Decision::Moved { previous_cost } = placed.decision else {
            return None;
        };
        (!is_under_way(world, snapshot, solution, service)).then(|| Move {
            service,
            bytes: bytes_to_load(&snapshot.problem, &placed.pipeline.shape()),
            saving: previous_cost.saturating_sub(placed.cost.total()).0,
        })
    });
    moves.collect()
}

/// Whether what was decided for a service is being made ready already.
fn is_under_way(world: &World, snapshot: &Snapshot, solution: &Solution, service: ServiceOrd) -> bool {
    let Some(placed) = solution
        .services
        .get(service.index())
        .and_then(|outcome| outcome.placed())
    else {
        return false;
    };
    let (name, shape) = (&snapshot.services[service.index()], placed.pipeline.shape());
    let candidates = &snapshot.problem.services[service.index()].candidates;
    let runs = world.runs_on(name).map(|runs| runs.name_any());
    world.placements_of(name).into_iter().any(|placement| {
        Some(placement.name_any()) != runs
            && phase_of(placement) != crds::placement::PlacementPhase::Draining
            && snapshot.shape_of(&placement.spec, candidates).as_ref() == Some(&shape)
    })
}

/// Weights that are not in memory where they are to be, whoever else is about to need them too.
fn bytes_to_load(problem: &Problem, shape: &PipelineShape) -> u64 {
    let variant = problem.variant(shape.candidate).1;
    let num_layers = variant.num_layers();
    let to_load = shape.stages.iter().filter(|stage| {
        let wanted = LoadedStage {
            node: stage.node,
            candidate: shape.candidate,
            layers: stage.layers,
        };
        !problem.loaded.contains(&wanted)
    });
    let bytes = |layers: LayerRange| {
        let range = layers.start as usize..layers.end as usize;
        let ends = match (layers.start == 0, layers.end == num_layers) {
            (true, true) => variant.unsplit_ends_bytes,
            (true, false) => variant.embedding_bytes,
            (false, true) => variant.head_bytes,
            (false, false) => Bytes::ZERO,
        };
        variant.layer_bytes[range].iter().copied().sum::<Bytes>() + ends
    };
    to_load.map(|stage| bytes(stage.layers)).sum::<Bytes>().0
}
