//! Judges a solution, independently of how it was found.
//!
//! Shares no code with search or cost: memory is added up from the problem's own figures, links are looked up by
//! scanning, layers are ticked off one by one. Judges legality only, not whether a better answer exists.

use crate::problem::{Candidate, Exclusion, Mode, Privacy, Problem, Service, Tier};
use crate::solution::{
    Assistant, Illegality, NodeReason, Outcome, PipelineShape, Role, Solution, StageShape,
};
use crate::units::{Bytes, LayerRange, NodeOrd, ServiceOrd};

/// What stands on each node: stages of the pipelines that were admitted so far.
#[derive(Clone, Debug, Default)]
pub struct Occupancy {
    stages: Vec<(ServiceOrd, PipelineShape)>,
}

impl Occupancy {
    /// Admits a pipeline, legal or not.
    pub fn admit(&mut self, service: ServiceOrd, shape: PipelineShape) {
        self.stages.push((service, shape));
    }
}

/// Everything that is illegal in a solution, by service; nothing if it is legal.
#[must_use]
pub fn check(problem: &Problem, solution: &Solution) -> Vec<(ServiceOrd, Illegality)> {
    let mut found = Vec::new();
    let mut occupancy = Occupancy::default();
    for (index, outcome) in solution.services.iter().enumerate() {
        let service = ServiceOrd::from_index(index);
        let Outcome::Placed(placed) = outcome else {
            continue;
        };
        let shape = placed.pipeline.shape();
        found.extend(
            check_pipeline(problem, service, &shape, &occupancy)
                .into_iter()
                .map(|why| (service, why)),
        );
        if mode_of(problem, &shape) != Some(placed.pipeline.mode) {
            found.push((service, Illegality::Mode));
        }
        occupancy.admit(service, shape);
    }
    found
}

/// Everything that is illegal in a service's pipeline beside what stands on the nodes already.
#[must_use]
pub fn check_pipeline(
    problem: &Problem,
    service: ServiceOrd,
    shape: &PipelineShape,
    occupancy: &Occupancy,
) -> Vec<Illegality> {
    let asked = &problem.services[service.index()];
    if !covers_model(problem, shape) {
        return vec![Illegality::Malformed];
    }
    let mut found = Vec::new();
    let (model, variant) = problem.variant(shape.candidate);
    let good = variant.quality_milli >= asked.quality_min_milli && model.context_max >= asked.context_tokens;
    if !asked.candidates.contains(&shape.candidate) || !good || (shape.stages.len() > 1 && !model.splittable)
    {
        found.push(Illegality::Candidate);
    }
    let allowed = mode_of(problem, shape).is_some_and(|mode| asked.modes.contains(&mode));
    if !allowed
        || asked
            .stages_max
            .is_some_and(|most| shape.stages.len() > most as usize)
    {
        found.push(Illegality::Mode);
    }
    for (position, stage) in shape.stages.iter().enumerate() {
        check_node(problem, asked, shape.candidate, stage, &mut found);
        let earlier = &shape.stages[..position];
        if earlier.iter().all(|other| other.node != stage.node) {
            check_memory(problem, service, shape, stage.node, occupancy, &mut found);
            check_company(problem, service, shape, stage.node, occupancy, &mut found);
        }
    }
    if let Some(assistant) = shape.assistant {
        if !may_assist(problem, asked, shape.candidate, assistant) {
            found.push(Illegality::Assistant);
        }
        check_node(
            problem,
            asked,
            assistant.candidate,
            &assistant_stage(problem, assistant),
            &mut found,
        );
        if shape.stages.iter().all(|stage| stage.node != assistant.node) {
            check_memory(problem, service, shape, assistant.node, occupancy, &mut found);
            check_company(problem, service, shape, assistant.node, occupancy, &mut found);
        }
    }
    check_links(problem, asked, shape, &mut found);
    check_activations(asked, shape, &mut found);
    found
}

/// The small model as the one stage that it is.
fn assistant_stage(problem: &Problem, assistant: Assistant) -> StageShape {
    let layers = problem.models[assistant.candidate.model.index()].variants[0]
        .layer_bytes
        .len();
    StageShape {
        node: assistant.node,
        layers: LayerRange {
            start: 0,
            end: u32::try_from(layers).unwrap_or(u32::MAX),
        },
        activation: None,
    }
}

