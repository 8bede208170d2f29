//! World to question: objects to ordinals and plain numbers, and back. The only place where names and ordinals meet.
//!
//! Pure: the same world gives the same snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{
    ActivationPrecision, ConditionType, EdgeNode, InferenceMode, LLMService, Model, PlacementSpec, condition,
    edge_node::{Benchmark, BenchmarkPoint, PowerSource, Tier},
    llm_service::{FaultTolerance, PrivacyLevel},
    model::{ModelVariant, ModelVariantStatus},
    stage::StagePhase,
};
use kube::ResourceExt;
use solver::{
    problem::{
        ActivationFormat, Battery, Candidate, Correction, DeclaredSpeed, Draft, EngineMemory, Ingress, Link,
        LoadedStage, Mode, Node, Precision, Privacy, Problem, Service, SpeedPoint, SpeedTable, Variant,
    },
    solution::{PipelineShape, StageShape},
    units::{
        Bytes, BytesPerSecond, FileOrd, KernelOrd, LayerRange, MicroJoules, ModelOrd, Nanos, NodeOrd,
        TrustDomainOrd, VariantOrd,
    },
};

use crate::{
    corrections::{self, Factors},
    entrances::Entrances,
    lengths::Requests,
    plan::disks,
    world::{ServiceName, World},
};

pub(crate) mod links;
mod rules;
pub mod stay;

pub use links::RateSource;
use rules::Rules;
pub use rules::Terms;

/// Rows of a prompt that are computed and sent at once: enough to keep the matrix kernels busy, few enough that a
/// token of another session waits for one chunk only.
pub const PREFILL_CHUNK_ROWS: u32 = 128;

/// Nodes of one site that no EdgeLink joins are taken to share a wired segment of this rate and latency.
const SITE_RATE: BytesPerSecond = BytesPerSecond::megabits(1000);
const SITE_LATENCY: Nanos = Nanos::from_micros(250);

/// Framing, encryption and waking up at both ends of a hop.
const MESSAGE_OVERHEAD: Nanos = Nanos::from_micros(150);

/// How much better another place must be, in thousandths, before a service goes there that has moved a moment ago.
const SETTLING_MARGIN_MILLI: u32 = 500;

/// The same while it is being learnt how fast the service really is where it runs: only what is lost is left.
const LEARNING_MARGIN_MILLI: u32 = 900;

/// What a lossy activation format has to save per request before it is chosen over the exact one.
const FIDELITY_COST: Nanos = Nanos::from_millis(5);

/// What llama.cpp holds beside weights and cache, as the engine's own tests measured it on whole models and ranges of 1
/// to 30 layers; a suite over both rooms holds this copy to the engine's prediction.
mod engine {
    use solver::units::Bytes;

    /// Each layer's part of graph and model.
    pub(super) const LAYER: Bytes = Bytes(36 << 10);
    /// Graph, scheduler, model and context, and pages of code.
    pub(super) const STAGE: Bytes = Bytes((2_160 + 1_600) << 10);
    /// The attention mask: half a float for each row and cell.
    pub(super) const MASK_BYTES_PER_ROW_AND_CELL: u64 = 2;
    /// An entry of a vocabulary without texts, which the last stage of a split has.
    pub(super) const NAMELESS_TOKEN: Bytes = Bytes(46);
    /// An entry of a whole model's vocabulary, with its merge.
    pub(super) const TOKEN: Bytes = Bytes(205 + 145);

    /// Gate, up and their product beside five rows of hidden state; hidden states on their way, of which the solver
    /// counts two copies of six and a quarter itself; activations quantised for the multiplication.
    pub(super) const fn bytes_per_row(hidden: u64, inner: u64) -> u64 {
        let widest = if inner > hidden { inner } else { hidden };
        4 * (3 * inner + 5 * hidden + 8) + 17 * hidden + widest * 9 / 8
    }
}

