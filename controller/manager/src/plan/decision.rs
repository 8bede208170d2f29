//! The solver's answer for one service as the content of a Placement: ordinals become names, nanoseconds become
//! microseconds, reasons become sentences.

use crds::{
    ActivationPrecision, InferenceMode, LLMService, PlacementSpec,
    placement::{
        Alternative, ChosenModel, Explanation, LinkRate, Pipeline, PipelineStage, Prediction, StageCost,
        StageMemory,
    },
};
use kube::ResourceExt;
use solver::{
    problem::{Candidate, Mode, Precision},
    solution::{Assistant, Infeasible, Offer, PipelineShape, Placed, Predicted, Role, Stage},
    units::{Bytes, MicroJoules, Nanos},
};

use super::{
    stages::name_of,
    wording::{self, Wording},
};
use crate::{
    snapshot::{Snapshot, links},
    world::{ServiceName, World},
};

/// Rates that an explanation tells; the schema's bound.
const LINKS_MAX: usize = 64;

/// The content of a Placement for the solver's answer. Its pipelines have revision 0 until the decision is new.
#[must_use]
pub fn content(
    world: &World,
    snapshot: &Snapshot,
    service: &LLMService,
    name: &ServiceName,
    placed: &Placed,
) -> PlacementSpec {
    let model = chosen_model(world, snapshot, placed.pipeline.candidate);
    let mut stages: Vec<PipelineStage> = (0..placed.pipeline.stages.len())
        .map(|ordinal| stage_of(world, snapshot, placed, ordinal))
        .collect();
    let chunk_rows = signed(u64::from(placed.pipeline.chunk_rows));
    for stage in &mut stages {
        stage.stage = name_of(
            &model,
            stage,
            service.spec.context_tokens,
            service.spec.concurrency,
            chunk_rows,
        );
    }
    PlacementSpec {
        service: name.name.clone(),
        model,
        context_tokens: service.spec.context_tokens,
        sessions: service.spec.concurrency,
        pipelines: vec![Pipeline {
            name: format!("{name}/0"),
            revision: 0,
            mode: mode_of(placed.pipeline.mode),
            prefill_chunk_rows: chunk_rows,
            stages,
            predicted: prediction(snapshot, &placed.predicted, service),
        }],
        explanation: explanation(snapshot, service, name, placed),
    }
}

/// Why a service has no pipeline, with what each node has to say.
#[must_use]
pub fn infeasible(snapshot: &Snapshot, infeasible: &Infeasible) -> String {
    clip(Wording(snapshot).infeasible(infeasible), 2000)
}

fn explanation(
    snapshot: &Snapshot,
    service: &LLMService,
    name: &ServiceName,
    placed: &Placed,
) -> Explanation {
    let words = Wording(snapshot);
    let certificate = &placed.certificate;
    let runner_up = placed.runner_up.iter().map(|runner_up| Alternative {
        mode: mode_of(runner_up.mode),
        pipeline: shape_line(snapshot, &runner_up.shape),
        predicted: Some(prediction(snapshot, &runner_up.predicted, service)),
        why_not: format!(
            "the runner-up: costs {}",
            wording::beside(runner_up.cost.total(), placed.cost.total(), " per request")
        ),
    });
    let told = |shape: &PipelineShape| {
        let runner_up = placed.runner_up.as_ref();
        *shape == placed.pipeline.shape() || runner_up.is_some_and(|runner_up| *shape == runner_up.shape)
    };
    let best_of_modes = placed.alternatives.iter();
    let best_of_modes = best_of_modes
        .filter(|alternative| !matches!(&alternative.offer, Offer::Found { shape, .. } if told(shape)));
    let cost = placed.cost.total();
    let modes = best_of_modes.map(|alternative| alternative_of(snapshot, service, alternative, Some(cost)));
    Explanation {
        summary: clip(words.summary(placed), 2000),
        binding: clip(words.binding(&placed.binding), 1000),
        objective_microseconds: micros(placed.cost.total()),
        lower_bound_microseconds: micros(certificate.lower_bound),
        gap_parts_per_million: gap(placed.cost.total(), certificate.lower_bound),
        links: link_rates(snapshot, service, name, placed),
        alternatives: runner_up.chain(modes).take(16).collect(),
    }
}

/// (objective − bound) / objective, in parts per million. A service that leaves a better pipeline to others has a gap, too.
fn gap(objective: Nanos, bound: Nanos) -> i64 {
    let missing = u128::from(objective.saturating_sub(bound).0) * 1_000_000;
    i64::try_from(missing / u128::from(objective.0.max(1))).unwrap_or(i64::MAX)
}