/// Whether a model may stand beside another one in its role.
fn may_assist(problem: &Problem, service: &Service, large: Candidate, assistant: Assistant) -> bool {
    let small = assistant.candidate;
    let (large_model, small_model) = (
        &problem.models[large.model.index()],
        &problem.models[small.model.index()],
    );
    if small_model.context_max < service.context_tokens {
        return false;
    }
    match assistant.role {
        Role::Drafts { tokens } => {
            let named = large_model.draft.is_some_and(|draft| draft.model == small.model);
            named && small_model.vocabulary == large_model.vocabulary && (1..=16).contains(&tokens)
        }
        Role::AnswersFirst => {
            let rank = |wanted: Candidate| service.candidates.iter().position(|other| *other == wanted);
            let quality = small_model.variants[small.variant.index()].quality_milli;
            small.model != large.model && rank(small) > rank(large) && quality >= service.quality_min_milli
        }
    }
}

fn mode_of(problem: &Problem, shape: &PipelineShape) -> Option<Mode> {
    match shape.assistant.map(|assistant| assistant.role) {
        Some(_)
            if shape.stages.len() > 2
                && shape.stages[0].node == shape.stages[shape.stages.len() - 1].node =>
        {
            return None;
        }
        Some(Role::Drafts { .. }) => return Some(Mode::Speculative),
        Some(Role::AnswersFirst) => return Some(Mode::Cascade),
        None => {}
    }
    match shape.stages.as_slice() {
        [] => None,
        [only] if problem.nodes[only.node.index()].tier == Tier::Device => Some(Mode::OnDevice),
        [_] => Some(Mode::OnServer),
        [_, _] => Some(Mode::Split),
        [first, .., last] if first.node == last.node => Some(Mode::UShaped),
        _ => Some(Mode::MultiHop),
    }
}

fn covers_model(problem: &Problem, shape: &PipelineShape) -> bool {
    let known = problem
        .models
        .get(shape.candidate.model.index())
        .and_then(|model| model.variants.get(shape.candidate.variant.index()));
    let Some(variant) = known else { return false };
    let mut held = vec![0; variant.layer_bytes.len()];
    let mut next = 0;
    for (position, stage) in shape.stages.iter().enumerate() {
        let LayerRange { start, end } = stage.layers;
        if start != next
            || end <= start
            || end as usize > held.len()
            || stage.node.index() >= problem.nodes.len()
        {
            return false;
        }
        // Nobody has two stages, but for the first and the last with others between them.
        let before = &shape.stages[..position];
        let returns = position > 1 && position + 1 == shape.stages.len();
        let others = if returns { &before[1..] } else { before };
        if others.iter().any(|other| other.node == stage.node) {
            return false;
        }
        held[start as usize..end as usize]
            .iter_mut()
            .for_each(|count| *count += 1);
        next = end;
    }
    let assistant = shape.assistant.is_none_or(|assistant| {
        let small = problem.models.get(assistant.candidate.model.index());
        let known = small.is_some_and(|small| assistant.candidate.variant.index() < small.variants.len());
        known && assistant.node.index() < problem.nodes.len()
    });
    assistant && held.iter().all(|&count| count == 1)
}

fn check_node(
    problem: &Problem,
    service: &Service,
    candidate: Candidate,
    stage: &StageShape,
    found: &mut Vec<Illegality>,
) {
    let node = &problem.nodes[stage.node.index()];
    let mut refuse = |why| {
        found.push(Illegality::Node {
            node: stage.node,
            why,
        })
    };
    for excluded in service
        .excluded
        .iter()
        .filter(|excluded| excluded.node == stage.node)
    {
        let runs = service
            .previous
            .as_ref()
            .filter(|runs| runs.candidate == candidate);
        let runs = runs.is_some_and(|runs| {
            let mut stages = runs.stages.iter();
            stages.any(|other| other.node == stage.node && other.layers == stage.layers)
        });
        if runs && matches!(excluded.why, Exclusion::TaintForNew(_)) {
            continue;
        }
        refuse(NodeReason::Excluded(excluded.why));
    }
    if let Some(battery) = node.battery.filter(|battery| battery.charge <= battery.reserve) {
        refuse(NodeReason::BatteryLow {
            charge: battery.charge,
            reserve: battery.reserve,
        });
    }
    if node.compute_share_milli == 0 {
        refuse(NodeReason::NoCompute);
    }
    let (_, variant) = problem.variant(candidate);
    if node.declared.is_none() {
        match node.speeds.iter().find(|table| table.kernel == variant.kernel) {
            Some(table) if !table.head.is_empty() => {}
            _ => refuse(NodeReason::SpeedUnknown),
        }
    }
    if let Privacy::Trusted {
        domains,
        shallow_layers,
    } = &service.privacy
    {
        let sees_output = stage.layers.end as usize == variant.layer_bytes.len();
        let sees_prompt = stage.layers.start == 0 || stage.layers.start < *shallow_layers;
        if (sees_output || sees_prompt) && !domains.contains(&node.trust_domain) {
            refuse(NodeReason::Untrusted);
        }
    }
}

