//! The file: one document of kind `Scenario`, beside manifests of the kinds that `edgeloom solve` reads.

use std::path::{Path, PathBuf};

use crds::Quantity;
use serde::Deserialize;
use serde_json::Value;

use super::{Error, Policy, validate};
use crate::offline;

/// A scenario with its manifests.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What happens.
    pub spec: ScenarioSpec,
    /// Manifests, each with the file that it is from.
    pub manifests: Vec<(String, Value)>,
    /// The folder that relative paths begin at.
    pub folder: PathBuf,
}

/// What happens in a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioSpec {
    /// What it is about, in a few sentences.
    #[serde(default)]
    pub description: String,
    /// How long it lasts.
    pub duration_seconds: f64,
    /// What chance begins with.
    #[serde(default = "one")]
    pub seed: u64,
    /// The controller decides after each event that it hears of, and at least this often.
    #[serde(default = "epoch")]
    pub epoch_seconds: f64,
    /// How long it takes until the controller knows that a node or a link is lost.
    #[serde(default = "loss")]
    pub loss_seconds: f64,
    /// How long a head lets a request wait for a session.
    #[serde(default = "seat_wait")]
    pub seat_wait_seconds: f64,
    /// What loading a stage may take, from the decision until its layers are in memory, weights that are fetched included; the
    /// report says how many did.
    #[serde(default)]
    pub load_within_seconds: Option<f64>,
    /// Further files and folders of manifests.
    #[serde(default)]
    pub manifests: Vec<String>,
    /// Whose decisions are compared.
    #[serde(default = "policies")]
    pub policies: Vec<Policy>,
    /// The node that offers all weights; every node has them on its disk when absent.
    #[serde(default)]
    pub weights_from: Option<String>,
    /// How fast nodes are, and what they draw.
    #[serde(default)]
    pub hardware: Vec<Hardware>,
    /// Base stations made from data.
    #[serde(default)]
    pub sites: Vec<Sites>,
    /// Users made by number.
    #[serde(default)]
    pub crowds: Vec<Crowd>,
    /// When requests come.
    pub arrivals: Vec<Arrivals>,
    /// Where users go.
    #[serde(default)]
    pub mobility: Vec<Mobility>,
    /// Links that change.
    #[serde(default)]
    pub links: Vec<LinkTrace>,
    /// Nodes and links that fail.
    #[serde(default)]
    pub failures: Vec<Outage>,
}

/// How fast some nodes are. Speeds that an EdgeNode's status gives as measured come first.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hardware {
    /// Names of EdgeNodes; one that ends in `*` stands for all that begin so. The first entry that fits a node holds.
    pub nodes: Vec<String>,
    /// Sustained floating-point operations per second.
    pub flops_per_second: Quantity,
    /// Sustained bytes per second of its memory.
    pub memory_bytes_per_second: Quantity,
    /// What loading weights from its disk reaches.
    #[serde(default = "disk")]
    pub disk_bytes_per_second: Quantity,
    /// Time of a batch beside its computing.
    #[serde(default = "overhead")]
    pub batch_overhead_microseconds: u32,
    /// Power that it draws while it computes, above idle.
    #[serde(default)]
    pub active_milliwatts: u64,
    /// Power that it draws at all times.
    #[serde(default)]
    pub idle_milliwatts: u64,
}

/// EdgeNodes at places of a data set.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sites {
    /// What their names begin with: `bs-` gives `bs-0`, `bs-1` and so on.
    pub prefix: String,
    /// `eua`, or a CSV file whose header names latitude and longitude.
    pub places: String,
    /// How many, spread evenly over the data.
    pub count: usize,
    /// The spec of each.
    #[serde(default)]
    pub node: Value,
    /// What joins each of them to another node.
    #[serde(default)]
    pub link: Option<SiteLink>,
    /// What joins each of them to the sites nearest to it.
    #[serde(default)]
    pub neighbours: Option<Neighbours>,
}

/// A link from each site.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteLink {
    /// The other end.
    pub to: String,
    /// Its rate.
    pub rate_bits_per_second: Quantity,
    /// Its delay in one direction.
    #[serde(default)]
    pub latency_microseconds: i32,
}

/// Links between sites.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Neighbours {
    /// How many.
    pub count: usize,
    /// Rate of each link.
    pub rate_bits_per_second: Quantity,
    /// Its delay in one direction.
    #[serde(default)]
    pub latency_microseconds: i32,
}

/// EdgeUsers `NAME-0`, `NAME-1` and so on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Crowd {
    /// What their names begin with.
    pub name: String,
    /// How many.
    pub count: usize,
    /// The spec of each.
    #[serde(default)]
    pub user: Value,
    /// Where they are: `eua-users`, or a CSV file whose header names latitude and longitude. Each attaches to the nearest nodes of tier
    /// Server.
    #[serde(default)]
    pub places: Option<String>,
}

