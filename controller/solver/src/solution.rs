//! The answer: for each service a pipeline with what it costs and why it was chosen, or why there is none.
//!
//! Reasons are enums with numbers; [`explain`](crate::explain) makes prose of them. Nothing here decides anything.

use serde::{Deserialize, Serialize};

use crate::problem::{Candidate, Exclusion, Mode, Precision};
use crate::units::{Bytes, LayerRange, MicroJoules, Nanos, NodeOrd, ServiceOrd, TermOrd};

/// The answer to a [`Problem`](crate::problem::Problem).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Solution {
    /// One outcome for each service, in the problem's order.
    pub services: Vec<Outcome>,
    /// How good the choice for all services of one priority together is known to be; the highest priority first.
    #[serde(default)]
    pub levels: Vec<LevelCertificate>,
    /// Steps of work that were used.
    pub steps: u64,
    /// Whether the search was cut short by its caller; an answer that was is legal, but may not be the same twice.
    pub cancelled: bool,
}

/// How good the choice for all services of one priority is known to be, given what higher priorities have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelCertificate {
    /// The priority.
    pub priority: i32,
    /// Services of it.
    pub services: u32,
    /// Those that have a pipeline in the best choice that was found.
    pub placed: u32,
    /// No choice places more.
    pub placeable: u32,
    /// What the best choice costs that was found, all its services together (what runs costs more if some were kept).
    pub best: Nanos,
    /// No choice that places [`placeable`](Self::placeable) services costs less.
    pub lower_bound: Nanos,
    /// What memory is worth at the margin, the dearest first: the duals of the bound. Nodes that are not named have enough.
    pub prices: Vec<MemoryPrice>,
    /// Steps of work that were used.
    pub steps: u64,
}

/// What one more gibibyte on a node would save at most, for all services of a priority together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPrice {
    /// The node.
    pub node: NodeOrd,
    /// Cost per request that a gibibyte would save, at the margin.
    pub per_gibibyte: Nanos,
}

impl LevelCertificate {
    /// Whether the best choice is proven to be the best there is.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.placed == self.placeable && self.lower_bound >= self.best
    }

    /// By what part of its cost the best choice could at most be better, 0 to 1; `None` where it is not known whether more
    /// services could have a pipeline.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn gap(&self) -> Option<f64> {
        if self.placed < self.placeable {
            return None;
        }
        let missing = self.best.saturating_sub(self.lower_bound);
        Some(missing.0 as f64 / self.best.0.max(1) as f64)
    }
}

/// What became of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It has a pipeline.
    Placed(Box<Placed>),
    /// It has none.
    Infeasible(Box<Infeasible>),
}

impl Outcome {
    /// The pipeline, if there is one.
    #[must_use]
    pub fn placed(&self) -> Option<&Placed> {
        match self {
            Self::Placed(placed) => Some(placed),
            Self::Infeasible(_) => None,
        }
    }

    /// Why there is no pipeline, if there is none.
    #[must_use]
    pub fn infeasible(&self) -> Option<&Infeasible> {
        match self {
            Self::Placed(_) => None,
            Self::Infeasible(infeasible) => Some(infeasible),
        }
    }
}

/// A pipeline without figures: what identifies it, and what the next solve is told about this one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PipelineShape {
    /// The model variant.
    pub candidate: Candidate,
    /// The stages in order.
    pub stages: Vec<StageShape>,
    /// The small model beside it, in modes that have one. Requests enter at its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant: Option<Assistant>,
}

impl PipelineShape {
    /// A pipeline of one model.
    #[must_use]
    pub fn alone(candidate: Candidate, stages: Vec<StageShape>) -> Self {
        Self {
            candidate,
            stages,
            assistant: None,
        }
    }

    /// Whether anything of it is on a node.
    #[must_use]
    pub fn uses(&self, node: NodeOrd) -> bool {
        let assists = self.assistant.is_some_and(|assistant| assistant.node == node);
        assists || self.stages.iter().any(|stage| stage.node == node)
    }
}

/// A small model beside a pipeline, whole on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Assistant {
    /// The small model's variant.
    pub candidate: Candidate,
    /// Its node.
    pub node: NodeOrd,
    /// What it does.
    pub role: Role,
}

