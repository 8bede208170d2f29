//! Learns from what a pipeline's head observed, one window of requests at a time.

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    edge_node::SpeedCorrection,
    placement::{Accuracy, AppliedCorrection},
    route_table::ObservedService,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use solver::{
    Solution,
    cost::Evaluation,
    problem::Correction,
    search::ForecastRange,
    solution::PipelineShape,
    units::{KernelOrd, ServiceOrd},
};

use super::{Factors, NONE, blank, effective, halvings, learn_memory, present};
use crate::{
    plan::{PlannedPlacement, forecast},
    snapshot::Snapshot,
    world::{Now, World},
};

/// Requests that a window has at least, and that are new in the next one.
const REQUESTS_MIN: i64 = 16;

/// Time between two windows, at least: what is learnt has to show before more is.
const EVERY: SignedDuration = SignedDuration::from_mins(1);

/// A correction that is confirmed is written again after this time.
const CONFIRMED_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Errors of less than a sixteenth are left: heads tell times to two digits.
const TOLERANCE: f64 = 1.0 / 16.0;

/// The part of an error that one window mends, and the most that it may change a factor by.
const GAIN: f64 = 0.5;
const STEP_MAX: f64 = 0.5;

/// Between which a factor stays, in thousandths.
const FACTORS: (i32, i32) = (250, 8_000);

/// Corrections of one node, at most; the schema's bound.
pub(super) const CORRECTIONS_MAX: usize = 64;

/// What is learnt in one round.
pub struct Learner<'w> {
    world: &'w World,
    snapshot: &'w Snapshot,
    solution: &'w Solution,
    /// Corrections of nodes that somebody observed, by node.
    nodes: BTreeMap<String, Vec<SpeedCorrection>>,
    /// Nodes and weights that have had their step.
    stepped: BTreeSet<(String, String)>,
}

/// A time that was observed, and what was predicted of it.
struct Compared {
    observed: f64,
    /// What it is to be, if it is not between what other services' idleness and work explain.
    bound: f64,
    /// Each node's part of the bound that grows with its factor, in the order of their first stages.
    parts: Vec<f64>,
}

impl<'w> Learner<'w> {
    /// Begins with what is known.
    #[must_use]
    pub fn new(world: &'w World, snapshot: &'w Snapshot, solution: &'w Solution) -> Self {
        Self {
            world,
            snapshot,
            solution,
            nodes: BTreeMap::new(),
            stepped: BTreeSet::new(),
        }
    }

    /// Compares what the head of a Placement that serves observed with what is predicted, and learns from it if enough is
    /// new. What was found the last time, otherwise.
    pub fn look(&mut self, placement: &PlannedPlacement) -> Option<Accuracy> {
        let existing = placement.existing.as_ref();
        let last = existing.and_then(|existing| existing.status.as_ref()?.accuracy.clone());
        self.look_again(placement, last.as_ref()).or(last)
    }

    /// Every node whose corrections are others than those that stand in its status.
    #[must_use]
    pub fn changed(mut self) -> BTreeMap<String, Vec<SpeedCorrection>> {
        let world = self.world;
        learn_memory(world, &mut self.nodes);
        let stands = |node: &str| Some(&world.node(node)?.status.as_ref()?.corrections);
        let mut nodes = self.nodes;
        nodes.retain(|node, corrections| stands(node) != Some(corrections));
        nodes
    }

    fn look_again(&mut self, placement: &PlannedPlacement, last: Option<&Accuracy>) -> Option<Accuracy> {
        let now = self.world.at?;
        let pipeline = placement.spec.pipelines.first()?;
        let observed = forecast::observed(self.world, &placement.spec, &placement.service)?;
        if observed.revision != Some(pipeline.revision) || !is_news(observed, last, now) {
            return None;
        }
        let position = self
            .snapshot
            .services
            .iter()
            .position(|name| *name == placement.service)?;
        let service = &self.snapshot.problem.services[position];
        let shape = self.snapshot.shape_of(&placement.spec, &service.candidates)?;
        let range = solver::search::forecast_range(
            &self.snapshot.problem,
            self.solution,
            ServiceOrd::from_index(position),
            &shape,
            observed.prompt_tokens?.unsigned_abs(),
        )?;
        let prompt = self.prompts(observed, &range, &shape, service.concurrency);
        let token = self.tokens(observed, &range, &shape, service.concurrency);
        let kernel = self.snapshot.problem.variant(shape.candidate).1.kernel;
        let mut corrections = vec![];
        // A node that holds two stages has one factor.
        let first_stages = first_stages(&shape);
        for (place, ordinal) in first_stages.into_iter().enumerate() {
            let stage = &pipeline.stages[ordinal];
            let held = self.held(&shape, ordinal, kernel);
            corrections.push(AppliedCorrection {
                node: stage.node.clone(),
                prompt_milli: held.prompt,
                token_milli: held.token,
            });
            let change = |compared: &Option<Compared>| {
                let compared = compared.as_ref();
                compared.map_or(0.0, |compared| compared.change(place))
            };
            let changes = (change(&prompt), change(&token));
            self.learn(&stage.node, &placement.spec.model.digest, held, changes, now);
        }
        let milli = |compared: Option<Compared>| compared.map_or(0, |compared| compared.milli());
        Some(Accuracy {
            first_token_milli: milli(prompt),
            per_token_milli: milli(token),
            requests: observed.requests,
            observed_time: Some(Time(now)),
            corrections,
        })
    }