/// Requests of one service.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arrivals {
    /// An LLMService: `NAME`, or `NAMESPACE/NAME`.
    pub service: String,
    /// EdgeUsers or crowds that send them; all that have a demand for it when empty, weighed by their demands.
    #[serde(default)]
    pub users: Vec<String>,
    /// At random.
    #[serde(default)]
    pub poisson: Option<Poisson>,
    /// As they came somewhere else.
    #[serde(default)]
    pub trace: Option<Trace>,
    /// At these times.
    #[serde(default)]
    pub at_seconds: Option<Vec<f64>>,
    /// Tokens of a prompt; the trace's or the service's typical request's when absent.
    #[serde(default)]
    pub prompt_tokens: Option<Range>,
    /// Tokens of an answer, likewise.
    #[serde(default)]
    pub output_tokens: Option<Range>,
    /// From when.
    #[serde(default)]
    pub from_seconds: f64,
    /// Until when; the end when absent.
    #[serde(default)]
    pub until_seconds: Option<f64>,
    /// The way between a user and the node where requests enter.
    #[serde(default)]
    pub air: Option<Air>,
}

/// A Poisson process.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Poisson {
    /// Of all its users together.
    pub requests_per_second: f64,
}

/// Recorded requests, from a random place on, again from the beginning after the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trace {
    /// `azure-conversation`, `mooncake`, or a file: CSV of milliseconds, prompt and output tokens with a header, or a trace as
    /// Azure (CSV) or Mooncake (JSON lines) publish it.
    pub data: String,
    /// The rate that it is stretched to; bursts stay bursts.
    pub requests_per_second: f64,
}

/// A number, or a range of equally likely ones.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Range {
    /// Always this.
    Fixed(u32),
    /// From and to, both included.
    Between([u32; 2]),
}

/// A user's radio link, which is nobody else's.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Air {
    /// One way.
    #[serde(default)]
    pub latency_microseconds: u64,
    /// From the user.
    #[serde(default)]
    pub up_bits_per_second: Option<Quantity>,
    /// To the user.
    #[serde(default)]
    pub down_bits_per_second: Option<Quantity>,
}

/// Where some users go: exactly one of the ways.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mobility {
    /// EdgeUsers or crowds.
    pub users: Vec<String>,
    /// From place to place, at random.
    #[serde(default)]
    pub random_waypoint: Option<RandomWaypoint>,
    /// From cell to cell, at these times.
    #[serde(default)]
    pub cells: Option<Vec<CellAt>>,
}

/// The random waypoint model over the nodes that have a position.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RandomWaypoint {
    /// From and to.
    pub metres_per_second: [f64; 2],
    /// The nodes whose cells they go through; all of tier Server with a position when empty.
    #[serde(default)]
    pub cells: Vec<String>,
}

/// From when a user is in a cell.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CellAt {
    /// When.
    pub at_seconds: f64,
    /// The EdgeNode whose cell it is.
    pub node: String,
}

/// A link's rate and latency over time.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkTrace {
    /// The EdgeLink.
    pub link: String,
    /// What holds from when on.
    #[serde(default)]
    pub points: Vec<LinkPoint>,
    /// A CSV file of seconds, bits per second and microseconds of latency with a header, instead of points.
    #[serde(default)]
    pub file: Option<String>,
}

/// A link from some time on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkPoint {
    /// When.
    pub at_seconds: f64,
    /// Rate in both directions.
    pub rate_bits_per_second: Quantity,
    /// Latency; as before when absent.
    #[serde(default)]
    pub latency_microseconds: Option<i32>,
}

/// A node or link that is gone for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outage {
    /// An EdgeNode.
    #[serde(default)]
    pub node: Option<String>,
    /// Or an EdgeLink.
    #[serde(default)]
    pub link: Option<String>,
    /// From when.
    pub at_seconds: f64,
    /// Until when; for ever when absent.
    #[serde(default)]
    pub until_seconds: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: ScenarioSpec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

/// The kind of a scenario's own document. It is in a group of its own, since no API server knows it.
const KIND: &str = "Scenario";
const API_VERSION: &str = "simulation.edgeloom.dev/v1alpha1";

impl Scenario {
    /// Reads a scenario and the manifests that it names.
    ///
    /// # Errors
    ///
    /// Names the file or the field that is wrong.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let is_scenario = |object: &Value| {
            object["kind"].as_str() == Some(KIND) && object["apiVersion"].as_str() == Some(API_VERSION)
        };
        let (own, mut manifests): (Vec<_>, Vec<_>) = offline::objects_of(path)?
            .into_iter()
            .partition(|(_, object)| is_scenario(object));
        let [(file, object)]: [_; 1] = own.try_into().map_err(|found: Vec<_>| {
            let problem = format!(
                "{} documents of kind {KIND} and apiVersion {API_VERSION}; there must be one",
                found.len()
            );
            Error::field(path.display().to_string(), problem)
        })?;
        let document: Document = serde_path_to_error::deserialize(object).map_err(|error| {
            let field = error.path().to_string();
            Error::field(format!("{file}: {field}"), error.into_inner().to_string())
        })?;
        for further in &document.spec.manifests {
            let further = offline::objects_of(&folder.join(further))?;
            manifests.extend(further.into_iter().filter(|(_, object)| !is_scenario(object)));
        }
        let scenario = Self {
            name: document.metadata.name,
            spec: document.spec,
            manifests,
            folder,
        };
        validate::validate(&scenario.spec)?;
        Ok(scenario)
    }
}

fn one() -> u64 {
    1
}
fn epoch() -> f64 {
    5.0
}
fn loss() -> f64 {
    1.0
}
/// As agents do.
fn seat_wait() -> f64 {
    0.25
}
fn overhead() -> u32 {
    100
}
fn disk() -> Quantity {
    Quantity::bytes(1_000_000_000)
}
fn policies() -> Vec<Policy> {
    Policy::ALL.to_vec()
}