/// The node's memory with all its stages: equal weights once, one worker, everything else for each service.
fn check_memory(
    problem: &Problem,
    service: ServiceOrd,
    shape: &PipelineShape,
    ord: NodeOrd,
    occupancy: &Occupancy,
    found: &mut Vec<Illegality>,
) {
    let node = &problem.nodes[ord.index()];
    let mut weights: Vec<(Candidate, LayerRange)> = Vec::new();
    let mut bytes = u128::from(node.engine.worker.0);
    let here = occupancy
        .stages
        .iter()
        .map(|(owner, shape)| (*owner, shape))
        .chain([(service, shape)]);
    for (owner, shape) in here {
        // Each token that is drafted is a row that the large model computes with the one before them.
        let rows = match shape.assistant.map(|assistant| assistant.role) {
            Some(Role::Drafts { tokens }) => u128::from(tokens) + 1,
            _ => 1,
        };
        let own = shape.stages.iter().map(|stage| (shape.candidate, *stage, rows));
        let small = shape.assistant.iter();
        let small = small.map(|small| (small.candidate, assistant_stage(problem, *small), 1));
        for (candidate, other, rows) in own.chain(small).filter(|(_, other, _)| other.node == ord) {
            if !weights.contains(&(candidate, other.layers)) {
                weights.push((candidate, other.layers));
                bytes += weight_bytes(problem, candidate, &other);
            }
            bytes += session_bytes(problem, owner, candidate, &other, rows);
        }
    }
    bytes += (bytes * u128::from(node.engine.margin_milli)).div_ceil(1_000);
    // What the service keeps there until it has moved, but for the stage that does not move.
    let asked = &problem.services[service.index()];
    let same_model = asked
        .previous
        .as_ref()
        .is_some_and(|previous| previous.candidate == shape.candidate);
    for kept in asked.kept.iter().filter(|kept| kept.node == ord) {
        let mut here = shape.stages.iter().filter(|stage| stage.node == ord);
        if !(same_model && here.any(|stage| kept.layers == stage.layers)) {
            bytes += u128::from(kept.memory.0);
        }
    }
    let free = u128::from(node.memory.0.saturating_sub(node.reserved.0));
    if bytes > free {
        let missing = Bytes(u64::try_from(bytes - free).unwrap_or(u64::MAX));
        found.push(Illegality::Memory { node: ord, missing });
    }
}

/// Files on the node's disk, each once, and services there that are to be apart.
fn check_company(
    problem: &Problem,
    service: ServiceOrd,
    shape: &PipelineShape,
    ord: NodeOrd,
    occupancy: &Occupancy,
    found: &mut Vec<Illegality>,
) {
    let asked = &problem.services[service.index()];
    for (other, company) in &occupancy.stages {
        let theirs = &problem.services[other.index()];
        let shuns =
            |one: &Service, another: &Service| one.shuns.iter().any(|term| another.carries.contains(term));
        if company.uses(ord) && (shuns(asked, theirs) || shuns(theirs, asked)) {
            found.push(Illegality::Apart {
                node: ord,
                other: *other,
            });
        }
    }
    let Some(storage) = problem.nodes[ord.index()].storage else {
        return;
    };
    let mut held: Vec<(Candidate, LayerRange)> = Vec::new();
    for shape in occupancy.stages.iter().map(|(_, shape)| shape).chain([shape]) {
        let here = shape.stages.iter().filter(|stage| stage.node == ord);
        held.extend(here.map(|stage| (shape.candidate, stage.layers)));
        let small = shape.assistant.filter(|assistant| assistant.node == ord);
        held.extend(small.map(|small| (small.candidate, assistant_stage(problem, small).layers)));
    }
    for kept in asked.kept.iter().filter(|kept| kept.node == ord) {
        held.extend(
            asked
                .previous
                .as_ref()
                .map(|previous| (previous.candidate, kept.layers)),
        );
    }
    held.sort_unstable();
    held.dedup();
    let mut files: Vec<usize> = Vec::new();
    let mut needed: u128 = 0;
    for (candidate, layers) in held {
        let (_, variant) = problem.variant(candidate);
        files.extend(variant.files.iter().map(|file| file.index()));
        let all = variant.layer_bytes.len();
        let (start, end) = (layers.start as usize, layers.end as usize);
        // A part of a model is a file of its own beside the model's.
        if end - start < all {
            let layer = |at: usize| u128::from(variant.layer_bytes[at].0);
            needed += (start..end).map(layer).sum::<u128>();
            needed += if start == 0 {
                u128::from(variant.embedding_bytes.0)
            } else {
                0
            };
            needed += if end == all {
                u128::from(variant.head_bytes.0)
            } else {
                0
            };
        }
    }
    files.sort_unstable();
    files.dedup();
    needed += files
        .iter()
        .map(|file| u128::from(problem.files[*file].0))
        .sum::<u128>();
    if needed > u128::from(storage.0) {
        let missing = Bytes(u64::try_from(needed - u128::from(storage.0)).unwrap_or(u64::MAX));
        found.push(Illegality::Storage { node: ord, missing });
    }
}