    /// The factors that predictions hold now for a stage.
    fn held(&self, shape: &PipelineShape, ordinal: usize, kernel: KernelOrd) -> Factors {
        let node = &self.snapshot.problem.nodes[shape.stages[ordinal].node.index()];
        let is_it = |correction: &&Correction| correction.kernel == kernel;
        let factor = |milli: u32| i32::try_from(milli).unwrap_or(i32::MAX);
        let held = node.corrections.iter().find(is_it);
        held.map_or(Factors::NONE, |held| Factors {
            prompt: factor(held.prompt_milli),
            token: factor(held.token_milli),
        })
    }

    /// Times to the first token. Sessions of the service itself may each be in their prompt at the same time.
    fn prompts(
        &self,
        observed: &ObservedService,
        range: &ForecastRange,
        shape: &PipelineShape,
        sessions: u32,
    ) -> Option<Compared> {
        let time = observed.seated_to_first_token_microseconds?;
        let parts = |evaluation: &Evaluation, times: f64| {
            let sheet = &evaluation.sheet;
            let occupied = by_node(shape, |ordinal| sheet.stages[ordinal].prefill_chunk.0 as f64);
            let computed = by_node(shape, |ordinal| {
                sheet.stages[ordinal].prefill_chunk.0 as f64 - self.overhead(shape, ordinal)
            });
            let bottleneck = occupied
                .iter()
                .position(|busy| *busy == sheet.bottleneck.0 as f64);
            let parts = computed.into_iter().enumerate().map(|(place, computed)| {
                let waits = if bottleneck == Some(place) {
                    sheet.chunks
                } else {
                    1
                };
                computed * f64::from(waits) * times
            });
            parts.collect()
        };
        let sessions = f64::from(sessions.max(1));
        compared(
            time,
            (range.alone.predicted.ttft.0 as f64, &|| parts(&range.alone, 1.0)),
            (range.beside.predicted.ttft.0 as f64 * sessions, &|| {
                parts(&range.beside, sessions)
            }),
        )
    }

    /// Times per token. Sessions of the service itself may share each batch.
    fn tokens(
        &self,
        observed: &ObservedService,
        range: &ForecastRange,
        shape: &PipelineShape,
        sessions: u32,
    ) -> Option<Compared> {
        let crowd = sessions > 1;
        let parts = |evaluation: &Evaluation, crowd: bool| {
            by_node(shape, |ordinal| {
                let stage = &evaluation.sheet.stages[ordinal];
                let time = if crowd {
                    stage.decode_at_concurrency
                } else {
                    stage.decode
                };
                time.0 as f64 - self.overhead(shape, ordinal)
            })
        };
        let busy = &range.beside.predicted;
        let most = if crowd {
            busy.tpot_at_concurrency.max(busy.tpot)
        } else {
            busy.tpot
        };
        compared(
            observed.time_per_output_token_microseconds,
            (range.alone.predicted.tpot.0 as f64, &|| {
                parts(&range.alone, false)
            }),
            (most.0 as f64, &|| parts(&range.beside, crowd)),
        )
    }

    /// What a stage takes whatever its layers do, in nanoseconds.
    fn overhead(&self, shape: &PipelineShape, ordinal: usize) -> f64 {
        let node = shape.stages[ordinal].node;
        self.snapshot.problem.nodes[node.index()].message_overhead.0 as f64
    }

    /// Notes for a node and weights that factors were confirmed, or are to change by these parts.
    fn learn(&mut self, node: &str, digest: &str, held: Factors, changes: (f64, f64), now: Now) {
        let steps = changes != (0.0, 0.0);
        let key = (node.to_owned(), digest.to_owned());
        if steps && !self.stepped.insert(key.clone()) {
            return;
        }
        if !steps && self.stepped.contains(&key) {
            return;
        }
        let Some(status) = self.world.node(node).and_then(|node| node.status.as_ref()) else {
            return;
        };
        let Some(blank) = blank(status, digest, now) else {
            return;
        };
        let corrections = self
            .nodes
            .entry(node.to_owned())
            .or_insert_with(|| present(status));
        let known = corrections.iter().position(|known| known.model == digest);
        let next = SpeedCorrection {
            prompt_milli: changed(held.prompt, changes.0),
            token_milli: changed(held.token, changes.1),
            windows: 1,
            ..blank
        };
        match known {
            Some(known) if !steps && is_fresh(&corrections[known], now) => {}
            Some(known) => corrections[known] = following(&corrections[known], next, now),
            None if corrections.len() < CORRECTIONS_MAX => corrections.push(next),
            None => {}
        }
        corrections.sort_by(|one, other| one.model.cmp(&other.model));
    }
}

