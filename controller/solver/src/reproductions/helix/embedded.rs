//! Helix's data as far as it is needed here, built in, so that nothing outside is needed. Origin and licence: `data/helix`.

use super::{Error, Model, ModelFiles, assemble, cluster, files};
use crate::region::{Cluster, Layout};

macro_rules! data {
    ($($part:expr),+) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/helix/", $($part),+))
    };
}

macro_rules! times {
    ($model:literal: $($kind:literal)+) => {
        &[
            ("typical.csv", data!("layer-times/", $model, "/typical.csv")),
            $(
                (concat!($kind, "/prompt_bs2time.csv"), data!("layer-times/", $model, "/", $kind, "/prompt_bs2time.csv")),
                (concat!($kind, "/decode_bs2time.csv"), data!("layer-times/", $model, "/", $kind, "/decode_bs2time.csv")),
                (concat!($kind, "/limits.csv"), data!("layer-times/", $model, "/", $kind, "/limits.csv")),
            )+
        ]
    };
}

type Texts = &'static [(&'static str, &'static str)];

const TIMES: [(&str, Texts); 2] = [
    (
        "llama1_30b",
        times!("llama1_30b": "a100" "l4" "l4x2" "t4" "t4x2" "t4x4" "v100"),
    ),
    (
        "llama2_70b",
        times!("llama2_70b": "a100" "l4" "l4x2" "t4" "t4x2" "t4x4" "v100"),
    ),
];

const CLUSTERS: Texts = &[
    ("single24", data!("single24.ini")),
    ("regions3x8", data!("regions3x8.ini")),
];

macro_rules! layouts {
    ($($name:literal)+) => { &[$(($name, data!("layouts/", $name, ".csv"))),+] };
}

const LAYOUTS: Texts = layouts!(
    "single24-llama2_70b-helix" "single24-llama2_70b-swarm" "single24-llama1_30b-swarm"
    "regions3x8-llama2_70b-helix" "regions3x8-llama2_70b-swarm"
);

/// One of the built-in files of a model, by the model's folder and the path below it.
pub(super) fn text(folder: &str, path: &str) -> Option<&'static str> {
    let (_, texts) = TIMES.iter().find(|(name, _)| *name == folder)?;
    find(texts, path)
}

fn find(texts: Texts, name: &str) -> Option<&'static str> {
    texts
        .iter()
        .find(|(found, _)| *found == name)
        .map(|(_, text)| *text)
}

/// All built-in files of a model.
#[must_use]
pub fn model_files(model: Model) -> ModelFiles {
    let texts = TIMES
        .iter()
        .filter(|(name, _)| *name == model.folder)
        .flat_map(|(_, texts)| texts.iter());
    ModelFiles(
        texts
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect(),
    )
}

/// A built-in cluster (`single24` or `regions3x8`) with a model.
///
/// # Errors
/// When there is none of this name.
pub fn cluster(name: &str, model: Model) -> Result<Cluster, Error> {
    let text = find(CLUSTERS, name).ok_or_else(|| Error::new(name, "is no built-in cluster"))?;
    assemble(&cluster::parse(name, text)?, model, &model_files(model))
}

/// A layout that Helix's artifact has: of its own search (`helix`) or of Swarm's rule (`swarm`).
///
/// # Errors
/// When there is none for this cluster, model and method.
pub fn layout(cluster: &str, model: Model, method: &str, num_nodes: usize) -> Result<Layout, Error> {
    let name = format!("{cluster}-{}-{method}", model.folder);
    let text = find(LAYOUTS, &name).ok_or_else(|| Error::new(name.clone(), "is no built-in layout"))?;
    files::layout(&name, text, num_nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproductions::helix::{MODELS, model};

    #[test]
    fn built_in_files_are_whole() {
        for model in MODELS {
            for name in ["single24", "regions3x8"] {
                let cluster = cluster(name, model).expect("built in");
                assert_eq!(cluster.nodes.len(), 24);
                let mut counts: Vec<_> = cluster
                    .types
                    .iter()
                    .map(|kind| &*kind.name)
                    .zip(cluster.type_counts())
                    .collect();
                counts.sort_unstable();
                assert_eq!(counts, [("A100", 4), ("L4", 8), ("T4", 12)]);
                let linked = cluster.links.iter().flatten().count();
                assert_eq!(linked, 24 * 23 + 2 * 24, "every pair, and the door both ways");
            }
        }
    }

    #[test]
    fn built_in_layouts_can_be_loaded() {
        for (name, _) in LAYOUTS {
            let [cluster_name, folder, method] = name.split('-').collect::<Vec<_>>()[..] else {
                panic!("{name}")
            };
            let model = MODELS
                .into_iter()
                .find(|model| model.folder == folder)
                .expect("known");
            let cluster = cluster(cluster_name, model).expect("built in");
            let layout = layout(cluster_name, model, method, 24).expect("built in");
            layout.check(&cluster).expect(name);
        }
        assert!(layout("single24", model("llama-30b").expect("known"), "nobody", 24).is_err());
    }
}