/// The question, and the names behind its ordinals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The question.
    pub problem: Problem,
    /// EdgeNodes by [`NodeOrd`].
    pub nodes: Vec<String>,
    /// Models by [`ModelOrd`].
    pub models: Vec<ModelNames>,
    /// Services by their ordinal.
    pub services: Vec<ServiceName>,
    /// Services that were not asked about, and why.
    pub skipped: BTreeMap<ServiceName, Skipped>,
    /// Services that may stay on nodes that they are to leave, and why they have room nowhere else.
    pub staying: BTreeMap<ServiceName, String>,
    /// Services whose better placement waits for the disruption budget, and until when.
    pub waiting: BTreeMap<ServiceName, String>,
    /// Where the rates of EdgeLinks come from, by sender and receiver.
    pub rates: BTreeMap<(NodeOrd, NodeOrd), RateSource>,
    /// Texts of the rules that the question counts.
    pub terms: Terms,
    /// Why nodes could not time models.
    pub untimed: BTreeMap<NodeOrd, String>,
}

/// A model's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelNames {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its variants by [`VariantOrd`].
    pub variants: Vec<String>,
}

/// Why the solver was not asked about a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It asks for no replica.
    ScaledToZero,
    /// A model that it names is not there, or its header was not read: its name, and why.
    ModelNotReady(String, String),
}

/// How a snapshot is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Assume nominal speeds for nodes that never measured, and that all nodes are alive: for plans made offline.
    pub offline: bool,
}

/// Nominal speed of one core, for plans made offline.
const FLOPS_PER_CORE: u64 = 12_000_000_000;
const MEMORY_BYTES_PER_SECOND_PER_CORE: u64 = 6_000_000_000;

impl Snapshot {
    /// Takes the world's question.
    #[must_use]
    pub fn take(world: &World, options: Options) -> Self {
        let mut snapshot = Self::default();
        let mut kernels = Kernels::default();
        snapshot.add_models(world, &mut kernels);
        snapshot.add_nodes(world, &kernels, options);
        snapshot.add_corrections(world, &kernels);
        snapshot.add_links(world);
        snapshot.add_loaded(world, &kernels);
        snapshot.add_services(world, options);
        snapshot
    }

    /// The ordinal of an EdgeNode.
    #[must_use]
    pub fn node_ord(&self, name: &str) -> Option<NodeOrd> {
        self.nodes
            .binary_search_by(|node| node.as_str().cmp(name))
            .ok()
            .map(NodeOrd::from_index)
    }

    /// The name of an EdgeNode.
    #[must_use]
    pub fn node_name(&self, node: NodeOrd) -> &str {
        &self.nodes[node.index()]
    }

    /// Tokens of the prompt that was decided for; what the service calls typical where it was not asked about.
    pub(crate) fn prompt_tokens(&self, service: &LLMService) -> i32 {
        let name = ServiceName::of(service);
        let asked = self.services.iter().position(|known| *known == name);
        let decided = asked.map(|asked| self.problem.services[asked].prompt_tokens);
        let decided = decided.and_then(|tokens| i32::try_from(tokens).ok());
        decided.unwrap_or(service.spec.workload.prompt_tokens)
    }

    fn add_models(&mut self, world: &World, kernels: &mut Kernels) {
        for model in &world.models {
            let Some(question) = model_of(model, kernels) else {
                continue;
            };
            let variants = || model.status.iter().flat_map(|status| &status.variants);
            for (index, variant) in variants().enumerate() {
                let candidate = Candidate {
                    model: ModelOrd::from_index(self.models.len()),
                    variant: VariantOrd::from_index(index),
                };
                kernels.candidates.insert(variant.digest.clone(), candidate);
            }
            self.models.push(ModelNames {
                namespace: model.namespace().unwrap_or_default(),
                name: model.name_any(),
                variants: variants().map(|variant| variant.name.clone()).collect(),
            });
            self.problem.models.push(question);
        }
        self.problem.files.clone_from(&kernels.file_bytes);
        for model in &world.models {
            self.name_draft(model);
        }
    }

    /// Tells the question who may draft for a model, if both are in it.
    fn name_draft(&mut self, model: &Model) {
        let namespace = model.namespace().unwrap_or_default();
        let find = |name: &str| {
            let is_it = |known: &ModelNames| known.namespace == namespace && known.name == name;
            self.models.iter().position(is_it)
        };
        let large = find(&model.name_any());
        let small = model.spec.draft_model.as_deref().and_then(find);
        if let Some((large, small)) = large.zip(small).filter(|(large, small)| large != small) {
            self.problem.models[large].draft = Some(Draft {
                model: ModelOrd::from_index(small),
                acceptance_percent: small_percent(model.spec.draft_acceptance_percent),
            });
        }
    }