/// What the modes would give that are told and never chosen, of a service that has no pipeline.
#[must_use]
pub fn told(snapshot: &Snapshot, service: &LLMService, infeasible: &Infeasible) -> Vec<Alternative> {
    let told = infeasible.told.iter();
    told.map(|alternative| alternative_of(snapshot, service, alternative, None))
        .collect()
}

fn alternative_of(
    snapshot: &Snapshot,
    service: &LLMService,
    alternative: &solver::solution::Alternative,
    chosen: Option<Nanos>,
) -> Alternative {
    let (pipeline, predicted) = match &alternative.offer {
        Offer::Found { shape, predicted, .. } => (
            clip(shape_line(snapshot, shape), 2000),
            Some(prediction(snapshot, predicted, service)),
        ),
        _ => (String::new(), None),
    };
    Alternative {
        mode: mode_of(alternative.mode),
        pipeline,
        predicted,
        why_not: clip(Wording(snapshot).offer(&alternative.offer, chosen), 1000),
    }
}

/// The rates between neighbours of the pipeline, and from its end back to its head, where an EdgeLink joins them.
fn link_rates(
    snapshot: &Snapshot,
    service: &LLMService,
    name: &ServiceName,
    placed: &Placed,
) -> Vec<LinkRate> {
    let Some(asked) = snapshot.services.iter().position(|known| known == name) else {
        return vec![];
    };
    let asked = &snapshot.problem.services[asked];
    let nodes: Vec<_> = placed.pipeline.stages.iter().map(|stage| stage.node).collect();
    let hops = (0..nodes.len()).map(|hop| (nodes[hop], nodes[(hop + 1) % nodes.len()]));
    hops.filter_map(|(from, to)| {
        let source = *snapshot.rates.get(&(from, to))?;
        let all = &snapshot.problem.links;
        let link = all
            .binary_search_by_key(&(from, to), |link| (link.from, link.to))
            .ok()?;
        Some(LinkRate {
            from: snapshot.node_name(from).to_owned(),
            to: snapshot.node_name(to).to_owned(),
            bits_per_second: links::bits_for(asked, &all[link]),
            why: links::why(source, service.spec.link_rate_percentile),
        })
    })
    .take(LINKS_MAX)
    .collect()
}

fn chosen_model(world: &World, snapshot: &Snapshot, candidate: Candidate) -> ChosenModel {
    let names = &snapshot.models[candidate.model.index()];
    let variant_name = &names.variants[candidate.variant.index()];
    let model = world
        .models
        .iter()
        .find(|model| {
            model.name_any() == names.name && model.namespace().as_deref() == Some(&names.namespace)
        })
        .expect("a snapshot names models of its world");
    let spec = model
        .spec
        .variants
        .iter()
        .find(|variant| variant.name == *variant_name);
    let status = model
        .status
        .iter()
        .flat_map(|status| &status.variants)
        .find(|known| known.name == *variant_name);
    let layers = model
        .status
        .iter()
        .flat_map(|status| &status.architecture)
        .map(|shape| shape.layers)
        .next();
    ChosenModel {
        name: names.name.clone(),
        variant: variant_name.clone(),
        digest: status.map(|status| status.digest.clone()).unwrap_or_default(),
        uri: spec.map(|spec| spec.uri.clone()).unwrap_or_default(),
        sha256: spec.and_then(|spec| spec.sha256.clone()),
        layers: layers.unwrap_or(0),
        quantisation: status
            .map(|status| status.quantisation.clone())
            .unwrap_or_default(),
    }
}

fn stage_of(world: &World, snapshot: &Snapshot, placed: &Placed, ordinal: usize) -> PipelineStage {
    let stage: &Stage = &placed.pipeline.stages[ordinal];
    let node = snapshot.node_name(stage.node);
    let device = world
        .node(node)
        .and_then(|node| node.status.as_ref()?.devices.first());
    PipelineStage {
        stage: String::new(),
        node: node.to_owned(),
        device: device.map_or_else(|| "cpu".to_owned(), |device| device.name.clone()),
        first_layer: signed(u64::from(stage.layers.start)),
        end_layer: signed(u64::from(stage.layers.end)),
        sends: stage.activation.map(activation_of).unwrap_or_default(),
        memory: memory_of(stage),
        cost: cost_of(placed, ordinal),
    }
}

