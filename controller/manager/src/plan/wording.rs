//! The solver's reasons in one sentence each, as they stand in objects. The page-long form is the solver's own.

use solver::{
    problem::{Candidate, Exclusion, Mode},
    solution::{
        Alternative, Binding, Cause, Decision, Infeasible, NoAssistant, NodeReason, Offer, Placed, Remedy,
        Sought, WhyNot,
    },
    units::{Nanos, NodeOrd},
};

use super::decision::{mode_of, shape_line};
use crate::snapshot::Snapshot;

/// Says what the solver found, with the names of a snapshot.
pub struct Wording<'a>(pub &'a Snapshot);

impl Wording<'_> {
    fn node(&self, node: NodeOrd) -> &str {
        self.0.node_name(node)
    }

    pub(super) fn candidate(&self, candidate: Candidate) -> String {
        let model = &self.0.models[candidate.model.index()];
        format!("{} {}", model.name, model.variants[candidate.variant.index()])
    }

    /// Why this pipeline.
    #[must_use]
    pub fn summary(&self, placed: &Placed) -> String {
        let pipeline = &placed.pipeline;
        let stages = pipeline
            .stages
            .iter()
            .map(|stage| format!("{}{}", self.node(stage.node), stage.layers));
        let predicted = &placed.predicted;
        let decision = match &placed.decision {
            Decision::New => String::new(),
            Decision::Kept { passed_over: None } => " It ran before and is still the best.".to_owned(),
            Decision::Kept {
                passed_over: Some((_, cost)),
            } => {
                format!(
                    " It ran before; another one would cost {cost} per request, which is not worth the move."
                )
            }
            Decision::Moved { previous_cost } => {
                format!(" What ran before would cost {previous_cost} per request now.")
            }
            Decision::Replaced { .. } => " What ran before is no longer possible.".to_owned(),
        };
        let ends = match (pipeline.mode, pipeline.stages.first()) {
            (Mode::UShaped, Some(first)) => {
                let device = self.node(first.node);
                format!(" (first and last layers on {device}, so that text stays there)")
            }
            _ => String::new(),
        };
        let gives_way = match &placed.gives_way {
            None => "",
            Some(_) => {
                " A pipeline that would cost it less is left to others, so that all together cost less."
            }
        };
        format!(
            "{} on {}{ends}: {} to the first token and {} per token are predicted; {}.{decision}{gives_way}{}",
            self.candidate(pipeline.candidate),
            stages.collect::<Vec<_>>().join(" "),
            predicted.ttft,
            predicted.tpot,
            self.binding(&placed.binding),
            self.better_told(placed),
        )
    }

    /// What would have been chosen if agents ran it.
    fn better_told(&self, placed: &Placed) -> String {
        let cost = placed.cost.total();
        let better = placed
            .alternatives
            .iter()
            .filter_map(|alternative| match &alternative.offer {
                Offer::Found { shape, cost: its, .. } if shape.assistant.is_some() && its.total() < cost => {
                    Some((its.total(), alternative))
                }
                _ => None,
            });
        match better.min_by_key(|(cost, _)| *cost) {
            Some((its, alternative)) if alternative.mode != placed.pipeline.mode => format!(
                " {}, which saves {} per request; agents do not run it yet.",
                self.would_be(alternative),
                cost.saturating_sub(its)
            ),
            _ => String::new(),
        }
    }

    /// What a mode would give that nobody runs.
    fn would_be(&self, alternative: &Alternative) -> String {
        let mode = mode_of(alternative.mode);
        match &alternative.offer {
            Offer::Found { shape, predicted, .. } => format!(
                "{mode:?} ({}) would take {} to the first token and {} per token",
                shape_line(self.0, shape),
                predicted.ttft,
                predicted.tpot
            ),
            other => format!("{mode:?} would not do: {}", self.offer(other, None)),
        }
    }

    /// What keeps a pipeline from being better.
    #[must_use]
    pub fn binding(&self, binding: &Binding) -> String {
        match *binding {
            Binding::MemoryOf {
                node,
                missing,
                saving,
            } => format!(
                "with {missing} more memory, {} could run it alone and save {saving} per request",
                self.node(node)
            ),
            Binding::ComputeOf { node, part } => {
                format!(
                    "the compute of {} takes most of the time, {part} per request",
                    self.node(node)
                )
            }
            Binding::LinkLatency { from, to, part } => format!(
                "the latency from {} to {} takes most of the time, {part} per request",
                self.node(from),
                self.node(to)
            ),
            Binding::LinkRate { from, to, part } => format!(
                "the rate from {} to {} takes most of the time, {part} per request",
                self.node(from),
                self.node(to)
            ),
            Binding::IngressDistance { part } => {
                format!("the way from the ingress to the head takes most of the time, {part} per request")
            }
        }
    }

    /// Why the best of a mode was not chosen, beside what costs `chosen`, or why there is none.
    #[must_use]
    pub fn offer(&self, offer: &Offer, chosen: Option<Nanos>) -> String {
        match offer {
            Offer::Found { cost, shape, .. } => {
                let cost = cost.total();
                let compared = match chosen {
                    // What nobody runs is left to nobody.
                    Some(chosen) if shape.assistant.is_some() && cost < chosen => {
                        format!(", {} less", chosen.saturating_sub(cost))
                    }
                    Some(chosen) => format!(", {}", beside(cost, chosen, "")),
                    None => String::new(),
                };
                let told = if shape.assistant.is_some() {
                    "; agents do not run this mode yet"
                } else {
                    ""
                };
                format!("costs {cost} per request{compared}{told}")
            }
            Offer::NoAssistant(why) => self.no_assistant(*why),
            Offer::NotAmongRegions => "it is not searched where regions join nodes".to_owned(),
            Offer::NotAllowed => "spec.modes does not allow it".to_owned(),
            Offer::TooManyNodes { most } => {
                format!("it is searched among at most {most} nodes that regions join, and more may be used")
            }
            Offer::NotSplittable => "the model's architecture is not proven for layer ranges".to_owned(),
            Offer::NoSuchNode => "no node of the tier that it needs may be used".to_owned(),
            Offer::NotEnoughMemory { nearest, missing } => {
                format!(
                    "{} comes nearest to holding it and lacks {missing}",
                    self.node(*nearest)
                )
            }
            Offer::NoneFound(Sought::Everywhere) => "there is no legal pipeline of this kind".to_owned(),
            Offer::NoneFound(Sought::WhereCheaper) => {
                "none costs less than the best of another kind, and dearer ones were not looked for"
                    .to_owned()
            }
            Offer::NoneFound(Sought::UntilBudget) => {
                "none was found before the search ended at its work budget".to_owned()
            }
        }
    }

    /// Why a service has no pipeline, what each node says, and what would help.
    #[must_use]
    pub fn infeasible(&self, infeasible: &Infeasible) -> String {
        let mut sentences = vec![self.cause(infeasible.cause)];
        sentences.extend(infeasible.told.iter().map(|told| self.would_be(told)));
        for report in infeasible.nodes.iter().take(16) {
            let why = self.refusal(report.node, report.reason);
            sentences.push(format!("{}: {why}", self.node(report.node)));
        }
        if infeasible.nodes.len() > 16 {
            sentences.push(format!("and {} more nodes", infeasible.nodes.len() - 16));
        }
        if !infeasible.remedies.is_empty() {
            let remedies = infeasible
                .remedies
                .iter()
                .take(3)
                .map(|remedy| self.remedy(*remedy));
            sentences.push(format!(
                "any of these would help: {}",
                remedies.collect::<Vec<_>>().join(", or ")
            ));
        }
        sentences.join("; ")
    }

    fn refusal(&self, node: NodeOrd, why: NodeReason) -> String {
        match (why, self.0.untimed.get(&node)) {
            (NodeReason::SpeedUnknown, Some(why)) => format!("it could not time the model: {why}"),
            (
                NodeReason::Excluded(
                    Exclusion::Taint(term) | Exclusion::TaintForNew(term) | Exclusion::Unmatched(term),
                )
                | NodeReason::Apart(term),
                _,
            ) => self.0.terms.text(term).to_owned(),
            (other, _) => reason(other),
        }
    }

    /// Why a node has no part in a pipeline.
    #[must_use]
    pub fn why_not(&self, node: NodeOrd, answer: &WhyNot) -> String {
        let name = self.node(node);
        match answer {
            WhyNot::Chosen => format!("{name}: it is in the pipeline"),
            WhyNot::Refused(why) => format!("{name}: {}", self.refusal(node, *why)),
            WhyNot::Dearer { shape, cost, more } => format!(
                "{name}: the best pipeline with it that was found, {}, costs {cost} per request, {more} more",
                shape_line(self.0, shape)
            ),
        }
    }

    fn remedy(&self, remedy: Remedy) -> String {
        match remedy {
            Remedy::Memory { node, extra } => format!("{extra} more memory on {}", self.node(node)),
            Remedy::Concurrency { sessions } => format!("concurrency {sessions}"),
            Remedy::Context { tokens } => format!("contextTokens {tokens}"),
            Remedy::AllowSplit => "allowing the modes Split and MultiHop".to_owned(),
            Remedy::AllowUShaped => "allowing the mode UShaped".to_owned(),
        }
    }

    fn no_assistant(&self, why: NoAssistant) -> String {
        match why {
            NoAssistant::NoDraftModel => {
                "no Model of the service names a draftModel that exists and was inspected".to_owned()
            }
            NoAssistant::VocabulariesDiffer { draft, target } => format!(
                "the draft model's vocabulary has {draft} tokens and the model's has {target}, so their tokens differ"
            ),
            NoAssistant::NoSecondModel => {
                "spec.models names one Model; a cascade needs a large one and a small one after it".to_owned()
            }
            NoAssistant::NotGoodEnough => {
                "the small model was not trained for contextTokens, or is not good enough".to_owned()
            }
            NoAssistant::NoNode { nearest: None } => {
                "no usable node that may see text has timed the small model".to_owned()
            }
            NoAssistant::NoNode {
                nearest: Some((node, missing)),
            } => format!(
                "no node that may see text holds the whole small model; {} comes nearest and lacks {missing}",
                self.node(node)
            ),
        }
    }

    fn cause(&self, cause: Cause) -> String {
        match cause {
            Cause::NoCandidate {
                best_quality_milli,
                asked_milli,
            } => {
                format!(
                    "no model is good enough: the best has quality {best_quality_milli}, asked is {asked_milli}"
                )
            }
            Cause::ContextTooLong { longest, asked } => {
                format!("contextTokens is {asked}, and no model was trained for more than {longest}")
            }
            Cause::NoModeRun => {
                "spec.modes allows only what agents do not run yet; OnDevice, OnServer, Split, MultiHop and \
                                 UShaped are run"
                    .to_owned()
            }
            Cause::NoAssistant(why) => self.no_assistant(why),
            Cause::NotAmongRegions => {
                "Speculative and Cascade are not searched where regions join nodes".to_owned()
            }
            Cause::NoModeImplemented => "this version searches none of spec.modes".to_owned(),
            Cause::TooManyNodes { usable, most } => {
                format!(
                    "UShaped is searched among at most {most} nodes that regions join, and {usable} may be used"
                )
            }
            Cause::NoNodeForBothEnds { nearest: None } => {
                "UShaped needs a trusted node for the first and the last layers, and none may be used"
                    .to_owned()
            }
            Cause::NoNodeForBothEnds {
                nearest: Some((node, missing)),
            } => {
                format!(
                    "UShaped needs a trusted node that holds a first and a last layer together; {} comes nearest and lacks {missing}",
                    self.node(node)
                )
            }
            Cause::NoUsableNode => "no node may be used".to_owned(),
            Cause::NotEnoughMemory { needed, available } => {
                format!("{needed} of memory are needed, and all usable nodes together have {available}")
            }
            Cause::NoNodeHoldsTheWhole {
                needed,
                largest,
                splittable: true,
            } => {
                format!(
                    "{needed} are needed on one node, the largest has {largest}, and spec.modes forbids a split"
                )
            }
            Cause::NoNodeHoldsTheWhole {
                needed,
                largest,
                splittable: false,
            } => {
                format!(
                    "{needed} are needed on one node, the largest has {largest}, and the model cannot be split"
                )
            }
            Cause::NoChain { proven: true } => {
                "no chain of linked and trusted nodes has the memory for all layers, the embedding and the head".to_owned()
            }
            Cause::NoChain { proven: false } => {
                "no chain of linked and trusted nodes with the memory for all layers was found within the work budget".to_owned()
            }
        }
    }
}

