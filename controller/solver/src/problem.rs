//! The question: nodes, links, models and services as plain numbers, with ordinals for names.
//!
//! Nothing here reads Kubernetes objects; the manager converts them, names to ordinals, in one place. All fields are
//! integers, so that a problem can be compared, hashed and printed without loss.

use serde::{Deserialize, Serialize};

use crate::solution::PipelineShape;
use crate::units::{
    Bytes, BytesPerSecond, FileOrd, KernelOrd, LayerRange, MicroJoules, ModelOrd, Nanos, NodeOrd, TermOrd,
    TrustDomainOrd, VariantOrd,
};

mod lose;
mod regions;
mod rules;
mod validate;

pub use regions::{Access, Backbone, Regions, Segment};
pub use rules::{Aversion, ExcludedNode, Exclusion};
pub use validate::InvalidProblem;
pub(crate) use validate::require;

/// Everything that one solve looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The fleet; a [`NodeOrd`] counts these.
    pub nodes: Vec<Node>,
    /// Directed paths between nodes; where there is none, and none through [`regions`](Self::regions), nothing can be
    /// sent. At most one for each (from, to).
    pub links: Vec<Link>,
    /// Paths that are not given pair by pair.
    #[serde(default)]
    pub regions: Regions,
    /// The models; a [`ModelOrd`] counts these.
    pub models: Vec<Model>,
    /// Files of weights, by the bytes that they take on a node's disk; a [`FileOrd`] counts these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Bytes>,
    /// The services; a [`ServiceOrd`](crate::units::ServiceOrd) counts these, and breaks ties of priority.
    pub services: Vec<Service>,
    /// Stages whose weights are in memory now. They cost no time to load; otherwise they bind nobody.
    pub loaded: Vec<LoadedStage>,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// A user's device: phone, robot, laptop.
    Device,
    /// An edge server or a base station.
    Server,
    /// A data centre.
    Cloud,
}

/// A machine, or the part of one, that can hold one stage of each pipeline, or the first and the last of a
/// [U-shaped](Mode::UShaped) one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Memory usable for models at all.
    pub memory: Bytes,
    /// Part of [`memory`](Self::memory) held by what is not in this problem. Stages of this problem's own services,
    /// loaded or not, do not count: they are decided anew.
    pub reserved: Bytes,
    /// Disk for weights of this problem's services; `None` where it has no bound. A stage needs its variant's
    /// [files](Variant::files), and where it is a part of the model, its own part of the weights once more: it is loaded from a
    /// file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Bytes>,
    /// Where the node stands.
    pub tier: Tier,
    /// Who is trusted together with it.
    pub trust_domain: TrustDomainOrd,
    /// Thousandths of the measured (or declared) speed that models may use: times are multiplied by 1000 / share.
    pub compute_share_milli: u32,
    /// Battery, when the node runs on one.
    pub battery: Option<Battery>,
    /// What the engine on this node takes beside weights and KV cache.
    pub engine: EngineMemory,
    /// Measured speeds, one table for each kernel that was measured.
    pub speeds: Vec<SpeedTable>,
    /// What pipelines on this node have shown of those times; at most one for each kernel. A kernel without one takes the
    /// times that were measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<Correction>,
    /// Peak rates for kernels without a table; `None` when nothing is known, and then those kernels cannot run here.
    pub declared: Option<DeclaredSpeed>,
    /// Time to take one message in and give one out (decode, copy, wake), per stage and batch.
    pub message_overhead: Nanos,
}

/// A battery's state. A node at or below its reserve takes no stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Battery {
    /// Energy left in it.
    pub charge: MicroJoules,
    /// Energy that must stay in it.
    pub reserve: MicroJoules,
    /// Power drawn for a busy node above that of an idle one, in milliwatts.
    pub active_milliwatts: u64,
}

