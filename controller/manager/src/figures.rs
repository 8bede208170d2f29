//! What Prometheus is told of a world and its plan: one pure function from these to figures. Labels are names of services,
//! models, nodes and peers, never of users or requests. What is not known has no figure.

use crds::{EdgeLink, EdgeNode, LLMService, edge_node::PowerSource, placement::Pipeline};
use kube::ResourceExt;

use crate::{
    corrections,
    plan::{Plan, Verdict},
    world::{ServiceName, World},
};

/// A family of gauges that describes the present plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Whether the solver has a pipeline.
    ServiceFeasible,
    /// Whether requests have somewhere to go.
    ServiceReady,
    /// Whether the service survives the loss of any one node.
    ServiceFaultTolerant,
    /// Distance from the lower bound.
    ServiceGap,
    /// The promised share of requests.
    ServiceObjective,
    /// The promised time to the first token.
    PromisedFirstToken,
    /// The promised time between tokens.
    PromisedPerToken,
    /// The predicted time to the first token.
    PredictedFirstToken,
    /// The predicted time between tokens.
    PredictedPerToken,
    /// Layers of a stage.
    StageLayers,
    /// Memory reserved for a stage.
    StageMemory,
    /// Predicted time of a stage for one token.
    StageDecode,
    /// Predicted time of the hop behind a stage for one token.
    StageHop,
    /// Placements by phase.
    Placements,
    /// Whether a node's agent answers.
    NodeReachable,
    /// When a node's status was last written.
    NodeReported,
    /// The share of the battery that is left alone.
    NodeReserve,
    /// The factor that a model's times on a node are corrected by.
    NodeCorrection,
    /// Observed times of a service over predicted ones.
    PredictionError,
    /// Nominal rate of a link.
    LinkRate,
    /// Nominal round trip of a link.
    LinkRoundTrip,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 21] = [
        Self::ServiceFeasible,
        Self::ServiceReady,
        Self::ServiceFaultTolerant,
        Self::ServiceGap,
        Self::ServiceObjective,
        Self::PromisedFirstToken,
        Self::PromisedPerToken,
        Self::PredictedFirstToken,
        Self::PredictedPerToken,
        Self::StageLayers,
        Self::StageMemory,
        Self::StageDecode,
        Self::StageHop,
        Self::Placements,
        Self::NodeReachable,
        Self::NodeReported,
        Self::NodeReserve,
        Self::NodeCorrection,
        Self::PredictionError,
        Self::LinkRate,
        Self::LinkRoundTrip,
    ];

    /// The family's name in Prometheus.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceFeasible => "edgeloom_service_feasible",
            Self::ServiceReady => "edgeloom_service_ready",
            Self::ServiceFaultTolerant => "edgeloom_service_fault_tolerant",
            Self::ServiceGap => "edgeloom_service_gap_ratio",
            Self::ServiceObjective => "edgeloom_service_objective_ratio",
            Self::PromisedFirstToken => "edgeloom_service_promised_time_to_first_token_seconds",
            Self::PromisedPerToken => "edgeloom_service_promised_time_per_output_token_seconds",
            Self::PredictedFirstToken => "edgeloom_service_predicted_time_to_first_token_seconds",
            Self::PredictedPerToken => "edgeloom_service_predicted_time_per_output_token_seconds",
            Self::StageLayers => "edgeloom_pipeline_stage_layers",
            Self::StageMemory => "edgeloom_pipeline_stage_memory_bytes",
            Self::StageDecode => "edgeloom_pipeline_stage_predicted_decode_seconds",
            Self::StageHop => "edgeloom_pipeline_stage_predicted_hop_seconds",
            Self::Placements => "edgeloom_placements",
            Self::NodeReachable => "edgeloom_node_reachable",
            Self::NodeReported => "edgeloom_node_reported_timestamp_seconds",
            Self::NodeReserve => "edgeloom_node_battery_reserve_ratio",
            Self::NodeCorrection => "edgeloom_node_correction_ratio",
            Self::PredictionError => "edgeloom_service_observed_to_predicted_ratio",
            Self::LinkRate => "edgeloom_link_nominal_rate_bytes_per_second",
            Self::LinkRoundTrip => "edgeloom_link_nominal_round_trip_seconds",
        }
    }

    /// What it says.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::ServiceFeasible => {
                "1 when the solver has a pipeline for the service, 0 when there is none."
            }
            Self::ServiceReady => "1 when requests of the service have a pipeline to go to.",
            Self::ServiceFaultTolerant => {
                "1 when a service that asks for it survives the loss of any one node of its pipeline."
            }
            Self::ServiceGap => "How far the service's placement may be from the best, over its objective.",
            Self::ServiceObjective => "The share of requests that must meet what the service promises.",
            Self::PromisedFirstToken => "The longest time to the first token that the service promises.",
            Self::PromisedPerToken => "The longest time between two tokens that the service promises.",
            Self::PredictedFirstToken => "Predicted time to the first token of the typical request.",
            Self::PredictedPerToken => "Predicted time between two tokens of the typical request.",
            Self::StageLayers => "Transformer blocks of a stage of the service's pipeline.",
            Self::StageMemory => "Memory that is reserved for a stage of the service's pipeline.",
            Self::StageDecode => "Predicted time of one token in a stage of the service's pipeline.",
            Self::StageHop => {
                "Predicted time of one token on the hop behind a stage of the service's pipeline."
            }
            Self::Placements => "Placements by phase.",
            Self::NodeReachable => "1 when the node's agent answers, 0 when it is lost or was never seen.",
            Self::NodeReported => "When the node's agent last wrote its status.",
            Self::NodeReserve => "The share of the node's battery that is left alone.",
            Self::NodeCorrection => {
                "What requests have shown of a model's times on the node, and workers of memory: 1 when all is as predicted."
            }
            Self::PredictionError => {
                "Observed times of the service over predicted ones when last compared: 1 when they agree."
            }
            Self::LinkRate => "Nominal rate of the link from the node to the peer.",
            Self::LinkRoundTrip => "Nominal round trip between the node and the peer.",
        }
    }

    /// The names of its labels.
    #[must_use]
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::ServiceFeasible
            | Self::ServiceReady
            | Self::ServiceFaultTolerant
            | Self::ServiceGap
            | Self::ServiceObjective
            | Self::PromisedFirstToken
            | Self::PromisedPerToken
            | Self::PredictedFirstToken
            | Self::PredictedPerToken => &["service"],
            Self::StageLayers | Self::StageMemory | Self::StageDecode | Self::StageHop => {
                &["service", "ordinal", "node"]
            }
            Self::Placements => &["phase"],
            Self::NodeReachable | Self::NodeReported | Self::NodeReserve => &["node"],
            Self::NodeCorrection => &["node", "model", "kind"],
            Self::PredictionError => &["service", "kind"],
            Self::LinkRate | Self::LinkRoundTrip => &["node", "peer"],
        }
    }
}