    fn add_nodes(&mut self, world: &World, kernels: &Kernels, options: Options) {
        let mut domains: BTreeMap<&str, TrustDomainOrd> = BTreeMap::new();
        for node in &world.nodes {
            let domain = node.spec.trust_domain.as_deref().unwrap_or_default();
            let next = TrustDomainOrd::from_index(domains.len());
            let trust_domain = *domains.entry(domain).or_insert(next);
            let status = node.status.as_ref();
            let untimed =
                status.and_then(|status| condition::why_not(&status.conditions, ConditionType::Benchmarked));
            if let Some(why) = untimed {
                let ord = NodeOrd::from_index(self.nodes.len());
                self.untimed.insert(ord, why.to_owned());
            }
            self.nodes.push(node.name_any());
            self.problem
                .nodes
                .push(node_of(node, trust_domain, kernels, options));
        }
    }

    /// What requests have shown of measured times.
    fn add_corrections(&mut self, world: &World, kernels: &Kernels) {
        let milli = |factor: i32| u32::try_from(factor).unwrap_or(0).max(1);
        for (digest, kernel) in &kernels.by_digest {
            let factors = corrections::of_model(world, digest);
            for (node, name) in self.problem.nodes.iter_mut().zip(&self.nodes) {
                let corrected = factors.get(name).filter(|factors| **factors != Factors::NONE);
                node.corrections.extend(corrected.map(|factors| Correction {
                    kernel: *kernel,
                    prompt_milli: milli(factors.prompt),
                    token_milli: milli(factors.token),
                }));
            }
        }
    }

    /// EdgeLinks in both directions, and the assumed segment between nodes of one site.
    fn add_links(&mut self, world: &World) {
        let mut links: BTreeMap<(NodeOrd, NodeOrd), Link> = BTreeMap::new();
        for link in &world.links {
            let (Some(from), Some(to)) = (self.node_ord(&link.spec.from), self.node_ord(&link.spec.to))
            else {
                continue;
            };
            let report = |source: &str| link.status.as_ref().and_then(|status| status.reports.get(source));
            let forth = link.spec.rate_bits_per_second.value();
            let back = link
                .spec
                .reverse_rate_bits_per_second
                .as_ref()
                .map_or(forth, crds::Quantity::value);
            for (from, to, rate, source) in [
                (from, to, forth, &link.spec.from),
                (to, from, back, &link.spec.to),
            ] {
                let direction = links::Direction {
                    spec: &link.spec,
                    from,
                    to,
                    rate,
                    report: report(source),
                };
                let (known, source) = direction.link(world.at);
                links.insert((from, to), known);
                self.rates.insert((from, to), source);
            }
        }
        let names = &self.nodes;
        let is_connected =
            |from: NodeOrd, to: NodeOrd| world.is_connected(&names[from.index()], &names[to.index()]);
        let assumed = self
            .assumed_links(world)
            .filter(|link| !links.contains_key(&(link.from, link.to)));
        let mut all: Vec<_> = links.values().copied().chain(assumed).collect();
        all.retain(|link| is_connected(link.from, link.to));
        all.sort_unstable_by_key(|link| (link.from, link.to));
        self.problem.links = all;
    }