/// Memory terms of the engine on a node, as measured there. [`EngineMemory::llama_cpp_cpu`] has first values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineMemory {
    /// The worker process itself, once per node.
    pub worker: Bytes,
    /// Fixed part of each stage: context objects, graph, file header.
    pub stage: Bytes,
    /// Attention mask and scores: bytes per (row of a batch × KV cell of one session).
    pub bytes_per_row_and_cell: u64,
    /// Copies of the logits row that exist at once (result and compute graph).
    pub logits_copies: u64,
    /// KV cells of a session are rounded up to a multiple of this.
    pub kv_cell_multiple: u32,
    /// Added to the sum, in thousandths of it, so that the prediction is never under the truth.
    pub margin_milli: u32,
}

impl EngineMemory {
    /// llama.cpp on a CPU: starting values, to be replaced by those that the node measured.
    #[must_use]
    pub const fn llama_cpp_cpu() -> Self {
        Self {
            worker: Bytes::mebi(12),
            stage: Bytes::mebi(2),
            bytes_per_row_and_cell: 4,
            logits_copies: 2,
            kv_cell_multiple: 256,
            margin_milli: 20,
        }
    }
}

/// Times of one kernel on one node, at the node's full speed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedTable {
    /// The kernel: quantisation and block shape.
    pub kernel: KernelOrd,
    /// One layer, by rows of the batch; rows strictly ascending, at least one point.
    pub layer: Vec<SpeedPoint>,
    /// The head (projection to the vocabulary), by rows; strictly ascending. Empty when the node never measured it, and
    /// then the declared rates are asked.
    pub head: Vec<SpeedPoint>,
    /// The model's last layer with the head behind it, by rows of a prompt of which the last one is an output (the layer
    /// computes little for the others); strictly ascending. Empty when it was not measured: the sum of both is taken.
    pub prompt_end: Vec<SpeedPoint>,
    /// What [`HISTORY_POSITIONS`] positions, which a session held before the batch, add to one layer, by rows; strictly
    /// ascending. Empty when it was not measured, and then it is not counted.
    pub history: Vec<SpeedPoint>,
    /// Looking up the embedding of one row.
    pub embedding_row: Nanos,
}

/// Factors on a node's times of one kernel, in thousandths, learnt from how long requests really took there. Messages
/// between stages are not corrected: links are measured by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The kernel.
    pub kernel: KernelOrd,
    /// On times of rows of a prompt.
    pub prompt_milli: u32,
    /// On times of single tokens, and of the head.
    pub token_milli: u32,
}

/// Positions that [`SpeedTable::history`] is about.
pub const HISTORY_POSITIONS: u64 = 1_000;

/// A measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedPoint {
    /// Rows of the batch.
    pub rows: u32,
    /// Time of the whole batch.
    pub time: Nanos,
}

/// Rates that somebody declared, used where nothing was measured; figures that rest on them are marked as estimates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredSpeed {
    /// Sustained floating-point operations per second.
    pub flops_per_second: u64,
    /// Sustained memory bandwidth.
    pub memory_rate: BytesPerSecond,
}

/// A directed path between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Sender.
    pub from: NodeOrd,
    /// Receiver.
    pub to: NodeOrd,
    /// The rate to count on: the quantile that the caller chose of what was measured. Not zero.
    pub rate: BytesPerSecond,
    /// How far the rate strays, in thousandths of its logarithm. A service with a
    /// [`link_margin_milli`](Service::link_margin_milli) counts on so much less, or more, of links that waver.
    #[serde(default)]
    pub spread_milli: u32,
    /// One-way latency.
    pub latency: Nanos,
    /// Further time per message on this path (framing, encryption, relays).
    pub message_overhead: Nanos,
    /// Price of a mebibyte in the objective's currency; zero on unmetered links.
    pub price_per_mebibyte: Nanos,
}