/// A value of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The family.
    pub family: Family,
    /// Values of [`Family::labels`].
    pub labels: Vec<String>,
    /// In the unit that the family's name ends in.
    pub value: f64,
}

/// Everything that is to be shown.
#[must_use]
pub fn of<State>(world: &World, plan: &Plan<State>) -> Vec<Figure> {
    let mut figures = Figures::default();
    for service in &world.services {
        figures.service(plan, service);
    }
    for placement in &plan.placements {
        figures.count(Family::Placements, &[&format!("{:?}", placement.phase)]);
    }
    for node in &world.nodes {
        figures.node(world, node);
    }
    for link in &world.links {
        figures.link(link);
    }
    figures.0
}

#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn say(&mut self, family: Family, labels: &[&str], value: f64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.push(Figure {
            family,
            labels,
            value,
        });
    }

    fn count(&mut self, family: Family, labels: &[&str]) {
        let counted = |figure: &&mut Figure| figure.family == family && figure.labels == labels;
        match self.0.iter_mut().find(counted) {
            Some(figure) => figure.value += 1.0,
            None => self.say(family, labels, 1.0),
        }
    }

    fn service<State>(&mut self, plan: &Plan<State>, service: &LLMService) {
        let name = ServiceName::of(service);
        let label = name.to_string();
        let labels = [label.as_str()];
        match plan.services.get(&name).map(|known| &known.verdict) {
            Some(Verdict::Feasible(_)) => self.say(Family::ServiceFeasible, &labels, 1.0),
            Some(Verdict::Infeasible(..)) => self.say(Family::ServiceFeasible, &labels, 0.0),
            Some(Verdict::Skipped(_) | Verdict::Unknown) | None => {}
        }
        let contingencies = plan
            .services
            .get(&name)
            .and_then(|known| known.contingencies.as_ref());
        if let Some(contingencies) = contingencies {
            let survives = contingencies
                .iter()
                .all(|contingency| contingency.why_not.is_none());
            self.say(
                Family::ServiceFaultTolerant,
                &labels,
                f64::from(u8::from(survives)),
            );
        }
        let accuracy = plan.services.get(&name).and_then(|known| known.accuracy.as_ref());
        if let Some(accuracy) = accuracy {
            for (kind, milli) in [
                (PROMPT, accuracy.first_token_milli),
                (TOKEN, accuracy.per_token_milli),
            ] {
                if milli > 0 {
                    self.say(Family::PredictionError, &[&label, kind], milli as f64 / 1e3);
                }
            }
        }
        let serving = plan.serving(&name);
        if service.spec.replicas > 0 {
            let ready = serving.is_some_and(|placement| placement.progress.is_ready());
            self.say(Family::ServiceReady, &labels, f64::from(u8::from(ready)));
        }
        let slo = &service.spec.slo;
        self.say(
            Family::ServiceObjective,
            &labels,
            f64::from(slo.percentile) / 100.0,
        );
        for (family, promised) in [
            (Family::PromisedFirstToken, slo.time_to_first_token_milliseconds),
            (Family::PromisedPerToken, slo.time_per_output_token_milliseconds),
        ] {
            if let Some(milliseconds) = promised {
                self.say(family, &labels, f64::from(milliseconds) / 1e3);
            }
        }
        let shown = serving.or_else(|| plan.placements_of(&name).last());
        if let Some(placement) = shown {
            let gap = plan.gap_of(placement);
            self.say(Family::ServiceGap, &labels, gap as f64 / 1e6);
            if let Some(pipeline) = placement.spec.pipelines.first() {
                self.pipeline(&label, pipeline);
            }
        }
    }

    fn pipeline(&mut self, service: &str, pipeline: &Pipeline) {
        let predicted = &pipeline.predicted;
        let first_token = seconds(predicted.time_to_first_token_microseconds);
        self.say(Family::PredictedFirstToken, &[service], first_token);
        let per_token = seconds(predicted.time_per_output_token_microseconds);
        self.say(Family::PredictedPerToken, &[service], per_token);
        for (ordinal, stage) in pipeline.stages.iter().enumerate() {
            let ordinal = ordinal.to_string();
            let labels = [service, &ordinal, &stage.node];
            let layers = f64::from(stage.end_layer - stage.first_layer);
            self.say(Family::StageLayers, &labels, layers);
            self.say(Family::StageMemory, &labels, stage.memory.total_bytes as f64);
            let cost = &stage.cost;
            self.say(Family::StageDecode, &labels, seconds(cost.decode_microseconds));
            self.say(Family::StageHop, &labels, seconds(cost.hop_decode_microseconds));
        }
    }

    fn node(&mut self, world: &World, node: &EdgeNode) {
        let name = node.name_any();
        let alive = world.is_alive(&name);
        self.say(Family::NodeReachable, &[&name], f64::from(u8::from(alive)));
        let reported = node
            .status
            .as_ref()
            .and_then(|status| status.observed_time.as_ref());
        if let Some(time) = reported {
            self.say(Family::NodeReported, &[&name], time.0.as_second() as f64);
        }
        for (digest, factors) in corrections::of_node(node, world.at) {
            let model = model_name(world, digest).unwrap_or_else(|| digest.to_owned());
            for (kind, milli) in [(PROMPT, factors.prompt), (TOKEN, factors.token)] {
                let factor = f64::from(milli) / 1e3;
                self.say(Family::NodeCorrection, &[&name, &model, kind], factor);
            }
        }
        let memory = corrections::memory_of_node(node);
        if memory != corrections::NONE {
            let factor = f64::from(memory) / 1e3;
            self.say(Family::NodeCorrection, &[&name, "", MEMORY], factor);
        }
        let power = &node.spec.power;
        if power.source == PowerSource::Battery {
            let reserve = f64::from(power.reserve_percent) / 100.0;
            self.say(Family::NodeReserve, &[&name], reserve);
        }
    }

    fn link(&mut self, link: &EdgeLink) {
        let spec = &link.spec;
        let back = spec
            .reverse_rate_bits_per_second
            .as_ref()
            .unwrap_or(&spec.rate_bits_per_second);
        let round_trip = 2.0 * seconds(i64::from(spec.latency_microseconds));
        for (node, peer, rate) in [
            (&spec.from, &spec.to, &spec.rate_bits_per_second),
            (&spec.to, &spec.from, back),
        ] {
            self.say(Family::LinkRate, &[node, peer], rate.value() as f64 / 8.0);
            self.say(Family::LinkRoundTrip, &[node, peer], round_trip);
        }
    }
}

/// What times are of: prompts up to the first token, or single tokens.
const PROMPT: &str = "prompt";
const TOKEN: &str = "token";
const MEMORY: &str = "memory";

/// Weights as `namespace/model/variant`; of several with one digest, the first.
fn model_name(world: &World, digest: &str) -> Option<String> {
    world.models.iter().find_map(|model| {
        let mut variants = model.status.iter().flat_map(|status| &status.variants);
        let variant = variants.find(|variant| variant.digest == digest)?;
        let namespace = model.namespace().unwrap_or_default();
        Some(format!("{namespace}/{}/{}", model.name_any(), variant.name))
    })
}

fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}
