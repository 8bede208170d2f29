//! A placed service in prose.

use super::{Page, mode_name, precision_name};
use crate::solution::{
    Alternative, AssistantCost, Binding, Certificate, Cost, Decision, HopCost, Illegality, Offer, Placed,
    PlacedAssistant, Predicted, Sought, Stage, StageCost,
};
use crate::units::Nanos;

impl Page<'_> {
    pub(super) fn placed(&mut self, placed: &Placed) {
        let pipeline = &placed.pipeline;
        let candidate = (self.names.candidate)(pipeline.candidate);
        self.line(format_args!(
            "{candidate}, {}: {}",
            mode_name(pipeline.mode),
            self.route(&pipeline.shape())
        ));
        self.line(format_args!("  predicted  {}", figures(&placed.predicted)));
        self.line(format_args!(
            "  cost       {} per request = {}",
            placed.cost.total(),
            terms(&placed.cost)
        ));
        self.stages(placed);
        let binding = self.binding(&placed.binding);
        self.line(format_args!("  bound by   {binding}"));
        match &placed.runner_up {
            Some(runner_up) => {
                let candidate = (self.names.candidate)(runner_up.shape.candidate);
                let route = self.route(&runner_up.shape);
                self.line(format_args!(
                    "  runner-up  {candidate}, {}: {route}",
                    mode_name(runner_up.mode)
                ));
                let (its, chosen) = (runner_up.cost.total(), placed.cost.total());
                let compared = if its < chosen {
                    format!("cheaper by {}", chosen.saturating_sub(its))
                } else {
                    format!("{} behind", its.saturating_sub(chosen))
                };
                let figures = figures(&runner_up.predicted);
                self.line(format_args!("             {figures}, {compared}"));
            }
            None => self.line("  runner-up  none was found"),
        }
        self.line("  modes");
        for alternative in &placed.alternatives {
            self.alternative(alternative);
        }
        self.line(format_args!("  proof      {}", proof(&placed.certificate)));
        let decision = self.decision(&placed.decision);
        self.line(format_args!("  decision   {decision}"));
        if let Some(other) = &placed.gives_way {
            let route = self.route(&other.shape);
            self.line(format_args!(
                "  gives way  {route} would cost it {}, and all together more",
                other.cost
            ));
        }
    }

    fn stages(&mut self, placed: &Placed) {
        let sheet = &placed.sheet;
        if sheet.ingress > Nanos::ZERO {
            self.line(format_args!(
                "  ingress    {} to the head and back",
                sheet.ingress
            ));
        }
        for (position, (stage, cost)) in placed.pipeline.stages.iter().zip(&sheet.stages).enumerate() {
            self.stage(stage, cost, sheet.chunks);
            if let (Some(hop), Some(precision)) = (sheet.hops.get(position), stage.activation) {
                self.hop(hop, precision_name(precision));
            }
        }
        if let (Some(small), Some(cost)) = (&placed.pipeline.assistant, &sheet.assistant) {
            self.assistant(small, cost);
        }
        if let Some(hop) = &sheet.return_hop {
            let (from, to) = (self.node(hop.from), self.node(hop.to));
            self.line(format_args!(
                "  return     {from} → {to}: token {}",
                hop.latency + hop.token_transfer
            ));
        }
    }

    fn assistant(&mut self, small: &PlacedAssistant, cost: &AssistantCost) {
        let node = self.node(small.assistant.node);
        let memory = small.memory.total();
        let what = match *cost {
            AssistantCost::Draft {
                prefill,
                token,
                round,
                tokens_per_round_milli,
                ..
            } => format!(
                "prefill {prefill}, draft {token} a token; a round of {round} adds {}.{:02} tokens",
                tokens_per_round_milli / 1_000,
                tokens_per_round_milli % 1_000 / 10
            ),
            AssistantCost::First {
                answer,
                escalated_percent,
                escalated_ttft,
                escalated_tpot,
                promised_to_escalated,
            } => {
                let promise = if promised_to_escalated {
                    "promises count for these too"
                } else {
                    "promises leave these out"
                };
                format!(
                    "whole answer {answer}; {escalated_percent} % go on, first token {escalated_ttft}, then \
                     {escalated_tpot} per token ({promise})"
                )
            }
        };
        self.line(format_args!("  assistant  {node}: {what}, memory {memory}"));
    }

    fn stage(&mut self, stage: &Stage, cost: &StageCost, chunks: u32) {
        let node = self.node(stage.node);
        let how = if cost.estimate {
            "declared speed"
        } else {
            "measured"
        };
        self.line(format_args!(
            "  stage      {node} {}: prefill {chunks} × {}, decode {} ({how})",
            stage.layers, cost.prefill_chunk, cost.decode
        ));
        let memory = &stage.memory;
        let loaded = if stage.loaded { ", weights loaded" } else { "" };
        self.line(format_args!(
            "             memory {}: weights {}, ends {}, KV cache {}, buffers {}, engine {}{loaded}",
            memory.total(),
            memory.weights,
            memory.embedding + memory.head,
            memory.kv_cache,
            memory.compute + memory.outputs + memory.activations,
            memory.stage + memory.worker + memory.margin,
        ));
    }

    fn hop(&mut self, hop: &HopCost, precision: &str) {
        let (from, to) = (self.node(hop.from), self.node(hop.to));
        self.line(format_args!(
            "  hop        {from} → {to} in {precision}: latency {}, chunk {}, token {}",
            hop.latency, hop.chunk_transfer, hop.token_transfer
        ));
    }

    fn binding(&self, binding: &Binding) -> String {
        match *binding {
            Binding::MemoryOf {
                node,
                missing,
                saving,
            } => {
                format!(
                    "memory: with {missing} more, {} alone would save {saving} per request",
                    self.node(node)
                )
            }
            Binding::ComputeOf { node, part } => {
                format!("compute of {}: {part} per request", self.node(node))
            }
            Binding::LinkLatency { from, to, part } => {
                format!(
                    "latency {} → {}: {part} per request",
                    self.node(from),
                    self.node(to)
                )
            }
            Binding::LinkRate { from, to, part } => {
                format!("rate {} → {}: {part} per request", self.node(from), self.node(to))
            }
            Binding::IngressDistance { part } => {
                format!("distance between ingress and head: {part} per request")
            }
        }
    }

    pub(super) fn alternative(&mut self, alternative: &Alternative) {
        let offer = match &alternative.offer {
            Offer::Found {
                shape,
                predicted,
                cost,
            } => {
                format!(
                    "{} per request, {}: {}",
                    cost.total(),
                    figures(predicted),
                    self.route(shape)
                )
            }
            Offer::NotAllowed => "not allowed by the service".to_owned(),
            Offer::TooManyNodes { most } => {
                format!("searched among at most {most} nodes that regions join, and more may be used")
            }
            Offer::NotSplittable => "no candidate can be split".to_owned(),
            Offer::NoSuchNode => "no usable node of this kind".to_owned(),
            Offer::NotEnoughMemory { nearest, missing } => {
                format!(
                    "not enough memory: {} lacks {missing}, the others more",
                    self.node(*nearest)
                )
            }
            Offer::NoneFound(Sought::Everywhere) => "there is no legal pipeline".to_owned(),
            Offer::NoneFound(Sought::WhereCheaper) => {
                "none costs less than the best of another kind".to_owned()
            }
            Offer::NoneFound(Sought::UntilBudget) => "none was found before the work budget ended".to_owned(),
            Offer::NoAssistant(why) => self.no_assistant(why),
            Offer::NotAmongRegions => "not searched where regions join nodes".to_owned(),
        };
        self.line(format_args!("    {:<12} {offer}", mode_name(alternative.mode)));
    }

    fn decision(&self, decision: &Decision) -> String {
        match decision {
            Decision::New => "new".to_owned(),
            Decision::Kept { passed_over: None } => "kept: nothing better was found".to_owned(),
            Decision::Kept {
                passed_over: Some((shape, cost)),
            } => {
                format!(
                    "kept: {} at {cost} is not better by the switching margin",
                    self.route(shape)
                )
            }
            Decision::Moved { previous_cost } => {
                format!("moved: what ran would cost {previous_cost} per request")
            }
            Decision::Replaced { why } => format!("replaced: {}", self.illegality(why)),
        }
    }

    fn illegality(&self, why: &Illegality) -> String {
        match *why {
            Illegality::Candidate => "its model variant may no longer answer".to_owned(),
            Illegality::Malformed => "its stages no longer make up the model".to_owned(),
            Illegality::Mode => "its mode is no longer allowed".to_owned(),
            Illegality::Node { node, why } => {
                format!("{} {}", self.node(node), super::infeasible::reason(&why))
            }
            Illegality::Memory { node, missing } => format!("{} lacks {missing} of memory", self.node(node)),
            Illegality::Link { from, to } => format!("no link {} → {}", self.node(from), self.node(to)),
            Illegality::Assistant => "its small model may no longer assist it so".to_owned(),
            Illegality::Storage { node, missing } => {
                format!("{} lacks {missing} of disk for weights", self.node(node))
            }
            Illegality::Apart { node, other } => {
                format!(
                    "{} holds service {} too, from which it is kept apart",
                    self.node(node),
                    other.0
                )
            }
            Illegality::Activation => "its precision at a cut is no longer allowed".to_owned(),
        }
    }
}