/// A model: a chain of equal layers between an embedding and a head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Width of the hidden state.
    pub hidden: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// Most tokens of context that it was trained for.
    pub context_max: u32,
    /// Whether its layer ranges are proven to compute what the whole computes.
    pub splittable: bool,
    /// KV cache per token and layer, at the cache's precision.
    pub kv_bytes_per_token_and_layer: u64,
    /// Working memory per row of a batch beside attention scores (largest layer: hidden states, query, keys, values and
    /// the feed-forward's inner width).
    pub compute_bytes_per_row: u64,
    /// Floating-point operations per row and layer (twice the weights), for nodes without measurements.
    pub layer_flops_per_row: u64,
    /// Precisions it comes in; a [`VariantOrd`] counts these.
    pub variants: Vec<Variant>,
    /// The model that may draft for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
}

/// Most tokens that are drafted for one round. With more, the chance that all are accepted is of no account below an acceptance
/// of nine tenths, and what is verified in vain grows.
pub const DRAFT_TOKENS_MAX: u32 = 16;

/// A small model that drafts tokens for a large one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The small model.
    pub model: ModelOrd,
    /// How many of a hundred drafted tokens are those that the large model would have chosen, each by itself.
    pub acceptance_percent: u32,
}

/// A precision of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Key of the measured speeds.
    pub kernel: KernelOrd,
    /// Weights of each layer. All variants of a model have equally many.
    pub layer_bytes: Vec<Bytes>,
    /// The embedding table, held by the first stage.
    pub embedding_bytes: Bytes,
    /// The head, held by the last stage; with tied weights the table again, even if one node holds both ends.
    pub head_bytes: Bytes,
    /// What an unsplit stage holds in place of `embedding_bytes + head_bytes`: tied weights count once there.
    pub unsplit_ends_bytes: Bytes,
    /// Thousandths of the layers' and head's bytes that are resident: 1000 when mapped, 2000 when a repacked copy stands
    /// beside the mapped file (Q4_0 on a CPU).
    pub resident_milli: u32,
    /// Quality in thousandths, on a scale common to all models of a service.
    pub quality_milli: u32,
    /// Files that a node has on its disk to hold any of the layers, each once whoever else needs it too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileOrd>,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// One stage on a [`Tier::Device`] node.
    OnDevice,
    /// One stage on a server or in the cloud.
    OnServer,
    /// Two stages.
    Split,
    /// Three stages or more on as many nodes.
    MultiHop,
    /// Three stages or more, the first and the last on one node, the others on others: text stays on that node, the
    /// hidden states go out and come back.
    UShaped,
    /// A small model on one node drafts tokens; the large one, whole or as a chain, verifies them in one step. The answer is
    /// the large model's own.
    Speculative,
    /// A small model on one node answers first; what it is not confident of goes to the large one, whole or as a chain.
    Cascade,
}

impl Mode {
    /// All modes, in the order of reports.
    pub const ALL: [Self; 7] = [
        Self::OnDevice,
        Self::OnServer,
        Self::Split,
        Self::MultiHop,
        Self::UShaped,
        Self::Speculative,
        Self::Cascade,
    ];

    /// Whether pipelines of this mode are split.
    #[must_use]
    pub fn has_several_stages(self) -> bool {
        match self {
            Self::OnDevice | Self::OnServer | Self::Speculative | Self::Cascade => false,
            Self::Split | Self::MultiHop | Self::UShaped => true,
        }
    }

    /// Whether a second, small model has a part in pipelines of this mode.
    #[must_use]
    pub fn has_assistant(self) -> bool {
        match self {
            Self::OnDevice | Self::OnServer | Self::Split | Self::MultiHop | Self::UShaped => false,
            Self::Speculative | Self::Cascade => true,
        }
    }
}

/// Who may see text, or what gives it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privacy {
    /// Any node.
    Open,
    /// The head (it sees the prompt), the last stage (it sees the output) and each stage that begins above a cut too
    /// shallow to hide the prompt run in these domains only.
    Trusted {
        /// The trusted domains.
        domains: Vec<TrustDomainOrd>,
        /// A stage that starts before this layer counts as shallow.
        shallow_layers: u32,
    },
}