    /// A segment between every two nodes of one site. There are as many as pairs, so those that no token can pass are left out:
    /// a node takes part that has been timed, or where requests may enter.
    fn assumed_links(&self, world: &World) -> impl Iterator<Item = Link> {
        let ways_in: BTreeSet<&str> = ways_in(world).collect();
        let takes_part = |index: usize| {
            let node = &self.problem.nodes[index];
            let computes = node.declared.is_some() || !node.speeds.is_empty();
            computes || ways_in.contains(self.nodes[index].as_str())
        };
        let mut sites: BTreeMap<Option<&str>, Vec<NodeOrd>> = BTreeMap::new();
        for (index, node) in world
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, _)| takes_part(*index))
        {
            let site = sites.entry(node.spec.site.as_deref()).or_default();
            site.push(NodeOrd::from_index(index));
        }
        let pairs = sites.into_values().flat_map(|site| {
            let others = site.clone();
            site.into_iter().flat_map(move |from| {
                let others = others.clone().into_iter().filter(move |to| *to != from);
                others.map(move |to| (from, to))
            })
        });
        pairs.map(|(from, to)| Link {
            from,
            to,
            rate: SITE_RATE,
            spread_milli: 0,
            latency: SITE_LATENCY,
            message_overhead: MESSAGE_OVERHEAD,
            price_per_mebibyte: Nanos::ZERO,
        })
    }

    fn add_loaded(&mut self, world: &World, kernels: &Kernels) {
        for stage in &world.stages {
            let ready = stage
                .status
                .as_ref()
                .is_some_and(|status| status.phase == StagePhase::Ready);
            let node = self.node_ord(&stage.spec.node_name);
            let candidate = kernels.candidates.get(&stage.spec.model.digest);
            if let (true, Some(node), Some(candidate)) = (ready, node, candidate) {
                self.problem.loaded.push(LoadedStage {
                    node,
                    candidate: *candidate,
                    layers: layers(stage.spec.first_layer, stage.spec.end_layer),
                });
            }
        }
    }

    fn add_services(&mut self, world: &World, options: Options) {
        let apart = rules::Apart::of(world, &mut self.terms);
        for service in world
            .services
            .iter()
            .filter(|service| service.metadata.deletion_timestamp.is_none())
        {
            let name = ServiceName::of(service);
            if service.spec.replicas == 0 {
                self.skipped.insert(name, Skipped::ScaledToZero);
                continue;
            }
            match self.candidates_of(world, service, &name) {
                Ok(candidates) => {
                    let rules = rules::of(world, service, &apart, &mut self.terms, options);
                    let question = self.service_of(world, service, &name, candidates, rules);
                    self.problem.services.push(question);
                    self.services.push(name);
                }
                Err(skipped) => drop(self.skipped.insert(name, skipped)),
            }
        }
    }

    fn candidates_of(
        &self,
        world: &World,
        service: &LLMService,
        name: &ServiceName,
    ) -> Result<Vec<Candidate>, Skipped> {
        let mut candidates = vec![];
        for reference in &service.spec.models {
            let found = self
                .models
                .iter()
                .position(|model| model.namespace == name.namespace && model.name == reference.name)
                .ok_or_else(|| {
                    let why = why_not_ready(world, &name.namespace, &reference.name);
                    Skipped::ModelNotReady(reference.name.clone(), why)
                })?;
            for (index, variant) in self.models[found].variants.iter().enumerate() {
                if reference.variants.is_empty() || reference.variants.contains(variant) {
                    candidates.push(Candidate {
                        model: ModelOrd::from_index(found),
                        variant: VariantOrd::from_index(index),
                    });
                }
            }
        }
        Ok(candidates)
    }

    fn service_of(
        &self,
        world: &World,
        service: &LLMService,
        name: &ServiceName,
        candidates: Vec<Candidate>,
        rules: Rules,
    ) -> Service {
        let spec = &service.spec;
        let domain_of = |domain: &String| {
            let node = world
                .nodes
                .iter()
                .position(|node| node.spec.trust_domain.as_ref() == Some(domain))?;
            Some(self.problem.nodes[node].trust_domain)
        };
        let trusted = |shallow_layers| Privacy::Trusted {
            domains: spec.privacy.trust_domains.iter().filter_map(domain_of).collect(),
            shallow_layers,
        };
        let asked = Service::new(candidates);
        let (prompt_tokens, output_tokens) = Requests::of(world, service).decided(service);
        let modes = |told: bool| {
            let modes = spec.modes.iter().map(|mode| mode_of(*mode));
            // Agents run no mode with an assistant yet: what these would give is told.
            modes.filter(|mode| mode.has_assistant() == told).collect()
        };
        Service {
            quality_value: Nanos::from_millis(1),
            context_tokens: small(spec.context_tokens),
            concurrency: small(spec.concurrency),
            prompt_tokens,
            output_tokens,
            chunk_rows: PREFILL_CHUNK_ROWS,
            slo_ttft: spec.slo.time_to_first_token_milliseconds.map(milliseconds),
            slo_tpot: spec.slo.time_per_output_token_milliseconds.map(milliseconds),
            slo_percentile: small_percent(spec.slo.percentile),
            modes: modes(false),
            told_modes: modes(true),
            escalated_percent: small(spec.cascade.escalated_percent).min(100),
            privacy: match privacy_of(world, service, name) {
                PrivacyLevel::Open => Privacy::Open,
                PrivacyLevel::TrustedText => trusted(small(spec.privacy.shallow_layers)),
                PrivacyLevel::TrustedOnly => trusted(u32::MAX),
            },
            priority: precedence(service),
            ingress: self.ingress_of(world, service, name),
            activations: spec
                .activation_precisions
                .iter()
                .map(|precision| format_of(*precision))
                .collect(),
            link_margin_milli: links::margin_milli(spec.link_rate_percentile),
            joule_cost: milliseconds(spec.energy_weight_milliseconds_per_joule),
            excluded: rules.excluded,
            aversions: rules.aversions,
            carries: rules.carries,
            shuns: rules.shuns,
            previous: self.previous_of(world, name, &asked.candidates),
            switching_margin_milli: if world
                .runs_on(name)
                .is_some_and(|runs| corrections::is_learning(world, runs))
            {
                LEARNING_MARGIN_MILLI
            } else if world.settling.contains(name) {
                SETTLING_MARGIN_MILLI
            } else {
                asked.switching_margin_milli
            },
            ..asked
        }
    }

    /// Where requests enter: at the nodes that users attach to, weighed by their demand; at the head when nobody says.
    fn ingress_of(&self, world: &World, service: &LLMService, name: &ServiceName) -> Vec<Ingress> {
        let mut weights: BTreeMap<NodeOrd, u32> = BTreeMap::new();
        let entrances = Entrances::of(world, service);
        for user in world
            .users
            .iter()
            .filter(|user| user.namespace().as_deref() == Some(&name.namespace))
        {
            let demand = user
                .spec
                .demands
                .iter()
                .find(|demand| demand.service == name.name);
            let Some(demand) = demand else { continue };
            let entry = entrances.for_user(world, user);
            if let Some(node) = entry.and_then(|node| self.node_ord(node)) {
                *weights.entry(node).or_default() += small(demand.requests_per_hour.max(1));
            }
        }
        if weights.is_empty() {
            let named = service
                .spec
                .ingress_nodes
                .iter()
                .filter(|name| world.is_alive(name))
                .filter(|name| world.node(name).is_some_and(|node| entrances.admit(node)));
            weights = named.filter_map(|node| Some((self.node_ord(node)?, 1))).collect();
        }
        weights
            .into_iter()
            .map(|(node, weight)| Ingress { node, weight })
            .collect()
    }

    /// What runs now.
    fn previous_of(
        &self,
        world: &World,
        name: &ServiceName,
        candidates: &[Candidate],
    ) -> Option<PipelineShape> {
        self.shape_of(&world.runs_on(name)?.spec, candidates)
    }

    /// A Placement's first pipeline in ordinals; none when it names what the snapshot has not.
    pub(crate) fn shape_of(
        &self,
        placement: &PlacementSpec,
        candidates: &[Candidate],
    ) -> Option<PipelineShape> {
        let model = &placement.model;
        let candidate = candidates.iter().find(|candidate| {
            let names = &self.models[candidate.model.index()];
            names.name == model.name && names.variants[candidate.variant.index()] == model.variant
        })?;
        let stages = &placement.pipelines.first()?.stages;
        let shapes = stages.iter().enumerate().map(|(index, stage)| {
            let activation = (index + 1 < stages.len()).then(|| precision_of(stage.sends));
            Some(StageShape {
                node: self.node_ord(&stage.node)?,
                layers: layers(stage.first_layer, stage.end_layer),
                activation,
            })
        });
        Some(PipelineShape::alone(*candidate, shapes.collect::<Option<_>>()?))
    }
}