/// What an assistant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It drafts so many tokens, which the pipeline verifies in one step: [`Mode::Speculative`].
    Drafts {
        /// Tokens of a round.
        tokens: u32,
    },
    /// It answers first: [`Mode::Cascade`].
    AnswersFirst,
}

impl Role {
    /// The mode of a pipeline with such an assistant.
    #[must_use]
    pub fn mode(self) -> Mode {
        match self {
            Self::Drafts { .. } => Mode::Speculative,
            Self::AnswersFirst => Mode::Cascade,
        }
    }
}

/// A stage without figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StageShape {
    /// The node.
    pub node: NodeOrd,
    /// Its layers.
    pub layers: LayerRange,
    /// Precision of what it sends on; `None` for the last stage, which sends tokens.
    pub activation: Option<Precision>,
}

/// A service that has a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// What it should deliver.
    pub predicted: Predicted,
    /// The objective and its terms.
    pub cost: Cost,
    /// Time of each stage and hop.
    pub sheet: CostSheet,
    /// What keeps it from being better.
    pub binding: Binding,
    /// The best other choice of nodes or variant that was met.
    pub runner_up: Option<RunnerUp>,
    /// The best of each mode, in the order of [`Mode::ALL`]; those that are only told too.
    pub alternatives: Vec<Alternative>,
    /// How good the best pipeline that was found is known to be.
    pub certificate: Certificate,
    /// New, kept or moved.
    pub decision: Decision,
    /// A pipeline that would cost this service less, left to others because all together cost less so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_way: Option<GivesWay>,
}

/// A pipeline that a service could have had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivesWay {
    /// The pipeline.
    pub shape: PipelineShape,
    /// What it would cost.
    pub cost: Nanos,
}

/// A pipeline: a model variant cut into stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// The model variant.
    pub candidate: Candidate,
    /// The mode that it is.
    pub mode: Mode,
    /// Rows of a prefill chunk.
    pub chunk_rows: u32,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// The small model beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant: Option<PlacedAssistant>,
}

/// An assistant with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedAssistant {
    /// The assistant.
    pub assistant: Assistant,
    /// Layers of its model, all of which it holds.
    pub layers: u32,
    /// What it holds.
    pub memory: StageMemory,
    /// Whether its weights are in memory already.
    pub loaded: bool,
}

impl Pipeline {
    /// The pipeline without figures.
    #[must_use]
    pub fn shape(&self) -> PipelineShape {
        let stages = self
            .stages
            .iter()
            .map(|stage| StageShape {
                node: stage.node,
                layers: stage.layers,
                activation: stage.activation,
            })
            .collect();
        PipelineShape {
            candidate: self.candidate,
            stages,
            assistant: self.assistant.map(|placed| placed.assistant),
        }
    }
}

/// A layer range on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The node.
    pub node: NodeOrd,
    /// Its layers.
    pub layers: LayerRange,
    /// Precision of what it sends on; `None` for the last stage, which sends tokens.
    pub activation: Option<Precision>,
    /// What it holds.
    pub memory: StageMemory,
    /// Whether its weights are in memory already.
    pub loaded: bool,
}

/// Memory of a stage, term by term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageMemory {
    /// Weights of the layers, with repacked copies. Zero when another service's stage on this node holds the same.
    pub weights: Bytes,
    /// Embedding table (first stage), likewise.
    pub embedding: Bytes,
    /// Head (last stage), likewise.
    pub head: Bytes,
    /// KV cache of all sessions.
    pub kv_cache: Bytes,
    /// Compute buffer for the largest batch.
    pub compute: Bytes,
    /// Logits of all sessions (last stage).
    pub outputs: Bytes,
    /// Hidden states coming in and going out.
    pub activations: Bytes,
    /// Fixed part of a stage.
    pub stage: Bytes,
    /// The worker process; zero when an earlier service's stage on this node pays for it.
    pub worker: Bytes,
    /// Safety margin.
    pub margin: Bytes,
}

impl StageMemory {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Bytes {
        // Destructured, so that a new term cannot be forgotten.
        let Self {
            weights,
            embedding,
            head,
            kv_cache,
            compute,
            outputs,
            activations,
            stage,
            worker,
            margin,
        } = *self;
        weights + embedding + head + kv_cache + compute + outputs + activations + stage + worker + margin
    }
}