/// Precision of the hidden states at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers per row, with the largest values beside them as floats.
    Int8Outliers,
}

/// A precision that a service allows at its cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationFormat {
    /// The precision.
    pub precision: Precision,
    /// Bits per element of the hidden state on the wire.
    pub bits_per_element: u32,
    /// Bytes per row beside those (scale, outliers).
    pub bytes_per_row: u32,
    /// What its loss of fidelity is worth, per request and cut, in the objective's currency. Zero for the exact one; a
    /// coarser one is chosen only where the time it saves is worth more.
    pub fidelity_cost: Nanos,
}

/// One of the model variants that may answer a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// The model.
    pub model: ModelOrd,
    /// Its precision.
    pub variant: VariantOrd,
}

/// Where requests enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingress {
    /// The node whose router they reach.
    pub node: NodeOrd,
    /// Relative share of the requests. Not zero.
    pub weight: u32,
}

/// A service: what must be answered, how fast, by what, where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Model variants that may answer. Ties go to the first.
    pub candidates: Vec<Candidate>,
    /// Variants below this quality are not used.
    pub quality_min_milli: u32,
    /// What one thousandth of quality is worth per request; zero to prefer the fastest variant that is good enough.
    pub quality_value: Nanos,
    /// Tokens of context reserved for each session.
    pub context_tokens: u32,
    /// Sessions at once that memory is reserved for.
    pub concurrency: u32,
    /// Typical prompt.
    pub prompt_tokens: u32,
    /// Typical output.
    pub output_tokens: u32,
    /// Rows of a prefill chunk, and most rows of any batch.
    pub chunk_rows: u32,
    /// Promised time to the first token.
    pub slo_ttft: Option<Nanos>,
    /// Promised time per output token of one session.
    pub slo_tpot: Option<Nanos>,
    /// Extra cost of each nanosecond beyond a promise, as a multiple of that nanosecond.
    pub slo_penalty: u32,
    /// How many of a hundred requests must be within the promises. It matters where requests are answered in different ways:
    /// see [`Mode::Cascade`].
    #[serde(default = "default_percentile")]
    pub slo_percentile: u32,
    /// Weight of the time to the first token; the time per output token weighs once for each further token.
    pub ttft_weight: u32,
    /// Modes that may be used.
    pub modes: Vec<Mode>,
    /// Modes with an assistant that are looked at and told, and never chosen: nobody runs them yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told_modes: Vec<Mode>,
    /// How many of a hundred requests the small model of a [cascade](Mode::Cascade) is not confident of.
    #[serde(default = "default_escalated")]
    pub escalated_percent: u32,
    /// Most stages of a pipeline; `None` for as many as are useful.
    pub stages_max: Option<u32>,
    /// Who may see text.
    pub privacy: Privacy,
    /// Services of higher priority choose first.
    pub priority: i32,
    /// Where requests enter; empty when they enter at the head, wherever it is.
    pub ingress: Vec<Ingress>,
    /// Precisions allowed at cuts, the preferred one first; at least one if a split mode is allowed.
    pub activations: Vec<ActivationFormat>,
    /// Thousandths of a link's [spread](Link::spread_milli) that this service stays below the link's rate (chance
    /// constraint); below zero it counts on more.
    #[serde(default)]
    pub link_margin_milli: i32,
    /// What a joule from a battery costs, in the objective's currency.
    pub joule_cost: Nanos,
    /// A running pipeline is kept unless the new one costs less by this many thousandths of the running one's cost.
    pub switching_margin_milli: u32,
    /// What runs is kept for as long as it is legal and leaves room for others, whatever another pipeline would save.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// Mean sessions in flight, in thousandths: how busy later services find the nodes of this one.
    pub sessions_in_flight_milli: u32,
    /// Nodes that may not be used, and why.
    pub excluded: Vec<ExcludedNode>,
    /// Nodes that it would rather not use, and what that costs; several entries for a node add up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aversions: Vec<Aversion>,
    /// Terms of other services that it falls under.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carries: Vec<TermOrd>,
    /// Terms of its own: it shares no node with a service that [carries](Self::carries) one of them, whichever of both is
    /// placed first. That it falls under one itself means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shuns: Vec<TermOrd>,
    /// What runs now.
    pub previous: Option<PipelineShape>,
    /// Stages of [`previous`](Self::previous) that stay in memory until the new pipeline serves. It has to fit beside them; a
    /// stage that it has too is there once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptStage>,
}

