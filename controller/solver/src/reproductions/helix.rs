//! Helix's files: clusters (INI), times of a layer by batch size (CSV), limits by layers (CSV), layouts (CSV).
//!
//! Text in, values out. The clusters and times of the artifact are built in ([`embedded`]); users give their own
//! ([`cluster::parse`] and [`files`] say in what form).

pub mod cluster;
pub mod embedded;
pub mod files;
mod ini;

use std::fmt;

use crate::region::{Cluster, NodeType, capacity};

pub use files::ModelFiles;

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which file, and the line or section in it.
    pub place: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Error {
    pub(super) fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for Error {}

/// A model that Helix was measured with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// As on the command line: `llama-70b`.
    pub name: &'static str,
    /// The folder of its times: `llama2_70b`.
    pub folder: &'static str,
    /// Layers.
    pub num_layers: usize,
    /// Hidden width in 16-bit numbers, in bytes: what a token is between two nodes.
    pub activation_bytes: f64,
    /// Bytes of keys and values of a token in one layer.
    pub kv_bytes: f64,
    /// Bytes of a layer's weights on a GPU.
    pub layer_bytes: f64,
}

/// The models, by the names of the command line. Bytes: LLaMA-30B has 52 heads of width 128, LLaMA2-70B 8 of keys and
/// values; a layer is what Helix's tables of blocks lose with each layer.
pub const MODELS: [Model; 2] = [
    Model {
        name: "llama-30b",
        folder: "llama1_30b",
        num_layers: 60,
        activation_bytes: 6_656.0 * 2.0,
        kv_bytes: 2.0 * 6_656.0 * 2.0,
        layer_bytes: 1.07e9,
    },
    Model {
        name: "llama-70b",
        folder: "llama2_70b",
        num_layers: 80,
        activation_bytes: 8_192.0 * 2.0,
        kv_bytes: 2.0 * 1_024.0 * 2.0,
        layer_bytes: 1.71e9,
    },
];

/// A token between users and nodes, in bytes.
const TOKEN_BYTES: f64 = 2.0;

/// The model of this name.
///
/// # Errors
/// Says which names there are.
pub fn model(name: &str) -> Result<Model, Error> {
    let found = MODELS.into_iter().find(|model| model.name == name);
    let names = MODELS.map(|model| model.name).join(", ");
    found.ok_or_else(|| Error::new("--model", format!("no model {name:?} is known; one of {names}")))
}

/// A cluster for the solver, from a parsed one and the files of a model.
///
/// # Errors
/// When the cluster has a type of node that was not measured.
pub fn assemble(parsed: &cluster::Parsed, model: Model, files: &ModelFiles) -> Result<Cluster, Error> {
    let mut types = Vec::new();
    let mut typical = Vec::new();
    for name in &parsed.types {
        let measured = files.measured(name, model)?;
        typical.push(measured.typical);
        types.push(NodeType {
            name: name.clone(),
            times: measured.times,
            limits: measured.limits,
            tokens_per_second: Vec::new(),
        });
    }
    let mut cluster = Cluster {
        num_layers: model.num_layers,
        activation_bytes: model.activation_bytes + TOKEN_BYTES,
        token_bytes: TOKEN_BYTES,
        types,
        nodes: parsed.nodes.clone(),
        links: parsed.links.clone(),
    };
    let counts = cluster.type_counts();
    capacity::fill(&mut cluster.types, &typical, &counts, model.num_layers);
    Ok(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{bound, flow};

    /// The artifact's own figures: the objective of the MILP's layout, and of the chain of eight L4s.
    #[test]
    fn throughputs_of_nodes_are_those_of_the_artifact() {
        let model = model("llama-70b").expect("known");
        let cluster = embedded::cluster("single24", model).expect("built in");
        let layout = embedded::layout("single24", model, "helix", 24).expect("built in");
        let value = flow::max_flow(&cluster, &layout).value;
        assert!((value - 1_289.56).abs() < 0.01, "{value}");
    }

    #[test]
    fn the_bound_of_single24_is_the_known_optimum() {
        let cluster = embedded::cluster("single24", model("llama-70b").expect("known")).expect("built in");
        let upper = bound::upper_bound(&bound::supplies(&cluster), 80);
        assert!((upper - 2_045.64).abs() < 0.01, "{upper}");
    }

    #[test]
    fn an_unknown_model_is_answered_with_those_that_are_known() {
        let error = model("llama-7b").expect_err("unknown").to_string();
        assert!(error.contains("llama-30b, llama-70b"), "{error}");
    }
}