/// Kernels by the digest of the weights that were timed.
#[derive(Default)]
struct Kernels {
    by_digest: BTreeMap<String, KernelOrd>,
    candidates: BTreeMap<String, Candidate>,
    files: BTreeMap<String, FileOrd>,
    file_bytes: Vec<Bytes>,
}

impl Kernels {
    fn of(&mut self, digest: &str) -> KernelOrd {
        let next = KernelOrd::from_index(self.by_digest.len());
        *self.by_digest.entry(digest.to_owned()).or_insert(next)
    }

    /// The file that a node fetches to hold layers of a variant; none where it is used in the place that its URI names.
    fn file_of(&mut self, variant: &ModelVariantStatus, spec: Option<&ModelVariant>) -> Option<FileOrd> {
        spec.filter(|spec| disks::is_fetched(&spec.uri))?;
        let next = FileOrd::from_index(self.files.len());
        let file = *self.files.entry(variant.digest.clone()).or_insert(next);
        if file == next {
            self.file_bytes.push(positive(variant.size_bytes));
        }
        Some(file)
    }
}

fn model_of(model: &Model, kernels: &mut Kernels) -> Option<solver::problem::Model> {
    let status = model.status.as_ref()?;
    if status.observed_generation != model.metadata.generation || status.variants.is_empty() {
        return None;
    }
    let architecture = status.architecture.as_ref()?;
    let (hidden, inner) = (
        unsigned(architecture.embedding_length),
        unsigned(architecture.feed_forward_length),
    );
    let key_value = unsigned(architecture.key_value_heads) * unsigned(architecture.head_length);
    let query = unsigned(architecture.heads) * unsigned(architecture.head_length);
    let variants = status.variants.iter().map(|variant| {
        let quality = model.spec.variants.iter().find(|spec| spec.name == variant.name);
        let embedding = positive(variant.embedding_bytes);
        let separate_head = positive(variant.head_bytes);
        let head = if separate_head == Bytes::ZERO {
            embedding
        } else {
            separate_head
        };
        Variant {
            kernel: kernels.of(&variant.digest),
            layer_bytes: (0..architecture.layers.max(0))
                .map(|layer| {
                    let layer = usize::try_from(layer).expect("a layer is not negative");
                    positive(variant.layer(layer)) + engine::LAYER
                })
                .collect(),
            // A first stage looks rows up in the mapped file, which the system can take back at any time.
            embedding_bytes: Bytes::ZERO,
            head_bytes: head + engine::NAMELESS_TOKEN.times(unsigned(architecture.vocabulary)),
            unsplit_ends_bytes: embedding
                + separate_head
                + positive(variant.other_bytes)
                + engine::TOKEN.times(unsigned(architecture.vocabulary)),
            // llama.cpp keeps a repacked copy of Q4_0 beside the mapped file.
            resident_milli: if variant.quantisation == "Q4_0" {
                2_000
            } else {
                1_000
            },
            quality_milli: quality.map_or(1_000, |spec| small(spec.quality_milli)),
            files: kernels.file_of(variant, quality).into_iter().collect(),
        }
    });
    let question = solver::problem::Model {
        hidden: small(architecture.embedding_length),
        vocabulary: small(architecture.vocabulary),
        context_max: small(architecture.context_length),
        splittable: architecture.splittable,
        // A key and a value in 16-bit floats.
        kv_bytes_per_token_and_layer: 2 * 2 * key_value,
        compute_bytes_per_row: engine::bytes_per_row(hidden, inner),
        // Two operations for each weight of attention and the gated feed-forward.
        layer_flops_per_row: 2 * (2 * hidden * query + 2 * hidden * key_value + 3 * hidden * inner),
        variants: variants.collect(),
        draft: None,
    };
    Some(question)
}