/// Predicted figures of a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicted {
    /// Time from the request's arrival at its ingress to its first token there, nothing else running.
    pub ttft: Nanos,
    /// Time per output token of one session.
    pub tpot: Nanos,
    /// Time per output token when all sessions decode together as one batch (pessimistic: stages do not overlap).
    pub tpot_at_concurrency: Nanos,
    /// Energy drawn from batteries per output token, the prompt's share included.
    pub energy_per_token: MicroJoules,
    /// Whether a stage's speed was declared and not measured.
    pub estimate: bool,
}

/// The objective, in nanoseconds per request, and the terms that it is the sum of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Weighted time to the first token.
    pub ttft: Nanos,
    /// Time of the other tokens.
    pub decode: Nanos,
    /// Penalty for a missed time to the first token.
    pub ttft_violation: Nanos,
    /// Penalty for a missed time per output token.
    pub tpot_violation: Nanos,
    /// Battery energy.
    pub energy: Nanos,
    /// Metered traffic.
    pub traffic: Nanos,
    /// Loss of fidelity at cuts.
    pub fidelity: Nanos,
    /// Stages on nodes that the service would rather not use.
    #[serde(default)]
    pub preference: Nanos,
    /// Quality missing to the best candidate's.
    pub quality: Nanos,
}

impl Cost {
    /// The objective.
    #[must_use]
    pub fn total(&self) -> Nanos {
        let Self {
            ttft,
            decode,
            ttft_violation,
            tpot_violation,
            energy,
            traffic,
            fidelity,
            preference,
            quality,
        } = *self;
        ttft + decode + ttft_violation + tpot_violation + energy + traffic + fidelity + preference + quality
    }

    /// Both together, term by term.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let Self {
            ttft,
            decode,
            ttft_violation,
            tpot_violation,
            energy,
            traffic,
            fidelity,
            preference,
            quality,
        } = *other;
        Self {
            ttft: self.ttft + ttft,
            decode: self.decode + decode,
            ttft_violation: self.ttft_violation + ttft_violation,
            tpot_violation: self.tpot_violation + tpot_violation,
            energy: self.energy + energy,
            traffic: self.traffic + traffic,
            fidelity: self.fidelity + fidelity,
            preference: self.preference + preference,
            quality: self.quality + quality,
        }
    }
}

/// Where the time goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostSheet {
    /// Chunks of the typical prompt.
    pub chunks: u32,
    /// Request to the head and first token back to the ingress, mean over ingress nodes.
    pub ingress: Nanos,
    /// Each stage.
    pub stages: Vec<StageCost>,
    /// Hop i goes from stage i to stage i + 1.
    pub hops: Vec<HopCost>,
    /// The token's way from the last stage to the head; `None` where both are on one node.
    pub return_hop: Option<HopCost>,
    /// Longest time that a chunk occupies one node or link; every chunk but the first adds it to the time to the first
    /// token. A node that holds two stages is occupied for both.
    pub bottleneck: Nanos,
    /// What the small model does, in modes that have one. Times of stages are then those of a token of the answer, and those
    /// of messages are as often as there are rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant: Option<AssistantCost>,
}

/// Figures of an assistant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssistantCost {
    /// It drafts.
    Draft {
        /// The prompt through the small model; the answer begins when both models have read it.
        prefill: Nanos,
        /// One drafted token.
        token: Nanos,
        /// A round: drafting, the way to the verifying pipeline, verifying, the way back.
        round: Nanos,
        /// Tokens that a round adds to the answer, in thousandths.
        tokens_per_round_milli: u64,
        /// Bytes between the drafting node and the head, per request.
        link_bytes: Bytes,
    },
    /// It answers first.
    First {
        /// From the request to the end of its answer, which is held back until it is known to be good enough.
        answer: Nanos,
        /// How many of a hundred requests go to the large model.
        escalated_percent: u32,
        /// From the request to the first token of the large model, for those.
        escalated_ttft: Nanos,
        /// Time per output token of the large model.
        escalated_tpot: Nanos,
        /// Whether the promises have to hold for those that go to the large model.
        promised_to_escalated: bool,
    },
}