/// The ordinals of the stages before which no other is on their node.
fn first_stages(shape: &PipelineShape) -> Vec<usize> {
    let before = |ordinal: usize| shape.stages[..ordinal].iter();
    let is_first = |ordinal: &usize| before(*ordinal).all(|other| other.node != shape.stages[*ordinal].node);
    (0..shape.stages.len()).filter(is_first).collect()
}

/// What stages take, added up for each node, in the order of their first stages.
fn by_node(shape: &PipelineShape, of_stage: impl Fn(usize) -> f64) -> Vec<f64> {
    let sum = |first: usize| {
        let on_it = |ordinal: &usize| shape.stages[*ordinal].node == shape.stages[first].node;
        (first..shape.stages.len()).filter(on_it).map(&of_stage).sum()
    };
    first_stages(shape).into_iter().map(sum).collect()
}

/// Whether what was observed is farther from what was predicted than is left alone.
pub(super) fn is_off(accuracy: &Accuracy) -> bool {
    let is_off = |milli: i64| milli > 0 && (milli as f64 / 1e3 - 1.0).abs() > TOLERANCE;
    is_off(accuracy.first_token_milli) || is_off(accuracy.per_token_milli)
}

/// Whether enough requests are new since the last look.
fn is_news(observed: &ObservedService, last: Option<&Accuracy>, now: Now) -> bool {
    let enough = |requests: i64| requests >= REQUESTS_MIN;
    let since_last = last.is_none_or(|last| {
        let passed = last
            .observed_time
            .as_ref()
            .map(|Time(then)| now.duration_since(*then));
        // An agent that has started again counts from the beginning.
        let new = observed.requests - last.requests;
        passed.is_none_or(|passed| passed >= EVERY) && (new < 0 || enough(new))
    });
    since_last && observed.samples.is_some_and(|samples| enough(i64::from(samples)))
}

/// Whether a correction has been confirmed so recently that it is not worth another write.
fn is_fresh(correction: &SpeedCorrection, now: Now) -> bool {
    let Time(then) = correction.observed_time;
    correction.windows > 0 && now.duration_since(then) < CONFIRMED_EVERY
}

/// The next state of a correction that has stood before.
fn following(known: &SpeedCorrection, next: SpeedCorrection, now: Now) -> SpeedCorrection {
    let before = effective(known, Some(now));
    let excess = |prompt: i32, token: i32| (prompt - NONE).abs().max((token - NONE).abs());
    let had_faded = halvings(known, Some(now)) > 0;
    let grows = excess(next.prompt_milli, next.token_milli) > excess(before.prompt, before.token);
    SpeedCorrection {
        windows: if had_faded {
            1
        } else {
            known.windows.saturating_add(1)
        },
        relapses: known.relapses + i32::from(had_faded && grows),
        memory_milli: known.memory_milli,
        ..next
    }
}

/// A time of so many microseconds beside the least and the most that was predicted, each with its parts by node; none when
/// it was not observed.
fn compared(
    microseconds: i64,
    (least, parts_of_least): (f64, &dyn Fn() -> Vec<f64>),
    (most, parts_of_most): (f64, &dyn Fn() -> Vec<f64>),
) -> Option<Compared> {
    let observed = microseconds as f64 * 1e3;
    let is_known = microseconds > 0 && least > 0.0;
    let (bound, parts) = if observed > most {
        (most, parts_of_most())
    } else if observed < least {
        (least, parts_of_least())
    } else {
        (observed, vec![])
    };
    is_known.then_some(Compared {
        observed,
        bound,
        parts,
    })
}

impl Compared {
    /// The observed time over the predicted one, in thousandths.
    fn milli(&self) -> i64 {
        (self.observed / self.bound * 1e3).round() as i64
    }

    /// The part by which a node's factor is to change, so that the error becomes smaller with the least change of all
    /// factors: a node that takes more of the time has more of the error.
    fn change(&self, place: usize) -> f64 {
        let error = self.observed - self.bound;
        let squares: f64 = self.parts.iter().map(|part| part * part).sum();
        if error.abs() <= TOLERANCE * self.bound || squares <= 0.0 {
            return 0.0;
        }
        (GAIN * error * self.parts[place] / squares).clamp(-STEP_MAX, STEP_MAX)
    }
}

fn changed(factor_milli: i32, by: f64) -> i32 {
    let factor = (f64::from(factor_milli) * (1.0 + by)).round();
    (factor as i32).clamp(FACTORS.0, FACTORS.1)
}
