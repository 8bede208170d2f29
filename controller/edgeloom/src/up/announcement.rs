//! How the control plane says that it answers: a file that appears whole when it does.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Where the control plane is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Announcement {
    /// The API server: `https://address:port`.
    pub(crate) url: String,
    /// The administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// `/livez`, `/readyz` and `/metrics` of the manager: `http://address:port`.
    pub(crate) health_url: String,
}

impl Announcement {
    /// Writes it; a reader sees all of it or nothing.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn publish(&self, path: &Path) -> io::Result<()> {
        write_whole(path, &serde_json::to_vec_pretty(self)?)
    }

    /// Takes back what an earlier control plane announced.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be removed.
    pub(crate) fn withdraw(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// What was announced, if anything was.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// Writes a file so that a reader sees the old or the new content, never a part.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, content)?;
    fs::rename(&beside, path)
}
