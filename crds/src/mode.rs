//! How a service may be inferred, and at which precision activations cross a cut.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A way to serve a request, as the survey of mobile edge intelligence names them.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum InferenceMode {
    /// Whole, on a device.
    OnDevice,
    /// Whole, on a server or in the cloud.
    #[default]
    OnServer,
    /// Two stages on two nodes.
    Split,
    /// Three stages or more, the first and the last on one node that may see text, such as the user's device, the others on
    /// others.
    UShaped,
    /// Three stages or more, each on a node of its own.
    MultiHop,
    /// A small model (`draftModel` of the Model) drafts on one node, the large one verifies. Agents do not run it yet: decisions
    /// say what it would give, and do not choose it.
    Speculative,
    /// A small model answers first, and what it is not confident of goes to a large one. Agents do not run it yet: decisions say
    /// what it would give, and do not choose it.
    Cascade,
}

impl InferenceMode {
    /// The modes that a service allows when it names none: all that keep the model's own answer.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        vec![Self::OnDevice, Self::OnServer, Self::Split, Self::MultiHop]
    }
}

/// The format of a hidden state between two stages. `F32` keeps greedy text exactly; the others save bytes.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum ActivationPrecision {
    #[default]
    /// Four bytes a value; exact.
    F32,
    /// Two bytes a value.
    F16,
    /// One byte a value, and the eight largest of each row exactly.
    Int8Outliers,
}