fn node_of(node: &EdgeNode, trust_domain: TrustDomainOrd, kernels: &Kernels, options: Options) -> Node {
    let status = node.status.clone().unwrap_or_default();
    let device = status.devices.first();
    let limit = node.spec.limits.memory.as_ref().map(crds::Quantity::value);
    let memory = device.map(|device| device.memory_bytes).or(limit).unwrap_or(0);
    let cores_milli = device
        .map(|device| device.cores_milli)
        .or(node.spec.limits.cores.as_ref().map(crds::Quantity::milli))
        .unwrap_or(1_000);
    let mut engine = EngineMemory {
        stage: engine::STAGE,
        bytes_per_row_and_cell: engine::MASK_BYTES_PER_ROW_AND_CELL,
        ..EngineMemory::llama_cpp_cpu()
    };
    if let Some(device) = device.filter(|device| device.overhead_bytes > 0) {
        engine.worker = positive(device.overhead_bytes);
    }
    let beyond_predicted = corrections::memory_of_node(node) - corrections::NONE;
    engine.margin_milli += u32::try_from(beyond_predicted).unwrap_or(0);
    let cores = u64::try_from(cores_milli).unwrap_or(0);
    Node {
        memory: positive(memory),
        reserved: Bytes::ZERO,
        storage: node
            .spec
            .limits
            .storage
            .as_ref()
            .map(|storage| positive(storage.value())),
        tier: match node.spec.tier {
            Tier::Device => solver::problem::Tier::Device,
            Tier::Server => solver::problem::Tier::Server,
            Tier::Cloud => solver::problem::Tier::Cloud,
        },
        trust_domain,
        // Benchmarks run at the node's share of cores, so their times need no scaling.
        compute_share_milli: 1_000,
        battery: battery_of(node, cores),
        engine,
        speeds: device
            .into_iter()
            .flat_map(|device| &device.benchmarks)
            .filter_map(|benchmark| speed_of(benchmark, kernels))
            .collect(),
        corrections: vec![],
        declared: options.offline.then_some(DeclaredSpeed {
            flops_per_second: FLOPS_PER_CORE * cores.max(1) / 1000,
            memory_rate: BytesPerSecond(MEMORY_BYTES_PER_SECOND_PER_CORE * cores.max(1) / 1000),
        }),
        message_overhead: device
            .and_then(|device| device.benchmarks.first())
            .map_or(Nanos::from_micros(100), |benchmark| {
                nanos(benchmark.batch_overhead_nanoseconds)
            }),
    }
}

