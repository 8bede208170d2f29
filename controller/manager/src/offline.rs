//! A world made of manifests, for `edgeloom solve`: what would be decided if these objects stood and all nodes answered.

use std::{path::Path, sync::Arc};

use crds::{
    ConditionType, EdgeLink, EdgeNode, EdgeUser, LLMService, Model, ModelStatus,
    condition::{self, Reason},
    manifest,
};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{inspect, world::World};

mod check;

/// Why manifests make no world.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file or folder.
        path: String,
        /// What failed.
        source: std::io::Error,
    },
    /// A file is not YAML, or an object of it is not what its kind says.
    #[error("{path}: {source}")]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong.
        source: manifest::Error,
    },
    /// An object means nothing, alone or among the others.
    #[error("{path}{problem}")]
    Meaning {
        /// The file with a colon, if the object is from one.
        path: String,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// A model's header cannot be read, and the manifest gives no status.
    #[error("Model {model}: {source}")]
    Model {
        /// The Model.
        model: String,
        /// What failed.
        source: inspect::Error,
    },
}

/// Reads every `.yaml`, `.yml` and `.json` file of a folder (or one file) as a world. Kinds that no decision depends on
/// are skipped.
///
/// # Errors
///
/// When a file cannot be read or an object is not what its kind says.
pub fn world_of(path: &Path) -> Result<World, Error> {
    whole(world_from(objects_of(path)?)?)
}

/// The world, if every EdgeLink of it joins two of its nodes.
fn whole(world: World) -> Result<World, Error> {
    check::links(&world).map_err(|problem| Error::Meaning {
        path: String::new(),
        problem,
    })?;
    Ok(world)
}

/// Every object in the `.yaml`, `.yml` and `.json` files of a folder (or in one file), each with its file's name.
///
/// # Errors
///
/// When a file cannot be read or is not YAML.
pub fn objects_of(path: &Path) -> Result<Vec<(String, Value)>, Error> {
    let mut objects = vec![];
    for file in files_of(path)? {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).map_err(|source| Error::Read {
            path: name.clone(),
            source,
        })?;
        let read = manifest::read(&text).map_err(|source| Error::Manifest {
            path: name.clone(),
            source,
        })?;
        objects.extend(read.into_iter().map(|object| (name.clone(), object)));
    }
    Ok(objects)
}

/// A world of objects, each with the name of the file that it is from. Kinds that no decision depends on are skipped.
///
/// # Errors
///
/// When an object is not what its kind says, or a model's header cannot be read.
pub fn world_from(objects: Vec<(String, Value)>) -> Result<World, Error> {
    let mut world = World::default();
    let mut names = check::Names::default();
    for (path, object) in objects {
        if is_ours(&object) {
            names.add(&object).map_err(|problem| Error::Meaning {
                path: format!("{path}: "),
                problem,
            })?;
        }
        add(&mut world, object).map_err(|source| Error::Manifest { path, source })?;
    }
    let mut models = vec![];
    for model in &world.models {
        models.push(Arc::new(inspected(Model::clone(model))?));
    }
    world.models = models;
    Ok(world.sorted())
}

fn files_of(path: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let failed = |source| Error::Read {
        path: path.display().to_string(),
        source,
    };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = vec![];
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn is_ours(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    version.split('/').next() == Some(crds::GROUP)
}

fn add(world: &mut World, object: Value) -> Result<(), manifest::Error> {
    if !is_ours(&object) {
        return Ok(());
    }
    match object["kind"].as_str().unwrap_or_default() {
        "Model" => world.models.push(namespaced::<Model>(object)?),
        "LLMService" => world.services.push(namespaced::<LLMService>(object)?),
        "EdgeUser" => world.users.push(namespaced::<EdgeUser>(object)?),
        "EdgeNode" => world.nodes.push(parsed::<EdgeNode>(object)?),
        "EdgeLink" => world.links.push(parsed::<EdgeLink>(object)?),
        _ => {}
    }
    Ok(())
}

fn parsed<K: DeserializeOwned>(object: Value) -> Result<Arc<K>, manifest::Error> {
    manifest::parse(object).map(Arc::new)
}

/// Objects without a namespace are in `default`, as they are for kubectl.
fn namespaced<K: DeserializeOwned + Resource>(object: Value) -> Result<Arc<K>, manifest::Error> {
    let mut object: K = manifest::parse(object)?;
    object
        .meta_mut()
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    Ok(Arc::new(object))
}

/// The model with a status: its own, or what its header says.
fn inspected(mut model: Model) -> Result<Model, Error> {
    if model.status.is_none() {
        let name = model.metadata.name.clone().unwrap_or_default();
        let (architecture, variants) = inspect::read_variants(&model.spec.variants)
            .map_err(|source| Error::Model { model: name, source })?;
        let mut conditions = vec![];
        let (kind, now) = (ConditionType::Inspected, Timestamp::UNIX_EPOCH);
        condition::set(
            &mut conditions,
            kind,
            Some(true),
            Reason::AsDesired,
            "",
            None,
            now,
        );
        let architecture = Some(architecture);
        model.status = Some(ModelStatus {
            observed_generation: None,
            conditions,
            architecture,
            variants,
        });
    }
    model.metadata.generation = model
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    Ok(model)
}
