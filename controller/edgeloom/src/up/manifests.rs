//! Manifests from files and folders.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crds::{EdgeLink, EdgeNode, manifest};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why manifests cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder without a manifest.
    #[error("{0} has no .yaml, .yml or .json file")]
    Empty(PathBuf),
    /// Not YAML, or not what its kind says.
    #[error("{path}: {what}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Which object.
        what: String,
        /// What is wrong with it.
        source: manifest::Error,
    },
    /// An object that cannot be applied.
    #[error("{path}: document {document} has no {field}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// Which of its documents, from 1.
        document: usize,
        /// What it lacks.
        field: &'static str,
    },
}

/// An object, and the file that it stands in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    /// The file.
    pub(crate) path: PathBuf,
    /// The object, with `apiVersion`, `kind` and `metadata.name`.
    pub(crate) object: Value,
}

/// Objects in the order in which they are applied: what others refer to comes first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifests(Vec<Manifest>);

impl Manifest {
    /// Its kind.
    pub(crate) fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its namespace, when it says one.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }

    /// Whether it is an LLMService.
    pub(crate) fn is_service(&self) -> bool {
        self.is_ours() && self.kind() == "LLMService"
    }

    fn is_ours(&self) -> bool {
        let version = self.object["apiVersion"].as_str().unwrap_or_default();
        version.split('/').next() == Some(crds::GROUP)
    }

    fn parse<K: DeserializeOwned>(&self) -> Result<K, Error> {
        manifest::parse(self.object.clone()).map_err(|source| Error::Wrong {
            path: self.path.clone(),
            what: format!("{} {}", self.kind(), self.name()),
            source,
        })
    }
}

impl Manifests {
    /// Reads files, and the `.yaml`, `.yml` and `.json` files of folders.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or holds something that is no object.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut manifests = Self::default();
        for path in paths {
            for file in files_of(path)? {
                manifests.read_file(&file)?;
            }
        }
        manifests.0.sort_by_key(order);
        Ok(manifests)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let documents = manifest::read(&text).map_err(|source| Error::Wrong {
            path: path.to_owned(),
            what: "cannot be used".to_owned(),
            source,
        })?;
        for (ordinal, object) in documents.into_iter().enumerate() {
            for (field, pointer) in [
                ("apiVersion", "/apiVersion"),
                ("kind", "/kind"),
                ("metadata.name", "/metadata/name"),
            ] {
                if object
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty)
                {
                    return Err(Error::Missing {
                        path: path.to_owned(),
                        document: ordinal + 1,
                        field,
                    });
                }
            }
            self.0.push(Manifest {
                path: path.to_owned(),
                object,
            });
        }
        Ok(())
    }

    /// Adds others.
    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
        self.0.sort_by_key(order);
    }

    /// The EdgeNodes and EdgeLinks.
    ///
    /// # Errors
    ///
    /// When one is not what its kind says.
    pub(crate) fn fleet(&self) -> Result<(Vec<EdgeNode>, Vec<EdgeLink>), Error> {
        let of_kind = |kind| {
            self.0
                .iter()
                .filter(move |manifest| manifest.is_ours() && manifest.kind() == kind)
        };
        let nodes = of_kind("EdgeNode")
            .map(Manifest::parse)
            .collect::<Result<_, _>>()?;
        let links = of_kind("EdgeLink")
            .map(Manifest::parse)
            .collect::<Result<_, _>>()?;
        Ok((nodes, links))
    }

    /// Everything but EdgeNodes and EdgeLinks.
    pub(crate) fn beside_fleet(&self) -> impl Iterator<Item = &Manifest> {
        let is_fleet =
            |manifest: &Manifest| manifest.is_ours() && ["EdgeNode", "EdgeLink"].contains(&manifest.kind());
        self.0.iter().filter(move |manifest| !is_fleet(manifest))
    }

    /// Namespace and name of the LLMServices.
    pub(crate) fn services(&self) -> Vec<(String, String)> {
        let services = self.0.iter().filter(|manifest| manifest.is_service());
        services
            .map(|service| {
                (
                    service.namespace().unwrap_or("default").to_owned(),
                    service.name().to_owned(),
                )
            })
            .collect()
    }
}

/// What others refer to comes first.
fn order(manifest: &Manifest) -> u8 {
    match manifest.kind() {
        "Namespace" | "CustomResourceDefinition" => 0,
        "Secret" | "ConfigMap" => 1,
        "Model" => 2,
        "LLMService" => 3,
        _ => 4,
    }
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = vec![];
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::Empty(path.to_owned()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str =
        "apiVersion: edgeloom.dev/v1alpha1\nkind: EdgeNode\nmetadata: {name: robot}\nspec: {}\n";
    const SERVICE: &str = "apiVersion: edgeloom.dev/v1alpha1\nkind: LLMService\nmetadata: {name: chat}\n\
                           spec: {models: [{name: m}]}\n---\n\
                           apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: default}\n";

    fn read(files: &[(&str, &str)]) -> Result<Manifests, Error> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Manifests::read(&[folder.path().to_owned()])
    }

    #[test]
    fn a_folder_is_sorted_into_what_is_played_and_what_is_applied() {
        let manifests = read(&[
            ("b.yaml", SERVICE),
            ("a.yml", NODE),
            ("README.md", "# no manifest"),
        ])
        .unwrap();
        assert_eq!(manifests.fleet().unwrap().0.len(), 1);
        let kinds: Vec<_> = manifests.beside_fleet().map(Manifest::kind).collect();
        assert_eq!(kinds, ["Secret", "LLMService"]);
        assert_eq!(manifests.services(), [("default".to_owned(), "chat".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file() {
        let wrong = |files: &[(&str, &str)]| {
            let error = match read(files) {
                Ok(manifests) => manifests.fleet().unwrap_err(),
                Err(error) => error,
            };
            error.to_string()
        };
        assert!(wrong(&[("README.md", "")]).contains("has no .yaml"));
        assert!(
            wrong(&[("a.yaml", "kind: Secret\napiVersion: v1\n")])
                .contains("document 1 has no metadata.name")
        );
        assert!(wrong(&[("a.yaml", "a: b: c\n")]).contains("a.yaml: cannot be used"));
        let bad_node = NODE.replace("spec: {}", "spec: {tier: Moon}");
        assert!(wrong(&[("a.yaml", &bad_node)]).contains("EdgeNode robot"));
    }
}