/// The battery in the solver's units: 1 mWh is 3.6 J.
fn battery_of(node: &EdgeNode, cores_milli: u64) -> Option<Battery> {
    const MICROJOULES_PER_MILLIWATT_HOUR: u64 = 3_600_000;
    if node.spec.power.source != PowerSource::Battery {
        return None;
    }
    let declared = node.spec.power.battery.as_ref();
    let capacity = declared.map(|battery| unsigned(battery.capacity_milliwatt_hours))?;
    let reading = node.status.as_ref().and_then(|status| status.battery.as_ref());
    let charge = reading
        .and_then(|reading| reading.energy_milliwatt_hours)
        .and_then(|energy| u64::try_from(energy).ok())
        .unwrap_or(capacity * declared.map_or(100, |battery| unsigned(battery.percent)) / 100);
    let reserve = capacity * unsigned(node.spec.power.reserve_percent) / 100;
    Some(Battery {
        charge: MicroJoules(charge * MICROJOULES_PER_MILLIWATT_HOUR),
        reserve: MicroJoules(reserve * MICROJOULES_PER_MILLIWATT_HOUR),
        active_milliwatts: declared.map_or(0, |battery| unsigned(battery.milliwatts_per_core)) * cores_milli
            / 1000,
    })
}

fn speed_of(benchmark: &Benchmark, kernels: &Kernels) -> Option<SpeedTable> {
    let kernel = *kernels.by_digest.get(&benchmark.model)?;
    // What was not measured has no point.
    let points = |time: fn(&BenchmarkPoint) -> Option<i64>| {
        let points = benchmark.points.iter();
        points
            .filter_map(|point| {
                Some(SpeedPoint {
                    rows: small(point.rows),
                    time: nanos(time(point)?),
                })
            })
            .collect::<Vec<_>>()
    };
    Some(SpeedTable {
        kernel,
        layer: points(|point| Some(point.layer_nanoseconds)),
        head: points(|point| Some(point.head_nanoseconds).filter(|time| *time > 0)),
        prompt_end: points(|point| point.prompt_end_nanoseconds),
        history: points(|point| point.history_nanoseconds),
        embedding_row: nanos(benchmark.embedding_nanoseconds_per_row),
    })
    .filter(|table| !table.layer.is_empty())
}

/// The EdgeNode that a user is attached to: the first of those that it may attach to.
#[must_use]
pub fn attachment<'a>(world: &'a World, user: &'a crds::EdgeUser) -> Option<&'a str> {
    attachable(world, user).next()
}

/// The EdgeNodes that are alive of those that a user may attach to, then its device.
pub(crate) fn attachable<'a>(world: &'a World, user: &'a crds::EdgeUser) -> impl Iterator<Item = &'a str> {
    let nodes = user.spec.attach_nodes.iter().chain(&user.spec.device_node);
    nodes.map(String::as_str).filter(|node| world.is_alive(node))
}

