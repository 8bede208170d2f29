//! Split replicas on trial: which of some gains a plan most.

use super::floor::Floor;
use super::improve::Improver;
use super::index::Index;
use super::state::State;
use crate::problem::{Mode, Privacy};
use crate::solution::{PipelineShape, StageShape};

/// Split replicas of other services that are copied on trial.
const COPIES_MAX: usize = 8;

/// Replicas that were tried in a plan.
#[derive(Default)]
pub(super) struct Tried {
    /// The most that one gains, and which.
    pub(super) best: Option<(i128, u32)>,
    /// Whether half of what the best one can hold was asked of it.
    pub(super) is_full: bool,
    pub(super) num: u64,
}

impl Tried {
    pub(super) fn add(&mut self, index: &Index, state: &mut State, improver: &mut Improver, item: u32) {
        self.num += 1;
        if state.placed[item as usize] || !state.fits(index, item) {
            return;
        }
        let (before, mark) = (state.value, state.mark());
        state.place(index, item);
        improver.fill(index, state, &[item]);
        let gain = state.value - before;
        let least = self.best.map_or(0, |best| best.0);
        if gain > least {
            self.best = Some((gain, item));
            self.is_full = 2 * state.spare(item) <= index.items[item as usize].figures.rate_max;
        }
        state.undo(index, mark);
    }
}

/// Split replicas of other services whose weights a service could use too, those first whose nodes have most time left: they
/// take no memory but for sessions.
pub(super) fn copies(index: &Index, state: &State, floor: &Floor) -> Vec<PipelineShape> {
    let mut there: Vec<(u64, u32)> = Vec::new();
    for item in index.splits().filter(|item| state.placed[*item as usize]) {
        let placed = &index.items[item as usize];
        let shared = placed.shape.candidate == floor.candidate && placed.service != floor.service;
        if shared && may_run(index, floor.service, &placed.shape) {
            let parts = placed.figures.parts.iter();
            let rate = parts.map(|part| state.time_left(part.node as usize) / part.busy.max(1));
            there.push((rate.min().unwrap_or(0), item));
        }
    }
    there.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut shapes: Vec<&PipelineShape> = Vec::new();
    for (rate, item) in there {
        let shape = &index.items[item as usize].shape;
        if rate > 0 && shapes.len() < COPIES_MAX && !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes.into_iter().cloned().collect()
}

/// Whether a service may be answered by such a pipeline, its memory and its promises apart.
fn may_run(index: &Index, service: u32, shape: &PipelineShape) -> bool {
    let (fleet, service) = (&index.problem.fleet, index.service(service));
    let num_stages = shape.stages.len();
    let mode = match num_stages {
        2 => Mode::Split,
        _ => Mode::MultiHop,
    };
    let most = service.stages_max.map_or(usize::MAX, |most| most as usize);
    let num_layers = fleet.variant(shape.candidate).1.num_layers();
    let may_hold = |stage: &StageShape| {
        let (start, end) = (stage.layers.start, stage.layers.end);
        let trusted = match &service.privacy {
            Privacy::Open => true,
            Privacy::Trusted {
                domains,
                shallow_layers,
            } => {
                let hidden = start > 0 && end < num_layers && start >= *shallow_layers;
                hidden || domains.contains(&fleet.nodes[stage.node.index()].trust_domain)
            }
        };
        trusted
            && service
                .excluded
                .iter()
                .all(|excluded| excluded.node != stage.node)
    };
    service.modes.contains(&mode) && num_stages <= most && shape.stages.iter().all(may_hold)
}
