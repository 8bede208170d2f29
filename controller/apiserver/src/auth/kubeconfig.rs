//! The kubeconfig file with which kubectl, helm and client libraries find the server and prove who they are.
//!
//! Certificates stand in the file itself, so that it can be copied. A file of somebody else is never overwritten: kubeconfigs
//! are not merged here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{authority::Credential, private_file};

/// Name of the cluster, the user and the context.
pub const CONTEXT: &str = "edgeloom";

/// Why a kubeconfig was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The file holds something that is not ours.
    #[error(
        "{path} holds other contexts ({contexts}) and is left as it is; name another file with --kubeconfig"
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// The contexts that it holds, or what else is wrong with it.
        contexts: String,
    },
}

/// The text of a kubeconfig for the server at `url` (`https://host:port`), whose user has a certificate.
pub fn text(url: &str, authority_pem: &str, credential: &Credential) -> String {
    let user = json!({
        "client-certificate-data": STANDARD.encode(&credential.certificate_pem),
        "client-key-data": STANDARD.encode(&credential.key_pem),
    });
    text_with(url, authority_pem, &user)
}

/// The text of a kubeconfig for the server at `url` (`https://host:port`), whose user has a token.
pub fn text_with_token(url: &str, authority_pem: &str, token: &str) -> String {
    text_with(url, authority_pem, &json!({ "token": token }))
}

fn text_with(url: &str, authority_pem: &str, user: &Value) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": CONTEXT,
            "cluster": { "server": url, "certificate-authority-data": STANDARD.encode(authority_pem) },
        }],
        "users": [{ "name": CONTEXT, "user": user }],
        "contexts": [{ "name": CONTEXT, "context": { "cluster": CONTEXT, "user": CONTEXT } }],
        "current-context": CONTEXT,
    });
    serde_yaml::to_string(&config).expect("a kubeconfig is plain maps and strings")
}

/// Writes `text` to `path`: mode 0600, at once, and only over a file that was written here before.
///
/// # Errors
/// See [`Error`].
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    let file_error = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        Ok(present) if present.trim().is_empty() => {}
        Ok(present) => match foreign_contexts(&present) {
            None => {}
            Some(contexts) => {
                return Err(Error::Foreign {
                    path: path.to_owned(),
                    contexts,
                });
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(file_error)?;
            }
        }
        Err(error) => return Err(file_error(error)),
    }
    private_file::write(path, text.as_bytes()).map_err(file_error)
}

/// What stands in a file that is not ours to replace.
fn foreign_contexts(text: &str) -> Option<String> {
    let Ok(config) = serde_yaml::from_str::<Value>(text) else {
        return Some("not YAML".to_owned());
    };
    let Some(contexts) = config["contexts"].as_array() else {
        return Some("not a kubeconfig".to_owned());
    };
    let foreign: Vec<&str> = contexts
        .iter()
        .map(|context| context["name"].as_str().unwrap_or("?"))
        .filter(|name| *name != CONTEXT)
        .collect();
    (!foreign.is_empty()).then(|| foreign.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> String {
        let credential = Credential {
            certificate_pem: "C".to_owned(),
            key_pem: "K".to_owned(),
        };
        text("https://127.0.0.1:6443", "A", &credential)
    }

    #[test]
    fn our_file_is_replaced_and_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/config");
        write(&path, &ours()).unwrap();
        write(&path, &ours()).unwrap();
        let other = ours().replace("name: edgeloom", "name: production");
        for foreign in [other.as_str(), "a file", "{ not yaml"] {
            fs::write(&path, foreign).unwrap();
            assert!(
                matches!(write(&path, &ours()), Err(Error::Foreign { .. })),
                "{foreign}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
        }
    }
}