impl AssistantCost {
    /// How often in a thousand tokens of the pipeline's a message goes each way.
    #[must_use]
    pub fn messages_per_thousand_tokens(&self) -> u64 {
        match *self {
            Self::Draft {
                tokens_per_round_milli,
                ..
            } => 1_000_000 / tokens_per_round_milli.max(1_000),
            Self::First { .. } => 1_000,
        }
    }
}

impl CostSheet {
    /// Times of the stages that a pipeline has on a node.
    pub(crate) fn of_node<'s>(
        &'s self,
        shape: &'s PipelineShape,
        node: NodeOrd,
    ) -> impl Iterator<Item = &'s StageCost> {
        let stages = shape.stages.iter().zip(&self.stages);
        stages
            .filter(move |(stage, _)| stage.node == node)
            .map(|(_, times)| times)
    }
}

/// Times of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCost {
    /// One prefill chunk.
    pub prefill_chunk: Nanos,
    /// The head at the first token (last stage).
    pub head: Nanos,
    /// One token of one session, the head included.
    pub decode: Nanos,
    /// One token of all sessions together, the head included.
    pub decode_at_concurrency: Nanos,
    /// Battery energy per request.
    pub energy: MicroJoules,
    /// Whether its speed was declared and not measured.
    pub estimate: bool,
}

/// Times of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopCost {
    /// Sender.
    pub from: NodeOrd,
    /// Receiver.
    pub to: NodeOrd,
    /// Latency and overhead of one message.
    pub latency: Nanos,
    /// Time that one prefill chunk takes on the wire (zero for the return hop).
    pub chunk_transfer: Nanos,
    /// Time that one token takes on the wire.
    pub token_transfer: Nanos,
    /// Time that one token of all sessions together takes on the wire.
    pub token_transfer_at_concurrency: Nanos,
    /// Bytes per request.
    pub bytes: Bytes,
}

/// What keeps a pipeline from being better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binding {
    /// With so much more memory this node could run everything alone, and the service would cost so much less.
    MemoryOf {
        /// The node.
        node: NodeOrd,
        /// Memory that it lacks.
        missing: Bytes,
        /// What the service would save per request.
        saving: Nanos,
    },
    /// A node's compute is the largest part of the cost.
    ComputeOf {
        /// The node.
        node: NodeOrd,
        /// Its part, per request.
        part: Nanos,
    },
    /// A hop's latency is the largest part of the cost.
    LinkLatency {
        /// Sender.
        from: NodeOrd,
        /// Receiver.
        to: NodeOrd,
        /// Its part, per request.
        part: Nanos,
    },
    /// A hop's transfer time is the largest part of the cost.
    LinkRate {
        /// Sender.
        from: NodeOrd,
        /// Receiver.
        to: NodeOrd,
        /// Its part, per request.
        part: Nanos,
    },
    /// The way between ingress and head is the largest part of the cost.
    IngressDistance {
        /// Its part, per request.
        part: Nanos,
    },
}

/// The best other pipeline that was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerUp {
    /// The pipeline.
    pub shape: PipelineShape,
    /// Its mode.
    pub mode: Mode,
    /// Its figures.
    pub predicted: Predicted,
    /// Its cost.
    pub cost: Cost,
}

/// The best of one mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// The mode.
    pub mode: Mode,
    /// What it offers.
    pub offer: Offer,
}

/// What a mode offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offer {
    /// This pipeline. For modes with several stages that did not win, it is the best that was met, not proven best.
    Found {
        /// The pipeline.
        shape: PipelineShape,
        /// Its figures.
        predicted: Predicted,
        /// Its cost.
        cost: Cost,
    },
    /// The service does not allow it.
    NotAllowed,
    /// More nodes than this may be used, and regions join them: it is not searched then.
    TooManyNodes {
        /// Most nodes among which it is searched.
        most: u32,
    },
    /// No candidate can be split.
    NotSplittable,
    /// No node of the tier that it needs may be used.
    NoSuchNode,
    /// One stage would need this much memory, at least, on the node that comes nearest.
    NotEnoughMemory {
        /// The node that lacks least.
        nearest: NodeOrd,
        /// What it lacks.
        missing: Bytes,
    },
    /// No legal pipeline of this kind was met.
    NoneFound(Sought),
    /// There is no small model for it.
    NoAssistant(NoAssistant),
    /// It is not searched where regions join nodes.
    NotAmongRegions,
}