fn figures(predicted: &Predicted) -> String {
    let estimate = if predicted.estimate { " (estimates)" } else { "" };
    let energy = if predicted.energy_per_token.0 > 0 {
        format!(", {} per token from batteries", predicted.energy_per_token)
    } else {
        String::new()
    };
    format!(
        "first token {}, then {} per token ({} with all sessions){energy}{estimate}",
        predicted.ttft, predicted.tpot, predicted.tpot_at_concurrency
    )
}

fn terms(cost: &Cost) -> String {
    let Cost {
        ttft,
        decode,
        ttft_violation,
        tpot_violation,
        energy,
        traffic,
        fidelity,
        preference,
        quality,
    } = *cost;
    let terms = [
        ("first token", ttft),
        ("other tokens", decode),
        ("late first token", ttft_violation),
        ("late tokens", tpot_violation),
        ("battery", energy),
        ("traffic", traffic),
        ("fidelity", fidelity),
        ("nodes it would rather avoid", preference),
        ("quality", quality),
    ];
    let present = terms.into_iter().filter(|term| term.1 > Nanos::ZERO);
    present
        .map(|(name, value)| format!("{name} {value}"))
        .collect::<Vec<_>>()
        .join(" + ")
}

fn proof(certificate: &Certificate) -> String {
    if certificate.is_exact() {
        return "optimal".to_owned();
    }
    let gap = certificate.gap() * 100.0;
    format!(
        "at most {gap:.1} % better is possible (lower bound {}); the work budget ended",
        certificate.lower_bound
    )
}
