//! Prose for people: what was decided, what it costs, what else there was and why it lost.
//!
//! Renders outcomes line by line; decides and computes nothing. Names come from the caller, the solver has none.

mod infeasible;
mod placed;

use std::fmt::Write;

use crate::problem::{Candidate, Mode, Precision};
use crate::solution::{Assistant, NoAssistant, Outcome, PipelineShape, Role};
use crate::units::NodeOrd;

/// Names for ordinals.
pub struct Names<'n> {
    /// A node's name.
    pub node: &'n dyn Fn(NodeOrd) -> String,
    /// A model variant's name.
    pub candidate: &'n dyn Fn(Candidate) -> String,
}

/// The outcome of one service as text of several lines, each ended by a newline.
#[must_use]
pub fn explain(outcome: &Outcome, names: &Names<'_>) -> String {
    let mut page = Page {
        text: String::new(),
        names,
    };
    match outcome {
        Outcome::Placed(placed) => page.placed(placed),
        Outcome::Infeasible(infeasible) => page.infeasible(infeasible),
    }
    page.text
}

/// Text in the making.
struct Page<'n> {
    text: String,
    names: &'n Names<'n>,
}

impl Page<'_> {
    fn line(&mut self, line: impl std::fmt::Display) {
        writeln!(self.text, "{line}").expect("writing to a string does not fail");
    }

    fn node(&self, node: NodeOrd) -> String {
        (self.names.node)(node)
    }

    /// `alpha [0, 12) → beta [12, 30)`.
    fn route(&self, shape: &PipelineShape) -> String {
        let stage =
            |stage: &crate::solution::StageShape| format!("{} {}", self.node(stage.node), stage.layers);
        let stages = shape.stages.iter().map(stage).collect::<Vec<_>>().join(" → ");
        match shape.assistant {
            None => stages,
            Some(Assistant {
                candidate,
                node,
                role,
            }) => {
                let (small, node) = ((self.names.candidate)(candidate), self.node(node));
                match role {
                    Role::Drafts { tokens: 1 } => format!("{small} on {node} drafts 1 token for {stages}"),
                    Role::Drafts { tokens } => {
                        format!("{small} on {node} drafts {tokens} tokens for {stages}")
                    }
                    Role::AnswersFirst => format!("{small} on {node} before {stages}"),
                }
            }
        }
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::OnDevice => "on device",
        Mode::OnServer => "on server",
        Mode::Split => "split in two",
        Mode::MultiHop => "multi-hop",
        Mode::UShaped => "U-shaped",
        Mode::Speculative => "speculative",
        Mode::Cascade => "cascade",
    }
}

impl Page<'_> {
    fn no_assistant(&self, why: &NoAssistant) -> String {
        match *why {
            NoAssistant::NoDraftModel => "no candidate names a draft model".to_owned(),
            NoAssistant::VocabulariesDiffer { draft, target } => format!(
                "the draft model has a vocabulary of {draft} tokens, the model that it should draft for one of {target}: \
                 their tokens are not the same"
            ),
            NoAssistant::NoSecondModel => {
                "the service names one model, and a small one is needed after it".to_owned()
            }
            NoAssistant::NotGoodEnough => {
                "no small model is good enough, or was trained for so long a context".to_owned()
            }
            NoAssistant::NoNode { nearest: None } => {
                "no usable node that may see text knows the small model's speed".to_owned()
            }
            NoAssistant::NoNode {
                nearest: Some((node, missing)),
            } => format!(
                "no node that may see text holds the whole small model: {} lacks {missing}, the others more",
                self.node(node)
            ),
        }
    }
}

fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
        Precision::Int8Outliers => "int8 with outliers",
    }
}
