//! Fills in the figures of a chosen pipeline: memory, cost sheet, what binds it, what else there was.

use super::choose::cost_model;
use super::exact::Priced;
use super::instance::NEVER;
use super::survey::{Finds, Survey, U_SHAPE_NODES_MAX};
use super::unsplit::mode_on;
use crate::cost::{CostModel, Evaluation, Holdings};
use crate::problem::{LoadedStage, Mode};
use crate::solution::{
    Alternative, AssistantCost, Binding, Certificate, Decision, HopCost, Offer, Pipeline, PipelineShape,
    Placed, PlacedAssistant, Role, RunnerUp, Sought, Stage,
};
use crate::units::Nanos;

/// The report on a pipeline. `best` is the best that was found, which is not the chosen one where the running one is kept.
pub(super) fn placed(
    survey: &Survey<'_>,
    finds: &Finds,
    told: &Finds,
    shape: &PipelineShape,
    (decision, steps): (Decision, u64),
) -> Option<Placed> {
    let cost = cost_model(survey, shape)?;
    let evaluation = cost.evaluate(shape)?;
    let total = evaluation.cost.total();
    let best = finds
        .legal()
        .first()
        .map_or(total, |best| Nanos(best.value).min(total));
    Some(Placed {
        pipeline: pipeline(survey, shape),
        binding: binding(survey, finds, shape, cost, &evaluation),
        runner_up: runner_up(survey, finds, shape),
        alternatives: Mode::ALL
            .iter()
            .map(|&mode| alternative(survey, finds, told, mode))
            .collect(),
        certificate: Certificate {
            best,
            lower_bound: Nanos(finds.lower_bound).min(best),
            steps,
        },
        decision,
        gives_way: None,
        predicted: evaluation.predicted,
        cost: evaluation.cost,
        sheet: evaluation.sheet,
    })
}

fn mode(survey: &Survey<'_>, shape: &PipelineShape) -> Mode {
    if let Some(assistant) = shape.assistant {
        return assistant.role.mode();
    }
    match shape.stages.as_slice() {
        [only] => mode_on(survey.problem, only.node),
        [_, _] => Mode::Split,
        [first, .., last] if first.node == last.node => Mode::UShaped,
        _ => Mode::MultiHop,
    }
}

fn pipeline(survey: &Survey<'_>, shape: &PipelineShape) -> Pipeline {
    let holdings = Holdings::of(survey.problem, survey.service, shape);
    let mut nodes = Vec::new();
    let held: Vec<_> = holdings
        .each(survey.problem, shape)
        .map(|held| {
            let (node, layers, candidate) = (held.node, held.layers, held.candidate);
            let mut sharing = survey.residual.sharing(node, candidate, layers);
            sharing.worker |= nodes.contains(&node);
            nodes.push(node);
            let loaded = LoadedStage {
                node,
                candidate,
                layers,
            };
            let memory = held
                .memory
                .stage(&survey.problem.nodes[node.index()], layers, sharing);
            let loaded = sharing.weights || survey.problem.loaded.contains(&loaded);
            (memory, loaded, layers)
        })
        .collect();
    let stages = shape.stages.iter().zip(&held);
    let assistant = shape.assistant.zip(held.get(shape.stages.len()));
    Pipeline {
        candidate: shape.candidate,
        mode: mode(survey, shape),
        chunk_rows: survey.service.chunk_rows,
        stages: stages
            .map(|(stage, &(memory, loaded, layers))| Stage {
                node: stage.node,
                layers,
                activation: stage.activation,
                memory,
                loaded,
            })
            .collect(),
        assistant: assistant.map(|(assistant, &(memory, loaded, layers))| PlacedAssistant {
            assistant,
            layers: layers.end,
            memory,
            loaded,
        }),
    }
}

/// Memory, if a node that lacks it could do better alone; otherwise the largest part of the cost.
fn binding(
    survey: &Survey<'_>,
    finds: &Finds,
    shape: &PipelineShape,
    cost: &CostModel<'_>,
    evaluation: &Evaluation,
) -> Binding {
    let total = evaluation.cost.total().0;
    let cheaper = finds
        .attempts
        .iter()
        .filter(|attempt| attempt.missing.0 > 0 && attempt.priced.value < total);
    if let Some(dream) = cheaper.min_by_key(|attempt| (attempt.priced.value, attempt.missing, attempt.node)) {
        return Binding::MemoryOf {
            node: dream.node,
            missing: dream.missing,
            saving: Nanos(total - dream.priced.value),
        };
    }
    let (service, sheet) = (survey.service, &evaluation.sheet);
    let first = u64::from(service.ttft_weight);
    let further = cost.further_tokens();
    // In a cascade only some requests come to the pipeline.
    let share = |part: Nanos| match sheet.assistant {
        Some(AssistantCost::First {
            escalated_percent, ..
        }) => Nanos(part.times(u64::from(escalated_percent)).0 / 100),
        _ => part,
    };
    let mut parts = vec![(
        share(sheet.ingress.times(first)),
        Binding::IngressDistance { part: Nanos::ZERO },
    )];
    for (position, stage) in shape.stages.iter().enumerate() {
        let node = stage.node;
        if shape.stages[..position]
            .iter()
            .any(|earlier| earlier.node == node)
        {
            continue;
        }
        // A chunk waits for its node once; the bottleneck's other chunks are its own part too.
        let here = || sheet.of_node(shape, node);
        let chunk: Nanos = here().map(|times| times.prefill_chunk).sum();
        let waits = if chunk == sheet.bottleneck {
            u64::from(sheet.chunks)
        } else {
            1
        };
        let heads: Nanos = here().map(|times| times.head).sum();
        let decode: Nanos = here().map(|times| times.decode).sum();
        let part = share((chunk.times(waits) + heads).times(first) + decode.times(further));
        parts.push((part, Binding::ComputeOf { node, part }));
    }
    let messages = sheet.assistant.map_or(further, |assistant| {
        further * assistant.messages_per_thousand_tokens() / 1_000
    });
    if let Some((assistant, cost)) = shape.assistant.zip(sheet.assistant) {
        let (node, part) = (
            assistant.node,
            assistants_part(assistant.role, &cost, first, messages),
        );
        parts.push((part, Binding::ComputeOf { node, part }));
    }
    for &HopCost {
        from,
        to,
        latency,
        chunk_transfer,
        token_transfer,
        ..
    } in sheet.hops.iter().chain(&sheet.return_hop)
    {
        let part = share(latency.times(first + messages));
        parts.push((part, Binding::LinkLatency { from, to, part }));
        let waits = if chunk_transfer >= sheet.bottleneck {
            u64::from(sheet.chunks)
        } else {
            1
        };
        let part = share(chunk_transfer.times(waits * first) + token_transfer.times(messages));
        parts.push((part, Binding::LinkRate { from, to, part }));
    }
    // The first of equals, so the order above breaks ties.
    let largest = parts
        .into_iter()
        .rev()
        .max_by_key(|part| part.0)
        .expect("the ingress is always there");
    match largest {
        (part, Binding::IngressDistance { .. }) => Binding::IngressDistance { part },
        (_, binding) => binding,
    }
}