/// How an alternative's cost compares with what was chosen, which may be dearer where other services gain more.
pub(super) fn beside(its_cost: Nanos, chosen: Nanos, of: &str) -> String {
    if its_cost < chosen {
        format!(
            "{} less, and is left to other services",
            chosen.saturating_sub(its_cost)
        )
    } else {
        format!("{} more{of}", its_cost.saturating_sub(chosen))
    }
}

fn reason(reason: NodeReason) -> String {
    match reason {
        NodeReason::Excluded(Exclusion::NotReady) => "its agent does not answer".to_owned(),
        NodeReason::Excluded(Exclusion::Unschedulable) => "it takes no new stages".to_owned(),
        NodeReason::Excluded(Exclusion::Taint(_) | Exclusion::TaintForNew(_)) => "it has a taint".to_owned(),
        NodeReason::Excluded(Exclusion::Unmatched(_)) => {
            "it has not the labels that are asked for".to_owned()
        }
        NodeReason::Apart(_) => "it holds a service from which this one is kept apart".to_owned(),
        NodeReason::StorageTooSmall { free, needed } => {
            format!("{free} of disk are left for weights, and {needed} more are needed")
        }
        NodeReason::Excluded(Exclusion::NotSelected) => "the service does not select it".to_owned(),
        NodeReason::Excluded(Exclusion::EngineUnsupported) => "its engine cannot run the model".to_owned(),
        NodeReason::BatteryLow { charge, reserve } => {
            format!("its battery has {charge} and keeps {reserve} in reserve")
        }
        NodeReason::SpeedUnknown => "it has not timed this model yet".to_owned(),
        NodeReason::NoCompute => "it has no compute to share".to_owned(),
        NodeReason::TierNotAllowed => "spec.modes allows nothing on its tier".to_owned(),
        NodeReason::Untrusted => "its trust domain is not trusted".to_owned(),
        NodeReason::MemoryTooSmall { free, smallest_stage } => {
            format!("{free} are free, and the smallest stage needs {smallest_stage}")
        }
        NodeReason::CouldHold { free, layers, whole } => {
            format!(
                "{free} are free, for {layers} layers at most beside embedding and head, and the whole model needs {whole}"
            )
        }
    }
}