fn weight_bytes(problem: &Problem, candidate: Candidate, stage: &StageShape) -> u128 {
    let (_, variant) = problem.variant(candidate);
    let copies = |bytes: u64| (u128::from(bytes) * u128::from(variant.resident_milli)).div_ceil(1_000);
    let mut bytes = 0;
    for (layer, size) in variant.layer_bytes.iter().enumerate() {
        if (stage.layers.start as usize..stage.layers.end as usize).contains(&layer) {
            bytes += copies(size.0);
        }
    }
    let opens = stage.layers.start == 0;
    let closes = stage.layers.end as usize == variant.layer_bytes.len();
    if opens && closes {
        bytes + copies(variant.unsplit_ends_bytes.0)
    } else if opens {
        bytes + u128::from(variant.embedding_bytes.0)
    } else if closes {
        bytes + copies(variant.head_bytes.0)
    } else {
        bytes
    }
}

fn session_bytes(
    problem: &Problem,
    owner: ServiceOrd,
    candidate: Candidate,
    stage: &StageShape,
    rows_per_session: u128,
) -> u128 {
    let service = &problem.services[owner.index()];
    let engine = &problem.nodes[stage.node.index()].engine;
    let (model, variant) = problem.variant(candidate);
    let closes = stage.layers.end as usize == variant.layer_bytes.len();
    let alone = stage.layers.start == 0 && closes;
    let sessions = u128::from(service.concurrency);
    let layers = u128::from(stage.layers.end - stage.layers.start);
    let outputs = sessions * rows_per_session;
    let rows = outputs.max(u128::from(service.chunk_rows));
    let multiple = u128::from(engine.kv_cell_multiple);
    let cells = u128::from(service.context_tokens).div_ceil(multiple) * multiple;

    let kv_cache = sessions * cells * layers * u128::from(model.kv_bytes_per_token_and_layer);
    let scores = rows * cells * u128::from(engine.bytes_per_row_and_cell);
    let working = rows * u128::from(model.compute_bytes_per_row);
    let logits = 4 * u128::from(model.vocabulary) * outputs * u128::from(engine.logits_copies);
    let hidden_states = 2 * rows * 4 * u128::from(model.hidden);
    let logits = if closes { logits } else { 0 };
    let hidden_states = if alone { 0 } else { hidden_states };
    kv_cache + scores + working + logits + hidden_states + u128::from(engine.stage.0)
}

fn check_links(problem: &Problem, service: &Service, shape: &PipelineShape, found: &mut Vec<Illegality>) {
    let mut need = |from: NodeOrd, to: NodeOrd| {
        let exists = from == to
            || problem
                .links
                .iter()
                .any(|link| link.from == from && link.to == to)
            || reaches_by_region(problem, from, to);
        if !exists {
            found.push(Illegality::Link { from, to });
        }
    };
    for pair in shape.stages.windows(2) {
        need(pair[0].node, pair[1].node);
    }
    if let (Some(first), Some(last)) = (shape.stages.first(), shape.stages.last()) {
        need(last.node, first.node);
        // Who leads is where requests enter.
        let leader = shape.assistant.map_or(first.node, |assistant| assistant.node);
        need(leader, first.node);
        need(first.node, leader);
        for ingress in &service.ingress {
            need(ingress.node, leader);
            need(leader, ingress.node);
        }
    }
}

/// Whether both nodes have access and a backbone joins their regions.
fn reaches_by_region(problem: &Problem, from: NodeOrd, to: NodeOrd) -> bool {
    let region = |node: NodeOrd| problem.regions.access.iter().find(|access| access.node == node);
    let (Some(out), Some(into)) = (region(from), region(to)) else {
        return false;
    };
    problem
        .regions
        .backbone
        .iter()
        .any(|backbone| backbone.from == out.region && backbone.to == into.region)
}

fn check_activations(service: &Service, shape: &PipelineShape, found: &mut Vec<Illegality>) {
    let last = shape.stages.len().saturating_sub(1);
    let legal = shape
        .stages
        .iter()
        .enumerate()
        .all(|(position, stage)| match stage.activation {
            None => position == last,
            Some(precision) => {
                position < last
                    && service
                        .activations
                        .iter()
                        .any(|format| format.precision == precision)
            }
        });
    if !legal {
        found.push(Illegality::Activation);
    }
}