/// The worker's own memory is the node's, not the stage's.
fn memory_of(stage: &Stage) -> StageMemory {
    let memory = &stage.memory;
    let weights = memory.weights + memory.embedding + memory.head;
    let total = memory.total().saturating_sub(memory.worker);
    StageMemory {
        weights_bytes: bytes(weights),
        key_value_bytes: bytes(memory.kv_cache),
        compute_bytes: bytes(total.saturating_sub(weights + memory.kv_cache)),
        total_bytes: bytes(total),
    }
}

fn cost_of(placed: &Placed, ordinal: usize) -> StageCost {
    let sheet = &placed.sheet;
    let stage = sheet.stages.get(ordinal).copied().unwrap_or_default();
    let chunks = u64::from(sheet.chunks);
    let (hop_prefill, hop_decode) = match (sheet.hops.get(ordinal), &sheet.return_hop) {
        (Some(hop), _) => (
            hop.latency + hop.chunk_transfer.times(chunks),
            hop.latency + hop.token_transfer,
        ),
        (None, Some(hop)) => (hop.latency + hop.token_transfer, hop.latency + hop.token_transfer),
        (None, None) => (Nanos::ZERO, Nanos::ZERO),
    };
    StageCost {
        prefill_microseconds: micros(stage.prefill_chunk.times(chunks) + stage.head),
        decode_microseconds: micros(stage.decode),
        hop_prefill_microseconds: micros(hop_prefill),
        hop_decode_microseconds: micros(hop_decode),
    }
}

fn prediction(snapshot: &Snapshot, predicted: &Predicted, service: &LLMService) -> Prediction {
    let MicroJoules(energy) = predicted.energy_per_token;
    Prediction {
        time_to_first_token_microseconds: micros(predicted.ttft),
        time_per_output_token_microseconds: micros(predicted.tpot),
        battery_microjoules_per_token: signed(energy),
        prompt_tokens: Some(snapshot.prompt_tokens(service)),
    }
}

/// A pipeline that was not chosen in one line.
pub(super) fn shape_line(snapshot: &Snapshot, shape: &PipelineShape) -> String {
    let stages = shape
        .stages
        .iter()
        .map(|stage| format!("{}{}", snapshot.node_name(stage.node), stage.layers));
    let stages = stages.collect::<Vec<_>>().join(" ");
    let Some(Assistant {
        candidate,
        node,
        role,
    }) = shape.assistant
    else {
        return stages;
    };
    let (small, node) = (Wording(snapshot).candidate(candidate), snapshot.node_name(node));
    match role {
        Role::Drafts { tokens } => format!("{small} on {node} drafts {tokens} for {stages}"),
        Role::AnswersFirst => format!("{small} on {node}, then {stages}"),
    }
}

/// A Placement's pipeline in one line: `laptop[0, 12) robot[12, 30)`.
#[must_use]
pub fn pipeline_line(spec: &PlacementSpec) -> String {
    let stages = spec.pipelines.iter().flat_map(|pipeline| &pipeline.stages);
    stages
        .map(|stage| format!("{}[{}, {})", stage.node, stage.first_layer, stage.end_layer))
        .collect::<Vec<_>>()
        .join(" ")
}

pub(super) fn mode_of(mode: Mode) -> InferenceMode {
    match mode {
        Mode::OnDevice => InferenceMode::OnDevice,
        Mode::OnServer => InferenceMode::OnServer,
        Mode::Split => InferenceMode::Split,
        Mode::MultiHop => InferenceMode::MultiHop,
        Mode::UShaped => InferenceMode::UShaped,
        Mode::Speculative => InferenceMode::Speculative,
        Mode::Cascade => InferenceMode::Cascade,
    }
}

fn activation_of(precision: Precision) -> ActivationPrecision {
    match precision {
        Precision::F32 => ActivationPrecision::F32,
        Precision::F16 => ActivationPrecision::F16,
        Precision::Int8Outliers => ActivationPrecision::Int8Outliers,
    }
}

/// Whole microseconds, rounded up.
pub(super) fn micros(time: Nanos) -> i64 {
    signed(time.0.div_ceil(1_000))
}

fn bytes(bytes: Bytes) -> i64 {
    signed(bytes.0)
}

fn signed<Number: TryFrom<u64> + Bounded>(number: u64) -> Number {
    Number::try_from(number).unwrap_or(Number::MAXIMUM)
}

/// The largest value of a number type, which stands for anything beyond it.
trait Bounded {
    const MAXIMUM: Self;
}

impl Bounded for i32 {
    const MAXIMUM: Self = Self::MAX;
}

impl Bounded for i64 {
    const MAXIMUM: Self = Self::MAX;
}

pub(super) fn clip(text: String, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text;
    }
    text.chars().take(characters - 1).chain(['…']).collect()
}
