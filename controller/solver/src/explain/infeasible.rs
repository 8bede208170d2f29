//! A service without a pipeline in prose.

use super::Page;
use crate::problem::Exclusion;
use crate::solution::{Cause, Infeasible, NodeReason, Remedy};

impl Page<'_> {
    pub(super) fn infeasible(&mut self, infeasible: &Infeasible) {
        let cause = self.cause(&infeasible.cause);
        self.line(format_args!("cannot be placed: {cause}"));
        for report in &infeasible.nodes {
            let node = self.node(report.node);
            self.line(format_args!("  node       {node} {}", reason(&report.reason)));
        }
        for alternative in &infeasible.told {
            self.alternative(alternative);
        }
        for remedy in &infeasible.remedies {
            let remedy = self.remedy(remedy);
            self.line(format_args!("  would do   {remedy}"));
        }
    }

    fn remedy(&self, remedy: &Remedy) -> String {
        match *remedy {
            Remedy::Memory { node, extra } => format!("{extra} more memory on {}", self.node(node)),
            Remedy::Concurrency { sessions } => format!("a concurrency of {sessions}"),
            Remedy::Context { tokens } => format!("a context of {tokens} tokens"),
            Remedy::AllowSplit => "allowing the modes Split and MultiHop".to_owned(),
            Remedy::AllowUShaped => "allowing the mode UShaped".to_owned(),
        }
    }

    fn cause(&self, cause: &Cause) -> String {
        match *cause {
            Cause::NoCandidate {
                best_quality_milli,
                asked_milli,
            } => {
                format!(
                    "no model variant is good enough (best {best_quality_milli}, asked {asked_milli} thousandths)"
                )
            }
            Cause::ContextTooLong { longest, asked } => {
                format!(
                    "a context of {asked} tokens is asked, {longest} is the longest that a candidate was trained for"
                )
            }
            Cause::NoModeRun => "only modes are allowed that no agent runs yet".to_owned(),
            Cause::NoAssistant(why) => self.no_assistant(&why),
            Cause::NotAmongRegions => {
                "modes with a small model are not searched where regions join nodes".to_owned()
            }
            Cause::NoModeImplemented => "this solver implements none of the allowed modes".to_owned(),
            Cause::TooManyNodes { usable, most } => {
                format!(
                    "U-shaped pipelines are searched among at most {most} nodes that regions join, and {usable} may be used"
                )
            }
            Cause::NoNodeForBothEnds { nearest: None } => {
                "no usable node may see text, and a U-shaped pipeline needs one for its first and last layers"
                    .to_owned()
            }
            Cause::NoNodeForBothEnds {
                nearest: Some((node, missing)),
            } => {
                format!(
                    "no node that may see text holds a first and a last layer together: {} lacks {missing}, the others more",
                    self.node(node)
                )
            }
            Cause::NoUsableNode => "no node may be used".to_owned(),
            Cause::NotEnoughMemory { needed, available } => {
                format!(
                    "the smallest candidate needs {needed}, all usable nodes together have {available} free"
                )
            }
            Cause::NoNodeHoldsTheWhole {
                needed,
                largest,
                splittable,
            } => {
                let forbids = if splittable {
                    "the allowed modes forbid a split"
                } else {
                    "the model cannot be split"
                };
                format!("one node would need {needed}, the largest has {largest} free, and {forbids}")
            }
            Cause::NoChain { proven: true } => {
                "there is memory, but no chain of nodes joins it legally".to_owned()
            }
            Cause::NoChain { proven: false } => {
                "no chain of nodes was found before the work budget ended".to_owned()
            }
        }
    }
}

pub(super) fn reason(reason: &NodeReason) -> String {
    match *reason {
        NodeReason::Excluded(Exclusion::NotReady) => "is not ready".to_owned(),
        NodeReason::Excluded(Exclusion::Unschedulable) => "takes no new stages".to_owned(),
        NodeReason::Excluded(Exclusion::Taint(_)) => "has a taint that is not tolerated".to_owned(),
        NodeReason::Excluded(Exclusion::TaintForNew(_)) => {
            "has a taint that is not tolerated and keeps new stages away".to_owned()
        }
        NodeReason::Excluded(Exclusion::Unmatched(_)) => "has not the labels that are asked for".to_owned(),
        NodeReason::Excluded(Exclusion::NotSelected) => "is not selected by the service".to_owned(),
        NodeReason::Excluded(Exclusion::EngineUnsupported) => {
            "has an engine that cannot run this model".to_owned()
        }
        NodeReason::BatteryLow { charge, reserve } => format!("has {charge} left, its reserve is {reserve}"),
        NodeReason::SpeedUnknown => "has neither measured nor declared speed for this model".to_owned(),
        NodeReason::Apart(_) => "holds a service from which this one is kept apart".to_owned(),
        NodeReason::StorageTooSmall { free, needed } => {
            format!("has {free} of disk left for weights, and {needed} more are needed")
        }
        NodeReason::NoCompute => "gives models no compute".to_owned(),
        NodeReason::TierNotAllowed => "is of a tier that no allowed mode uses".to_owned(),
        NodeReason::Untrusted => "is not trusted with text".to_owned(),
        NodeReason::MemoryTooSmall { free, smallest_stage } => {
            format!("has {free} free, the smallest stage needs {smallest_stage}")
        }
        NodeReason::CouldHold { free, layers, whole } => {
            format!("has {free} free, enough for {layers} of the layers; the whole needs {whole}")
        }
    }
}