/// A stage that stays in memory for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptStage {
    /// The node.
    pub node: NodeOrd,
    /// Its layers.
    pub layers: LayerRange,
    /// All memory that it takes.
    pub memory: Bytes,
}

/// Weights in memory on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LoadedStage {
    /// The node.
    pub node: NodeOrd,
    /// The model variant.
    pub candidate: Candidate,
    /// Its layers.
    pub layers: LayerRange,
}

/// The 95th percentile, as everywhere in Edgeloom.
fn default_percentile() -> u32 {
    95
}

/// Nothing is known of the small model's confidence: as many of its answers are good enough as are not.
fn default_escalated() -> u32 {
    50
}

impl Problem {
    /// The model and variant that a candidate names.
    #[must_use]
    pub fn variant(&self, candidate: Candidate) -> (&Model, &Variant) {
        let model = &self.models[candidate.model.index()];
        (model, &model.variants[candidate.variant.index()])
    }
}

impl Variant {
    /// Layers of the model.
    #[must_use]
    pub fn num_layers(&self) -> u32 {
        u32::try_from(self.layer_bytes.len()).expect("a model has fewer than 2^32 layers")
    }
}

impl ActivationFormat {
    /// 32-bit floats: exact.
    pub const F32: Self = Self {
        precision: Precision::F32,
        bits_per_element: 32,
        bytes_per_row: 0,
        fidelity_cost: Nanos::ZERO,
    };

    /// Bytes of a row of hidden states on the wire.
    #[must_use]
    pub fn row_bytes(&self, hidden: u32) -> Bytes {
        Bytes(
            (u64::from(hidden) * u64::from(self.bits_per_element)).div_ceil(8)
                + u64::from(self.bytes_per_row),
        )
    }
}

impl Service {
    /// A service that asks little: one session of 2048 tokens, entering at the head, any mode, no promise. Set what matters.
    #[must_use]
    pub fn new(candidates: Vec<Candidate>) -> Self {
        Self {
            candidates,
            quality_min_milli: 0,
            quality_value: Nanos::ZERO,
            context_tokens: 2_048,
            concurrency: 1,
            prompt_tokens: 256,
            output_tokens: 128,
            chunk_rows: 512,
            slo_ttft: None,
            slo_tpot: None,
            slo_penalty: 10,
            slo_percentile: default_percentile(),
            ttft_weight: 1,
            modes: vec![Mode::OnDevice, Mode::OnServer, Mode::Split, Mode::MultiHop],
            told_modes: Vec::new(),
            escalated_percent: default_escalated(),
            stages_max: None,
            privacy: Privacy::Open,
            priority: 0,
            ingress: Vec::new(),
            activations: vec![ActivationFormat::F32],
            link_margin_milli: 0,
            joule_cost: Nanos::ZERO,
            switching_margin_milli: 100,
            stays: false,
            sessions_in_flight_milli: 1_000,
            excluded: Vec::new(),
            aversions: Vec::new(),
            carries: Vec::new(),
            shuns: Vec::new(),
            previous: None,
            kept: Vec::new(),
        }
    }
}