/// EdgeNodes that somebody names as the place where requests enter.
fn ways_in(world: &World) -> impl Iterator<Item = &str> {
    let of_users = world
        .users
        .iter()
        .flat_map(|user| user.spec.attach_nodes.iter().chain(&user.spec.device_node));
    let of_services = world
        .services
        .iter()
        .flat_map(|service| &service.spec.ingress_nodes);
    of_users.chain(of_services).map(String::as_str)
}

/// The strictest level of the service and of those who use it.
#[must_use]
pub fn privacy_of(world: &World, service: &LLMService, name: &ServiceName) -> PrivacyLevel {
    let strictness = |level: &PrivacyLevel| match level {
        PrivacyLevel::Open => 0,
        PrivacyLevel::TrustedText => 1,
        PrivacyLevel::TrustedOnly => 2,
    };
    let users = world.users.iter().filter(|user| {
        user.namespace().as_deref() == Some(&name.namespace)
            && user.spec.demands.iter().any(|demand| demand.service == name.name)
    });
    let levels = users
        .map(|user| user.spec.privacy)
        .chain([service.spec.privacy.level]);
    levels.max_by_key(strictness).unwrap_or_default()
}

/// A precision in the solver's terms.
#[must_use]
pub fn precision_of(precision: ActivationPrecision) -> Precision {
    match precision {
        ActivationPrecision::F32 => Precision::F32,
        ActivationPrecision::F16 => Precision::F16,
        ActivationPrecision::Int8Outliers => Precision::Int8Outliers,
    }
}

/// Bytes on the wire: 32, 16 or 8 bits for each value; with outliers, a scale and eight pairs of index and value.
fn format_of(precision: ActivationPrecision) -> ActivationFormat {
    match precision {
        ActivationPrecision::F32 => ActivationFormat::F32,
        ActivationPrecision::F16 => ActivationFormat {
            precision: Precision::F16,
            bits_per_element: 16,
            bytes_per_row: 0,
            fidelity_cost: FIDELITY_COST,
        },
        ActivationPrecision::Int8Outliers => ActivationFormat {
            precision: Precision::Int8Outliers,
            bits_per_element: 8,
            bytes_per_row: 4 + 8 * 6,
            fidelity_cost: FIDELITY_COST,
        },
    }
}

/// A mode in the solver's terms.
fn mode_of(mode: InferenceMode) -> Mode {
    match mode {
        InferenceMode::OnDevice => Mode::OnDevice,
        InferenceMode::OnServer => Mode::OnServer,
        InferenceMode::Split => Mode::Split,
        InferenceMode::MultiHop => Mode::MultiHop,
        InferenceMode::UShaped => Mode::UShaped,
        InferenceMode::Speculative => Mode::Speculative,
        InferenceMode::Cascade => Mode::Cascade,
    }
}

fn small_percent(number: i32) -> u32 {
    small(number).clamp(1, 100)
}

fn layers(first: i32, end: i32) -> LayerRange {
    LayerRange::new(small(first), small(end))
}

// The schemas bound these fields from below by zero; a negative one that came another way counts as zero.

fn unsigned(number: i32) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn small(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn positive(bytes: i64) -> Bytes {
    Bytes(u64::try_from(bytes).unwrap_or(0))
}

fn nanos(nanoseconds: i64) -> Nanos {
    Nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

fn milliseconds(number: i32) -> Nanos {
    Nanos::from_millis(unsigned(number))
}

/// Of two services of one priority, the one that is to survive the loss of a node is placed first.
fn precedence(service: &LLMService) -> i32 {
    let survives = service.spec.fault_tolerance == FaultTolerance::NodeLoss;
    service.spec.priority.saturating_mul(2) + i32::from(survives)
}

/// Why a model that a service names is not in the question.
fn why_not_ready(world: &World, namespace: &str, name: &str) -> String {
    let is_it =
        |model: &&Arc<Model>| model.name_any() == name && model.namespace().unwrap_or_default() == namespace;
    let Some(model) = world.models.iter().find(is_it) else {
        return format!("it does not exist in namespace {namespace}");
    };
    let status = model.status.as_ref();
    let why = status.and_then(|status| condition::why_not(&status.conditions, ConditionType::Ready));
    why.unwrap_or("its header was not read yet").to_owned()
}