/// How far pipelines of a kind were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sought {
    /// There is none.
    Everywhere,
    /// None costs less than the best of another kind; dearer ones were not looked for.
    WhereCheaper,
    /// Until the work budget ended.
    UntilBudget,
}

/// Why no small model can stand beside a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoAssistant {
    /// No candidate names a draft model.
    NoDraftModel,
    /// Tokens of the draft model are not those of the model that it should draft for.
    VocabulariesDiffer {
        /// Tokens of the draft model's vocabulary.
        draft: u32,
        /// Tokens of the large model's.
        target: u32,
    },
    /// The service names one model only, and a cascade needs a small one after a large one.
    NoSecondModel,
    /// The context asked for exceeds what every small model was trained for, or none is good enough.
    NotGoodEnough,
    /// No node that may see text holds the whole small model.
    NoNode {
        /// The node that lacks least, and what it lacks; `None` where no usable node that may see text knows its speed.
        nearest: Option<(NodeOrd, Bytes)>,
    },
}

/// How good the best pipeline that was found is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Cost of the best pipeline that was found (the placed one costs more if the running one was kept).
    pub best: Nanos,
    /// No legal pipeline costs less than this.
    pub lower_bound: Nanos,
    /// Steps of work that were used for this service.
    pub steps: u64,
}

impl Certificate {
    /// Whether the best pipeline is proven optimal.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.lower_bound >= self.best
    }

    /// Optimality gap: by what part of its cost the best pipeline could at most be improved, 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn gap(&self) -> f64 {
        if self.is_exact() {
            0.0
        } else {
            (self.best.0 - self.lower_bound.0) as f64 / self.best.0 as f64
        }
    }
}

/// How the placed pipeline relates to what ran before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Nothing ran before.
    New,
    /// What ran before is the best that was found, or not worse than it by more than the switching margin.
    Kept {
        /// The better pipeline that was not worth the switch, and its cost.
        passed_over: Option<(PipelineShape, Nanos)>,
    },
    /// What ran before costs more by more than the switching margin.
    Moved {
        /// Its cost under present conditions.
        previous_cost: Nanos,
    },
    /// What ran before is no longer legal.
    Replaced {
        /// Why.
        why: Illegality,
    },
}

/// What makes a pipeline illegal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Illegality {
    /// The service no longer names its model variant, or asks for more quality.
    Candidate,
    /// Its stages do not cover the layers once, in order, on different nodes that exist (first and last may share one if
    /// others are between them).
    Malformed,
    /// Its mode or number of stages is not allowed.
    Mode,
    /// A node may not be used.
    Node {
        /// The node.
        node: NodeOrd,
        /// Why.
        why: NodeReason,
    },
    /// A node has not enough memory.
    Memory {
        /// The node.
        node: NodeOrd,
        /// What it lacks.
        missing: Bytes,
    },
    /// There is no link, or none back to the head or to an ingress.
    Link {
        /// Sender.
        from: NodeOrd,
        /// Receiver.
        to: NodeOrd,
    },
    /// The precision at a cut is not allowed.
    Activation,
    /// Its small model may not assist the large one, or not so.
    Assistant,
    /// A node has not enough disk for the files of weights.
    Storage {
        /// The node.
        node: NodeOrd,
        /// What it lacks.
        missing: Bytes,
    },
    /// It shares a node with a service from which one of both is to be kept apart.
    Apart {
        /// The node.
        node: NodeOrd,
        /// The other service.
        other: ServiceOrd,
    },
}

/// A service that has no pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infeasible {
    /// The reason, as far as one is.
    pub cause: Cause,
    /// What each node has to say, in their order.
    pub nodes: Vec<NodeReport>,
    /// What would help, the smallest first.
    pub remedies: Vec<Remedy>,
    /// What the modes would give that are told and never chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Alternative>,
    /// Steps of work that were used for this service.
    pub steps: u64,
}