/// What the small model's own times cost, of `messages` rounds.
fn assistants_part(role: Role, cost: &AssistantCost, first: u64, messages: u64) -> Nanos {
    match (role, *cost) {
        (Role::Drafts { tokens }, AssistantCost::Draft { token, .. }) => {
            token.times(u64::from(tokens).saturating_mul(messages))
        }
        (_, AssistantCost::First { answer, .. }) => answer.times(first),
        (Role::AnswersFirst, AssistantCost::Draft { .. }) => Nanos::ZERO,
    }
}

fn runner_up(survey: &Survey<'_>, finds: &Finds, shape: &PipelineShape) -> Option<RunnerUp> {
    let nodes = |shape: &PipelineShape| {
        let assistant = shape
            .assistant
            .map(|assistant| (assistant.node, assistant.role.mode()));
        let stages = shape.stages.iter().map(|stage| stage.node);
        (stages.collect::<Vec<_>>(), assistant)
    };
    let differs =
        |other: &&&Priced| other.shape.candidate != shape.candidate || nodes(&other.shape) != nodes(shape);
    let other = finds.legal().iter().find(differs).copied()?;
    let evaluation = cost_model(survey, &other.shape)?.evaluate(&other.shape)?;
    Some(RunnerUp {
        shape: other.shape.clone(),
        mode: mode(survey, &other.shape),
        predicted: evaluation.predicted,
        cost: evaluation.cost,
    })
}

/// What a mode offers; `told` has the best of those that are only told.
pub(super) fn alternative(survey: &Survey<'_>, finds: &Finds, told: &Finds, of: Mode) -> Alternative {
    Alternative {
        mode: of,
        offer: offer(survey, finds, told, of),
    }
}

fn offer(survey: &Survey<'_>, finds: &Finds, told: &Finds, of: Mode) -> Offer {
    let is_told = survey.service.told_modes.contains(&of);
    if !survey.service.modes.contains(&of) && !is_told {
        return Offer::NotAllowed;
    }
    let found = finds.legal().into_iter().chain(&told.split);
    let best = found.min_by_key(|priced| (mode(survey, &priced.shape) != of, priced.value));
    if let Some(priced) = best.filter(|priced| mode(survey, &priced.shape) == of) {
        let evaluation = cost_model(survey, &priced.shape).and_then(|cost| cost.evaluate(&priced.shape));
        if let Some(Evaluation { predicted, cost, .. }) = evaluation {
            return Offer::Found {
                shape: priced.shape.clone(),
                predicted,
                cost,
            };
        }
    }
    if of == Mode::UShaped && survey.is_too_large_for_u_shape() {
        let most = u32::try_from(U_SHAPE_NODES_MAX).unwrap_or(u32::MAX);
        return Offer::TooManyNodes { most };
    }
    if of.has_assistant() {
        return match survey.no_assistant(of) {
            Some(why) => Offer::NoAssistant(why),
            None if !survey.problem.regions.is_empty() => Offer::NotAmongRegions,
            None if finds.open.contains(&of) || told.open.contains(&of) => {
                Offer::NoneFound(Sought::UntilBudget)
            }
            None => Offer::NoneFound(Sought::Everywhere),
        };
    }
    if of.has_several_stages() {
        return if survey.has_splittable() {
            let best = finds.legal().first().map_or(NEVER, |best| best.value);
            Offer::NoneFound(match finds.lower_bound {
                bound if bound < best => Sought::UntilBudget,
                _ if best < NEVER => Sought::WhereCheaper,
                _ => Sought::Everywhere,
            })
        } else {
            Offer::NotSplittable
        };
    }
    let of_mode = finds.attempts.iter().filter(|attempt| attempt.mode == of);
    match of_mode.min_by_key(|attempt| (attempt.missing, attempt.node)) {
        Some(attempt) => Offer::NotEnoughMemory {
            nearest: attempt.node,
            missing: attempt.missing,
        },
        None => Offer::NoSuchNode,
    }
}