/// Why a service has no pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// No candidate is good enough, or there is none.
    NoCandidate {
        /// Quality of the best candidate.
        best_quality_milli: u32,
        /// Quality that is asked for.
        asked_milli: u32,
    },
    /// The context asked for exceeds what every candidate was trained for.
    ContextTooLong {
        /// Longest context of a candidate.
        longest: u32,
        /// Context that is asked for.
        asked: u32,
    },
    /// No allowed mode is one that this solver searches.
    NoModeImplemented,
    /// Only modes are allowed that nobody runs yet.
    NoModeRun,
    /// Modes with a small model alone are allowed, and there is none for it.
    NoAssistant(NoAssistant),
    /// Modes with a small model alone are allowed, which are not searched where regions join nodes.
    NotAmongRegions,
    /// U-shaped pipelines alone are allowed, and more nodes may be used than they are searched among where regions join
    /// them.
    TooManyNodes {
        /// Nodes that may be used.
        usable: u32,
        /// Most nodes among which U-shaped pipelines are searched.
        most: u32,
    },
    /// U-shaped pipelines alone are allowed, and no node that may see text holds a first and a last layer together.
    NoNodeForBothEnds {
        /// The node that may see text and lacks least, and what it lacks; `None` when no usable node may see text.
        nearest: Option<(NodeOrd, Bytes)>,
    },
    /// No node may be used at all.
    NoUsableNode,
    /// All usable nodes together have less memory than the smallest candidate needs.
    NotEnoughMemory {
        /// What the smallest candidate needs on one node.
        needed: Bytes,
        /// Free memory of all usable nodes.
        available: Bytes,
    },
    /// No node can hold the whole model, and it may not be split.
    NoNodeHoldsTheWhole {
        /// What the smallest candidate needs on one node.
        needed: Bytes,
        /// Most free memory on a usable node.
        largest: Bytes,
        /// Whether the model could be split and only the modes forbid it.
        splittable: bool,
    },
    /// There is memory, but no chain of links, trusted ends and allowed number of stages joins it.
    NoChain {
        /// Whether that is proven; otherwise the work budget ended first.
        proven: bool,
    },
}

/// What a node has to say to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: NodeOrd,
    /// Why it does not do, or how much of the model it could hold.
    pub reason: NodeReason,
}

/// Why a node does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeReason {
    /// Decided before the solver was asked.
    Excluded(Exclusion),
    /// Its battery is at or below its reserve.
    BatteryLow {
        /// Energy above the reserve, zero or less.
        charge: MicroJoules,
        /// The reserve.
        reserve: MicroJoules,
    },
    /// Nothing is known about its speed with this model.
    SpeedUnknown,
    /// A service that is there, and this one, are kept apart by a rule of one of them.
    Apart(TermOrd),
    /// It has no disk for the files of weights.
    StorageTooSmall {
        /// Free disk, beside files of other services.
        free: Bytes,
        /// What the smallest candidate's files take beside those that are there.
        needed: Bytes,
    },
    /// Its share of compute is zero.
    NoCompute,
    /// Its tier has no allowed mode.
    TierNotAllowed,
    /// Not trusted with any stage.
    Untrusted,
    /// Not even one layer fits.
    MemoryTooSmall {
        /// Free memory.
        free: Bytes,
        /// Need of the smallest stage.
        smallest_stage: Bytes,
    },
    /// It could hold this much, which is not enough, or cannot be joined to the rest.
    CouldHold {
        /// Free memory.
        free: Bytes,
        /// Most layers of any candidate that fit, ends not counted.
        layers: u32,
        /// Need of the whole model (smallest candidate).
        whole: Bytes,
    },
}

/// Why a node has no part in a service's pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhyNot {
    /// It has.
    Chosen,
    /// It cannot have, beside what other services have there.
    Refused(NodeReason),
    /// It could have.
    Dearer {
        /// The best pipeline with it that was met.
        shape: PipelineShape,
        /// What that costs.
        cost: Nanos,
        /// By how much more that is than what was chosen; nothing where nothing was.
        more: Nanos,
    },
}

/// What would make a service feasible. Each is sufficient by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// So much more memory on this node.
    Memory {
        /// The node.
        node: NodeOrd,
        /// The extra memory.
        extra: Bytes,
    },
    /// Fewer sessions at once.
    Concurrency {
        /// Sessions for which there is a pipeline.
        sessions: u32,
    },
    /// A shorter context.
    Context {
        /// Tokens for which there is a pipeline.
        tokens: u32,
    },
    /// Allowing the modes Split and MultiHop too.
    AllowSplit,
    /// Allowing the mode UShaped too.
    AllowUShaped,
}
